//! The daemon's configuration: defaults < file < environment < flags.
//!
//! Every field stands once, in [`fields::FIELDS`]; the file's keys, the environment's names and the checks follow from it.
//! Unknown fields are refused, and every fault is reported at once.

mod fields;
mod file;
mod plugins;
mod remote;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use autodidact_domain::embedding::EmbedderSetting;
use autodidact_domain::{EmbedderTable, Language};
use autodidact_engine::DeviceChoice;
use serde::{Serialize, Serializer};

use crate::paths;
pub(crate) use plugins::PluginConfigs;
pub(crate) use remote::{RemoteModelConfig, RemoteModelConfigs};

/// What a running daemon is set to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Config {
    /// Everything durable lies here.
    pub(crate) data_dir: PathBuf,
    /// The Unix socket; the folder that holds it is closed to others.
    pub(crate) socket: PathBuf,
    /// Threads of the engine.
    pub(crate) threads: usize,
    /// The compute path that generates.
    pub(crate) compute: ComputePath,
    /// What generates, scores and gives hidden states: the processor or a GPU.
    #[serde(serialize_with = "device_name")]
    pub(crate) device: DeviceChoice,
    /// The network address, where one is wanted besides the socket.
    pub(crate) tcp: Tcp,
    /// What goes to the log.
    pub(crate) log: Log,
    /// Bounds on what is taken in.
    pub(crate) limits: Limits,
    /// What embeds texts of each language.
    pub(crate) embedders: Embedders,
    /// Watched folders besides `<data-dir>/inbox/<dataset>`.
    pub(crate) inbox: Vec<InboxFolder>,
    /// Models that servers elsewhere run, by the name they have here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) remote_models: RemoteModelConfigs,
    /// Plugins with limits of their own, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) plugins: PluginConfigs,
}

/// How the daemon is reached over TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tcp {
    /// Where to listen; none listens on the socket alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<SocketAddr>,
    /// The file with the bearer token; made with a random token where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate chain in PEM; needed off loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Log {
    /// A level, or directives such as `info,autodidact_server=debug`.
    pub(crate) level: String,
    /// For people or for machines.
    pub(crate) format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds on what is taken in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Limits {
    /// The largest dataset file, in MiB.
    pub(crate) file_mib: u64,
    /// Jobs that may wait for the device.
    pub(crate) engine_queue: usize,
    /// Adapters kept in memory.
    pub(crate) cached_adapters: usize,
    /// The most memory that models may take with all their work, in MiB; by default what the machine and the control group
    /// have free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mib: Option<u64>,
}

/// What embeds texts of each language: a registered model's name, or `generator` for the generator's hidden states. A
/// language that is not set takes the first registered encoder that knows its texts, else the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Embedders {
    /// English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) en: Option<String>,
    /// Chinese.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zh: Option<String>,
}

impl Embedders {
    /// Puts the settings in the table that the loop looks at.
    pub(crate) fn table(&self) -> EmbedderTable {
        let settings = [(Language::En, &self.en), (Language::Zh, &self.zh)];
        let settings = settings.into_iter().filter_map(|(language, text)| {
            let setting = EmbedderSetting::parse(text.as_deref()?)?;
            Some((language, setting))
        });
        EmbedderTable {
            settings: settings.collect(),
        }
    }
}

/// The engine's compute path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ComputePath {
    /// f32 throughout, the reference.
    Exact,
    /// Quantised weights and activations.
    Fast,
}

/// A folder whose files become versions of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct InboxFolder {
    /// The folder.
    pub(crate) path: PathBuf,
    /// The dataset.
    pub(crate) dataset: String,
}

/// The environment variables that matter here, by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// One field set by a file, a variable or a flag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The dotted key, such as `log.level`.
    pub(crate) key: String,
    /// What it is set to.
    pub(crate) value: Value,
    /// Where it was set, for messages: `autodidact.toml line 3`, `AUTODIDACT_THREADS`, `--threads`.
    pub(crate) origin: String,
    /// The folder that a relative path is relative to.
    pub(crate) base: PathBuf,
}

/// A field's value before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Text, or anything that came from the environment or a flag.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A list of folders (`[[inbox]]`).
    Folders(Vec<InboxFolder>),
    /// Anything else, as it stands in the file.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Folders(folders) => write!(f, "{} folders", folders.len()),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ConfigFault {
    /// Where it was set.
    pub(crate) origin: String,
    /// The field.
    pub(crate) key: String,
    /// What was expected.
    pub(crate) expected: String,
    /// What stands there.
    pub(crate) found: String,
    /// The nearest right name, for an unknown one.
    pub(crate) nearest: Option<String>,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: expected {}, found {}",
            self.origin, self.key, self.expected, self.found
        )?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean {nearest:?}?")?;
        }
        Ok(())
    }
}

/// Everything wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault(s):\n  {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
pub(crate) struct ConfigError(pub(crate) Vec<ConfigFault>);

/// Variables of ours that are no fields.
const OTHER_VARIABLES: [&str; 4] = [
    "AUTODIDACT_CACHE",
    "AUTODIDACT_CONFIG",
    "AUTODIDACT_ADDRESS",
    "AUTODIDACT_TOKEN_FILE",
];

impl Config {
    /// Makes the configuration that a data directory has by default.
    pub(crate) fn defaults(data_dir: PathBuf) -> Self {
        Self {
            socket: default_socket(&data_dir),
            data_dir,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            compute: ComputePath::Fast,
            device: DeviceChoice::Cpu,
            tcp: Tcp::default(),
            log: Log {
                level: "info".to_string(),
                format: LogFormat::Text,
            },
            limits: Limits {
                file_mib: 256,
                engine_queue: 64,
                cached_adapters: 3,
                memory_mib: None,
            },
            embedders: Embedders::default(),
            inbox: Vec::new(),
            remote_models: RemoteModelConfigs::new(),
            plugins: PluginConfigs::new(),
        }
    }

