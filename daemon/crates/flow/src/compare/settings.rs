//! What two workflows were given that differs.

use std::collections::BTreeMap;

use autodidact_domain::comparison::SettingDifference;
use autodidact_domain::workflow::Pinned;
use autodidact_domain::{DatasetSummary, WorkflowSpec};
use serde_json::Value;

use super::Side;

/// Lists every field that differs; the name tells two workflows apart and is none of them.
pub(super) fn differences(a: &Side, b: &Side) -> Vec<SettingDifference> {
    let (mut given_a, mut given_b) = (given(a), given(b));
    let mut fields: Vec<String> = given_a.keys().chain(given_b.keys()).cloned().collect();
    fields.sort_unstable();
    fields.dedup();
    let differing = fields.into_iter().filter_map(|field| {
        let (a, b) = (given_a.remove(&field), given_b.remove(&field));
        (a != b).then_some(SettingDifference { field, a, b })
    });
    differing.collect()
}

fn given(side: &Side) -> BTreeMap<String, String> {
    let mut fields = fields_of(&side.workflow.spec);
    fields.remove("name");
    add_pinned(&mut fields, &side.workflow.pinned);
    fields.insert("compute".into(), side.report.compute.clone());
    fields
}

/// Lays a workflow out as fields with their values as JSON.
fn fields_of(spec: &WorkflowSpec) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    // A spec came from JSON and goes back to it.
    let spec = serde_json::to_value(spec).unwrap_or_default();
    flatten("", &spec, &mut fields);
    fields
}

fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let below = |name: &str| match path {
        "" => name.to_string(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Null => {}
        Value::Object(inner) if !inner.is_empty() => {
            for (name, value) in inner {
                flatten(&below(name), value, fields);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || is_rule(path)) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{place}]"), item, fields);
            }
        }
        value => {
            fields.insert(path.to_string(), value.to_string());
        }
    }
}

/// Tells whether a list is a chain, whose links are told apart even where none of them has options.
fn is_rule(path: &str) -> bool {
    path.ends_with(".chain")
}

/// Adds the versions of what the fields name.
fn add_pinned(fields: &mut BTreeMap<String, String>, pinned: &Pinned) {
    let version = |dataset: &DatasetSummary| {
        format!(
            "{}@{} ({})",
            dataset.name,
            dataset.version,
            dataset.digest.short()
        )
    };
    for (name, dataset) in [
        ("seeds", &pinned.seeds),
        ("held_out", &pinned.held_out),
        ("eval_dataset", &pinned.eval_dataset),
    ] {
        if let Some(dataset) = dataset {
            fields.insert(format!("pinned.{name}"), version(dataset));
        }
    }
    let (model, digest) = (&pinned.model.name, pinned.model.digest.short());
    fields.insert("pinned.model".into(), format!("{model} ({digest})"));
    for plugin in &pinned.plugins {
        let digest = plugin.digest.short();
        let name = format!("pinned.plugins.{}", plugin.name);
        fields.insert(name, format!("{} ({digest})", plugin.version));
    }
    if !pinned.labels.is_empty() {
        fields.insert("pinned.labels".into(), pinned.labels.join(", "));
    }
}
