//! Calls into an instance, in the host's own types.

use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateCompletion, TemplateItem, TemplateRequest,
    Validation,
};
use autodidact_domain::{Capability, PluginKind, PluginRecord};
use wasmtime::Store;
use wasmtime::component::Instance;

use super::answers;
use super::bindings::{filter, plugin, scorer, template, validator};
use super::exports::Exports;
use super::records::{self, Batch};
use crate::component::Described;
use crate::sandbox::{Answers, State};

/// What an instance exports.
pub(crate) struct Guest {
    plugin: plugin::Guest,
    filter: Option<filter::Guest>,
    template: Option<template::Guest>,
    validator: Option<validator::Guest>,
    scorer: Option<scorer::Guest>,
}

impl Guest {
    /// Finds the functions of an instance.
    pub(crate) fn of(
        store: &mut Store<State>,
        instance: &Instance,
        exports: &Exports,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            plugin: exports.plugin.load(&mut *store, instance)?,
            filter: match &exports.filter {
                Some(filter) => Some(filter.load(&mut *store, instance)?),
                None => None,
            },
            template: match &exports.template {
                Some(template) => Some(template.load(&mut *store, instance)?),
                None => None,
            },
            validator: match &exports.validator {
                Some(validator) => Some(validator.load(&mut *store, instance)?),
                None => None,
            },
            scorer: match &exports.scorer {
                Some(scorer) => Some(scorer.load(&mut *store, instance)?),
                None => None,
            },
        })
    }

    /// Asks who the plugin is.
    pub(crate) fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Described> {
        let description = self.plugin.call_describe(store)?;
        let capabilities = description.capabilities.into_iter().map(capability);
        Ok(Described {
            name: description.name,
            version: description.version,
            kinds: description.kinds.into_iter().map(kind).collect(),
            capabilities: capabilities.collect(),
            config_schema: description.config_schema,
        })
    }

    /// Asks whether a configuration is acceptable.
    pub(crate) fn check_config(
        &self,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.plugin.call_check_config(store, config)
    }

    /// Asks a filter for decisions; notes are cut to so many bytes, here and below.
    pub(crate) fn filter(
        &self,
        store: &mut Store<State>,
        config: &str,
        records: &[PluginRecord<'_>],
        note_bytes: usize,
    ) -> Answers<FilterDecision> {
        let filter = self.filter.as_ref().ok_or_else(|| missing("filter"))?;
        let batch = Batch::of(records);
        let said = filter.call_filter(store, config, &batch.text, &batch.ends)?;
        checked(said, |decision| answers::decision(decision, note_bytes))
    }

    /// Asks a validator for outcomes.
    pub(crate) fn validate(
        &self,
        store: &mut Store<State>,
        config: &str,
        records: &[PluginRecord<'_>],
        note_bytes: usize,
    ) -> Answers<Validation> {
        let validator = self.validator.as_ref();
        let validator = validator.ok_or_else(|| missing("validator"))?;
        let batch = Batch::of(records);
        let said = validator.call_validate(store, config, &batch.text, &batch.ends)?;
        checked(said, |outcome| answers::validation(outcome, note_bytes))
    }

    /// Asks a scorer for scores.
    pub(crate) fn score(
        &self,
        store: &mut Store<State>,
        config: &str,
        records: &[PluginRecord<'_>],
        note_bytes: usize,
    ) -> Answers<PluginScore> {
        let scorer = self.scorer.as_ref().ok_or_else(|| missing("scorer"))?;
        let batch = Batch::of(records);
        let said = scorer.call_score(store, config, &batch.text, &batch.ends)?;
        checked(said, |scored| answers::score(scored, note_bytes))
    }

    /// Asks a template for prompts.
    pub(crate) fn render(
        &self,
        store: &mut Store<State>,
        config: &str,
        requests: &[TemplateRequest<'_>],
    ) -> Answers<RenderedPrompt> {
        let template = self.template.as_ref().ok_or_else(|| missing("template"))?;
        let requests: Vec<_> = requests.iter().map(records::request).collect();
        checked(
            template.call_render(store, config, &requests)?,
            answers::rendered,
        )
    }

    /// Asks a template for what stands in completions, a list for each.
    pub(crate) fn parse(
        &self,
        store: &mut Store<State>,
        config: &str,
        completions: &[TemplateCompletion<'_>],
    ) -> Answers<Vec<TemplateItem>> {
        let template = self.template.as_ref().ok_or_else(|| missing("template"))?;
        let completions: Vec<_> = completions.iter().map(records::completion).collect();
        checked(
            template.call_parse(store, config, &completions)?,
            answers::items,
        )
    }
}

/// Checks each answer of a batch by itself.
fn checked<A, T>(
    said: Result<Vec<A>, String>,
    check: impl Fn(A) -> Result<T, String>,
) -> Answers<T> {
    Ok(said.map(|said| said.into_iter().map(check).collect()))
}

fn missing(kind: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("is no {kind}"))
}

fn kind(kind: plugin::Kind) -> PluginKind {
    match kind {
        plugin::Kind::Filter => PluginKind::Filter,
        plugin::Kind::Template => PluginKind::Template,
        plugin::Kind::Validator => PluginKind::Validator,
        plugin::Kind::Scorer => PluginKind::Scorer,
    }
}

fn capability(capability: plugin::Capability) -> Capability {
    match capability {
        plugin::Capability::Log => Capability::Log,
        plugin::Capability::Generate => Capability::Generate,
        plugin::Capability::Embed => Capability::Embed,
        plugin::Capability::Score => Capability::Score,
        plugin::Capability::Data => Capability::Data,
    }
}
