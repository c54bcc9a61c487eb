//! Between the component's exports and the traits.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::thread::LocalKey;

use crate::bindings::{filter, plugin, scorer, template, validator};
use crate::record::records;
use crate::{Filter, Plugin, Scorer, Template, Validator};

/// A plugin with the configuration that it was made of, so that a configuration is read once and not for every batch.
pub type Kept<P> = RefCell<Option<(String, Rc<P>)>>;

/// What [`crate::export_plugin`] says of a plugin.
pub trait Exported: 'static {
    /// The plugin.
    type Plugin: Plugin;
    /// The kinds that are exported.
    const KINDS: &'static [plugin::Kind];
    /// Shows the place where the plugin is kept between calls.
    fn kept() -> &'static LocalKey<Kept<Self::Plugin>>;
}

/// Implements the exported interfaces.
pub struct Bridge<E>(PhantomData<E>);

impl<E: Exported> plugin::Guest for Bridge<E> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: E::Plugin::NAME.to_string(),
            version: E::Plugin::VERSION.to_string(),
            kinds: E::KINDS.to_vec(),
            config_schema: E::Plugin::CONFIG_SCHEMA.to_string(),
            capabilities: E::Plugin::CAPABILITIES.to_vec(),
        }
    }

    fn check_config(config: String) -> Result<(), String> {
        plugin_of::<E>(config).map(|_| ())
    }
}

impl<E: Exported<Plugin: Filter>> filter::Guest for Bridge<E> {
    fn filter(
        config: String,
        text: Vec<u8>,
        ends: Vec<u32>,
    ) -> Result<Vec<filter::Decision>, String> {
        let plugin = plugin_of::<E>(config)?;
        let decisions = plugin.decide_all(&records(&text, &ends)?)?;
        Ok(decisions.into_iter().map(Into::into).collect())
    }
}

impl<E: Exported<Plugin: Validator>> validator::Guest for Bridge<E> {
    fn validate(
        config: String,
        text: Vec<u8>,
        ends: Vec<u32>,
    ) -> Result<Vec<validator::Outcome>, String> {
        let plugin = plugin_of::<E>(config)?;
        let outcomes = plugin.validate_all(&records(&text, &ends)?)?;
        Ok(outcomes.into_iter().map(Into::into).collect())
    }
}

impl<E: Exported<Plugin: Scorer>> scorer::Guest for Bridge<E> {
    fn score(config: String, text: Vec<u8>, ends: Vec<u32>) -> Result<Vec<scorer::Scored>, String> {
        let plugin = plugin_of::<E>(config)?;
        let scores = plugin.score_all(&records(&text, &ends)?)?;
        Ok(scores.into_iter().map(Into::into).collect())
    }
}

impl<E: Exported<Plugin: Template>> template::Guest for Bridge<E> {
    fn render(
        config: String,
        requests: Vec<template::Request>,
    ) -> Result<Vec<template::Rendered>, String> {
        let plugin = plugin_of::<E>(config)?;
        requests
            .iter()
            .map(|request| plugin.render(request))
            .collect()
    }

    fn parse(
        config: String,
        completions: Vec<template::Completion>,
    ) -> Result<Vec<Vec<template::Item>>, String> {
        let plugin = plugin_of::<E>(config)?;
        completions
            .iter()
            .map(|completion| plugin.parse(completion))
            .collect()
    }
}

fn plugin_of<E: Exported>(config: String) -> Result<Rc<E::Plugin>, String> {
    E::kept().with_borrow_mut(|kept| match kept {
        Some((known, plugin)) if *known == config => Ok(plugin.clone()),
        _ => {
            let read = serde_json::from_str(&config).map_err(|error| error.to_string())?;
            let plugin = Rc::new(E::Plugin::new(read)?);
            *kept = Some((config, plugin.clone()));
            Ok(plugin)
        }
    })
}
