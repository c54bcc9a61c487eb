//! What a workflow names, found and held to the versions that are there when it is submitted.

use autodidact_domain::embedding::is_encoder;
use autodidact_domain::ports::Ports;
use autodidact_domain::training::keeps_base_quantised;
use autodidact_domain::workflow::{ChainRule, ConstraintSpec, Pinned};
use autodidact_domain::{
    BaseDtype, CheckpointId, CheckpointSummary, DatasetSummary, Language, ModelSummary,
    WorkflowName, WorkflowSpec,
};

use crate::contamination::{Contamination, NAMED_PAIRS, name_pair};
use crate::labels;
use crate::plugins;
use crate::run::read_dataset;
use crate::spec::{Fault, nearest_name};

/// Finds the fault of a model that cannot generate.
fn refuse_encoder(path: &str, model: &ModelSummary) -> Option<Fault> {
    let name = model.name.as_str();
    is_encoder(&model.architecture).then(|| Fault {
        path: path.to_string(),
        message: format!(
            "{name} is an encoder ({}): it gives embeddings and cannot generate",
            model.architecture
        ),
        expected: "a model that generates".to_string(),
        found: format!("{name:?}"),
        ..Fault::default()
    })
}

/// Finds the faults of rules that need the probabilities of given texts, which servers do not tell.
fn refuse_unscored(ports: &Ports, spec: &WorkflowSpec) -> Vec<Fault> {
    let fault = |(path, rule): (String, &ChainRule)| {
        let (word, named) = match rule {
            ChainRule::Perplexity(rule) => ("perplexity", &rule.model),
            ChainRule::Difficulty(rule) => ("difficulty", &rule.model),
            _ => return None,
        };
        let name = named.as_ref().unwrap_or(&spec.model);
        let model = ports.models.get(name).ok()?;
        model.is_remote().then(|| Fault {
            path: format!("{path}.{word}.model"),
            message: format!(
                "{name} runs on a server, which does not tell how likely a given text is"
            ),
            expected: "a model on this machine".to_string(),
            found: format!("{:?}", name.as_str()),
            ..Fault::default()
        })
    };
    spec.chain_rules().filter_map(fault).collect()
}

/// Finds the faults of seeds that are held-out tasks, or have long parts of them: one for all of them, and one for each of the first
/// pairs.
fn refuse_overlap(
    ports: &Ports,
    spec: &WorkflowSpec,
    seeds: Option<&DatasetSummary>,
    held_out: Option<&DatasetSummary>,
) -> Vec<Fault> {
    let (Some(seeds), Some(held_out)) = (seeds, held_out) else {
        return Vec::new();
    };
    if seeds.digest == held_out.digest && spec.stages.evaluate.is_some() {
        // That has a fault of its own.
        return Vec::new();
    }
    let fault = |message: String, expected: String, found: String| Fault {
        path: "held_out".into(),
        message,
        expected,
        found,
        ..Fault::default()
    };
    let read = |summary| read_dataset(ports, Some(summary));
    let (records, tasks) = match (read(seeds), read(held_out)) {
        (Ok(records), Ok(tasks)) => (records, tasks),
        (Err(error), _) | (_, Err(error)) => {
            let message = format!("it cannot be compared with the seeds: {error}");
            return vec![fault(message, String::new(), String::new())];
        }
    };
    let limits = spec.contamination();
    let index = Contamination::new(limits, &tasks);
    let pairs: Vec<_> = index
        .iter()
        .flat_map(|index| index.pairs(&records))
        .collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    let named = pairs.iter().take(NAMED_PAIRS);
    let named: Vec<String> = named.map(|pair| name_pair(Language::En, pair)).collect();
    let rest = match pairs.len() - named.len() {
        0 => String::new(),
        rest => format!(
            " (the first {} follow, and there are {rest} more)",
            named.len()
        ),
    };
    let summary = fault(
        format!(
            "the seeds overlap the held-out tasks, which would measure what was learnt by heart{rest}"
        ),
        format!(
            "no record of {} in {}: remove one of each pair, or set other limits in stages.evaluate.contamination (rouge_l {}, ngram_en {}, ngram_zh {})",
            held_out.name, seeds.name, limits.rouge_l, limits.ngram_en, limits.ngram_zh
        ),
        format!("{} pairs", pairs.len()),
    );
    let named = named.into_iter();
    let named = named.map(|pair| fault(pair, String::new(), String::new()));
    std::iter::once(summary).chain(named).collect()
}

