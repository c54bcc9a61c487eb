//! Workflow files: YAML in, a checked [`WorkflowSpec`] out, or every fault at once.

mod chain;
mod fault;
mod generate;
mod places;
mod plugin;
mod reader;
mod review;
mod stages;
mod train;

use autodidact_domain::workflow::{Mix, TrainSpec};
use autodidact_domain::{Language, WorkflowName, WorkflowSpec};
use saphyr::{LoadableYamlNode, MarkedYaml};
use saphyr_parser::{Event, Parser};

pub use fault::{Fault, nearest_name};
#[cfg(test)]
pub(crate) use generate::TEMPLATES;
pub(crate) use generate::builtin_template;
use places::Places;
pub use reader::KnownField;
use reader::{Faults, Fields, Node};

/// The longest workflow file in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 10;
/// The deepest nesting in a workflow file; plugin configurations are part of it.
const MAX_DEPTH: usize = 32;
/// Checkpoint names hold the workflow's name and a step, so it may take this much of their 64 characters.
const MAX_WORKFLOW_NAME: usize = 40;

/// Reads a workflow file.
///
/// # Errors
/// Every fault found, sorted by line; none of the file's other parts are thrown away for the first one.
pub fn parse_workflow(yaml: &str) -> Result<WorkflowSpec, Vec<Fault>> {
    match read_what_is_there(yaml) {
        Ok(Reading {
            spec: Some(spec),
            faults,
            ..
        }) if faults.is_empty() => Ok(spec),
        Ok(Reading { faults, .. }) | Err(faults) => Err(faults),
    }
}

/// What could be read of a workflow file.
pub(crate) struct Reading {
    /// The workflow, where it has a name and a model, with defaults where values are wrong.
    pub(crate) spec: Option<WorkflowSpec>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) places: Places,
}

/// Reads a workflow file, faults and all.
///
/// # Errors
/// The fault that keeps the file from being read at all.
pub(crate) fn read_what_is_there(yaml: &str) -> Result<Reading, Vec<Fault>> {
    check_shape(yaml).map_err(|fault| vec![*fault])?;
    let documents = MarkedYaml::load_from_str(yaml).map_err(|error| {
        vec![syntax_fault(
            u32::try_from(error.marker().line()).unwrap_or(0),
            error.info(),
        )]
    })?;
    let [document] = documents.as_slice() else {
        return Err(vec![Fault {
            line: 0,
            path: "file".into(),
            message: "wrong number of documents".into(),
            expected: "one workflow".into(),
            found: format!("{} documents", documents.len()),
            nearest: None,
        }]);
    };
    let faults = Faults::default();
    let spec = read_workflow(Node::new(document, &faults), &faults);
    let places = Places::of(document, faults.take_unread());
    Ok(Reading {
        spec,
        faults: faults.into_sorted(),
        places,
    })
}

/// A workflow with every stage and every rule, and nothing else: the reader asks it for every field there is.
const SKELETON: &str = "\
stages:
  generate: {quotas: [{}], evolve: {}, custom_template: {en: {}, zh: {}}, template_plugin: {}}
  filter: {chain: [rouge_l: {}, rules: {}, embedding: {}, perplexity: {}, score: {}, diversity: {}, plugin: {}]}
  respond: {constraint: {}}
  validate: {chain: [difficulty: {}, checks: {}, consistency: {}]}
  review: {gate: {}}
  train:
  evaluate: {judge: {}, contamination: {}}
  promote:
  adapt:
mix: {}
";

/// Lists every field that a workflow file may have, as the reader asks for them.
///
/// # Panics
/// Never: the file read is a constant.
pub fn known_fields() -> Vec<KnownField> {
    let documents = MarkedYaml::load_from_str(SKELETON).expect("the skeleton is valid YAML");
    let faults = Faults::default();
    read_workflow(Node::new(&documents[0], &faults), &faults);
    let mut fields = faults.into_asked();
    for field in &mut fields {
        // chain[2].plugin.name and chain[0].rouge_l.threshold stand at any place of the chain.
        while let (Some(open), Some(close)) = (field.path.find('['), field.path.find(']')) {
            field.path.replace_range(open..=close, "");
        }
    }
    fields
}

fn syntax_fault(line: u32, detail: &str) -> Fault {
    Fault {
        line,
        path: "file".into(),
        message: format!("not valid YAML: {detail}"),
        expected: "a workflow in YAML".into(),
        found: String::new(),
        nearest: None,
    }
}

/// Bounds size, nesting and aliases before a tree is built, since aliases can make a small file a huge tree.
fn check_shape(yaml: &str) -> Result<(), Box<Fault>> {
    if yaml.len() > MAX_FILE_BYTES {
        return Err(Box::new(syntax_fault(
            0,
            &format!(
                "it has {} bytes, at most {MAX_FILE_BYTES} are read",
                yaml.len()
            ),
        )));
    }
    let mut depth = 0usize;
    for event in Parser::new_from_str(yaml) {
        let (event, span) = event.map_err(|error| {
            Box::new(syntax_fault(
                u32::try_from(error.marker().line()).unwrap_or(0),
                error.info(),
            ))
        })?;
        let line = u32::try_from(span.start.line()).unwrap_or(0);
        match event {
            Event::Alias(_) => {
                return Err(Box::new(syntax_fault(line, "aliases are not read here")));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Box::new(syntax_fault(
                line,
                &format!("nested more than {MAX_DEPTH} deep"),
            )));
        }
    }
    Ok(())
}

