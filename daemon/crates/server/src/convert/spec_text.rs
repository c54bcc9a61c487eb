//! A workflow message as the text of a workflow file, so that one parser checks both.
//!
//! Only set fields are written; JSON is YAML. Lines of faults mean nothing then, and are cleared by the caller.

use autodidact_proto::v1;
use autodidact_proto::v1::chain_rule::Rule;
use serde_json::{Map, Value};
use tonic::Status;

use crate::status::bad_field;

/// The deepest nesting in a plugin's configuration; the decoder allows 100, the parser less than this.
const MAX_CONFIG_DEPTH: usize = 64;

/// Writes a workflow file.
pub(crate) fn spec_text(spec: &v1::WorkflowSpec) -> Result<String, Status> {
    let v1::WorkflowSpec {
        name,
        seed,
        languages,
        rounds,
        model,
        seeds,
        held_out,
        mix,
        stages,
        on_drop,
    } = spec;
    let mut fields = Fields::default();
    fields.set("name", name.clone());
    fields.set("seed", *seed);
    fields.list("languages", languages);
    fields.set("rounds", *rounds);
    fields.set("model", model.clone());
    fields.set("seeds", seeds.clone());
    fields.set("held_out", held_out.clone());
    fields.set("mix", mix.as_ref().map(self::mix));
    fields.set("stages", stages.as_ref().map(self::stages).transpose()?);
    fields.set("on_drop", on_drop.clone());
    // Pretty printing puts a blank after every colon, as YAML likes it.
    Ok(serde_json::to_string_pretty(&Value::from(fields))
        .expect("text keys and plain values always serialise"))
}

/// The set fields of a mapping.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_string(), value.into());
        }
    }

    fn float(&mut self, name: &str, value: Option<f32>) {
        // The shortest decimal that means the same f32, as a person would write it; widened bits would show 0.69999999.
        self.set(
            name,
            value.map(|value| value.to_string().parse::<f64>().map_or(Value::Null, number)),
        );
    }

    fn double(&mut self, name: &str, value: Option<f64>) {
        self.set(name, value.map(number));
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.insert(name.to_string(), values.into());
        }
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}

/// Writes a number; one that is none becomes a text that the parser refuses by name.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Value::String(value.to_string()), Value::Number)
}

fn mix(mix: &v1::Mix) -> Fields {
    let v1::Mix {
        human,
        generated,
        replay,
    } = *mix;
    let mut fields = Fields::default();
    fields.double("human", human);
    fields.double("generated", generated);
    fields.double("replay", replay);
    fields
}

fn stages(stages: &v1::Stages) -> Result<Fields, Status> {
    let v1::Stages {
        generate,
        filter,
        respond,
        validate,
        train,
        evaluate,
        promote,
    } = stages;
    let mut fields = Fields::default();
    fields.set("generate", generate.as_ref().map(self::generate));
    fields.set(
        "filter",
        filter
            .as_ref()
            .map(|f| chain("stages.filter", &f.chain))
            .transpose()?,
    );
    fields.set("respond", respond.as_ref().map(self::respond));
    fields.set(
        "validate",
        validate
            .as_ref()
            .map(|v| chain("stages.validate", &v.chain))
            .transpose()?,
    );
    fields.set("train", train.as_ref().map(self::train));
    fields.set("evaluate", evaluate.as_ref().map(self::evaluate));
    fields.set("promote", promote.as_ref().map(self::promote));
    Ok(fields)
}

fn generate(spec: &v1::GenerateSpec) -> Fields {
    let mut fields = Fields::default();
    fields.set("target", spec.target);
    fields.set("template", spec.template.clone());
    fields.float("temperature", spec.temperature);
    fields.float("top_p", spec.top_p);
    fields.set("top_k", spec.top_k);
    fields.float("presence_penalty", spec.presence_penalty);
    fields.set("max_tokens", spec.max_tokens);
    fields.set("human_examples", spec.human_examples);
    fields.set("generated_examples", spec.generated_examples);
    fields.set("max_requests", spec.max_requests);
    fields.set("batch", spec.batch);
    fields
}

fn respond(spec: &v1::RespondSpec) -> Fields {
    let mut fields = Fields::default();
    fields.float("input_temperature", spec.input_temperature);
    fields.float("temperature", spec.temperature);
    fields.float("top_p", spec.top_p);
    fields.float("repetition_penalty", spec.repetition_penalty);
    fields.set("max_input_tokens", spec.max_input_tokens);
    fields.set("max_tokens", spec.max_tokens);
    fields.set("batch", spec.batch);
    fields
}

