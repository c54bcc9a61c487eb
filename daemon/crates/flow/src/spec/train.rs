//! Reads the `train` stage: the trainer's options, and those of every method under PEFT's names.

use std::collections::BTreeMap;

use autodidact_domain::training::{BaseDtype, LrScheduler, METHODS, TrainOptions, TrainTask};
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
/// Modules of any kind, which `full` may train, and LoRA beside its updates.
const MODULES: [&str; 18] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "all-linear",
    "embed_tokens",
    "lm_head",
    "norm",
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "q_norm",
    "k_norm",
    "layernorm",
];
const BOTTLENECKS: [&str; 2] = ["pfeiffer", "houlsby"];
const NON_LINEARITIES: [&str; 2] = ["relu", "swish"];
const PROMPT_INITS: [&str; 2] = ["RANDOM", "TEXT"];
const BIASES: [&str; 3] = ["none", "lora_only", "all"];

pub(super) fn read_train(node: Node<'_>) -> TrainSpec {
    let mut fields = node.mapping("stages.train");
    let default = TrainOptions::default();
    let init_adapter = fields.parsed("init_adapter");
    let resume_from_checkpoint = fields.parsed("resume_from_checkpoint");
    let eval_dataset = fields.parsed("eval_dataset");
    let validation_split = fields.number("validation_split", 0.0..=0.9, 0.0);
    let schedulers = LrScheduler::ALL.map(LrScheduler::name);
    let scheduler = fields.choice(
        "lr_scheduler_type",
        &schedulers,
        default.lr_scheduler_type.name(),
    );
    let scheduler = LrScheduler::ALL
        .into_iter()
        .find(|one| one.name() == scheduler);
    let method = fields.choice("method", &METHODS, &default.method);
    let tasks = TrainTask::ALL.map(TrainTask::name);
    let task_type = fields.choice("task_type", &tasks, default.task_type.name());
    let task_type = TrainTask::from_name(&task_type).unwrap_or_default();
    let labels = read_labels(&mut fields, task_type);
    let dtypes = BaseDtype::ALL.map(BaseDtype::name);
    let dtype = fields.choice("dtype", &dtypes, default.dtype.name());
    let targets: &[&str] = match method.as_str() {
        "full" => &MODULES,
        _ => &LINEAR_MODULES,
    };
    let options = TrainOptions {
        method,
        task_type,
        labels,
        r: fields.small("r", 1..=1024, default.r),
        lora_alpha: fields.number("lora_alpha", 0.001..=65536.0, f64::from(default.lora_alpha))
            as f32,
        use_rslora: fields.flag("use_rslora", default.use_rslora),
        lora_dropout: fields.number("lora_dropout", 0.0..=0.99, f64::from(default.lora_dropout))
            as f32,
        use_dora: fields.flag("use_dora", default.use_dora),
        bias: fields.choice("bias", &BIASES, &default.bias),
        target_modules: read_modules(&mut fields, "target_modules", targets, "the method's"),
        modules_to_save: read_modules(&mut fields, "modules_to_save", &MODULES, "none"),
        rank_pattern: read_pattern(&mut fields, "rank_pattern", |node, path| {
            Some(node.integer(path, 1..=1024)? as u32)
        }),
        alpha_pattern: read_pattern(&mut fields, "alpha_pattern", |node, path| {
            Some(node.number(path, 0.001..=65536.0)? as f32)
        }),
        feedforward_modules: read_modules(
            &mut fields,
            "feedforward_modules",
            &LINEAR_MODULES,
            "down_proj where it is a target",
        ),
        init_ia3_weights: fields.flag("init_ia3_weights", default.init_ia3_weights),
        bottleneck: fields.choice("bottleneck", &BOTTLENECKS, &default.bottleneck),
        reduction_factor: fields.number(
            "reduction_factor",
            1.0..=65536.0,
            f64::from(default.reduction_factor),
        ) as f32,
        non_linearity: read_non_linearity(&mut fields),
        num_virtual_tokens: fields.small(
            "num_virtual_tokens",
            1..=4096,
            default.num_virtual_tokens,
        ),
        prompt_tuning_init: fields.choice(
            "prompt_tuning_init",
            &PROMPT_INITS,
            &default.prompt_tuning_init,
        ),
        prompt_tuning_init_text: fields
            .text("prompt_tuning_init_text", "the text to begin with")
            .unwrap_or_default(),
        prefix_projection: fields.flag("prefix_projection", default.prefix_projection),
        encoder_hidden_size: fields.small(
            "encoder_hidden_size",
            0..=65_536,
            default.encoder_hidden_size,
        ),
        learning_rate: fields.number("learning_rate", 1e-9..=10.0, default.learning_rate),
        weight_decay: fields.number("weight_decay", 0.0..=10.0, default.weight_decay),
        lr_scheduler_type: scheduler.unwrap_or_default(),
        warmup_ratio: fields.number("warmup_ratio", 0.0..=1.0, default.warmup_ratio),
        warmup_steps: fields.small("warmup_steps", 0..=1_000_000, default.warmup_steps),
        decay_ratio: fields.number("decay_ratio", 0.0..=1.0, default.decay_ratio),
        max_grad_norm: fields.number("max_grad_norm", 0.0..=1e6, default.max_grad_norm),
        epochs: fields.small("epochs", 1..=1000, default.epochs),
        max_steps: fields.small("max_steps", 0..=100_000_000, default.max_steps),
        batch_size: fields.small("batch_size", 1..=4096, default.batch_size),
        gradient_accumulation_steps: fields.small(
            "gradient_accumulation_steps",
            1..=4096,
            default.gradient_accumulation_steps,
        ),
        group_by_length: fields.flag("group_by_length", default.group_by_length),
        dtype: BaseDtype::from_name(&dtype).unwrap_or_default(),
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
        checkpoint_minutes: fields.number(
            "checkpoint_minutes",
            0.0..=10_080.0,
            default.checkpoint_minutes,
        ),
        save_total_limit: fields.small("save_total_limit", 0..=1000, default.save_total_limit),
        eval_steps: fields.small("eval_steps", 0..=1_000_000, default.eval_steps),
        early_stopping_patience: fields.small(
            "early_stopping_patience",
            0..=1000,
            default.early_stopping_patience,
        ),
        early_stopping_threshold: fields.number(
            "early_stopping_threshold",
            0.0..=1000.0,
            default.early_stopping_threshold,
        ),
        load_best_model_at_end: fields
            .flag("load_best_model_at_end", default.load_best_model_at_end),
    };
    let seeds_first = fields.flag("seeds_first", false);
    fields.finish();
    let spec = TrainSpec {
        seeds_first,
        init_adapter,
        resume_from_checkpoint,
        eval_dataset,
        validation_split,
        options,
    };
    check_together(&spec, node);
    spec
}

