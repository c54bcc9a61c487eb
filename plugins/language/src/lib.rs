//! Drops records whose texts are in another language than they say they are.

mod config;
mod evidence;
mod instruction;
mod languages;
mod plain;
mod script;
mod tally;
mod words;

use std::cell::RefCell;

use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};

pub use autodidact_plugin::Field;
pub use config::Config;
use languages::{Allowed, Language};
use plain::Plain;
use script::Script;
use tally::{Tally, Titles};
use words::Words;

/// The fewest letters of another language in an instruction or input that let the answer be in it too.
const SHOWN_LETTERS: usize = 6;

/// The most codes that something is made ready for.
const MAX_READY: usize = 32;

/// The filter with its configuration.
pub struct LanguageFilter {
    config: Config,
    allowed: Allowed,
    table: Words,
    /// What was made ready for the code of a language, of the few that records have.
    ready: RefCell<Vec<(String, Option<Held>)>>,
}

/// What a record is held to.
struct Held {
    allowed: Allowed,
    plain: Plain,
}

/// A text that is in another language.
struct Wrong {
    language: Language,
    share: f64,
    /// Whether the text is in its own language for the most part.
    is_mixed: bool,
}

impl Plugin for LanguageFilter {
    type Config = Config;
    const NAME: &'static str = "language";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&config.least_share) {
            let found = config.least_share;
            return Err(format!("least_share: expected 0 to 1, found {found}"));
        }
        if config.fields.is_empty() {
            return Err("fields: names no text to look at".to_string());
        }
        let known = |code: &String| {
            Language::of_code(code)
                .ok_or_else(|| format!("languages: {code:?} is none that is known; expected codes such as \"en\" and \"zh\""))
        };
        Ok(Self {
            allowed: config
                .languages
                .iter()
                .map(known)
                .collect::<Result<_, _>>()?,
            table: Words::new(),
            ready: RefCell::default(),
            config,
        })
    }
}

impl Filter for LanguageFilter {
    fn decide(&self, record: &Record<'_>) -> Decision {
        if self.is_refused(record.language) {
            return Decision::drop("wrong_language")
                .with_note(format!("it says {}", record.language));
        }
        let mut ready = self.ready.borrow_mut();
        let known = ready.iter().position(|(code, _)| code == record.language);
        let at = known.unwrap_or_else(|| {
            // Texts that are no codes shall not fill the memory.
            ready.truncate(MAX_READY);
            ready.push((
                record.language.to_string(),
                self.make_ready(record.language),
            ));
            ready.len() - 1
        });
        let Some(Held { allowed, plain }) = &ready[at].1 else {
            return Decision::keep();
        };
        for field in &self.config.fields {
            let text = field.of(record);
            let (letters, share) = (self.config.least_letters, self.config.least_share);
            if plain.holds(text, letters, share, &self.table) {
                continue;
            }
            if let Some(wrong) = self.judge(record, *field, *allowed) {
                let code = if wrong.is_mixed {
                    "mixed_language"
                } else {
                    "wrong_language"
                };
                let note = format!(
                    "{field}: {}, {:.0}% in its own language",
                    wrong.language.code(),
                    wrong.share * 100.0
                );
                return Decision::drop(code).with_note(note).with_score(wrong.share);
            }
        }
        Decision::keep()
    }
}

impl LanguageFilter {
    /// Tells whether a record says that it is in a language that is not wanted.
    fn is_refused(&self, code: &str) -> bool {
        !self.config.languages.is_empty()
            && Language::of_code(code).is_some_and(|language| !self.allowed.has(language))
    }

    /// Gives what a record is held to by what it says of itself; none where it says nothing that is known.
    fn make_ready(&self, code: &str) -> Option<Held> {
        let allowed = match (code, Language::of_code(code)) {
            (_, Some(language)) => Allowed::from_iter([language]),
            ("", None) if !self.config.languages.is_empty() => self.allowed,
            _ => return None,
        };
        Some(Held {
            allowed,
            plain: Plain::new(allowed),
        })
    }

    /// Judges a text with all that lets it be in another language.
    fn judge(&self, record: &Record<'_>, field: Field, allowed: Allowed) -> Option<Wrong> {
        let text = field.of(record);
        if evidence::is_data(text) {
            return None;
        }
        let own = evidence::own(text);
        let titles = match field {
            Field::Instruction => Titles::Judge,
            Field::Input | Field::Output => Titles::Leave,
        };
        let wrong = self.wrong(&own, allowed, titles)?;
        match field {
            Field::Instruction => {
                (!self.begins_right(&own, allowed, wrong.language)).then_some(wrong)
            }
            Field::Input | Field::Output => {
                if record.task_type == "translation" || instruction::translates(record.instruction)
                {
                    return None;
                }
                let more = instruction::named(record.instruction)
                    .with(self.shown(record.instruction))
                    .with(match field {
                        Field::Output => self.shown(record.input),
                        _ => Allowed::default(),
                    });
                self.wrong(&own, allowed.with(more), titles)
            }
        }
    }

    /// Finds the language that a text is in and should not be.
    fn wrong(&self, text: &str, allowed: Allowed, titles: Titles) -> Option<Wrong> {
        let tally = Tally::of(text, allowed, titles, &self.table);
        let (language, most) = tally.foreign().max_by_key(|(_, letters)| *letters)?;
        let foreign: usize = tally.foreign().map(|(_, letters)| letters).sum();
        let share = tally.own as f64 / (tally.own + foreign) as f64;
        (foreign >= self.config.least_letters && share < self.config.least_share).then_some(Wrong {
            language,
            share,
            is_mixed: tally.own > most,
        })
    }

    /// Tells whether an instruction begins in its own language, so that what follows is a text to work on.
    fn begins_right(&self, text: &str, allowed: Allowed, found: Language) -> bool {
        let (beginning, is_before_text) = instruction::beginning(text);
        let is_latin = matches!(found, Language::Tabled(_));
        if is_latin && allowed.has_latin() {
            let tally = Tally::of(beginning, allowed, Titles::Judge, &self.table);
            let is_open = is_before_text && tally.foreign().next().is_none();
            return is_open || tally::leans(beginning, allowed, &self.table);
        }
        // Japanese begins with ideographs too.
        let shown = self.shown(beginning);
        let is_foreign = found == Language::Japanese && shown.has(Language::Japanese);
        let first = beginning.chars().next().and_then(script::script);
        first.is_some_and(|first| is_right(first, allowed) && (first != Script::Han || !is_foreign))
    }

    /// Gives the languages that a text shows, quoted or not.
    fn shown(&self, text: &str) -> Allowed {
        let tally = Tally::of(text, Allowed::default(), Titles::Judge, &self.table);
        let shown = tally
            .foreign()
            .filter(|(_, letters)| *letters >= SHOWN_LETTERS);
        shown.map(|(language, _)| language).collect()
    }
}

/// Tells whether a letter may be of one of some languages.
fn is_right(letter: Script, allowed: Allowed) -> bool {
    match letter {
        Script::Latin => allowed.has_latin(),
        Script::Han => allowed.has(Language::Chinese),
        Script::Kana => allowed.has(Language::Japanese),
        Script::Of(language) => allowed.has(language),
    }
}

export_plugin!(LanguageFilter: Filter);
