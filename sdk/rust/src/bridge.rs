//! Between the component's exports and the [`Filter`] trait.

use std::marker::PhantomData;

use crate::Filter;
use crate::bindings::exports::autodidact::plugin::{filter, plugin};

/// Implements the exported interfaces for a [`Filter`].
pub struct Bridge<F>(PhantomData<F>);

impl<F: Filter> plugin::Guest for Bridge<F> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: F::NAME.to_string(),
            version: F::VERSION.to_string(),
            kinds: vec![plugin::Kind::Filter],
            config_schema: F::CONFIG_SCHEMA.to_string(),
        }
    }

    fn check_config(config: String) -> Result<(), String> {
        make::<F>(&config).map(|_| ())
    }
}

impl<F: Filter> filter::Guest for Bridge<F> {
    fn filter(
        config: String,
        batch: Vec<filter::FilterRecord>,
    ) -> Result<Vec<filter::Decision>, String> {
        let filter = make::<F>(&config)?;
        Ok(batch
            .iter()
            .map(|record| filter.decide(record).into())
            .collect())
    }
}

fn make<F: Filter>(config: &str) -> Result<F, String> {
    F::new(serde_json::from_str(config).map_err(|error| error.to_string())?)
}
