//! The workflow that the tests run on the small model.

/// Every stage, in a few seconds.
pub(crate) const TINY: &str = "\
name: tiny-loop
seed: 7
model: tiny
seeds: seeds-en
held_out: heldout-en
rounds: 2
mix: {human: 0.3, generated: 1.0, replay: 0.5}
stages:
  generate:
    target: 12
    temperature: 0.9
    top_p: 0.95
    max_tokens: 160
    human_examples: 6
    generated_examples: 2
    batch: 6
    max_requests: 240
  filter:
    chain:
      - exact
      - rouge_l: {threshold: 0.7}
      - rules
      - plugin: {name: form}
  respond:
    batch: 8
    max_input_tokens: 32
    max_tokens: 48
  validate:
    chain:
      - rules
      - plugin: {name: repetition}
  train:
    method: lora
    r: 4
    lora_alpha: 8
    learning_rate: 5.0e-3
    batch_size: 4
    max_length: 192
    checkpoint_steps: 2
  evaluate:
    max_tokens: 24
    batch: 20
  promote:
    min_diversity: 0.1
";

/// The stages that judge records, whose verdicts are stored one by one.
pub(crate) const STAGES: [&str; 7] = [
    "generate", "filter", "respond", "validate", "train", "evaluate", "promote",
];
