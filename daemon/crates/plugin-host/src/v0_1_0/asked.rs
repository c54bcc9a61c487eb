//! What guests ask of a model, checked, and what it says to them.

use autodidact_domain::{
    Completion, Constraint, FinishReason, GenerateRequest, Message, Prompt, ResponseLoss, Role,
    Sampling, ScoreRequest,
};

use super::bindings::model;

/// The most that is asked for at once; batches have 64 records.
const MAX_ASKED: usize = 256;
/// The most tokens of a completion.
const MAX_TOKENS: u32 = 4096;
/// The most texts to stop at.
const MAX_STOPS: usize = 16;
/// The most texts to choose among.
const MAX_CHOICES: usize = 1000;

/// Refuses too many questions at once, and none.
pub(super) fn bounded(asked: usize) -> Result<(), String> {
    match asked {
        0 => Err("nothing was asked for".to_string()),
        asked if asked > MAX_ASKED => Err(format!(
            "{asked} were asked for at once; at most {MAX_ASKED} are taken"
        )),
        _ => Ok(()),
    }
}

/// Reads what is to be generated.
pub(super) fn generations(
    generations: Vec<model::Generation>,
) -> Result<Vec<GenerateRequest>, String> {
    bounded(generations.len())?;
    generations.into_iter().map(generation).collect()
}

fn generation(asked: model::Generation) -> Result<GenerateRequest, String> {
    if asked.max_tokens == 0 || asked.max_tokens > MAX_TOKENS {
        return Err(format!(
            "max-tokens is {}; 1 to {MAX_TOKENS} are taken",
            asked.max_tokens
        ));
    }
    if !(0.0..=10.0).contains(&asked.temperature) {
        return Err(format!(
            "temperature is {}; 0 to 10 is taken",
            asked.temperature
        ));
    }
    if !(asked.top_p > 0.0 && asked.top_p <= 1.0) {
        return Err(format!(
            "top-p is {}; above 0 and at most 1 is taken",
            asked.top_p
        ));
    }
    if asked.stop.len() > MAX_STOPS || asked.stop.iter().any(String::is_empty) {
        return Err(format!(
            "stop has an empty text, or more than {MAX_STOPS} texts"
        ));
    }
    if asked.choices.len() > MAX_CHOICES || asked.choices.iter().any(|c| c.trim().is_empty()) {
        return Err(format!(
            "choices has an empty text, or more than {MAX_CHOICES} texts"
        ));
    }
    let sampling = Sampling {
        max_tokens: asked.max_tokens,
        temperature: asked.temperature,
        top_p: asked.top_p,
        seed: asked.seed,
        stop: asked.stop,
        ..Sampling::default()
    };
    Ok(GenerateRequest {
        constraint: (!asked.choices.is_empty()).then_some(Constraint::Choices(asked.choices)),
        constraint_may_lapse: true,
        ..GenerateRequest::new(prompt(asked.prompt)?, sampling)
    })
}

/// Shows the choices of each request; none where there are none.
pub(super) fn choices(requests: &[GenerateRequest]) -> Vec<Vec<String>> {
    let choices = requests.iter().map(|request| match &request.constraint {
        Some(Constraint::Choices(choices)) => choices.clone(),
        _ => Vec::new(),
    });
    choices.collect()
}

/// Lays out what a model said. A server that knows no constraints may have said something else than a choice.
pub(super) fn completions(
    said: Vec<Completion>,
    choices: &[Vec<String>],
) -> Result<Vec<model::Completion>, String> {
    if said.len() != choices.len() {
        return Err(format!(
            "the model gave {} completions of {}",
            said.len(),
            choices.len()
        ));
    }
    let said = said.into_iter().zip(choices);
    said.map(|(said, choices)| completion(said, choices))
        .collect()
}

