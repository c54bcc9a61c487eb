//! Messages as JSON and back: the names of the `.proto` files, enum values in lower case without their prefix, numbers as
//! numbers. What a message says in JSON is what a workflow file says in YAML.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, ReflectMessage as _, Value as Dynamic,
};
use serde_json::{Map, Value};

use crate::FILE_DESCRIPTOR_SET;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET)
        .expect("the compiler of the descriptors checked them")
});

/// Turns a message of package `autodidact.v1` into JSON. Optional fields that are not set are left out.
///
/// # Panics
/// When `name` is no message of the package, or not this one: a defect that the tests of every command find.
pub fn of<M: Message>(name: &str, message: &M) -> Value {
    let dynamic = DynamicMessage::decode(descriptor(name), message.encode_to_vec().as_slice())
        .expect("a message was encoded by the same descriptors");
    of_message(&dynamic)
}

/// Reads what [`of`] writes. Null means not set; whole numbers may stand for fractions.
///
/// # Errors
/// The path of the first name or value that the message has no place for.
///
/// # Panics
/// When `name` is no message of the package, or not this one.
pub fn read<M: Message + Default>(name: &str, json: &Value) -> Result<M, Misfit> {
    let message = to_message(&descriptor(name), json, name)?;
    Ok(M::decode(message.encode_to_vec().as_slice())
        .expect("a message was encoded by the same descriptors"))
}

/// JSON that does not fit its message: the path, and what stands there.
#[derive(Debug, PartialEq)]
pub struct Misfit(pub String);

impl std::fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} does not fit the message", self.0)
    }
}

impl std::error::Error for Misfit {}

/// Gives the comment that stands in the `.proto` file at a field, such as `stages.train.r` of `WorkflowSpec`.
///
/// # Panics
/// When `name` is no message of the package.
pub fn comment(name: &str, path: &str) -> Option<String> {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut message = descriptor(name);
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        match message.get_field_by_name(parent)?.kind() {
            Kind::Message(inner) => message = inner,
            _ => return None,
        }
    }
    let field = message.get_field_by_name(last)?;
    let file = field.parent_message().parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info.location.iter().find(|at| at.path == field.path())?;
    let words: Vec<&str> = location.leading_comments().split_whitespace().collect();
    Some(words.join(" "))
}

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("autodidact.v1.{name}"))
        .expect("callers name messages of the package")
}

/// Turns messages into a JSON array.
pub fn list<M: Message>(name: &str, messages: &[M]) -> Value {
    messages.iter().map(|message| of(name, message)).collect()
}

fn of_message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Struct" => return field(message, "fields"),
        "google.protobuf.ListValue" => return field(message, "values"),
        "google.protobuf.Value" => return of_well_known_value(message),
        _ => {}
    }
    let mut object = Map::new();
    for field in descriptor.fields() {
        if !field.supports_presence() || message.has_field(&field) {
            let value = message.get_field(&field);
            object.insert(field.name().to_string(), of_value(&value, &field.kind()));
        }
    }
    Value::Object(object)
}

fn field(message: &DynamicMessage, name: &str) -> Value {
    let descriptor = message
        .descriptor()
        .get_field_by_name(name)
        .expect("well-known types have their fields");
    of_value(&message.get_field(&descriptor), &descriptor.kind())
}

/// Unwraps `google.protobuf.Value`, whose one field that is set is the value.
fn of_well_known_value(message: &DynamicMessage) -> Value {
    let set = message
        .descriptor()
        .fields()
        .find(|field| message.has_field(field));
    match set {
        // `Struct` knows floating-point numbers alone; whole ones are given back as integers.
        Some(field) if field.name() == "number_value" => match message.get_field(&field).as_f64() {
            Some(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
                Value::from(number as i64)
            }
            number => of_float(number.unwrap_or(f64::NAN)),
        },
        Some(field) if field.name() != "null_value" => {
            of_value(&message.get_field(&field), &field.kind())
        }
        _ => Value::Null,
    }
}

/// Up to here every whole number has an f64 of its own: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// JSON has no word for infinities and for what is no number: they become texts, as in protobuf's own JSON.
fn of_float(value: f64) -> Value {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Value::String(value.to_string()), Value::Number)
}

