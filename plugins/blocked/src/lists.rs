//! The lists that come with the plugin: what they look for, and where such a word says something else.

mod assistant;
mod not_text;

use autodidact_plugin::Field;
use serde::Deserialize;

use crate::matcher::Matcher;

/// A list's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListName {
    /// Tasks with pictures, sound, files or maps, which a text model can neither see nor make.
    NotText,
    /// What assistants say of themselves instead of answering.
    Assistant,
}

/// A list made ready.
pub(crate) struct List {
    fields: &'static [Field],
    /// The words without their exceptions, many of which begin as common words do: it is the quicker one to ask first.
    alone: Matcher,
    words: Matcher,
    /// Words that are unsuitable in whatever company they stand.
    pointed: Matcher,
    /// Words that say that the text is about the thing and does not ask for it.
    freed_by: Matcher,
}

/// What a list is made of: words and phrases with `|` between, in English and Chinese.
struct Source {
    /// The texts that the list is about.
    fields: &'static [Field],
    words: &'static [&'static str],
    /// Phrases in which such a word says something else.
    except: &'static [&'static str],
    /// What points to a thing, such as `this`, in each language, and the things.
    pointers: &'static [(&'static str, &'static str)],
    freed_by: &'static [&'static str],
}

impl List {
    pub(crate) fn new(name: ListName) -> Self {
        let source = match name {
            ListName::NotText => &not_text::SOURCE,
            ListName::Assistant => &assistant::SOURCE,
        };
        let mut pointed = Vec::new();
        for (pointers, things) in source.pointers {
            for pointer in items(pointers) {
                // Chinese has no blanks between its words.
                let blank = if pointer.is_ascii() { " " } else { "" };
                pointed.extend(items(things).map(|thing| format!("{pointer}{blank}{thing}")));
            }
        }
        let pointed: Vec<&str> = pointed.iter().map(String::as_str).collect();
        Self {
            fields: source.fields,
            alone: matcher(&all(source.words), &[]),
            words: matcher(&all(source.words), &all(source.except)),
            pointed: matcher(&pointed, &[]),
            freed_by: matcher(&all(source.freed_by), &[]),
        }
    }

    pub(crate) fn looks_at(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// Tells whether a word of the list stands in a text, quoted, in an exception or not.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.alone.is_in(text)
    }

    /// Tells every word of the list in a text, in order; none where the text is about the thing.
    pub(crate) fn each<'a>(&'a self, text: &str, tell: impl FnMut(&'a str)) {
        if self.pointed.is_in(text) || !self.freed_by.is_in(text) {
            self.words.each(text, tell);
        }
    }
}

fn items(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split('|')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn all(lists: &[&'static str]) -> Vec<&'static str> {
    lists.iter().flat_map(|list| items(list)).collect()
}

fn matcher(words: &[&str], except: &[&str]) -> Matcher {
    Matcher::new(words, except, true).expect("a constant that a test reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_made_ready() {
        for name in [ListName::NotText, ListName::Assistant] {
            assert!(!List::new(name).words.is_empty());
        }
    }
}
