//! Reads what stages say of plugins.

use autodidact_domain::workflow::{OnPluginError, PluginSpec, PluginTerms, TemplatePlugin};
use autodidact_domain::{Capability, PluginKind};

use super::reader::{Fields, Node};

/// The kinds that may stand in a chain.
const LINKS: [PluginKind; 3] = [
    PluginKind::Filter,
    PluginKind::Validator,
    PluginKind::Scorer,
];

/// Reads a link of a chain.
pub(super) fn read_link(
    node: Node<'_>,
    options: Option<Node<'_>>,
    path: &str,
) -> Option<PluginSpec> {
    let Some(options) = options else {
        node.fault(
            path,
            "missing options",
            "a mapping with the plugin's name, such as plugin: {name: form}",
        );
        return None;
    };
    let mut fields = options.mapping(path);
    let (name, config) = read_name_and_config(&mut fields, node, path);
    let on_error = read_on_error(&mut fields, &["drop", "keep", "stop"]);
    let terms = read_terms(&mut fields);
    let kinds = LINKS.map(PluginKind::name);
    let kind = read_kind(&mut fields, &kinds);
    let any = -1.0e9..=1.0e9;
    let least = fields.optional_number("least", any.clone());
    let most = fields.optional_number("most", any);
    let best = fields.optional_number("best", 0.001..=1.0);
    fields.finish();
    if least.zip(most).is_some_and(|(least, most)| least > most) {
        node.fault(
            &format!("{path}.least"),
            "more than most",
            "a number that is at most most",
        );
    }
    Some(PluginSpec {
        name: name?,
        config,
        on_error,
        terms,
        kind,
        least,
        most,
        best,
    })
}

/// Reads the plugin that stands for a template.
pub(super) fn read_template(fields: &mut Fields<'_>) -> Option<TemplatePlugin> {
    let path = fields.path("template_plugin");
    let node = fields.take("template_plugin")?;
    let mut fields = node.mapping(&path);
    let (name, config) = read_name_and_config(&mut fields, node, &path);
    let on_error = read_on_error(&mut fields, &["drop", "stop"]);
    let terms = read_terms(&mut fields);
    fields.finish();
    Some(TemplatePlugin {
        name: name?,
        config,
        on_error,
        terms,
    })
}

fn read_name_and_config(
    fields: &mut Fields<'_>,
    node: Node<'_>,
    path: &str,
) -> (Option<String>, serde_json::Value) {
    let name = fields
        .require("name", "the name of an installed plugin")
        .and_then(|n| n.text(&format!("{path}.name")));
    let config_path = fields.path("config");
    fields.ask("config", "a mapping, as the plugin's own schema says", None);
    let config = match fields.take("config") {
        Some(given) => {
            let mut json = given.json(&config_path);
            // The same workflow in another order of fields is the same workflow, digest and all.
            json.sort_all_objects();
            if !json.is_object() {
                node.fault(&config_path, "wrong type", "a mapping");
            }
            json
        }
        None => serde_json::json!({}),
    };
    (name, config)
}

fn read_on_error(fields: &mut Fields<'_>, known: &[&str]) -> OnPluginError {
    match fields.choice("on_error", known, "drop").as_str() {
        "keep" => OnPluginError::Keep,
        "stop" => OnPluginError::Stop,
        _ => OnPluginError::Drop,
    }
}

fn read_terms(fields: &mut Fields<'_>) -> PluginTerms {
    let default = PluginTerms::default();
    PluginTerms {
        grant: read_grant(fields).unwrap_or_default(),
        allow_missing: fields.flag("allow_missing", default.allow_missing),
        max_tokens: fields.optional_whole("max_tokens", 1..=u64::from(u32::MAX)),
        model: fields.parsed("model"),
        max_failures: fields.small("max_failures", 1..=1_000_000, default.max_failures),
        follow: fields.flag("follow", default.follow),
    }
}

fn read_grant(fields: &mut Fields<'_>) -> Option<Vec<Capability>> {
    let path = fields.path("grant");
    let known = Capability::ALL.map(|(_, name)| name);
    let expected = format!("a list of {}", known.join(", "));
    fields.ask(
        "grant",
        &expected,
        Some("what was granted for all workflows".into()),
    );
    let node = fields.take("grant")?;
    let mut granted = Vec::new();
    for (i, item) in node.items(&path).iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(text) = item.text(&path) else {
            continue;
        };
        match Capability::ALL.iter().find(|(_, name)| *name == text) {
            Some((capability, _)) => granted.push(*capability),
            None => item.fault_name(&path, "value", &text, &known),
        }
    }
    granted.sort();
    granted.dedup();
    Some(granted)
}

fn read_kind(fields: &mut Fields<'_>, known: &[&str]) -> Option<PluginKind> {
    let path = fields.path("kind");
    let expected = format!("one of {}", known.join(", "));
    fields.ask("kind", &expected, Some("what the plugin is".into()));
    let node = fields.take("kind")?;
    let text = node.text(&path)?;
    let kind = LINKS.into_iter().find(|kind| kind.name() == text);
    if kind.is_none() {
        node.fault_name(&path, "value", &text, known);
    }
    kind
}
