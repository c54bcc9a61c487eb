//! What an instruction says of the languages of its texts.

use crate::languages::{Allowed, Language};

/// Words of translating and of several languages: what follows may be in any.
const TRANSLATES: &str = "
    translat|interpret into|bilingual|multilingual|languages|foreign language|mother tongue|language learn|transliterat
    |翻译|翻譯|译成|译为|译作|译出|译文|互译|中译|英译|日译|汉译|直译|意译|譯成|譯為|譯文|双语|雙語|外语|外文|外語|多语|各国语言|几种语言|种语言|種語言
    |中英|英汉|汉英|英中|traduc|tradui|traduz|übersetz|vertaal|översätt|перевод|перевед|번역|訳して|翻訳";

/// Names of languages, and of what is written in them, by their codes; in Latin letters as whole words.
const NAMES: [(&str, &str); 22] = [
    ("en", "english|英文|英语|英語|美式英语|anglais|inglés|englisch|inglese|영어"),
    ("fr", "french|法文|法语|法語|français|francés|französisch|francese"),
    ("de", "german|德文|德语|德語|deutsch|alemán|allemand|tedesco"),
    ("es", "spanish|castilian|西班牙文|西班牙语|西班牙語|español|espagnol|spanisch"),
    ("it", "italian|意大利文|意大利语|義大利語|意大利語|italiano|italien"),
    ("pt", "portuguese|葡萄牙文|葡萄牙语|葡萄牙語|português|portugais"),
    ("nl", "dutch|flemish|荷兰文|荷兰语|荷蘭語|nederlands"),
    ("sv", "swedish|瑞典文|瑞典语|瑞典語|svenska"),
    ("tr", "turkish|土耳其文|土耳其语|土耳其語|türkçe"),
    ("vi", "vietnamese|越南文|越南语|越南語|tiếng việt"),
    (
        "zh",
        "chinese|mandarin|cantonese|hanzi|pinyin|中文|汉语|漢語|普通话|普通話|国语|國語|粤语|文言|汉字|漢字|chinois|chino|중국어|中国語",
    ),
    ("ja", "japanese|kanji|hiragana|katakana|romaji|日文|日语|日語|日本语|日本語|假名|일본어"),
    ("ko", "korean|hangul|韩文|韩语|韓文|韓語|朝鲜语|한국어"),
    ("ru", "russian|ukrainian|bulgarian|serbian|cyrillic|俄文|俄语|俄語|乌克兰语|русск"),
    ("ar", "arabic|persian|farsi|urdu|阿拉伯文|阿拉伯语|阿拉伯語|波斯语"),
    ("th", "thai|泰文|泰语|泰語"),
    ("hi", "hindi|sanskrit|marathi|nepali|devanagari|印地语|印地語|梵文|梵语"),
    ("el", "greek|希腊文|希腊语|希臘語"),
    ("he", "hebrew|yiddish|希伯来文|希伯来语|希伯來語"),
    (
        "pl",
        "latin|polish|czech|slovak|hungarian|romanian|croatian|finnish|danish|norwegian|icelandic|indonesian|malay|swahili|catalan|basque
            |irish|welsh|esperanto|tagalog|filipino|拉丁文|拉丁语|波兰语|捷克语|匈牙利语|芬兰语|丹麦语|挪威语|印尼语|马来语|世界语",
    ),
    // Chinese and Japanese are written in Latin letters for who learns them.
    ("pl", "pinyin|romaji|romanize|romanise|transcribe|transcription|拼音|注音|罗马字|罗马音|音标|國際音標|国际音标"),
    // A word for word of another language that says where it comes from.
    ("pl", "etymology|词源|詞源"),
];

/// Tells whether an instruction asks to translate, or for several languages.
pub(crate) fn translates(instruction: &str) -> bool {
    let lower = instruction.to_lowercase();
    items(TRANSLATES).any(|word| lower.contains(word))
}

/// Gives the languages that an instruction names.
pub(crate) fn named(instruction: &str) -> Allowed {
    let lower = instruction.to_lowercase();
    NAMES
        .iter()
        .filter(|(_, names)| items(names).any(|name| stands_in(&lower, name)))
        .filter_map(|(code, _)| Language::of_code(code))
        .collect()
}

/// Takes what an instruction begins with, up to where a text may follow; tells whether a colon ends it.
pub(crate) fn beginning(text: &str) -> (&str, bool) {
    let text = text.trim_start_matches(|c: char| !c.is_alphabetic());
    let end = text.find([':', '：', '\n', '。', '？', '?', '！', '!', '.', '，', ',']);
    match end {
        Some(end) => (&text[..end], text[end..].starts_with([':', '：'])),
        None => (text, false),
    }
}

fn items(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split('|').map(str::trim)
}

/// Finds a name: one in Latin letters as a whole word, another anywhere.
fn stands_in(lower: &str, name: &str) -> bool {
    let mut places = lower.match_indices(name);
    places.any(|(at, _)| {
        let before = lower[..at].chars().next_back();
        let after = lower[at + name.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
        !name.is_ascii() || !(is_part(before) || is_part(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_named_in_either() {
        let check = |instruction: &str, code: &str, expect: bool| {
            let language = Language::of_code(code).expect("a known code");
            assert_eq!(named(instruction).has(language), expect, "{instruction}");
        };
        check("Say it in French.", "fr", true);
        check("用法语说。", "fr", true);
        check("Name a Frenchman.", "fr", false);
        check("Polish this text.", "fi", true);
        check("请用英文回答", "en", true);
        check("请用英文回答", "fr", false);
        check("Write the pinyin.", "zh", true);
        assert!(
            translates("把它翻译一下") && translates("Translate it") && !translates("Write it")
        );
    }

    #[test]
    fn beginnings_end_where_a_text_may_follow() {
        assert_eq!(beginning("\"Fix: je suis"), ("Fix", true));
        assert_eq!(beginning("改错。Bonjour"), ("改错", false));
        assert_eq!(beginning("Go on"), ("Go on", false));
    }

    #[test]
    fn every_name_is_of_a_known_language() {
        for (code, names) in NAMES {
            assert!(Language::of_code(code).is_some(), "{code}");
            assert!(items(names).all(|name| !name.is_empty()), "{code}");
        }
        assert!(items(TRANSLATES).all(|word| !word.is_empty()));
    }
}
