//! Counts what a text says in which language.

use crate::evidence::{Sentence, sentences};
use crate::languages::{Allowed, Language, SCRIPTED};
use crate::script::{Script, script};
use crate::words::{Hits, MAX_BYTES, MAX_WORDS, TABLED, Words};

/// What an ideograph counts, which says as much as three letters do.
pub(crate) const IDEOGRAPH: usize = 3;
/// What a kana or a Korean syllable counts.
pub(crate) const SYLLABLE: usize = 2;
/// Of so many words one at least has to be a function word of a language that is found by them; running text has one in three.
const WORDS_OF_A_HIT: usize = 6;
/// So many function words beyond twice those of the right language are no chance, and no names of dishes in a sentence.
const MARGIN: usize = 2;
/// A kana in so many letters makes Japanese of ideographs; running Japanese has two or three.
const LETTERS_OF_A_KANA: usize = 5;
/// Fewer words that no mark ends are a title or a name: `La sombra del viento`.
const TITLE_WORDS: usize = 10;

/// Whether words that no mark ends may be a title or a name, and so in any language.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Titles {
    Leave,
    Judge,
}

/// Letters by their language.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// In a language that is allowed.
    pub(crate) own: usize,
    tabled: [usize; TABLED.len()],
    scripted: [usize; SCRIPTED],
}

/// Letters of one sentence, and the words of it in Latin letters.
#[derive(Default)]
struct Letters {
    latin: usize,
    han: usize,
    kana: usize,
    scripted: [usize; SCRIPTED],
    words: usize,
    /// The function words, each once: `ha ha ha` is no Italian.
    hits: Hits,
    known: Vec<u64>,
    /// The other words behind the first, and those of them that begin with a small letter.
    content: usize,
    small_content: usize,
}

impl Tally {
    /// Counts a text, given the languages that are right.
    pub(crate) fn of(text: &str, allowed: Allowed, titles: Titles, table: &Words) -> Self {
        let mut tally = Self::default();
        for sentence in sentences(text) {
            for letters in read(&sentence, table) {
                let is_title =
                    titles == Titles::Leave && !sentence.is_ended && letters.words < TITLE_WORDS;
                tally.add(letters, allowed, is_title);
            }
        }
        tally
    }

    /// Takes down a sentence: what is not in its prevailing language is there for that language's sake.
    fn add(&mut self, letters: Letters, allowed: Allowed, is_title: bool) {
        let mut scripted = letters.scripted;
        let ideographic = match is_japanese(letters.han, letters.kana) {
            true => Language::Japanese,
            false => Language::Chinese,
        };
        if let Some(place) = ideographic.place() {
            scripted[place] += letters.han * IDEOGRAPH + letters.kana * SYLLABLE;
        }
        let (mut own, mut foreign) = (0, 0);
        for (place, letters) in scripted.iter_mut().enumerate() {
            match allowed.has(Language::at(place)) {
                true => own += std::mem::take(letters),
                false => foreign += *letters,
            }
        }
        let latin = if is_title {
            None
        } else {
            letters.foreign_latin(allowed)
        };
        match latin {
            Some(_) => foreign += letters.latin,
            None if allowed.has_latin() => own += letters.latin,
            None => {}
        }
        self.own += own;
        if foreign <= own {
            return;
        }
        for (sum, letters) in self.scripted.iter_mut().zip(scripted) {
            *sum += letters;
        }
        if let Some(at) = latin {
            self.tabled[at] += letters.latin;
        }
    }

    /// Lists the languages with their letters that are not allowed.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = (Language, usize)> {
        let tabled = self.tabled.iter().enumerate();
        let scripted = self.scripted.iter().enumerate();
        tabled
            .map(|(at, letters)| (Language::Tabled(at as u8), *letters))
            .chain(scripted.map(|(place, letters)| (Language::at(place), *letters)))
            .filter(|(_, letters)| *letters > 0)
    }
}

