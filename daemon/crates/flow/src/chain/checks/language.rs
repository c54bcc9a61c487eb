//! A translation is in the language asked for, and any other answer in that of its instruction.

use autodidact_domain::{Language, TaskType};
use autodidact_text::{NaturalLanguage, count_tokens, without_code};

use super::{Answer, Finding, note};
use crate::chain::rules::sure_language;
use crate::instruction::{names_a_language, target_language};

/// Answers with fewer tokens may be names, numbers or terms that every language writes alike.
const FEWEST_TOKENS: usize = 6;
/// A Japanese text with fewer tokens may have no kana.
const FEWEST_WITH_KANA: usize = 8;

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    let record = answer.record;
    let target = target_language(&record.instruction);
    if answer.is(TaskType::Translation) {
        return match target {
            Some(target) => compare(answer, &[target], 1),
            None => Finding::Fine,
        };
    }
    if !answer.is_prose() || (target.is_none() && names_a_language(&record.instruction)) {
        return Finding::Fine;
    }
    let own = record
        .language
        .pick(NaturalLanguage::English, NaturalLanguage::Chinese);
    // Who works on a text in another language may well answer in it.
    let right: Vec<NaturalLanguage> = match target {
        Some(target) => vec![target],
        None => std::iter::once(own)
            .chain(language_of(&record.input))
            .collect(),
    };
    compare(answer, &right, FEWEST_TOKENS)
}

fn compare(answer: &Answer<'_>, right: &[NaturalLanguage], fewest: usize) -> Finding {
    let tokens = count_tokens(&answer.output);
    let Some(found) = language_of(&answer.output).filter(|_| tokens >= fewest) else {
        return Finding::Fine;
    };
    let without_kana = found == NaturalLanguage::Chinese
        && right.contains(&NaturalLanguage::Japanese)
        && tokens < FEWEST_WITH_KANA;
    // A word or two in Latin letters could be any of the languages that are written so.
    if right.contains(&found) || without_kana {
        return Finding::Fine;
    }
    let right: Vec<&str> = right.iter().map(|language| language.code()).collect();
    Finding::Wrong(note(format!(
        "it is {}, not {}",
        found.code(),
        right.join(" or ")
    )))
}

/// Names the language of a text where that is sure.
fn language_of(text: &str) -> Option<NaturalLanguage> {
    let own_words = without_code(text);
    sure_language(&own_words).or_else(|| {
        // Too few words to tell a Latin language by, but enough to know that they are not Chinese.
        let is_han = autodidact_text::detect_language(&own_words) == Some(Language::Zh);
        is_han.then_some(NaturalLanguage::Chinese)
    })
}
