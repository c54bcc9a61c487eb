//! Texts in the language that they say, in another, and such as only look so, in English and Chinese.

use autodidact_plugin::{Decision, Filter, Plugin, Record};
use language::{Config, Field, LanguageFilter};

fn decide(config: Config, record: Record<'_>) -> Decision {
    LanguageFilter::new(config).unwrap().decide(&record)
}

fn answered<'a>(language: &'a str, instruction: &'a str, output: &'a str) -> Record<'a> {
    Record {
        language,
        instruction,
        output,
        ..Record::default()
    }
}

fn check(language: &str, instruction: &str, output: &str, expected: Option<&str>) {
    let decision = decide(Config::default(), answered(language, instruction, output));
    let found = decision
        .drop_reason()
        .map(|reason| format!("{reason} {}", decision.note().unwrap_or_default()));
    let expected = expected.map(|note| format!("wrong_language {note}"));
    assert_eq!(found, expected, "{instruction} {output}");
}

#[test]
fn instructions_in_another_language_are_dropped() {
    for (language, code, instruction) in [
        (
            "en",
            "de",
            "Schreibe eine Geschichte über eine Katze, die sprechen kann.",
        ),
        (
            "en",
            "fr",
            "Quels sont les avantages de la vie à la campagne ?",
        ),
        (
            "en",
            "es",
            "Escribe una carta a tu profesor sobre las vacaciones.",
        ),
        (
            "en",
            "it",
            "Perché il cielo è blu e come si forma la pioggia?",
        ),
        (
            "en",
            "pt",
            "Escreva uma carta para o seu professor sobre as férias.",
        ),
        ("en", "nl", "Schrijf een gedicht over de zee en de wind."),
        (
            "en",
            "sv",
            "Skriv en dikt om havet och vad det betyder för dig.",
        ),
        (
            "en",
            "tr",
            "Deniz için kısa bir şiir yaz ve neden sevdiğini de söyle.",
        ),
        (
            "en",
            "vi",
            "Hãy viết một bài thơ về biển và những con thuyền.",
        ),
        ("en", "zh", "写一首关于冬天的大海的诗。"),
        ("zh", "en", "Write a poem about the sea in winter."),
        ("zh", "ja", "海についての短い詩を書いてください。"),
        ("zh", "ko", "바다에 대한 짧은 시를 써 주세요."),
        ("zh", "ru", "Напиши письмо другу о поездке."),
        ("en", "ar", "اكتب رسالة قصيرة إلى صديقك عن الرحلة."),
        ("en", "th", "เขียนบทกวีสั้น ๆ เกี่ยวกับทะเล"),
        ("en", "hi", "समुद्र पर एक छोटी कविता लिखिए।"),
        ("en", "el", "Γράψε ένα σύντομο ποίημα για τη θάλασσα."),
        ("en", "he", "כתוב שיר קצר על הים בחורף."),
    ] {
        let note = format!("instruction: {code}, 0% in its own language");
        check(language, instruction, "", Some(&note));
    }
}

#[test]
fn answers_in_another_language_are_dropped() {
    check(
        "en",
        "Explain how a rainbow forms.",
        "阳光穿过雨滴时被折射和反射，分成不同的颜色。",
        Some("output: zh, 0% in its own language"),
    );
    check(
        "zh",
        "解释彩虹是怎样形成的。",
        "好的。Sunlight is bent in the drops and split into its colours.",
        Some("output: en, 12% in its own language"),
    );
    check(
        "zh-CN",
        "写一个函数并说明。",
        "```python\ndef f(): pass\n```\nThis function does nothing and it takes nothing.",
        Some("output: en, 0% in its own language"),
    );
}

#[test]
fn what_an_instruction_asks_for_is_kept() {
    check(
        "en",
        "Say it in French.",
        "Il est tard et je suis fatigué de la route.",
        None,
    );
    check(
        "zh",
        "用英文写一句祝福。",
        "May all of your wishes come true in this year.",
        None,
    );
    check(
        "zh",
        "把它翻译一下。",
        "The library is closed on Sundays and on holidays.",
        None,
    );
    check(
        "en",
        "Go on: 床前明月光，疑是地上霜。",
        "举头望明月，低头思故乡。",
        None,
    );
    check("en", "Translate 请问洗手间在哪里 into English", "", None);
    check(
        "zh",
        "翻译：The quick brown fox jumps over the lazy dog.",
        "",
        None,
    );
    check(
        "en",
        "Translate to English: Il fait beau et nous allons à la plage.",
        "",
        None,
    );
    let corrected = Record {
        input: "She go to school by bus with her sister.",
        ..answered(
            "zh",
            "改正错误。",
            "She goes to school by bus with her sister.",
        )
    };
    assert_eq!(decide(Config::default(), corrected), Decision::keep());
    let translated = Record {
        task_type: "translation",
        ..answered(
            "zh",
            "处理这句话。",
            "The library is closed on Sundays and on holidays.",
        )
    };
    assert_eq!(decide(Config::default(), translated), Decision::keep());
}

