//! Classifications: found by asking the model, then the label first and an input that fits it, as Self-Instruct has it
//! (Wang et al. 2023, section 2.2): asked for inputs first, models write those of one label alone.

use autodidact_domain::{Constraint, Example, GenerateRequest, Sampling, TaskType};

use super::{Answered, Asker, Place};
use crate::error::FlowError;
use crate::prompts;

/// Human classifications that a prompt shows.
const SHOWN: usize = 4;
/// Yes or no is a token, or two where a blank comes first.
const MAX_DECISION_TOKENS: u32 = 4;

/// Asks which instructions are classifications; gives them, and then the others.
pub(super) fn split<'a>(
    asker: &mut Asker<'_>,
    places: Vec<Place<'a>>,
) -> Result<(Vec<Place<'a>>, Vec<Place<'a>>), FlowError> {
    let request = |place: &Place<'_>| {
        let language = place.candidate.language;
        let (yes, no) = prompts::classification_answers(language);
        GenerateRequest {
            constraint: Some(Constraint::Choices(vec![yes.to_string(), no.to_string()])),
            constraint_may_lapse: true,
            ..GenerateRequest::new(
                prompts::classification_request(language, &place.candidate.instruction),
                Sampling {
                    max_tokens: MAX_DECISION_TOKENS,
                    ..Sampling::default()
                },
            )
        }
    };
    let completions = asker.generate(places.iter().map(request).collect())?;
    let (mut labelled, mut open) = (Vec::new(), Vec::new());
    for (place, completion) in places.into_iter().zip(completions) {
        let language = place.candidate.language;
        let (yes, _) = prompts::classification_answers(language);
        let is_classification = begins_with(&completion.text, yes);
        // Without examples there is nothing that shows what a label is.
        let is_shown = is_classification && asker.human(language).any(is_example);
        match is_shown {
            true => labelled.push(place),
            false => open.push(place),
        }
    }
    Ok((labelled, open))
}

/// Asks for labels, then for an input that has the label.
pub(super) fn answer<'a>(
    asker: &mut Asker<'_>,
    places: Vec<Place<'a>>,
) -> Result<Vec<Answered<'a>>, FlowError> {
    let asked = places
        .iter()
        .map(|place| label_request(asker, *place))
        .collect::<Result<_, _>>()?;
    let labels = asker.generate(asked)?;
    let asked = places
        .iter()
        .zip(&labels)
        .map(|(place, label)| input_request(asker, *place, label.text.trim()))
        .collect();
    let inputs = asker.generate(asked)?;
    let answered = places.into_iter().zip(labels).zip(inputs);
    Ok(answered
        .map(|((place, label), input)| {
            let text = label.text.trim();
            Answered {
                place,
                input: prompts::parse_input(&input.text).unwrap_or_default(),
                output: (!text.is_empty()).then(|| text.to_string()),
                completion: label,
                task_type: Some(TaskType::Classification),
            }
            .unless_without_room(input)
        })
        .collect())
}

/// Tells whether a decision is this one. A server without constraints may put it in quotes, say, or go on.
fn begins_with(text: &str, decision: &str) -> bool {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    text.to_lowercase()
        .starts_with(&decision.trim().to_lowercase())
}

fn is_example(example: &Example) -> bool {
    example.task_type == Some(TaskType::Classification) && !example.body.input_text().is_empty()
}

/// Draws the classifications that the prompts for a place show.
fn shown<'a>(asker: &'a Asker<'_>, place: Place<'_>) -> Vec<&'a Example> {
    let known: Vec<&Example> = asker
        .human(place.candidate.language)
        .filter(|example| is_example(example))
        .collect();
    asker.random("label", place.index).pick(&known, SHOWN)
}

fn label_request(asker: &Asker<'_>, place: Place<'_>) -> Result<GenerateRequest, FlowError> {
    let Place { candidate, index } = place;
    let shown = shown(asker, place);
    Ok(GenerateRequest {
        constraint: asker.constraint()?,
        ..GenerateRequest::new(
            prompts::label_request(candidate.language, &shown, &candidate.instruction),
            sampling(asker, "label", index),
        )
    })
}

fn input_request(asker: &Asker<'_>, place: Place<'_>, label: &str) -> GenerateRequest {
    let Place { candidate, index } = place;
    let shown = shown(asker, place);
    GenerateRequest::new(
        prompts::labelled_input_request(candidate.language, &shown, &candidate.instruction, label),
        sampling(asker, "labelled input", index),
    )
}

/// Labels are sampled like inputs: the likeliest label alone would be one-sided.
fn sampling(asker: &Asker<'_>, purpose: &str, index: usize) -> Sampling {
    Sampling {
        temperature: asker.spec.input_temperature,
        top_p: asker.spec.top_p,
        max_tokens: asker.spec.max_input_tokens,
        stop: prompts::line_stops(),
        seed: asker.seed(purpose, index),
        ..Sampling::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_read_from_what_a_free_answer_begins_with() {
        for text in [" Yes", "yes.", "\"Yes\", it is", "**Yes**"] {
            assert!(begins_with(text, " Yes"), "{text}");
        }
        for text in ["", " No", "It is: yes", "Y"] {
            assert!(!begins_with(text, " Yes"), "{text}");
        }
        assert!(begins_with("“是”", "是") && !begins_with("不是", "是"));
    }
}
