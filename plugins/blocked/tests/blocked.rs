//! Records with blocked words and with words that only look like them, in English and Chinese.

use autodidact_plugin::{Decision, Filter, Plugin, Record};
use blocked::{Blocked, Config, Field, ListName, Words};

fn words(words: &[&str]) -> Config {
    Config {
        words: Words::OfAll(words.iter().map(ToString::to_string).collect()),
        lists: Vec::new(),
        ..Config::default()
    }
}

fn decide(config: Config, instruction: &str, output: &str) -> Decision {
    let record = Record {
        instruction,
        output,
        language: "en",
        ..Record::default()
    };
    Blocked::new(config).unwrap().decide(&record)
}

fn check(instruction: &str, output: &str, note: Option<&str>) {
    let decision = decide(Config::default(), instruction, output);
    assert_eq!(decision.note(), note, "{instruction} {output}");
    let expected = note.map(|_| "blocked_word");
    assert_eq!(decision.drop_reason(), expected, "{instruction} {output}");
}

#[test]
fn the_users_words_are_found_in_every_text() {
    let config = || words(&["casino", "get rich quick", "赌场"]);
    let decision = decide(config(), "Get rich\nquick!", "澳门的赌场，two Casinos.");
    assert_eq!(decision.drop_reason(), Some("blocked_word"));
    assert_eq!(
        decision.note(),
        Some("instruction: \"get rich quick\", 3 hits in all")
    );
    assert_eq!(decision.score(), Some(3.0));
    let input = Record {
        input: "ＣＡＳＩＮＯ",
        ..Record::default()
    };
    let decision = Blocked::new(config()).unwrap().decide(&input);
    assert_eq!(decision.note(), Some("input: \"casino\""));
    for near in ["casinolike", "He got rich quick.", "赌 场", "赌注押在场上"] {
        assert_eq!(decide(config(), near, near), Decision::keep(), "{near}");
    }
}

#[test]
fn fields_plurals_and_exceptions_are_obeyed() {
    let config = || words(&["casino"]);
    let of_output = Config {
        fields: vec![Field::Output],
        ..config()
    };
    assert_eq!(decide(of_output, "a casino", "fine"), Decision::keep());
    let exact = Config {
        plurals: false,
        ..config()
    };
    assert_eq!(decide(exact, "two casinos", ""), Decision::keep());
    let royale = || Config {
        except: vec!["Casino Royale".to_string()],
        ..config()
    };
    assert_eq!(decide(royale(), "casino  royale", ""), Decision::keep());
    let both = decide(royale(), "Casino Royale in a casino", "");
    assert_eq!(both.score(), Some(1.0));
}

#[test]
fn words_may_be_of_a_language() {
    let lists = [("en", vec!["gift"]), ("zh-Hans", vec!["彩票"])];
    let lists = lists.map(|(code, words)| {
        let words = words.iter().map(ToString::to_string).collect();
        (code.to_string(), words)
    });
    let filter = Blocked::new(Config {
        words: Words::ByLanguage(lists.into()),
        ..Config::default()
    });
    let filter = filter.unwrap();
    let reason = |instruction, language| {
        let record = Record {
            instruction,
            language,
            ..Record::default()
        };
        filter.decide(&record).drop_reason().is_some()
    };
    assert!(reason("A gift", "en") && reason("A gift", "en-GB"));
    assert!(!reason("Das Gift", "de") && !reason("买彩票", "en"));
    assert!(reason("买彩票", "zh"));
}

#[test]
fn tasks_that_are_no_text_are_dropped() {
    check(
        "Describe this picture.",
        "",
        Some("instruction: \"picture\""),
    );
    check("Draw a cat.", "", Some("instruction: \"draw\""));
    check("画一只猫。", "", Some("instruction: \"画一\""));
    check("给我看看肯尼亚的地图。", "", Some("instruction: \"地图\""));
    check(
        "Explain what a child sees in this image.",
        "",
        Some("instruction: \"image\""),
    );
    check(
        "解释这张图片为什么好笑。",
        "",
        Some("instruction: \"这张图\""),
    );
    for good in [
        "Describe the imagery of the paragraph.",
        "Summarize the plot of Hamlet.",
        "Write a Python script that reads a file.",
        "What does \"draw\" mean here?",
        "What does `open(file)` return?",
        "Explain how a map projection works.",
        "电视频道有哪些？",
        "当地图书馆几点开门？",
        "他试图像鸟一样飞。",
        "这部动画一共几集？",
        "“图片”用英语怎么说？",
        "《清明上河图》的作者是谁？",
        "什么是地图？",
    ] {
        check(good, "A picture, 图片", None);
    }
}

#[test]
fn what_assistants_say_of_themselves_is_dropped() {
    check(
        "Is tea good?",
        "As an AI language\nmodel, I cannot say.",
        Some("output: \"as an ai language model, i\""),
    );
    check(
        "茶好喝吗？",
        "作为一个 ＡＩ 语言模型, 我没有味觉。",
        Some("output: \"作为一个AI语言模型，我\""),
    );
    check(
        "What is it?",
        "GPT-2, as an AI language model, predicts.",
        None,
    );
    check(
        "它是什么？",
        "作为一个AI语言模型，GPT-2 会预测下一个词。",
        None,
    );
    check("Quote it.", "\"As an AI language model, I cannot.\"", None);
}

#[test]
fn lists_may_be_left_out() {
    let config = |lists| Config {
        lists,
        ..Config::default()
    };
    assert_eq!(
        decide(config(Vec::new()), "Draw a cat.", ""),
        Decision::keep()
    );
    let assistant = config(vec![ListName::Assistant]);
    assert_eq!(decide(assistant, "Draw a cat.", ""), Decision::keep());
}

#[test]
fn configuration_is_checked() {
    let error = |config| Blocked::new(config).err().unwrap_or_default();
    assert_eq!(error(Config::default()), "");
    assert!(error(words(&["ok", " "])).starts_with("words: \" \": there is nothing"));
    assert!(error(words(&["*x"])).contains("a star"));
    let no_field = Config {
        fields: Vec::new(),
        ..Config::default()
    };
    assert!(error(no_field).starts_with("fields"));
    let by_language = Config {
        words: Words::ByLanguage([("english".to_string(), Vec::new())].into()),
        ..Config::default()
    };
    assert!(error(by_language).contains("\"english\" is no code"));
}
