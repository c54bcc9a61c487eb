//! Good and bad files of every format and layout.

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Body, Language, Message, ParsedFile, Role, TaskType};
use autodidact_formats::{MAX_DEPTH, MAX_FAULTS, MAX_RECORD_BYTES, Reader};

fn read(text: impl AsRef<[u8]>) -> ParsedFile {
    Reader.read("data.json", text.as_ref())
}

/// Shows the lines and reasons of the faults.
fn faults(file: &ParsedFile) -> Vec<(u64, &str)> {
    assert_eq!(file.refused, file.faults.len() as u64);
    file.faults
        .iter()
        .map(|fault| (fault.line, fault.reason.as_str()))
        .collect()
}

fn bodies(file: &ParsedFile) -> Vec<Body> {
    file.examples
        .iter()
        .map(|example| example.body.clone())
        .collect()
}

const ALPACA: &str = r#"{"instruction": "Add the numbers.", "input": "1 and 2", "output": "3"}"#;
const ALPACA_ZH: &str = r#"{"instruction": "写一句诗。", "input": null, "output": "春眠不觉晓。"}"#;

#[test]
fn alpaca_in_every_layout() {
    let expect = [
        Body::instruction("Add the numbers.", "1 and 2", "3"),
        Body::instruction("写一句诗。", "", "春眠不觉晓。"),
    ];
    let pretty = |record: &str| {
        record
            .replace("{", "{\n  ")
            .replace(", \"", ",\n  \"")
            .replace('}', "\n}")
    };
    let layouts = [
        format!("{ALPACA}\n{ALPACA_ZH}\n"),
        format!("\u{FEFF}{ALPACA}\r\n\r\n  {ALPACA_ZH}\r\n"),
        format!("[{ALPACA},{ALPACA_ZH}]"),
        format!("\n[\n  {ALPACA},\n  {ALPACA_ZH}\n]\n"),
        format!("[\r\n{},\r\n{}\r\n]", pretty(ALPACA), pretty(ALPACA_ZH)),
        format!("{}\n{}", pretty(ALPACA), pretty(ALPACA_ZH)),
    ];
    for text in layouts {
        let file = read(&text);
        assert_eq!(faults(&file), [], "{text}");
        assert_eq!(file.format, "alpaca");
        assert_eq!(bodies(&file), expect, "{text}");
        assert_eq!(file.examples[0].language, Some(Language::En));
        assert_eq!(file.examples[1].language, Some(Language::Zh));
    }
    assert_eq!(bodies(&read(ALPACA)), expect[..1]);
    assert_eq!(bodies(&read(pretty(ALPACA))), expect[..1]);
}

#[test]
fn alpaca_with_history_is_a_conversation() {
    let file = read(
        r#"{"instruction": "And then?", "input": "x", "output": "c", "system": "Be brief.", "history": [["q", "a"]],
            "task_type": "a word of their own", "topic": "tales", "labels": 3}"#,
    );
    let expect = vec![
        Message {
            role: Role::System,
            content: "Be brief.".into(),
        },
        Message::user("q"),
        Message::assistant("a"),
        Message::user("And then?\n\nx"),
        Message::assistant("c"),
    ];
    assert_eq!(bodies(&file), [Body::Chat { messages: expect }]);
    assert_eq!(file.examples[0].task_type, None);
    assert_eq!(file.examples[0].topic.as_deref(), Some("tales"));
}

#[test]
fn bad_alpaca_records_cost_only_themselves() {
    let file = read(
        "{\"instruction\": \"a\", \"output\": \"1\"}\n\
         {\"instruction\": \"b\", \"response\": \"2\"}\n\
         {\"instruction\": \"c\", \"output\": 3}\n\
         {\"instruction\": \" \", \"output\": \"4\"}\n\
         {\"instruction\": \"e\", \"output\": \"\"}\n\
         {\"instruction\": \"f\", \"output\": \"6\"\n\
         [1]\n\
         \n\
         {\"input\": \"h\", \"output\": \"8\"}\n\
         {\"instruction\": \"i\", \"output\": \"9\", \"history\": [[\"q\"]]}\n\
         {\"output\": \"1\", \"instruction\": \"a\", \"input\": \"\"}\n\
         {\"instruction\": \"l\", \"output\": \"\\ud800\"}\n\
         {\"instruction\": \"m\", \"output\": \"13\"}",
    );
    assert_eq!(file.format, "alpaca");
    assert_eq!(
        bodies(&file),
        [
            Body::instruction("a", "", "1"),
            Body::instruction("m", "", "13")
        ]
    );
    assert_eq!(
        faults(&file),
        [
            (2, "missing_field"),
            (3, "wrong_type"),
            (4, "empty_field"),
            (5, "empty_field"),
            (6, "bad_json"),
            (7, "wrong_type"),
            (9, "missing_field"),
            (10, "wrong_type"),
            (11, "duplicate"),
            (12, "bad_json"),
        ]
    );
    assert_eq!(file.faults[0].expected, "a string `output`");
    assert_eq!(
        file.faults[0].found,
        "an object with the fields instruction, response"
    );
    assert_eq!(file.faults[1].found, "the number 3");
    assert_eq!(
        file.faults[8].found,
        "the same content as the record on line 1"
    );
}

