//! `autodidact workflow fields`

use autodidact_flow::spec::{KnownField, known_fields, nearest_name};
use autodidact_proto::json::comment;
use serde_json::json;

use crate::cli::{Failure, Global, output};

/// Lists the fields at and under `path`, or all of them.
pub(super) fn run(path: &str, global: &Global) -> Result<(), Failure> {
    let known = known_fields();
    let below = format!("{path}.");
    let shown: Vec<&KnownField> = known
        .iter()
        .filter(|field| path.is_empty() || field.path == path || field.path.starts_with(&below))
        .collect();
    if shown.is_empty() {
        let nearest = nearest_name(path, known.iter().map(|field| field.path.as_str()))
            .map(|name| format!("; did you mean {name}?"))
            .unwrap_or_default();
        let message = format!("a workflow file has no field {path:?}{nearest}");
        return Err(Failure::refused("NOT_FOUND", message));
    }
    let meaning = |field: &KnownField| comment("WorkflowSpec", &field.path).unwrap_or_default();
    if global.json {
        let fields: Vec<_> = shown
            .iter()
            .map(|field| {
                json!({"path": field.path, "expected": field.expected, "default": field.default,
                       "meaning": meaning(field)})
            })
            .collect();
        return output::json(&json!({"fields": fields}));
    }
    for field in shown {
        let default = field.default.as_deref();
        let default = default
            .map(|value| format!(" [default: {value}]"))
            .unwrap_or_default();
        output::line(format!("{}{default}", field.path))?;
        output::line(format!("    {}", meaning(field)))?;
        output::line(format!("    {}", field.expected))?;
    }
    Ok(())
}
