//! What is installed, as `registry.json` keeps it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use autodidact_domain::plugin::PluginStanding;
use autodidact_domain::{Capability, Digest, Granted, PluginKind, PluginName, PluginSummary};
use serde::{Deserialize, Serialize};

use crate::{PluginError, files};

/// The format this version writes. Another one is refused.
const FORMAT: u32 = 1;

/// The registry's content. Components outlive their plugin's next version, because workflows are bound to digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    format: u32,
    /// The plugins by name.
    pub(crate) plugins: BTreeMap<PluginName, StoredPlugin>,
    /// The components by digest.
    pub(crate) components: BTreeMap<Digest, StoredComponent>,
}

/// A plugin: which component stands under its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredPlugin {
    pub(crate) in_force: Digest,
    pub(crate) enabled: bool,
    pub(crate) builtin: bool,
    /// What a person granted it, whichever component stands under its name.
    #[serde(default)]
    pub(crate) granted: Granted,
}

/// What a component said of itself when it was installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredComponent {
    pub(crate) name: PluginName,
    pub(crate) version: String,
    pub(crate) kinds: Vec<PluginKind>,
    #[serde(default)]
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) config_schema: String,
    pub(crate) size: u64,
    /// The SHA-256 of its bytes; empty where an earlier daemon installed it.
    #[serde(default)]
    pub(crate) sha256: String,
    /// Why it is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quarantine: Option<String>,
    /// Whether a person let it go on after it had failed too often.
    #[serde(default)]
    pub(crate) excused: bool,
}

impl StoredComponent {
    /// Tells how it stands.
    pub(crate) fn standing(&self) -> PluginStanding {
        match &self.quarantine {
            Some(reason) => PluginStanding::Quarantined(reason.clone()),
            None if self.excused => PluginStanding::Excused,
            None => PluginStanding::Trusted,
        }
    }
}

impl Registry {
    /// Reads the registry of a folder; an empty one where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Self, PluginError> {
        let path = path(folder);
        let Some(bytes) = files::read(&path)? else {
            return Ok(Self {
                format: FORMAT,
                plugins: BTreeMap::new(),
                components: BTreeMap::new(),
            });
        };
        let damaged = |detail: String| PluginError::Corrupt {
            path: path.clone(),
            detail: format!("{detail}; move the file away and install your plugins again"),
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if value["format"] != FORMAT {
            let detail = format!(
                "format {}, but this version reads {FORMAT}: use a newer version",
                value["format"]
            );
            return Err(PluginError::Corrupt { path, detail });
        }
        let registry: Self =
            serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        match registry
            .plugins
            .iter()
            .find(|(_, plugin)| !registry.components.contains_key(&plugin.in_force))
        {
            Some((name, plugin)) => Err(damaged(format!(
                "{name} names the missing component {}",
                plugin.in_force
            ))),
            None => Ok(registry),
        }
    }

    /// Writes the registry.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), PluginError> {
        let json = serde_json::to_vec_pretty(self).expect("maps with text keys always serialise");
        files::write_atomic(&path(folder), &json)
    }

    /// Describes the plugin of a name.
    ///
    /// # Errors
    /// [`PluginError::NotFound`] with the nearest name.
    pub(crate) fn summary(&self, name: &str) -> Result<PluginSummary, PluginError> {
        let found = self
            .plugins
            .iter()
            .find(|(known, _)| known.as_str() == name);
        let (_, plugin) = found.ok_or_else(|| self.not_found(name))?;
        let component = self
            .components
            .get(&plugin.in_force)
            .ok_or(PluginError::UnknownDigest(plugin.in_force))?;
        Ok(PluginSummary {
            granted: granted(&plugin.granted, &component.capabilities),
            builtin: plugin.builtin,
            enabled: plugin.enabled,
            ..visitor(plugin.in_force, component)
        })
    }

    fn not_found(&self, name: &str) -> PluginError {
        // Half of the letters right is near enough to be worth asking.
        let near =
            |known: &PluginName| strsim::normalized_damerau_levenshtein(known.as_str(), name);
        let nearest = self.plugins.keys().filter(|known| near(known) >= 0.5);
        let nearest = nearest
            .max_by(|a, b| near(a).total_cmp(&near(b)))
            .map(ToString::to_string);
        PluginError::NotFound {
            name: name.chars().take(80).collect(),
            nearest,
        }
    }
}

/// Describes a component that stands under no name.
pub(crate) fn visitor(digest: Digest, component: &StoredComponent) -> PluginSummary {
    PluginSummary {
        name: component.name.clone(),
        version: component.version.clone(),
        kinds: component.kinds.clone(),
        capabilities: component.capabilities.clone(),
        granted: Granted::default(),
        digest,
        config_schema: component.config_schema.clone(),
        size: component.size,
        sha256: component.sha256.clone(),
        builtin: false,
        enabled: true,
        quarantine: component.quarantine.clone(),
    }
}

/// Leaves of what was granted what this component asks for: another one under the name may have asked for more.
fn granted(granted: &Granted, asked: &[Capability]) -> Granted {
    let mut granted = granted.clone();
    granted
        .capabilities
        .retain(|capability| asked.contains(capability));
    if !granted.has(Capability::Data) {
        granted.files.clear();
    }
    granted
}

fn path(folder: &Path) -> PathBuf {
    folder.join("registry.json")
}
