//! The built-in plugins: they match their sources, and judge English and Chinese records.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use autodidact_domain::plugin::{TemplateCompletion, TemplateRequest, Validation};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{
    Body, Capability, Digest, Example, FinishReason, Granted, Language, PluginCall, PluginKind,
    PluginRecord, Prompt, TaskType,
};
use autodidact_plugin_host::builtin_components;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{open_host, record, show};

/// Keep in step with `plugins/build.sh`.
const MAX_BUILTIN_BYTES: usize = 200_000;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .canonicalize()
        .unwrap()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn files_below(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_path_buf());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        files_below(&entry.unwrap().path(), files);
    }
}

/// Digests what a component is made of, the way `plugins/build.sh` does it.
fn source_digest(name: &str) -> String {
    let root = repository();
    let mut files = Vec::new();
    for part in ["sdk/wit/0.1.0", "sdk/rust/Cargo.toml", "sdk/rust/src"] {
        files_below(&root.join(part), &mut files);
    }
    for part in ["Cargo.toml", "Cargo.lock", "config.schema.json", "src"] {
        files_below(&root.join("plugins").join(name).join(part), &mut files);
    }
    let relative = |file: &PathBuf| {
        file.strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_string()
    };
    let mut names: Vec<String> = files.iter().map(relative).collect();
    names.sort();
    let line = |name: &String| format!("{}  {name}\n", sha256(&fs::read(root.join(name)).unwrap()));
    sha256(names.iter().map(line).collect::<String>().as_bytes())
}

/// A version of the interfaces that was given out never changes: plugins were built for it. What comes later is another folder.
#[test]
fn the_interfaces_are_frozen() {
    let root = repository().join("sdk/wit/0.1.0");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    let line = |file: &PathBuf| {
        let name = file.strip_prefix(&root).unwrap().display();
        format!("{}  {name}\n", sha256(&fs::read(file).unwrap()))
    };
    let lines: String = files.iter().map(line).collect();
    assert_eq!(
        sha256(lines.as_bytes()),
        "f48cd64f71a8d64ede61c5b08fa2e450677d66955f31a0ae39eedb348e7a3f71",
        "{lines}"
    );
}

#[test]
fn the_components_match_their_sources() {
    let digests = fs::read(repository().join("plugins/digests.json")).unwrap();
    let digests: Value = serde_json::from_slice(&digests).unwrap();
    assert_eq!(
        digests.as_object().unwrap().len(),
        builtin_components().len()
    );
    for (name, component) in builtin_components() {
        let expected = &digests[*name];
        assert_eq!(
            expected["source_sha256"],
            source_digest(name),
            "{name}: run plugins/build.sh"
        );
        assert_eq!(
            expected["component_sha256"],
            sha256(component),
            "{name}: run plugins/build.sh"
        );
        assert!(
            component.len() <= MAX_BUILTIN_BYTES,
            "{name}: {} bytes",
            component.len()
        );
    }
}

#[test]
fn the_components_hold_no_path_of_the_machine_they_were_made_on() {
    for (name, component) in builtin_components() {
        let text = String::from_utf8_lossy(component);
        for trace in ["/root/", "/home/", "/Users/", "/tmp/", "index."] {
            let found = text.match_indices(trace).next();
            assert_eq!(found, None, "{name} holds {trace}");
        }
    }
}

fn component(name: &str) -> &'static [u8] {
    let found = builtin_components()
        .iter()
        .find(|(known, _)| *known == name);
    found.unwrap().1
}

