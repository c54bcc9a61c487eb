//! What a report says, apart from its form: sections write blocks, and each format lays them out.

use autodidact_domain::{Language, Report};

use super::sections::SECTIONS;

/// A report in blocks, in one language.
pub(super) struct Document {
    pub(super) language: Language,
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

impl Document {
    /// Lets every section write what it has to say of a report.
    pub(super) fn of(report: &Report) -> Self {
        Self {
            language: report.language,
            title: report.workflow.to_string(),
            blocks: SECTIONS
                .iter()
                .flat_map(|section| section(report))
                .collect(),
        }
    }
}

/// A part of a report.
pub(super) enum Block {
    /// Begins a section.
    Heading(String),
    /// Begins a part of a section.
    Subheading(Line),
    Paragraph(Line),
    Table(Table),
    List(Vec<Item>),
    Chart(Chart),
}

/// Rows under headings.
pub(super) struct Table {
    /// What it shows, for those who cannot see where it stands.
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Line>>,
}

/// A column, and how its cells are set.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: ColumnKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Words,
    Numbers,
}

/// Makes columns of words.
pub(super) fn words(names: &[&str]) -> Vec<Column> {
    columns(names, ColumnKind::Words)
}

/// Makes columns of numbers.
pub(super) fn numbers(names: &[&str]) -> Vec<Column> {
    columns(names, ColumnKind::Numbers)
}

fn columns(names: &[&str], kind: ColumnKind) -> Vec<Column> {
    let column = |name: &&str| Column {
        name: name.to_string(),
        kind,
    };
    names.iter().map(column).collect()
}

/// A point of a list with what belongs to it.
pub(super) struct Item {
    pub(super) line: Line,
    pub(super) details: Vec<Line>,
}

/// Curves over a common axis.
pub(super) struct Chart {
    pub(super) title: String,
    /// What can be seen in it, in words.
    pub(super) description: String,
    /// What lies on the horizontal axis.
    pub(super) x: String,
    pub(super) series: Vec<Series>,
}

/// One curve; its points have finite coordinates and come from left to right.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A piece of text, by who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Our own words and figures.
    Own(String),
    /// What data, models or people say: it is shown as it is, and can do nothing.
    Data(String),
}

/// Pieces of text in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<Text>);

impl Line {
    /// Begins a line with what data says.
    pub(super) fn data(text: impl Into<String>) -> Self {
        Self(vec![Text::Data(text.into())])
    }

    /// Adds our own words.
    pub(super) fn and(mut self, text: impl Into<String>) -> Self {
        self.0.push(Text::Own(text.into()));
        self
    }

    /// Adds what data says.
    pub(super) fn and_data(mut self, text: impl Into<String>) -> Self {
        self.0.push(Text::Data(text.into()));
        self
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self(vec![Text::Own(text)])
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::from(text.to_string())
    }
}

/// Makes the invisible visible: a character that would turn the writing around, hide or break it is shown by its code point.
pub(super) fn reveal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\r' => {}
            // Bidirectional controls (Unicode Standard Annex 9, table 4) and tag characters, which nothing shows.
            '\u{61C}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            | '\u{E0000}'..='\u{E007F}' => push_code(&mut shown, character),
            character if character.is_control() => push_code(&mut shown, character),
            character => shown.push(character),
        }
    }
    shown
}

fn push_code(shown: &mut String, character: char) {
    shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(character)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_would_see_is_shown_by_its_code_point() {
        let check = |text: &str, expect: &str| assert_eq!(reveal(text), expect, "{text:?}");
        check("a\u{202E}b", "a⟨U+202E⟩b");
        check("\u{2066}x\u{2069}", "⟨U+2066⟩x⟨U+2069⟩");
        check("nul\0", "nul⟨U+0000⟩");
        check("\u{E0041}", "⟨U+E0041⟩");
        check("两行\r\n在这里\t。", "两行\n在这里\t。");
    }
}
