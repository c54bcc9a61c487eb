//! Texts that repeat themselves, and texts that only seem to.

use autodidact_plugin::{Decision, Filter, Plugin, Record};
use repetition::{Config, Repetition};

fn decide(instruction: &str, input: &str, output: &str) -> Decision {
    let record = Record {
        instruction,
        input,
        output,
        ..Record::default()
    };
    Repetition::new(Config::default()).unwrap().decide(&record)
}

fn check(output: &str, expected: Option<&str>) {
    assert_eq!(
        decide("Answer the question.", "", output).drop_reason(),
        expected,
        "{output:?}"
    );
}

#[test]
fn good_answers_are_kept() {
    for good in [
        "",
        "Carbon dioxide.",
        "Yes. No. Yes. Yes. Yes.",
        "0 0 0 0 0 0 0 1",
        "Hush over the roofs,\nthe garden has forgotten\nevery path we made.",
        "The cat is black. The dog is brown. The bird is blue. The fish is red. The horse is white. The cow is grey.",
        "清晨第一炉香，留给最近的你。",
        "哈哈哈，太好笑了！",
        "红色代表热情，蓝色代表冷静，绿色代表生机，黄色代表希望，黑色代表庄重，白色代表纯洁。",
    ] {
        check(good, None);
    }
}

#[test]
fn the_same_sentence_three_times_is_dropped() {
    check(
        "I like tea a lot. It is warm. I like tea a lot! Really. i like tea, a lot",
        Some("repeated_sentence"),
    );
    check(
        "先看看这里。再看看那里。先看看这里！先看看这里",
        Some("repeated_sentence"),
    );
    check("I like tea a lot. I like tea a lot.", None);
}

#[test]
fn the_same_words_in_a_row_are_dropped() {
    check("It is very very very very very good", Some("repeated_run"));
    check(
        "the red car, the red car, the red car, the red car, the red car",
        Some("repeated_run"),
    );
    check("这个问题非常非常非常非常非常好", Some("repeated_run"));
    check("哈哈哈哈哈，太好笑了。", None);
    check("La la la la la la, sang the bird.", None);
    check(&"哈".repeat(40), Some("repeated_run"));
    check("It is very very very good", None);
}

#[test]
fn texts_that_go_in_circles_are_dropped() {
    let circle = "The most important thing in life is to be happy and healthy, because the most important thing in \
                  life is to be happy and healthy with friends, and the most important thing in life is love.";
    check(circle, Some("repeated_ngrams"));
    check(
        "学习一门语言需要每天坚持练习听说读写，因为学习一门语言需要每天坚持练习，所以学习一门语言需要每天坚持练习听说。",
        Some("repeated_ngrams"),
    );
    let decision = decide("Answer the question.", "", circle);
    assert!(decision.score().unwrap() > 0.35 && decision.note().unwrap().starts_with("output: "));
}

#[test]
fn the_instruction_is_looked_at_too() {
    let decision = decide(
        "Name a river, name a river, name a river, name a river, name a river.",
        "",
        "",
    );
    assert_eq!(decision.drop_reason(), Some("repeated_run"));
    assert_eq!(
        decision.note(),
        Some("instruction: \"name a river\" 5 times in a row")
    );
    assert_eq!(decision.score(), Some(5.0));
}

#[test]
fn a_copied_instruction_is_dropped() {
    let reason = |instruction, input, output| {
        let decision = decide(instruction, input, output);
        decision.drop_reason().map(str::to_string)
    };
    let copied = Some("output_copies_instruction".to_string());
    assert_eq!(reason("Name a river.", "", "name a river"), copied);
    assert_eq!(reason("写一首诗。", "", "写一首诗"), copied);
    assert_eq!(reason("Translate:", "你好", "Translate: 你好"), copied);
    // An input that is right already comes back as it was.
    assert_eq!(
        reason("Correct the sentence.", "It is fine.", "It is fine."),
        None
    );
    assert_eq!(reason("。", "", ""), None);
}

#[test]
fn configuration_is_checked() {
    let config = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Repetition::new(config).err()
    };
    assert_eq!(config(|_| ()), None);
    assert!(config(|c| c.ngram = 1).unwrap().starts_with("ngram"));
    assert!(
        config(|c| c.max_repeated_share = 1.5)
            .unwrap()
            .starts_with("max_repeated_share")
    );
    assert!(config(|c| c.max_repeated_share = f64::NAN).is_some());
    assert!(config(|c| c.max_run = 0).unwrap().starts_with("max_run"));
}
