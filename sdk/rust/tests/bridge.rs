//! A filter, driven through the interfaces that the component exports.

use autodidact_plugin::bindings::exports::autodidact::plugin::{filter, plugin};
use autodidact_plugin::{Bridge, Decision, Filter, Record, text};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    word: String,
}

struct Word(String);

impl Filter for Word {
    type Config = Config;
    const NAME: &'static str = "word";
    const VERSION: &'static str = "0.1.0";
    const CONFIG_SCHEMA: &'static str = "{}";

    fn new(config: Config) -> Result<Self, String> {
        if config.word.is_empty() {
            Err("word must not be empty".to_string())
        } else {
            Ok(Self(config.word))
        }
    }

    fn decide(&self, record: &Record) -> Decision {
        if record.instruction.contains(&self.0) {
            return Decision::drop("has_word")
                .with_note(&self.0)
                .with_score(1.0);
        }
        Decision::keep()
    }
}

fn record(instruction: &str) -> Record {
    Record {
        instruction: instruction.to_string(),
        input: String::new(),
        output: String::new(),
        language: String::new(),
    }
}

#[test]
fn describes_itself() {
    let description = <Bridge<Word> as plugin::Guest>::describe();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("word", "0.1.0")
    );
}

#[test]
fn checks_configurations() {
    let check = |config: &str| <Bridge<Word> as plugin::Guest>::check_config(config.to_string());
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
fn decides_in_order() {
    let filter =
        |config: &str, batch| <Bridge<Word> as filter::Guest>::filter(config.to_string(), batch);
    let decisions = filter(
        r#"{"word": "图"}"#,
        vec![record("画一张图"), record("Write a line.")],
    )
    .unwrap();
    let reasons: Vec<_> = decisions.iter().map(|d| d.drop_reason.as_deref()).collect();
    assert_eq!(reasons, [Some("has_word"), None]);
    assert!(filter("{}", vec![record("x")]).is_err());
}

#[test]
fn tokens_hold_for_both_scripts() {
    assert_eq!(
        text::tokens("It's 3 o'clock!"),
        ["it", "s", "3", "o", "clock"]
    );
    assert_eq!(text::tokens("用Python３写。"), ["用", "python3", "写"]);
    assert_eq!(text::tokens("……—— "), Vec::<String>::new());
}

#[test]
fn excerpts_end_between_characters() {
    assert_eq!(text::excerpt("汉字汉字", 2), "汉字…");
    assert_eq!(text::excerpt("汉字", 2), "汉字");
}
