//! Writing to stdout: text, tables and JSON. Logs and errors never go there.

use std::io::{self, IsTerminal as _, Write};

use autodidact_domain::shown::{on_one_line, steers};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::Failure;

/// Writes a line.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    written(writeln!(io::stdout().lock(), "{}", text.as_ref()))
}

/// Writes text as it is and shows it at once.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(io::stdout().lock().write_all(bytes))
}

/// Writes a JSON value for scripts and people.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(format!("{value:#}"))
}

/// Writes a JSON value on one line, for streams.
pub(crate) fn json_line(value: &Value) -> Result<(), Failure> {
    line(value.to_string())
}

/// Tells whether colours are for somebody: stdout is a terminal, and `NO_COLOR` is not set.
pub(crate) fn is_coloured() -> bool {
    // https://no-color.org: any value but the empty one turns colour off.
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a note for people to stderr.
pub(crate) fn note(text: impl AsRef<str>) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Writes rows under headings, columns aligned; nothing but the headings where there are no rows.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    text(&format_table(headings, rows))
}

/// Lays rows out under headings; a Chinese character takes two columns of a terminal. What would steer it is shown by its escape.
pub(crate) fn format_table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let shown = |row: &Vec<String>| -> Vec<String> {
        row.iter()
            .map(|cell| on_one_line(cell, usize::MAX))
            .collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.width());
        cells.chain([headings[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    let mut add = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
            })
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    };
    add(&mut headings.iter().copied());
    for row in &rows {
        add(&mut row.iter().map(String::as_str));
    }
    out
}

/// Writes names and values in two columns, a value's further lines below its first.
pub(crate) fn facts(facts: &[(&str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let further = format!("\n{}", " ".repeat(width + 2));
    for (name, value) in facts {
        let value = visible(value).replace('\n', &further);
        line(format!("{name:<width$}  {value}").trim_end())?;
    }
    Ok(())
}

/// Shows the beginning of a text on one line, its control characters by their escapes.
pub(crate) fn excerpt(text: &str) -> String {
    excerpt_of(text, 80)
}

/// Shows as much of a text as so many columns of a terminal hold; a Chinese character takes two.
pub(crate) fn excerpt_of(text: &str, columns: usize) -> String {
    let mut shown = String::new();
    let mut width = 0;
    for character in text.chars() {
        let before = shown.len();
        match character {
            '\n' | '\t' => shown.push(' '),
            other if steers(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
        width += shown[before..].width();
        if width > columns {
            shown.truncate(before);
            shown.push('…');
            break;
        }
    }
    shown
}

/// Shows a number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Shows a time (milliseconds since 1970) in UTC, as in `2026-03-01 12:34:56`.
pub(crate) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to year, month and day: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Shows control characters by their escapes, so that a record's text cannot steer the terminal.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            other if steers(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::local(format!("write to stdout: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let rows = vec![
            vec!["a".into(), "1".into()],
            vec!["long name".into(), String::new()],
        ];
        assert_eq!(
            format_table(&["NAME", "N"], &rows),
            "NAME       N\na          1\nlong name\n"
        );
    }

    #[test]
    fn what_would_steer_a_terminal_stands_in_no_cell() {
        let rows = vec![vec!["a\u{1b}[2J\nerror: b".into()]];
        assert_eq!(format_table(&["X"], &rows), "X\na\\u{1b}[2J error: b\n");
    }

    #[test]
    fn times_and_sizes_read_well() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_772_368_496_789, "2026-03-01 12:34:56"),
        ] {
            assert_eq!(time(ms), expected);
        }
        assert_eq!(excerpt("a\nb\u{1b}c"), "a b\\u{1b}c");
        assert_eq!(excerpt("a\u{202e}c"), "a\\u{202e}c");
        assert_eq!(excerpt(&"写".repeat(90)), format!("{}…", "写".repeat(40)));
        assert_eq!(excerpt(&"写".repeat(40)), "写".repeat(40));
        assert_eq!(visible("\u{1b}[2J\u{2066}"), "\\u{1b}[2J\\u{2066}");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(98_000_000), "98.0 MB");
    }
}
