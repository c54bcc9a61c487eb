//! Reads fields off a YAML tree and collects every fault on the way, with its line.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use saphyr::{MarkedYaml, Scalar, YamlData};

use super::fault::{Fault, nearest_name};

/// The faults found so far and the fields asked for, shared by all readers of one file.
#[derive(Default)]
pub(super) struct Faults {
    faults: RefCell<Vec<Fault>>,
    asked: RefCell<Vec<KnownField>>,
    /// The links of chains that could not be read.
    unread: RefCell<Vec<String>>,
}

/// A field that a workflow file may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownField {
    /// Where it stands, such as `stages.train.r`.
    pub path: String,
    /// What it may be.
    pub expected: String,
    /// What it is where it is not given; none where it must be, or where nothing is the default.
    pub default: Option<String>,
}

impl Faults {
    pub(super) fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    fn ask(&self, path: &str, expected: &str, default: Option<String>) {
        self.asked.borrow_mut().push(KnownField {
            path: path.to_string(),
            expected: expected.to_string(),
            default,
        });
    }

    pub(super) fn take_unread(&self) -> Vec<String> {
        self.unread.take()
    }

    pub(super) fn into_asked(self) -> Vec<KnownField> {
        self.asked.into_inner()
    }

    pub(super) fn into_sorted(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        faults
    }
}

/// A node with its place in the file.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    yaml: &'a MarkedYaml<'a>,
    faults: &'a Faults,
}

impl<'a> Node<'a> {
    pub(super) fn new(yaml: &'a MarkedYaml<'a>, faults: &'a Faults) -> Self {
        Self { yaml, faults }
    }

    /// Notes that the link of a chain at this node could not be read, so that the links after it move up.
    pub(super) fn note_unread(&self, path: String) {
        self.faults.unread.borrow_mut().push(path);
    }

    pub(super) fn line(&self) -> u32 {
        u32::try_from(self.yaml.span.start.line()).unwrap_or(0)
    }

    pub(super) fn fault(
        &self,
        path: &str,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.faults.push(Fault {
            line: self.line(),
            path: path.to_string(),
            message: message.into(),
            expected: expected.into(),
            found: self.describe(),
            nearest: None,
        });
    }

    pub(super) fn fault_name(&self, path: &str, what: &str, name: &str, known: &[&str]) {
        self.faults.push(Fault {
            line: self.line(),
            path: path.to_string(),
            message: format!("unknown {what}"),
            expected: format!("one of {}", known.join(", ")),
            found: format!("{name:?}"),
            nearest: nearest_name(name, known.iter().copied()),
        });
    }

