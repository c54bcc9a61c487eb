//! A plugin of several kinds, driven through the interfaces that the component exports.

use std::cell::RefCell;
use std::thread::LocalKey;

use autodidact_plugin::bindings::{filter, plugin, scorer, template, validator};
use autodidact_plugin::{
    Bridge, Capability, Completion, Decision, Exported, Filter, Finish, Item, Kept, Kind, Outcome,
    Plugin, Prompt, Record, Rendered, Request, Score, Scorer, Template, Validator, text,
};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    word: String,
}

/// Looks for a word, in all that a plugin can look at.
struct Word(String);

impl Plugin for Word {
    type Config = Config;
    const NAME: &'static str = "word";
    const VERSION: &'static str = "0.1.0";
    const CONFIG_SCHEMA: &'static str = "{}";
    const CAPABILITIES: &'static [Capability] = &[Capability::Log];

    fn new(config: Config) -> Result<Self, String> {
        if config.word.is_empty() {
            Err("word must not be empty".to_string())
        } else {
            Ok(Self(config.word))
        }
    }
}

impl Filter for Word {
    fn decide(&self, record: &Record<'_>) -> Decision {
        if record.instruction.contains(&self.0) {
            return Decision::drop("has_word")
                .with_note(&self.0)
                .with_score(1.0);
        }
        Decision::keep()
    }
}

impl Validator for Word {
    fn validate(&self, record: &Record<'_>) -> Outcome {
        if record.output.contains(&self.0) {
            return Outcome::Correct {
                output: record.output.replace(&self.0, ""),
                note: None,
            };
        }
        match record.labels.is_empty() {
            true => Outcome::Accept,
            false => Outcome::drop("has_labels", record.labels),
        }
    }
}

impl Scorer for Word {
    fn score(&self, record: &Record<'_>) -> Score {
        match record.topic {
            "" => Score::none("no topic"),
            topic => Score::of(topic.matches(&self.0).count() as f64),
        }
    }
}

impl Template for Word {
    fn render(&self, request: &Request) -> Result<Rendered, String> {
        if request.language == "fr" {
            return Err("no words for fr".to_string());
        }
        Ok(Rendered {
            prompt: Prompt::Text(format!("{} {} times:", self.0, request.count)),
            stop: vec!["\n\n".to_string()],
        })
    }

    fn parse(&self, completion: &Completion) -> Result<Vec<Item>, String> {
        let items = completion.text.split(&*self.0).map(|text| Item {
            instruction: text.to_string(),
            task_type: completion.request.task_type.clone(),
            topic: String::new(),
        });
        Ok(items.collect())
    }
}

struct Described;

impl Exported for Described {
    type Plugin = Word;
    const KINDS: &'static [Kind] = &[Kind::Filter, Kind::Scorer];

    fn kept() -> &'static LocalKey<Kept<Word>> {
        thread_local! {
            static KEPT: Kept<Word> = const { RefCell::new(None) };
        }
        &KEPT
    }
}

type Exports = Bridge<Described>;

const WORD: &str = r#"{"word": "图"}"#;

/// Lays records out as the host does.
fn batch(records: &[Record<'_>]) -> (Vec<u8>, Vec<u32>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for record in records {
        for field in [
            record.instruction,
            record.input,
            record.output,
            record.language,
            record.task_type,
            record.topic,
            record.labels,
        ] {
            text.extend_from_slice(field.as_bytes());
            ends.push(text.len() as u32);
        }
    }
    (text, ends)
}

fn instruction(instruction: &str) -> Record<'_> {
    Record {
        instruction,
        ..Record::default()
    }
}

#[test]
fn describes_itself() {
    let description = <Exports as plugin::Guest>::describe();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("word", "0.1.0")
    );
    assert_eq!(description.kinds, [Kind::Filter, Kind::Scorer]);
    assert_eq!(description.capabilities, [Capability::Log]);
}

