//! A request of ours as the body that a server takes.

use autodidact_domain::{Constraint, GenerateRequest, Message, Prompt, Role, Sampling};
use serde_json::{Map, Value, json};

use crate::error::RemoteError;
use crate::settings::{Api, Constraints, Identity};

/// OpenAI takes this many stop texts; the others are looked for on this side alone.
const MAX_STOPS: usize = 4;
/// OpenAI's bounds of a bias; the lower one all but forbids a token.
const BIAS_RANGE: (f32, f32) = (-100.0, 100.0);
/// What the next turn of a conversation begins with where it is laid out as plain text.
const NEXT_TURN: &str = "\n\nUser:";

/// A body and where it goes.
pub(crate) struct Body {
    pub(crate) path: &'static str,
    pub(crate) json: Value,
    /// What ends the completion; looked for on this side too.
    pub(crate) stops: Vec<String>,
}

/// Which call a prompt goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
}

/// Writes a request as the server takes it.
pub(crate) fn body(
    identity: &Identity,
    request: &GenerateRequest,
    stream: bool,
) -> Result<Body, RemoteError> {
    let settings = &identity.settings;
    let kind = match (settings.api, &request.prompt) {
        (Api::Chat, _) | (Api::Both, Prompt::Chat(_)) => Kind::Chat,
        (Api::Completions, _) | (Api::Both, Prompt::Text(_)) => Kind::Completion,
    };
    let mut stops = request.sampling.stop.clone();
    stops.retain(|stop| !stop.is_empty());
    let mut fields = Map::new();
    fields.insert("model".into(), json!(settings.model));
    match (kind, &request.prompt) {
        (Kind::Chat, Prompt::Chat(messages)) => {
            fields.insert("messages".into(), turns(messages));
        }
        (Kind::Chat, Prompt::Text(text)) => {
            fields.insert(
                "messages".into(),
                json!([{"role": "user", "content": text}]),
            );
        }
        (Kind::Completion, Prompt::Text(text)) => {
            fields.insert("prompt".into(), json!(text));
        }
        (Kind::Completion, Prompt::Chat(messages)) => {
            fields.insert("prompt".into(), json!(plain_text(messages)));
            stops.push(NEXT_TURN.to_string());
        }
    }
    write_sampling(&mut fields, &request.sampling, identity);
    if !stops.is_empty() {
        let sent = &stops[..stops.len().min(MAX_STOPS)];
        fields.insert("stop".into(), json!(sent));
    }
    if let Some(count) = request.logprobs {
        match kind {
            Kind::Chat => {
                fields.insert("logprobs".into(), json!(true));
                fields.insert("top_logprobs".into(), json!(count));
            }
            Kind::Completion => {
                fields.insert("logprobs".into(), json!(count));
            }
        }
    }
    if let Some(constraint) = &request.constraint {
        match write_constraint(&mut fields, constraint, identity) {
            Err(RemoteError::Unsupported(_)) if request.constraint_may_lapse => {}
            written => written?,
        }
    }
    if stream {
        fields.insert("stream".into(), json!(true));
        fields.insert("stream_options".into(), json!({"include_usage": true}));
    }
    let path = match kind {
        Kind::Chat => "/chat/completions",
        Kind::Completion => "/completions",
    };
    Ok(Body {
        path,
        json: Value::Object(fields),
        stops,
    })
}

