//! A good and a bad file of every format, container, encoding and compression: what is read of each, and each fault.
//!
//! `fixtures/expected.txt` tells all of it. Where a change is meant, `AUTODIDACT_TEST_WRITE_EXPECTED=1` writes the file anew, and
//! its difference is to be read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Example, ParsedFile};
use autodidact_formats::{MAPPING_SUFFIXES, Reader};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
}

/// The names of all fixtures, without their mapping files.
fn names() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).expect("list the fixtures");
    let names = entries.map(|entry| {
        entry
            .expect("list")
            .file_name()
            .into_string()
            .expect("ASCII")
    });
    names
        .filter(|name| name.contains(".good.") || name.contains(".bad."))
        .filter(|name| !MAPPING_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
        .collect()
}

/// Reads a fixture, with its mapping file where it has one.
fn read(name: &str) -> ParsedFile {
    let mapping = folder().join(format!("{name}{}", MAPPING_SUFFIXES[0]));
    match std::fs::read(mapping) {
        Ok(mapping) => Reader.read_mapped(name, &bytes(name), &mapping),
        Err(_) => Reader.read(name, &bytes(name)),
    }
}

fn tell(name: &str, file: &ParsedFile) -> String {
    let mut told = format!(
        "## {name}: {}, {} read, {} refused\n",
        file.format,
        file.examples.len(),
        file.refused
    );
    for example in &file.examples {
        let Example {
            language,
            task_type,
            topic,
            labels,
            ..
        } = example;
        let language = language.map_or("-", |language| language.code());
        write!(told, "{} [{language}", example.body.canonical_json()).expect("write");
        for known in [task_type.map(|kind| kind.name()), topic.as_deref()] {
            write!(told, ", {}", known.unwrap_or("-")).expect("write");
        }
        writeln!(
            told,
            "{}]",
            labels.iter().map(|l| format!(", {l}")).collect::<String>()
        )
        .expect("write");
    }
    for fault in &file.faults {
        let (line, reason) = (fault.line, &fault.reason);
        writeln!(
            told,
            "{line}: {reason}: expected {}; found {}",
            fault.expected, fault.found
        )
        .expect("write");
    }
    told
}

#[test]
fn every_fixture_is_read_as_expected() {
    let told: Vec<String> = names().iter().map(|name| tell(name, &read(name))).collect();
    let path = folder().join("expected.txt");
    if std::env::var_os("AUTODIDACT_TEST_WRITE_EXPECTED").is_some() {
        std::fs::write(&path, told.join("\n")).expect("write what is expected");
    }
    let expected = std::fs::read_to_string(&path).expect("read what is expected");
    let parts: Vec<&str> = expected.split("\n## ").collect();
    for (told, expected) in told.iter().zip(&parts) {
        let expected = expected.trim_start_matches("## ").trim_end();
        assert_eq!(told.trim_start_matches("## ").trim_end(), expected);
    }
    assert_eq!(told.len(), parts.len());
}

#[test]
fn every_row_of_the_table_has_a_good_and_a_bad_file() {
    let rows = [
        "alpaca",
        "seeds",
        "sharegpt",
        "chat",
        "prompt-completion",
        "text",
        "preference",
        "natural-instructions",
        "instructlab",
        "input-target",
        "question-answer",
        "labelled",
        "tagged",
    ];
    let names = names();
    for row in rows {
        for kind in ["good", "bad"] {
            let begin = format!("{row}.{kind}.");
            let found: Vec<&String> = names
                .iter()
                .filter(|name| name.starts_with(&begin))
                .collect();
            assert!(!found.is_empty(), "{begin}");
            assert!(found.iter().all(|name| read(name).format == row), "{row}");
        }
    }
    for name in &names {
        let file = read(name);
        assert_eq!(file.refused == 0, name.contains(".good."), "{name}");
        let has = |test: fn(&Example) -> bool| file.examples.iter().any(test);
        if file.refused == 0 && !name.contains("chat.good.csv") {
            assert!(has(|example| example.language.is_some()), "{name}");
            let said = |example: &Example| {
                example
                    .body
                    .to_messages()
                    .into_iter()
                    .map(|turn| turn.content)
                    .collect::<String>()
            };
            let is_chinese = file
                .examples
                .iter()
                .any(|example| !said(example).is_ascii());
            let letters = |text: String| text.chars().filter(char::is_ascii_lowercase).count();
            let is_english = file
                .examples
                .iter()
                .any(|example| letters(said(example)) > 5);
            assert!(is_chinese && is_english, "{name}");
        }
    }
}

#[test]
fn a_mapping_file_in_json_says_the_same() {
    let name = "mapped.good.csv";
    let json = bytes(&format!("{name}{}", MAPPING_SUFFIXES[1]));
    let file = Reader.read_mapped(name, &bytes(name), &json);
    assert_eq!(tell(name, &file), tell(name, &read(name)));
}

/// Every text as other encodings and line ends have it.
fn encoded(text: &str) -> Vec<Vec<u8>> {
    let utf_16 = |to_bytes: fn(u16) -> [u8; 2]| {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(to_bytes).collect()
    };
    let (gb18030, _, lossy) = encoding_rs::GB18030.encode(text);
    assert!(!lossy);
    vec![
        text.as_bytes().to_vec(),
        format!("\u{FEFF}{text}").into_bytes(),
        utf_16(u16::to_le_bytes),
        utf_16(u16::to_be_bytes),
        gb18030.into_owned(),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).expect("compress");
    writer.finish().expect("compress")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).expect("compress")
}

#[test]
fn every_good_file_reads_the_same_in_every_encoding_line_end_and_compression() {
    for name in names().iter().filter(|name| name.contains(".good.")) {
        let file = bytes(name);
        let mapping = folder().join(format!("{name}{}", MAPPING_SUFFIXES[0]));
        let mapping = std::fs::read(mapping).ok();
        let read_again = |bytes: &[u8]| match &mapping {
            Some(mapping) => Reader.read_mapped("x", bytes, mapping),
            None => Reader.read("x", bytes),
        };
        let expected = tell("", &read(name));
        let mut variants = vec![file.clone()];
        if let Ok(text) = std::str::from_utf8(&file)
            && !name.ends_with(".parquet")
        {
            let text = text.trim_start_matches('\u{FEFF}');
            variants.extend(encoded(text));
            if !text.contains('\r') && !text.contains("|\n") {
                variants.extend(encoded(&text.replace('\n', "\r\n")));
            }
        }
        for variant in variants {
            for packed in [variant.clone(), gzip(&variant), zstd(&variant)] {
                if name.ends_with(".gz") || name.ends_with(".zst") {
                    continue;
                }
                assert_eq!(tell("", &read_again(&packed)), expected, "{name}");
            }
        }
    }
}

#[test]
fn a_cut_file_keeps_its_whole_records_and_tells_of_the_rest() {
    for name in names().iter().filter(|name| name.contains(".good.")) {
        let whole = read(name);
        let file = bytes(name);
        for cut in 0..file.len() {
            let part = Reader.read(name, &file[..cut]);
            assert!(
                part.refused > 0 || !part.examples.is_empty(),
                "{name} at {cut}"
            );
            // What is left of a mapped file has no mapping here, and an unquoted cell ends where its file does.
            let is_open = name.contains(".csv") || name.contains(".tsv") || name.contains("mapped");
            if is_open || name.ends_with(".yaml") {
                continue;
            }
            for example in &part.examples {
                assert!(
                    whole.examples.contains(example),
                    "{name} at {cut}: {example:?}"
                );
            }
        }
    }
}
