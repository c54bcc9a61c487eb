//! The instance filters of the reference, and answers to a text that is not there.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::TextRule;
use autodidact_text::normalize;

use super::{ChainRecord, missing, note};

/// An input with one colon breaks off there; one with more has a row that the answer continues (`up: down, left:`, `B:`).
const COLONS: [char; 2] = [':', '：'];

/// Finds what a rule on answered examples drops by.
pub(super) fn find(rule: TextRule, record: &ChainRecord) -> Option<Evidence> {
    let output = record.output.trim();
    let input = record.input.trim();
    let instruction = record.instruction.trim();
    let says = |is_wrong: bool, detail: &str| is_wrong.then(|| note(detail));
    match rule {
        TextRule::EmptyOutput => says(output.is_empty(), "there is no answer"),
        TextRule::OutputEqualsInput => says(
            !input.is_empty() && normalize(output) == normalize(input),
            "the answer repeats the input",
        ),
        TextRule::OutputEqualsInstruction => says(
            normalize(output) == normalize(instruction),
            "the answer repeats the instruction",
        ),
        TextRule::EndsWithColon => says(
            output.ends_with(COLONS)
                || (input.ends_with(COLONS) && input.matches(COLONS).count() == 1),
            "something should follow the colon",
        ),
        TextRule::MissingInput if input.is_empty() => {
            let wanted = missing::wanted(instruction)?;
            Some(note(format!(
                "it speaks of {wanted:?}, and there is no input"
            )))
        }
        _ => None,
    }
}
