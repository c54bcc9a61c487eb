//! Reads the stages generate and adapt: quotas, harder versions, templates.

use std::collections::BTreeSet;

use autodidact_domain::workflow::{
    AdaptSpec, EvolveSpec, GenerateSpec, PromptStyle, PromptTemplate, Quota, TemplateText,
};
use autodidact_domain::{Language, TaskType};
use saphyr::{LoadableYamlNode, MarkedYaml};

use super::plugin;
use super::reader::{Faults, Fields, Node};

/// The templates that come with the daemon, by name, as files of the form that a `custom_template` has.
pub(crate) const TEMPLATES: [(&str, &str); 2] = [
    ("list", include_str!("../../templates/list.yaml")),
    ("alpaca", include_str!("../../templates/alpaca.yaml")),
];
/// The name that the workflow's own template has.
const CUSTOM: &str = "custom";
/// The name that a plugin as a template has.
const PLUGIN: &str = "plugin";
/// The longest topic in characters: it stands in every prompt of its quota.
const MAX_TOPIC: usize = 60;
/// The longest text of a template in bytes.
const MAX_TEMPLATE: usize = 16 << 10;

/// Finds a template that comes with the daemon.
///
/// # Panics
/// Never: the files are constants, and a test reads them all.
pub(crate) fn builtin_template(name: &str) -> Option<PromptTemplate> {
    let (_, text) = TEMPLATES.iter().find(|(known, _)| *known == name)?;
    let documents = MarkedYaml::load_from_str(text).expect("a test reads every template");
    let faults = Faults::default();
    Some(read_template(Node::new(&documents[0], &faults), name))
}

pub(super) fn read_generate(node: Node<'_>) -> GenerateSpec {
    let mut fields = node.mapping("stages.generate");
    let target = fields.small("target", 1..=1_000_000, 100);
    let names: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).collect();
    let names = [&names[..], &[CUSTOM, PLUGIN]].concat();
    let template = fields.choice("template", &names, "list");
    let custom_template = read_custom(&mut fields);
    if (template == CUSTOM) != custom_template.is_some() {
        node.fault(
            "stages.generate.template",
            "template and custom_template do not go together",
            "template: custom with a custom_template, or neither",
        );
    }
    let template_plugin = plugin::read_template(&mut fields);
    if (template == PLUGIN) != template_plugin.is_some() {
        node.fault(
            "stages.generate.template",
            "template and template_plugin do not go together",
            "template: plugin with a template_plugin, or neither",
        );
    }
    let max_tokens = fields.small("max_tokens", 1..=8192, 256);
    // A model that was tuned to answers ends after one item; one that answers a request knows when it is done.
    let style = match &custom_template {
        Some(custom) => custom.style,
        None => builtin_template(&template).map_or(PromptStyle::Chat, |template| template.style),
    };
    let min_tokens = match style {
        PromptStyle::Continue => max_tokens / 2,
        PromptStyle::Chat => 0,
    };
    let min_tokens = fields.small("min_tokens", 0..=8192, min_tokens);
    if min_tokens > max_tokens {
        node.fault(
            "stages.generate.min_tokens",
            "more than a completion's most tokens",
            "at most max_tokens",
        );
    }
    let spec = GenerateSpec {
        target,
        template,
        custom_template,
        template_plugin,
        temperature: fields.number("temperature", 0.0..=5.0, 0.7) as f32,
        top_p: fields.number("top_p", 0.01..=1.0, 0.95) as f32,
        top_k: fields.small("top_k", 0..=100_000, 0),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0, 0.0) as f32,
        max_tokens,
        min_tokens,
        human_examples: fields.small("human_examples", 1..=32, 6),
        generated_examples: fields.small("generated_examples", 0..=32, 2),
        max_requests: fields.small(
            "max_requests",
            1..=1_000_000,
            target.saturating_mul(4).clamp(16, 1_000_000),
        ),
        batch: fields.small("batch", 1..=512, 16),
        model: fields.parsed("model"),
        quotas: read_quotas(&mut fields),
        evolve: read_evolve(&mut fields),
    };
    fields.finish();
    spec
}