/// Finds the fault of a form of answers that cannot be compiled.
fn refuse_constraint(ports: &Ports, spec: &WorkflowSpec) -> Option<Fault> {
    let constraint = spec.stages.respond.as_ref()?.constraint.as_ref()?;
    let checked = constraint
        .constraint()
        .and_then(|constraint| ports.engine.check_constraint(&constraint));
    let (field, found) = match constraint {
        ConstraintSpec::Choices(choices) => ("choices", format!("{choices:?}")),
        ConstraintSpec::Regex(regex) => ("regex", format!("{regex:?}")),
        ConstraintSpec::JsonSchema(text) => ("json_schema", text.clone()),
    };
    checked.err().map(|message| Fault {
        path: format!("stages.respond.constraint.{field}"),
        message,
        expected: "a form that llguidance can compile and that some text has".to_string(),
        found,
        ..Fault::default()
    })
}

/// Finds the fault of training options that do not fit the model.
fn refuse_training(
    ports: &Ports,
    spec: &WorkflowSpec,
    model: Option<&ModelSummary>,
) -> Option<Fault> {
    let mut options = spec.stages.train.as_ref()?.options.clone();
    if options.task_type.has_head() && options.labels.is_empty() {
        // Those of the data come when everything else is right.
        options.labels = ["first", "second"].map(String::from).to_vec();
    }
    let message = ports.engine.check_training(model?, &options).err()?;
    // The engine names the field first.
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    let named = message.split_once(": ");
    let named = named.filter(|(field, _)| field.chars().all(is_word));
    let (path, message) = match named {
        Some((field, rest)) => {
            let path = format!("stages.train.{field}");
            (path, rest.to_string())
        }
        None => ("stages.train".into(), message),
    };
    Some(Fault {
        path,
        message,
        expected: "options that fit the model".into(),
        found: spec.model.to_string(),
        ..Fault::default()
    })
}

/// Says what of an adapter does not fit a model; none where it is one of it.
fn misfit(ports: &Ports, model: &ModelSummary, adapter: &CheckpointSummary) -> Option<String> {
    if adapter.meta.base_digest == model.digest {
        return None;
    }
    let of_another = format!("{} is an adapter of {}", adapter.id, adapter.meta.model);
    let checkpoint = ports.checkpoints.load(&adapter.id).ok();
    let checked = checkpoint.map(|found| ports.engine.check_adapter(model, &found));
    match checked {
        Some(Err(detail)) => Some(format!("{}: {detail}", adapter.id)),
        _ => Some(of_another),
    }
}

