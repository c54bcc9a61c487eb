//! The input first, then the answer to both.

use autodidact_domain::{Example, GenerateRequest, Language, Message, Sampling};

use super::{Answered, Asker, Place};
use crate::error::FlowError;
use crate::prompts;

/// Examples with input that an input prompt shows, and examples without.
const SHOWN_WITH_INPUT: usize = 3;
const SHOWN_WITHOUT_INPUT: usize = 2;

/// Asks for inputs, then for answers.
pub(super) fn answer<'a>(
    asker: &mut Asker<'_>,
    places: Vec<Place<'a>>,
) -> Result<Vec<Answered<'a>>, FlowError> {
    let asked = places
        .iter()
        .map(|place| input_request(asker, *place))
        .collect();
    let told = asker.generate(asked)?;
    let inputs: Vec<String> = told
        .iter()
        .map(|completion| prompts::parse_input(&completion.text).unwrap_or_default())
        .collect();
    let examples = asker.examples()?;
    let asked = places
        .iter()
        .zip(&inputs)
        .map(|(place, input)| answer_request(asker, examples, *place, input))
        .collect::<Result<_, _>>()?;
    let answers = asker.generate(asked)?;
    let answered = places.into_iter().zip(told).zip(inputs).zip(answers);
    Ok(answered
        .map(|(((place, told), input), completion)| {
            let output = prompts::parse_answer(&completion.text, completion.finish);
            Answered {
                place,
                input,
                output,
                completion,
                task_type: None,
            }
            .unless_without_room(told)
        })
        .collect())
}

/// Asks for the input that an instruction needs, or that it needs none, shown by human examples of both kinds.
fn input_request(asker: &Asker<'_>, place: Place<'_>) -> GenerateRequest {
    let Place { candidate, index } = place;
    let mut random = asker.random("input", index);
    let (with, without): (Vec<&Example>, Vec<&Example>) = asker
        .human(candidate.language)
        .partition(|example| !example.body.input_text().is_empty());
    let mut shown = random.pick(&with, SHOWN_WITH_INPUT);
    shown.extend(random.pick(&without, SHOWN_WITHOUT_INPUT));
    random.shuffle(&mut shown);
    GenerateRequest::new(
        prompts::input_request(candidate.language, &shown, &candidate.instruction),
        Sampling {
            temperature: asker.spec.input_temperature,
            top_p: asker.spec.top_p,
            max_tokens: asker.spec.max_input_tokens,
            stop: prompts::line_stops(),
            seed: asker.seed("input", index),
            ..Sampling::default()
        },
    )
}

fn answer_request(
    asker: &Asker<'_>,
    examples: u32,
    place: Place<'_>,
    input: &str,
) -> Result<GenerateRequest, FlowError> {
    let Place { candidate, index } = place;
    let spec = asker.spec;
    let shown = shown_turns(asker, examples, candidate.language);
    Ok(GenerateRequest {
        constraint: asker.constraint()?,
        ..GenerateRequest::new(
            prompts::answer_request(shown, &candidate.instruction, input),
            Sampling {
                temperature: spec.temperature,
                top_p: spec.top_p,
                repetition_penalty: spec.repetition_penalty,
                max_tokens: spec.max_tokens,
                seed: asker.seed("answer", index),
                ..Sampling::default()
            },
        )
    })
}

/// Draws the human examples that are shown answered, as turns. They are the same for a whole round, so that the engine
/// computes them once.
fn shown_turns(asker: &Asker<'_>, examples: u32, language: Language) -> Vec<Message> {
    let human: Vec<&Example> = asker
        .human(language)
        .filter(|example| !example.body.output_text().is_empty())
        .collect();
    let mut random = asker.random("shown", 0);
    let shown = random.pick(&human, examples as usize);
    shown
        .iter()
        .flat_map(|example| example.body.to_messages())
        .collect()
}
