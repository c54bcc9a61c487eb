//! Requests for text and for scores, checked, and what comes of them.

use autodidact_domain::{
    CheckpointId, Completion, Constraint, FinishReason, GenerateRequest, Message, ModelName,
    ModelRef, Prompt, ResponseLoss, Role, Sampling, ScoreRequest, TokenLogprob,
};
use autodidact_proto::v1;
use tonic::Status;

use super::sampling::sampling;
use crate::status::{bad_field, bad_name};

/// The most completions of one prompt.
const MAX_COMPLETIONS: u32 = 16;
/// The most alternatives beside a token's log-probability.
const MAX_TOP_LOGPROBS: u32 = 20;
/// The most log-probabilities of one completion: some 20 bytes each, they have to fit in a message of 4 MiB.
const MAX_LOGPROBS: u64 = 128 << 10;
/// The most texts of one call to score.
const MAX_ITEMS: usize = 256;

/// Reads and checks a request: the model, and a request for each completion.
pub(crate) fn generate_requests(
    request: v1::GenerateRequest,
) -> Result<(ModelRef, Vec<GenerateRequest>), Status> {
    let v1::GenerateRequest {
        model,
        adapter,
        prompt,
        sampling,
        constraint,
        logprobs,
        completions,
    } = request;
    let model = model_ref(model, adapter)?;
    let prompt = match prompt {
        None => return Err(bad_field("prompt", "neither a text nor a chat is set")),
        Some(v1::generate_request::Prompt::Text(text)) => Prompt::Text(text),
        Some(v1::generate_request::Prompt::Chat(chat)) => Prompt::Chat(conversation("chat", chat)?),
    };
    let sampling = self::sampling(sampling.unwrap_or_default())?;
    let constraint = constraint.map(self::constraint).transpose()?;
    if let Some(top) = logprobs {
        if top > MAX_TOP_LOGPROBS {
            return Err(bad_field(
                "logprobs",
                format!("expected at most {MAX_TOP_LOGPROBS}, found {top}"),
            ));
        }
        let told = u64::from(sampling.max_tokens) * u64::from(top + 1);
        if told > MAX_LOGPROBS {
            return Err(bad_field(
                "logprobs",
                format!(
                    "expected max_tokens times logprobs + 1 of at most {MAX_LOGPROBS}, found {told}"
                ),
            ));
        }
    }
    if completions > MAX_COMPLETIONS {
        return Err(bad_field(
            "completions",
            format!("expected at most {MAX_COMPLETIONS}, found {completions}"),
        ));
    }
    let request = |index: u32| GenerateRequest {
        prompt: prompt.clone(),
        sampling: Sampling {
            seed: sampling.seed.wrapping_add(u64::from(index)),
            ..sampling.clone()
        },
        constraint: constraint.clone(),
        constraint_may_lapse: false,
        logprobs,
    };
    Ok((model, (0..completions.max(1)).map(request).collect()))
}

/// Reads and checks a request for scores.
pub(crate) fn score_requests(
    request: v1::ScoreRequest,
) -> Result<(ModelRef, Vec<ScoreRequest>), Status> {
    let v1::ScoreRequest {
        model,
        adapter,
        items,
    } = request;
    let model = model_ref(model, adapter)?;
    if items.len() > MAX_ITEMS {
        return Err(bad_field(
            "items",
            format!("expected at most {MAX_ITEMS}, found {}", items.len()),
        ));
    }
    let item = |(index, item): (usize, v1::ScoreItem)| {
        let field = |name: &str| format!("items[{index}].{name}");
        let prompt = match item.prompt {
            None => {
                return Err(bad_field(
                    &field("prompt"),
                    "neither a text nor a chat is set",
                ));
            }
            Some(v1::score_item::Prompt::Text(text)) => Prompt::Text(text),
            Some(v1::score_item::Prompt::Chat(chat)) => {
                Prompt::Chat(conversation(&field("chat"), chat)?)
            }
        };
        Ok(ScoreRequest {
            prompt,
            continuation: item.continuation,
        })
    };
    let items = items.into_iter().enumerate().map(item);
    Ok((model, items.collect::<Result<_, _>>()?))
}

/// Reads a model's and its adapter's names.
pub(super) fn model_ref(model: String, adapter: Option<String>) -> Result<ModelRef, Status> {
    let model = ModelName::new(model).map_err(bad_name("model"))?;
    let adapter = adapter
        .map(CheckpointId::new)
        .transpose()
        .map_err(bad_name("adapter"))?;
    Ok(ModelRef { model, adapter })
}

fn constraint(constraint: v1::generate_request::Constraint) -> Result<Constraint, Status> {
    use v1::generate_request::Constraint as Wire;
    match constraint {
        Wire::Choices(choices) => Ok(Constraint::Choices(choices.texts)),
        Wire::Regex(regex) => Ok(Constraint::Regex(regex)),
        Wire::JsonSchema(text) => serde_json::from_str(&text)
            .map(Constraint::JsonSchema)
            .map_err(|error| bad_field("json_schema", format!("expected JSON: {error}"))),
    }
}