#[test]
fn they_describe_themselves() {
    let (_folder, host) = open_host();
    for (name, component) in builtin_components() {
        let summary = host.install(component, true).unwrap();
        assert_eq!(summary.name.as_str(), *name);
        let kind = match *name {
            "alpaca" => PluginKind::Template,
            "structured" => PluginKind::Validator,
            "rubric" => PluginKind::Scorer,
            _ => PluginKind::Filter,
        };
        assert_eq!(
            (summary.version.as_str(), summary.kinds.as_slice()),
            ("0.1.0", &[kind][..])
        );
        let asks: &[Capability] = match *name {
            "rubric" => &[Capability::Generate],
            _ => &[],
        };
        assert_eq!(summary.capabilities, asks);
        assert_eq!(summary.granted, Granted::default());
        assert_eq!(
            (summary.digest, summary.size),
            (Digest::of(component), component.len() as u64)
        );
        assert!(summary.builtin && summary.enabled);
        let schema: Value = serde_json::from_str(&summary.config_schema).unwrap();
        assert_eq!(schema["type"], "object");
    }
    let names: Vec<_> = host
        .list()
        .unwrap()
        .into_iter()
        .map(|plugin| plugin.name.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "alpaca",
            "blocked",
            "form",
            "language",
            "length",
            "repetition",
            "rubric",
            "structured"
        ]
    );
}

#[test]
fn form_judges_english_and_chinese() {
    let (_folder, host) = open_host();
    let digest = host.install(component("form"), true).unwrap().digest;
    let cases = [
        ("Write a haiku about the first snow of winter.", "keep"),
        ("and explain why it is so.", "starts_lower_case"),
        ("Add the numbers. Input: 3, 4", "template_marker"),
        ("3. Name a river.", "list_number"),
        ("Compare the sea and the", "cut_sentence"),
        ("为一家社区面包店想一句广告语。", "keep"),
        ("翻译成英文。输入：你好", "template_marker"),
        ("解释“画蛇添足的意思。", "unbalanced_quotes"),
        ("把下面的句子翻译成英文：", "ends_with_colon"),
        ("", "empty_instruction"),
    ];
    let records: Vec<_> = cases
        .iter()
        .map(|(instruction, _)| record(instruction, ""))
        .collect();
    let outcomes = host
        .filter(&PluginCall::plain(digest, &Value::Null), &records)
        .unwrap()
        .answers;
    for ((instruction, expected), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(show(outcome), *expected, "{instruction:?}");
    }
    let note = outcomes[1].as_ref().unwrap().note.as_deref();
    assert_eq!(note, Some("starts with \"and\""));
}

#[test]
fn repetition_judges_english_and_chinese() {
    let (_folder, host) = open_host();
    let digest = host.install(component("repetition"), true).unwrap().digest;
    let cases = [
        (
            "Name three rivers.",
            "The Nile, the Amazon and the Rhine.",
            "keep",
        ),
        (
            "Is it good?",
            "It is very very very very very good.",
            "repeated_run",
        ),
        (
            "Name a river.",
            "Name a river.",
            "output_copies_instruction",
        ),
        (
            "介绍一下自己。",
            "我是一名老师。我是一名老师！我是一名老师",
            "repeated_sentence",
        ),
        ("写一首诗。", "写一首诗", "output_copies_instruction"),
        ("写一句祝福。", "愿你岁岁平安，事事顺心。", "keep"),
    ];
    let records: Vec<_> = cases
        .iter()
        .map(|(instruction, output, _)| record(instruction, output))
        .collect();
    let outcomes = host
        .filter(&PluginCall::plain(digest, &json!({})), &records)
        .unwrap()
        .answers;
    for ((instruction, _, expected), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(show(outcome), *expected, "{instruction:?}");
    }
    assert_eq!(outcomes[1].as_ref().unwrap().score, Some(5.0));
}