    fn describe(&self) -> String {
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        match &self.yaml.data {
            YamlData::Value(Scalar::Null) => "nothing".to_string(),
            YamlData::Value(Scalar::Boolean(b)) => format!("{b}"),
            YamlData::Value(Scalar::Integer(i)) => format!("{i}"),
            YamlData::Value(Scalar::FloatingPoint(x)) => format!("{x}"),
            YamlData::Value(Scalar::String(s)) => format!("{:?}", cut(s)),
            YamlData::Sequence(items) => format!("a list of {}", items.len()),
            YamlData::Mapping(_) => "a mapping".to_string(),
            _ => "something that is not plain YAML".to_string(),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.yaml.data, YamlData::Value(Scalar::Null))
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(s)) => Some(s.to_string()),
            _ => {
                self.fault(path, "wrong type", "text");
                None
            }
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.yaml.data, YamlData::Value(Scalar::String(_)))
    }

    pub(super) fn integer(&self, path: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = whole_number(&range);
        match &self.yaml.data {
            YamlData::Value(Scalar::Integer(i)) => match u64::try_from(*i) {
                Ok(i) if range.contains(&i) => return Some(i),
                _ => self.fault(path, "out of range", expected),
            },
            _ => self.fault(path, "wrong type", expected),
        }
        None
    }

    pub(super) fn number(&self, path: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let expected = any_number(&range);
        let value = match &self.yaml.data {
            YamlData::Value(Scalar::Integer(i)) => *i as f64,
            YamlData::Value(Scalar::FloatingPoint(x)) => x.into_inner(),
            // YAML 1.2 reads `2e-4` as text; people mean the number.
            YamlData::Value(Scalar::String(s)) if s.parse::<f64>().is_ok_and(f64::is_finite) => {
                s.parse().expect("checked in the guard")
            }
            _ => {
                self.fault(path, "wrong type", expected);
                return None;
            }
        };
        if range.contains(&value) {
            return Some(value);
        }
        self.fault(path, "out of range", expected);
        None
    }

    /// Reads the node as a mapping whose names are not known beforehand.
    pub(super) fn entries(&self, path: &str) -> Vec<(String, Node<'a>)> {
        let entries = self.mapping(path).entries.into_iter();
        entries.map(|entry| (entry.name, entry.value)).collect()
    }

    pub(super) fn items(&self, path: &str) -> Vec<Node<'a>> {
        match &self.yaml.data {
            YamlData::Sequence(items) => items
                .iter()
                .map(|yaml| Node::new(yaml, self.faults))
                .collect(),
            _ => {
                self.fault(path, "wrong type", "a list");
                Vec::new()
            }
        }
    }

    /// Reads the node as a mapping with text keys; a fault and an empty mapping where it is none.
    pub(super) fn mapping(&self, path: &str) -> Fields<'a> {
        let mut entries = Vec::new();
        match &self.yaml.data {
            YamlData::Mapping(mapping) => {
                for (key, value) in mapping {
                    let key = Node::new(key, self.faults);
                    if let Some(name) = key.text(path) {
                        entries.push(Entry {
                            name,
                            key,
                            value: Node::new(value, self.faults),
                            taken: false,
                        });
                    }
                }
            }
            YamlData::Value(Scalar::Null) => {}
            _ => self.fault(path, "wrong type", "a mapping"),
        }
        Fields {
            at: *self,
            path: path.to_string(),
            entries,
            known: Vec::new(),
        }
    }

    /// Reads a chain's link: a bare word, or a mapping of one word to its options.
    pub(super) fn link(&self, path: &str) -> Option<(String, Option<Node<'a>>)> {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(word)) => Some((word.to_string(), None)),
            YamlData::Mapping(mapping) if mapping.len() == 1 => {
                let (key, value) = mapping.iter().next()?;
                let word = Node::new(key, self.faults).text(path)?;
                let value = Node::new(value, self.faults);
                Some((word, (!value.is_null()).then_some(value)))
            }
            _ => {
                self.fault(
                    path,
                    "wrong type",
                    "a rule's name, or one name with its options",
                );
                None
            }
        }
    }

    /// Turns the node into JSON, for plugin configurations.
    pub(super) fn json(&self, path: &str) -> serde_json::Value {
        use serde_json::Value;
        match &self.yaml.data {
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Value(Scalar::Boolean(b)) => Value::Bool(*b),
            YamlData::Value(Scalar::Integer(i)) => Value::from(*i),
            YamlData::Value(Scalar::FloatingPoint(x)) => Value::from(x.into_inner()),
            YamlData::Value(Scalar::String(s)) => Value::from(s.as_ref()),
            YamlData::Sequence(_) => Value::Array(
                self.items(path)
                    .iter()
                    .map(|item| item.json(path))
                    .collect(),
            ),
            YamlData::Mapping(_) => {
                let fields = self.mapping(path);
                Value::Object(
                    fields
                        .entries
                        .iter()
                        .map(|e| (e.name.clone(), e.value.json(path)))
                        .collect(),
                )
            }
            _ => {
                self.fault(path, "wrong type", "plain YAML");
                Value::Null
            }
        }
    }
}

struct Entry<'a> {
    name: String,
    key: Node<'a>,
    value: Node<'a>,
    taken: bool,
}

