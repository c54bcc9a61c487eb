//! Runs plugins: WebAssembly components that filter, validate or score records or write prompts, each call inside limits.
//!
//! [`PluginHost`] is the whole of it. A plugin has no files, clocks, sockets or random numbers: text is linked, and log, model and
//! data, which refuse where nothing is granted, and a component that imports anything else is refused when it is installed. What it can do
//! is use time, memory and stack, and give back too much; [`Limits`] bounds all of these per call. A call that fails loses its instance,
//! and its batch is asked again in halves until the record at fault is alone.
//!
//! On disk, below the folder given to [`PluginHost::open`]: `registry.json`, one `<digest>.wasm` a component, and
//! `cache/` with compiled code, which may be deleted at any time.

mod access;
mod batches;
mod bounds;
mod builtin;
mod cache;
mod component;
mod effort;
mod error;
mod files;
mod host;
mod lift;
mod limits;
mod loaded;
mod registry;
mod runtime;
mod sandbox;
mod schema;
mod ticker;
mod turns;
mod v0_1_0;

pub use builtin::builtin_components;
pub use error::PluginError;
pub use host::PluginHost;
pub use limits::Limits;
