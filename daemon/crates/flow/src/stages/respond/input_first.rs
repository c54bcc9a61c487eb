//! The input first, then the answer to both.

use autodidact_domain::{Completion, Example, GenerateRequest, Sampling};

use super::instances::Instance;
use super::{Answered, Asker, Place, purpose};
use crate::error::FlowError;
use crate::prompts::{self, ToldInput};

/// Examples with input that an input prompt shows, and examples without.
const SHOWN_WITH_INPUT: usize = 3;
const SHOWN_WITHOUT_INPUT: usize = 2;

/// Asks for inputs, then for answers.
pub(super) fn answer<'a>(
    asker: &mut Asker<'_>,
    places: Vec<Place<'a>>,
) -> Result<Vec<Answered<'a>>, FlowError> {
    let inputs = ask_inputs(asker, &places)?;
    let examples = asker.examples()?;
    let mut asked = Vec::new();
    for (place, inputs) in places.iter().zip(&inputs) {
        for (instance, told) in inputs.iter().enumerate() {
            if let Some(input) = told.usable() {
                let seed = asker.seed(&purpose("answer", instance), place.index);
                asked.push(asker.answer_request(examples, place.question(input), seed)?);
            }
        }
    }
    let mut answers = asker.generate(asked)?.into_iter();
    let mut answered = Vec::with_capacity(places.len());
    for (place, inputs) in places.into_iter().zip(inputs) {
        let mut instances = Vec::with_capacity(inputs.len());
        for told in inputs {
            let instance = match told.usable() {
                None => Instance::failed(told.completion),
                Some(input) => {
                    let completion = answers.next().expect("one answer was asked for each input");
                    let output = prompts::parse_answer(&completion.text, completion.finish);
                    Instance::new(input.to_string(), output, completion)
                }
            };
            instances.push(instance);
        }
        answered.push(Answered {
            place,
            instances,
            task_type: None,
            labels: Vec::new(),
        });
    }
    Ok(answered)
}

/// An input as the model told it.
struct Told {
    input: ToldInput,
    completion: Completion,
}

impl Told {
    fn read(completion: Completion) -> Self {
        let input = prompts::read_input(&completion.text, completion.finish);
        Self { input, completion }
    }

    /// Shows the input, empty where the instruction needs none; none where it was cut off.
    fn usable(&self) -> Option<&str> {
        match &self.input {
            ToldInput::Text(text) => Some(text),
            ToldInput::NotNeeded => Some(""),
            ToldInput::Cut => None,
        }
    }
}

/// Asks each instruction for an input, and those that have one for more of them.
fn ask_inputs(asker: &mut Asker<'_>, places: &[Place<'_>]) -> Result<Vec<Vec<Told>>, FlowError> {
    let asked = places
        .iter()
        .map(|place| input_request(asker, *place, 0))
        .collect();
    let first = asker.generate(asked)?;
    let mut inputs: Vec<Vec<Told>> = first
        .into_iter()
        .map(|told| vec![Told::read(told)])
        .collect();
    let more = 1..asker.spec.instances as usize;
    let needs = |told: &[Told]| !matches!(told[0].input, ToldInput::NotNeeded);
    let open: Vec<usize> = (0..places.len()).filter(|i| needs(&inputs[*i])).collect();
    let others: Vec<(usize, usize)> = open
        .iter()
        .flat_map(|i| more.clone().map(|instance| (*i, instance)))
        .collect();
    let asked = others
        .iter()
        .map(|(i, instance)| input_request(asker, places[*i], *instance))
        .collect();
    for ((i, _), completion) in others.iter().zip(asker.generate(asked)?) {
        let told = Told::read(completion);
        // The instruction has an input already; without one it would be another task.
        if needs(std::slice::from_ref(&told)) {
            inputs[*i].push(told);
        }
    }
    Ok(inputs)
}

/// Asks for the input that an instruction needs, or that it needs none, shown by human examples of both kinds.
fn input_request(asker: &Asker<'_>, place: Place<'_>, instance: usize) -> GenerateRequest {
    let Place { candidate, index } = place;
    let purpose = purpose("input", instance);
    let mut random = asker.random(&purpose, index);
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
            seed: asker.seed(&purpose, index),
            ..Sampling::default()
        },
    )
}
