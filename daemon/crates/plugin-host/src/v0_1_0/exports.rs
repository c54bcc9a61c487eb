//! Where a component has the interfaces of this version.

use autodidact_domain::PluginKind;
use wasmtime::component::InstancePre;

use super::VERSION;
use super::bindings::{filter, plugin, scorer, template, validator};
use crate::PluginError;
use crate::component::MAX_LISTED;
use crate::sandbox::State;

/// Where a component has the interfaces that it exports.
pub(crate) struct Exports {
    pub(super) plugin: plugin::GuestIndices,
    pub(super) filter: Option<filter::GuestIndices>,
    pub(super) template: Option<template::GuestIndices>,
    pub(super) validator: Option<validator::GuestIndices>,
    pub(super) scorer: Option<scorer::GuestIndices>,
}

impl Exports {
    /// Finds them.
    ///
    /// # Errors
    /// [`PluginError::Refused`] where one is otherwise than the WIT says, or there is no kind.
    pub(crate) fn find(pre: &InstancePre<State>) -> Result<Self, PluginError> {
        let exports = Self {
            plugin: plugin::GuestIndices::new(pre).map_err(|error| foreign(&error))?,
            filter: indices(pre, PluginKind::Filter, filter::GuestIndices::new)?,
            template: indices(pre, PluginKind::Template, template::GuestIndices::new)?,
            validator: indices(pre, PluginKind::Validator, validator::GuestIndices::new)?,
            scorer: indices(pre, PluginKind::Scorer, scorer::GuestIndices::new)?,
        };
        if !exports.kinds().is_empty() {
            return Ok(exports);
        }
        let component_type = pre.component().component_type();
        let others = component_type.exports(pre.engine());
        let others: Vec<&str> = others.map(|(name, _)| name).take(MAX_LISTED).collect();
        Err(PluginError::Refused(format!(
            "it exports no kind of autodidact:plugin@{VERSION} (filter, template, validator or scorer), but {}; build it with the SDK of this version",
            if others.is_empty() {
                "nothing".to_string()
            } else {
                others.join(", ")
            }
        )))
    }

    /// Lists the kinds that are there.
    pub(crate) fn kinds(&self) -> Vec<PluginKind> {
        let kinds = [
            (PluginKind::Filter, self.filter.is_some()),
            (PluginKind::Template, self.template.is_some()),
            (PluginKind::Validator, self.validator.is_some()),
            (PluginKind::Scorer, self.scorer.is_some()),
        ];
        let there = kinds.into_iter().filter(|(_, there)| *there);
        there.map(|(kind, _)| kind).collect()
    }
}

/// Finds a kind's interface: one that is there has to be as the WIT says, one that is not is a kind less.
fn indices<I>(
    pre: &InstancePre<State>,
    kind: PluginKind,
    find: fn(&InstancePre<State>) -> wasmtime::Result<I>,
) -> Result<Option<I>, PluginError> {
    let name = format!("autodidact:plugin/{kind}@{VERSION}");
    let component = pre.component();
    match component.get_export_index(None, &name) {
        None => Ok(None),
        Some(_) => find(pre).map(Some).map_err(|error| foreign(&error)),
    }
}

fn foreign(error: &wasmtime::Error) -> PluginError {
    PluginError::Refused(
        format!("it was not made for autodidact:plugin@{VERSION}: {error:#}")
            .chars()
            .take(1000)
            .collect(),
    )
}
