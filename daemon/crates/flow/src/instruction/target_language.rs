//! The language that an instruction asks its answer to be in.

use std::collections::BTreeSet;

use autodidact_text::{NaturalLanguage, without_code, without_quotations};

/// Names of the languages whose answers are held to them, in English and Chinese.
const NAMES: [(NaturalLanguage, &[&str]); 7] = [
    (NaturalLanguage::English, &["english", "英语", "英文"]),
    (NaturalLanguage::French, &["french", "法语", "法文"]),
    (NaturalLanguage::German, &["german", "德语", "德文"]),
    (
        NaturalLanguage::Spanish,
        &["spanish", "西班牙语", "西班牙文", "西语"],
    ),
    (
        NaturalLanguage::Chinese,
        &[
            "chinese",
            "mandarin",
            "中文",
            "汉语",
            "普通话",
            "现代汉语",
            "白话文",
            "国语",
        ],
    ),
    (NaturalLanguage::Japanese, &["japanese", "日语", "日文"]),
    (
        NaturalLanguage::Korean,
        &["korean", "韩语", "韩文", "朝鲜语"],
    ),
];

/// Abbreviations as in 英译汉 and 中译日, and in 中文转英文.
const ABBREVIATIONS: [(char, NaturalLanguage); 9] = [
    ('英', NaturalLanguage::English),
    ('法', NaturalLanguage::French),
    ('德', NaturalLanguage::German),
    ('西', NaturalLanguage::Spanish),
    ('中', NaturalLanguage::Chinese),
    ('汉', NaturalLanguage::Chinese),
    ('日', NaturalLanguage::Japanese),
    ('韩', NaturalLanguage::Korean),
    ('今', NaturalLanguage::Chinese),
];

/// Words by which an instruction speaks of languages at all, the named seven apart.
const LANGUAGE_WORDS: [&str; 38] = [
    "language",
    "translat",
    "italian",
    "portuguese",
    "dutch",
    "swedish",
    "russian",
    "arabic",
    "hindi",
    "turkish",
    "vietnamese",
    "polish",
    "latin",
    "greek",
    "danish",
    "norwegian",
    "finnish",
    "hebrew",
    "thai",
    "bilingual",
    "foreign",
    "idiom",
    "loanword",
    "etymolog",
    "语言",
    "外语",
    "翻译",
    "译",
    "俄语",
    "俄文",
    "意大利语",
    "葡萄牙语",
    "阿拉伯语",
    "拉丁",
    "双语",
    "外来词",
    "字母",
    "单词",
];

/// What may stand between a word such as "into" and the language.
const ADJECTIVES: [&str; 18] = [
    "the",
    "a",
    "plain",
    "simple",
    "formal",
    "informal",
    "modern",
    "standard",
    "good",
    "natural",
    "polite",
    "fluent",
    "idiomatic",
    "american",
    "british",
    "simplified",
    "traditional",
    "proper",
];

/// Nouns that a language's name says something else about.
const PEOPLE: [&str; 10] = [
    "people",
    "class",
    "speakers",
    "readers",
    "literature",
    "culture",
    "cuisine",
    "history",
    "cooking",
    "students",
];

/// Finds the language that the answer is to be in, where an instruction names exactly one of the seven in such a place: "into
/// French", "in English", "译成德语", "用法语".
pub(crate) fn target_language(instruction: &str) -> Option<NaturalLanguage> {
    let text = own_words(instruction);
    let ranks: [fn(&str) -> BTreeSet<NaturalLanguage>; 2] = [strong_targets, weak_targets];
    let found = ranks
        .iter()
        .map(|find| find(&text))
        .find(|found| !found.is_empty())?;
    let mut found = found.into_iter();
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

/// Tells whether an instruction speaks of a language, so that its answer may well be in another than its own.
pub(crate) fn names_a_language(instruction: &str) -> bool {
    let lower = instruction.to_lowercase();
    let names = NAMES.iter().flat_map(|(_, names)| names.iter());
    names
        .chain(&LANGUAGE_WORDS)
        .any(|word| lower.contains(word))
}

fn own_words(instruction: &str) -> String {
    without_quotations(&without_code(instruction)).to_lowercase()
}

/// Languages after "into" and "to", and after the Chinese verbs for it.
fn strong_targets(text: &str) -> BTreeSet<NaturalLanguage> {
    let mut found = after_words(text, &["into", "to"]);
    found.extend(after_verbs(text, &["成", "为", "译作", "转", "到"]));
    found.extend(abbreviated(text));
    found
}

/// Languages after "in" and 用, and before "translation" and 译文.
fn weak_targets(text: &str) -> BTreeSet<NaturalLanguage> {
    let mut found = after_words(text, &["in"]);
    found.extend(after_verbs(text, &["用", "以"]));
    for (language, name) in all_names() {
        for (at, _) in text.match_indices(name) {
            let after = text[at + name.len()..].trim_start();
            let before = text[..at].trim_end();
            let is_source = ["from", "从", "由", "把", "将"]
                .iter()
                .any(|word| before.ends_with(word));
            let nouns = [
                "translation",
                "version",
                "equivalent",
                "rendering",
                "for ",
                "译文",
                "翻译",
                "版",
                "说法",
                "怎么说",
                "怎么写",
                "怎么讲",
                "译法",
            ];
            if !is_source
                && nouns.iter().any(|noun| after.starts_with(noun))
                && !after.starts_with("翻译成")
                && !after.starts_with("翻译为")
            {
                found.insert(language);
            }
        }
    }
    found
}

fn all_names() -> impl Iterator<Item = (NaturalLanguage, &'static str)> {
    NAMES
        .iter()
        .flat_map(|(language, names)| names.iter().map(|name| (*language, *name)))
}

fn named(word: &str) -> Option<NaturalLanguage> {
    all_names()
        .find(|(_, name)| *name == word)
        .map(|(language, _)| language)
}

fn after_words(text: &str, prepositions: &[&str]) -> BTreeSet<NaturalLanguage> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .collect();
    let mut found = BTreeSet::new();
    for (i, word) in words.iter().enumerate() {
        if prepositions.contains(word) {
            let mut rest = words[i + 1..]
                .iter()
                .skip_while(|word| ADJECTIVES.contains(word));
            let language = rest.next().and_then(|word| named(word));
            let next = rest.next().copied().unwrap_or_default();
            // "in English class" and "to French people" name none; of "into English and Dutch" nobody knows which comes first.
            let is_adjective = PEOPLE.contains(&next);
            let second = rest.next().filter(|_| matches!(next, "and" | "or"));
            let is_pair = second.is_some_and(|word| names_a_language(word));
            found.extend(language.filter(|_| !is_adjective && !is_pair));
        }
    }
    found
}

