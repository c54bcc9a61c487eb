//! The report as Markdown, for people with a text editor and for pages that show such files.

use std::fmt::Write as _;

use autodidact_domain::report::Report;

use super::document::{Block, Chart, Column, ColumnKind, Document, Line, Table, Text, reveal};
use super::spark::sparkline;
use crate::prompts::flatten;

/// Lays a report out as Markdown, in the report's language.
pub fn to_markdown(report: &Report) -> String {
    let document = Document::of(report);
    let mut text = format!("# {}\n\n", document.title);
    for block in &document.blocks {
        // Writing to a String cannot fail.
        let _ = write_block(&mut text, block);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn write_block(text: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(title) => writeln!(text, "## {title}\n"),
        Block::Subheading(title) => writeln!(text, "### {}\n", line(title)),
        Block::Paragraph(paragraph) => writeln!(text, "{}\n", line(paragraph)),
        Block::Table(table) => write_table(text, table),
        Block::List(items) => {
            for item in items {
                writeln!(text, "- {}", line(&item.line))?;
                for detail in &item.details {
                    writeln!(text, "  - {}", line(detail))?;
                }
            }
            writeln!(text)
        }
        Block::Chart(chart) => write_chart(text, chart),
    }
}

fn write_table(text: &mut String, table: &Table) -> std::fmt::Result {
    let names = table.columns.iter().map(|column| column.name.as_str());
    writeln!(text, "| {} |", names.collect::<Vec<_>>().join(" | "))?;
    let rule = |column: &Column| match column.kind {
        ColumnKind::Words => "---|",
        ColumnKind::Numbers => "---:|",
    };
    writeln!(
        text,
        "|{}",
        table.columns.iter().map(rule).collect::<String>()
    )?;
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(line).collect();
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    writeln!(text)
}

/// Draws each curve as one line of blocks, with its first and last value.
fn write_chart(text: &mut String, chart: &Chart) -> std::fmt::Result {
    for series in &chart.series {
        let values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            let (name, curve) = (&series.name, sparkline(&values));
            writeln!(text, "- {name}: {first:.3} {curve} {last:.3}")?;
        }
    }
    writeln!(text)
}

fn line(line: &Line) -> String {
    let shown = line.0.iter().map(|text| match text {
        Text::Own(text) => text.clone(),
        Text::Data(text) => harmless(text),
    });
    shown.collect()
}

/// Puts what data says on one line and takes its meaning as Markdown or HTML away (CommonMark 0.31, 2.4: any ASCII punctuation may be
/// escaped).
fn harmless(text: &str) -> String {
    let text = reveal(&flatten(text));
    let mut shown = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let after = characters.peek().copied().unwrap_or(' ');
        let means_something = match character {
            '\\' | '`' | '*' | '[' | ']' | '<' | '|' | '&' | '~' => true,
            // Within a word it emphasises nothing.
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            // At the beginning of a line only.
            '#' | '>' | '+' | '-' | '=' => shown.is_empty(),
            _ => false,
        };
        if means_something {
            shown.push('\\');
        }
        shown.push(character);
        before = character;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_data_says_means_nothing_to_markdown() {
        let check = |text: &str, expect: &str| assert_eq!(harmless(text), expect, "{text:?}");
        check("# a\n| b |", r"\# a \| b \|");
        check("<script>alert(1)</script>", r"\<script>alert(1)\</script>");
        check("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))");
        check(
            "**bold** _so_ snake_case",
            r"\*\*bold\*\* \_so\_ snake_case",
        );
        check("`code` \\", r"\`code\` \\");
        check("&lt; 5 - 3", r"\&lt; 5 - 3");
        check("从右\u{202E}到左", "从右⟨U+202E⟩到左");
    }

    #[test]
    fn every_task_type_stands_with_its_own_measures_in_the_language_of_the_report() {
        let report = |language: &str| -> Report {
            let interval = serde_json::json!({"low": 0.4, "high": 0.9});
            serde_json::from_value(serde_json::json!({
                "workflow": "w", "state": "done", "language": language, "seed": 1, "compute": "fast",
                "dataset_digest": null, "adapter_digest": null, "adapter": null, "dataset": null,
                "seconds": 1.0, "peak_rss_mb": 9, "tokens_per_second": 1.0, "rounds": [],
                "evaluations": [{"model": "base", "language": "en", "n": 5, "heldout_loss": 1.5,
                    "rouge_l": 0.25, "success_rate": 0.4, "intervals": {}, "diversity": {},
                    "task_types": {
                        "classification": {"n": 3, "succeeded": 2,
                            "metrics": {"accuracy": 0.6667, "macro_f1": 0.5},
                            "intervals": {"accuracy": interval}},
                        "translation": {"n": 1, "succeeded": 0, "metrics": {"chrf": 12.345}},
                        "writing": {"n": 1, "succeeded": 0}}}],
                "examples": [], "before_after": null, "plugins": []}))
            .expect("a report of this or an earlier daemon")
        };
        for (language, rows) in [
            (
                "en",
                [
                    "## Held-out tasks by type",
                    "| base | en | classification | 3 | 2 | accuracy 0.667 [0.400, 0.900], macro-F1 0.500 |",
                    "| base | en | translation | 1 | 0 | chrF 12.3 |",
                    "| base | en | writing | 1 | 0 |  |",
                ],
            ),
            (
                "zh",
                [
                    "## 各类留出任务",
                    "| base | en | 分类 | 3 | 2 | 准确率 0.667 [0.400, 0.900]，宏平均 F1 0.500 |",
                    "| base | en | 翻译 | 1 | 0 | chrF 12.3 |",
                    "| base | en | 写作 | 1 | 0 |  |",
                ],
            ),
        ] {
            let text = to_markdown(&report(language));
            for row in rows {
                assert!(text.contains(row), "{row:?} is missing in\n{text}");
            }
        }
    }
}
