//! Texts that commands take: as arguments, from a file, from stdin.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::Failure;

/// Texts of one call; the daemon takes no more at once.
const TEXTS_PER_CALL: usize = 256;
/// The bytes of one call's texts; a message holds 4 MiB.
const BYTES_PER_CALL: usize = 2 << 20;
/// The most that is read of a file or of stdin.
const MAX_INPUT_BYTES: u64 = 256 << 20;
/// Columns of a text in the table for people.
const SHOWN_CHARACTERS: usize = 48;

/// Where the texts are.
#[derive(Args, Clone, Debug)]
pub(crate) struct TextArgs {
    /// The texts; the lines of stdin where neither texts nor a file are given
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    texts: Vec<String>,
    /// Take the lines of this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TextArgs {
    /// Reads the texts.
    pub(super) fn read(&self) -> Result<Vec<String>, Failure> {
        let texts = match (&self.file, self.texts.is_empty()) {
            (Some(path), _) => lines(&read(path)?),
            (None, true) => lines(&read_all(std::io::stdin(), "stdin")?),
            (None, false) => self.texts.clone(),
        };
        if texts.is_empty() {
            return Err(Failure::refused("INVALID_ARGUMENT", "there is no text"));
        }
        Ok(texts)
    }
}

/// Cuts the texts into calls that a message holds.
pub(super) fn calls(texts: &[String]) -> Vec<&[String]> {
    let mut calls = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        let full = index - first == TEXTS_PER_CALL || bytes + text.len() > BYTES_PER_CALL;
        if full && index > first {
            calls.push(&texts[first..index]);
            (first, bytes) = (index, 0);
        }
        bytes += text.len();
    }
    calls.push(&texts[first..]);
    calls
}

/// Takes every line that holds anything.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_string)
        .collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::local(format!("open {shown}: {error}")))?;
    read_all(file, &shown)
}

fn read_all(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("read {name}: {error}")))?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::refused(
            "TOO_LARGE",
            format!("{name}: expected at most {MAX_INPUT_BYTES} bytes, found more; split it"),
        ));
    }
    Ok(text)
}

/// Cuts a text for a table.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_string();
    }
    text.chars()
        .take(SHOWN_CHARACTERS)
        .chain("…".chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_into_calls_by_count_and_bytes() {
        let texts = vec!["a".to_string(); 600];
        let lengths: Vec<usize> = calls(&texts).iter().map(|call| call.len()).collect();
        assert_eq!(lengths, [256, 256, 88]);
        let texts = vec!["a".repeat(BYTES_PER_CALL - 1); 3];
        let lengths: Vec<usize> = calls(&texts).iter().map(|call| call.len()).collect();
        assert_eq!(lengths, [1, 1, 1]);
    }

    #[test]
    fn lines_without_text_are_passed_over() {
        assert_eq!(lines("a\n\n \nb\r\n"), ["a", "b"]);
    }
}