fn read_quotas(fields: &mut Fields<'_>) -> Vec<Quota> {
    let path = fields.path("quotas");
    let types: Vec<&str> = TaskType::ALL.iter().map(|(_, name)| *name).collect();
    fields.ask(
        "quotas",
        "a list of what prompts ask for, each with task_type, topic or both, and its share",
        None,
    );
    let Some(node) = fields.take("quotas") else {
        return Vec::new();
    };
    let items = node.items(&path).into_iter().enumerate();
    let quota = |(index, item): (usize, Node<'_>)| {
        let path = format!("{path}[{index}]");
        let mut fields = item.mapping(&path);
        let named = |node: Option<Node<'_>>, name: &str, known: &[&str]| {
            let path = format!("{path}.{name}");
            let text = node?.text(&path)?;
            if !known.contains(&text.as_str()) {
                node?.fault_name(&path, name, &text, known);
            }
            Some(text)
        };
        fields.ask("language", "one of en, zh", Some("all".into()));
        let language = named(fields.take("language"), "language", &["en", "zh"]);
        fields.ask("task_type", &format!("one of {}", types.join(", ")), None);
        let task_type = named(fields.take("task_type"), "task_type", &types);
        let topic = fields.text(
            "topic",
            &format!("a few words, at most {MAX_TOPIC} characters"),
        );
        let topic = topic.map(|topic| topic.trim().to_string());
        let read = Quota {
            language: language.and_then(|code| Language::from_code(&code)),
            task_type: task_type.and_then(|name| TaskType::from_name(&name)),
            share: fields.number("share", 0.0..=1000.0, 1.0),
            temperature: fields
                .optional_number("temperature", 0.0..=5.0)
                .map(|temperature| temperature as f32),
            topic,
        };
        fields.finish();
        let is_bad = |topic: &String| {
            topic.is_empty()
                || topic.chars().count() > MAX_TOPIC
                || topic.contains(['\n', ']', '|'])
        };
        if read.topic.as_ref().is_some_and(is_bad) {
            item.fault(
                &format!("{path}.topic"),
                "no topic",
                format!("1 to {MAX_TOPIC} characters on one line, without ] and |"),
            );
        }
        read
    };
    let quotas: Vec<Quota> = items.map(quota).collect();
    if !quotas.is_empty() && quotas.iter().all(|quota| quota.share == 0.0) {
        node.fault(&path, "no share", "a share above 0 for at least one quota");
    }
    quotas
}

fn read_evolve(fields: &mut Fields<'_>) -> Option<EvolveSpec> {
    let path = fields.path("evolve");
    let node = fields.take_with_null("evolve")?;
    let default = EvolveSpec::default();
    let mut fields = node.mapping(&path);
    let spec = EvolveSpec {
        share: fields.number("share", 0.0..=1.0, default.share),
        growth: fields.number("growth", 0.0..=1.0, default.growth),
    };
    fields.finish();
    Some(spec)
}

pub(super) fn read_adapt(node: Node<'_>) -> AdaptSpec {
    let mut fields = node.mapping("stages.adapt");
    let default = AdaptSpec::default();
    let spec = AdaptSpec {
        strength: fields.number("strength", 0.0..=10.0, default.strength),
        max_share: fields.number("max_share", 0.05..=1.0, default.max_share),
        temperature_step: fields.number(
            "temperature_step",
            0.0..=1.0,
            f64::from(default.temperature_step),
        ) as f32,
    };
    fields.finish();
    spec
}

fn read_custom(fields: &mut Fields<'_>) -> Option<PromptTemplate> {
    let path = fields.path("custom_template");
    let node = fields.take("custom_template")?;
    Some(read_template(node, &path))
}