/// Checks what the fields need of each other.
fn check_together(spec: &TrainSpec, node: Node<'_>) {
    let fault = |field: &str, message: &str, expected: &str| {
        node.fault(&format!("stages.train.{field}"), message, expected);
    };
    let (evaluates, splits) = (spec.options.eval_steps > 0, spec.validation_split > 0.0);
    match (evaluates, spec.eval_dataset.is_some(), splits) {
        (true, false, false) => fault(
            "eval_steps",
            "nothing to evaluate on",
            "validation_split, the share of the examples that is held out for it, or eval_dataset beside it",
        ),
        (true, true, true) => fault(
            "validation_split",
            "eval_dataset is what is evaluated on",
            "one of the two",
        ),
        (false, true, _) => fault(
            "eval_dataset",
            "it is never evaluated on",
            "eval_steps beside it",
        ),
        (false, _, true) => fault(
            "validation_split",
            "what it holds out is never evaluated on",
            "eval_steps beside it",
        ),
        _ => {}
    }
    if spec.seeds_first && spec.options.task_type.has_head() {
        fault(
            "seeds_first",
            "a model with a head of labels writes no instructions",
            "task_type CAUSAL_LM beside it",
        );
    }
    if spec.seeds_first && spec.resume_from_checkpoint.is_some() {
        fault(
            "seeds_first",
            "resume_from_checkpoint goes on with a run that has begun",
            "one of the two",
        );
    }
    if spec.init_adapter.is_some() && spec.resume_from_checkpoint.is_some() {
        fault(
            "resume_from_checkpoint",
            "init_adapter begins a run anew, with an optimizer of its own",
            "one of the two",
        );
    }
}

/// Reads the labels of a task with a head; none where they are to be found in the data.
fn read_labels(fields: &mut Fields<'_>, task: TrainTask) -> Vec<String> {
    const NAME: &str = "labels";
    let path = fields.path(NAME);
    let expected = "a list of the labels of SEQ_CLS or TOKEN_CLS, in the order of their numbers";
    fields.ask(NAME, expected, Some("those of the data, sorted".into()));
    let Some(node) = fields.take(NAME) else {
        return Vec::new();
    };
    if !task.has_head() {
        node.fault(
            &path,
            "a model that continues texts has no labels",
            "task_type SEQ_CLS or TOKEN_CLS beside them",
        );
        return Vec::new();
    }
    let mut labels = Vec::new();
    for (i, item) in node.items(&path).into_iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(label) = item.text(&path) else {
            continue;
        };
        match label {
            label if label.trim().is_empty() => item.fault(&path, "no name", "a label's name"),
            label if labels.contains(&label) => {
                item.fault(&path, "named twice", "each label once");
            }
            label => labels.push(label),
        }
    }
    if labels.len() < 2 {
        node.fault(&path, "nothing to tell apart", "at least two labels");
    }
    labels
}

/// Reads names of modules, paths and patterns: a list, or one text. None where nothing is given.
fn read_modules(
    fields: &mut Fields<'_>,
    name: &'static str,
    known: &[&str],
    default: &str,
) -> Vec<String> {
    let path = fields.path(name);
    let expected = format!(
        "a list with some of {}, or a pattern of whole paths",
        known.join(", ")
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
        node.fault(&path, "no module", "at least one module");
    }
    let mut modules = Vec::new();
    for (item, path) in items {
        let Some(module) = item.text(&path) else {
            continue;
        };
        // A path or a pattern is for the engine to find, which knows the model.
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if module.chars().all(is_word) && !known.contains(&module.as_str()) {
            let what = match known.contains(&"norm") {
                true => "module",
                false => "linear layer",
            };
            item.fault_name(&path, what, &module, known);
        } else if modules.contains(&module) {
            item.fault(&path, "named twice", "each module once");
        } else {
            modules.push(module);
        }
    }
    modules
}

/// Reads the activation of bottlenecks; none where the form's own is taken.
fn read_non_linearity(fields: &mut Fields<'_>) -> String {
    const NAME: &str = "non_linearity";
    let path = fields.path(NAME);
    let expected = NON_LINEARITIES.join(" or ");
    fields.ask(NAME, &expected, Some("the form's own".to_string()));
    let Some(node) = fields.take(NAME) else {
        return String::new();
    };
    match node.text(&path) {
        Some(name) if !name.is_empty() && !NON_LINEARITIES.contains(&name.as_str()) => {
            node.fault_name(&path, "activation", &name, &NON_LINEARITIES);
            String::new()
        }
        name => name.unwrap_or_default(),
    }
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
