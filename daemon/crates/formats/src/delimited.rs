//! CSV and TSV (RFC 4180): a line of column names, then a record a row.
//!
//! Commas, tabs or semicolons stand between the cells, whichever make columns of a format (or of a mapping file) of the first
//! line. A cell in quotation marks may hold line ends and separators; a quotation mark in it is doubled. Fields that are lists
//! (`messages`, `history`, `tokens` …) are written as JSON in their cell.
//!
//! An empty cell is an empty text. Only where columns of several kinds of records stand side by side is it no field at all, so
//! that a row is of the kind whose cells it fills.

use std::borrow::Cow;

use serde_json::Value;

use crate::container::{Container, Content, Record, Records};
use crate::fault::{Fault, Reason, excerpt};
use crate::fields::Fields;
use crate::format;
use crate::json::check_size;
use crate::mapping::Mapping;

pub(crate) const CONTAINER: Container = Container {
    name: "a line of column names (CSV or TSV)",
    recognises: |content, mapping| header(content.text(), mapping).is_some(),
    records,
};

/// What stands between cells; the first that makes sense of the names is it.
const SEPARATORS: [u8; 3] = [b'\t', b',', b';'];

/// Columns of which a record has those of one kind; where several kinds have columns, empty cells are no fields.
const KINDS: [&[&str]; 8] = [
    &["instruction"],
    &["instances"],
    &["messages"],
    &["conversations"],
    &["prompt", "chosen"],
    &["question"],
    &["text"],
    &["tokens"],
];

/// Fields of text or JSON: a cell that holds a list is read as one.
const LISTS: [&str; 12] = [
    "history",
    "instances",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "tokens",
    "ner_tags",
    "tags",
    "labels",
];

/// A file's first line.
struct Header {
    separator: u8,
    /// The names in the file.
    columns: Vec<String>,
    /// The field of each column; nothing where it is passed over.
    fields: Vec<Option<String>>,
    is_mixed: bool,
}

/// Tells whether columns of several kinds of records stand side by side.
pub(crate) fn is_mixed<'name>(fields: impl Iterator<Item = &'name str> + Clone) -> bool {
    let has = |kind: &&&[&str]| fields.clone().any(|field| kind.contains(&field));
    KINDS.iter().filter(has).count() > 1
}

/// Finds out which separator the first line has; none where its names are of no format.
fn header(text: &str, mapping: &Mapping) -> Option<Header> {
    let first = text.trim_start().as_bytes().first()?;
    if matches!(first, b'{' | b'[') {
        return None;
    }
    SEPARATORS.into_iter().find_map(|separator| {
        let columns = Rows::new(text, separator).next()?.cells.ok()?;
        let columns: Vec<String> = columns.iter().map(|name| name.trim().into()).collect();
        let field = |name: &String| mapping.field_of(name).map(str::to_string);
        let fields: Vec<Option<String>> = columns.iter().map(field).collect();
        let named = fields.iter().flatten();
        let example: Fields = named.clone().map(|n| (n.clone(), Value::Null)).collect();
        let is_known = format::recognise(&example).is_some();
        let is_mixed = is_mixed(named.map(String::as_str).collect::<Vec<_>>().into_iter());
        is_known.then_some(Header {
            separator,
            columns,
            fields,
            is_mixed,
        })
    })
}

fn records<'file>(content: &'file Content<'_>, mapping: &'file Mapping) -> Records<'file> {
    let text = content.text();
    let Some(header) = header(text, mapping) else {
        return Box::new(std::iter::empty());
    };
    if let Err(fault) = mapping.check_columns(&header.columns) {
        let fields = Err(fault);
        return Box::new(std::iter::once(Record { line: 1, fields }));
    }
    let rows = Rows::new(text, header.separator).skip(1);
    Box::new(rows.map(move |row| Record {
        line: row.line,
        fields: row.cells.and_then(|cells| header.record(&cells)),
    }))
}

impl Header {
    fn record(&self, cells: &[Cow<'_, str>]) -> Result<Fields, Fault> {
        if cells.len() != self.columns.len() {
            return Err(Fault::new(
                Reason::WrongLength,
                format!("{} cells, as there are columns", self.columns.len()),
                format!("{} cells", cells.len()),
            ));
        }
        check_size(cells.iter().map(|cell| cell.len()).sum())?;
        let mut fields = Fields::new();
        for (cell, field) in cells.iter().zip(&self.fields) {
            let Some(field) = field else { continue };
            if !(self.is_mixed && cell.is_empty()) {
                fields.insert(field.clone(), value(field, cell));
            }
        }
        Ok(fields)
    }
}

/// Reads a cell: lists and flags of the fields that have such, everything else as text.
fn value(field: &str, cell: &str) -> Value {
    let cell_trimmed = cell.trim();
    if field == "is_classification" {
        return match cell_trimmed.to_ascii_lowercase().as_str() {
            "true" => true.into(),
            "false" => false.into(),
            "" => Value::Null,
            _ => cell.into(),
        };
    }
    if LISTS.contains(&field) {
        match serde_json::from_str(cell_trimmed) {
            Ok(list @ Value::Array(_)) => return list,
            _ if cell_trimmed.is_empty() && !["prompt", "completion"].contains(&field) => {
                return Value::Null;
            }
            _ => {}
        }
    }
    cell.into()
}

/// A row as it stands in the file.
struct Row<'text> {
    /// The line that it starts on.
    line: u64,
    cells: Result<Vec<Cow<'text, str>>, Fault>,
}