/// The fields of a mapping. Every field asked for becomes a known name; [`Fields::finish`] reports the rest.
pub(super) struct Fields<'a> {
    at: Node<'a>,
    path: String,
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Notes a field for those who ask what a workflow file may have. The typed readers do it themselves.
    pub(super) fn ask(&self, name: &str, expected: &str, default: Option<String>) {
        self.at.faults.ask(&self.path(name), expected, default);
    }

    /// Takes a field's node, where it stands there and is not null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.take_with_null(name).filter(|node| !node.is_null())
    }

    /// Takes a field's node, where it stands there; `evaluate:` with nothing after it stands there.
    pub(super) fn take_with_null(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let entry = self.entries.iter_mut().find(|e| e.name == name)?;
        entry.taken = true;
        Some(entry.value)
    }

    pub(super) fn require(&mut self, name: &'static str, expected: &str) -> Option<Node<'a>> {
        self.ask(name, &format!("{expected}; required"), None);
        let node = self.take(name);
        if node.is_none() {
            self.at.faults.push(Fault {
                line: self.at.line(),
                path: self.path(name),
                message: "missing".to_string(),
                expected: expected.to_string(),
                found: "nothing".to_string(),
                nearest: None,
            });
        }
        node
    }

    /// Reads a name type such as `DatasetName`.
    pub(super) fn parsed<T: std::str::FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
    ) -> Option<T> {
        let path = self.path(name);
        self.ask(name, "a name", None);
        let node = self.take(name)?;
        parse_node(node, &path)
    }

    /// Reads one of a few words.
    pub(super) fn choice(&mut self, name: &'static str, known: &[&str], default: &str) -> String {
        let path = self.path(name);
        self.ask(
            name,
            &format!("one of {}", known.join(", ")),
            Some(default.to_string()),
        );
        let Some(node) = self.take(name) else {
            return default.to_string();
        };
        match node.text(&path) {
            Some(text) if known.contains(&text.as_str()) => text,
            Some(text) => {
                node.fault_name(&path, "value", &text, known);
                default.to_string()
            }
            None => default.to_string(),
        }
    }

    /// Reads a text that has no default.
    pub(super) fn text(&mut self, name: &'static str, expected: &str) -> Option<String> {
        let path = self.path(name);
        self.ask(name, expected, None);
        self.take(name)?.text(&path)
    }

    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let path = self.path(name);
        self.ask(name, "true or false", Some(default.to_string()));
        let Some(node) = self.take(name) else {
            return default;
        };
        match &node.yaml.data {
            YamlData::Value(Scalar::Boolean(value)) => *value,
            _ => {
                node.fault(&path, "wrong type", "true or false");
                default
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.given_integer(name, range, Some(default.to_string()))
            .unwrap_or(default)
    }

    fn given_integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: Option<String>,
    ) -> Option<u64> {
        let path = self.path(name);
        self.ask(name, &whole_number(&range), default);
        self.take(name)?.integer(&path, range)
    }

    /// Reads a whole number that has no default.
    pub(super) fn optional_whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.given_integer(name, range, None)
    }

    /// Reads a whole number whose default is found later; `default` says which.
    pub(super) fn optional_small(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        default: Option<String>,
    ) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let value = self.given_integer(name, range, default)?;
        Some(u32::try_from(value).expect("the range ends in u32"))
    }

    pub(super) fn small(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let value = self.integer(
            name,
            u64::from(*range.start())..=u64::from(*range.end()),
            u64::from(default),
        );
        u32::try_from(value).expect("the range ends in u32")
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        // Most defaults are f32: their shortest decimal is what a person would write.
        let shown = Some((default as f32).to_string());
        self.given_number(name, range, shown).unwrap_or(default)
    }

    /// Reads a number that has no default.
    pub(super) fn optional_number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        self.given_number(name, range, None)
    }

    fn given_number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: Option<String>,
    ) -> Option<f64> {
        let path = self.path(name);
        self.ask(name, &any_number(&range), default);
        self.take(name)?.number(&path, range)
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let path = self.path(name);
        self.ask(name, "a list of texts", None);
        let node = self.take(name)?;
        Some(
            node.items(&path)
                .iter()
                .enumerate()
                .filter_map(|(i, n)| n.text(&format!("{path}[{i}]")))
                .collect(),
        )
    }

    /// Reports every field that nobody asked for, with the nearest known name.
    pub(super) fn finish(self) {
        for entry in self.entries.iter().filter(|e| !e.taken) {
            let path = self.path(&entry.name);
            entry
                .key
                .fault_name(&path, "field", &entry.name, &self.known);
        }
    }
}

fn whole_number(range: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn any_number(range: &RangeInclusive<f64>) -> String {
    format!("a number from {} to {}", range.start(), range.end())
}

pub(super) fn parse_node<T: std::str::FromStr<Err: Display>>(
    node: Node<'_>,
    path: &str,
) -> Option<T> {
    let text = node.text(path)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let message: &dyn Display = &error;
            node.fault(path, message.to_string(), "");
            None
        }
    }
}