    /// Puts defaults, file, environment and flags together and checks the whole.
    ///
    /// The file is `config_path`, or `autodidact.toml` in the data directory where there is one.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault found.
    pub(crate) fn load(
        flags: &[Setting],
        config_path: Option<&Path>,
        variables: &Variables,
    ) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let from_environment = environment_settings(variables, &mut faults);

        let named_dir = |settings: &[Setting]| {
            settings
                .iter()
                .rev()
                .find(|s| s.key == "data_dir")
                .and_then(|s| match &s.value {
                    Value::Text(text) if !text.is_empty() => Some(s.base.join(text)),
                    _ => None,
                })
        };
        let lookup = |name: &str| {
            variables
                .get(name)
                .filter(|value| !value.is_empty())
                .cloned()
        };
        let data_dir = named_dir(flags)
            .or_else(|| named_dir(&from_environment))
            .unwrap_or_else(|| paths::default_data_dir(&lookup));
        let config_path = config_path
            .map(Path::to_path_buf)
            .or_else(|| lookup("AUTODIDACT_CONFIG").map(PathBuf::from));
        let from_file = match config_path {
            Some(path) => file::read_settings(&path, &mut faults),
            None => file::read_settings_if_present(&data_dir.join("autodidact.toml"), &mut faults),
        };

        let mut config = Self::defaults(data_dir);
        let mut socket_set = false;
        for setting in from_file.iter().chain(&from_environment).chain(flags) {
            socket_set |= setting.key == "socket";
            fields::apply(&mut config, setting, &mut faults);
        }
        if !socket_set {
            config.socket = default_socket(&config.data_dir);
        }
        if config.tcp.address.is_some() && config.tcp.token_file.is_none() {
            config.tcp.token_file = Some(config.data_dir.join("run").join("token"));
        }
        config.check_together(&mut faults);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(faults))
        }
    }

    /// Writes the configuration as a file that gives it again.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self)
            .expect("paths that came from text, numbers and enums always serialise")
    }

    /// Checks what no field can tell alone.
    fn check_together(&self, faults: &mut Vec<ConfigFault>) {
        remote::check(&self.remote_models, faults);
        let mut fault = |key: &str, expected: String, found: String| {
            faults.push(ConfigFault {
                origin: "together".into(),
                key: key.into(),
                expected,
                found,
                nearest: None,
            });
        };
        let tcp = &self.tcp;
        if tcp.tls_certificate.is_some() != tcp.tls_key.is_some() {
            fault(
                "tcp.tls_key",
                "tcp.tls_certificate and tcp.tls_key, both or neither".into(),
                "one of them".into(),
            );
        }
        if let Some(address) = tcp.address
            && !address.ip().is_loopback()
            && tcp.tls_certificate.is_none()
        {
            fault(
                "tcp.address",
                "a loopback address, or tcp.tls_certificate and tcp.tls_key for any other".into(),
                address.to_string(),
            );
        }
        for (key, path) in [
            ("tcp.tls_certificate", &tcp.tls_certificate),
            ("tcp.tls_key", &tcp.tls_key),
        ] {
            if let Some(path) = path
                && !path.is_file()
            {
                fault(key, "a readable file".into(), path.display().to_string());
            }
        }
        // sun_path of sockaddr_un holds 108 bytes with the ending zero (unix(7)).
        let socket_length = self.socket.as_os_str().len();
        if socket_length > 107 {
            fault(
                "socket",
                "a path of at most 107 bytes, the most a Unix socket can have (set a shorter one with --socket)".into(),
                format!("{socket_length} bytes"),
            );
        }
    }
}

fn device_name<S: Serializer>(device: &DeviceChoice, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}

fn default_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("autodidact.sock")
}

/// Reads the fields that variables set; a variable that is nearly one of ours is a fault.
fn environment_settings(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let key = fields::all()
            .find(|field| fields::variable(field.key) == *name)
            .map(|field| field.key.to_string())
            .or_else(|| remote::key_of_variable(name));
        if let Some(key) = key {
            settings.push(Setting {
                key,
                value: Value::Text(value.clone()),
                origin: name.clone(),
                base: PathBuf::new(),
            });
        } else if name.starts_with(remote::VARIABLES) {
            faults.push(ConfigFault {
                origin: "environment".into(),
                key: name.clone(),
                expected: format!("{}NAME_FIELD with a known field", remote::VARIABLES),
                found: "another field".into(),
                nearest: None,
            });
        } else if let Some(nearest) = mistyped_variable(name) {
            faults.push(ConfigFault {
                origin: "environment".into(),
                key: name.clone(),
                expected: "a known variable".into(),
                found: format!("{value:?}"),
                nearest: Some(nearest),
            });
        }
    }
    settings
}

/// Finds the variable that was meant. Variables of other programs that only share the prefix are left alone.
fn mistyped_variable(name: &str) -> Option<String> {
    if !name.starts_with("AUTODIDACT_") {
        return None;
    }
    let near = |known: &str| strsim::damerau_levenshtein(name, known) <= 2;
    fields::all()
        .map(|field| fields::variable(field.key))
        .chain(OTHER_VARIABLES.map(String::from))
        .find(|known| near(known))
}

/// Reads the process's environment, as far as it is text.
pub(crate) fn process_variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
