//! Tensors in the place of some of a model's files (weights that were trained themselves).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::ModelFiles;

/// A tensor in the place of one of the files.
#[derive(Clone)]
pub(crate) struct Replaced {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Arc<Vec<f32>>,
}

impl ModelFiles {
    /// Puts tensors in the place of some of the files'.
    pub(crate) fn with(&self, replaced: BTreeMap<String, Replaced>) -> Self {
        let mut files = self.clone();
        files.replaced = replaced;
        files
    }

    /// Forgets what stands in the place of other tensors than one.
    pub(crate) fn keeping(&self, name: &str) -> Self {
        let kept = self.replaced.get_key_value(name);
        let kept = kept.map(|(name, tensor)| (name.clone(), tensor.clone()));
        self.with(kept.into_iter().collect())
    }

    /// Tells whether something stands in the place of a tensor whose name begins so.
    pub(crate) fn replaces(&self, beginning: &str) -> bool {
        let mut names = self.replaced.keys();
        names.any(|name| name.starts_with(beginning))
    }

    /// Tells the bytes of what stands in the place of tensors.
    pub(crate) fn replaced_bytes(&self) -> usize {
        let replaced = self.replaced.values();
        replaced.map(|one| one.data.len() * size_of::<f32>()).sum()
    }
}
