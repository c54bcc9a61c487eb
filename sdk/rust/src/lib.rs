//! Writes Autodidact plugins: a type, one trait, one macro.
//!
//! ```
//! use autodidact_plugin::{Decision, Filter, Record, export_filter};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Shout {
//!     max_marks: usize,
//! }
//!
//! impl Default for Shout {
//!     fn default() -> Self {
//!         Self { max_marks: 2 }
//!     }
//! }
//!
//! impl Filter for Shout {
//!     type Config = Self;
//!     const NAME: &'static str = "shout";
//!     const VERSION: &'static str = "0.1.0";
//!     const CONFIG_SCHEMA: &'static str = r#"{"type": "object", "properties": {"max_marks": {"type": "integer"}}}"#;
//!
//!     fn new(config: Self) -> Result<Self, String> {
//!         Ok(config)
//!     }
//!
//!     fn decide(&self, record: &Record) -> Decision {
//!         let marks = record.instruction.chars().filter(|c| matches!(c, '!' | '！')).count();
//!         if marks <= self.max_marks {
//!             return Decision::keep();
//!         }
//!         Decision::drop("shouts").with_note(format!("{marks} exclamation marks")).with_score(marks as f64)
//!     }
//! }
//!
//! export_filter!(Shout);
//! ```
//!
//! Build the crate as a `cdylib` for `wasm32-unknown-unknown` and make a component of it with
//! `wasm-tools component new`. The README shows the commands.

#[doc(hidden)]
pub mod bindings;
mod bridge;
mod decision;
pub mod text;

use serde::de::DeserializeOwned;

#[doc(hidden)]
pub use bridge::Bridge;
pub use decision::Decision;

/// One record to decide on; texts are empty where there is nothing.
pub use bindings::exports::autodidact::plugin::filter::FilterRecord as Record;

/// A filter: keeps or drops records.
///
/// A decision must follow from the configuration and the record alone, so that a run that was interrupted comes out
/// the same. A panic loses the record it happened on, nothing else.
pub trait Filter: Sized {
    /// The configuration as it stands in workflows. Use `#[serde(default, deny_unknown_fields)]`, so that `{}` works
    /// and misspelt fields are refused.
    type Config: DeserializeOwned;

    /// The name that workflows use: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
    const NAME: &'static str;

    /// The version; `env!("CARGO_PKG_VERSION")` does well.
    const VERSION: &'static str;

    /// The JSON Schema of the configuration, an object; empty where there is nothing to configure.
    const CONFIG_SCHEMA: &'static str;

    /// Makes the filter, or says what to mend in the configuration.
    ///
    /// # Errors
    /// A text for the person who wrote the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Decides on one record.
    fn decide(&self, record: &Record) -> Decision;
}

/// Exports a [`Filter`] as this crate's component. Once a crate, at its root.
#[macro_export]
macro_rules! export_filter {
    ($filter:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::Bridge<$filter>;
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}
