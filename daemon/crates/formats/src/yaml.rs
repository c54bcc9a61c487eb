//! YAML files with their lines: bounded first, since aliases and nesting can make a small file a huge tree.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use saphyr_parser::{Event, Parser};
use serde_json::Value;

use crate::fault::{Fault, Reason, excerpt};
use crate::reader::{MAX_DEPTH, MAX_RECORD_BYTES};

/// The largest file, in bytes: a hand-written one of a few examples.
const MAX_YAML_BYTES: usize = 16 * MAX_RECORD_BYTES;

/// Reads a file of one document; a fault comes with its line.
pub(crate) fn load<'text>(text: &'text str) -> Result<MarkedYaml<'text>, (u64, Fault)> {
    if text.len() > MAX_YAML_BYTES {
        let expected = format!("a YAML file of at most {} MiB", MAX_YAML_BYTES >> 20);
        let found = format!("{} MiB", text.len() >> 20);
        return Err((1, Fault::new(Reason::TooLarge, expected, found)));
    }
    let bad = |line: usize, found: String| {
        let fault = Fault::new(Reason::BadYaml, "plain YAML", excerpt(&found));
        (line.max(1) as u64, fault)
    };
    let mut depth = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| bad(error.marker().line(), error.info().to_string()))?;
        match event {
            Event::Alias(_) => {
                return Err(bad(span.start.line(), "an alias, which is not read".into()));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let found = format!("more than {MAX_DEPTH} levels of nesting");
            return Err(bad(span.start.line(), found));
        }
    }
    let mut documents = MarkedYaml::load_from_str(text)
        .map_err(|error| bad(error.marker().line(), error.info().to_string()))?;
    match documents.len() {
        0 => Err(bad(1, "nothing".into())),
        1 => Ok(documents.remove(0)),
        several => Err(bad(1, format!("{several} documents"))),
    }
}

/// Tells the line that a node starts on, from 1.
pub(crate) fn line(node: &MarkedYaml<'_>) -> u64 {
    node.span.start.line().max(1) as u64
}

/// Finds a field of a mapping.
pub(crate) fn field<'node>(
    node: &'node MarkedYaml<'node>,
    name: &str,
) -> Option<&'node MarkedYaml<'node>> {
    let YamlData::Mapping(fields) = &node.data else {
        return None;
    };
    let is_named = |key: &MarkedYaml<'_>| matches!(&key.data, YamlData::Value(Scalar::String(key)) if key == name);
    fields
        .iter()
        .find(|(key, _)| is_named(key))
        .map(|(_, value)| value)
}

/// Turns a node into JSON; what JSON does not know is null.
pub(crate) fn to_json(node: &MarkedYaml<'_>) -> Value {
    match &node.data {
        YamlData::Value(Scalar::Boolean(value)) => (*value).into(),
        YamlData::Value(Scalar::Integer(value)) => (*value).into(),
        YamlData::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        YamlData::Value(Scalar::String(value)) => value.to_string().into(),
        YamlData::Sequence(items) => items.iter().map(to_json).collect(),
        YamlData::Mapping(fields) => {
            let named = |(key, value): (&MarkedYaml<'_>, &MarkedYaml<'_>)| match &key.data {
                YamlData::Value(Scalar::String(key)) => Some((key.to_string(), to_json(value))),
                _ => None,
            };
            fields
                .iter()
                .filter_map(named)
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        _ => Value::Null,
    }
}
