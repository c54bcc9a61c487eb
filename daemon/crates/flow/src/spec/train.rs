//! Reads the `train` stage: the trainer's options, and those of every method under PEFT's names.

use std::collections::BTreeMap;

use autodidact_domain::training::{LrScheduler, METHODS, TrainOptions};
use autodidact_domain::workflow::TrainSpec;

use super::reader::{Fields, Node};

/// The linear layers of a decoder block that a method may act on, by PEFT's names, and all of them.
const LINEAR_MODULES: [&str; 8] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "all-linear",
];
const BIASES: [&str; 3] = ["none", "lora_only", "all"];

pub(super) fn read_train(node: Node<'_>) -> TrainSpec {
    let mut fields = node.mapping("stages.train");
    let default = TrainOptions::default();
    let init_adapter = fields.parsed("init_adapter");
    let schedulers = LrScheduler::ALL.map(LrScheduler::name);
    let scheduler = fields.choice(
        "lr_scheduler_type",
        &schedulers,
        default.lr_scheduler_type.name(),
    );
    let scheduler = LrScheduler::ALL
        .into_iter()
        .find(|one| one.name() == scheduler);
    let options = TrainOptions {
        method: fields.choice("method", &METHODS, &default.method),
        r: fields.small("r", 1..=1024, default.r),
        lora_alpha: fields.number("lora_alpha", 0.001..=65536.0, f64::from(default.lora_alpha))
            as f32,
        use_rslora: fields.flag("use_rslora", default.use_rslora),
        lora_dropout: fields.number("lora_dropout", 0.0..=0.99, f64::from(default.lora_dropout))
            as f32,
        use_dora: fields.flag("use_dora", default.use_dora),
        bias: fields.choice("bias", &BIASES, &default.bias),
        target_modules: read_modules(&mut fields, "target_modules", "the method's"),
        rank_pattern: read_pattern(&mut fields, "rank_pattern", |node, path| {
            Some(node.integer(path, 1..=1024)? as u32)
        }),
        alpha_pattern: read_pattern(&mut fields, "alpha_pattern", |node, path| {
            Some(node.number(path, 0.001..=65536.0)? as f32)
        }),
        feedforward_modules: read_modules(
            &mut fields,
            "feedforward_modules",
            "down_proj where it is a target",
        ),
        init_ia3_weights: fields.flag("init_ia3_weights", default.init_ia3_weights),
        learning_rate: fields.number("learning_rate", 1e-9..=10.0, default.learning_rate),
        weight_decay: fields.number("weight_decay", 0.0..=10.0, default.weight_decay),
        lr_scheduler_type: scheduler.unwrap_or_default(),
        warmup_ratio: fields.number("warmup_ratio", 0.0..=1.0, default.warmup_ratio),
        warmup_steps: fields.small("warmup_steps", 0..=1_000_000, default.warmup_steps),
        decay_ratio: fields.number("decay_ratio", 0.0..=1.0, default.decay_ratio),
        max_grad_norm: fields.number("max_grad_norm", 0.0..=1e6, default.max_grad_norm),
        epochs: fields.small("epochs", 1..=1000, default.epochs),
        batch_size: fields.small("batch_size", 1..=4096, default.batch_size),
        gradient_accumulation_steps: fields.small(
            "gradient_accumulation_steps",
            1..=4096,
            default.gradient_accumulation_steps,
        ),
        gradient_checkpointing: fields
            .flag("gradient_checkpointing", default.gradient_checkpointing),
        label_smoothing_factor: fields.number(
            "label_smoothing_factor",
            0.0..=1.0,
            default.label_smoothing_factor,
        ),
        neftune_noise_alpha: fields.number(
            "neftune_noise_alpha",
            0.0..=1000.0,
            default.neftune_noise_alpha,
        ),
        max_length: fields.small("max_length", 8..=131_072, default.max_length),
        checkpoint_steps: fields.small("checkpoint_steps", 1..=100_000, default.checkpoint_steps),
    };
    fields.finish();
    TrainSpec {
        init_adapter,
        options,
    }
}

/// Reads names of linear layers, paths and patterns: a list, or one text. None where nothing is given.
fn read_modules(fields: &mut Fields<'_>, name: &'static str, default: &str) -> Vec<String> {
    let path = fields.path(name);
    let expected = format!(
        "a list with some of {}, or a pattern of whole paths",
        LINEAR_MODULES.join(", ")
    );
    fields.ask(name, &expected, Some(default.to_string()));
    let Some(node) = fields.take(name) else {
        return Vec::new();
    };
    let items = match node.is_text() {
        true => vec![(node, path.clone())],
        false => {
            let items = node.items(&path).into_iter().enumerate();
            items
                .map(|(i, item)| (item, format!("{path}[{i}]")))
                .collect()
        }
    };
    if items.is_empty() {
        node.fault(&path, "no layer", "at least one linear layer");
    }
    let mut modules = Vec::new();
    for (item, path) in items {
        let Some(module) = item.text(&path) else {
            continue;
        };
        // A path or a pattern is for the engine to find, which knows the model.
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if module.chars().all(is_word) && !LINEAR_MODULES.contains(&module.as_str()) {
            item.fault_name(&path, "linear layer", &module, &LINEAR_MODULES);
        } else if modules.contains(&module) {
            item.fault(&path, "named twice", "each layer once");
        } else {
            modules.push(module);
        }
    }
    modules
}

/// Reads a setting by patterns of layers' paths.
fn read_pattern<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    read: impl Fn(Node<'_>, &str) -> Option<T>,
) -> BTreeMap<String, T> {
    let path = fields.path(name);
    fields.ask(name, "numbers by the ends of layers' paths", None);
    let entries = fields.take(name).map(|node| node.entries(&path));
    let entries = entries.into_iter().flatten();
    let read = |(key, node)| {
        let value = read(node, &format!("{path}.{key}"))?;
        Some((key, value))
    };
    entries.filter_map(read).collect()
}
