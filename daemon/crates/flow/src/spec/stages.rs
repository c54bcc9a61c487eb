//! Reads the `stages` part: one function a stage, each with its defaults.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use autodidact_domain::TaskType;
use autodidact_domain::workflow::{
    BASE_MODEL_EXAMPLES, ConstraintSpec, ContaminationSpec, EvaluateSpec, FilterSpec, JudgeSpec,
    MIN_DIVERSITY_RATIO, PromoteSpec, RespondSpec, Stages, ValidateSpec,
};

use super::chain::{Place, read_chain};
use super::generate::{read_adapt, read_generate};
use super::reader::{Fields, Node};
use super::review::read_review;
use super::train::read_train;

pub(super) fn read_stages(node: Node<'_>) -> Stages {
    let mut fields = node.mapping("stages");
    let stages = Stages {
        generate: fields.take_with_null("generate").map(read_generate),
        filter: fields.take_with_null("filter").map(|node| FilterSpec {
            chain: read_chain(node, "stages.filter", Place::Filter),
        }),
        respond: fields.take_with_null("respond").map(read_respond),
        validate: fields.take_with_null("validate").map(|node| ValidateSpec {
            chain: read_chain(node, "stages.validate", Place::Validate),
        }),
        review: fields.take_with_null("review").map(read_review),
        train: fields.take_with_null("train").map(read_train),
        evaluate: fields.take_with_null("evaluate").map(read_evaluate),
        promote: fields.take_with_null("promote").map(read_promote),
        adapt: fields.take_with_null("adapt").map(read_adapt),
    };
    fields.finish();
    if stages == Stages::default() {
        node.fault(
            "stages",
            "no stage",
            "at least one stage, such as generate or train",
        );
    }
    stages
}

fn read_respond(node: Node<'_>) -> RespondSpec {
    let mut fields = node.mapping("stages.respond");
    let default = RespondSpec::default();
    let spec = RespondSpec {
        input_temperature: read_temperature(
            &mut fields,
            "input_temperature",
            default.input_temperature,
        ),
        label_temperature: fields
            .optional_number("label_temperature", TEMPERATURES)
            .map(|temperature| temperature as f32),
        temperature: read_temperature(&mut fields, "temperature", default.temperature),
        temperatures: read_temperatures(&mut fields),
        top_p: fields.number("top_p", 0.01..=1.0, default.top_p.into()) as f32,
        repetition_penalty: fields.number(
            "repetition_penalty",
            1.0..=2.0,
            default.repetition_penalty.into(),
        ) as f32,
        max_input_tokens: fields.small("max_input_tokens", 1..=8192, default.max_input_tokens),
        max_tokens: fields.small("max_tokens", 1..=8192, default.max_tokens),
        batch: fields.small("batch", 1..=512, default.batch),
        instances: fields.small("instances", 1..=16, default.instances),
        examples: read_examples(&mut fields),
        classify: fields.flag("classify", default.classify),
        constraint: read_constraint(&mut fields),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

const TEMPERATURES: RangeInclusive<f64> = 0.0..=5.0;

fn read_temperature(fields: &mut Fields<'_>, name: &'static str, default: f32) -> f32 {
    fields.number(name, TEMPERATURES, default.into()) as f32
}

/// Reads temperatures by task types.
fn read_temperatures(fields: &mut Fields<'_>) -> BTreeMap<TaskType, f32> {
    let path = fields.path("temperatures");
    let known = TaskType::ALL.map(|(_, name)| name);
    let expected = format!("temperatures by task types, of {}", known.join(", "));
    fields.ask("temperatures", &expected, None);
    let node = fields.take("temperatures");
    let mut temperatures = BTreeMap::new();
    for (name, value) in node.iter().flat_map(|node| node.entries(&path)) {
        let Some(task_type) = TaskType::from_name(&name) else {
            value.fault_name(&path, "task type", &name, &known);
            continue;
        };
        let temperature = value.number(&format!("{path}.{name}"), TEMPERATURES);
        temperatures.extend(temperature.map(|temperature| (task_type, temperature as f32)));
    }
    temperatures
}

fn read_examples(fields: &mut Fields<'_>) -> Option<u32> {
    let default = format!("{BASE_MODEL_EXAMPLES} for a base model, else 0");
    fields.optional_small("examples", 0..=32, Some(default))
}

fn read_constraint(fields: &mut Fields<'_>) -> Option<ConstraintSpec> {
    let path = fields.path("constraint");
    let node = fields.take("constraint")?;
    let mut forms = node.mapping(&path);
    let choices = forms.texts("choices").map(ConstraintSpec::Choices);
    let regex = forms.text("regex", "a regular expression");
    let schema = read_json_schema(&mut forms);
    forms.finish();
    let given = [choices, regex.map(ConstraintSpec::Regex), schema];
    let mut given = given.into_iter().flatten();
    let (first, second) = (given.next(), given.next());
    if first.is_none() || second.is_some() {
        node.fault(&path, "not one form", "one of choices, regex, json_schema");
    }
    first
}

/// Reads a schema that stands there as a mapping or as text.
fn read_json_schema(forms: &mut Fields<'_>) -> Option<ConstraintSpec> {
    let path = forms.path("json_schema");
    forms.ask(
        "json_schema",
        "a JSON schema, as a mapping or as text",
        None,
    );
    let node = forms.take("json_schema")?;
    let text = match node.json(&path) {
        serde_json::Value::String(text) => text,
        schema => schema.to_string(),
    };
    Some(ConstraintSpec::JsonSchema(text))
}

fn read_evaluate(node: Node<'_>) -> EvaluateSpec {
    let mut fields = node.mapping("stages.evaluate");
    let spec = EvaluateSpec {
        max_tokens: fields.small("max_tokens", 1..=8192, 128),
        batch: fields.small("batch", 1..=512, 32),
        judge: read_judge(&mut fields),
        contamination: read_contamination(&mut fields),
    };
    fields.finish();
    spec
}

/// Reads who judges the answers; `judge:` with nothing after it is the workflow's own base model.
fn read_judge(fields: &mut Fields<'_>) -> Option<JudgeSpec> {
    let path = fields.path("judge");
    let mut judge = fields.take_with_null("judge")?.mapping(&path);
    let spec = JudgeSpec {
        model: judge.parsed("model"),
    };
    judge.finish();
    Some(spec)
}

fn read_contamination(fields: &mut Fields<'_>) -> ContaminationSpec {
    let default = ContaminationSpec::default();
    let path = fields.path("contamination");
    let Some(node) = fields.take("contamination") else {
        return default;
    };
    let mut fields = node.mapping(&path);
    let spec = ContaminationSpec {
        rouge_l: fields.number("rouge_l", 0.0..=1.0, default.rouge_l),
        ngram_en: fields.small("ngram_en", 2..=1000, default.ngram_en),
        ngram_zh: fields.small("ngram_zh", 2..=1000, default.ngram_zh),
    };
    fields.finish();
    spec
}

fn read_promote(node: Node<'_>) -> PromoteSpec {
    let mut fields = node.mapping("stages.promote");
    let spec = PromoteSpec {
        min_diversity: fields.number("min_diversity", 0.0..=1.0, 0.0),
        min_diversity_ratio: fields.number("min_diversity_ratio", 0.0..=1.0, MIN_DIVERSITY_RATIO),
    };
    fields.finish();
    spec
}