/// Finds everything a workflow names, so that it stays on these versions; every missing thing is a fault, whose line
/// [`Places`](crate::spec::Places) find.
pub(crate) fn pin(ports: &Ports, spec: &WorkflowSpec) -> Result<Pinned, Vec<Fault>> {
    let named = spec.named_models();
    let mut faults: Vec<Fault> = named
        .iter()
        // What embeds may be an encoder, and best is one.
        .filter(|(path, _)| !path.ends_with(".embedding.model"))
        .filter_map(|(path, name)| refuse_encoder(path, &ports.models.get(name).ok()?))
        .collect();
    faults.extend(refuse_unscored(ports, spec));
    let mut missing = |path: &str, what: &str, name: &str, known: Vec<String>, how: &str| {
        faults.push(Fault {
            path: path.to_string(),
            message: format!("there is no {what} {name:?}; {how}"),
            expected: if known.is_empty() {
                format!("a {what}; there is none yet")
            } else {
                format!("one of {}", known.join(", "))
            },
            found: format!("{name:?}"),
            nearest: nearest_name(name, known.iter().map(String::as_str)),
            ..Fault::default()
        });
    };
    for (path, name) in named {
        if ports.models.get(name).is_err() {
            let known = ports.models.list().unwrap_or_default();
            missing(
                &path,
                "model",
                name.as_str(),
                known.into_iter().map(|m| m.name.to_string()).collect(),
                "`autodidact model add` registers one, [remote_models.NAME] in the configuration file names one on a server",
            );
        }
    }
    let train = spec.stages.train.as_ref();
    let starts = [
        (
            "init_adapter",
            train.and_then(|train| train.init_adapter.as_ref()),
        ),
        (
            "resume_from_checkpoint",
            train.and_then(|train| train.resume_from_checkpoint.as_ref()),
        ),
    ];
    let mut found = Vec::new();
    for (field, id) in starts {
        let Some(id) = id else { continue };
        match ports.checkpoints.get(id) {
            Ok(checkpoint) => found.push((field, checkpoint)),
            Err(_) => {
                let known = ports.checkpoints.list().unwrap_or_default().into_iter();
                missing(
                    &format!("stages.train.{field}"),
                    "checkpoint",
                    id.as_str(),
                    known.map(|checkpoint| checkpoint.id.to_string()).collect(),
                    "`autodidact checkpoint list` lists them, `autodidact model import` takes one of another tool's",
                );
            }
        }
    }
    let model = ports.models.get(&spec.model).ok();
    let mut dataset = |path: &str, name: Option<&autodidact_domain::DatasetName>| {
        let name = name?;
        let found = ports.datasets.get(name, None).ok();
        let expected_later = spec.on_drop.as_ref() == Some(name);
        if found.is_none() && !expected_later {
            let known = ports
                .datasets
                .list()
                .unwrap_or_default()
                .into_iter()
                .map(|d| d.name.to_string())
                .collect();
            missing(
                path,
                "dataset",
                name.as_str(),
                known,
                "`autodidact dataset import` makes one",
            );
        }
        found
    };
    let seeds = dataset("seeds", spec.seeds.as_ref());
    let held_out = dataset("held_out", spec.held_out.as_ref());
    let eval_dataset = train.and_then(|train| train.eval_dataset.as_ref());
    let eval_dataset = dataset("stages.train.eval_dataset", eval_dataset);
    // A run that goes on from another's end has its data, whatever came to the datasets since.
    let earlier = train.and_then(|train| train.resume_from_checkpoint.as_ref());
    let earlier = earlier.and_then(|id| pinned_by_run_of(ports, id));
    let as_earlier = |found: Option<DatasetSummary>, earlier: Option<&DatasetSummary>| match earlier
    {
        Some(earlier)
            if found
                .as_ref()
                .is_some_and(|found| found.name == earlier.name) =>
        {
            Some(earlier.clone())
        }
        _ => found,
    };
    let seeds = as_earlier(seeds, earlier.as_ref().and_then(|run| run.seeds.as_ref()));
    let eval_dataset = as_earlier(
        eval_dataset,
        earlier.as_ref().and_then(|run| run.eval_dataset.as_ref()),
    );
    if let (Some(seeds), Some(measured)) = (&seeds, &eval_dataset)
        && seeds.digest == measured.digest
    {
        faults.push(Fault {
            path: "stages.train.eval_dataset".into(),
            message: "it has the very examples that are trained on, so it would measure nothing"
                .into(),
            expected: "a dataset with other examples, or validation_split".into(),
            found: format!("{:?}", measured.name.as_str()),
            ..Fault::default()
        });
    }
    if let (Some(seeds), Some(held_out), Some(_)) = (&seeds, &held_out, &spec.stages.evaluate)
        && seeds.digest == held_out.digest
    {
        faults.push(Fault {
            path: "held_out".into(),
            message: "the held-out tasks are the seeds themselves, so they would measure nothing"
                .into(),
            expected: "a dataset with other tasks than the seeds".into(),
            found: format!("{:?}", held_out.name.as_str()),
            ..Fault::default()
        });
    }
    faults.extend(refuse_overlap(
        ports,
        spec,
        seeds.as_ref(),
        held_out.as_ref(),
    ));
    faults.extend(refuse_constraint(ports, spec));
    for (field, adapter) in &found {
        let misfit = model
            .as_ref()
            .and_then(|model| misfit(ports, model, adapter));
        if let Some(message) = misfit {
            faults.push(Fault {
                path: format!("stages.train.{field}"),
                message,
                expected: format!("an adapter of {}", spec.model),
                found: format!("{:?}", adapter.id.as_str()),
                ..Fault::default()
            });
        }
    }
    let local = model
        .as_ref()
        .filter(|model| !model.is_remote() && !is_encoder(&model.architecture));
    faults.extend(refuse_training(ports, spec, local));
    let needs_local = spec.stages.train.is_some() || spec.stages.evaluate.is_some();
    if needs_local && model.as_ref().is_some_and(ModelSummary::is_remote) {
        faults.push(Fault {
            path: "model".into(),
            message: "a remote model can only generate, and the stages train or evaluate it".into(),
            expected: "a model on this machine; a remote one may stand in stages.generate.model and stages.respond.model".into(),
            found: format!("{:?}", spec.model.as_str()),
            ..Fault::default()
        });
    }
    faults.extend(memory_fault(ports, spec, model.as_ref()));
    let (plugins, wrong) = plugins::pin(ports, spec);
    faults.extend(wrong);
    let sources = labels::sources(seeds.as_ref(), held_out.as_ref(), eval_dataset.as_ref());
    let start = found.first().map(|(_, checkpoint)| checkpoint);
    let labels = labels::resolve(ports, spec, sources, start).unwrap_or_else(|wrong| {
        faults.extend(wrong);
        Vec::new()
    });
    if faults.is_empty()
        && let Some(fault) = labels::too_few(spec, seeds.as_ref(), &labels)
    {
        faults.push(fault);
    }
    match model {
        Some(model) if faults.is_empty() => Ok(Pinned {
            seeds,
            held_out,
            eval_dataset,
            model,
            plugins,
            labels,
        }),
        _ => Err(faults),
    }
}

