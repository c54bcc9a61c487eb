//! `[remote_models.NAME]`: the table of a remote model's fields.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use autodidact_domain::ModelName;
use autodidact_remote::{Api, Constraints, MaxTokensField, RemoteSettings};
use serde::Serialize;

use super::fields::{integer, path, put, put_some, text};
use super::{ConfigFault, Setting, Value};

/// What the keys of these fields begin with.
pub(super) const SECTION: &str = "remote_models";

/// What the variables of these fields begin with.
pub(super) const VARIABLES: &str = "AUTODIDACT_REMOTE_MODELS_";

/// One remote model as configured. The key itself is no part of it, only where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct RemoteModelConfig {
    /// What its requests are made with.
    #[serde(flatten)]
    pub(crate) settings: RemoteSettings,
    /// The file with the server's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// The environment variable with the server's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
    /// Where it was first set, for messages.
    #[serde(skip)]
    pub(crate) origin: Origin,
}

/// A place in a file or environment. Two configurations are the same wherever they were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin(pub(crate) String);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A field of a remote model.
struct Field {
    name: &'static str,
    expected: &'static str,
    /// Sets it, or answers false where the value is not right.
    set: fn(&mut RemoteModelConfig, &Value, &Path) -> bool,
}

static FIELDS: [Field; 14] = [
    Field {
        name: "base_url",
        expected: "where an OpenAI-compatible API begins, such as http://127.0.0.1:8000/v1, without user name, password or query",
        set: |c, v, _| {
            let right = text(v).filter(|url| RemoteSettings::base_url_fault(url).is_none());
            put(&mut c.settings.base_url, right.map(String::from))
        },
    },
    Field {
        name: "model",
        expected: "the name that the server knows the model by",
        set: |c, v, _| put(&mut c.settings.model, text(v).map(String::from)),
    },
    Field {
        name: "api",
        expected: "\"chat\", \"completions\" or \"both\"",
        set: |c, v, _| {
            let api = match text(v) {
                Some("chat") => Some(Api::Chat),
                Some("completions") => Some(Api::Completions),
                Some("both") => Some(Api::Both),
                _ => None,
            };
            put(&mut c.settings.api, api)
        },
    },
    Field {
        name: "key_file",
        expected: "a path",
        set: |c, v, base| put_some(&mut c.key_file, path(v, base)),
    },
    Field {
        name: "key_env",
        expected: "the name of an environment variable",
        set: |c, v, _| {
            let name = text(v).filter(|name| {
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            });
            put_some(&mut c.key_env, name.map(String::from))
        },
    },
    Field {
        name: "concurrency",
        expected: "a whole number from 1 to 1024",
        set: |c, v, _| {
            let number = integer(v, 1, 1024).map(|n| n as usize);
            put(&mut c.settings.concurrency, number)
        },
    },
    Field {
        name: "timeout_s",
        expected: "a whole number from 1 to 3600",
        set: |c, v, _| put(&mut c.settings.timeout_s, integer(v, 1, 3600)),
    },
    Field {
        name: "max_retries",
        expected: "a whole number from 0 to 100",
        set: |c, v, _| {
            let number = integer(v, 0, 100).map(|n| n as u32);
            put(&mut c.settings.max_retries, number)
        },
    },
    Field {
        name: "retry_base_ms",
        expected: "a whole number from 1 to 60000",
        set: |c, v, _| put(&mut c.settings.retry_base_ms, integer(v, 1, 60_000)),
    },
    Field {
        name: "prompt_price",
        expected: "the price of a million prompt tokens, a number from 0 to 1e9",
        set: |c, v, _| put(&mut c.settings.prompt_price, price(v)),
    },
    Field {
        name: "completion_price",
        expected: "the price of a million generated tokens, a number from 0 to 1e9",
        set: |c, v, _| put(&mut c.settings.completion_price, price(v)),
    },
    Field {
        name: "extras",
        expected: "true or false: whether the server takes top_k, min_p and repetition_penalty",
        set: |c, v, _| put(&mut c.settings.extras, flag(v)),
    },
    Field {
        name: "constraints",
        expected: "\"none\", \"json_schema\" or \"guided\"",
        set: |c, v, _| {
            let constraints = match text(v) {
                Some("none") => Some(Constraints::None),
                Some("json_schema") => Some(Constraints::JsonSchema),
                Some("guided") => Some(Constraints::Guided),
                _ => None,
            };
            put(&mut c.settings.constraints, constraints)
        },
    },
    Field {
        name: "max_tokens_field",
        expected: "\"max_tokens\" or \"max_completion_tokens\"",
        set: |c, v, _| {
            let field = match text(v) {
                Some("max_tokens") => Some(MaxTokensField::MaxTokens),
                Some("max_completion_tokens") => Some(MaxTokensField::MaxCompletionTokens),
                _ => None,
            };
            put(&mut c.settings.max_tokens_field, field)
        },
    },
];

