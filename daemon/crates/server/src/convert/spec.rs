//! A workflow as a message and as the text of a workflow file. Names and nesting are the same in all three, so JSON carries
//! one into the other, and a new field needs no line here.

use autodidact_domain::WorkflowSpec;
use autodidact_proto::{json, v1};
use serde_json::Value;

/// Writes a checked workflow as a message, every default set.
pub(crate) fn workflow_spec(spec: &WorkflowSpec) -> v1::WorkflowSpec {
    let value = serde_json::to_value(spec).expect("text keys and plain values always serialise");
    json::read("WorkflowSpec", &value)
        .expect("a test holds the names of the message and of the domain equal")
}

/// Writes a message as the text of a workflow file, so that one parser checks both. Only set fields are written.
///
/// Lines of faults mean nothing then, and are cleared by the caller.
pub(crate) fn spec_text(spec: &v1::WorkflowSpec) -> String {
    let mut value = json::of("WorkflowSpec", spec);
    drop_empty_lists(&mut value);
    // Pretty printing puts a blank after every colon, as YAML likes it.
    serde_json::to_string_pretty(&value).expect("text keys and plain values always serialise")
}

/// Protobuf knows no list that is not set: an empty one takes the default.
fn drop_empty_lists(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|name, value| {
            if name != "config" {
                drop_empty_lists(value);
            }
            !matches!(value, Value::Array(items) if items.is_empty())
        });
    }
}

#[cfg(test)]
mod tests {
    use autodidact_flow::spec::parse_workflow;
    use autodidact_proto::v1::chain_rule::Rule;
    use prost::Message;

    use super::*;

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
  generate: {target: 11, template: custom, custom_template: {style: chat, en: {request: "{examples}{next}", example: "{instruction}", label: "[{kind}]", guidance: "{kind}", stop: ["x"]}, zh: {request: "{examples}", example: "{instruction}"}}, quotas: [{language: en, task_type: code, topic: games, share: 2.5, temperature: 0.25}, {share: 1.0}], evolve: {share: 0.25, growth: 0.125}, temperature: 0.7, top_p: 0.9, top_k: 5, presence_penalty: 0.3, max_tokens: 99, min_tokens: 33, human_examples: 3, generated_examples: 1, max_requests: 44, batch: 4, model: far}
  filter:
    chain:
      - exact
      - rouge_l: {threshold: 0.65}
      - rules: {min_tokens_en: 5, max_tokens_en: 60, min_tokens_zh: 6, max_tokens_zh: 70, blocked_words: ["图片", "a: b"], sensitive_words: [赌博], except: [vague, repetition]}
      - plugin: {name: form, config: {limit: 3, share: 0.5, deep: {list: [1, "x", null, true]}}, on_error: keep}
      - score: {least: 4, model: far}
      - embedding: {threshold: 0.75, model: encoder}
      - perplexity: {most: 99.5, model: other}
      - diversity: {method: k_center, share: 0.5, max_task_type_share: 0.25, max_topic_share: 0.125}
  respond: {instances: 3, label_temperature: 0.4, temperatures: {writing: 0.75, code: 0.25}, input_temperature: 0.6, temperature: 0.1, top_p: 0.8, repetition_penalty: 1.2, max_input_tokens: 33, max_tokens: 55, batch: 6, model: far, examples: 2, classify: true, constraint: {json_schema: {type: object, properties: {b: {type: string}, a: {type: string}}}}}
  validate: {chain: [{rules: {except: [missing_input]}}, {checks: {correct: false, except: [refusal, invalid_json]}}, {consistency: {samples: 4, temperature: 0.9, least: 0.75, agreement_rouge_l: 0.25, correct: false, model: far}}, {difficulty: {least: 0.25, most: 1.5, model: other}}, {score: {least: 2}}]}
  review: {sample: 0.25, by: doubtful, gate: {share: 0.75, confidence: 0.9}}
  train: {seeds_first: true, init_adapter: run.round-1, eval_dataset: other, eval_steps: 7, max_steps: 90, checkpoint_minutes: 1.5, save_total_limit: 3, early_stopping_patience: 2, early_stopping_threshold: 0.25, load_best_model_at_end: true, method: ia3, use_dora: true, bias: all, rank_pattern: {q_proj: 3}, alpha_pattern: {v_proj: 2.5}, feedforward_modules: [o_proj], init_ia3_weights: false, modules_to_save: [lm_head], bottleneck: houlsby, reduction_factor: 4.5, non_linearity: relu, num_virtual_tokens: 7, prompt_tuning_init: TEXT, prompt_tuning_init_text: Answer well., prefix_projection: true, encoder_hidden_size: 9, gradient_checkpointing: true, label_smoothing_factor: 0.125, r: 4, lora_alpha: 7.5, lora_dropout: 0.05, target_modules: [k_proj], learning_rate: 0.0003, weight_decay: 0.01, warmup_ratio: 0.1, max_grad_norm: 0.5, epochs: 2, batch_size: 3, max_length: 77, checkpoint_steps: 5, use_rslora: true, lr_scheduler_type: linear, warmup_steps: 6, decay_ratio: 0.25, gradient_accumulation_steps: 3, neftune_noise_alpha: 5.0}
  evaluate: {max_tokens: 22, batch: 9, judge: {model: far}, contamination: {rouge_l: 0.6, ngram_en: 11, ngram_zh: 18}}
  promote: {min_diversity: 0.4, min_diversity_ratio: 0.25}
  adapt: {strength: 1.5, max_share: 0.25, temperature_step: 0.5}
on_drop: seeds
spending_cap: 2.5
"#;

    /// Names the fields that cannot stand beside those.
    const CONTINUED: &str = r#"
name: longer
model: tiny
seeds: seeds
stages:
  train: {resume_from_checkpoint: run.round-1.step-8, validation_split: 0.25, eval_steps: 2, epochs: 4}
"#;

    #[test]
    fn a_message_says_what_its_text_says() {
        for text in [WHOLE, CONTINUED] {
            let spec = parse_workflow(text).unwrap();
            let message = workflow_spec(&spec);
            let text = spec_text(&message);
            assert_eq!(parse_workflow(&text).unwrap(), spec, "{text}");
        }
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
        let read = parse_workflow(&spec_text(&message)).unwrap();
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
        let faults = parse_workflow(&spec_text(&message)).unwrap_err();
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
        let refused = |rule| {
            let message = v1::WorkflowSpec {
                stages: Some(v1::Stages {
                    filter: Some(v1::FilterSpec {
                        chain: vec![v1::ChainRule { rule }],
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let faults = parse_workflow(&spec_text(&message)).unwrap_err();
            faults.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(refused(None).contains("stages.filter.chain[0]"));
        // The deepest that the decoder lets through must be refused in words, not by a panic.
        let deepest = (1..100).rev().find_map(|depth| {
            let mut config = prost_types::Struct::default();
            for _ in 0..depth {
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
            v1::PluginRule::decode(rule.encode_to_vec().as_slice()).ok()
        });
        let rule = deepest.expect("a shallow one is let through");
        assert!(refused(Some(Rule::Plugin(rule))).contains("deep"));
    }
}