/// Cuts a text into rows; empty lines are none.
struct Rows<'text> {
    text: &'text str,
    position: usize,
    line: u64,
    separator: u8,
}

impl<'text> Rows<'text> {
    fn new(text: &'text str, separator: u8) -> Self {
        Self {
            text,
            position: 0,
            line: 1,
            separator,
        }
    }

    /// Moves on to a place and counts the lines passed.
    fn move_to(&mut self, position: usize) {
        let passed = &self.text.as_bytes()[self.position..position];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.position = position;
    }

    /// Finds the end of the line at a place: of its text, and of the line itself.
    fn line_end(&self, from: usize) -> (usize, usize) {
        match self.text[from..].find('\n') {
            Some(end) => {
                let text_end = from + end;
                let is_crlf = self.text[from..text_end].ends_with('\r');
                (text_end - usize::from(is_crlf), text_end + 1)
            }
            None => (self.text.len(), self.text.len()),
        }
    }

    /// Reads the row that starts here; gives it with the place after it.
    ///
    /// A cell that does not close takes the rest of the file with it: what its lines would be as rows, nobody wrote.
    fn row(&self) -> (Result<Vec<Cow<'text, str>>, Fault>, usize) {
        let mut cells = Vec::new();
        let mut position = self.position;
        loop {
            let (text_end, after) = self.line_end(position);
            let is_quoted = self.text.as_bytes().get(position) == Some(&b'"');
            let cell_end;
            if is_quoted {
                match self.quoted(position + 1) {
                    Ok((cell, end)) => {
                        cells.push(cell);
                        cell_end = end;
                    }
                    Err(fault) => return (Err(fault), self.text.len()),
                }
            } else {
                let line = &self.text.as_bytes()[position..text_end];
                let length = line.iter().position(|byte| *byte == self.separator);
                cell_end = length.map_or(text_end, |length| position + length);
                cells.push(self.text[position..cell_end].into());
            }
            let (text_end, after) = match is_quoted {
                true => self.line_end(cell_end),
                false => (text_end, after),
            };
            if cell_end == text_end {
                return (Ok(cells), after);
            }
            if self.text.as_bytes()[cell_end] != self.separator {
                let found = excerpt(&self.text[cell_end..text_end]);
                let expected = "the next cell, or the line's end, after a quotation mark";
                return (Err(Fault::new(Reason::BadRow, expected, found)), after);
            }
            position = cell_end + 1;
        }
    }

    /// Reads a cell after its first quotation mark; gives it with the place after its last.
    fn quoted(&self, from: usize) -> Result<(Cow<'text, str>, usize), Fault> {
        let mut cell = Cow::Borrowed("");
        let mut start = from;
        while let Some(length) = self.text[start..].find('"') {
            let mark = start + length;
            cell += &self.text[start..mark];
            if self.text.as_bytes().get(mark + 1) != Some(&b'"') {
                return Ok((cell, mark + 1));
            }
            cell += "\"";
            start = mark + 2;
        }
        let begun = excerpt(&self.text[from - 1..self.line_end(from).0]);
        Err(Fault::new(
            Reason::BadRow,
            "a quotation mark at the end of a cell that begins with one",
            format!("none up to the end of the file, after {begun}"),
        ))
    }
}

impl<'text> Iterator for Rows<'text> {
    type Item = Row<'text>;

    fn next(&mut self) -> Option<Row<'text>> {
        loop {
            if self.position == self.text.len() {
                return None;
            }
            let (text_end, after) = self.line_end(self.position);
            if !self.text[self.position..text_end].trim().is_empty() {
                break;
            }
            self.move_to(after);
        }
        let line = self.line;
        let (cells, after) = self.row();
        self.move_to(after);
        Some(Row { line, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows rows with their lines, cells parted by bars, or the reason of their fault.
    fn rows(text: &str) -> Vec<(u64, String)> {
        let show = |row: Row<'_>| {
            let cells = row.cells.map(|cells| cells.join("|"));
            (
                row.line,
                cells.unwrap_or_else(|fault| fault.reason.code().to_string()),
            )
        };
        Rows::new(text, b',').map(show).collect()
    }

    #[test]
    fn rows_and_cells_end_where_the_standard_says() {
        let check = |text: &str, expect: &[(u64, &str)]| {
            let expect: Vec<(u64, String)> =
                expect.iter().map(|(l, r)| (*l, (*r).into())).collect();
            assert_eq!(rows(text), expect, "{text:?}");
        };
        check("a,b\r\n\n1,2", &[(1, "a|b"), (3, "1|2")]);
        check("a,\n,b\n", &[(1, "a|"), (2, "|b")]);
        check("\"a\nb\",\"c\"\"d\"\ne,f", &[(1, "a\nb|c\"d"), (3, "e|f")]);
        check("\"\",x\n", &[(1, "|x")]);
        check("a\"b,c", &[(1, "a\"b|c")]);
        check("\"一，\"\"二\",三", &[(1, "一，\"二|三")]);
        // A row with text after a cell's end costs itself; a cell that does not end, the rest of the file.
        check("\"a\"b,c\nd,e", &[(1, "bad_row"), (2, "d|e")]);
        check("\"a,b\nc,d\n\"e,f\ng,h", &[(1, "bad_row"), (4, "g|h")]);
        check("a,b\n\"c,d\ne,f\n", &[(1, "a|b"), (2, "bad_row")]);
    }
}