fn conversation(field: &str, chat: v1::Conversation) -> Result<Vec<Message>, Status> {
    if chat.messages.is_empty() {
        return Err(bad_field(
            &format!("{field}.messages"),
            "at least one is needed",
        ));
    }
    let message = |(index, message): (usize, v1::Message)| {
        let role = match message.role() {
            v1::Role::System => Role::System,
            v1::Role::User => Role::User,
            v1::Role::Assistant => Role::Assistant,
            v1::Role::Unspecified => {
                return Err(bad_field(
                    &format!("{field}.messages[{index}].role"),
                    "expected system, user or assistant",
                ));
            }
        };
        Ok(Message {
            role,
            content: message.content,
        })
    };
    chat.messages.into_iter().enumerate().map(message).collect()
}

/// Writes a completion.
pub(crate) fn completion(completion: Completion) -> v1::Completion {
    let Completion {
        text,
        finish,
        prompt_tokens,
        completion_tokens,
        logprobs,
    } = completion;
    let finish = match finish {
        FinishReason::Eos => v1::FinishReason::Eos,
        FinishReason::Stop => v1::FinishReason::Stop,
        // Where somebody waits, a prompt without room is refused; here it would be one that is cut short.
        FinishReason::Length | FinishReason::NoRoom => v1::FinishReason::Length,
    };
    v1::Completion {
        text,
        finish: finish.into(),
        prompt_tokens,
        completion_tokens,
        logprobs: logprobs.into_iter().map(token_logprob).collect(),
    }
}

fn token_logprob(token: TokenLogprob) -> v1::TokenLogprob {
    let top = token.top.into_iter();
    v1::TokenLogprob {
        bytes: token.bytes,
        logprob: token.logprob,
        top: top
            .map(|(bytes, logprob)| v1::TopLogprob { bytes, logprob })
            .collect(),
    }
}

/// Writes a score.
pub(crate) fn score(loss: &ResponseLoss) -> v1::Score {
    v1::Score {
        negative_log_likelihood: loss.negative_log_likelihood,
        tokens: loss.tokens,
        perplexity: loss.perplexity(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::GenerateRequest {
        v1::GenerateRequest {
            model: "m".into(),
            prompt: Some(v1::generate_request::Prompt::Text("a".into())),
            ..Default::default()
        }
    }

    fn bad_chat() -> v1::Conversation {
        v1::Conversation {
            messages: vec![v1::Message {
                role: 9,
                content: String::new(),
            }],
        }
    }

    #[test]
    fn requests_are_checked() {
        use v1::generate_request::Constraint as Wire;
        assert!(generate_requests(good()).is_ok());
        let changed = |change: &dyn Fn(&mut v1::GenerateRequest)| {
            let mut request = good();
            change(&mut request);
            request
        };
        let bad = [
            changed(&|r| r.model = "../m".into()),
            changed(&|r| r.prompt = None),
            changed(&|r| {
                r.prompt = Some(v1::generate_request::Prompt::Chat(bad_chat()));
            }),
            changed(&|r| r.constraint = Some(Wire::JsonSchema("{".into()))),
            changed(&|r| r.logprobs = Some(21)),
            changed(&|r| {
                r.logprobs = Some(20);
                r.sampling = Some(v1::Sampling {
                    max_tokens: Some(32_768),
                    ..Default::default()
                });
            }),
            changed(&|r| r.completions = 17),
        ];
        for request in bad {
            assert!(generate_requests(request.clone()).is_err(), "{request:?}");
        }
    }

    #[test]
    fn several_completions_have_seeds_of_their_own() {
        let request = v1::GenerateRequest {
            sampling: Some(v1::Sampling {
                seed: Some(u64::MAX),
                ..Default::default()
            }),
            constraint: Some(v1::generate_request::Constraint::Regex("a+".into())),
            completions: 3,
            ..good()
        };
        let (_, requests) = generate_requests(request).unwrap();
        let seeds: Vec<u64> = requests.iter().map(|r| r.sampling.seed).collect();
        assert_eq!(seeds, [u64::MAX, 0, 1]);
        let expect = Some(Constraint::Regex("a+".into()));
        assert!(requests.iter().all(|r| r.constraint == expect));
        assert_eq!(generate_requests(good()).unwrap().1.len(), 1);
    }

    #[test]
    fn texts_to_score_are_checked() {
        let item = |prompt| v1::ScoreItem {
            prompt,
            continuation: "b".into(),
        };
        let text = item(Some(v1::score_item::Prompt::Text("a".into())));
        let request = |items: Vec<v1::ScoreItem>| v1::ScoreRequest {
            model: "m".into(),
            adapter: None,
            items,
        };
        let (_, read) = score_requests(request(vec![text.clone()])).unwrap();
        assert_eq!(read[0].prompt, Prompt::Text("a".into()));
        for bad in [
            vec![text.clone(); 257],
            vec![text.clone(), item(None)],
            vec![item(Some(v1::score_item::Prompt::Chat(bad_chat())))],
        ] {
            assert!(score_requests(request(bad)).is_err());
        }
    }
}
