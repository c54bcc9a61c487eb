//! How records lie in a file: as a JSON array, one a line, or one after another.

use crate::fault::{Fault, Reason};
use crate::scan::scan_value;

/// A stretch of the file that should be one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord<'text> {
    /// The line that it starts on, counted from 1.
    pub(crate) line: u64,
    /// Its text, or why there is none.
    pub(crate) content: Result<Chunk<'text>, Fault>,
}

/// A record's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'text> {
    pub(crate) text: &'text str,
    /// The deepest nesting of its brackets.
    pub(crate) depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Inside a JSON array.
    Array { before_first: bool },
    /// One record a line.
    Lines,
    /// One value after another; a single object is one of these.
    Values,
    /// Nothing more is read.
    Done,
}

/// What may come after the end of a list of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Nothing: the list is the file.
    Nothing,
    /// The rest of the object that the list is a field of.
    Object,
}

/// Cuts a file's text into records.
pub(crate) struct Records<'text> {
    text: &'text str,
    position: usize,
    line: u64,
    layout: Layout,
    /// What may come after a list.
    after: After,
    /// How the lines look that open a record, once one was found broken.
    openings: Option<Openings>,
}

/// The lines that open a record in a list where one does not close: those that look as the broken one's did.
struct Openings {
    /// A line end, the broken record's indentation and `{`.
    pattern: String,
    /// Where the next such line starts; the text's length when there is none.
    next: usize,
}

/// Tells whether a text can hold records at all: something must start with a bracket, if not the text then a line.
pub(crate) fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with('[')
        || text.lines().any(|line| line.trim_start().starts_with('{'))
}

impl<'text> Records<'text> {
    /// Finds the layout out from the first bytes and, for an object, from where it ends.
    pub(crate) fn new(text: &'text str) -> Self {
        let mut records = Self {
            text,
            position: 0,
            line: 1,
            layout: Layout::Lines,
            after: After::Nothing,
            openings: None,
        };
        records.skip_blanks();
        let rest = records.rest();
        if rest.starts_with('[') {
            records.position += 1;
            records.layout = Layout::Array { before_first: true };
        } else if rest.starts_with('{') {
            let first_line = rest.lines().next().unwrap_or("").trim_end();
            let one_line = scan_value(first_line.as_bytes()).closed;
            // An object that closes on a later line is laid out over several; one that never does is a lone bad line, unless
            // nothing but its bracket stands there.
            if !one_line && (first_line == "{" || scan_value(rest.as_bytes()).closed) {
                records.layout = Layout::Values;
            }
        }
        records
    }

    /// Cuts a list that is a field of the file's one object; `start` is the place of its bracket.
    pub(crate) fn of_list(text: &'text str, start: usize) -> Self {
        let mut records = Self {
            text,
            position: 0,
            line: 1,
            layout: Layout::Array { before_first: true },
            after: After::Object,
            openings: None,
        };
        records.advance(start + 1);
        records
    }