fn completion(said: Completion, choices: &[String]) -> Result<model::Completion, String> {
    let finish = match said.finish {
        FinishReason::Eos | FinishReason::Stop => model::Finish::Stop,
        FinishReason::Length | FinishReason::NoRoom => model::Finish::Length,
    };
    if choices.is_empty() || said.finish == FinishReason::NoRoom {
        let text = said.text;
        return Ok(model::Completion { text, finish });
    }
    let chosen = choices
        .iter()
        .find(|choice| choice.trim() == said.text.trim());
    match chosen {
        Some(chosen) => Ok(model::Completion {
            text: chosen.clone(),
            finish,
        }),
        None => Err("the model said something else than the choices".to_string()),
    }
}

/// Reads what is to be scored.
pub(super) fn continuations(asked: Vec<model::Continuation>) -> Result<Vec<ScoreRequest>, String> {
    bounded(asked.len())?;
    let read = |asked: model::Continuation| {
        Ok(ScoreRequest {
            prompt: prompt(asked.prompt)?,
            continuation: asked.text,
        })
    };
    asked.into_iter().map(read).collect()
}

/// Lays out how likely a text is.
pub(super) fn likelihood(loss: ResponseLoss) -> model::Likelihood {
    model::Likelihood {
        log_probability: -loss.negative_log_likelihood,
        tokens: loss.tokens,
    }
}

fn prompt(prompt: model::Prompt) -> Result<Prompt, String> {
    Ok(match prompt {
        model::Prompt::Text(text) => Prompt::Text(text),
        model::Prompt::Chat(turns) if turns.is_empty() => {
            return Err("a conversation has no turn".to_string());
        }
        model::Prompt::Chat(turns) => Prompt::Chat(turns.into_iter().map(message).collect()),
    })
}

fn message(message: model::Message) -> Message {
    Message {
        role: match message.role {
            model::Role::System => Role::System,
            model::Role::User => Role::User,
            model::Role::Assistant => Role::Assistant,
        },
        content: message.content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeliest() -> model::Generation {
        model::Generation {
            prompt: model::Prompt::Text("One, two,".into()),
            max_tokens: 4,
            temperature: 0.0,
            top_p: 1.0,
            seed: 1,
            stop: Vec::new(),
            choices: Vec::new(),
        }
    }

    fn wrong(change: impl FnOnce(&mut model::Generation)) -> String {
        let mut asked = likeliest();
        change(&mut asked);
        generation(asked).unwrap_err()
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        assert!(generations(vec![likeliest()]).is_ok());
        assert!(wrong(|a| a.max_tokens = 0).contains("1 to 4096"));
        assert!(wrong(|a| a.max_tokens = 5000).contains("1 to 4096"));
        assert!(wrong(|a| a.temperature = f32::NAN).contains("0 to 10"));
        assert!(wrong(|a| a.top_p = 0.0).contains("above 0"));
        assert!(wrong(|a| a.stop = vec![String::new()]).contains("stop"));
        assert!(wrong(|a| a.choices = vec![" ".into()]).contains("choices"));
        assert!(wrong(|a| a.prompt = model::Prompt::Chat(Vec::new())).contains("no turn"));
        assert!(generations(Vec::new()).is_err());
        assert!(generations(vec![likeliest(); 257]).is_err());
    }

    #[test]
    fn a_choice_is_one_of_the_choices() {
        let said = |text: &str| Completion {
            text: text.to_string(),
            finish: FinishReason::Eos,
            prompt_tokens: 1,
            completion_tokens: 1,
            logprobs: Vec::new(),
        };
        let choices = vec![vec!["1".to_string(), "2".to_string()]];
        let told = |text| completions(vec![said(text)], &choices).map(|c| c[0].text.clone());
        assert_eq!(told(" 2\n"), Ok("2".to_string()));
        assert!(told("three").is_err());
        assert_eq!(
            completions(vec![said("free")], &[Vec::new()]).unwrap()[0].text,
            "free"
        );
        assert!(completions(Vec::new(), &choices).is_err());
    }
}