#[test]
fn blocked_judges_english_and_chinese() {
    let (_folder, host) = open_host();
    let digest = host.install(component("blocked"), true).unwrap().digest;
    let cases = [
        ("Describe this picture.", "A dog.", "blocked_word"),
        ("Sum up the paragraph.", "It rained.", "keep"),
        (
            "Is tea good?",
            "As an AI language model, I cannot say.",
            "blocked_word",
        ),
        ("画一只猫。", "好。", "blocked_word"),
        ("当地图书馆几点开门？", "九点。", "keep"),
        ("Name a casino.", "", "keep"),
    ];
    let records: Vec<_> = cases
        .iter()
        .map(|(instruction, output, _)| record(instruction, output))
        .collect();
    let outcomes = host
        .filter(&PluginCall::plain(digest, &Value::Null), &records)
        .unwrap()
        .answers;
    for ((instruction, _, expected), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(show(outcome), *expected, "{instruction:?}");
    }
    let note = outcomes[0].as_ref().unwrap().note.as_deref();
    assert_eq!(note, Some("instruction: \"picture\""));

    let config = json!({"words": ["casino", "赌场"], "lists": []});
    let outcomes = host
        .filter(&PluginCall::plain(digest, &config), &records)
        .unwrap()
        .answers;
    assert_eq!(show(&outcomes[0]), "keep");
    assert_eq!(show(&outcomes[5]), "blocked_word");
    let by_language = json!({"words": {"en": ["casino"], "zh": ["赌场"]}});
    host.check_config(digest, &by_language).unwrap();
    let error = host.check_config(digest, &json!({"words": 3})).unwrap_err();
    assert!(error.to_string().contains("a list of words"), "{error}");
}

#[test]
fn language_holds_records_to_what_they_say() {
    let (_folder, host) = open_host();
    let digest = host.install(component("language"), true).unwrap().digest;
    let cases = [
        ("en", "Write a poem about the sea in winter.", "", "keep"),
        (
            "zh",
            "Write a poem about the sea in winter.",
            "",
            "wrong_language",
        ),
        ("zh", "写一首关于冬天的大海的诗。", "", "keep"),
        ("en", "写一首关于冬天的大海的诗。", "", "wrong_language"),
        (
            "zh",
            "解释彩虹是怎样形成的。",
            "Sunlight is bent in the drops of rain and split into its colours.",
            "wrong_language",
        ),
        (
            "zh",
            "用英文解释彩虹是怎样形成的。",
            "Sunlight is bent in the drops of rain and split into its colours.",
            "keep",
        ),
    ];
    let records: Vec<_> = cases
        .iter()
        .map(|(language, instruction, output, _)| PluginRecord {
            language,
            ..record(instruction, output)
        })
        .collect();
    let outcomes = host
        .filter(&PluginCall::plain(digest, &Value::Null), &records)
        .unwrap()
        .answers;
    for ((_, instruction, _, expected), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(show(outcome), *expected, "{instruction:?}");
    }
    let only_english = json!({"languages": ["en"]});
    let outcomes = host
        .filter(&PluginCall::plain(digest, &only_english), &records)
        .unwrap()
        .answers;
    assert_eq!(show(&outcomes[2]), "wrong_language");
    let error = host.check_config(digest, &json!({"languages": ["chinese"]}));
    assert!(error.unwrap_err().to_string().contains("\"chinese\""));
}

#[test]
fn configurations_are_checked_and_obeyed() {
    let (_folder, host) = open_host();
    let digest = host.install(component("form"), true).unwrap().digest;
    let check = |config: Value| {
        host.check_config(digest, &config)
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(Value::Null), Ok(()));
    assert_eq!(
        check(json!({"disabled": ["ends_with_colon"], "max_lines": 3})),
        Ok(())
    );
    let unknown_field = check(json!({"max_line": 3})).unwrap_err();
    assert!(
        unknown_field.contains("plugin \"form\"")
            && unknown_field.contains("unknown field `max_line`")
    );
    assert!(
        check(json!({"disabled": ["colon"]}))
            .unwrap_err()
            .contains("no check \"colon\"")
    );
    assert!(
        check(json!([1]))
            .unwrap_err()
            .contains("expected an object")
    );
    assert!(
        check(json!({"disabled": ["x".repeat(70_000)]}))
            .unwrap_err()
            .contains("bytes")
    );

    let records = [record("Translate this sentence:", "")];
    let reasons = |config: Value| {
        show(
            &host
                .filter(&PluginCall::plain(digest, &config), &records)
                .unwrap()
                .answers[0],
        )
    };
    assert_eq!(reasons(json!({})), "ends_with_colon");
    assert_eq!(reasons(json!({"disabled": ["ends_with_colon"]})), "keep");
    assert!(reasons(json!({"max_line": 3})).contains("unknown field"));
}