/// Finds what the run was given that a checkpoint was made by, where that run is known still.
fn pinned_by_run_of(ports: &Ports, id: &CheckpointId) -> Option<Pinned> {
    let (run, _) = id.as_str().rsplit_once(".round-")?;
    let summary = ports.workflows.get(&WorkflowName::new(run).ok()?).ok()?;
    Some(summary.pinned)
}

/// Finds the fault of a model that this machine will never have the memory for, so that hours of work do not end there.
///
/// What is free at the time is looked at when the model is loaded.
fn memory_fault(ports: &Ports, spec: &WorkflowSpec, model: Option<&ModelSummary>) -> Option<Fault> {
    let (model, limit) = (model?, ports.engine.memory_limit()?);
    let (weights, train) = (model.details.memory_bytes, spec.stages.train.as_ref());
    let trained = train.is_some();
    let stays_quantised = train.is_some_and(|train| keeps_base_quantised(&train.options.method));
    // Training holds the weights in f32 or bf16 beside those that generate, where they do not stay quantised.
    let dtype = train.map_or(BaseDtype::Float32, |train| train.options.dtype);
    let held = model.parameters.saturating_mul(dtype.bytes());
    let needed = match trained && !stays_quantised {
        true => weights.saturating_add(held),
        false => weights,
    };
    if needed <= limit || model.is_remote() {
        return None;
    }
    let name = model.name.as_str();
    let work = if trained { "be trained" } else { "generate" };
    Some(Fault {
        path: "model".into(),
        message: format!(
            "{name} needs {} MiB of memory to {work}, and there are {}; take a smaller model, {}",
            needed.div_ceil(1 << 20),
            limit >> 20,
            match trained && !stays_quantised {
                true => "or the method qlora",
                false => "or one quantised to fewer bits",
            }
        ),
        expected: format!("a model that takes at most {} MiB", limit >> 20),
        found: format!("{name:?}"),
        ..Fault::default()
    })
}
