//! The configuration; `config.schema.json` describes the same.

use std::collections::BTreeMap;

use autodidact_plugin::Field;
use serde::Deserialize;

use crate::lists::ListName;

/// What a workflow may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The user's words.
    pub words: Words,
    /// Phrases in which the user's words are let stand.
    pub except: Vec<String>,
    /// The texts that are looked at.
    pub fields: Vec<Field>,
    /// Built-in lists that are looked for as well.
    pub lists: Vec<ListName>,
    /// Whether a word in Latin letters is found in its plural too.
    pub plurals: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            words: Words::OfAll(Vec::new()),
            except: Vec::new(),
            fields: vec![Field::Instruction, Field::Input, Field::Output],
            lists: vec![ListName::NotText, ListName::Assistant],
            plurals: true,
        }
    }
}

/// One list of words for all records, or a list for the records of each language.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of words, or an object of such lists by language"
)]
pub enum Words {
    /// For all records.
    OfAll(Vec<String>),
    /// By the code of a language.
    ByLanguage(BTreeMap<String, Vec<String>>),
}

/// Takes the language of a code that may name a script or country too: `zh` of `zh-Hant`.
pub(crate) fn primary_of(code: &str) -> &str {
    code.split(['-', '_']).next().unwrap_or_default()
}

/// Takes the same in lower case, of a code that a person wrote.
pub(crate) fn primary(code: &str) -> String {
    primary_of(code).to_ascii_lowercase()
}

/// Says what to mend where something is no code of a language.
pub(crate) fn check_code(code: &str) -> Result<(), String> {
    let primary = primary_of(code);
    match (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic()) {
        true => Ok(()),
        false => Err(format!(
            "words: {code:?} is no code of a language, such as \"en\" or \"zh\""
        )),
    }
}
