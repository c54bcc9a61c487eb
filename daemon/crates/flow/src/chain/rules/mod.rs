//! The built-in rules on texts: a group a file, all in two tables. They are cheap, and each would rather keep than drop in doubt: what
//! they let through, a model's mark and a person may still find.

mod earlier;
mod ending;
mod format;
mod instance;
mod language;
mod missing;
mod pairs;
mod reference;
mod slots;
mod words;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{RulesSpec, TextRule};
use autodidact_domain::{Language, Verdict};

use super::{ChainRecord, note};
pub(super) use language::language as sure_language;
use words::SensitiveWord;

/// The rules of one link, with what they need prepared once.
#[derive(Clone)]
pub(super) struct Rules {
    spec: RulesSpec,
    languages: Vec<Language>,
    sensitive_words: Vec<SensitiveWord>,
}

/// An instruction with what several rules look at.
struct Instruction<'a> {
    language: Language,
    text: &'a str,
    tokens: Vec<String>,
    /// The text without code and quotations: what its writer says.
    own_words: String,
}

impl Rules {
    /// Prepares the rules for a workflow that works in `languages`.
    pub(super) fn new(spec: &RulesSpec, languages: &[Language]) -> Self {
        let words = spec.sensitive_words.iter();
        Self {
            spec: spec.clone(),
            languages: languages.to_vec(),
            sensitive_words: words.filter_map(|word| SensitiveWord::new(word)).collect(),
        }
    }

    /// Judges an instruction before it has an input: the first rule that finds something drops.
    pub(super) fn judge_instruction(&self, record: &ChainRecord) -> Option<Verdict> {
        let text = record.instruction.trim();
        let own_words = autodidact_text::without_code(text);
        let instruction = Instruction {
            language: record.language,
            text,
            tokens: autodidact_text::tokenize(text),
            own_words: autodidact_text::without_quotations(&own_words),
        };
        self.first(&TextRule::OF_INSTRUCTIONS, |rule| {
            self.find_in_instruction(rule, &instruction)
        })
    }

    /// Judges an answered example.
    pub(super) fn judge_instance(&self, record: &ChainRecord) -> Option<Verdict> {
        self.first(&TextRule::OF_INSTANCES, |rule| instance::find(rule, record))
    }

    fn first(
        &self,
        rules: &[TextRule],
        find: impl Fn(TextRule) -> Option<Evidence>,
    ) -> Option<Verdict> {
        let mut applied = rules.iter().filter(|rule| !self.spec.except.contains(rule));
        applied.find_map(|rule| Some(Verdict::drop("rules", rule.code(), find(*rule)?)))
    }

    fn find_in_instruction(
        &self,
        rule: TextRule,
        instruction: &Instruction<'_>,
    ) -> Option<Evidence> {
        match rule {
            TextRule::TooShort => self.length(instruction, |count, min, _| count < min),
            TextRule::TooLong => self.length(instruction, |count, _, max| count > max),
            TextRule::WrongLanguage => {
                language::wrong(&instruction.own_words, &self.languages).map(note)
            }
            TextRule::BlockedWord => {
                words::blocked(&self.spec.blocked_words, instruction).map(note)
            }
            TextRule::SensitiveWord => {
                words::sensitive(&self.sensitive_words, instruction.text).map(note)
            }
            TextRule::Unanswerable => words::unanswerable(instruction).map(note),
            TextRule::BadFormat => format::find(instruction).map(note),
            TextRule::Repetition => {
                autodidact_text::has_repetition(instruction.text).then(|| Evidence {
                    score: Some(autodidact_text::repetition(instruction.text, 4)),
                    ..note("the same tokens again and again")
                })
            }
            TextRule::Vague => slots::unfilled(instruction)
                .or_else(|| earlier::reference(instruction))
                .or_else(|| ending::cut(instruction))
                .map(note),
            TextRule::Ungrammatical => pairs::unbalanced(instruction.text).map(note),
            TextRule::EmptyOutput
            | TextRule::OutputEqualsInput
            | TextRule::OutputEqualsInstruction
            | TextRule::EndsWithColon
            | TextRule::MissingInput => None,
        }
    }

    fn length(
        &self,
        instruction: &Instruction<'_>,
        is_wrong: impl Fn(u64, u64, u64) -> bool,
    ) -> Option<Evidence> {
        let (min, max) = instruction.language.pick(
            (self.spec.min_tokens_en, self.spec.max_tokens_en),
            (self.spec.min_tokens_zh, self.spec.max_tokens_zh),
        );
        let count = instruction.tokens.len();
        is_wrong(count as u64, min.into(), max.into()).then(|| Evidence {
            score: Some(count as f64),
            ..note(format!("{min} to {max} tokens"))
        })
    }
}

/// Tells whether a list of words, with blanks between, has a word.
fn lists(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

/// Finds the first word of such a list that stands anywhere in a text.
fn find_any<'list>(text: &str, list: &'list str) -> Option<&'list str> {
    list.split_whitespace().find(|word| text.contains(word))
}

/// Tells whether a text in lower case has a word of such a list, or a longer one that begins with an English one of it.
fn mentions(lower: &str, list: &str) -> bool {
    list.split_whitespace().any(|listed| {
        let mut places = lower.match_indices(listed);
        places.any(|(at, _)| {
            let before = lower[..at].chars().next_back();
            !listed.is_ascii() || before.is_none_or(|c| !c.is_ascii_alphabetic())
        })
    })
}
