//! Any bytes are read without a panic, and what is written reads back the same.

use std::collections::HashSet;

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Body, Example, Message, ParsedFile, PortError, Role, TaskType};
use autodidact_formats::{FORMAT_NAMES, Reader};
use autodidact_text::detect_language;
use proptest::prelude::*;

/// Checks what holds of every file.
fn check_invariants(file: &ParsedFile, bytes: &[u8]) -> Result<(), TestCaseError> {
    let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    prop_assert!(
        file.faults
            .iter()
            .all(|fault| (1..=lines).contains(&fault.line))
    );
    prop_assert!(
        file.faults
            .iter()
            .all(|fault| fault.found.chars().count() < 400)
    );
    prop_assert!(file.refused >= file.faults.len() as u64);
    prop_assert!(file.refused > 0 || !file.examples.is_empty());
    let ids: HashSet<_> = file.examples.iter().map(|example| example.id).collect();
    prop_assert_eq!(ids.len(), file.examples.len());
    for example in &file.examples {
        prop_assert_eq!(example.id, example.body.id());
        prop_assert!(!example.body.instruction_text().trim().is_empty());
    }
    Ok(())
}

/// Pieces that files are made of, in any order.
fn json_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\""),
        Just("\\"),
        Just("\n"),
        Just("\r\n"),
        Just(" "),
        Just("null"),
        Just("1"),
        Just("true"),
        Just("\u{FEFF}"),
        Just("写"),
        Just("\"instruction\":"),
        Just("\"output\":"),
        Just("\"instances\":"),
        Just("\"messages\":"),
        Just("\"history\":"),
        Just("\"text\":"),
        Just("\"label\":"),
        Just("\"tokens\":"),
        Just("\"ner_tags\":"),
        Just("\"x\""),
        Just("{\"instruction\":\"a\",\"output\":\"b\"}"),
        Just("{\"instruction\":\"a\",\"instances\":[{\"output\":\"b\"}]}"),
        Just("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}"),
        Just("{\"text\":\"a\",\"label\":\"b\"}"),
        Just("{\"tokens\":[\"a\"],\"ner_tags\":[\"O\"]}"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    "[a-z 一-三\n\"\\\\{}\\[\\],]{0,20}\\PC{0,4}"
        .prop_filter("says something", |text| !text.trim().is_empty())
}

fn example(body: impl Strategy<Value = Body>) -> impl Strategy<Value = Example> {
    let task_type = prop::option::of(prop::sample::select(
        TaskType::ALL.map(|(task_type, _)| task_type).to_vec(),
    ));
    (
        body,
        task_type,
        prop::option::of(text()),
        prop::collection::vec(text(), 0..3),
    )
        .prop_map(|(body, task_type, topic, labels)| Example {
            language: detect_language(&body.instruction_text()),
            task_type,
            topic,
            labels,
            ..Example::human(body)
        })
}

fn answered() -> impl Strategy<Value = Body> {
    (text(), prop::option::of(text()), text()).prop_map(|(instruction, input, output)| {
        Body::instruction(&instruction, &input.unwrap_or_default(), &output)
    })
}

fn bare() -> impl Strategy<Value = Body> {
    text().prop_map(|instruction| Body::instruction(&instruction, "", ""))
}

/// Conversations of questions and answers by turns that an instruction cannot say.
fn dialogue() -> impl Strategy<Value = Body> {
    (text(), prop::collection::vec((text(), text()), 1..4)).prop_map(|(system, turns)| {
        let mut messages = vec![Message {
            role: Role::System,
            content: system,
        }];
        messages.extend(
            turns
                .into_iter()
                .flat_map(|(q, a)| [Message::user(q), Message::assistant(a)]),
        );
        Body::Chat { messages }
    })
}

fn conversation() -> impl Strategy<Value = Body> {
    let role = prop::sample::select(vec![Role::User, Role::Assistant]);
    let turns = prop::collection::vec((role, text()), 0..5);
    (prop::option::of(text()), text(), turns).prop_map(|(system, first, turns)| {
        let mut messages: Vec<Message> = system
            .map(|content| Message {
                role: Role::System,
                content,
            })
            .into_iter()
            .collect();
        messages.push(Message::user(first));
        messages.extend(
            turns
                .into_iter()
                .map(|(role, content)| Message { role, content }),
        );
        Body::Chat { messages }
    })
}

/// A text without white space.
fn word() -> impl Strategy<Value = String> {
    "[a-z一-三\"\\\\{},-]{1,6}"
}

fn labelled() -> impl Strategy<Value = Body> {
    (text(), text()).prop_map(|(text, label)| Body::Labelled { text, label })
}

fn tagged() -> impl Strategy<Value = Body> {
    let token = ("[a-z ]{0,3}", word()).prop_map(|(first, last)| {
        let token = format!("{first}{last}");
        token.trim_start().to_string()
    });
    prop::collection::vec((token, word()), 1..6).prop_map(|words| {
        let (tokens, tags) = words.into_iter().unzip();
        Body::Tagged { tokens, tags }
    })
}

