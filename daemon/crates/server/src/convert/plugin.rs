//! Installed plugins.

use autodidact_domain::PluginSummary;
use autodidact_proto::v1;

pub(crate) fn plugin(summary: &PluginSummary) -> v1::Plugin {
    let PluginSummary {
        name,
        version,
        kinds,
        digest,
        config_schema,
        size,
        builtin,
        enabled,
    } = summary;
    v1::Plugin {
        name: name.to_string(),
        version: version.clone(),
        kinds: kinds.clone(),
        digest: digest.to_string(),
        config_schema: config_schema.clone(),
        size: *size,
        builtin: *builtin,
        enabled: *enabled,
    }
}