fn of_value(value: &Dynamic, kind: &Kind) -> Value {
    match value {
        Dynamic::Bool(value) => Value::from(*value),
        Dynamic::I32(value) => Value::from(*value),
        Dynamic::I64(value) => Value::from(*value),
        Dynamic::U32(value) => Value::from(*value),
        Dynamic::U64(value) => Value::from(*value),
        // The shortest decimal that is this f32, not the long one of the f64 it converts to.
        Dynamic::F32(value) => of_float(value.to_string().parse().unwrap_or(f64::NAN)),
        Dynamic::F64(value) => of_float(*value),
        Dynamic::String(value) => Value::from(value.as_str()),
        Dynamic::Bytes(value) => value
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
        Dynamic::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => enum_name(descriptor, *number),
            _ => Value::from(*number),
        },
        Dynamic::Message(message) => of_message(message),
        Dynamic::List(values) => values.iter().map(|value| of_value(value, kind)).collect(),
        Dynamic::Map(entries) => {
            let kind = match kind {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                other => other.clone(),
            };
            let mut pairs: Vec<_> = entries
                .iter()
                .map(|(key, value)| (key_text(key), of_value(value, &kind)))
                .collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// `WORKFLOW_STATE_DONE` of `WorkflowState` becomes `done`; a number that this version does not know stays one.
fn enum_name(descriptor: &EnumDescriptor, number: i32) -> Value {
    let Some(value) = descriptor.get_value(number) else {
        return Value::from(number);
    };
    Value::from(short_name(descriptor, value.name()))
}

fn short_name(descriptor: &EnumDescriptor, name: &str) -> String {
    let zero = descriptor
        .get_value(0)
        .map(|value| value.name().to_string())
        .unwrap_or_default();
    let prefix = zero.strip_suffix("UNSPECIFIED").unwrap_or_default();
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

fn to_message(
    descriptor: &MessageDescriptor,
    json: &Value,
    path: &str,
) -> Result<DynamicMessage, Misfit> {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Struct" => {
            set(&mut message, "fields", json, path)?;
            return Ok(message);
        }
        "google.protobuf.ListValue" => {
            set(&mut message, "values", json, path)?;
            return Ok(message);
        }
        "google.protobuf.Value" => {
            let name = match json {
                Value::Null => return Ok(message),
                Value::Bool(_) => "bool_value",
                Value::Number(_) => "number_value",
                Value::String(_) => "string_value",
                Value::Array(_) => "list_value",
                Value::Object(_) => "struct_value",
            };
            set(&mut message, name, json, path)?;
            return Ok(message);
        }
        _ => {}
    }
    match json {
        // A bare word is the field of that name with nothing in it, as a rule without options.
        Value::String(word) => set(
            &mut message,
            word,
            &Value::Object(Map::new()),
            &format!("{path}.{word}"),
        )?,
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                set(&mut message, name, value, &format!("{path}.{name}"))?;
            }
        }
        _ => return Err(Misfit(path.to_string())),
    }
    Ok(message)
}

fn set(message: &mut DynamicMessage, name: &str, json: &Value, path: &str) -> Result<(), Misfit> {
    let field = message
        .descriptor()
        .get_field_by_name(name)
        .ok_or_else(|| Misfit(path.to_string()))?;
    let value = to_field(&field, json, path)?;
    message.set_field(&field, value);
    Ok(())
}

fn to_field(field: &FieldDescriptor, json: &Value, path: &str) -> Result<Dynamic, Misfit> {
    match (json, field.kind()) {
        (Value::Object(entries), Kind::Message(entry)) if field.is_map() => {
            let (key_kind, kind) = (
                entry.map_entry_key_field().kind(),
                entry.map_entry_value_field().kind(),
            );
            let pairs = entries.iter().map(|(key, value)| {
                let path = format!("{path}.{key}");
                let value = to_value(&kind, value, &path)?;
                let key = match key_kind {
                    Kind::Uint32 => key.parse().map(MapKey::U32).map_err(|_| Misfit(path))?,
                    _ => MapKey::String(key.clone()),
                };
                Ok((key, value))
            });
            Ok(Dynamic::Map(pairs.collect::<Result<_, Misfit>>()?))
        }
        (Value::Array(items), kind) if field.is_list() => {
            let items = items.iter().map(|item| to_value(&kind, item, path));
            Ok(Dynamic::List(items.collect::<Result<_, Misfit>>()?))
        }
        (_, kind) if !field.is_list() && !field.is_map() => to_value(&kind, json, path),
        _ => Err(Misfit(path.to_string())),
    }
}

