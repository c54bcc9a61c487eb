//! What a model's files say about it for people.

use std::io::Read as _;
use std::path::Path;

use super::files::TextFiles;

/// Finds the licence that a model's files name: in GGUF metadata, or in the head of the folder's `README.md`.
pub(crate) fn licence(path: &Path, text: &TextFiles) -> String {
    match text {
        TextFiles::Gguf(header) => ["general.license.name", "general.license"]
            .iter()
            .find_map(|key| header.metadata.get(*key)?.as_str())
            .map(one_line)
            .unwrap_or_default(),
        TextFiles::HuggingFace { .. } => folder_licence(path),
    }
}

/// Reads `license` (or the name beside `license: other`) between the two `---` at a model card's head.
pub(crate) fn folder_licence(folder: &Path) -> String {
    const MAX_CARD_BYTES: u64 = 64 << 10;
    let mut card = String::new();
    let read = std::fs::File::open(folder.join("README.md"))
        .and_then(|file| file.take(MAX_CARD_BYTES).read_to_string(&mut card));
    if read.is_err() {
        return String::new();
    }
    let mut lines = card.lines();
    if lines.next() != Some("---") {
        return String::new();
    }
    let head: Vec<&str> = lines.take_while(|line| *line != "---").collect();
    let field = |name: &str| {
        let value = head.iter().find_map(|line| line.strip_prefix(name));
        value.map(|value| one_line(value.trim().trim_matches(['"', '\''])))
    };
    match field("license:") {
        Some(other) if other == "other" => field("license_name:").unwrap_or(other),
        licence => licence.unwrap_or_default(),
    }
}

/// Cuts what a file says to a readable line.
fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_from_a_model_cards_head() {
        let folder = tempfile::tempdir().unwrap();
        let check = |card: &str, expect: &str| {
            std::fs::write(folder.path().join("README.md"), card).unwrap();
            assert_eq!(folder_licence(folder.path()), expect, "{card}");
        };
        check(
            "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: no",
            "apache-2.0",
        );
        check(
            "---\nlicense: other\nlicense_name: \"gemma\"\n---\n",
            "gemma",
        );
        check("---\nlicense: other\n---\n", "other");
        check("# no head\nlicense: mit", "");
        check("", "");
    }
}
