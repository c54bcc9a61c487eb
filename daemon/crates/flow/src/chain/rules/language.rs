//! Instructions in a language that the workflow does not work in.

use autodidact_domain::Language;
use autodidact_text::{
    NaturalLanguage, count_tokens, detect_language, detect_natural_language, is_cjk, tokenize,
};

/// Words that are English and none of the other languages that are detected.
const ENGLISH: &str = "
    about an and answer any are be between both by can could create describe does each english every explain find for from generate
    give has have her his how identify if into it its list make my name on or our should that the their them then there these they
    this those three to two use using was what when where which who why will with word words would write you your";

/// Words that are common in other languages written in Latin letters, and are no English ones.
const FOREIGN: &str = "
    au aux avec cette ces ce dans de du elle est et il je la le les leur mais mon ne nous ou par pas que quel quelle qui sa
    ses sur un une vous votre
    als auf aus bei das dem der diese diesen ein eine einem einen einer für ich ihr ist kein mir mit nach nicht oder
    sich sie sind über und von vor warum wie wird zu zum zur
    al como cuál cuáles del el ella en es esta este estas los las lo más mi para pero por qué se su sus una uno y
    alla che dei del della delle di e gli il lo nel nella non per più questa questo sono un una
    ao aos como da das dos em esta este isso mais na nas nos não o os ou para pela pelo por quais qual seu sua um uma
    aan bij dat de deze dit een en het hoe ik met naar niet of op te voor waarom wat zijn
    av de det din ett för hur inte jag med och om på som till vad varför är
    bir bu da de gibi için ile kadar mi nasıl ne neden ve";

/// Fewer words say too little about a language in Latin letters.
const FEWEST_WORDS: usize = 3;

/// Finds the language of an instruction's own words where the workflow works in another: its ISO 639-1 code.
///
/// Both the whole and what it begins with must be foreign, so a task may hold a text in any language after its colon or its first
/// sentence.
pub(super) fn wrong(own_words: &str, languages: &[Language]) -> Option<String> {
    let is_wrong = |found: NaturalLanguage| {
        Language::from_code(found.code()).is_none_or(|known| !languages.contains(&known))
    };
    let found = language(own_words).filter(|found| is_wrong(*found))?;
    let beginning = language(beginning(own_words)).unwrap_or(found);
    is_wrong(beginning).then(|| found.code().to_string())
}

/// Takes the first clause that has more than a token, or all where none has.
fn beginning(text: &str) -> &str {
    let ends = [':', '：', '\n', '。', '？', '?', '！', '!', '.', '，', ','];
    let mut clauses = text.split(ends);
    let first = clauses.find(|clause| count_tokens(clause) > 1);
    first.unwrap_or(text)
}

/// Names the language where that is sure enough to drop by.
pub(in crate::chain) fn language(text: &str) -> Option<NaturalLanguage> {
    match detect_language(text) {
        Some(Language::Zh) => {
            // An English frame around Chinese characters may hold fewer words than they are.
            let frame = text
                .chars()
                .find(|c| c.is_alphabetic())
                .is_some_and(|c| !is_cjk(c));
            (!frame || latin_words(text).len() < FEWEST_WORDS).then_some(NaturalLanguage::Chinese)
        }
        Some(Language::En) => latin_language(text),
        None => {
            let found = detect_natural_language(text)?;
            let is_known = matches!(found, NaturalLanguage::English | NaturalLanguage::Chinese);
            (!is_known).then_some(found)
        }
    }
}

/// The detector takes short English for French or Italian at times, so words must bear it out.
fn latin_language(text: &str) -> Option<NaturalLanguage> {
    let words = latin_words(text);
    if words.len() < FEWEST_WORDS {
        return None;
    }
    let of = |list: &str| {
        let is_listed = |word: &&String| {
            list.split_whitespace()
                .any(|listed| listed == word.as_str())
        };
        words.iter().filter(is_listed).count()
    };
    let english = of(ENGLISH);
    let found = detect_natural_language(text)?;
    if found == NaturalLanguage::English || english * 10 >= words.len() {
        return Some(NaturalLanguage::English);
    }
    let has_accent = text.chars().any(|c| c.is_alphabetic() && !c.is_ascii());
    (has_accent || of(FOREIGN) > 0).then_some(found)
}

fn latin_words(text: &str) -> Vec<String> {
    let mut words = tokenize(text);
    words.retain(|word| word.chars().all(|c| c.is_alphabetic() && !is_cjk(c)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_languages_are_found_and_english_and_chinese_never() {
        let both = [Language::En, Language::Zh];
        let lines = include_str!("../../../../text/tests/languages.jsonl").lines();
        let (mut foreign, mut found) = (0, 0);
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(line).expect("parse line");
            let text = line["text"].as_str().expect("a text");
            let wrong = wrong(text, &both);
            match line["language"].as_str().expect("a language") {
                "en" | "zh" => assert_eq!(wrong, None, "{text}"),
                _ => {
                    foreign += 1;
                    found += usize::from(wrong.is_some());
                }
            }
        }
        assert!(found * 100 >= foreign * 90, "{found} of {foreign}");
    }

    #[test]
    fn the_workflow_says_which_languages_are_right() {
        let check = |text: &str, languages: &[Language], expect: Option<&str>| {
            assert_eq!(wrong(text, languages).as_deref(), expect, "{text}");
        };
        let (en, zh) = ([Language::En], [Language::Zh]);
        check("写一首关于大海的诗", &en, Some("zh"));
        check("Write a poem about the sea.", &zh, Some("en"));
        check("Translate 请问洗手间在哪里 into English", &en, None);
        check(
            "翻译：The quick brown fox jumps over the lazy dog",
            &zh,
            None,
        );
        check("用 Python 写 hello world", &zh, None);
        check("12 + 3 = ?", &en, None);
    }
}
