//! What chat and plain completions have in common: JSON fields as the gRPC interface's messages.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use autodidact_domain::{GenerateRequest, ModelRef};
use autodidact_proto::v1;
use autodidact_proto::v1::generate_request::{Constraint, Prompt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::answer::{Kind, Shape};
use super::fields::Fields;
use crate::convert;

/// OpenAI's bounds of a bias; the lower one forbids a token.
const BIAS_BOUND: f32 = 100.0;
/// OpenAI's highest temperature.
const MAX_TEMPERATURE: f32 = 2.0;
/// The most completions of one call, those of all its prompts together.
const MAX_COMPLETIONS: usize = 64;

/// A call for completions, read and checked.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) shape: Shape,
    pub(super) model: ModelRef,
    /// The completions of the first prompt, then those of the next.
    pub(super) requests: Vec<GenerateRequest>,
    pub(super) prompts: usize,
    pub(super) is_streamed: bool,
    pub(super) includes_usage: bool,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Deserialize)]
struct NamedSchema {
    schema: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StructuredOutputs {
    choice: Option<Vec<String>>,
    regex: Option<String>,
    json: Option<Value>,
}

/// Names a base and the adapter on it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) base: String,
    pub(super) adapter: Option<String>,
}

impl Named {
    pub(super) fn parse(name: &str) -> Self {
        match name.split_once(':') {
            Some((base, adapter)) => Self {
                base: base.to_string(),
                adapter: Some(adapter.to_string()),
            },
            None => Self {
                base: name.to_string(),
                adapter: None,
            },
        }
    }
}

/// Reads the fields that both kinds of completions have, and refuses those that neither has.
pub(super) fn read(
    mut fields: Fields,
    kind: Kind,
    prompts: Vec<Prompt>,
    max_tokens: u32,
    logprobs: Option<u32>,
) -> Result<Wish, ApiError> {
    let asked: String = fields.require("model")?;
    let Named { base, adapter } = Named::parse(&asked);
    let sampling = sampling(&mut fields, max_tokens)?;
    let constraint = constraint(&mut fields)?;
    let n: Option<u32> = fields.take("n")?;
    if n == Some(0) {
        return Err(ApiError::field("n", "expected 1 or more, found 0"));
    }
    let completions = n.unwrap_or(1);
    let is_streamed = fields.take("stream")?.unwrap_or(false);
    let options: StreamOptions = fields.take("stream_options")?.unwrap_or_default();
    fields.finish()?;
    let count = prompts.len();
    if count.saturating_mul(completions as usize) > MAX_COMPLETIONS {
        return Err(ApiError::bad_request(format!(
            "one call gives at most {MAX_COMPLETIONS} completions, and this one asks for {completions} of each of {count} prompts"
        )));
    }
    let mut model = None;
    let mut requests = Vec::with_capacity(count * completions as usize);
    for prompt in prompts {
        let request = v1::GenerateRequest {
            model: base.clone(),
            adapter: adapter.clone(),
            prompt: Some(prompt),
            sampling: Some(sampling.clone()),
            constraint: constraint.clone(),
            logprobs,
            completions,
        };
        let (named, read) = convert::generate_requests(request)?;
        model = Some(named);
        requests.extend(read);
    }
    Ok(Wish {
        shape: Shape::new(kind, asked),
        model: model.ok_or_else(|| ApiError::field("prompt", "there is none"))?,
        requests,
        prompts: count,
        is_streamed,
        includes_usage: options.include_usage,
    })
}

fn sampling(fields: &mut Fields, max_tokens: u32) -> Result<v1::Sampling, ApiError> {
    let temperature: f32 = fields.take("temperature")?.unwrap_or(1.0);
    if !(0.0..=MAX_TEMPERATURE).contains(&temperature) {
        return Err(ApiError::field(
            "temperature",
            format!("expected 0 to {MAX_TEMPERATURE}, found {temperature}"),
        ));
    }
    let seed: Option<i64> = fields.take("seed")?;
    Ok(v1::Sampling {
        temperature: Some(temperature),
        top_k: fields.take("top_k")?,
        top_p: fields.take("top_p")?,
        min_p: fields.take("min_p")?,
        repetition_penalty: fields.take("repetition_penalty")?,
        presence_penalty: fields.take("presence_penalty")?,
        frequency_penalty: fields.take("frequency_penalty")?,
        logit_bias: biases(fields.take("logit_bias")?.unwrap_or_default())?,
        max_tokens: Some(max_tokens),
        min_tokens: fields.take("min_tokens")?,
        stop: fields
            .take("stop")?
            .map(OneOrMany::into_vec)
            .unwrap_or_default(),
        seed: Some(seed.map_or_else(arbitrary, i64::cast_unsigned)),
    })
}

fn biases(asked: BTreeMap<String, f32>) -> Result<BTreeMap<u32, f32>, ApiError> {
    let bias = |(token, bias): (String, f32)| {
        let fault = |found: &dyn std::fmt::Display| {
            ApiError::field(
                "logit_bias",
                format!("expected token ids with -{BIAS_BOUND} to {BIAS_BOUND}, found {found}"),
            )
        };
        let id: u32 = token.parse().map_err(|_| fault(&token))?;
        match bias {
            bias if !(-BIAS_BOUND..=BIAS_BOUND).contains(&bias) => Err(fault(&bias)),
            bias if bias == -BIAS_BOUND => Ok((id, f32::NEG_INFINITY)),
            bias => Ok((id, bias)),
        }
    };
    asked.into_iter().map(bias).collect()
}

/// Reads `response_format`, and the fields by which vLLM and SGLang take the other forms.
fn constraint(fields: &mut Fields) -> Result<Option<Constraint>, ApiError> {
    let mut found = Vec::new();
    let choices = |texts| Constraint::Choices(v1::Choices { texts });
    let schema = |schema: Value| Constraint::JsonSchema(schema.to_string());
    match fields.take("response_format")? {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => found.push(schema(json!({"type": "object"}))),
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            found.push(schema(json_schema.schema.unwrap_or_else(|| json!({}))));
        }
    }
    found.extend(fields.take("guided_choice")?.map(choices));
    found.extend(fields.take("guided_regex")?.map(Constraint::Regex));
    found.extend(fields.take("guided_json")?.map(schema));
    if let Some(outputs) = fields.take::<StructuredOutputs>("structured_outputs")? {
        found.extend(outputs.choice.map(choices));
        found.extend(outputs.regex.map(Constraint::Regex));
        found.extend(outputs.json.map(schema));
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(ApiError::field(
            "response_format",
            "a text has one form: give response_format, one of the guided_ fields or one of structured_outputs",
        )),
    }
}

/// Makes a number that nobody chose, for calls without a seed and for names.
pub(super) fn arbitrary() -> u64 {
    RandomState::new().build_hasher().finish()
}