    fn rest(&self) -> &'text str {
        &self.text[self.position..]
    }

    /// Moves on by some bytes and counts the lines passed.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.text.as_bytes()[self.position..self.position + bytes];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.position += bytes;
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start().len());
    }

    fn next_line(&mut self) -> Option<RawRecord<'text>> {
        self.skip_blanks();
        let line = self.line;
        let text = self.rest().lines().next()?;
        self.advance(text.len());
        let text = text.trim_end();
        let depth = scan_value(text.as_bytes()).depth;
        Some(RawRecord {
            line,
            content: Ok(Chunk { text, depth }),
        })
    }

    fn next_value(&mut self) -> Option<RawRecord<'text>> {
        self.skip_blanks();
        if self.rest().is_empty() {
            return None;
        }
        Some(self.take_value())
    }

    fn next_element(&mut self, before_first: bool) -> Option<RawRecord<'text>> {
        self.skip_blanks();
        let line = self.line;
        let end = |found: &str, expected: &str| {
            let fault = Fault::new(Reason::BadJson, expected, found);
            Some(RawRecord {
                line,
                content: Err(fault),
            })
        };
        match self.rest().as_bytes().first() {
            None => {
                self.layout = Layout::Done;
                return end("the end of the file", "`]` at the end of the list");
            }
            Some(b']') => {
                self.advance(1);
                self.skip_blanks();
                let line = self.line;
                self.layout = Layout::Done;
                if self.rest().is_empty() || self.after == After::Object {
                    return None;
                }
                let found = crate::fault::excerpt(self.rest().lines().next().unwrap_or(""));
                let fault = Fault::new(Reason::BadJson, "nothing after the list", found);
                return Some(RawRecord {
                    line,
                    content: Err(fault),
                });
            }
            Some(b',') if !before_first => {
                self.advance(1);
                self.skip_blanks();
            }
            _ if !before_first => {
                // Read on as if the comma stood there: the record itself may be good.
                let record = self.take_value();
                let fault = Fault::new(
                    Reason::BadJson,
                    "a comma between records",
                    describe(&record),
                );
                return Some(RawRecord {
                    line,
                    content: Err(fault),
                });
            }
            _ => {}
        }
        self.layout = Layout::Array {
            before_first: false,
        };
        match self.rest().as_bytes().first() {
            // A comma before the closing bracket, or at the end of a file that was cut there, is passed over; the end is not.
            None | Some(b']') => self.next_element(false),
            Some(_) => Some(self.take_value()),
        }
    }

    /// Takes the value that starts here, at least one character.
    fn take_value(&mut self) -> RawRecord<'text> {
        let line = self.line;
        let limit = self.next_opening();
        let rest = &self.text[self.position..limit];
        let scanned = scan_value(rest.as_bytes());
        if !scanned.closed {
            self.resynchronise();
            let found = "a record that does not close: a quotation mark or bracket, or the file's end, is missing";
            return RawRecord {
                line,
                content: Err(Fault::new(Reason::BadJson, "a whole JSON object", found)),
            };
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let text = &rest[..scanned.end.max(first)];
        self.advance(text.len());
        RawRecord {
            line,
            content: Ok(Chunk {
                text: text.trim_end(),
                depth: scanned.depth,
            }),
        }
    }

    /// Finds the next line that surely opens a record; the text's end where none is known.
    fn next_opening(&mut self) -> usize {
        let (text, position) = (self.text, self.position);
        let Some(openings) = &mut self.openings else {
            return text.len();
        };
        if openings.next <= position {
            let found = text[position..].find(&openings.pattern);
            openings.next = found.map_or(text.len(), |offset| {
                position + offset + openings.pattern.len() - 1
            });
        }
        openings.next
    }

    /// Goes on, after a record of a list that does not close, at the next line that opens one at the same indentation; from
    /// then on such lines bound every record. So a whole list is cut in linear time, however many of its records are broken.
    ///
    /// Where there is no such line nothing more is read.
    fn resynchronise(&mut self) {
        let Layout::Array { .. } = std::mem::replace(&mut self.layout, Layout::Done) else {
            return;
        };
        if self.openings.is_none() {
            let line_start = self.text[..self.position]
                .rfind('\n')
                .map_or(0, |end| end + 1);
            let indentation = &self.text[line_start..self.position];
            if !indentation.trim().is_empty() {
                return;
            }
            self.openings = Some(Openings {
                pattern: format!("\n{indentation}{{"),
                next: 0,
            });
        }
        let next = self.next_opening();
        if next < self.text.len() {
            self.advance(next - self.position);
            self.layout = Layout::Array { before_first: true };
        }
    }
}

fn describe(record: &RawRecord<'_>) -> String {
    match &record.content {
        Ok(chunk) => crate::fault::excerpt(chunk.text),
        Err(fault) => fault.found.clone(),
    }
}

impl<'text> Iterator for Records<'text> {
    type Item = RawRecord<'text>;

    fn next(&mut self) -> Option<RawRecord<'text>> {
        match self.layout {
            Layout::Array { before_first } => self.next_element(before_first),
            Layout::Lines => self.next_line(),
            Layout::Values => self.next_value(),
            Layout::Done => None,
        }
    }
}
