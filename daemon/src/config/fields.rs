//! The table of configuration fields.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use autodidact_domain::DatasetName;
use autodidact_domain::embedding::EmbedderSetting;
use autodidact_engine::DeviceChoice;

use super::{
    ComputePath, Config, ConfigFault, InboxFolder, LogFormat, Setting, Value, plugins, remote,
};

/// A field of the configuration.
pub(crate) struct Field {
    /// Its dotted key in the file.
    pub(crate) key: &'static str,
    /// What a right value is, for messages.
    pub(crate) expected: &'static str,
    /// Sets it, or answers false where the value is not right.
    set: fn(&mut Config, &Value, &Path) -> bool,
}

/// Every field. The environment's name of `log.level` is `AUTODIDACT_LOG_LEVEL`.
static FIELDS: [Field; 17] = [
    Field {
        key: "data_dir",
        expected: "a path",
        set: |c, v, base| put(&mut c.data_dir, path(v, base)),
    },
    Field {
        key: "socket",
        expected: "a path",
        set: |c, v, base| put(&mut c.socket, path(v, base)),
    },
    Field {
        key: "threads",
        expected: "a whole number from 1 to 1024",
        set: |c, v, _| put(&mut c.threads, integer(v, 1, 1024).map(|n| n as usize)),
    },
    Field {
        key: "compute",
        expected: "\"exact\" or \"fast\"",
        set: |c, v, _| put(&mut c.compute, compute(v)),
    },
    Field {
        key: "device",
        expected: DEVICE,
        set: |c, v, _| put(&mut c.device, device(v)),
    },
    Field {
        key: "tcp.address",
        expected: "an address with a port, such as 127.0.0.1:7717",
        set: |c, v, _| {
            put_some(
                &mut c.tcp.address,
                text(v).and_then(|t| t.parse::<SocketAddr>().ok()),
            )
        },
    },
    Field {
        key: "tcp.token_file",
        expected: "a path",
        set: |c, v, base| put_some(&mut c.tcp.token_file, path(v, base)),
    },
    Field {
        key: "tcp.tls_certificate",
        expected: "a path",
        set: |c, v, base| put_some(&mut c.tcp.tls_certificate, path(v, base)),
    },
    Field {
        key: "tcp.tls_key",
        expected: "a path",
        set: |c, v, base| put_some(&mut c.tcp.tls_key, path(v, base)),
    },
    Field {
        key: "log.level",
        expected: "error, warn, info, debug or trace, or directives such as \"info,autodidact_server=debug\"",
        set: |c, v, _| put(&mut c.log.level, log_level(v)),
    },
    Field {
        key: "log.format",
        expected: "\"text\" or \"json\"",
        set: |c, v, _| put(&mut c.log.format, log_format(v)),
    },
    Field {
        key: "limits.file_mib",
        expected: "a whole number from 1 to 4096",
        set: |c, v, _| put(&mut c.limits.file_mib, integer(v, 1, 4096)),
    },
    Field {
        key: "limits.engine_queue",
        expected: "a whole number from 1 to 4096",
        set: |c, v, _| {
            put(
                &mut c.limits.engine_queue,
                integer(v, 1, 4096).map(|n| n as usize),
            )
        },
    },
    Field {
        key: "limits.cached_adapters",
        expected: "a whole number from 1 to 64",
        set: |c, v, _| {
            put(
                &mut c.limits.cached_adapters,
                integer(v, 1, 64).map(|n| n as usize),
            )
        },
    },
    Field {
        key: "limits.memory_mib",
        expected: "a whole number from 1 to 1048576",
        set: |c, v, _| put_some(&mut c.limits.memory_mib, integer(v, 1, 1 << 20)),
    },
    Field {
        key: "embedders.en",
        expected: EMBEDDER,
        set: |c, v, _| put_some(&mut c.embedders.en, embedder(v)),
    },
    Field {
        key: "embedders.zh",
        expected: EMBEDDER,
        set: |c, v, _| put_some(&mut c.embedders.zh, embedder(v)),
    },
];

const DEVICE: &str = if DeviceChoice::Cuda(0).is_built_in() {
    "\"cpu\", \"cuda\" or \"cuda:N\""
} else {
    "\"cpu\": this program was built without CUDA (daemon/build-cuda.sh builds it with)"
};

const EMBEDDER: &str = "the name of a registered model, or \"generator\"";

