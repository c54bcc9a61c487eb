//! Installed plugins.

use autodidact_domain::{Granted, PluginSummary, PluginUses};
use autodidact_proto::v1;

pub(crate) fn plugin(summary: &PluginSummary) -> v1::Plugin {
    let PluginSummary {
        name,
        version,
        kinds,
        capabilities,
        granted,
        digest,
        sha256,
        config_schema,
        size,
        builtin,
        enabled,
        quarantine,
    } = summary;
    v1::Plugin {
        name: name.to_string(),
        version: version.clone(),
        kinds: kinds.iter().map(ToString::to_string).collect(),
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        digest: digest.to_string(),
        sha256: sha256.clone(),
        config_schema: config_schema.clone(),
        size: *size,
        builtin: *builtin,
        enabled: *enabled,
        granted: Some(self::granted(granted)),
        quarantine: quarantine.clone(),
        uses: None,
        failures: 0,
    }
}

fn granted(granted: &Granted) -> v1::PluginGrant {
    let files = granted.files.iter().map(|(name, file)| v1::PluginFile {
        name: name.clone(),
        digest: file.digest.to_string(),
        size: file.size,
    });
    v1::PluginGrant {
        capabilities: granted
            .capabilities
            .iter()
            .map(ToString::to_string)
            .collect(),
        max_tokens: granted.max_tokens,
        files: files.collect(),
    }
}

pub(crate) fn plugin_uses(uses: &PluginUses) -> v1::PluginUses {
    let PluginUses {
        completions,
        embeddings,
        scores,
        tokens,
        log_lines,
        files_read,
        refused,
    } = uses.clone();
    v1::PluginUses {
        completions,
        embeddings,
        scores,
        tokens,
        log_lines,
        files_read,
        refused,
    }
}
