//! Installed plugins.

use autodidact_domain::PluginSummary;
use autodidact_proto::v1;

pub(crate) fn plugin(summary: &PluginSummary) -> v1::Plugin {
    let PluginSummary {
        name,
        version,
        kinds,
        capabilities,
        digest,
        config_schema,
        size,
        builtin,
        enabled,
    } = summary;
    v1::Plugin {
        name: name.to_string(),
        version: version.clone(),
        kinds: kinds.iter().map(ToString::to_string).collect(),
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        digest: digest.to_string(),
        config_schema: config_schema.clone(),
        size: *size,
        builtin: *builtin,
        enabled: *enabled,
    }
}
