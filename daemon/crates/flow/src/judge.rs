//! A model that gives marks: asked, asked once again where it says something else, and then taken to have said nothing.

use autodidact_domain::{Completion, FinishReason, GenerateRequest, ModelRef, Prompt, Sampling};

use crate::chain::{mark_request, read_mark};
use crate::error::FlowError;
use crate::journaled::Run;

/// The temperature of the second question: at 0 the same answer would come again.
const SECOND_TEMPERATURE: f32 = 0.7;

/// A judge's answers, in the order of the questions.
#[derive(Default)]
pub(crate) struct Marks {
    /// None where the judge gave none, twice.
    pub(crate) marks: Vec<Option<u32>>,
    /// What the judge said last.
    pub(crate) said: Vec<Option<Completion>>,
    /// Answers that were no mark, first and second ones.
    pub(crate) nonsense: u64,
    /// Tokens generated.
    pub(crate) tokens: u64,
}

/// Asks a judge for marks, inside a step. Most judges are held to them by a constraint; a server without constraints may say
/// anything.
pub(crate) fn ask(run: &Run, judge: &ModelRef, prompts: Vec<Prompt>) -> Result<Marks, FlowError> {
    ask_by(prompts, |requests| {
        run.generate(judge, requests, &mut |_| {})
    })
}

fn ask_by(
    prompts: Vec<Prompt>,
    mut generate: impl FnMut(Vec<GenerateRequest>) -> Result<Vec<Completion>, FlowError>,
) -> Result<Marks, FlowError> {
    let mut found = Marks {
        marks: vec![None; prompts.len()],
        said: vec![None; prompts.len()],
        ..Marks::default()
    };
    let mut open: Vec<usize> = (0..prompts.len()).collect();
    for temperature in [0.0, SECOND_TEMPERATURE] {
        let request = |place: &usize| {
            let request = mark_request(prompts[*place].clone());
            let sampling = Sampling {
                temperature,
                seed: *place as u64,
                ..request.sampling
            };
            GenerateRequest {
                sampling,
                ..request
            }
        };
        let requests: Vec<GenerateRequest> = open.iter().map(request).collect();
        if requests.is_empty() {
            break;
        }
        let mut again = Vec::new();
        for (place, completion) in open.into_iter().zip(generate(requests)?) {
            found.tokens += u64::from(completion.completion_tokens);
            found.marks[place] = read_mark(&completion.text);
            // A question that fills the context has no room the second time either.
            if found.marks[place].is_none() && completion.finish != FinishReason::NoRoom {
                found.nonsense += 1;
                again.push(place);
            }
            found.said[place] = Some(completion);
        }
        open = again;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_counted_asked_again_and_then_no_mark() {
        let answers = [
            vec![
                ("4", FinishReason::Eos),
                ("well", FinishReason::Eos),
                ("", FinishReason::NoRoom),
                ("great", FinishReason::Eos),
            ],
            vec![("2", FinishReason::Eos), ("splendid", FinishReason::Eos)],
        ];
        let (mut turn, mut temperatures) = (0, Vec::new());
        let prompts = vec![Prompt::Text("How good?".into()); 4];
        let found = ask_by(prompts, |requests| {
            temperatures.push(requests[0].sampling.temperature);
            let said = &answers[turn];
            assert_eq!(requests.len(), said.len());
            turn += 1;
            let completion = |(text, finish): &(&str, FinishReason)| Completion {
                text: text.to_string(),
                finish: *finish,
                prompt_tokens: 1,
                completion_tokens: 2,
                logprobs: Vec::new(),
            };
            Ok(said.iter().map(completion).collect())
        })
        .expect("the fake answers");
        assert_eq!(found.marks, [Some(4), Some(2), None, None]);
        assert_eq!((found.nonsense, found.tokens), (3, 12));
        assert_eq!(temperatures, [0.0, SECOND_TEMPERATURE]);
    }
}
