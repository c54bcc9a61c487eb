//! Lengths and their bounds. Plain Rust without dependencies, so that `autodidact bench plugin` can run it natively beside the
//! component.

/// The least and the most tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least that is kept.
    pub least: usize,
    /// The most that is kept.
    pub most: usize,
}

/// A text outside of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// `too_short` or `too_long`.
    pub reason: &'static str,
    /// Which text.
    pub field: &'static str,
    /// Its tokens.
    pub tokens: usize,
    /// Its bounds.
    pub bounds: Bounds,
}

/// Finds the first text of a record that is outside of its bounds; an answer that is not there yet is not measured.
pub fn judge(
    instruction: &str,
    output: &str,
    [of_instruction, of_output]: [Bounds; 2],
) -> Option<Outside> {
    outside("instruction", instruction, of_instruction).or_else(|| match output {
        "" => None,
        output => outside("output", output, of_output),
    })
}

fn outside(field: &'static str, text: &str, bounds: Bounds) -> Option<Outside> {
    let tokens = count_tokens(text);
    let reason = match tokens {
        tokens if tokens < bounds.least => "too_short",
        tokens if tokens > bounds.most => "too_long",
        _ => return None,
    };
    Some(Outside {
        reason,
        field,
        tokens,
        bounds,
    })
}

/// Counts tokens: a run of letters and digits is one, each Chinese character or kana is one.
pub fn count_tokens(text: &str) -> usize {
    let mut tokens = 0;
    let mut in_word = false;
    for c in text.chars() {
        let is_single = matches!(c,
            '\u{3041}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}');
        let is_word = match c.is_ascii() {
            true => c.is_ascii_alphanumeric(),
            // Looking other characters up is what costs, so Chinese is not.
            false => !is_single && c.is_alphanumeric(),
        };
        tokens += usize::from(is_single || is_word && !in_word);
        in_word = is_word;
    }
    tokens
}