#[test]
fn a_decision_does_not_depend_on_batches_or_threads() {
    let (_folder, host) = open_host();
    let digest = host.install(component("form"), true).unwrap().digest;
    let texts = [
        "Name a river.",
        "3. Name a river.",
        "写一首诗。",
        "写一首诗，",
        "and so on",
        "Tell a joke!",
    ];
    let records: Vec<_> = (0..300)
        .map(|i| record(texts[i % texts.len()], ""))
        .collect();
    let expected: Vec<_> = records
        .iter()
        .flat_map(|record| {
            host.filter(
                &PluginCall::plain(digest, &Value::Null),
                std::slice::from_ref(record),
            )
            .unwrap()
            .answers
        })
        .collect();
    thread::scope(|scope| {
        let run = |_| {
            scope.spawn(|| {
                host.filter(&PluginCall::plain(digest, &Value::Null), &records)
                    .unwrap()
                    .answers
            })
        };
        for outcomes in (0..4).map(run).collect::<Vec<_>>() {
            assert_eq!(outcomes.join().unwrap(), expected);
        }
    });
    assert_eq!(
        host.filter(&PluginCall::plain(digest, &Value::Null), &[])
            .unwrap()
            .answers,
        []
    );
}

#[test]
fn alpaca_writes_prompts_and_reads_lists() {
    let (_folder, host) = open_host();
    let digest = host.install(component("alpaca"), true).unwrap().digest;
    let mut seed = Example::human(Body::instruction("Name a river.", "", "The Nile."));
    seed.language = Some(Language::En);
    let examples = [&seed];
    let request = |language| TemplateRequest {
        language,
        examples: &examples,
        task_type: Some(TaskType::Code),
        topic: None,
        count: 8,
        seed: 1,
    };
    let requests = [request(Language::En), request(Language::Zh)];
    let config = json!({"count": 4});
    let rendered = host
        .render(&PluginCall::plain(digest, &config), &requests)
        .unwrap()
        .answers;
    let prompt = |at: usize| match &rendered[at].as_ref().unwrap().prompt {
        Prompt::Chat(turns) => turns[0].content.clone(),
        Prompt::Text(text) => panic!("{text}"),
    };
    assert!(prompt(0).starts_with("Make up 4 new tasks") && prompt(0).contains("1. Name a river."));
    assert!(prompt(1).contains("设计 4 个新任务"), "{}", prompt(1));
    let completion = |text| TemplateCompletion {
        request: request(Language::En),
        text,
        finish: FinishReason::Length,
    };
    let said = [
        completion("2. Name a lake.\n3. Name a"),
        completion("２．说出一个湖。"),
    ];
    let parsed = host
        .parse(&PluginCall::plain(digest, &config), &said)
        .unwrap()
        .answers;
    let instructions = |at: usize| {
        let items = parsed[at].as_ref().unwrap().iter();
        items
            .map(|item| item.instruction.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(instructions(0), ["Name a lake."]);
    assert_eq!(instructions(1), ["说出一个湖。"]);
    // What a plugin is not, it cannot be asked.
    let filtered = host
        .filter(&PluginCall::plain(digest, &config), &[record("x", "")])
        .unwrap()
        .answers;
    assert_eq!(show(&filtered[0]), "error: is no filter");
}

#[test]
fn structured_corrects_and_drops() {
    let (_folder, host) = open_host();
    let digest = host.install(component("structured"), true).unwrap().digest;
    let records = [
        record("x", "Fine."),
        record("x", "```python\nprint(1)"),
        record("x", "```json\n{\"a\": }\n```"),
    ];
    let outcomes = host
        .validate(&PluginCall::plain(digest, &Value::Null), &records)
        .unwrap()
        .answers;
    assert_eq!(outcomes[0], Ok(Validation::Accept));
    let Ok(Validation::Correct { output, note }) = &outcomes[1] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(output, "```python\nprint(1)\n```");
    assert_eq!(note.as_deref(), Some("its last block is closed"));
    let Ok(Validation::Drop { reason, note, .. }) = &outcomes[2] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(reason, "bad_json");
    assert!(note.as_deref().unwrap().contains("line 1"), "{note:?}");
}