#[test]
fn faults_in_a_list_name_the_line_their_record_starts_on() {
    let file = read(
        "[\n  {\n    \"instruction\": \"a\",\n    \"output\": \"1\"\n  },\n  {\n    \"instruction\": \"b\"\n  },\n  \
         {\"instruction\": \"c, \"output\": \"3\"},\n  {\"instruction\": \"d\", \"output\": \"4\"} \
         {\"instruction\": \"e\", \"output\": \"5\"},\n  7,\n  {\"instruction\": \"f\", \"output\": \"6\"},\n  \
         {\"instruction\": \"g\"\n",
    );
    assert_eq!(bodies(&file).len(), 3);
    let expect = [
        (6, "missing_field"),
        (9, "bad_json"),
        (10, "bad_json"),
        (11, "wrong_type"),
        (13, "bad_json"),
    ];
    assert_eq!(faults(&file), expect);
    assert_eq!(faults(&read(format!("[{ALPACA},"))), [(1, "bad_json")]);
    assert_eq!(faults(&read(format!("[{ALPACA}]\n]"))), [(2, "bad_json")]);
    assert_eq!(read(format!("[{ALPACA},")).examples.len(), 1);
}

#[test]
fn seeds_take_the_first_instance() {
    let file = read(
        r#"{"id": "seed_task_0", "name": "one", "instruction": "Is it spam?", "instances": [{"input": "Win!", "output": "yes"}, {"input": "Hi", "output": "no"}], "is_classification": true}
{"id": "s2", "task_type": "extraction", "topic": "travel", "labels": ["x", "y"], "instruction": "找出城市。", "instances": [{"input": "", "output": "成都"}], "is_classification": true}
{"instruction": "Say anything.", "instances": []}"#,
    );
    assert_eq!(faults(&file), []);
    assert_eq!(file.format, "seeds");
    let expect = [
        Body::instruction("Is it spam?", "Win!", "yes"),
        Body::instruction("找出城市。", "", "成都"),
        Body::instruction("Say anything.", "", ""),
    ];
    assert_eq!(bodies(&file), expect);
    let types: Vec<_> = file
        .examples
        .iter()
        .map(|example| example.task_type)
        .collect();
    assert_eq!(
        types,
        [
            Some(TaskType::Classification),
            Some(TaskType::Extraction),
            None
        ]
    );
    assert_eq!(file.examples[1].topic.as_deref(), Some("travel"));
    assert_eq!(file.examples[1].labels, ["x", "y"]);
    assert_eq!(file.examples[1].language, Some(Language::Zh));
}

#[test]
fn bad_seeds() {
    let file = read(
        r#"{"instances": [{"output": "x"}]}
{"instruction": "a", "instances": {"output": "x"}}
{"instruction": "a", "instances": ["x"]}
{"instruction": "a", "instances": [{"input": "x"}]}
{"instruction": "a", "instances": [{"output": " "}]}
{"instruction": "a", "instances": [{"output": "x"}], "is_classification": "no"}
{"instruction": "a", "instances": [{"output": "x"}], "task_type": "clasification"}
{"instruction": "a", "instances": [{"output": "x"}], "labels": ["x", 1]}"#,
    );
    assert_eq!(file.format, "seeds");
    assert_eq!(file.examples, []);
    let reasons: Vec<_> = faults(&file)
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    let (missing, wrong, empty) = ("missing_field", "wrong_type", "empty_field");
    assert_eq!(
        reasons,
        [missing, wrong, wrong, missing, empty, wrong, wrong, wrong]
    );
    assert!(
        file.faults[6].expected.contains("classification"),
        "{}",
        file.faults[6].expected
    );
}