fn read_template(node: Node<'_>, path: &str) -> PromptTemplate {
    let mut fields = node.mapping(path);
    let style = match fields
        .choice("style", &["continue", "chat"], "continue")
        .as_str()
    {
        "chat" => PromptStyle::Chat,
        _ => PromptStyle::Continue,
    };
    let mut language = |name: &'static str| {
        let path = fields.path(name);
        let node = fields.take(name)?;
        Some(read_template_text(node, &path))
    };
    let (en, zh) = (language("en"), language("zh"));
    fields.finish();
    if en.is_none() && zh.is_none() {
        node.fault(path, "no text", "texts for en, zh or both");
    }
    PromptTemplate { style, en, zh }
}

fn read_template_text(node: Node<'_>, path: &str) -> TemplateText {
    let mut fields = node.mapping(path);
    let mut text = |name: &'static str, slots: &[&str], needed: Option<&str>| {
        let known = slots.join(", ");
        let field = fields.path(name);
        let expected = match needed {
            Some(needed) => format!("a text with {needed}; slots are {known}"),
            None => format!("a text; slots are {known}"),
        };
        fields.ask(name, &expected, None);
        let Some(given) = fields.take(name) else {
            if let Some(needed) = needed {
                node.fault(&field, "missing", format!("a text with {needed}"));
            }
            return String::new();
        };
        let text = given.text(&field).unwrap_or_default();
        if text.len() > MAX_TEMPLATE {
            given.fault(&field, "too long", format!("at most {MAX_TEMPLATE} bytes"));
        }
        if needed.is_some_and(|needed| !text.contains(needed)) {
            given.fault(&field, "a slot is missing", expected);
        }
        for unknown in slots_of(&text)
            .iter()
            .filter(|slot| !slots.contains(&slot.as_str()))
        {
            given.fault_name(&field, "slot", unknown, slots);
        }
        text
    };
    let request = text(
        "request",
        &["{examples}", "{next}", "{label}", "{guidance}", "{count}"],
        Some("{examples}"),
    );
    let example = text(
        "example",
        &[
            "{instruction}",
            "{number}",
            "{label}",
            "{input}",
            "{output}",
        ],
        Some("{instruction}"),
    );
    let label = text("label", &["{kind}"], None);
    let guidance = text("guidance", &["{kind}"], None);
    let stop = fields.texts("stop").unwrap_or_default();
    fields.finish();
    for (name, text) in [("label", &label), ("guidance", &guidance)] {
        if !text.is_empty() && !text.contains("{kind}") {
            node.fault(
                &format!("{path}.{name}"),
                "a slot is missing",
                "a text with {kind}",
            );
        }
    }
    TemplateText {
        request,
        example,
        label,
        guidance,
        stop,
    }
}

/// Finds what looks like a slot: a lower-case word in braces. JSON in a prompt is none.
fn slots_of(text: &str) -> BTreeSet<String> {
    let mut slots = BTreeSet::new();
    for (at, _) in text.match_indices('{') {
        let inner = &text[at + 1..];
        let end = inner.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        if let Some(end) = end.filter(|end| *end > 0 && inner[*end..].starts_with('}')) {
            slots.insert(format!("{{{}}}", &inner[..end]));
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_of_the_daemon_has_no_fault_and_both_languages() {
        for (name, text) in TEMPLATES {
            let documents = MarkedYaml::load_from_str(text).unwrap();
            let faults = Faults::default();
            let template = read_template(Node::new(&documents[0], &faults), name);
            assert_eq!(faults.into_sorted(), [], "{name}");
            assert!(template.en.is_some() && template.zh.is_some(), "{name}");
            assert_eq!(builtin_template(name), Some(template));
        }
        assert_eq!(builtin_template("custom"), None);
    }

    #[test]
    fn slots_are_words_in_braces() {
        let found: Vec<String> = slots_of("{a} {\"b\": 1} {} {c_d} {E} {f")
            .into_iter()
            .collect();
        assert_eq!(found, ["{a}", "{c_d}"]);
    }
}