fn train(spec: &v1::TrainSpec) -> Fields {
    let mut fields = Fields::default();
    fields.set("method", spec.method.clone());
    fields.set("r", spec.r);
    fields.float("lora_alpha", spec.lora_alpha);
    fields.float("lora_dropout", spec.lora_dropout);
    fields.list("target_modules", &spec.target_modules);
    fields.double("learning_rate", spec.learning_rate);
    fields.double("weight_decay", spec.weight_decay);
    fields.double("warmup_ratio", spec.warmup_ratio);
    fields.double("max_grad_norm", spec.max_grad_norm);
    fields.set("epochs", spec.epochs);
    fields.set("batch_size", spec.batch_size);
    fields.set("max_length", spec.max_length);
    fields.set("checkpoint_steps", spec.checkpoint_steps);
    fields
}

fn evaluate(spec: &v1::EvaluateSpec) -> Fields {
    let mut fields = Fields::default();
    fields.set("max_tokens", spec.max_tokens);
    fields.set("batch", spec.batch);
    fields
}

fn promote(spec: &v1::PromoteSpec) -> Fields {
    let mut fields = Fields::default();
    fields.double("min_diversity", spec.min_diversity);
    fields
}

fn chain(path: &str, rules: &[v1::ChainRule]) -> Result<Fields, Status> {
    let link = |(index, link): (usize, &v1::ChainRule)| {
        let path = format!("{path}.chain[{index}]");
        let (word, options) = match &link.rule {
            None => return Err(bad_field(&path, "no rule is set")),
            Some(Rule::Exact(v1::ExactRule {})) => return Ok(Value::from("exact")),
            Some(Rule::RougeL(rule)) => {
                let mut fields = Fields::default();
                fields.double("threshold", rule.threshold);
                ("rouge_l", fields)
            }
            Some(Rule::Rules(rules)) => ("rules", text_rules(rules)),
            Some(Rule::Plugin(rule)) => ("plugin", plugin(&format!("{path}.plugin"), rule)?),
        };
        let mut fields = Fields::default();
        fields.set(word, Some(options));
        Ok(Value::from(fields))
    };
    let links = rules
        .iter()
        .enumerate()
        .map(link)
        .collect::<Result<Vec<Value>, Status>>()?;
    let mut fields = Fields::default();
    fields.set("chain", Some(links));
    Ok(fields)
}

fn text_rules(rules: &v1::TextRules) -> Fields {
    let mut fields = Fields::default();
    fields.set("min_tokens_en", rules.min_tokens_en);
    fields.set("max_tokens_en", rules.max_tokens_en);
    fields.set("min_tokens_zh", rules.min_tokens_zh);
    fields.set("max_tokens_zh", rules.max_tokens_zh);
    fields.list("blocked_words", &rules.blocked_words);
    fields
}

fn plugin(path: &str, rule: &v1::PluginRule) -> Result<Fields, Status> {
    let on_error = match rule.on_error() {
        v1::OnPluginError::Unspecified => None,
        v1::OnPluginError::Drop => Some("drop"),
        v1::OnPluginError::Keep => Some("keep"),
        v1::OnPluginError::Stop => Some("stop"),
    };
    let config = rule
        .config
        .as_ref()
        .map(|config| from_struct(config, MAX_CONFIG_DEPTH))
        .transpose();
    let mut fields = Fields::default();
    fields.set("name", rule.name.clone());
    fields.set(
        "config",
        config.map_err(|TooDeep| bad_field(&format!("{path}.config"), "nested too deep"))?,
    );
    fields.set("on_error", on_error);
    Ok(fields)
}

/// A configuration is nested deeper than it may be.
struct TooDeep;

fn from_struct(value: &prost_types::Struct, depth: usize) -> Result<Value, TooDeep> {
    let depth = depth.checked_sub(1).ok_or(TooDeep)?;
    let fields = value
        .fields
        .iter()
        .map(|(key, value)| Ok((key.clone(), from_value(value, depth)?)));
    fields
        .collect::<Result<Map<String, Value>, TooDeep>>()
        .map(Value::Object)
}

fn from_value(value: &prost_types::Value, depth: usize) -> Result<Value, TooDeep> {
    use prost_types::value::Kind;
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(value)) => whole_or_number(*value),
        Some(Kind::StringValue(value)) => Value::String(value.clone()),
        Some(Kind::StructValue(value)) => from_struct(value, depth)?,
        Some(Kind::ListValue(list)) => {
            let depth = depth.checked_sub(1).ok_or(TooDeep)?;
            Value::Array(
                list.values
                    .iter()
                    .map(|value| from_value(value, depth))
                    .collect::<Result<_, _>>()?,
            )
        }
    })
}

