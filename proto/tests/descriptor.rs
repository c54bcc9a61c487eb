//! Shows every change of the wire format: the descriptor as text must equal the committed `descriptor.txt`.
//!
//! After a wanted change: `UPDATE_DESCRIPTOR=1 cargo test --release -p autodidact-proto`, and read the difference. Removing or
//! renumbering a field, or changing its type, breaks clients in the field.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fmt::Write;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
};

#[test]
fn the_wire_format_is_the_committed_one() {
    let set = FileDescriptorSet::decode(autodidact_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut text = String::new();
    for file in set
        .file
        .iter()
        .filter(|file| file.package() == "autodidact.v1")
    {
        write_file(&mut text, file);
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/descriptor.txt");
    if std::env::var_os("UPDATE_DESCRIPTOR").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    for (number, (found, expected)) in text.lines().zip(committed.lines()).enumerate() {
        assert_eq!(found, expected, "descriptor.txt, line {}", number + 1);
    }
    assert_eq!(
        text.len(),
        committed.len(),
        "lines were added or removed at the end"
    );
}

#[test]
fn every_message_field_and_call_is_documented() {
    let set = FileDescriptorSet::decode(autodidact_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut things = 0;
    for file in set
        .file
        .iter()
        .filter(|file| file.package() == "autodidact.v1")
    {
        let info = file.source_code_info.as_ref().unwrap();
        // The first number of a path names messages (4), enums (5) and services (6) of a file; see descriptor.proto.
        for location in info
            .location
            .iter()
            .filter(|l| matches!(l.path.as_slice(), [4..=6, _] | [4..=6, _, 2 | 8, _]))
        {
            things += 1;
            assert!(
                location
                    .leading_comments
                    .as_ref()
                    .is_some_and(|comment| comment.trim().ends_with('.')),
                "{} at line {} has no comment that ends with a full stop",
                file.name(),
                location.span[0] + 1
            );
        }
    }
    assert!(things > 400, "only {things} were looked at");
}

fn write_file(text: &mut String, file: &FileDescriptorProto) {
    writeln!(text, "file {}", file.name()).unwrap();
    for service in &file.service {
        writeln!(text, "service {}", service.name()).unwrap();
        for method in &service.method {
            let stream = |is: bool| if is { "stream " } else { "" };
            writeln!(
                text,
                "  {}({}{}) -> {}{}",
                method.name(),
                stream(method.client_streaming()),
                short(method.input_type()),
                stream(method.server_streaming()),
                short(method.output_type())
            )
            .unwrap();
        }
    }
    file.message_type
        .iter()
        .for_each(|message| write_message(text, message));
    file.enum_type
        .iter()
        .for_each(|values| write_enum(text, values));
}

fn write_message(text: &mut String, message: &DescriptorProto) {
    let is_map_entry = message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry());
    writeln!(
        text,
        "message {}{}",
        message.name(),
        if is_map_entry { " (map entry)" } else { "" }
    )
    .unwrap();
    for field in &message.field {
        let group = match field.oneof_index {
            Some(index) if !field.proto3_optional() => {
                format!(" in {}", message.oneof_decl[index as usize].name())
            }
            _ => String::new(),
        };
        writeln!(
            text,
            "  {} = {}: {}{}{group}",
            field.name(),
            field.number(),
            label(field),
            type_name(field)
        )
        .unwrap();
    }
    message
        .nested_type
        .iter()
        .for_each(|nested| write_message(text, nested));
}

fn write_enum(text: &mut String, values: &EnumDescriptorProto) {
    writeln!(text, "enum {}", values.name()).unwrap();
    for value in &values.value {
        writeln!(text, "  {} = {}", value.name(), value.number()).unwrap();
    }
}

fn label(field: &FieldDescriptorProto) -> &'static str {
    match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    }
}

fn type_name(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_string(),
        plain => plain
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    }
}

fn short(name: &str) -> &str {
    name.trim_start_matches(".autodidact.v1.")
        .trim_start_matches('.')
}
