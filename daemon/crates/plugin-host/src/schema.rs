//! The JSON Schema that a plugin gives of its configuration: it has to be one, and configurations are held to it before the plugin
//! sees them.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The longest schema, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// The most places of a schema, each counted as often as references lead to it: what holding a configuration to it takes.
const MAX_PLACES: u64 = 10_000;
/// The deepest nesting, references followed.
const MAX_DEPTH: usize = 200;
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
    let mut places = Places {
        schema: &schema,
        counted: HashMap::new(),
    };
    places.of(&schema, 0)?;
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

/// Counts the places of a schema as a validator comes by them.
struct Places<'s> {
    schema: &'s Value,
    /// What was counted, by the place's address; none while it is being counted.
    counted: HashMap<*const Value, Option<u64>>,
}

impl<'s> Places<'s> {
    fn of(&mut self, place: &'s Value, depth: usize) -> Result<u64, String> {
        let inside: Vec<&'s Value> = match place {
            Value::Object(fields) => fields.values().collect(),
            Value::Array(items) => items.iter().collect(),
            _ => return Ok(1),
        };
        match self.counted.get(&std::ptr::from_ref(place)) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err("its references lead round in a circle".to_string()),
            None if depth > MAX_DEPTH => {
                return Err(format!("it is nested more than {MAX_DEPTH} deep"));
            }
            None => {}
        }
        self.counted.insert(place, None);
        let mut count = 1u64;
        for part in inside {
            count = count.saturating_add(self.of(part, depth + 1)?);
        }
        if let Value::Object(fields) = place {
            for (keyword, value) in fields {
                count = match (keyword.as_str(), value) {
                    ("$ref", Value::String(to)) => match self.target(to)? {
                        Some(target) => count.saturating_add(self.of(target, depth + 1)?),
                        None => count,
                    },
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                        return Err(format!("{keyword} is not taken; use $ref"));
                    }
                    // They move what a reference is relative to.
                    ("$id" | "id", Value::String(_)) if depth > 0 => {
                        return Err(format!("{keyword} is not taken within a schema"));
                    }
                    // These look at everything beside them once more.
                    ("unevaluatedProperties" | "unevaluatedItems", _) => count.saturating_mul(2),
                    _ => count,
                };
            }
        }
        if count > MAX_PLACES {
            return Err(format!(
                "it has more than {MAX_PLACES} places, those that references lead to counted each time"
            ));
        }
        self.counted.insert(place, Some(count));
        Ok(count)
    }

    /// Finds what a reference leads to; none for a draft's own schema.
    fn target(&self, reference: &str) -> Result<Option<&'s Value>, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Ok(None);
        };
        // A pointer in a fragment has what no address may have by its codes.
        let pointer = pointer.replace("%25", "%").replace("%22", "\"");
        let found = self.schema.pointer(&pointer);
        found.map(Some).ok_or_else(|| {
            format!(
                "$ref {:?} leads nowhere; it has to be # and a JSON pointer",
                shown(reference)
            )
        })
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
    fn a_schema_that_would_take_for_ever_is_refused() {
        let wrong = |text: &Value| read(&text.to_string()).err().unwrap_or_default();
        let chain = |length: usize| {
            let link = |i: usize| {
                let next = json!({"$ref": format!("#/$defs/a{}", i + 1)});
                (format!("a{i}"), json!({"allOf": [next, next]}))
            };
            let mut links: serde_json::Map<String, Value> = (0..length).map(link).collect();
            links.insert(format!("a{length}"), json!({"type": "object"}));
            json!({"$defs": links, "$ref": "#/$defs/a0"})
        };
        assert_eq!(wrong(&chain(5)), "");
        assert!(
            wrong(&chain(60)).contains("10000 places"),
            "{}",
            wrong(&chain(60))
        );
        let round = json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert!(wrong(&round).contains("circle"));
        let mut nested = json!({"type": "object"});
        for _ in 0..40 {
            nested = json!({"allOf": [nested], "unevaluatedProperties": false});
        }
        assert!(wrong(&nested).contains("places"));
        let elsewhere = json!({"$defs": {"a": {"$id": "http://e/a", "$ref": "#/$defs/b"}}});
        assert!(wrong(&elsewhere).contains("$id"));
        let named = json!({"$ref": "#word", "$defs": {"w": {"$anchor": "word"}}});
        assert!(wrong(&named).contains("leads nowhere"));
        // A property may be called so.
        let property =
            json!({"properties": {"id": {"type": "string"}, "$ref": {"type": "string"}}});
        assert_eq!(wrong(&property), "");
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
