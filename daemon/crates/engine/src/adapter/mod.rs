//! Trained adapters, ready to generate with.

mod classifier;
mod packing;
mod replaced;

use std::path::Path;

use autodidact_domain::{Checkpoint, Digest};

use crate::EngineError;
use crate::engine::{Engine, LoadedModel};
use crate::methods::{self, Plan};
use crate::models::files::ModelFiles;
use crate::runtime::Runner;
use crate::runtime::updates::Updates;
pub(crate) use classifier::Classifier;
use packing::Packing;
pub(crate) use replaced::replaced_weights;

/// An adapter of one base, packed for generation. The base's weights stay as they are.
pub struct Adapter {
    base_digest: Digest,
    updates: Updates,
    classifier: Option<Classifier>,
}

impl Adapter {
    /// Packs a checkpoint's adapter for a base.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when it belongs to another base, is of an unknown method, or has a setting or tensor too few, too
    /// many or of the wrong kind; what reading the base gives, where the adapter depends on its numbers.
    pub fn from_checkpoint(
        model: &LoadedModel,
        checkpoint: &Checkpoint,
    ) -> Result<Self, EngineError> {
        let meta = &checkpoint.meta;
        let recipe = methods::from_settings(&meta.method, &meta.adapter_config, &model.config)?;
        let plan = recipe.plan();
        check_base(plan, checkpoint, model.info.digest)?;
        let values = plan.read_tensors("", &checkpoint.adapter)?;
        let packing = Packing {
            model,
            plan,
            values: &values,
        };
        let updates = match &model.decoder {
            Runner::Device(decoder) => Updates::Device(packing.pack(decoder.as_ref())?),
            Runner::Own(decoder) => Updates::Own(packing.pack(decoder.as_ref())?),
            Runner::Foreign(_) => {
                return Err(EngineError::adapter(
                    "architecture",
                    "one that adapters fit",
                    &model.info.architecture,
                ));
            }
        };
        Ok(Self {
            base_digest: meta.base_digest,
            updates,
            classifier: Classifier::new(recipe.labelling(), plan, &values),
        })
    }

    /// Tells the bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.updates.bytes() + self.classifier.as_ref().map_or(0, Classifier::bytes)
    }

    /// Shows the head that gives labels.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where it has none.
    pub(crate) fn classifier(&self) -> Result<&Classifier, EngineError> {
        self.classifier.as_ref().ok_or_else(|| {
            EngineError::Invalid(
                "adapter: expected one trained with task_type SEQ_CLS or TOKEN_CLS, found one that continues texts"
                    .into(),
            )
        })
    }
}

/// Refuses an adapter of another base: names the first of its tensors that this base has in another shape, or the weights where
/// none is.
///
/// # Errors
/// [`EngineError::Adapter`] where the digests of the bases differ.
pub(crate) fn check_base(
    plan: &Plan,
    checkpoint: &Checkpoint,
    base: Digest,
) -> Result<(), EngineError> {
    let meta = &checkpoint.meta;
    if meta.base_digest == base {
        return Ok(());
    }
    match plan.read_tensors("", &checkpoint.adapter) {
        Err(EngineError::Adapter {
            part,
            expected,
            found,
        }) => Err(EngineError::adapter(
            part,
            format!("{expected} on this base"),
            format!("{found}, of an adapter of {}", meta.model),
        )),
        Err(other) => Err(other),
        Ok(_) => Err(EngineError::adapter(
            "base digest",
            format!("{}, this base's", base.short()),
            format!(
                "{} of {}, whose tensors have the same shapes and whose weights are others",
                meta.base_digest.short(),
                meta.model
            ),
        )),
    }
}

impl Engine {
    /// Holds an adapter against a model's header, and the digest that its weights have.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] with what does not fit; [`EngineError::ModelFile`] and [`EngineError::Io`] where the model cannot
    /// be read.
    pub fn check_adapter(
        path: &Path,
        base: Digest,
        checkpoint: &Checkpoint,
    ) -> Result<(), EngineError> {
        let (_, config, _) = ModelFiles::open(path)?;
        let meta = &checkpoint.meta;
        let recipe = methods::from_settings(&meta.method, &meta.adapter_config, &config)?;
        check_base(recipe.plan(), checkpoint, base)?;
        recipe
            .plan()
            .read_tensors("", &checkpoint.adapter)
            .map(drop)
    }
}

impl LoadedModel {
    /// Lists the ids that stand before every sequence with an adapter: those of virtual tokens, from the end of the vocabulary on.
    pub(crate) fn virtual_ids(&self, updates: Option<&Updates>) -> Vec<u32> {
        let rows = updates.map_or(0, Updates::virtual_rows) / self.config.hidden_size;
        let first = self.config.vocab_size as u32;
        (first..).take(rows).collect()
    }

    /// Shows the updates of an adapter that texts are continued with; see [`Self::updates_of`].
    ///
    /// # Errors
    /// As there; [`EngineError::Invalid`] for an adapter with a head of labels in the place of the vocabulary's.
    pub(crate) fn language_updates_of<'a>(
        &self,
        adapter: Option<&'a Adapter>,
    ) -> Result<Option<&'a Updates>, EngineError> {
        match adapter.and_then(|adapter| adapter.classifier.as_ref()) {
            Some(classifier) => Err(EngineError::Invalid(format!(
                "adapter: expected one that continues texts, found one that gives labels ({}): `autodidact model classify` uses it",
                classifier.labelling.task.name()
            ))),
            None => self.updates_of(adapter),
        }
    }

    /// Shows an adapter's updates after checking that it is this base's.
    pub(crate) fn updates_of<'a>(
        &self,
        adapter: Option<&'a Adapter>,
    ) -> Result<Option<&'a Updates>, EngineError> {
        let is_packed_for_this = |adapter: &Adapter| {
            let on_device = matches!(self.decoder, Runner::Device(_));
            on_device == matches!(adapter.updates, Updates::Device(_))
        };
        match adapter {
            Some(_) if self.decoder.is_foreign() => Err(EngineError::adapter(
                "architecture",
                "one that adapters fit",
                &self.info.architecture,
            )),
            Some(adapter) if adapter.base_digest != self.info.digest => Err(EngineError::adapter(
                "base digest",
                self.info.digest,
                adapter.base_digest,
            )),
            Some(adapter) if !is_packed_for_this(adapter) => Err(EngineError::adapter(
                "device",
                "one that was packed for this model's device",
                "one that was packed for another",
            )),
            adapter => Ok(adapter.map(|adapter| &adapter.updates)),
        }
    }
}