/// The configured remote models by name.
pub(crate) type RemoteModelConfigs = BTreeMap<String, RemoteModelConfig>;

/// Sets the field that a key such as `remote_models.NAME.base_url` names, or adds a fault. `None` where the key is another's.
pub(super) fn apply(
    models: &mut RemoteModelConfigs,
    setting: &Setting,
    faults: &mut Vec<ConfigFault>,
) -> Option<()> {
    let rest = setting.key.strip_prefix(SECTION)?;
    let mut fault = |expected: String, found: String, nearest: Option<String>| {
        faults.push(ConfigFault {
            origin: setting.origin.clone(),
            key: setting.key.clone(),
            expected,
            found,
            nearest,
        });
    };
    let found = setting.value.to_string();
    // A name may hold dots; a field's does not.
    let parts = rest
        .strip_prefix('.')
        .and_then(|rest| rest.rsplit_once('.'));
    let Some((name, field_name)) = parts else {
        fault(
            "a table [remote_models.NAME] with base_url and model".into(),
            found,
            None,
        );
        return Some(());
    };
    if ModelName::new(name).is_err() {
        fault(
            "a name of 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-' after remote_models".into(),
            found,
            None,
        );
        return Some(());
    }
    let Some(field) = FIELDS.iter().find(|field| field.name == field_name) else {
        let nearest = FIELDS
            .iter()
            .map(|field| (strsim::jaro_winkler(field_name, field.name), field.name))
            .filter(|(likeness, _)| *likeness >= 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, field)| format!("{SECTION}.{name}.{field}"));
        // Whatever it is set to, it may be a key that was put in the wrong place.
        fault(
            "a known field (keys are named by key_file or key_env, never written here)".into(),
            "another name".into(),
            nearest,
        );
        return Some(());
    };
    let name = known_name(models, name);
    let model = models.entry(name).or_insert_with(|| RemoteModelConfig {
        origin: Origin(setting.origin.clone()),
        ..RemoteModelConfig::default()
    });
    if !(field.set)(model, &setting.value, &setting.base) {
        // A URL may hold a password; the message says what is wrong with it instead.
        let found = match (field.name, text(&setting.value)) {
            ("base_url", Some(url)) => {
                let fault = RemoteSettings::base_url_fault(url).unwrap_or("it is not taken");
                format!("something else: {fault}")
            }
            _ => setting.value.to_string(),
        };
        fault(field.expected.into(), found, None);
    }
    Some(())
}

/// Names the field that a variable such as `AUTODIDACT_REMOTE_MODELS_JUDGE_BASE_URL` sets. A model that the file names is
/// found whatever its case, with `_` for its other signs; another one is new, in small letters.
pub(super) fn key_of_variable(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(VARIABLES)?;
    FIELDS.iter().find_map(|field| {
        let name = rest
            .strip_suffix(&field.name.to_uppercase())?
            .strip_suffix('_')?;
        let name = name.to_lowercase();
        (!name.is_empty()).then(|| format!("{SECTION}.{name}.{}", field.name))
    })
}

/// Finds the model that a name from the environment means.
fn known_name(models: &RemoteModelConfigs, name: &str) -> String {
    let plain = |name: &str| name.to_lowercase().replace(['.', '-'], "_");
    if models.contains_key(name) {
        return name.to_string();
    }
    models
        .keys()
        .find(|known| plain(known) == name)
        .cloned()
        .unwrap_or_else(|| name.to_string())
}

/// Checks what every remote model must have, and that one has one key.
pub(super) fn check(models: &RemoteModelConfigs, faults: &mut Vec<ConfigFault>) {
    for (name, model) in models {
        let mut fault = |field: &str, expected: &str, found: String| {
            faults.push(ConfigFault {
                origin: model.origin.0.clone(),
                key: format!("{SECTION}.{name}.{field}"),
                expected: expected.into(),
                found,
                nearest: None,
            });
        };
        let required = [
            ("base_url", &model.settings.base_url),
            ("model", &model.settings.model),
        ];
        for (field, value) in required {
            let mut expected = FIELDS
                .iter()
                .filter(|f| f.name == field)
                .map(|f| f.expected);
            if value.is_empty() {
                fault(field, expected.next().unwrap_or_default(), "nothing".into());
            }
        }
        if model.key_file.is_some() && model.key_env.is_some() {
            fault("key_env", "key_file or key_env, not both", "both".into());
        }
        if let Some(path) = &model.key_file
            && !path.is_file()
        {
            fault("key_file", "a readable file", path.display().to_string());
        }
    }
}

fn price(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        _ => text(value)?.parse().ok()?,
    };
    (0.0..=1e9).contains(&number).then_some(number)
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Flag(flag) => Some(*flag),
        _ => text(value)?.parse().ok(),
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