/// The field that is a list of tables in the file, and `DATASET=PATH` joined by `:` elsewhere.
static INBOX: Field = Field {
    key: "inbox",
    expected: "[[inbox]] tables with `path` and `dataset`, or DATASET=PATH",
    set: |c, v, base| folders(v, base).map(|f| c.inbox.extend(f)).is_some(),
};

/// Goes through every field.
pub(crate) fn all() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().chain([&INBOX])
}

/// Names the variable of a field.
pub(crate) fn variable(key: &str) -> String {
    format!("AUTODIDACT_{}", key.to_uppercase().replace('.', "_"))
}

/// Sets a field, or adds a fault.
pub(crate) fn apply(config: &mut Config, setting: &Setting, faults: &mut Vec<ConfigFault>) {
    if plugins::apply(&mut config.plugins, setting, faults).is_some()
        || remote::apply(&mut config.remote_models, setting, faults).is_some()
    {
        return;
    }
    let field = all().find(|field| field.key == setting.key);
    let Some(field) = field else {
        faults.push(ConfigFault {
            origin: setting.origin.clone(),
            key: setting.key.clone(),
            expected: "a known field".into(),
            found: setting.value.to_string(),
            nearest: nearest_key(&setting.key),
        });
        return;
    };
    if !(field.set)(config, &setting.value, &setting.base) {
        faults.push(ConfigFault {
            origin: setting.origin.clone(),
            key: setting.key.clone(),
            expected: field.expected.into(),
            found: setting.value.to_string(),
            nearest: None,
        });
    }
}

fn nearest_key(key: &str) -> Option<String> {
    all()
        .map(|field| (strsim::jaro_winkler(key, field.key), field.key))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key.to_string())
}

pub(super) fn put<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

pub(super) fn put_some<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    value.map(|value| *place = Some(value)).is_some()
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Some(text.trim()),
        _ => None,
    }
}

pub(super) fn path(value: &Value, base: &Path) -> Option<PathBuf> {
    text(value).map(|text| base.join(text))
}

pub(super) fn integer(value: &Value, least: i64, most: i64) -> Option<u64> {
    let number = match value {
        Value::Integer(number) => *number,
        _ => text(value)?.parse().ok()?,
    };
    (least..=most).contains(&number).then_some(number as u64)
}

fn embedder(value: &Value) -> Option<String> {
    let text = text(value)?;
    EmbedderSetting::parse(text).map(|_| text.to_string())
}

fn compute(value: &Value) -> Option<ComputePath> {
    match text(value)? {
        "exact" => Some(ComputePath::Exact),
        "fast" => Some(ComputePath::Fast),
        _ => None,
    }
}

fn device(value: &Value) -> Option<DeviceChoice> {
    let device: DeviceChoice = text(value)?.parse().ok()?;
    device.is_built_in().then_some(device)
}

fn log_format(value: &Value) -> Option<LogFormat> {
    match text(value)? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn log_level(value: &Value) -> Option<String> {
    let text = text(value)?;
    // A bare word that is no level would be taken for a target, which turns everything else off.
    let is_level = |word: &str| {
        matches!(
            word.trim(),
            "error" | "warn" | "info" | "debug" | "trace" | "off"
        )
    };
    let every_bare_word_is_a_level = text
        .split(',')
        .all(|part| part.contains('=') || is_level(part));
    (every_bare_word_is_a_level && tracing_subscriber::EnvFilter::try_new(text).is_ok())
        .then(|| text.to_string())
}

fn folders(value: &Value, base: &Path) -> Option<Vec<InboxFolder>> {
    let folders = match value {
        Value::Folders(folders) => folders.clone(),
        _ => text(value)?
            .split(':')
            .map(|pair| {
                let (dataset, path) = pair.split_once('=')?;
                Some(InboxFolder {
                    path: PathBuf::from(path),
                    dataset: dataset.to_string(),
                })
            })
            .collect::<Option<Vec<_>>>()?,
    };
    let right = |f: &InboxFolder| {
        DatasetName::new(f.dataset.as_str()).is_ok() && !f.path.as_os_str().is_empty()
    };
    if !folders.iter().all(right) {
        return None;
    }
    Some(
        folders
            .into_iter()
            .map(|f| InboxFolder {
                path: base.join(f.path),
                dataset: f.dataset,
            })
            .collect(),
    )
}
