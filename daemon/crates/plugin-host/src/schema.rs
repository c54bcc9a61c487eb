//! The JSON Schema that a plugin gives of its configuration: it has to be one, and configurations are held to it before the plugin
//! sees them.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The longest schema, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// The most faults of a configuration that are told.
const MAX_FAULTS: usize = 5;
/// The longest text of a fault, in characters.
const MAX_FAULT_CHARS: usize = 300;

/// Reads a schema; none where there is nothing to configure.
///
/// # Errors
/// What is wrong with it. Nothing is fetched: a reference has to lead into the schema itself, or to a draft's own.
pub(crate) fn read(text: &str) -> Result<Option<Validator>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes; at most {MAX_BYTES}", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !schema.is_object() {
        return Err("it is not a JSON object".to_string());
    }
    // This engine's time is linear in the text, whatever the pattern.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    let validator = options.build(&schema);
    validator
        .map(Some)
        .map_err(|error| shown(&error.to_string()))
}

/// Holds a configuration to a schema.
///
/// # Errors
/// Its faults, each with its place.
pub(crate) fn check(text: &str, config: &Value) -> Result<(), String> {
    let Some(validator) = read(text)? else {
        return Ok(());
    };
    let faults = validator.iter_errors(config).take(MAX_FAULTS).map(|fault| {
        let place = fault.instance_path().to_string();
        let place = place.trim_start_matches('/').replace('/', ".");
        match place.is_empty() {
            true => shown(&fault.to_string()),
            false => format!("{place}: {}", shown(&fault.to_string())),
        }
    });
    let faults: Vec<String> = faults.collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("; ")),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_FAULT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_has_to_be_one_and_reaches_nowhere() {
        let wrong = |text: &str| read(text).err().unwrap_or_default();
        assert!(read("").unwrap().is_none());
        assert!(read(r#"{"type": "object"}"#).unwrap().is_some());
        assert!(wrong("[]").contains("not a JSON object"));
        assert!(!wrong("{").is_empty());
        assert!(!wrong(r#"{"type": "wish"}"#).is_empty());
        for elsewhere in ["https://example.org/schema.json", "file:///etc/passwd"] {
            assert!(!wrong(&format!(r#"{{"$ref": "{elsewhere}"}}"#)).is_empty());
        }
        assert!(wrong(&" ".repeat(MAX_BYTES + 1)).contains("at most"));
    }

    #[test]
    fn faults_of_a_configuration_are_told_with_their_places() {
        let schema = r#"{
            "type": "object", "additionalProperties": false,
            "properties": {"bounds": {"type": "object", "properties": {"least": {"type": "integer"}}}}
        }"#;
        assert_eq!(check(schema, &json!({})), Ok(()));
        assert_eq!(check(schema, &json!({"bounds": {"least": 3}})), Ok(()));
        let told = check(schema, &json!({"bounds": {"least": "x"}, "else": 1})).unwrap_err();
        assert!(told.contains("bounds.least: "), "{told}");
        assert!(told.contains("else"), "{told}");
        assert_eq!(check("", &json!({"anything": 1})), Ok(()));
    }
}
