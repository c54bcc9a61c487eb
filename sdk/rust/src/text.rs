//! Text helpers that hold for English and Chinese.

/// Cuts a text into tokens: a run of letters and digits, lower-cased, is one token; each CJK character is one.
///
/// Full-width letters and digits count as their half-width ones. Punctuation and blanks only separate.
pub fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in text.chars().map(fold_width) {
        if c.is_alphanumeric() && !is_cjk(c) {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if is_cjk(c) {
            tokens.push(c.to_string());
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

/// Counts the tokens of a text, as many as [`tokens`] gives, without making them.
pub fn count_tokens(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (0, 0);
    // Whether a word goes on at `at`.
    let mut in_word = false;
    while at < bytes.len() {
        let eight = Eight::at(bytes, at);
        let before = eight.words << 8 | u64::from(in_word) << 7;
        let begins = eight.words & !before;
        // The bytes before the first character that has to be looked at by itself count.
        let stop = eight.others & eight.others.wrapping_neg();
        let here = stop.wrapping_sub(1);
        tokens += ((begins | eight.ideographs) & here).count_ones() as usize;
        if stop == 0 {
            in_word = eight.words >> 63 == 1;
            at += 8;
            continue;
        }
        at += stop.trailing_zeros() as usize / 8;
        let goes_on = before & stop != 0;
        let (kind, length) = character(text, at);
        tokens += match kind {
            Kind::Blank => 0,
            Kind::Word => usize::from(!goes_on),
            Kind::Single => 1,
        };
        in_word = kind == Kind::Word;
        at += length;
    }
    tokens
}

/// What a character is to tokens.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// It separates.
    Blank,
    /// It is part of a word.
    Word,
    /// It is a token by itself.
    Single,
}

/// Tells what the character is that begins at a byte, and its length in bytes. Marks of Chinese texts are told by their bytes, since
/// looking a character up takes as long as counting several tokens.
fn character(text: &str, at: usize) -> (Kind, usize) {
    match text.as_bytes()[at..] {
        // U+2000 to U+203F, such as quotation marks, dashes and the ellipsis.
        [0xE2, 0x80, ..] => (Kind::Blank, 3),
        // U+3000 to U+3004, such as 。 and 、, and U+3008 to U+3020, which are brackets and signs.
        [0xE3, 0x80, 0x80..=0x84 | 0x88..=0xA0, ..] => (Kind::Blank, 3),
        // U+FF00 to U+FF3F, of which U+FF01 and what follows are ASCII's from `!` at full width.
        [0xEF, 0xBC, last, ..] => match (last - 0x60).is_ascii_alphanumeric() {
            true => (Kind::Word, 3),
            false => (Kind::Blank, 3),
        },
        _ => match text[at..].chars().next() {
            None => (Kind::Blank, 1),
            Some(c) if is_cjk(c) => (Kind::Single, c.len_utf8()),
            Some(c) if fold_width(c).is_alphanumeric() => (Kind::Word, c.len_utf8()),
            Some(c) => (Kind::Blank, c.len_utf8()),
        },
    }
}

/// Eight bytes of a text, from wherever in a character: for each of three kinds of characters the high bits of the bytes that begin
/// one.
struct Eight {
    /// ASCII's letters and digits.
    words: u64,
    /// Ideographs of U+4000 to U+9FFF, apart from U+4DC0 to U+4DFF, which are none.
    ideographs: u64,
    /// Others beyond ASCII.
    others: u64,
}

/// The high bit of each of eight bytes.
const HIGH: u64 = 0x8080_8080_8080_8080;

impl Eight {
    /// Looks at the bytes from `at` on, which is less than their number; what lacks is 0, which separates.
    fn at(bytes: &[u8], at: usize) -> Self {
        let eight = match (bytes[at..].first_chunk(), bytes.last_chunk()) {
            (Some(eight), _) => u64::from_le_bytes(*eight),
            (None, Some(last)) => u64::from_le_bytes(*last) >> (8 * (8 + at - bytes.len())),
            (None, None) => bytes[at..]
                .iter()
                .rev()
                .fold(0, |eight, byte| eight << 8 | u64::from(*byte)),
        };
        let each = |byte: u8| u64::from_ne_bytes([byte; 8]);
        let low = eight & !HIGH;
        // Below 0x80 nothing is carried from a byte to the next.
        let from = |bytes: u64, least: u8| bytes + each(0x80 - least);
        let within = |bytes: u64, least: u8, most: u8| from(bytes, least) & !from(bytes, most + 1);
        let wide = eight & HIGH;
        let letters = within(low | each(0x20), b'a', b'z');
        let words = (within(low, b'0', b'9') | letters) & !eight & HIGH;
        // Bytes that go on with a character have the next bit clear.
        let begin = wide & eight << 1;
        // U+4DC0 to U+4DFF are E4 B7 and a third; of the last byte nobody knows here what follows.
        let after_e4 = within(low, 0x37, 0x37) & wide;
        let no_ideographs = within(low, 0x64, 0x64) & begin & (after_e4 >> 8 | 1 << 63);
        let ideographs = within(low, 0x64, 0x69) & begin & !no_ideographs;
        Self {
            words,
            ideographs,
            others: begin & !ideographs,
        }
    }
}

/// Tells whether a character is a Chinese ideograph or Japanese kana, which are written without blanks between words.
///
/// The ranges are Unicode's blocks: CJK Unified Ideographs with extensions and compatibility forms, Hiragana, Katakana.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{3041}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}' | '々' | '〇')
}

/// Maps a full-width form (`Ａ`, `：`, `（`, the ideographic blank) to its half-width one; others stay.
pub fn fold_width(c: char) -> char {
    match c {
        // Unicode's block "Halfwidth and Fullwidth Forms" repeats ASCII's ! to ~ at this distance.
        '\u{FF01}'..='\u{FF5E}' => {
            char::from_u32(c as u32 - 0xFEE0).expect("the result lies in ASCII")
        }
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Leaves out what stands between marks, such as quotations and code, with a blank in its place. `marks` are opening ones with their
/// closing ones, of those that begin alike the longer first; one without its partner opens nothing, save that a fence of code runs
/// to the end.
pub fn outside_of_marks(text: &str, marks: &[(&str, &str)]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    // A partner that was once not found ahead will not be found later either, so each is looked for in vain only once.
    let mut missing = vec![false; marks.len()];
    while let Some(c) = rest.chars().next() {
        let found = marks
            .iter()
            .position(|(open, _)| rest.starts_with(open))
            .filter(|mark| !missing[*mark]);
        if let Some(mark) = found {
            let (open, close) = marks[mark];
            let inside = &rest[open.len()..];
            match inside.find(close) {
                Some(end) => {
                    kept.push(' ');
                    rest = &inside[end + close.len()..];
                    continue;
                }
                None if open == "```" => break,
                None => missing[mark] = true,
            }
        }
        kept.push(c);
        rest = &rest[c.len_utf8()..];
    }
    kept
}

/// Cuts a text to at most `max_chars` characters for a note, with `…` where something was cut.
pub fn excerpt(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
