//! Where the fields of a workflow file stand, for faults that are found once its tree is gone.

use std::collections::BTreeMap;

use saphyr::{MarkedYaml, Scalar, YamlData};

use super::fault::Fault;

/// The lines of a file's fields, and the links of chains that could not be read and that a workflow's chains therefore lack.
#[derive(Debug, Default)]
pub(crate) struct Places {
    lines: BTreeMap<String, u32>,
    unread: Vec<String>,
}

impl Places {
    /// Finds the fields of a file; `unread` names links such as `stages.filter.chain[1]`.
    pub(super) fn of(document: &MarkedYaml<'_>, unread: Vec<String>) -> Self {
        let mut places = Self {
            lines: BTreeMap::new(),
            unread,
        };
        places.walk(document, "");
        places
    }

    fn walk(&mut self, node: &MarkedYaml<'_>, path: &str) {
        match &node.data {
            YamlData::Mapping(mapping) => {
                for (key, value) in mapping {
                    let YamlData::Value(Scalar::String(name)) = &key.data else {
                        continue;
                    };
                    let path = match path {
                        "" => name.to_string(),
                        path => format!("{path}.{name}"),
                    };
                    self.lines.insert(path.clone(), line_of(key));
                    self.walk(value, &path);
                }
            }
            YamlData::Sequence(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.lines.insert(path.clone(), line_of(item));
                    self.walk(item, &path);
                }
            }
            _ => {}
        }
    }

    /// Gives a fault the line of its field, or of what the field would stand in; its path counts links as the workflow's chains do,
    /// and afterwards as the file does.
    pub(crate) fn place(&self, fault: Fault) -> Fault {
        let path = self.as_in_file(&fault.path);
        let mut known = path.as_str();
        let line = loop {
            if let Some(line) = self.lines.get(known) {
                break *line;
            }
            match known.rfind(['.', '[']) {
                Some(end) => known = &known[..end],
                None => break 0,
            }
        };
        Fault {
            line,
            path,
            ..fault
        }
    }

    fn as_in_file(&self, path: &str) -> String {
        let link = |path: &str| {
            let (chain, rest) = path.split_once(".chain[")?;
            let (index, rest) = rest.split_once(']')?;
            Some((
                format!("{chain}.chain"),
                index.parse::<usize>().ok()?,
                rest.to_string(),
            ))
        };
        let Some((chain, read, rest)) = link(path) else {
            return path.to_string();
        };
        // The place of the link that so many that could be read stand before.
        let is_read = |i: &usize| !self.unread.contains(&format!("{chain}[{i}]"));
        let index = (0..).filter(is_read).nth(read).unwrap_or(read);
        format!("{chain}[{index}]{rest}")
    }
}

fn line_of(node: &MarkedYaml<'_>) -> u32 {
    u32::try_from(node.span.start.line()).unwrap_or(0)
}