#[test]
fn chat_messages() {
    let file = read(
        r#"[{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}]"#,
    );
    assert_eq!(faults(&file), []);
    assert_eq!(file.format, "chat");
    let system = Message {
        role: Role::System,
        content: "s".into(),
    };
    assert_eq!(
        bodies(&file),
        [Body::Chat {
            messages: vec![system, Message::user("你好"), Message::assistant("您好")]
        }]
    );
    assert_eq!(file.examples[0].language, Some(Language::Zh));
}

#[test]
fn bad_chat_messages() {
    let file = read(
        r#"{"messages": []}
{"messages": "hi"}
{"messages": [{"role": "assistant", "content": "x"}]}
{"messages": [{"role": "tool", "content": "x"}]}
{"messages": [{"role": "user"}]}
{"messages": [{"role": "user", "content": ""}]}
{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}"#,
    );
    assert_eq!(file.format, "chat");
    let reasons: Vec<_> = faults(&file)
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    let (missing, wrong, empty) = ("missing_field", "wrong_type", "empty_field");
    assert_eq!(reasons, [empty, wrong, empty, wrong, missing, empty, wrong]);
}

#[test]
fn plain_texts() {
    let file = read(
        "{\"text\": \" The heron stands. \"}\n{\"text\": \"苍鹭站在水中。\", \"topic\": \"birds\"}\n{\"text\": \" \"}\n{\"text\": 3}\n\
         {\"label\": \"positive\"}\n\
         {\"text\": \"good\", \"label\": \"positive\", \"tokens\": [\"good\"], \"tags\": [\"O\"]}\n\
         {\"text\": \"good\", \"label\": \"positive\"}",
    );
    assert_eq!(file.format, "text");
    let text = |text: &str| Body::Text { text: text.into() };
    assert_eq!(
        bodies(&file),
        [
            text(" The heron stands. "),
            text("苍鹭站在水中。"),
            // The one record of another format is read by that.
            Body::Labelled {
                text: "good".into(),
                label: "positive".into()
            }
        ]
    );
    assert_eq!(file.examples[1].language, Some(Language::Zh));
    assert_eq!(file.examples[1].topic.as_deref(), Some("birds"));
    assert_eq!(
        faults(&file),
        [
            (3, "empty_field"),
            (4, "wrong_type"),
            (5, "unknown_format"),
            (6, "unknown_format")
        ]
    );
}

#[test]
fn labelled_texts() {
    let file = read(
        r#"{"text": " It broke. ", "label": "negative"}
{"text": "很好用。", "label": "好评", "labels": ["好评", "差评"], "topic": "reviews", "id": 7}
{"text": "Find it.", "label": "x y", "task_type": "reasoning", "language": "en-GB"}"#,
    );
    assert_eq!(faults(&file), []);
    assert_eq!(file.format, "labelled");
    let labelled = |text: &str, label: &str| Body::Labelled {
        text: text.into(),
        label: label.into(),
    };
    let expect = [
        labelled(" It broke. ", "negative"),
        labelled("很好用。", "好评"),
        labelled("Find it.", "x y"),
    ];
    assert_eq!(bodies(&file), expect);
    let types = file.examples.iter().map(|example| example.task_type);
    let classification = Some(TaskType::Classification);
    assert_eq!(
        types.collect::<Vec<_>>(),
        [classification, classification, Some(TaskType::Reasoning)]
    );
    assert_eq!(file.examples[1].labels, ["好评", "差评"]);
    assert_eq!(file.examples[1].language, Some(Language::Zh));
    assert_eq!(file.examples[1].topic.as_deref(), Some("reviews"));
}

