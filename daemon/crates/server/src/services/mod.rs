//! The services: one file each.

mod checkpoint;
mod classify;
mod dataset;
mod embed;
mod event;
mod export;
mod generation;
mod model;
mod plugin;
mod preview;
mod promote;
mod review;
mod system;
mod trial;
mod workflow;

pub(crate) use checkpoint::CheckpointApi;
pub(crate) use dataset::DatasetApi;
pub(crate) use embed::embed as embed_texts;
pub(crate) use event::EventApi;
pub(crate) use generation::start as start_generation;
pub(crate) use model::ModelApi;
pub(crate) use plugin::PluginApi;
pub(crate) use review::ReviewApi;
pub(crate) use system::SystemApi;
pub(crate) use workflow::WorkflowApi;

/// Defines the type that answers a service's calls.
macro_rules! api {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub(crate) struct $name {
            context: std::sync::Arc<crate::context::Context>,
        }

        impl $name {
            pub(crate) fn new(context: &std::sync::Arc<crate::context::Context>) -> Self {
                Self { context: std::sync::Arc::clone(context) }
            }
        }
    };
}
use api;