/// What is known of texts with labels: their task, and, where any labels are declared, all of their own among them.
fn of_labels(body: impl Strategy<Value = Body>) -> impl Strategy<Value = Example> {
    example(body).prop_map(|mut example| {
        let (task_type, names) = match &example.body {
            Body::Tagged { tags, .. } => (TaskType::Extraction, tags.clone()),
            body => (
                TaskType::Classification,
                vec![body.output_text().into_owned()],
            ),
        };
        if !example.labels.is_empty() {
            example.labels.extend(names);
        }
        example.task_type.get_or_insert(task_type);
        example
    })
}

/// Records of every kind.
fn any_example() -> impl Strategy<Value = Example> {
    prop_oneof![
        example(answered()),
        example(bare()),
        example(conversation()),
        example(text().prop_map(|text| Body::Text { text })),
        of_labels(labelled()),
        of_labels(tagged()),
    ]
}

/// Writes and reads; content that occurs twice is kept once.
fn check_round_trip(format: &str, mut examples: Vec<Example>) -> Result<(), TestCaseError> {
    let mut seen = HashSet::new();
    examples.retain(|example| seen.insert(example.id));
    prop_assume!(!examples.is_empty());
    let bytes = Reader
        .write(format, &examples)
        .expect("every example fits the format")
        .bytes;
    prop_assert_eq!(
        bytes.iter().filter(|&&byte| byte == b'\n').count(),
        examples.len()
    );
    let file = Reader.read("written", &bytes);
    prop_assert_eq!(&file.faults, &[]);
    prop_assert_eq!(file.format, format);
    prop_assert_eq!(file.examples, examples);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_invariants(&Reader.read("x", &bytes), &bytes)?;
    }

    #[test]
    fn anything_like_json_is_read(text in json_like()) {
        check_invariants(&Reader.read("x.json", text.as_bytes()), text.as_bytes())?;
    }

    #[test]
    fn a_damaged_file_is_read(examples in prop::collection::vec(example(answered()), 1..4), at in any::<prop::sample::Index>(),
                              byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = Reader.write("alpaca", &examples).expect("every example fits the format").bytes;
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        check_invariants(&Reader.read("x.jsonl", &bytes), &bytes)?;
    }
}

/// What no format but JSON has its faults' lines bound by the line ends of.
fn check_any(file: &ParsedFile) -> Result<(), TestCaseError> {
    prop_assert!(file.refused > 0 || !file.examples.is_empty());
    prop_assert!(file.faults.iter().all(|fault| fault.line >= 1));
    for example in &file.examples {
        prop_assert_eq!(example.id, example.body.id());
        prop_assert!(!example.body.instruction_text().trim().is_empty());
    }
    Ok(())
}

/// Pieces that tables and YAML files are made of, in any order.
fn table_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "instruction,output\n",
        "text\tlabel\n",
        "messages,topic\n",
        "question;answer\n",
        "a",
        ",",
        "\t",
        ";",
        "\"",
        "\"\"",
        "\n",
        "\r\n",
        "[",
        "]",
        "{}",
        "写",
        "seed_examples:\n",
        "  - question: ",
        "    answer: ",
        "&a ",
        "*a",
        "|\n",
        ": ",
        "- ",
        "? ",
        "!!int ",
        "\u{FEFF}",
        "columns:\n",
        "  a: text\n",
        "{\"Definition\": \"x\", \"Instances\": [",
        "{\"input\": \"a\", \"output\": [\"b\"]}",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Files of every container, in which something is then damaged.
