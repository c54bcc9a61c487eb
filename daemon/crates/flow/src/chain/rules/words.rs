//! Words that an instruction may not have.

use autodidact_text::{fold, is_cjk};

use super::{Instruction, lists};

/// Words for things that a text model can neither see nor do (the reference's list, with its Chinese counterpart).
const UNANSWERABLE_EN: &str = "
    image images graph graphs picture pictures photo photos file files map maps draw plot video";
const UNANSWERABLE_ZH: &str = "
    图片 图像 照片 图表 文件 附件 地图 画一 绘制 视频 音频 链接";

/// Phrases in which such a word means something else, or something that can be written about.
const ANSWERABLE_EN: [&str; 15] = [
    "draw conclusions",
    "draw a conclusion",
    "draw the conclusion",
    "draw attention",
    "draw an inference",
    "draw inspiration",
    "plot of",
    "the plot",
    "a plot",
    "plot twist",
    "plot summary",
    "big picture",
    "road map",
    "file name",
    "graph theory",
];
const ANSWERABLE_ZH: [&str; 3] = ["计划一", "规划一", "策划一"];

/// Finds a word of the user's list as it is written there.
pub(super) fn blocked(words: &[String], instruction: &Instruction<'_>) -> Option<String> {
    let lower = instruction.text.to_lowercase();
    let mut words = words.iter();
    words
        .find(|word| contains_word(&instruction.tokens, &lower, &word.to_lowercase()))
        .cloned()
}

/// Finds a word for what a text model cannot see or do, outside of quotations and code.
pub(super) fn unanswerable(instruction: &Instruction<'_>) -> Option<String> {
    let mut own = instruction.own_words.to_lowercase();
    for phrase in ANSWERABLE_EN.iter().chain(&ANSWERABLE_ZH) {
        own = own.replace(phrase, " ");
    }
    let tokens = autodidact_text::tokenize(&own);
    let mut words = UNANSWERABLE_EN
        .split_whitespace()
        .chain(UNANSWERABLE_ZH.split_whitespace());
    words
        .find(|word| contains_word(&tokens, &own, word))
        .map(ToString::to_string)
}

/// Finds a word: a Latin one as a whole token, a phrase or a Chinese one anywhere.
fn contains_word(tokens: &[String], lower: &str, word: &str) -> bool {
    if word.chars().all(|c| c.is_ascii_alphanumeric()) {
        tokens.iter().any(|t| t == word)
    } else {
        lower.contains(word)
    }
}

/// A word of the user's list of sensitive ones, in the form in which it is looked for.
#[derive(Clone)]
pub(super) struct SensitiveWord {
    listed: String,
    letters: Vec<char>,
}

impl SensitiveWord {
    /// Prepares a word; none where it has no letter or digit to look for.
    pub(super) fn new(word: &str) -> Option<Self> {
        let letters: Vec<char> = fold(word).chars().filter(|c| c.is_alphanumeric()).collect();
        (!letters.is_empty()).then(|| Self {
            listed: word.to_string(),
            letters,
        })
    }
}

/// Short English words that stand side by side by chance: `pen is` hides no other word.
const ORDINARY: &str = "
    a about again all also am an and any are arm art as ask at away back bad be bed big bit box boy bus but by can cap car cat come cup
    cut day did do dog down each end eye far few fit fly for from get give go got had has have he hen her here hero him his hot how i if
    in into is it its just keep kit know less let like long lot low made make man many map may me men mix more most much my new no
    not now of off old on once one only or other our out over own pan pay pen per pig pin pot put ran rat read red run said same sat
    saw say see sell set she shop show sit so some spa stop such sun take tall team tell ten than that the their them then there
    these they thin this time to too top two up us use very war was way we well went were what when where which who why will win
    with word would yes you your";

/// Finds a sensitive word in any width, case or script of Chinese, whatever blanks or punctuation stand inside of it.
///
/// A word of letters with spaces begins and ends where one in the text does, so `ass` is not in `class`. Blanks inside of it do not
/// hide it unless they make ordinary words (`pen is`), and the marks that end clauses only where they stand between all of three
/// or more letters: in 他去台，独自 nobody says 台独.
pub(super) fn sensitive(words: &[SensitiveWord], text: &str) -> Option<String> {
    let text: Vec<char> = fold(text).chars().collect();
    let places: Vec<usize> = (0..text.len())
        .filter(|at| text[*at].is_alphanumeric())
        .collect();
    let letters: Vec<char> = places.iter().map(|at| text[*at]).collect();
    let found = words.iter().find(|word| {
        let mut starts = (0..letters.len()).filter(|at| letters[*at..].starts_with(&word.letters));
        starts.any(|start| is_whole(&text, &places[start..start + word.letters.len()]))
    });
    found.map(|word| word.listed.clone())
}

/// Tells whether the letters at some places are one word, and nothing that came together by chance.
fn is_whole(text: &[char], places: &[usize]) -> bool {
    let is_spaced = |at: usize| text[at].is_alphanumeric() && !is_cjk(text[at]);
    let (first, last) = (places[0], places[places.len() - 1]);
    let goes_on = (first > 0 && is_spaced(first) && is_spaced(first - 1))
        || (last + 1 < text.len() && is_spaced(last) && is_spaced(last + 1));
    if goes_on {
        return false;
    }
    let gaps: Vec<&[char]> = places
        .windows(2)
        .map(|pair| &text[pair[0] + 1..pair[1]])
        .collect();
    let clauses = gaps.iter().filter(|gap| ends_clause(gap)).count();
    if clauses > 0 && (clauses < gaps.len() || gaps.len() < 2) {
        return false;
    }
    let mut pieces = vec![text[first].to_string()];
    for (gap, place) in gaps.iter().zip(&places[1..]) {
        let is_blank = gap.iter().any(|c| c.is_whitespace());
        if is_blank && is_spaced(*place) {
            pieces.push(String::new());
        }
        pieces
            .last_mut()
            .expect("there is a first")
            .push(text[*place]);
    }
    let is_ordinary = |piece: &String| lists(ORDINARY, piece);
    pieces.len() == 1 || !pieces.iter().all(is_ordinary)
}

/// Tells whether what stands between two letters ends a clause; folding has made full-width marks ASCII ones.
fn ends_clause(gap: &[char]) -> bool {
    gap.iter()
        .any(|c| matches!(c, '。' | ',' | ';' | '!' | '?' | ':' | '、' | '\n'))
        || matches!(gap, ['.', ' ', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensitive_word_cannot_hide_and_is_not_made_up() {
        let check = |word: &str, text: &str, expect: bool| {
            let words: Vec<SensitiveWord> = SensitiveWord::new(word).into_iter().collect();
            assert_eq!(
                sensitive(&words, text).is_some(),
                expect,
                "{word} in {text}"
            );
        };
        for text in [
            "a PENIS",
            "ｐｅｎｉｓ!",
            "p e n i s",
            "p.e-n_i*s",
            "pe nis",
            "p,e,n,i,s",
        ] {
            check("penis", text, true);
        }
        for text in [
            "The pen is red.",
            "pen. Is it",
            "penises",
            "open is",
            "pens",
        ] {
            check("penis", text, false);
        }
        for text in ["贩賣毒品", "毒-品", "毒 品", "毒·品", "毒\u{200B}品"] {
            check("毒品", text, true);
        }
        check("毒品", "消毒，品尝", false);
        check("法轮功", "法，轮，功", true);
        check("法轮功", "法轮，功", false);
        check("ab片", "看AB 片", true);
        check("!?", "!?", false);
        check("C++", "learn c++", true);
    }
}
