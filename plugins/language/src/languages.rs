//! The languages that are told apart, and the sets in which a text may be written.

/// A language, or the likes of one that share a script and are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// One that is told by its words: its place in [`crate::words::TABLED`].
    Tabled(u8),
    /// One in Latin letters that there are no words of.
    OtherLatin,
    Chinese,
    Japanese,
    Korean,
    Cyrillic,
    Arabic,
    Thai,
    Devanagari,
    Greek,
    Hebrew,
}

/// How many languages are told by their scripts.
pub(crate) const SCRIPTED: usize = 9;

/// Those, each with the codes that are written so; the first is the one that is named where a text is found to be so.
const CODES: [(Language, &[&str]); SCRIPTED] = [
    (Language::Chinese, &["zh", "yue", "wuu", "lzh"]),
    (Language::Japanese, &["ja"]),
    (Language::Korean, &["ko"]),
    (
        Language::Cyrillic,
        &["ru", "uk", "be", "bg", "mk", "sr", "kk", "ky", "mn", "tg"],
    ),
    (
        Language::Arabic,
        &["ar", "fa", "ur", "ps", "ug", "sd", "ckb"],
    ),
    (Language::Thai, &["th"]),
    (Language::Devanagari, &["hi", "mr", "ne", "sa"]),
    (Language::Greek, &["el"]),
    (Language::Hebrew, &["he", "yi"]),
];

/// Codes of languages in Latin letters that there are no words of.
const OTHER_LATIN: &str = "
    af az bs ca cs cy da eo et eu fi fil ga gl hr hu id is la lb lt lv ms mt nb nn no pl ro sk sl so sq sw tl uz xh zu";

impl Language {
    /// Reads a code, which may name a script or a country too; none where it is not known.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        let primary = code.split(['-', '_']).next().unwrap_or_default();
        let is = |known: &str| known.eq_ignore_ascii_case(primary);
        if let Some(at) = crate::words::TABLED.iter().position(|(code, _)| is(code)) {
            return Some(Self::Tabled(at as u8));
        }
        let scripted = CODES
            .iter()
            .find(|(_, codes)| codes.iter().any(|code| is(code)));
        match scripted {
            Some((language, _)) => Some(*language),
            None => OTHER_LATIN
                .split_whitespace()
                .any(is)
                .then_some(Self::OtherLatin),
        }
    }

    /// Shows the code by which it is named.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Tabled(at) => crate::words::TABLED[usize::from(at)].0,
            Self::OtherLatin => "other",
            _ => self.place().map_or("other", |at| CODES[at].1[0]),
        }
    }

    /// Gives the place of one that is told by its script.
    pub(crate) fn place(self) -> Option<usize> {
        CODES.iter().position(|(language, _)| *language == self)
    }

    /// Gives the one that is told by its script at a place.
    pub(crate) fn at(place: usize) -> Self {
        CODES[place].0
    }
}

/// The languages in which a text may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Of those told by words, a bit each.
    tabled: u32,
    /// Of those told by scripts, a bit each.
    scripted: u32,
    /// Whether anything in Latin letters will do.
    pub(crate) any_latin: bool,
}

impl Allowed {
    pub(crate) fn add(&mut self, language: Language) {
        match language {
            Language::Tabled(at) => self.tabled |= 1 << at,
            Language::OtherLatin => self.any_latin = true,
            Language::Japanese => self.scripted |= bit(language) | bit(Language::Chinese),
            _ => self.scripted |= bit(language),
        }
    }

    pub(crate) fn with(mut self, other: Self) -> Self {
        self.tabled |= other.tabled;
        self.scripted |= other.scripted;
        self.any_latin |= other.any_latin;
        self
    }

    pub(crate) fn has(&self, language: Language) -> bool {
        match language {
            Language::Tabled(at) => self.any_latin || self.tabled >> at & 1 == 1,
            Language::OtherLatin => self.any_latin,
            _ => self.scripted & bit(language) != 0,
        }
    }

    /// Tells whether one in Latin letters is among them.
    pub(crate) fn has_latin(&self) -> bool {
        self.any_latin || self.tabled != 0
    }
}

fn bit(language: Language) -> u32 {
    language.place().map_or(0, |at| 1 << at)
}

impl FromIterator<Language> for Allowed {
    fn from_iter<I: IntoIterator<Item = Language>>(languages: I) -> Self {
        let mut allowed = Self::default();
        languages
            .into_iter()
            .for_each(|language| allowed.add(language));
        allowed
    }
}
