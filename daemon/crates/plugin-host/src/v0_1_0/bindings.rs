//! What wasmtime makes of the WIT package.

wasmtime::component::bindgen!({
    path: "../../../sdk/wit/0.1.0",
    world: "every-plugin",
    imports: { default: trappable },
});

pub(super) use autodidact::plugin::{data, log, model};
pub(super) use exports::autodidact::plugin::{filter, plugin, scorer, template, validator};
