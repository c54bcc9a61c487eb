//! Stop texts, looked for on this side: some servers leave them in.

/// Passes a text on piece by piece up to the first stop text, holding back what may be the beginning of one.
pub(crate) struct StopFilter<'a> {
    stops: &'a [String],
    held: String,
    stopped: bool,
}

impl<'a> StopFilter<'a> {
    pub(crate) fn new(stops: &'a [String]) -> Self {
        Self {
            stops,
            held: String::new(),
            stopped: false,
        }
    }

    /// Tells whether a stop text came up.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a piece and gives what is sure to be part of the text.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        if let Some(at) = first_stop(&self.held, self.stops) {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.possible_beginning();
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Gives what was held back, at the end of the text.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Measures the longest end of what is held that a stop text begins with, in bytes.
    fn possible_beginning(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        (from..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| {
                self.stops
                    .iter()
                    .any(|stop| stop.starts_with(&self.held[*at..]))
            })
            .map_or(0, |at| self.held.len() - at)
    }
}

/// Finds where the first stop text begins.
pub(crate) fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_text_is_never_passed_on_wherever_it_is_cut() {
        let stops = [
            "###".to_string(),
            "\n\nUser".to_string(),
            "停止".to_string(),
        ];
        let check = |text: &str, expect: &str, stopped: bool| {
            // Cut at every place, and into single characters.
            let mut cuts: Vec<Vec<String>> = text
                .char_indices()
                .map(|(at, _)| vec![text[..at].to_string(), text[at..].to_string()])
                .collect();
            cuts.push(text.chars().map(String::from).collect());
            for pieces in cuts {
                let mut filter = StopFilter::new(&stops);
                let mut passed: String = pieces.iter().map(|piece| filter.push(piece)).collect();
                passed += &filter.finish();
                assert_eq!(
                    (passed.as_str(), filter.stopped()),
                    (expect, stopped),
                    "{pieces:?}"
                );
            }
        };
        check("one ## two ### three", "one ## two ", true);
        check("a\n\nUs", "a\n\nUs", false);
        check("a\n\nUser: b ###", "a", true);
        check("说到停为止，停止！", "说到停为止，", true);
        check("plain", "plain", false);
        assert_eq!(first_stop("abc", &[String::new()]), None);
    }
}
