//! What wasmtime makes of the WIT package.

wasmtime::component::bindgen!({
    path: "../../../sdk/wit/0.1.0-draft",
    world: "filter-plugin",
});

pub(crate) use exports::autodidact::plugin::filter::{Decision, FilterRecord};
pub(crate) use exports::autodidact::plugin::plugin::Description;
