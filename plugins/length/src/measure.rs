//! Lengths and their bounds. It wants nothing but its parent's `text`, so that `autodidact bench plugin` can run it natively beside
//! the component.

use super::text::count_tokens;

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