fn fixture() -> impl Strategy<Value = Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let entries = std::fs::read_dir(folder).expect("list the fixtures");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("list").path()).collect();
    files.retain(|path| path.to_string_lossy().contains(".good."));
    files.sort();
    prop::sample::select(files).prop_map(|path| std::fs::read(path).expect("read a fixture"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn anything_like_a_table_or_yaml_is_read(text in table_like(), mapping in table_like()) {
        check_any(&Reader.read("x", text.as_bytes()))?;
        check_any(&Reader.read_mapped("x", text.as_bytes(), mapping.as_bytes()))?;
    }

    #[test]
    fn damaged_files_of_every_kind_are_read(mut bytes in fixture(), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
                                            cut in prop::option::of(any::<prop::sample::Index>())) {
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut { bytes.truncate(cut.index(bytes.len())) }
        check_any(&Reader.read("x", &bytes))?;
    }
}

proptest! {
    #[test]
    fn alpaca_reads_back(examples in prop::collection::vec(prop_oneof![example(answered()), example(dialogue())], 1..6)) {
        check_round_trip("alpaca", examples)?;
    }

    #[test]
    fn seeds_read_back(examples in prop::collection::vec(prop_oneof![example(answered()), example(bare())], 1..6)) {
        check_round_trip("seeds", examples)?;
    }

    #[test]
    fn texts_read_back(examples in prop::collection::vec(example(text().prop_map(|text| Body::Text { text })), 1..6)) {
        check_round_trip("text", examples)?;
    }

    #[test]
    fn labelled_texts_read_back(examples in prop::collection::vec(of_labels(labelled()), 1..6)) {
        check_round_trip("labelled", examples)?;
    }

    #[test]
    fn tagged_words_read_back(examples in prop::collection::vec(of_labels(tagged()), 1..6)) {
        check_round_trip("tagged", examples)?;
    }

    #[test]
    fn sharegpt_reads_back(examples in prop::collection::vec(example(conversation()), 1..6)) {
        check_round_trip("sharegpt", examples)?;
    }

    #[test]
    fn talks_of_instructions_say_the_same(examples in prop::collection::vec(example(answered()), 1..6)) {
        for format in ["chat", "sharegpt"] {
            let bytes = Reader.write(format, &examples).expect("every example fits the format").bytes;
            let mut turns: Vec<_> = examples.iter().map(|example| example.body.to_messages()).collect();
            let mut seen = HashSet::new();
            turns.retain(|turns| seen.insert(format!("{turns:?}")));
            let file = Reader.read("written", &bytes);
            let read: Vec<_> = file.examples.iter().map(|example| example.body.to_messages()).collect();
            prop_assert_eq!(read, turns);
        }
    }

    #[test]
    fn records_of_all_kinds_read_back(examples in prop::collection::vec(any_example(), 1..8)) {
        for format in ["jsonl", "parquet"] {
            let mut examples = examples.clone();
            let mut seen = HashSet::new();
            examples.retain(|example| seen.insert(example.id));
            let written = Reader.write(format, &examples).expect("every example fits the format");
            prop_assert_eq!((written.written, written.refused), (examples.len() as u64, 0));
            let file = Reader.read("written", &written.bytes);
            prop_assert_eq!(&file.faults, &[]);
            prop_assert_eq!(file.examples, examples);
        }
    }

    #[test]
    fn what_one_format_does_not_hold_is_counted_and_the_rest_reads_back(examples in prop::collection::vec(any_example(), 1..8)) {
        let mut seen = HashSet::new();
        let mut examples = examples;
        examples.retain(|example| seen.insert(example.id));
        for format in FORMAT_NAMES {
            let Ok(written) = Reader.write(format, &examples) else { continue };
            prop_assert_eq!(written.written + written.refused, examples.len() as u64);
            let refused: HashSet<u64> = written.faults.iter().map(|fault| fault.line).collect();
            prop_assert_eq!(refused.len() as u64, written.refused);
            prop_assert!(written.faults.iter().all(|fault| fault.reason == "unfit"));
            let kept = examples.iter().zip(1..).filter(|(_, place)| !refused.contains(place));
            let kept: Vec<_> = kept.map(|(example, _)| example.body.output_text()).collect();
            let file = Reader.read("written", &written.bytes);
            let read: Vec<_> = file.examples.iter().map(|example| example.body.output_text()).collect();
            // A task and a talk may say the same where both are written as one.
            prop_assert!(file.faults.iter().all(|fault| fault.reason == "duplicate"), "{}: {:?}", format, file.faults);
            prop_assert!(file.refused > 0 || read == kept, "{}: {:?} {:?}", format, read, kept);
        }
    }

    #[test]
    fn chat_reads_back(examples in prop::collection::vec(example(conversation()), 1..6)) {
        check_round_trip("chat", examples)?;
    }
}

#[test]
fn what_a_format_has_no_place_for_is_refused() {
    let bare = Example::human(Body::instruction("a", "", ""));
    let lone = Example::human(Body::Chat {
        messages: vec![Message::user("q")],
    });
    let refused = |format: &str, example: &Example| match Reader
        .write(format, std::slice::from_ref(example))
    {
        Err(PortError::Invalid(message)) => message,
        other => panic!("{format}: {other:?}"),
    };
    assert!(refused("alpaca", &bare).starts_with("record 1 cannot be written as alpaca"));
    refused("alpaca", &lone);
    refused("seeds", &lone);
    refused("text", &lone);
    let plain = Body::Text { text: "a".into() };
    let labelled = Body::Labelled {
        text: "a".into(),
        label: "b".into(),
    };
    let tagged = Body::Tagged {
        tokens: vec!["a".into()],
        tags: vec!["O".into()],
    };
    let bodies = [
        (bare.body.clone(), "alpaca, chat and sharegpt hold these"),
        (plain, "`text` holds these"),
        (labelled, "`labelled` holds these"),
        (tagged, "`tagged` holds these"),
    ];
    for (body, told) in bodies {
        let example = Example::human(body);
        for format in FORMAT_NAMES {
            let holds_all = ["jsonl", "parquet"].contains(&format);
            if holds_all || told.contains(format) || format == "seeds" && told.contains("chat") {
                continue;
            }
            let message = refused(format, &example);
            assert!(message.contains(told), "{message}");
        }
    }
    let message = refused("arrow", &bare);
    assert!(
        FORMAT_NAMES.iter().all(|name| message.contains(name)),
        "{message}"
    );
}
