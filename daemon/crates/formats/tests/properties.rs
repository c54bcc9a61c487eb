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
        Just("\"x\""),
        Just("{\"instruction\":\"a\",\"output\":\"b\"}"),
        Just("{\"instruction\":\"a\",\"instances\":[{\"output\":\"b\"}]}"),
        Just("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}"),
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
            language: detect_language(body.instruction_text()),
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

/// Writes and reads; content that occurs twice is kept once.
fn check_round_trip(format: &str, mut examples: Vec<Example>) -> Result<(), TestCaseError> {
    let mut seen = HashSet::new();
    examples.retain(|example| seen.insert(example.id));
    prop_assume!(!examples.is_empty());
    let bytes = Reader
        .write(format, &examples)
        .expect("every example fits the format");
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
        let mut bytes = Reader.write("alpaca", &examples).expect("every example fits the format");
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        check_invariants(&Reader.read("x.jsonl", &bytes), &bytes)?;
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
    let plain = Example::human(Body::Text { text: "a".into() });
    for format in ["alpaca", "seeds", "chat"] {
        assert!(refused(format, &plain).contains("`text` holds these"));
    }
    let message = refused("parquet", &bare);
    assert!(
        FORMAT_NAMES.iter().all(|name| message.contains(name)),
        "{message}"
    );
}
