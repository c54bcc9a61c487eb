//! Drops records in which a blocked word or phrase stands: the user's own, and small lists that come with the plugin.

mod config;
mod fold;
mod lists;
mod matcher;
mod own_words;

use autodidact_plugin::text::excerpt;
use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};

pub use autodidact_plugin::Field;
pub use config::{Config, Words};
use lists::List;
pub use lists::ListName;
use matcher::Matcher;

/// The filter with its words made ready.
pub struct Blocked {
    fields: Vec<Field>,
    /// The user's words, with the language whose records they are for; none for all.
    words: Vec<(Option<String>, Matcher)>,
    lists: Vec<List>,
}

/// What a record was found to hold.
#[derive(Default)]
struct Found {
    /// The first word, and where it stands.
    first: Option<(String, Field)>,
    hits: usize,
}

impl Plugin for Blocked {
    type Config = Config;
    const NAME: &'static str = "blocked";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        if config.fields.is_empty() {
            return Err("fields: names no text to look at".to_string());
        }
        let except: Vec<&str> = config.except.iter().map(String::as_str).collect();
        let matcher = |field: &str, words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Matcher::new(&words, &except, config.plurals)
                .map_err(|error| format!("{field}: {error}"))
        };
        let words = match &config.words {
            Words::OfAll(words) => vec![(None, matcher("words", words)?)],
            Words::ByLanguage(lists) => lists
                .iter()
                .map(|(language, words)| {
                    config::check_code(language)?;
                    let matcher = matcher(&format!("words.{language}"), words)?;
                    Ok((Some(config::primary(language)), matcher))
                })
                .collect::<Result<_, String>>()?,
        };
        Ok(Self {
            words: words.into_iter().filter(|(_, m)| !m.is_empty()).collect(),
            lists: config.lists.iter().map(|name| List::new(*name)).collect(),
            fields: config.fields,
        })
    }
}

impl Filter for Blocked {
    fn decide(&self, record: &Record<'_>) -> Decision {
        let mut found = Found::default();
        for field in &self.fields {
            self.look(record, *field, &mut found);
        }
        let Some((word, field)) = found.first else {
            return Decision::keep();
        };
        let more = match found.hits {
            1 => String::new(),
            hits => format!(", {hits} hits in all"),
        };
        Decision::drop("blocked_word")
            .with_note(format!("{field}: {:?}{more}", excerpt(&word, 40)))
            .with_score(found.hits as f64)
    }
}

impl Blocked {
    /// Looks at one text of a record.
    fn look(&self, record: &Record<'_>, field: Field, found: &mut Found) {
        let text = field.of(record);
        let language = config::primary_of(record.language);
        for (of, matcher) in &self.words {
            if of.as_ref().is_none_or(|of| of == language) {
                matcher.each(text, |word| found.add(word, field));
            }
        }
        for list in self.lists.iter().filter(|list| list.looks_at(field)) {
            // Most texts hold nothing of a list, so only then is it worth leaving out what is not the writer's own.
            if list.is_in(text) {
                let own = own_words::own_words(text);
                list.each(&own, |word| found.add(word, field));
            }
        }
    }
}

impl Found {
    fn add(&mut self, word: &str, field: Field) {
        self.hits += 1;
        if self.first.is_none() {
            self.first = Some((word.to_string(), field));
        }
    }
}

export_plugin!(Blocked: Filter);
