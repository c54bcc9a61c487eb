//! Classifications: found by asking the model, then the label first and an input that fits it, as Self-Instruct has it
//! (Wang et al. 2023, section 2.2): asked for inputs first, models write those of one label alone.

use autodidact_domain::{
    Completion, Constraint, Example, FinishReason, GenerateRequest, Sampling, TaskType,
};

use super::asker::Question;
use super::instances::Instance;
use super::labels::{self, LabelShares};
use super::{Answered, Asker, Place, purpose};
use crate::error::FlowError;
use crate::prompts::{self, ToldInput};

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

/// Asks for inputs that have a label: the next of the instruction's labels, or one that the model writes where they are not known.
pub(super) fn answer<'a>(
    asker: &mut Asker<'_>,
    places: Vec<Place<'a>>,
    shares: &mut LabelShares,
) -> Result<Vec<Answered<'a>>, FlowError> {
    let sets = labels::sets(asker, &places)?;
    let count = asker.spec.instances as usize;
    let open: Vec<usize> = (0..places.len()).filter(|i| sets[*i].is_empty()).collect();
    let mut asked = Vec::with_capacity(open.len() * count);
    for i in &open {
        for instance in 0..count {
            asked.push(label_request(asker, places[*i], instance)?);
        }
    }
    let mut written = asker.generate(asked)?.into_iter();
    // Each instance's label, with what the model wrote it in where it did.
    let mut told: Vec<Vec<(String, Option<Completion>)>> = Vec::with_capacity(places.len());
    for (place, set) in places.iter().zip(&sets) {
        told.push(match set.is_empty() {
            false => shares
                .take_turns(set, count, place.index)
                .into_iter()
                .map(|label| (label, None))
                .collect(),
            true => written
                .by_ref()
                .take(count)
                .map(|label| (label.text.trim().to_string(), Some(label)))
                .collect(),
        });
    }
    let mut asked = Vec::new();
    for (place, told) in places.iter().zip(&told) {
        for (instance, (label, _)) in told.iter().enumerate() {
            asked.push(input_request(asker, *place, instance, label));
        }
    }
    let mut inputs = asker.generate(asked)?.into_iter();
    let mut answered = Vec::with_capacity(places.len());
    for ((place, labels), told) in places.into_iter().zip(sets).zip(told) {
        let instances = told.into_iter().map(|(label, written)| {
            let input = inputs.next().expect("one input was asked for each label");
            instance(label, written, input)
        });
        answered.push(Answered {
            place,
            instances: instances.collect(),
            task_type: Some(TaskType::Classification),
            labels,
        });
    }
    answer_without_input(asker, &mut answered)?;
    Ok(answered)
}

fn instance(label: String, written: Option<Completion>, input: Completion) -> Instance {
    let is_cut = |completion: &Completion| completion.finish == FinishReason::Length;
    if let Some(written) = written
        .as_ref()
        .filter(|written| label.is_empty() || is_cut(written))
    {
        return Instance::failed(written.clone());
    }
    let text = match prompts::read_input(&input.text, input.finish) {
        ToldInput::Text(text) => text,
        ToldInput::NotNeeded => String::new(),
        ToldInput::Cut => return Instance::failed(input),
    };
    Instance::new(text, Some(label), written.unwrap_or(input))
}

/// Has those answered that turn out to need no input: what was asked for by turns need not be right for them. They are held to their
/// labels.
fn answer_without_input(
    asker: &mut Asker<'_>,
    answered: &mut [Answered<'_>],
) -> Result<(), FlowError> {
    let needs_none = |answered: &&mut Answered<'_>| {
        let first = answered.instances.first();
        !answered.labels.is_empty()
            && first.is_some_and(|first| first.output.is_some() && first.input.is_empty())
    };
    let mut open: Vec<&mut Answered<'_>> = answered.iter_mut().filter(needs_none).collect();
    let examples = asker.examples()?;
    let mut asked = Vec::with_capacity(open.len());
    for answered in &open {
        let seed = asker.seed("answer", answered.place.index);
        let question = Question {
            task_type: Some(TaskType::Classification),
            ..answered.place.question("")
        };
        let mut request = asker.answer_request(examples, question, seed)?;
        if request.constraint.is_none() {
            request.constraint = Some(Constraint::Choices(answered.labels.clone()));
            request.constraint_may_lapse = true;
        }
        asked.push(request);
    }
    for (answered, completion) in open.iter_mut().zip(asker.generate(asked)?) {
        let output = prompts::parse_answer(&completion.text, completion.finish);
        answered.instances = vec![Instance::new(String::new(), output, completion)];
    }
    Ok(())
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

fn label_request(
    asker: &Asker<'_>,
    place: Place<'_>,
    instance: usize,
) -> Result<GenerateRequest, FlowError> {
    let Place { candidate, index } = place;
    let shown = shown(asker, place);
    let temperature = asker
        .spec
        .label_temperature
        .unwrap_or(asker.spec.input_temperature);
    Ok(GenerateRequest {
        constraint: asker.constraint()?,
        ..GenerateRequest::new(
            prompts::label_request(candidate.language, &shown, &candidate.instruction),
            sampling(asker, temperature, &purpose("label", instance), index),
        )
    })
}

fn input_request(
    asker: &Asker<'_>,
    place: Place<'_>,
    instance: usize,
    label: &str,
) -> GenerateRequest {
    let Place { candidate, index } = place;
    let shown = shown(asker, place);
    let purpose = purpose("labelled input", instance);
    GenerateRequest::new(
        prompts::labelled_input_request(candidate.language, &shown, &candidate.instruction, label),
        sampling(asker, asker.spec.input_temperature, &purpose, index),
    )
}

fn sampling(asker: &Asker<'_>, temperature: f32, purpose: &str, index: usize) -> Sampling {
    Sampling {
        temperature,
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
