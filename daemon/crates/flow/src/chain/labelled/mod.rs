//! Lines that people labelled (`tests/labelled/REASON.LANGUAGE.jsonl`), through the rules as workflows run them.

mod answers;
mod completions;
mod instructions;
mod marks;
mod overlaps;

use std::path::{Path, PathBuf};

use autodidact_domain::Language;
use serde::de::DeserializeOwned;

/// The fewest lines of a reason and language, and of them those that are ones of it and those that are not.
const LEAST: (usize, usize, usize) = (20, 10, 9);

/// A line that says what is to be decided.
trait Labelled {
    /// Whether it is one of what its file is named for.
    fn is_one(&self) -> bool;

    fn shown(&self) -> String;
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(parse).collect()
}

/// Holds every line of the reasons' files against what `miss` says of it, a difference from its label where there is one; gives the
/// number of lines.
fn check<'a, Line: Labelled + DeserializeOwned>(
    reasons: impl Iterator<Item = &'a str>,
    miss: impl Fn(&str, Language, &Line) -> Option<String>,
) -> usize {
    let (mut misses, mut count) = (Vec::new(), 0);
    for reason in reasons {
        for language in [Language::En, Language::Zh] {
            let name = format!("{reason}.{language}.jsonl");
            let lines: Vec<Line> = lines(&folder("tests/labelled").join(&name))
                .into_iter()
                .map(|line| serde_json::from_value(line).unwrap_or_else(|e| panic!("{name}: {e}")))
                .collect();
            let ones = lines.iter().filter(|line| line.is_one()).count();
            let found = (lines.len(), ones, lines.len() - ones);
            assert!(
                found.0 >= LEAST.0 && found.1 >= LEAST.1 && found.2 >= LEAST.2,
                "{name}: {found:?} lines, ones and others"
            );
            count += lines.len();
            for line in &lines {
                if let Some(miss) = miss(reason, language, line) {
                    misses.push(format!("{name}: {miss}: {}", line.shown()));
                }
            }
        }
    }
    let told = misses.join("\n");
    assert!(misses.is_empty(), "{} misses:\n{told}", misses.len());
    count
}

#[test]
fn every_file_of_labelled_lines_is_read() {
    let reasons = instructions::reasons()
        .chain(answers::reasons())
        .chain(completions::REASONS)
        .chain(marks::REASONS)
        .chain([overlaps::REASON]);
    let mut known: Vec<String> = reasons
        .flat_map(|reason| ["en", "zh"].map(|code| format!("{reason}.{code}.jsonl")))
        .collect();
    let files = std::fs::read_dir(folder("tests/labelled")).expect("the folder is there");
    let mut there: Vec<String> = files
        .map(|file| {
            file.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    known.sort();
    there.sort();
    assert_eq!(known, there);
}
