//! Messages as JSON: the names of the `.proto` files, enum values in lower case without their prefix, numbers as numbers.

use std::sync::LazyLock;

use autodidact_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MapKey, ReflectMessage as _,
    Value as Dynamic,
};
use serde_json::{Map, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET)
        .expect("the compiler of the descriptors checked them")
});

/// Turns a message of package `autodidact.v1` into JSON. Optional fields that are not set are left out.
///
/// # Panics
/// When `name` is no message of the package, or not this one: a defect that the tests of every command find.
pub(crate) fn of<M: Message>(name: &str, message: &M) -> Value {
    let descriptor = POOL
        .get_message_by_name(&format!("autodidact.v1.{name}"))
        .expect("callers name messages of the package");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message was encoded by the same descriptors");
    of_message(&dynamic)
}

/// Turns messages into a JSON array.
pub(crate) fn list<M: Message>(name: &str, messages: &[M]) -> Value {
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
        Some(field) if field.name() != "null_value" => {
            of_value(&message.get_field(&field), &field.kind())
        }
        _ => Value::Null,
    }
}

fn of_value(value: &Dynamic, kind: &Kind) -> Value {
    match value {
        Dynamic::Bool(value) => Value::from(*value),
        Dynamic::I32(value) => Value::from(*value),
        Dynamic::I64(value) => Value::from(*value),
        Dynamic::U32(value) => Value::from(*value),
        Dynamic::U64(value) => Value::from(*value),
        // The shortest decimal that is this f32, not the long one of the f64 it converts to.
        Dynamic::F32(value) => value
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        Dynamic::F64(value) => Value::from(*value),
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
    let zero = descriptor
        .get_value(0)
        .map(|value| value.name().to_string())
        .unwrap_or_default();
    let prefix = zero.strip_suffix("UNSPECIFIED").unwrap_or_default();
    Value::from(
        value
            .name()
            .strip_prefix(prefix)
            .unwrap_or(value.name())
            .to_lowercase(),
    )
}

#[cfg(test)]
mod tests {
    use autodidact_client::v1;
    use serde_json::json;

    use super::*;

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
            json!({"temperature": 0.7, "stop": []})
        );
    }
}
