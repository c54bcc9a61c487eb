//! Mapping files: which column of a file is which field of a format.
//!
//! One stands beside its file, as `<file>.mapping.yaml` or (where that is not there) `<file>.mapping.json`:
//!
//! ```yaml
//! columns:
//!   Frage: instruction
//!   Antwort: output
//! ```
//!
//! `columns` names columns and, after each, one of [`MAPPED_FIELDS`]; every field once. Columns that it does not name are
//! passed over. It holds for every kind of file: of JSON, columns are the names of an object's fields.

use saphyr::{MarkedYaml, Scalar, YamlData};
use serde_json::Value;

use crate::encoding;
use crate::fault::{Fault, Reason, describe, excerpt};
use crate::fields::Fields;
use crate::yaml;

/// What the names of mapping files end with, after the whole name of the file they stand beside.
pub const MAPPING_SUFFIXES: [&str; 2] = [".mapping.yaml", ".mapping.json"];

/// The fields that columns may be mapped to.
pub const MAPPED_FIELDS: [&str; 26] = [
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "instances",
    "is_classification",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "question",
    "answer",
    "context",
    "target",
    "text",
    "label",
    "tokens",
    "ner_tags",
    "tags",
    "task_type",
    "topic",
    "labels",
    "language",
];

/// Which column is which field; by default each is the one of its own name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Columns with their fields; none means that nothing is renamed.
    columns: Vec<(String, &'static str)>,
}

impl Mapping {
    /// Reads a mapping file; a fault comes with its line there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, (u64, Fault)> {
        let in_mapping = |(line, fault): (u64, Fault)| {
            let Fault {
                expected, found, ..
            } = fault;
            let expected = format!("{expected}, in the mapping file");
            (line, Fault::new(Reason::BadMapping, expected, found))
        };
        let text = encoding::decode(bytes).map_err(in_mapping)?;
        // JSON is YAML, save for a few escapes; what is meant to be JSON is read as such.
        if let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(&text) {
            let columns = value.get("columns").and_then(Value::as_object);
            let columns = columns.into_iter().flatten();
            let pairs = columns.map(|(column, field)| (1, column.clone(), field.clone()));
            return Self::of(&value, pairs.collect()).map_err(in_mapping);
        }
        let document = yaml::load(&text).map_err(in_mapping)?;
        let pairs = yaml::field(&document, "columns").map_or_else(Vec::new, pairs);
        Self::of(&yaml::to_json(&document), pairs).map_err(in_mapping)
    }

    /// Checks what a file says: its whole content, and the columns in it with their lines.
    fn of(content: &Value, columns: Vec<(u64, String, Value)>) -> Result<Self, (u64, Fault)> {
        let bad = |line: u64, expected: String, found: String| {
            (line, Fault::new(Reason::BadMapping, expected, found))
        };
        let other = content.as_object().and_then(|fields| {
            let mut names = fields.keys().filter(|name| *name != "columns");
            names.next().cloned()
        });
        if columns.is_empty() || other.is_some() {
            let expected = "`columns:` alone, with the file's columns and the field of each";
            let found = other.map_or_else(|| describe(content), |name| excerpt(&name));
            return Err(bad(1, expected.into(), found));
        }
        let mut mapping = Self::default();
        for (line, column, field) in columns {
            let known = field
                .as_str()
                .and_then(|name| MAPPED_FIELDS.into_iter().find(|field| *field == name));
            let Some(field) = known else {
                let column = excerpt(&column);
                let expected = format!("for `{column}` one of {}", MAPPED_FIELDS.join(", "));
                return Err(bad(line, expected, describe(&field)));
            };
            if let Some((first, _)) = mapping.columns.iter().find(|(_, taken)| *taken == field) {
                let found = format!("`{}` and `{}`", excerpt(first), excerpt(&column));
                return Err(bad(line, format!("one column for `{field}`"), found));
            }
            mapping.columns.push((column, field));
        }
        Ok(mapping)
    }

    /// Tells which field a column is; nothing for one that is passed over.
    pub(crate) fn field_of<'column>(&self, column: &'column str) -> Option<&'column str> {
        if self.columns.is_empty() {
            return Some(column);
        }
        let found = self.columns.iter().find(|(name, _)| name == column);
        found.map(|(_, field)| *field)
    }

    /// Names a record's fields.
    pub(crate) fn apply(&self, fields: Fields) -> Fields {
        if self.columns.is_empty() {
            return fields;
        }
        let named = |(column, value): (String, Value)| {
            let field = self.field_of(&column)?;
            Some((field.to_string(), value))
        };
        fields.into_iter().filter_map(named).collect()
    }

    /// Refuses a file that lacks a column that is mapped.
    pub(crate) fn check_columns(&self, columns: &[String]) -> Result<(), Fault> {
        let missing = self
            .columns
            .iter()
            .find(|(name, _)| !columns.contains(name));
        let Some((missing, field)) = missing else {
            return Ok(());
        };
        Err(Fault::new(
            Reason::BadMapping,
            format!(
                "a column `{}` for `{field}`, as the mapping file has it",
                excerpt(missing)
            ),
            excerpt(&format!("the columns {}", columns.join(", "))),
        ))
    }
}