/// Writes what differs from the API's defaults, since some servers refuse fields that they do not know.
fn write_sampling(fields: &mut Map<String, Value>, sampling: &Sampling, identity: &Identity) {
    let Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        logit_bias,
        max_tokens,
        min_tokens,
        early_end: _,
        stop: _,
        seed,
    } = sampling;
    let settings = &identity.settings;
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_string(), value);
    };
    set(settings.max_tokens_field.name(), json!(max_tokens));
    set("temperature", number(*temperature));
    // Servers differ in how wide a seed may be; 31 bits fit all.
    set("seed", json!((seed ^ (seed >> 32)) & 0x7fff_ffff));
    if *top_p < 1.0 {
        set("top_p", number(*top_p));
    }
    if *presence_penalty != 0.0 {
        set("presence_penalty", number(*presence_penalty));
    }
    if *frequency_penalty != 0.0 {
        set("frequency_penalty", number(*frequency_penalty));
    }
    if !logit_bias.is_empty() {
        let biases: Map<String, Value> = logit_bias
            .iter()
            .map(|(token, bias)| {
                let bias = bias.clamp(BIAS_RANGE.0, BIAS_RANGE.1);
                (token.to_string(), number(bias))
            })
            .collect();
        set("logit_bias", Value::Object(biases));
    }
    if settings.extras {
        if *top_k > 0 {
            set("top_k", json!(top_k));
        }
        if *min_p > 0.0 {
            set("min_p", number(*min_p));
        }
        if *min_tokens > 0 {
            set("min_tokens", json!(min_tokens));
        }
        if *repetition_penalty != 1.0 {
            set("repetition_penalty", number(*repetition_penalty));
        }
    }
}

/// Writes an f32 with its own shortest digits: 0.7, not 0.699999988079071.
fn number(value: f32) -> Value {
    let digits: f64 = value.to_string().parse().unwrap_or_default();
    json!(digits)
}

fn write_constraint(
    fields: &mut Map<String, Value>,
    constraint: &Constraint,
    identity: &Identity,
) -> Result<(), RemoteError> {
    let (name, value) = match (identity.settings.constraints, constraint) {
        (Constraints::Guided, Constraint::Choices(choices)) => ("guided_choice", json!(choices)),
        (Constraints::Guided, Constraint::Regex(regex)) => ("guided_regex", json!(regex)),
        (Constraints::Guided, Constraint::JsonSchema(schema)) => ("guided_json", schema.clone()),
        (Constraints::JsonSchema, Constraint::JsonSchema(schema)) => {
            let inner = json!({"name": "answer", "strict": true, "schema": schema});
            (
                "response_format",
                json!({"type": "json_schema", "json_schema": inner}),
            )
        }
        (_, constraint) => {
            let wanted = match constraint {
                Constraint::Choices(_) => "one of a list of texts",
                Constraint::Regex(_) => "a regular expression's match",
                Constraint::JsonSchema(_) => "JSON of a schema",
            };
            return Err(RemoteError::Unsupported(format!(
                "remote model {}: the request wants {wanted}, which its server is not set to give; set constraints of [remote_models.{}] to guided (vLLM, SGLang) or, for JSON schemas alone, json_schema (OpenAI and most others), or use a local model",
                identity.name, identity.name
            )));
        }
    };
    fields.insert(name.to_string(), value);
    Ok(())
}

fn turns(messages: &[Message]) -> Value {
    messages
        .iter()
        .map(|message| json!({"role": message.role.as_str(), "content": message.content}))
        .collect()
}

/// Lays a conversation out for a model that only continues text.
fn plain_text(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        match message.role {
            Role::System => text.push_str(&message.content),
            Role::User => text.push_str(&format!("User: {}", message.content)),
            Role::Assistant => text.push_str(&format!("Assistant: {}", message.content)),
        }
        text.push_str("\n\n");
    }
    text.push_str("Assistant:");
    text
}

#[cfg(test)]
mod tests {
    use autodidact_domain::ModelName;

    use super::*;
    use crate::settings::{MaxTokensField, RemoteSettings};

    fn identity(settings: RemoteSettings) -> Identity {
        Identity {
            name: ModelName::new("far").unwrap(),
            settings: RemoteSettings {
                model: "m".into(),
                ..settings
            },
            key: None,
        }
    }

    fn written(settings: RemoteSettings, request: &GenerateRequest) -> (String, Value) {
        let body = body(&identity(settings), request, false).unwrap();
        (body.path.to_string(), body.json)
    }

    fn chat() -> GenerateRequest {
        let messages = vec![Message::user("Hi.".to_string())];
        GenerateRequest::new(Prompt::Chat(messages), Sampling::default())
    }

    #[test]
    fn defaults_stay_unsaid() {
        let (path, json) = written(RemoteSettings::default(), &chat());
        assert_eq!(path, "/chat/completions");
        assert_eq!(
            json,
            json!({"model": "m", "messages": [{"role": "user", "content": "Hi."}],
                   "max_tokens": 128, "temperature": 0.0, "seed": 0})
        );
    }

