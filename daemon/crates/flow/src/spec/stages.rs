//! Reads the `stages` part: one function a stage, each with its defaults.

use autodidact_domain::workflow::{
    BASE_MODEL_EXAMPLES, ChainRule, ConstraintSpec, EvaluateSpec, FilterSpec, GenerateSpec, MARKS,
    OnPluginError, PromoteSpec, RespondSpec, RulesSpec, ScoreSpec, Stages, ValidateSpec,
};

use super::reader::{Fields, Node};
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
        train: fields.take_with_null("train").map(read_train),
        evaluate: fields.take_with_null("evaluate").map(read_evaluate),
        promote: fields.take_with_null("promote").map(read_promote),
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

fn read_generate(node: Node<'_>) -> GenerateSpec {
    let mut fields = node.mapping("stages.generate");
    let target = fields.small("target", 1..=1_000_000, 100);
    let spec = GenerateSpec {
        target,
        template: fields.choice("template", &["list"], "list"),
        temperature: fields.number("temperature", 0.0..=5.0, 0.7) as f32,
        top_p: fields.number("top_p", 0.01..=1.0, 0.95) as f32,
        top_k: fields.small("top_k", 0..=100_000, 0),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0, 0.0) as f32,
        max_tokens: fields.small("max_tokens", 1..=8192, 256),
        human_examples: fields.small("human_examples", 1..=32, 6),
        generated_examples: fields.small("generated_examples", 0..=32, 2),
        max_requests: fields.small(
            "max_requests",
            1..=1_000_000,
            target.saturating_mul(4).clamp(16, 1_000_000),
        ),
        batch: fields.small("batch", 1..=512, 16),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_respond(node: Node<'_>) -> RespondSpec {
    let mut fields = node.mapping("stages.respond");
    let spec = RespondSpec {
        input_temperature: fields.number("input_temperature", 0.0..=5.0, 0.7) as f32,
        temperature: fields.number("temperature", 0.0..=5.0, 0.0) as f32,
        top_p: fields.number("top_p", 0.01..=1.0, 0.95) as f32,
        repetition_penalty: fields.number("repetition_penalty", 1.0..=2.0, 1.1) as f32,
        max_input_tokens: fields.small("max_input_tokens", 1..=8192, 64),
        max_tokens: fields.small("max_tokens", 1..=8192, 256),
        batch: fields.small("batch", 1..=512, 32),
        examples: read_examples(&mut fields),
        classify: fields.flag("classify", false),
        constraint: read_constraint(&mut fields),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
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
    };
    fields.finish();
    spec
}

fn read_promote(node: Node<'_>) -> PromoteSpec {
    let mut fields = node.mapping("stages.promote");
    let spec = PromoteSpec {
        min_diversity: fields.number("min_diversity", 0.0..=1.0, 0.0),
    };
    fields.finish();
    spec
}

/// Which stage a chain stands in; duplicates are a matter of instructions alone.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Filter,
    Validate,
}

impl Place {
    fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Filter => &["exact", "rouge_l", "rules", "score", "plugin"],
            Self::Validate => &["rules", "score", "plugin"],
        }
    }
}

fn read_chain(node: Node<'_>, path: &str, place: Place) -> Vec<ChainRule> {
    let mut fields = node.mapping(path);
    let chain_path = fields.path("chain");
    let known = format!(
        "a list of rules, run in the order given: {}",
        place.rules().join(", ")
    );
    fields.ask("chain", &known, None);
    let items = fields
        .take("chain")
        .map(|chain| chain.items(&chain_path))
        .unwrap_or_default();
    fields.finish();
    items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| read_link(*item, &format!("{chain_path}[{i}]"), place))
        .collect()
}

/// Reads a link: a bare word (`exact`) or a mapping of one word to its options (`rouge_l: {threshold: 0.7}`).
fn read_link(node: Node<'_>, path: &str, place: Place) -> Option<ChainRule> {
    let known = place.rules();
    let (word, options) = node.link(path)?;
    if !known.contains(&word.as_str()) {
        node.fault_name(path, "rule", &word, known);
        return None;
    }
    let path = format!("{path}.{word}");
    let rule = match word.as_str() {
        "exact" => {
            if let Some(options) = options {
                options.mapping(&path).finish();
            }
            ChainRule::Exact
        }
        "rouge_l" => {
            let Some(node) = options else {
                return Some(ChainRule::RougeL { threshold: 0.7 });
            };
            let mut fields = node.mapping(&path);
            let threshold = fields.number("threshold", 0.0..=1.0, 0.7);
            fields.finish();
            ChainRule::RougeL { threshold }
        }
        "rules" => ChainRule::Rules(
            options
                .map(|node| read_rules(node, &path))
                .unwrap_or_default(),
        ),
        "score" => ChainRule::Score(read_score(options, &path)),
        _ => return read_plugin(node, options, &path),
    };
    Some(rule)
}

fn read_rules(node: Node<'_>, path: &str) -> RulesSpec {
    let mut fields = node.mapping(path);
    let default = RulesSpec::default();
    let spec = RulesSpec {
        min_tokens_en: fields.small("min_tokens_en", 0..=10_000, default.min_tokens_en),
        max_tokens_en: fields.small("max_tokens_en", 1..=10_000, default.max_tokens_en),
        min_tokens_zh: fields.small("min_tokens_zh", 0..=10_000, default.min_tokens_zh),
        max_tokens_zh: fields.small("max_tokens_zh", 1..=10_000, default.max_tokens_zh),
        blocked_words: fields.texts("blocked_words").unwrap_or_default(),
    };
    fields.finish();
    spec
}

fn read_score(options: Option<Node<'_>>, path: &str) -> ScoreSpec {
    let default = ScoreSpec {
        least: 3,
        model: None,
    };
    let Some(options) = options else {
        return default;
    };
    let mut fields = options.mapping(path);
    let spec = ScoreSpec {
        least: fields.small("least", MARKS, default.least),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_plugin(node: Node<'_>, options: Option<Node<'_>>, path: &str) -> Option<ChainRule> {
    let Some(options) = options else {
        node.fault(
            path,
            "missing options",
            "a mapping with the plugin's name, such as plugin: {name: form}",
        );
        return None;
    };
    let mut fields = options.mapping(path);
    let name = fields
        .require("name", "the name of an installed plugin")
        .and_then(|n| n.text(&format!("{path}.name")));
    let config_path = fields.path("config");
    fields.ask("config", "a mapping, as the plugin's own schema says", None);
    let config = match fields.take("config") {
        Some(node) => {
            let mut json = node.json(&config_path);
            // The same workflow in another order of fields is the same workflow, digest and all.
            json.sort_all_objects();
            if !json.is_object() {
                node.fault(&config_path, "wrong type", "a mapping");
            }
            json
        }
        None => serde_json::json!({}),
    };
    let on_error = match fields
        .choice("on_error", &["drop", "keep", "stop"], "drop")
        .as_str()
    {
        "keep" => OnPluginError::Keep,
        "stop" => OnPluginError::Stop,
        _ => OnPluginError::Drop,
    };
    fields.finish();
    Some(ChainRule::Plugin {
        name: name?,
        config,
        on_error,
    })
}