impl Letters {
    /// Finds the language that is not allowed in which the Latin letters are, where their words say so.
    fn foreign_latin(&self, allowed: Allowed) -> Option<usize> {
        if allowed.any_latin {
            return None;
        }
        let best = |is_allowed: bool| {
            let places = 0..TABLED.len();
            places
                .filter(|at| allowed.has(Language::Tabled(*at as u8)) == is_allowed)
                .max_by_key(|at| (self.hits.of(*at), usize::MAX - at))
        };
        let hits = |at: Option<usize>| at.map_or(0, |at| self.hits.of(at));
        let found = best(false);
        let is_sure = hits(found) >= hits(best(true)) * 2 + MARGIN
            && hits(found) * WORDS_OF_A_HIT >= self.words;
        found.filter(|at| is_sure && !self.is_of_names(*at))
    }

    /// Tells whether what is said are names and titles, by their capitals, which in German all nouns have.
    fn is_of_names(&self, at: usize) -> bool {
        match TABLED[at].0 {
            "de" => self.content > 0 && self.small_content == 0,
            _ => self.small_content * 2 < self.content,
        }
    }

    fn is_empty(&self) -> bool {
        self.latin + self.han + self.kana + self.scripted.iter().sum::<usize>() == 0
    }
}

/// Tells whether the words of a text lean towards the languages that are allowed, be it by one word.
pub(crate) fn leans(text: &str, allowed: Allowed, table: &Words) -> bool {
    let mut most = [0, 0];
    for sentence in sentences(text) {
        for letters in read(&sentence, table) {
            for at in 0..TABLED.len() {
                let is_allowed = allowed.has(Language::Tabled(at as u8));
                let most = &mut most[usize::from(is_allowed)];
                *most = letters.hits.of(at).max(*most);
            }
        }
    }
    let [foreign, own] = most;
    own > 0 && own >= foreign
}

/// Tells by the kana whether ideographs are Japanese.
fn is_japanese(han: usize, kana: usize) -> bool {
    kana > 1 && kana * LETTERS_OF_A_KANA >= han + kana
}

/// Reads the letters of a sentence, a long one in pieces.
fn read(sentence: &Sentence<'_>, table: &Words) -> Vec<Letters> {
    let mut pieces = vec![Letters::default()];
    let mut word = Word::default();
    for c in sentence.text.chars().chain([' ']) {
        let script = script(c);
        if script == Some(Script::Latin) {
            word.push(c);
            continue;
        }
        if let Some(letters) = pieces.last_mut() {
            word.take_down(letters, table);
            match script {
                Some(Script::Han) => letters.han += 1,
                Some(Script::Kana) => letters.kana += 1,
                Some(Script::Of(language)) => {
                    let letter = match language {
                        Language::Korean => SYLLABLE,
                        _ => 1,
                    };
                    if let Some(place) = language.place() {
                        letters.scripted[place] += letter;
                    }
                }
                Some(Script::Latin) | None => {}
            }
            if letters.words == MAX_WORDS {
                pieces.push(Letters::default());
            }
        }
    }
    pieces.retain(|letters| !letters.is_empty());
    pieces
}

/// A word in Latin letters that is being read.
#[derive(Default)]
struct Word {
    key: u64,
    bytes: usize,
    letters: usize,
    capitals: usize,
}

impl Word {
    fn push(&mut self, c: char) {
        self.letters += 1;
        self.capitals += usize::from(c.is_uppercase());
        let lower = c.to_lowercase().next().unwrap_or(c);
        for byte in lower.encode_utf8(&mut [0; 4]).bytes() {
            self.key = self.key << 8 | u64::from(byte);
            self.bytes += 1;
        }
    }

    fn take_down(&mut self, letters: &mut Letters, table: &Words) {
        let word = std::mem::take(self);
        if word.letters == 0 {
            return;
        }
        letters.latin += word.letters;
        letters.words += 1;
        // What is all in capitals is an abbreviation or a keyword of code.
        if word.letters > 1 && word.capitals == word.letters {
            return;
        }
        let hits = match word.bytes <= MAX_BYTES {
            true => table.find(word.key),
            false => Hits::default(),
        };
        if hits == Hits::default() {
            letters.content += usize::from(letters.words > 1);
            letters.small_content += usize::from(letters.words > 1 && word.capitals == 0);
        } else if !letters.known.contains(&word.key) {
            letters.known.push(word.key);
            letters.hits.add(hits);
        }
    }
}