    #[test]
    fn every_option_is_mapped_and_extras_go_only_where_they_are_taken() {
        let mut request = GenerateRequest::new(
            Prompt::Text("1.".into()),
            Sampling {
                temperature: 0.7,
                top_k: 5,
                top_p: 0.9,
                min_p: 0.05,
                repetition_penalty: 1.1,
                presence_penalty: 0.5,
                frequency_penalty: 0.25,
                logit_bias: [(3, f32::NEG_INFINITY), (4, 2.5)].into(),
                max_tokens: 9,
                min_tokens: 4,
                early_end: "\n".into(),
                stop: ["a", "", "b", "c", "d", "e"].map(String::from).into(),
                seed: 0x1234_5678_9abc_def0,
            },
        );
        request.logprobs = Some(2);
        let mut expect = json!({
            "model": "m", "prompt": "1.", "max_completion_tokens": 9, "temperature": 0.7, "top_p": 0.9,
            "presence_penalty": 0.5, "frequency_penalty": 0.25, "logit_bias": {"3": -100.0, "4": 2.5},
            "stop": ["a", "b", "c", "d"], "seed": 0x0888_8888, "logprobs": 2,
        });
        let plain = RemoteSettings {
            api: Api::Both,
            max_tokens_field: MaxTokensField::MaxCompletionTokens,
            ..RemoteSettings::default()
        };
        let (path, json) = written(plain.clone(), &request);
        assert_eq!((path.as_str(), &json), ("/completions", &expect));
        let extras = RemoteSettings {
            extras: true,
            ..plain
        };
        expect["top_k"] = json!(5);
        expect["min_tokens"] = json!(4);
        expect["min_p"] = json!(0.05);
        expect["repetition_penalty"] = json!(1.1);
        assert_eq!(written(extras, &request).1, expect);
        request.logprobs = None;
        let (path, json) = written(RemoteSettings::default(), &request);
        assert_eq!(path, "/chat/completions");
        assert_eq!(json["messages"][0]["content"], "1.");
    }

    #[test]
    fn a_conversation_is_laid_out_for_a_server_that_only_continues() {
        let completions = RemoteSettings {
            api: Api::Completions,
            ..RemoteSettings::default()
        };
        let (path, json) = written(completions, &chat());
        assert_eq!(path, "/completions");
        assert_eq!(json["prompt"], "User: Hi.\n\nAssistant:");
        assert_eq!(json["stop"], json!(["\n\nUser:"]));
    }

    #[test]
    fn constraints_take_the_form_that_is_set_or_are_refused() {
        let schema = json!({"type": "object"});
        let choices = Constraint::Choices(vec!["yes".into()]);
        let constrained = |constraints, constraint: &Constraint| {
            let mut request = chat();
            request.constraint = Some(constraint.clone());
            let settings = RemoteSettings {
                constraints,
                ..RemoteSettings::default()
            };
            body(&identity(settings), &request, false).map(|body| body.json)
        };
        let json_schema = Constraint::JsonSchema(schema.clone());
        let written = constrained(Constraints::JsonSchema, &json_schema).unwrap();
        assert_eq!(written["response_format"]["json_schema"]["schema"], schema);
        let written = constrained(Constraints::Guided, &choices).unwrap();
        assert_eq!(written["guided_choice"], json!(["yes"]));
        for (constraints, constraint) in [
            (Constraints::None, &json_schema),
            (Constraints::JsonSchema, &choices),
        ] {
            let Err(error) = constrained(constraints, constraint) else {
                panic!("{constraint:?} is taken");
            };
            assert!(error.to_string().contains("constraints of"), "{error}");
            let mut request = chat();
            request.constraint = Some(constraint.clone());
            request.constraint_may_lapse = true;
            let settings = RemoteSettings {
                constraints,
                ..RemoteSettings::default()
            };
            let free = body(&identity(settings), &request, false).unwrap().json;
            request.constraint = None;
            let settings = RemoteSettings::default();
            assert_eq!(
                free,
                body(&identity(settings), &request, false).unwrap().json
            );
        }
    }
}