fn after_verbs(text: &str, verbs: &[&str]) -> BTreeSet<NaturalLanguage> {
    let mut found = BTreeSet::new();
    for (language, name) in all_names().filter(|(_, name)| !name.is_ascii()) {
        for (at, _) in text.match_indices(name) {
            let mut before = text[..at].trim_end();
            for adjective in [
                "地道的",
                "通顺的",
                "流利的",
                "简单的",
                "礼貌的",
                "正式的",
                "现代",
                "标准",
                "简体",
                "繁体",
            ] {
                before = before.strip_suffix(adjective).unwrap_or(before);
            }
            if verbs.iter().any(|verb| before.ends_with(verb)) {
                found.insert(language);
            }
        }
    }
    found
}

/// Finds 英译汉 and its like.
fn abbreviated(text: &str) -> BTreeSet<NaturalLanguage> {
    let characters: Vec<char> = text.chars().collect();
    let of = |c: char| {
        ABBREVIATIONS
            .iter()
            .find(|(short, _)| *short == c)
            .map(|(_, language)| *language)
    };
    let target = |window: &[char]| match window {
        [from, '译', to] if of(*from).is_some() || *from == '古' => of(*to),
        _ => None,
    };
    characters.windows(3).filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_asked_for_and_no_other() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(
                target_language(text).map(NaturalLanguage::code),
                expect,
                "{text}"
            );
        };
        check("Translate the sentence into French.", Some("fr"));
        check("Translate from English to German.", Some("de"));
        check(
            "How do you say \"Where is the bus?\" in Spanish?",
            Some("es"),
        );
        check("Put this Italian sentence into English.", Some("en"));
        check(
            "A sentence in French follows; turn it into plain English.",
            Some("en"),
        );
        check("Give the German for \"table\".", Some("de"));
        check(
            "German translation wanted for an English sentence.",
            Some("de"),
        );
        check(
            "Provide an English version of the Spanish sentence below.",
            Some("en"),
        );
        check("Say it in Korean.", Some("ko"));
        check("Translate this French sentence.", None);
        check("Translate into English and German.", None);
        check("Translate into Dutch.", None);
        check("Explain to French people what a barbecue is.", None);
        check("把这句话译成英文。", Some("en"));
        check("请将下面的英语翻译为日语。", Some("ja"));
        check("请用法语表达“我喜欢喝咖啡”。", Some("fr"));
        check("“ありがとう”用中文怎么说？", Some("zh"));
        check("英译汉：", Some("zh"));
        check("中译日：", Some("ja"));
        check("翻译软件界面文字，中文转英文。", Some("en"));
        check("给这段英文配上通顺的中文译文。", Some("zh"));
        check("路牌文字请译为英日两种语言。", None);
        check("下面的英文谚语对应哪句俗语？", None);
        check("Translate into 中文.", Some("zh"));
        check("把它翻译成 French", None);
    }

    #[test]
    fn speaking_of_languages() {
        for text in [
            "Name three French cheeses.",
            "这个英文单词是什么意思？",
            "List loanwords.",
        ] {
            assert!(names_a_language(text), "{text}");
        }
        for text in ["Name three cheeses.", "写一首关于秋天的诗。"] {
            assert!(!names_a_language(text), "{text}");
        }
    }
}
