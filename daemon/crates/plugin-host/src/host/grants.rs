//! What a person grants a plugin for every workflow.

use autodidact_domain::capability::{DataFile, GrantChange, NotAsked, check_asked};
use autodidact_domain::{Capability, Digest, Granted, PluginName, PluginSummary};

use super::{PluginHost, lock};
use crate::{PluginError, files};

impl PluginHost {
    pub(super) fn change_grant(
        &self,
        name: &str,
        change: &GrantChange,
    ) -> Result<PluginSummary, PluginError> {
        // The same file granted twice at once would be written over itself, and pruning may not come between file and grant.
        let _installing = lock(&self.compiling);
        let mut files_granted = Vec::new();
        for (file, bytes) in &change.files {
            self.check_data(file, bytes)?;
            let digest = Digest::of(bytes);
            files::write_atomic(&self.data_path(digest), bytes)?;
            let size = bytes.len() as u64;
            files_granted.push((file.clone(), DataFile { digest, size }));
        }
        self.change_plugin(name, |registry, summary| {
            let plugin = registry.plugins.get_mut(&summary.name);
            let plugin = plugin.ok_or(PluginError::UnknownDigest(summary.digest))?;
            plugin.granted.files.extend(files_granted);
            apply(
                change,
                &summary.name,
                &summary.capabilities,
                &mut plugin.granted,
            )
        })?;
        lock(&self.registry).summary(name)
    }

    fn check_data(&self, name: &str, bytes: &[u8]) -> Result<(), PluginError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            return Err(PluginError::DataFile(format!(
                "{:?} is no name for a file: use 1 to 64 of a-z A-Z 0-9 . _ -",
                name.chars().take(80).collect::<String>()
            )));
        }
        match bytes.len() > self.limits.data_bytes {
            false => Ok(()),
            true => Err(PluginError::DataFile(format!(
                "{name} has {} bytes; at most {} are taken",
                bytes.len(),
                self.limits.data_bytes
            ))),
        }
    }
}

/// Changes what a plugin is granted, whose files lie in `granted` already.
///
/// # Errors
/// [`PluginError::NotAsked`], [`PluginError::NoFiles`] or [`PluginError::NoData`].
pub(super) fn apply(
    change: &GrantChange,
    name: &PluginName,
    asked: &[Capability],
    granted: &mut Granted,
) -> Result<(), PluginError> {
    check_asked(name, asked, &change.grant)?;
    // An earlier version may have asked for more, and was granted it.
    let known = [asked, granted.capabilities.as_slice()].concat();
    check_asked(name, &known, &change.revoke).map_err(|wrong| NotAsked {
        asked: asked.to_vec(),
        ..wrong
    })?;
    granted.capabilities.extend(&change.grant);
    granted.capabilities.retain(|c| !change.revoke.contains(c));
    granted.capabilities.sort();
    granted.capabilities.dedup();
    granted.max_tokens = change.max_tokens.or(granted.max_tokens);
    match granted.has(Capability::Data) {
        true if granted.files.is_empty() => Err(PluginError::NoFiles(name.to_string())),
        true => Ok(()),
        false if !change.files.is_empty() => Err(PluginError::NoData(name.to_string())),
        false => {
            granted.files.clear();
            Ok(())
        }
    }
}
