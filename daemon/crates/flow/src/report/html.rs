//! The report as one page of HTML that needs nothing from elsewhere: no script, style sheet, font or picture is loaded.
//!
//! What data says is escaped and set apart in its own direction of writing, so that it can change nothing around it. The page's
//! policy allows the one style sheet that stands in it, by its digest, and nothing else.

use std::fmt::Write as _;

use autodidact_domain::report::Report;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::chart;
use super::document::{Block, ColumnKind, Document, Line, Table, Text, reveal};

/// Light and dark by the reader's preference, and for paper.
const STYLE: &str = include_str!("report.css");

/// Lays a report out as a page, in the report's language.
pub fn to_html(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut text, &Document::of(report));
    text
}

/// Takes the meaning that a text's characters have in HTML away, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in reveal(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

fn write_page(text: &mut String, document: &Document) -> std::fmt::Result {
    let title = escape(&document.title);
    let language = document.language;
    let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    writeln!(text, "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>")?;
    writeln!(text, "<meta charset=\"utf-8\">")?;
    writeln!(
        text,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">"
    )?;
    writeln!(
        text,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
    )?;
    writeln!(text, "<meta name=\"referrer\" content=\"no-referrer\">")?;
    let kind = language.pick("report", "报告");
    writeln!(text, "<title>{title} – {kind}</title>")?;
    writeln!(text, "<style>{STYLE}</style>\n</head>\n<body>")?;
    writeln!(text, "<header>\n<h1><bdi>{title}</bdi></h1>")?;
    write_contents(text, document)?;
    writeln!(text, "</header>\n<main>")?;
    let (mut sections, mut charts) = (0, 0);
    for block in &document.blocks {
        match block {
            Block::Heading(title) => {
                sections += 1;
                let title = escape(title);
                writeln!(text, "<h2 id=\"section-{sections}\">{title}</h2>")?;
            }
            Block::Chart(chart) => {
                charts += 1;
                text.push_str(&chart::svg(chart, charts));
            }
            other => write_block(text, other)?,
        }
    }
    writeln!(text, "</main>\n</body>\n</html>")
}

/// Lists the sections with links to them.
fn write_contents(text: &mut String, document: &Document) -> std::fmt::Result {
    let label = document.language.pick("Contents", "目录");
    writeln!(text, "<nav aria-label=\"{label}\">\n<ul>")?;
    let titles = document.blocks.iter().filter_map(|block| match block {
        Block::Heading(title) => Some(escape(title)),
        _ => None,
    });
    for (number, title) in (1..).zip(titles) {
        writeln!(text, "<li><a href=\"#section-{number}\">{title}</a></li>")?;
    }
    writeln!(text, "</ul>\n</nav>")
}

fn write_block(text: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Subheading(title) => writeln!(text, "<h3>{}</h3>", line(title)),
        Block::Paragraph(paragraph) => writeln!(text, "<p>{}</p>", line(paragraph)),
        Block::Table(table) => write_table(text, table),
        Block::List(items) => {
            writeln!(text, "<ul>")?;
            for item in items {
                write!(text, "<li>{}", line(&item.line))?;
                if !item.details.is_empty() {
                    let details = item.details.iter().map(line);
                    let details: Vec<String> = details.collect();
                    write!(
                        text,
                        "\n<ul>\n<li>{}</li>\n</ul>\n",
                        details.join("</li>\n<li>")
                    )?;
                }
                writeln!(text, "</li>")?;
            }
            writeln!(text, "</ul>")
        }
        // The page writes these itself: they are numbered.
        Block::Heading(_) | Block::Chart(_) => Ok(()),
    }
}

/// Writes a table whose first column names its rows. One that is wider than the page is scrolled, by the keyboard too.
fn write_table(text: &mut String, table: &Table) -> std::fmt::Result {
    let title = escape(&table.title);
    writeln!(
        text,
        "<div class=\"wide\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\">\n<table aria-label=\"{title}\">\n<thead>\n<tr>"
    )?;
    let class = |place: usize| match table.columns.get(place).map(|column| column.kind) {
        Some(ColumnKind::Numbers) => " class=\"number\"",
        _ => "",
    };
    for (place, column) in table.columns.iter().enumerate() {
        let (class, name) = (class(place), escape(&column.name));
        writeln!(text, "<th scope=\"col\"{class}>{name}</th>")?;
    }
    writeln!(text, "</tr>\n</thead>\n<tbody>")?;
    for row in &table.rows {
        writeln!(text, "<tr>")?;
        for (place, cell) in row.iter().enumerate() {
            let (class, cell) = (class(place), line(cell));
            match place {
                0 => writeln!(text, "<th scope=\"row\"{class}>{cell}</th>")?,
                _ => writeln!(text, "<td{class}>{cell}</td>")?,
            }
        }
        writeln!(text, "</tr>")?;
    }
    writeln!(text, "</tbody>\n</table>\n</div>")
}

fn line(line: &Line) -> String {
    let shown = line.0.iter().map(|text| match text {
        Text::Own(text) => escape(text),
        Text::Data(text) => format!("<bdi>{}</bdi>", escape(text)),
    });
    shown.collect()
}