#[test]
fn bad_labelled_texts() {
    let check = |record: &str, reason: &str, expected: &str, found: &str| {
        let file = read(format!("{{\"text\": \"a\", \"label\": \"b\"}}\n{record}"));
        assert_eq!(file.format, "labelled", "{record}");
        assert_eq!(faults(&file), [(2, reason)], "{record}");
        assert_eq!(file.faults[0].expected, expected);
        assert_eq!(file.faults[0].found, found);
    };
    check(
        r#"{"text": "c", "label": 1}"#,
        "wrong_type",
        "the label's name as a string `label`, not its number",
        "the number 1",
    );
    check(
        r#"{"text": "c", "label": ["b"]}"#,
        "wrong_type",
        "a string `label`",
        "a list of 1 items",
    );
    check(
        r#"{"text": "c", "label": " "}"#,
        "empty_field",
        "text in `label`",
        "an empty string",
    );
    check(
        r#"{"label": null, "text": "c"}"#,
        "missing_field",
        "a string `label`",
        "an object with the fields label, text",
    );
    check(
        r#"{"text": "", "label": "b"}"#,
        "empty_field",
        "text in `text`",
        "an empty string",
    );
    check(
        r#"{"label": "b"}"#,
        "missing_field",
        "a string `text`",
        "an object with the fields label",
    );
    check(
        r#"{"text": "c", "label": "b", "labels": ["good", "bad"]}"#,
        "label_not_declared",
        "one of `labels`, good, bad",
        r#""b""#,
    );
    check(
        r#"{"text": "c", "label": "b", "labels": ["b", 2]}"#,
        "wrong_type",
        "texts in the list `labels`",
        "the number 2",
    );
    check(
        r#"{"label": "b", "ner_tags": ["O"], "text": "c", "tokens": ["c"]}"#,
        "unknown_format",
        "either `text` and `label`, or `tokens` and tags",
        "an object with the fields label, ner_tags, text, tokens",
    );
}

#[test]
fn tagged_words() {
    let file = read(
        r#"{"id": "0", "tokens": ["Ada", "lives", "in", "New York", "."], "pos_tags": [1, 2, 3, 4, 5], "ner_tags": ["B-PER", "O", "O", "B-LOC", "O"]}
{"tokens": ["王", "芳"], "tags": ["B-PER", "I-PER"], "labels": ["O", "B-PER", "I-PER"]}
{"text": "Run!", "tokens": ["Run", "!"], "tags": null, "ner_tags": ["VERB", "PUNCT"], "task_type": "rewriting"}"#,
    );
    assert_eq!(faults(&file), []);
    assert_eq!(file.format, "tagged");
    let words = |text: &str| text.split('|').map(String::from).collect::<Vec<_>>();
    let tagged = |tokens: &str, tags: &str| Body::Tagged {
        tokens: words(tokens),
        tags: words(tags),
    };
    let expect = [
        tagged("Ada|lives|in|New York|.", "B-PER|O|O|B-LOC|O"),
        tagged("王|芳", "B-PER|I-PER"),
        tagged("Run|!", "VERB|PUNCT"),
    ];
    assert_eq!(bodies(&file), expect);
    let types = file.examples.iter().map(|example| example.task_type);
    let extraction = Some(TaskType::Extraction);
    assert_eq!(
        types.collect::<Vec<_>>(),
        [extraction, extraction, Some(TaskType::Rewriting)]
    );
    assert_eq!(file.examples[1].labels, ["O", "B-PER", "I-PER"]);
    assert_eq!(file.examples[1].language, Some(Language::Zh));
}

