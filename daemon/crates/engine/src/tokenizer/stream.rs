//! Turns tokens into text one by one: whole characters only, and nothing that may yet turn out to be a stop text.

use super::Tokenizer;

/// The text of one completion while it grows.
pub(crate) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stops: Vec<String>,
    text: String,
    /// Bytes of a character that is not whole yet; at most three.
    partial: Vec<u8>,
    /// How much of `text` was handed out.
    emitted: usize,
    stopped: bool,
    started: bool,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, stops: Vec<String>) -> Self {
        Self {
            tokenizer,
            stops,
            text: String::new(),
            partial: Vec::new(),
            emitted: 0,
            stopped: false,
            started: false,
        }
    }

    /// Adds a token; tells whether a stop text has come up, which ends the text before it.
    pub(crate) fn push(&mut self, id: u32) -> bool {
        if self.stopped || self.tokenizer.is_special(id) {
            return self.stopped;
        }
        let mut piece = self.tokenizer.piece(id);
        if !self.started && self.tokenizer.strips_first_blank {
            piece = piece.strip_prefix(b" ").unwrap_or(piece);
        }
        self.started = true;
        let searched = self.text.len();
        self.partial.extend_from_slice(piece);
        self.take_whole_characters();
        self.cut_at_stop(searched);
        self.stopped
    }

    fn take_whole_characters(&mut self) {
        loop {
            let (valid, bad) = match std::str::from_utf8(&self.partial) {
                Ok(text) => (text.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            let whole = std::str::from_utf8(&self.partial[..valid]).expect("valid up to here");
            self.text.push_str(whole);
            match bad {
                Some(bytes) => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    self.partial.drain(..valid + bytes);
                }
                None => {
                    self.partial.drain(..valid);
                    return;
                }
            }
        }
    }

    fn cut_at_stop(&mut self, searched: usize) {
        let found = self
            .stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| {
                // A stop that ends in the new text starts at most its length before it.
                let mut from = searched.saturating_sub(stop.len());
                while !self.text.is_char_boundary(from) {
                    from -= 1;
                }
                self.text[from..].find(stop.as_str()).map(|at| from + at)
            });
        if let Some(at) = found.min() {
            self.text.truncate(at);
            self.partial.clear();
            self.stopped = true;
        }
    }

    /// Hands out the text that is certain by now and was not handed out before; all of it once the completion is over.
    pub(crate) fn take_certain(&mut self, over: bool) -> &str {
        let held = if over || self.stopped {
            0
        } else {
            self.possible_stop()
        };
        let from = self.emitted;
        self.emitted = (self.text.len() - held).max(from);
        &self.text[from..self.emitted]
    }

    /// Tells how many bytes at the end may be the beginning of a stop text.
    fn possible_stop(&self) -> usize {
        let lengths = self.stops.iter().flat_map(|stop| {
            stop.char_indices()
                .map(|(at, _)| at)
                .skip(1)
                .filter(|at| self.text.ends_with(&stop[..*at]))
        });
        lengths.max().unwrap_or(0)
    }

    /// Ends the text; the bytes of an unfinished last character are left out.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}