/// Gives whole numbers back as integers: `Struct` knows floating-point numbers alone.
fn whole_or_number(value: f64) -> Value {
    /// Up to here every whole number has an f64 of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        Value::from(value as i64)
    } else {
        number(value)
    }
}

#[cfg(test)]
mod tests {
    use autodidact_flow::spec::parse_workflow;

    use super::*;
    use crate::convert::workflow_spec;

    /// Names every field with a value that is not its default.
    const WHOLE: &str = r#"
name: every-field
seed: 7
languages: [zh, en]
rounds: 3
model: tiny
seeds: seeds
held_out: tasks
mix: {human: 0.25, generated: 0.5, replay: 0.125}
stages:
  generate: {target: 11, template: list, temperature: 0.7, top_p: 0.9, top_k: 5, presence_penalty: 0.3, max_tokens: 99, human_examples: 3, generated_examples: 1, max_requests: 44, batch: 4}
  filter:
    chain:
      - exact
      - rouge_l: {threshold: 0.65}
      - rules: {min_tokens_en: 5, max_tokens_en: 60, min_tokens_zh: 6, max_tokens_zh: 70, blocked_words: ["图片", "a: b"]}
      - plugin: {name: form, config: {limit: 3, share: 0.5, deep: {list: [1, "x", null, true]}}, on_error: keep}
  respond: {input_temperature: 0.6, temperature: 0.1, top_p: 0.8, repetition_penalty: 1.2, max_input_tokens: 33, max_tokens: 55, batch: 6}
  validate: {chain: [rules]}
  train: {method: lora, r: 4, lora_alpha: 7.5, lora_dropout: 0.05, target_modules: [k_proj], learning_rate: 0.0003, weight_decay: 0.01, warmup_ratio: 0.1, max_grad_norm: 0.5, epochs: 2, batch_size: 3, max_length: 77, checkpoint_steps: 5}
  evaluate: {max_tokens: 22, batch: 9}
  promote: {min_diversity: 0.4}
on_drop: seeds
"#;

    #[test]
    fn a_message_says_what_its_text_says() {
        let spec = parse_workflow(WHOLE).unwrap();
        let message = workflow_spec(&spec);
        let text = spec_text(&message).unwrap();
        assert_eq!(parse_workflow(&text).unwrap(), spec, "{text}");
    }

    #[test]
    fn what_is_not_set_takes_the_default() {
        let message = v1::WorkflowSpec {
            name: Some("few".into()),
            model: Some("tiny".into()),
            seeds: Some("seeds".into()),
            stages: Some(v1::Stages {
                train: Some(v1::TrainSpec::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let read = parse_workflow(&spec_text(&message).unwrap()).unwrap();
        let expected = "name: few\nmodel: tiny\nseeds: seeds\nstages:\n  train: {}\n";
        assert_eq!(read, parse_workflow(expected).unwrap());
    }

    #[test]
    fn bad_values_are_the_parsers_to_refuse() {
        let generate = v1::GenerateSpec {
            temperature: Some(f32::NAN),
            top_p: Some(3.0),
            ..Default::default()
        };
        let message = v1::WorkflowSpec {
            stages: Some(v1::Stages {
                generate: Some(generate),
                ..Default::default()
            }),
            ..Default::default()
        };
        let faults = parse_workflow(&spec_text(&message).unwrap()).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        for path in [
            "name",
            "model",
            "stages.generate.temperature",
            "stages.generate.top_p",
        ] {
            assert!(paths.contains(&path), "{path} in {paths:?}");
        }
    }

    #[test]
    fn an_empty_link_and_a_deep_configuration_are_refused() {
        let chained = |rule| v1::WorkflowSpec {
            stages: Some(v1::Stages {
                filter: Some(v1::FilterSpec {
                    chain: vec![v1::ChainRule { rule }],
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(spec_text(&chained(None)).is_err());
        let mut config = prost_types::Struct::default();
        for _ in 0..MAX_CONFIG_DEPTH {
            let value = prost_types::Value {
                kind: Some(prost_types::value::Kind::StructValue(config)),
            };
            config = prost_types::Struct {
                fields: [("x".to_string(), value)].into(),
            };
        }
        let rule = v1::PluginRule {
            config: Some(config),
            ..Default::default()
        };
        assert!(spec_text(&chained(Some(Rule::Plugin(rule)))).is_err());
    }
}