fn to_value(kind: &Kind, json: &Value, path: &str) -> Result<Dynamic, Misfit> {
    let value = match kind {
        Kind::Bool => json.as_bool().map(Dynamic::Bool),
        Kind::Int32 => json
            .as_i64()
            .and_then(|v| v.try_into().ok())
            .map(Dynamic::I32),
        Kind::Int64 => json.as_i64().map(Dynamic::I64),
        Kind::Uint32 => json
            .as_u64()
            .and_then(|v| v.try_into().ok())
            .map(Dynamic::U32),
        Kind::Uint64 => json.as_u64().map(Dynamic::U64),
        Kind::Float => json.as_f64().map(|v| Dynamic::F32(v as f32)),
        Kind::Double => json.as_f64().map(Dynamic::F64),
        Kind::String => json.as_str().map(|v| Dynamic::String(v.to_string())),
        Kind::Enum(descriptor) => json.as_str().and_then(|word| {
            descriptor
                .values()
                .find(|value| short_name(descriptor, value.name()) == word)
                .map(|value| Dynamic::EnumNumber(value.number()))
        }),
        Kind::Message(descriptor) => {
            return to_message(descriptor, json, path).map(Dynamic::Message);
        }
        _ => None,
    };
    value.ok_or_else(|| Misfit(format!("{path}: {json}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::v1;

    #[test]
    fn names_enums_maps_and_numbers_read_as_in_files() {
        let progress = v1::StageProgress {
            round: 1,
            stage: v1::Stage::Generate.into(),
            done: u64::MAX,
            total: 9,
            kept: 4,
            dropped: 1,
            reasons: [("near_duplicate".to_string(), 1)].into(),
            tokens: 0,
            finished: false,
        };
        assert_eq!(
            of("StageProgress", &progress),
            json!({"round": 1, "stage": "generate", "done": u64::MAX, "total": 9, "kept": 4, "dropped": 1,
                   "reasons": {"near_duplicate": 1}, "tokens": 0, "finished": false})
        );
    }

    #[test]
    fn unset_optional_fields_are_left_out_and_floats_stay_short() {
        let sampling = v1::Sampling {
            temperature: Some(0.7),
            ..Default::default()
        };
        assert_eq!(
            of("Sampling", &sampling),
            json!({"temperature": 0.7, "stop": [], "logit_bias": {}})
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = json!({"limit": 3, "share": 0.5, "deep": {"list": [1, "x", null, true]}});
        let links = json!({"chain": [
            "exact",
            {"rouge_l": {"threshold": 0.65}},
            {"plugin": {"name": "form", "config": config, "on_error": "keep", "grant": ["generate", "log"]}},
        ]});
        let spec: v1::FilterSpec = read("FilterSpec", &links).unwrap();
        let mut written = links;
        written["chain"][0] = json!({"exact": {}});
        assert_eq!(of("FilterSpec", &spec), written);
    }

    #[test]
    fn a_field_has_its_comment() {
        assert_eq!(
            comment("WorkflowSpec", "stages.filter.chain.plugin.name").as_deref(),
            Some("The installed plugin.")
        );
        assert_eq!(comment("WorkflowSpec", "stages.nothing"), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let misfit = |json| read::<v1::Mix>("Mix", &json).unwrap_err().0;
        assert_eq!(misfit(json!({"humans": 1})), "Mix.humans");
        assert_eq!(misfit(json!({"human": "much"})), "Mix.human: \"much\"");
        assert_eq!(misfit(json!(3)), "Mix");
        let biases = json!({"logit_bias": {"7": -1.5}});
        let sampling: v1::Sampling = read("Sampling", &biases).unwrap();
        assert_eq!(sampling.logit_bias, [(7, -1.5)].into());
        let misfit = read::<v1::Sampling>("Sampling", &json!({"logit_bias": {"x": 1}}));
        assert_eq!(misfit.unwrap_err().0, "Sampling.logit_bias.x");
    }

    #[test]
    fn what_is_no_number_becomes_a_text() {
        let mix = v1::Mix {
            human: Some(f64::NAN),
            generated: Some(f64::INFINITY),
            replay: None,
        };
        assert_eq!(of("Mix", &mix), json!({"human": "NaN", "generated": "inf"}));
    }
}
