//! Reading the configuration file into settings, with the line of each.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{ConfigFault, InboxFolder, Setting, Value, remote};

/// The most a configuration file may hold; ours are a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file that must be there.
pub(super) fn read_settings(path: &Path, faults: &mut Vec<ConfigFault>) -> Vec<Setting> {
    let mut refuse = |expected: &str, found: String| {
        faults.push(ConfigFault {
            origin: path.display().to_string(),
            key: "the file".into(),
            expected: expected.into(),
            found,
            nearest: None,
        });
        Vec::new()
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return refuse("at most 1 MiB", format!("{} bytes", metadata.len()));
        }
        Ok(_) => {}
        Err(error) => return refuse("a readable TOML file", error.to_string()),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, faults),
        Err(error) => refuse("a readable TOML file in UTF-8", error.to_string()),
    }
}

/// Reads a file that may be missing.
pub(super) fn read_settings_if_present(path: &Path, faults: &mut Vec<ConfigFault>) -> Vec<Setting> {
    if path.exists() {
        read_settings(path, faults)
    } else {
        Vec::new()
    }
}

fn parse(path: &Path, text: &str, faults: &mut Vec<ConfigFault>) -> Vec<Setting> {
    let name = path.file_name().map_or_else(
        || path.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    );
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(0, |span| line_of(text, span.start));
        faults.push(ConfigFault {
            origin: format!("{name} line {line}"),
            key: "the file".into(),
            expected: "TOML".into(),
            found: error.message().to_string(),
            nearest: None,
        });
    }
    let mut reader = FileReader {
        name,
        base,
        text,
        faults,
        settings: Vec::new(),
    };
    reader.table("", table.get_ref());
    reader.settings
}

struct FileReader<'a> {
    name: String,
    base: PathBuf,
    text: &'a str,
    faults: &'a mut Vec<ConfigFault>,
    settings: Vec<Setting>,
}

impl FileReader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let dotted = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            let origin = format!(
                "{} line {}",
                self.name,
                line_of(self.text, key.span().start)
            );
            let value = match value.get_ref() {
                // A remote model without a field would else go unseen.
                DeValue::Table(inner) if inner.is_empty() && prefix == remote::SECTION => {
                    Value::Other("an empty table".into())
                }
                DeValue::Table(inner) => {
                    self.table(&dotted, inner);
                    continue;
                }
                DeValue::Boolean(flag) => Value::Flag(*flag),
                DeValue::Float(number) => number
                    .as_str()
                    .replace('_', "")
                    .parse()
                    .map_or_else(|_| Value::Other(number.as_str().to_string()), Value::Number),
                DeValue::String(text) => Value::Text(text.to_string()),
                DeValue::Integer(number) => number.as_str().parse().map_or_else(
                    |_| Value::Other(number.as_str().to_string()),
                    Value::Integer,
                ),
                DeValue::Array(items) if dotted == "inbox" => {
                    let items: Vec<&DeValue<'_>> =
                        items.iter().map(|item| item.get_ref()).collect();
                    self.folders(&origin, &items)
                }
                other => Value::Other(format!("a {}", other.type_str())),
            };
            self.settings.push(Setting {
                key: dotted,
                value,
                origin,
                base: self.base.clone(),
            });
        }
    }

    /// Reads `[[inbox]]` tables; a table that lacks a field becomes an empty folder, which the field's check refuses.
    fn folders(&mut self, origin: &str, items: &[&DeValue<'_>]) -> Value {
        let mut folders = Vec::new();
        for item in items {
            let DeValue::Table(table) = item else {
                return Value::Other(format!("a list of {}s", item.type_str()));
            };
            let mut folder = InboxFolder {
                path: PathBuf::new(),
                dataset: String::new(),
            };
            for (key, value) in table {
                let text = match value.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    other => format!("a {}", other.type_str()),
                };
                match key.get_ref().as_ref() {
                    "path" => folder.path = PathBuf::from(text),
                    "dataset" => folder.dataset = text,
                    unknown => self.faults.push(ConfigFault {
                        origin: origin.to_string(),
                        key: format!("inbox.{unknown}"),
                        expected: "`path` or `dataset`".into(),
                        found: text,
                        nearest: None,
                    }),
                }
            }
            folders.push(folder);
        }
        Value::Folders(folders)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}