#[test]
fn bad_tagged_words() {
    let check = |record: &str, reason: &str, expected: &str, found: &str| {
        let good = r#"{"tokens": ["a"], "ner_tags": ["O"]}"#;
        let file = read(format!("{good}\n{record}"));
        assert_eq!(file.format, "tagged", "{record}");
        assert_eq!(faults(&file), [(2, reason)], "{record}");
        assert_eq!(file.faults[0].expected, expected);
        assert_eq!(file.faults[0].found, found);
    };
    check(
        r#"{"tokens": ["b", "c"], "ner_tags": ["O", 3]}"#,
        "wrong_type",
        "names in `ner_tags`, not numbers: those that the dataset's ClassLabel gives them",
        "the number 3",
    );
    check(
        r#"{"tokens": ["b", "c"], "tags": ["O"]}"#,
        "wrong_length",
        "a tag in `tags` for each of 2 words",
        "a list of 1 items",
    );
    check(
        r#"{"tokens": ["b"], "tags": ["O"], "ner_tags": ["O"]}"#,
        "unknown_format",
        "either `ner_tags` or `tags`",
        "both",
    );
    check(
        r#"{"tokens": ["b"]}"#,
        "missing_field",
        "a list `ner_tags`",
        "an object with the fields tokens",
    );
    check(
        r#"{"ner_tags": ["O"]}"#,
        "missing_field",
        "a list `tokens`",
        "an object with the fields ner_tags",
    );
    check(
        r#"{"tokens": "b c", "ner_tags": ["O", "O"]}"#,
        "wrong_type",
        "a list `tokens`",
        r#"the string "b c""#,
    );
    check(
        r#"{"tokens": [], "ner_tags": []}"#,
        "empty_field",
        "words in `tokens`",
        "an empty list",
    );
    check(
        r#"{"tokens": ["b", 7], "ner_tags": ["O", "O"]}"#,
        "wrong_type",
        "texts in the list `tokens`",
        "the number 7",
    );
    check(
        r#"{"tokens": ["b", " "], "ner_tags": ["O", "O"]}"#,
        "empty_field",
        "text in every word of `tokens`",
        r#"the string " ""#,
    );
    check(
        r#"{"tokens": ["b "], "ner_tags": ["O"]}"#,
        "wrong_type",
        "words without white space at their ends in `tokens`",
        r#"the string "b ""#,
    );
    check(
        r#"{"tokens": ["b"], "ner_tags": [""]}"#,
        "empty_field",
        "a name for every tag in `ner_tags`",
        "an empty string",
    );
    check(
        r#"{"tokens": ["b"], "ner_tags": ["B PER"]}"#,
        "wrong_type",
        "names without white space in `ner_tags`",
        r#"the string "B PER""#,
    );
    check(
        r#"{"tokens": ["b"], "ner_tags": [null]}"#,
        "wrong_type",
        "names in the list `ner_tags`",
        "null",
    );
    check(
        r#"{"tokens": ["b", "c"], "ner_tags": ["B-LOC", "O"], "labels": ["O", "B-PER"]}"#,
        "label_not_declared",
        "one of `labels`, O, B-PER",
        r#""B-LOC""#,
    );
    check(
        r#"{"label": "c", "tags": ["O"], "text": "b", "tokens": ["b"]}"#,
        "unknown_format",
        "either `text` and `label`, or `tokens` and tags",
        "an object with the fields label, tags, text, tokens",
    );
}

#[test]
fn files_of_no_known_kind() {
    let check = |bytes: &[u8], expect: &[(u64, &str)]| {
        let file = read(bytes);
        assert_eq!(
            faults(&file),
            expect,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(file.format, "unknown");
        assert_eq!(file.examples, []);
    };
    check(b"", &[(1, "unknown_format")]);
    check(b" \r\n", &[(1, "unknown_format")]);
    check(b"[]", &[(1, "unknown_format")]);
    check(b"instructions,outputs\na,b\n", &[(1, "unknown_format")]);
    check(
        b"{\"words\": \"a\"}\n{\"words\": \"b\"}",
        &[(1, "unknown_format"), (2, "unknown_format")],
    );
    check(b"\xFF\xFE{\0", &[(1, "bad_json")]);
    check(b"\xFF\xFE{", &[(1, "bad_encoding")]);
    check(b"{\0\"\0", &[(1, "bad_encoding")]);
    check(b"\x1F\x8B\x08", &[(1, "bad_compression")]);
    check(b"PAR1", &[(1, "bad_parquet")]);
    check(b"{\"a\": 1}\n{\"a\": \"\xD6\x20\"}", &[(2, "bad_encoding")]);
    check(b"{\n\"instruction\": \"a\",", &[(1, "bad_json")]);
}

#[test]
fn a_broken_first_line_does_not_hide_the_others() {
    let file = read(format!("{{\"instruction\": \"x\nnot json\n{ALPACA}\n"));
    assert_eq!(faults(&file), [(1, "bad_json"), (2, "bad_json")]);
    assert_eq!(file.examples.len(), 1);
    let file = read(format!("# a comment\n{ALPACA}\n"));
    assert_eq!(faults(&file), [(1, "bad_json")]);
    assert_eq!(file.examples.len(), 1);
}

#[test]
fn a_listed_file_has_every_record_in_its_place() {
    let file = Reader.list(
        format!("{ALPACA}\n{{\"instruction\": \"b\"}}\n{ALPACA}\n{{\"output\": \"c\"}}\n")
            .as_bytes(),
        None,
    );
    assert_eq!(file.format, "alpaca");
    let shown = file.records.iter().map(|record| match record {
        Ok(example) => example.body.instruction_text().into_owned(),
        Err(fault) => format!("{}: {}", fault.line, fault.reason),
    });
    let expect = [
        "Add the numbers.",
        "b",
        "Add the numbers.",
        "4: missing_field",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expect);
    let none = Reader.list(b"nothing", None);
    assert!(matches!(&none.records[..], [Err(fault)] if fault.reason == "unknown_format"));
}

#[test]
fn bounds() {
    let deep = |levels: usize| {
        let extra = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"instruction": "a", "output": "b", "extra": {extra}}}"#)
    };
    assert_eq!(faults(&read(deep(MAX_DEPTH - 1))), []);
    assert_eq!(faults(&read(deep(MAX_DEPTH))), [(1, "too_large")]);
    assert_eq!(faults(&read(deep(1_000_000))), [(1, "too_large")]);
    assert_eq!(faults(&read("[".repeat(1_000_000))), [(1, "bad_json")]);

    let long = |bytes: usize| {
        format!(
            "{ALPACA}\n{{\"instruction\": \"a\", \"output\": \"{}\"}}",
            "b".repeat(bytes)
        )
    };
    assert_eq!(read(long(MAX_RECORD_BYTES / 2)).examples.len(), 2);
    assert_eq!(faults(&read(long(MAX_RECORD_BYTES))), [(2, "too_large")]);

    let many = read("{}\n".repeat(MAX_FAULTS + 5));
    assert_eq!(many.faults.len(), MAX_FAULTS);
    assert_eq!(many.refused, MAX_FAULTS as u64 + 5);
}