fn pairs(columns: &MarkedYaml<'_>) -> Vec<(u64, String, Value)> {
    let YamlData::Mapping(fields) = &columns.data else {
        return Vec::new();
    };
    let pair = |(column, field): (&MarkedYaml<'_>, &MarkedYaml<'_>)| {
        let name = match &column.data {
            YamlData::Value(Scalar::String(name)) => name.to_string(),
            // A column that is called `1`.
            _ => yaml::to_json(column).to_string(),
        };
        (yaml::line(column), name, yaml::to_json(field))
    };
    fields.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FORMATS;

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "# Which is which.\ncolumns:\n  Frage: instruction\n  回答: output\n";
        let json = r#"{"columns": {"Frage": "instruction", "\u56de\u7b54": "output"}}"#;
        let mapping = Mapping::read(yaml.as_bytes()).expect("a good file");
        assert_eq!(Mapping::read(json.as_bytes()), Ok(mapping.clone()));
        assert_eq!(mapping.field_of("回答"), Some("output"));
        assert_eq!(mapping.field_of("output"), None);
        let columns = |names: &str| names.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(mapping.check_columns(&columns("x 回答 Frage")), Ok(()));
        let fault = mapping.check_columns(&columns("x 回答")).expect_err("bad");
        assert_eq!(
            fault.expected,
            "a column `Frage` for `instruction`, as the mapping file has it"
        );
        assert_eq!(fault.found, "the columns x, 回答");
    }

    #[test]
    fn bad_mappings_are_told_with_their_line() {
        let check = |text: &str, line: u64, expected: &str, found: &str| {
            let (at, fault) = Mapping::read(text.as_bytes()).expect_err("a bad file");
            assert_eq!((at, fault.reason), (line, Reason::BadMapping), "{text}");
            assert!(fault.expected.contains(expected), "{}", fault.expected);
            assert_eq!(fault.found, found, "{text}");
        };
        let alone = "`columns:` alone";
        check("", 1, "plain YAML", "nothing");
        check("columns: 3", 1, alone, "an object with the fields columns");
        check("Frage: instruction", 1, alone, "Frage");
        check("columns: {a: text}\nkolumns: {}", 1, alone, "kolumns");
        check(
            "columns:\n  a: text\n  b: lable\n",
            3,
            "for `b` one of instruction, ",
            "the string \"lable\"",
        );
        check(
            "columns:\n  a: text\n  b: text\n",
            3,
            "one column for `text`",
            "`a` and `b`",
        );
        check(
            "columns: &a {x: text}\nmore: *a",
            2,
            "plain YAML",
            "an alias, which is not read",
        );
    }

    #[test]
    fn every_field_of_a_format_can_be_mapped_to() {
        for format in FORMATS {
            let names = format.fields.split([',', '[', ']', '{', '}', ' ', '?']);
            for name in names.filter(|name| !name.is_empty() && *name != "or") {
                // What stands inside of lists and task files has no columns.
                let inside = ["role", "content", "from", "value", "Definition"].contains(&name)
                    || name == "task_description";
                assert!(inside || MAPPED_FIELDS.contains(&name), "{name}");
            }
        }
    }
}