fn read_workflow(root: Node<'_>, faults: &Faults) -> Option<WorkflowSpec> {
    let mut fields = root.mapping("");
    let name = read_name(&mut fields);
    let seed = fields.integer("seed", 0..=i64::MAX as u64, 42);
    let languages = read_languages(&mut fields);
    let rounds = fields.small("rounds", 1..=100, 1);
    let model = fields
        .require("model", "the name of a registered model")
        .and_then(|node| reader::parse_node(node, "model"));
    let seeds = fields.parsed("seeds");
    let held_out = fields.parsed("held_out");
    let mix = read_mix(&mut fields);
    let stages = fields.require("stages", "at least one stage, such as generate or train");
    let stages_line = stages.map_or(0, |node| node.line());
    let stages = stages.map(stages::read_stages).unwrap_or_default();
    let on_drop = fields.parsed("on_drop");
    let spending_cap = fields.optional_number("spending_cap", 0.0..=1e12);
    fields.finish();
    let spec = WorkflowSpec {
        name: name?,
        seed,
        languages,
        rounds,
        model: model?,
        seeds,
        held_out,
        mix,
        stages,
        on_drop,
        spending_cap,
    };
    check_needs(&spec, stages_line, faults);
    Some(spec)
}

fn read_name(fields: &mut Fields<'_>) -> Option<WorkflowName> {
    let node = fields.require("name", "a name for this workflow")?;
    let name: WorkflowName = reader::parse_node(node, "name")?;
    if name.as_str().len() > MAX_WORKFLOW_NAME {
        node.fault(
            "name",
            "too long",
            format!("at most {MAX_WORKFLOW_NAME} characters"),
        );
        return None;
    }
    Some(name)
}

fn read_languages(fields: &mut Fields<'_>) -> Vec<Language> {
    fields.ask("languages", "a list with en, zh or both", Some("en".into()));
    let Some(node) = fields.take("languages") else {
        return vec![Language::En];
    };
    let mut languages = Vec::new();
    for (i, item) in node.items("languages").iter().enumerate() {
        let path = format!("languages[{i}]");
        let Some(code) = item.text(&path) else {
            continue;
        };
        match Language::from_code(&code) {
            Some(language) if languages.contains(&language) => {
                item.fault(&path, "named twice", "each language once")
            }
            Some(language) => languages.push(language),
            None => item.fault_name(&path, "language", &code, &["en", "zh"]),
        }
    }
    if languages.is_empty() {
        node.fault(
            "languages",
            "no usable language",
            "a list with en, zh or both",
        );
        languages.push(Language::En);
    }
    languages
}

fn read_mix(fields: &mut Fields<'_>) -> Mix {
    let default = Mix::default();
    let Some(node) = fields.take("mix") else {
        return default;
    };
    let mut mix = node.mapping("mix");
    let read = Mix {
        human: mix.number("human", 0.0..=1.0, default.human),
        generated: mix.number("generated", 0.0..=1.0, default.generated),
        replay: mix.number("replay", 0.0..=1.0, default.replay),
    };
    mix.finish();
    read
}

/// Checks what the stages need of the top fields and of each other.
fn check_needs(spec: &WorkflowSpec, stages_line: u32, faults: &Faults) {
    let missing = |path: &str, expected: &str| {
        faults.push(Fault {
            line: stages_line,
            path: path.to_string(),
            message: "missing".to_string(),
            expected: expected.to_string(),
            found: "nothing".to_string(),
            nearest: None,
        });
    };
    let stages = &spec.stages;
    let records = stages.generate.is_some() || stages.filter.is_some() || stages.validate.is_some();
    let seeded = spec.seeds.is_some() || spec.on_drop.is_some();
    if !seeded && (records || stages.respond.is_some() || stages.train.is_some()) {
        missing(
            "seeds",
            "the dataset with the human examples, since generate, filter, respond, validate and train read it",
        );
    }
    if stages.review.is_some() && !records && stages.respond.is_none() {
        missing(
            "stages",
            "one of generate, filter, respond and validate, since review lays before people what these keep",
        );
    }
    if stages.evaluate.is_some() && spec.held_out.is_none() {
        missing(
            "held_out",
            "the dataset with the held-out tasks, since evaluate reads it",
        );
    }
    let judged = stages.evaluate.as_ref().is_some_and(|e| e.judge.is_some());
    let has_head = |train: &TrainSpec| train.options.task_type.has_head();
    if judged && stages.train.as_ref().is_some_and(has_head) {
        faults.push(Fault {
            line: stages_line,
            path: "stages.evaluate.judge".to_string(),
            message: "a head gives labels, which are right or wrong without a judge".to_string(),
            expected: "no judge beside task_type SEQ_CLS or TOKEN_CLS".to_string(),
            found: "a judge".to_string(),
            nearest: None,
        });
    }
    if stages.promote.is_some() && (stages.train.is_none() || stages.evaluate.is_none()) {
        missing(
            "stages",
            "both train and evaluate, since promote compares what they give",
        );
    }
    if stages.adapt.is_some() && (stages.generate.is_none() || stages.evaluate.is_none()) {
        missing(
            "stages",
            "both generate and evaluate, since adapt lets failures change what is generated",
        );
    }
    let continues = |train: &TrainSpec| train.resume_from_checkpoint.is_some();
    if stages.train.as_ref().is_some_and(continues) && (records || spec.rounds > 1) {
        missing(
            "stages.train.resume_from_checkpoint",
            "one round with train and evaluate alone, since a run goes on with the very examples that it began with",
        );
    }
    if stages.generate.is_some() && stages.respond.is_none() && stages.train.is_some() {
        missing(
            "stages.respond",
            "a respond stage, since train needs answers to generated instructions",
        );
    }
}

#[cfg(test)]
mod tests;
