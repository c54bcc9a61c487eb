//! A checked workflow as a message, every default set.

use autodidact_domain::WorkflowSpec;
use autodidact_domain::training::TrainOptions;
use autodidact_domain::workflow::{
    ChainRule, EvaluateSpec, FilterSpec, GenerateSpec, Mix, OnPluginError, PromoteSpec,
    RespondSpec, RulesSpec, Stages, TrainSpec, ValidateSpec,
};
use autodidact_proto::v1;
use autodidact_proto::v1::chain_rule::Rule;

pub(crate) fn workflow_spec(spec: &WorkflowSpec) -> v1::WorkflowSpec {
    let WorkflowSpec {
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
    v1::WorkflowSpec {
        name: Some(name.to_string()),
        seed: Some(*seed),
        languages: languages
            .iter()
            .map(|language| language.code().to_string())
            .collect(),
        rounds: Some(*rounds),
        model: Some(model.to_string()),
        seeds: seeds.as_ref().map(ToString::to_string),
        held_out: held_out.as_ref().map(ToString::to_string),
        mix: Some(self::mix(mix)),
        stages: Some(self::stages(stages)),
        on_drop: on_drop.as_ref().map(ToString::to_string),
    }
}

fn mix(mix: &Mix) -> v1::Mix {
    let Mix {
        human,
        generated,
        replay,
    } = *mix;
    v1::Mix {
        human: Some(human),
        generated: Some(generated),
        replay: Some(replay),
    }
}

fn stages(stages: &Stages) -> v1::Stages {
    let Stages {
        generate,
        filter,
        respond,
        validate,
        train,
        evaluate,
        promote,
    } = stages;
    v1::Stages {
        generate: generate.as_ref().map(self::generate),
        filter: filter.as_ref().map(|FilterSpec { chain }| v1::FilterSpec {
            chain: self::chain(chain),
        }),
        respond: respond.as_ref().map(self::respond),
        validate: validate
            .as_ref()
            .map(|ValidateSpec { chain }| v1::ValidateSpec {
                chain: self::chain(chain),
            }),
        train: train.as_ref().map(self::train),
        evaluate: evaluate.as_ref().map(self::evaluate),
        promote: promote
            .as_ref()
            .map(|PromoteSpec { min_diversity }| v1::PromoteSpec {
                min_diversity: Some(*min_diversity),
            }),
    }
}

fn generate(spec: &GenerateSpec) -> v1::GenerateSpec {
    v1::GenerateSpec {
        target: Some(spec.target),
        template: Some(spec.template.clone()),
        temperature: Some(spec.temperature),
        top_p: Some(spec.top_p),
        top_k: Some(spec.top_k),
        presence_penalty: Some(spec.presence_penalty),
        max_tokens: Some(spec.max_tokens),
        human_examples: Some(spec.human_examples),
        generated_examples: Some(spec.generated_examples),
        max_requests: Some(spec.max_requests),
        batch: Some(spec.batch),
    }
}

fn chain(chain: &[ChainRule]) -> Vec<v1::ChainRule> {
    let rule = |rule: &ChainRule| match rule {
        ChainRule::Exact => Rule::Exact(v1::ExactRule {}),
        ChainRule::RougeL { threshold } => Rule::RougeL(v1::RougeLRule {
            threshold: Some(*threshold),
        }),
        ChainRule::Rules(rules) => Rule::Rules(text_rules(rules)),
        ChainRule::Plugin {
            name,
            config,
            on_error,
        } => Rule::Plugin(v1::PluginRule {
            name: Some(name.clone()),
            config: Some(to_struct(config)),
            on_error: Some(self::on_error(*on_error).into()),
        }),
    };
    chain
        .iter()
        .map(|link| v1::ChainRule {
            rule: Some(rule(link)),
        })
        .collect()
}

fn text_rules(rules: &RulesSpec) -> v1::TextRules {
    let RulesSpec {
        min_tokens_en,
        max_tokens_en,
        min_tokens_zh,
        max_tokens_zh,
        blocked_words,
    } = rules;
    v1::TextRules {
        min_tokens_en: Some(*min_tokens_en),
        max_tokens_en: Some(*max_tokens_en),
        min_tokens_zh: Some(*min_tokens_zh),
        max_tokens_zh: Some(*max_tokens_zh),
        blocked_words: blocked_words.clone(),
    }
}

fn on_error(on_error: OnPluginError) -> v1::OnPluginError {
    match on_error {
        OnPluginError::Drop => v1::OnPluginError::Drop,
        OnPluginError::Keep => v1::OnPluginError::Keep,
        OnPluginError::Stop => v1::OnPluginError::Stop,
    }
}

fn respond(spec: &RespondSpec) -> v1::RespondSpec {
    v1::RespondSpec {
        input_temperature: Some(spec.input_temperature),
        temperature: Some(spec.temperature),
        top_p: Some(spec.top_p),
        repetition_penalty: Some(spec.repetition_penalty),
        max_input_tokens: Some(spec.max_input_tokens),
        max_tokens: Some(spec.max_tokens),
        batch: Some(spec.batch),
    }
}

fn train(spec: &TrainSpec) -> v1::TrainSpec {
    let TrainSpec { method, options } = spec;
    let TrainOptions {
        r,
        lora_alpha,
        lora_dropout,
        target_modules,
        learning_rate,
        weight_decay,
        warmup_ratio,
        max_grad_norm,
        epochs,
        batch_size,
        max_length,
        checkpoint_steps,
    } = options;
    v1::TrainSpec {
        method: Some(method.clone()),
        r: Some(*r),
        lora_alpha: Some(*lora_alpha),
        lora_dropout: Some(*lora_dropout),
        target_modules: target_modules.clone(),
        learning_rate: Some(*learning_rate),
        weight_decay: Some(*weight_decay),
        warmup_ratio: Some(*warmup_ratio),
        max_grad_norm: Some(*max_grad_norm),
        epochs: Some(*epochs),
        batch_size: Some(*batch_size),
        max_length: Some(*max_length),
        checkpoint_steps: Some(*checkpoint_steps),
    }
}

fn evaluate(spec: &EvaluateSpec) -> v1::EvaluateSpec {
    let EvaluateSpec { max_tokens, batch } = spec;
    v1::EvaluateSpec {
        max_tokens: Some(*max_tokens),
        batch: Some(*batch),
    }
}

/// Writes a JSON object as the well-known `Struct`; anything else, which the parser never makes, as an empty one.
fn to_struct(json: &serde_json::Value) -> prost_types::Struct {
    let fields = json
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), to_value(value)));
    prost_types::Struct {
        fields: fields.collect(),
    }
}

fn to_value(json: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => Kind::StringValue(value.clone()),
        serde_json::Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(to_value).collect(),
        }),
        serde_json::Value::Object(_) => Kind::StructValue(to_struct(json)),
    };
    prost_types::Value { kind: Some(kind) }
}