#[test]
fn a_long_list_of_broken_records_takes_linear_time() {
    let broken = r#"{"instruction": "a, "output": "b"},"#;
    let text = format!("[\n{}{ALPACA}\n]", format!("{broken}\n").repeat(200_000));
    let file = read(text);
    assert_eq!(file.refused, 200_000);
    assert_eq!(file.examples.len(), 1);
    let one_line = format!("[\n{broken}\n{}]", format!("{ALPACA},").repeat(100_000));
    assert_eq!(read(one_line).refused, 100_000);
}

#[test]
fn the_example_files_are_whole() {
    for (name, language) in [("en", Language::En), ("zh", Language::Zh)] {
        for (part, least) in [("seeds", 100), ("heldout", 100)] {
            let path = format!(
                "{}/../../../examples/data/{part}-{name}.jsonl",
                env!("CARGO_MANIFEST_DIR")
            );
            let bytes = std::fs::read(&path).expect("read examples");
            let file = Reader.read(&path, &bytes);
            assert_eq!(faults(&file), [], "{path}");
            assert_eq!(file.format, "seeds");
            assert!(
                file.examples.len() >= least,
                "{path}: {}",
                file.examples.len()
            );
            assert!(
                file.examples
                    .iter()
                    .all(|example| example.language == Some(language))
            );
            assert!(
                file.examples
                    .iter()
                    .all(|example| example.task_type.is_some())
            );
        }
    }
}

#[test]
fn the_applications_files_are_whole_and_tell_task_and_language() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/data");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("list examples") {
        let path = entry.expect("list examples").path();
        let name = path.to_string_lossy().into_owned();
        if !(name.ends_with("-train.jsonl") || name.ends_with("-heldout.jsonl")) {
            continue;
        }
        let bytes = std::fs::read(&path).expect("read examples");
        let file = Reader.read(&name, &bytes);
        assert_eq!(faults(&file), [], "{name}");
        for example in &file.examples {
            assert!(example.task_type.is_some(), "{name}: {example:?}");
            assert!(example.language.is_some(), "{name}: {example:?}");
            assert!(!example.body.output_text().is_empty(), "{name}");
        }
        read += 1;
    }
    assert_eq!(
        read, 18,
        "a training and a held-out file of nine applications"
    );
}

/// The seed tasks of the Self-Instruct paper, where a file of them is named (see the test runner's notes on opt-in tests).
#[test]
fn the_paper_s_seed_tasks_are_175() {
    let Some(path) = std::env::var_os("AUTODIDACT_TEST_SEEDS") else {
        return;
    };
    let file = read(std::fs::read(path).expect("read the seed tasks"));
    assert_eq!(faults(&file), []);
    assert_eq!(file.format, "seeds");
    assert_eq!(file.examples.len(), 175);
    let classification =
        |example: &&autodidact_domain::Example| example.task_type == Some(TaskType::Classification);
    assert_eq!(file.examples.iter().filter(classification).count(), 26);
}
