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
    let mut tokens = 0;
    let mut in_word = false;
    let mut rest = text.as_bytes();
    // ASCII is taken eight bytes at a time, and ideographs are told by how they begin.
    loop {
        let is_word;
        (is_word, rest) = match rest {
            [] => return tokens,
            // U+4E00 to U+4FFF and U+5000 to U+9FFF.
            [0xE4, 0xB8..=0xBF, _, after @ ..] | [0xE5..=0xE9, _, _, after @ ..] => {
                tokens += 1;
                (false, after)
            }
            [ascii, after @ ..] if ascii.is_ascii() => {
                let eight = rest.split_first_chunk();
                let eight = eight.map(|(eight, after)| (u64::from_le_bytes(*eight), after));
                match eight.filter(|(eight, _)| eight & HIGH == 0) {
                    Some((eight, after)) => {
                        let words = ascii_words(eight);
                        let begins = words & !(words << 8 | u64::from(in_word) << 7);
                        tokens += begins.count_ones() as usize;
                        (words >> 63 == 1, after)
                    }
                    None => {
                        let is_word = ascii.is_ascii_alphanumeric();
                        tokens += usize::from(is_word && !in_word);
                        (is_word, after)
                    }
                }
            }
            _ => {
                let Some(c) = text[text.len() - rest.len()..].chars().next() else {
                    return tokens;
                };
                let is_single = is_cjk(c);
                let is_word = !is_single && fold_width(c).is_alphanumeric();
                tokens += usize::from(is_single || is_word && !in_word);
                (is_word, &rest[c.len_utf8()..])
            }
        };
        in_word = is_word;
    }
}

/// The high bit of each of eight bytes.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks in the high bit of each of eight ASCII bytes whether it is a letter or digit.
fn ascii_words(eight: u64) -> u64 {
    let each = |byte: u8| u64::from_ne_bytes([byte; 8]);
    // Below 0x80 nothing is carried from a byte to the next.
    let from = |bytes: u64, least: u8| bytes + each(0x80 - least);
    let digits = from(eight, b'0') & !from(eight, b'9' + 1);
    let lower = eight | each(0x20);
    let letters = from(lower, b'a') & !from(lower, b'z' + 1);
    (digits | letters) & HIGH
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
