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
    for c in text.chars() {
        let is_single = !c.is_ascii() && is_cjk(c);
        let is_word = match c.is_ascii() {
            true => c.is_ascii_alphanumeric(),
            // Looking other characters up is what costs, so Chinese is not.
            false => !is_single && fold_width(c).is_alphanumeric(),
        };
        tokens += usize::from(is_single || is_word && !in_word);
        in_word = is_word;
    }
    tokens
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