#[test]
fn what_tells_no_language_is_kept() {
    for (instruction, output) in [
        (
            "写一条查询。",
            "SELECT name FROM staff\nWHERE age > 3\nORDER BY name;",
        ),
        (
            "写一个函数。",
            "def add(a, b):\n    # It returns the sum of the two numbers that are given to it.\n    return a + b",
        ),
        (
            "给出网址。",
            "https://example.com/the/way/to/the/page/of/all",
        ),
        (
            "列出原名。",
            "The Lord of the Rings, Gone with the Wind, The Silence of the Lambs.",
        ),
        ("作者的代表作？", "The Old Man and the Sea"),
        ("有哪些模型？", "CNN, RNN, LSTM, BERT and GPT."),
        (
            "给出结果。",
            "{\"title\": \"the end of the world as we know it\"}",
        ),
        (
            "引用一句名言。",
            "“To be, or not to be, that is the question.”",
        ),
        ("计算。", "x = 3, y = 4, and so x + y = 7"),
        (
            "说明。",
            "iPhone 的 iOS 更封闭，Android 更开放，Google Play 的应用更多。",
        ),
    ] {
        check("zh", instruction, output, None);
    }
    for output in [
        "Lyon, Le Havre, La Rochelle",
        "Les Misérables, Le Rouge et le Noir, La Peste.",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
        "It means exit: 出口, and hangs over doors.",
        "好的",
        "He hummed La vie en rose in the café.",
    ] {
        check("en", "Answer it.", output, None);
    }
    check("", "写一首诗，写一首很长的诗。", "", None);
    check("xx", "写一首诗，写一首很长的诗。", "", None);
    check("fi", "Kirjoita runo merestä, joka on no de la.", "", None);
    check("uk", "Напиши короткое стихотворение о море.", "", None);
}

#[test]
fn languages_may_be_few() {
    let config = || Config {
        languages: vec!["en".to_string(), "zh".to_string()],
        ..Config::default()
    };
    let reason = |language, instruction| {
        let decision = decide(config(), answered(language, instruction, ""));
        decision.note().map(str::to_string)
    };
    assert_eq!(reason("fr", "12").as_deref(), Some("it says fr"));
    assert_eq!(reason("zh-TW", "寫一首關於冬天的大海的詩。"), None);
    assert_eq!(reason("", "写一首关于冬天的大海的诗。"), None);
    assert!(reason("", "Напиши короткое стихотворение о море.").is_some());
    assert!(reason("en", "写一首关于冬天的大海的诗。").is_some());
}

#[test]
fn a_greater_share_finds_mixed_texts() {
    let mixed = "Bring the water to the boil and put the egg into it. 煮八分钟后取出，放进冷水。";
    let record = answered("en", "How do I boil an egg?", mixed);
    assert_eq!(decide(Config::default(), record), Decision::keep());
    let config = Config {
        least_share: 0.8,
        ..Config::default()
    };
    let decision = decide(config, record);
    assert_eq!(decision.drop_reason(), Some("mixed_language"));
    assert!((0.5..0.8).contains(&decision.score().unwrap()));
}

#[test]
fn fields_and_lengths_are_obeyed() {
    let record = Record {
        input: "今天天气很好，我们去公园散步。",
        ..answered("en", "Sum it up.", "")
    };
    assert_eq!(decide(Config::default(), record), Decision::keep());
    let config = |least_letters| Config {
        fields: vec![Field::Input],
        least_letters,
        ..Config::default()
    };
    let decision = decide(config(16), record);
    assert_eq!(decision.note(), Some("input: zh, 0% in its own language"));
    assert_eq!(decide(config(100), record), Decision::keep());
}

#[test]
fn configuration_is_checked() {
    let error = |config| LanguageFilter::new(config).err().unwrap_or_default();
    assert_eq!(error(Config::default()), "");
    let languages = vec!["chinese".to_string()];
    assert!(
        error(Config {
            languages,
            ..Config::default()
        })
        .contains("\"chinese\"")
    );
    let share = |least_share| Config {
        least_share,
        ..Config::default()
    };
    assert!(error(share(1.5)).starts_with("least_share"));
    assert!(error(share(f64::NAN)).starts_with("least_share"));
    let fields = Vec::new();
    assert!(
        error(Config {
            fields,
            ..Config::default()
        })
        .starts_with("fields")
    );
}

#[test]
fn long_and_odd_texts_take_linear_time() {
    for text in ["“", "(", "le la ", "的 the ", "```", "\u{1F600}", "é", "."] {
        let text = text.repeat(50_000);
        decide(Config::default(), answered("zh", &text, &text));
        decide(Config::default(), answered("en", &text, &text));
    }
}
