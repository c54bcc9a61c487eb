//! Which natural language a text is written in.

/// A language that [`detect_natural_language`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name says which language it is")]
pub enum NaturalLanguage {
    Arabic,
    Chinese,
    Dutch,
    English,
    French,
    German,
    Hindi,
    Italian,
    Japanese,
    Korean,
    Portuguese,
    Russian,
    Spanish,
    Swedish,
    Turkish,
    Vietnamese,
}

impl NaturalLanguage {
    /// Shows the ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Arabic => "ar",
            Self::Chinese => "zh",
            Self::Dutch => "nl",
            Self::English => "en",
            Self::French => "fr",
            Self::German => "de",
            Self::Hindi => "hi",
            Self::Italian => "it",
            Self::Japanese => "ja",
            Self::Korean => "ko",
            Self::Portuguese => "pt",
            Self::Russian => "ru",
            Self::Spanish => "es",
            Self::Swedish => "sv",
            Self::Turkish => "tr",
            Self::Vietnamese => "vi",
        }
    }
}

/// Detects the language that a text is written in; none where it has no letter.
///
/// The whole text counts: leave out first what is not its writer's own ([`crate::without_quotations`], [`crate::without_code`]).
/// It always names the likeliest of its languages and is not to be trusted with a word or two; where only English and Chinese are to
/// be told apart, [`crate::detect_language`] looks at scripts alone and takes neither for the other.
///
/// The work is whichlang's (MIT). 20 instructions a language, long and short (`tests/languages.jsonl`; the shortest have two words),
/// on one core, with the lines found right of each language and the 436 example instructions in English and Chinese of this project:
///
/// | library | en | fr | de | es | zh | ja | ko | all | examples | a line | models |
/// |---|---|---|---|---|---|---|---|---|---|---|---|
/// | whichlang 0.1.1 | 20 | 19 | 20 | 19 | 20 | 20 | 20 | 98.6% | 432 | 1.5 us | 0.3 MB |
/// | whatlang 0.18.0 | 16 | 17 | 18 | 16 | 20 | 20 | 20 | 90.7% | 416 | 28 us | 0.2 MB |
/// | whatlang 0.18.0, these seven alone | 16 | 18 | 19 | 20 | 20 | 20 | 20 | 95.0% | 427 | 4.9 us | 0.2 MB |
/// | lingua 1.8.0, these seven alone | 19 | 20 | 20 | 20 | 20 | 20 | 20 | 99.3% | 433 | 102 us | 20 MB |
/// | lingua 1.8.0, the same with low accuracy | 15 | 19 | 20 | 19 | 20 | 20 | 20 | 95.0% | 424 | 43 us | 20 MB |
pub fn detect_natural_language(text: &str) -> Option<NaturalLanguage> {
    if !text.chars().any(char::is_alphabetic) {
        return None;
    }
    Some(match whichlang::detect_language(text) {
        whichlang::Lang::Ara => NaturalLanguage::Arabic,
        whichlang::Lang::Cmn => NaturalLanguage::Chinese,
        whichlang::Lang::Deu => NaturalLanguage::German,
        whichlang::Lang::Eng => NaturalLanguage::English,
        whichlang::Lang::Fra => NaturalLanguage::French,
        whichlang::Lang::Hin => NaturalLanguage::Hindi,
        whichlang::Lang::Ita => NaturalLanguage::Italian,
        whichlang::Lang::Jpn => NaturalLanguage::Japanese,
        whichlang::Lang::Kor => NaturalLanguage::Korean,
        whichlang::Lang::Nld => NaturalLanguage::Dutch,
        whichlang::Lang::Por => NaturalLanguage::Portuguese,
        whichlang::Lang::Rus => NaturalLanguage::Russian,
        whichlang::Lang::Spa => NaturalLanguage::Spanish,
        whichlang::Lang::Swe => NaturalLanguage::Swedish,
        whichlang::Lang::Tur => NaturalLanguage::Turkish,
        whichlang::Lang::Vie => NaturalLanguage::Vietnamese,
    })
}