#[test]
fn checks_configurations() {
    let check = |config: &str| <Exports as plugin::Guest>::check_config(config.to_string());
    assert_eq!(check(r#"{"word": "x"}"#), Ok(()));
    assert_eq!(check("{}"), Err("word must not be empty".to_string()));
    assert!(
        check(r#"{"wrod": "x"}"#)
            .unwrap_err()
            .contains("unknown field `wrod`")
    );
    assert!(check("[").is_err());
}

#[test]
fn decides_in_order_by_the_configuration_of_the_call() {
    let filter = |config: &str, records: &[Record<'_>]| {
        let (text, ends) = batch(records);
        <Exports as filter::Guest>::filter(config.to_string(), text, ends)
    };
    let records = [instruction("画一张图"), instruction("Write a line.")];
    let reasons = |decisions: Vec<filter::Decision>| {
        let reasons = decisions.into_iter().map(|decision| decision.drop_reason);
        reasons.map(|reason| reason.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(filter(WORD, &records).unwrap()), [true, false]);
    assert_eq!(
        reasons(filter(r#"{"word": "line"}"#, &records).unwrap()),
        [false, true]
    );
    assert_eq!(reasons(filter(WORD, &[]).unwrap()), [] as [bool; 0]);
    assert!(filter("{}", &records).is_err());
}

#[test]
fn validates_and_scores() {
    let record = |output, topic, labels| Record {
        output,
        topic,
        labels,
        ..Record::default()
    };
    let records = [
        record("一图", "", ""),
        record("一", "图图", "a\nb"),
        record("一", "x", ""),
    ];
    let (text, ends) = batch(&records);
    let outcomes =
        <Exports as validator::Guest>::validate(WORD.to_string(), text.clone(), ends.clone())
            .unwrap();
    let [
        validator::Outcome::Correct(correction),
        validator::Outcome::Drop(fault),
        validator::Outcome::Accept,
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(correction.output, "一");
    assert_eq!(
        (fault.reason.as_str(), fault.note.as_deref()),
        ("has_labels", Some("a\nb"))
    );
    let scores = <Exports as scorer::Guest>::score(WORD.to_string(), text, ends).unwrap();
    let values: Vec<_> = scores.iter().map(|score| score.value).collect();
    assert_eq!(values, [None, Some(2.0), Some(0.0)]);
}

#[test]
fn writes_prompts_and_reads_answers() {
    let request = |language: &str| Request {
        language: language.to_string(),
        examples: Vec::new(),
        task_type: "code".to_string(),
        topic: String::new(),
        count: 3,
        seed: 1,
    };
    let render =
        |language| <Exports as template::Guest>::render(WORD.to_string(), vec![request(language)]);
    let rendered = render("zh").unwrap();
    assert!(matches!(&rendered[0].prompt, Prompt::Text(text) if text == "图 3 times:"));
    assert_eq!(render("fr").unwrap_err(), "no words for fr");
    let completion = Completion {
        request: request("zh"),
        text: "一图二".to_string(),
        finish: Finish::Stop,
    };
    let items = <Exports as template::Guest>::parse(WORD.to_string(), vec![completion]).unwrap();
    let items: Vec<_> = items[0]
        .iter()
        .map(|i| (&*i.instruction, &*i.task_type))
        .collect();
    assert_eq!(items, [("一", "code"), ("二", "code")]);
}

#[test]
fn a_batch_that_is_none_is_refused() {
    let filter = |text: &[u8], ends: &[u32]| {
        <Exports as filter::Guest>::filter(WORD.to_string(), text.to_vec(), ends.to_vec())
            .unwrap_err()
    };
    assert_eq!(filter(b"", &[0; 6]), "the batch: 6 texts are no records");
    assert_eq!(filter(b"a", &[2; 7]), "the batch: no text ends at 2");
    let falling = [1, 0, 0, 0, 0, 0, 0];
    assert_eq!(filter(b"a", &falling), "the batch: no text ends at 0");
    let within = filter("图".as_bytes(), &[1, 3, 3, 3, 3, 3, 3]);
    assert_eq!(within, "the batch: no text ends at 1");
    assert!(filter(&[0xff], &[1; 7]).starts_with("the batch: invalid utf-8"));
}

#[test]
fn tokens_hold_for_both_scripts_and_are_counted_alike() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(text::tokens(text), expected);
        assert_eq!(text::count_tokens(text), expected.len(), "{text:?}");
    };
    check("It's 3 o'clock!", &["it", "s", "3", "o", "clock"]);
    check("用Python３写。", &["用", "python3", "写"]);
    check(
        "東京へ行く人々",
        &["東", "京", "へ", "行", "く", "人", "々"],
    );
    check("naïve café", &["naïve", "café"]);
    check("……—— ", &[]);
    check("", &[]);
    check(
        "it's 'tis: a1b2 xY9-Zz_0",
        &["it", "s", "tis", "a1b2", "xy9", "zz", "0"],
    );
}

#[test]
fn every_character_is_counted_alike_wherever_it_stands() {
    for c in '\0'..=char::MAX {
        // Before and behind words, blanks and itself, and at either end of the eight bytes that are taken at once.
        for text in [
            format!("a{c}b{c}{c} {c}字{c}"),
            format!("{c}abcdef{c}gh"),
            format!("ab cdef{c}x"),
        ] {
            assert_eq!(
                text::count_tokens(&text),
                text::tokens(&text).len(),
                "{c:?}"
            );
        }
    }
}

#[test]
fn excerpts_end_between_characters() {
    assert_eq!(text::excerpt("汉字汉字", 2), "汉字…");
    assert_eq!(text::excerpt("汉字", 2), "汉字");
}
