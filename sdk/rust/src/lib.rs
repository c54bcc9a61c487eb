//! Writes Autodidact plugins: a type, its traits, one macro.
//!
//! ```
//! use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};
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
//! impl Plugin for Shout {
//!     type Config = Self;
//!     const NAME: &'static str = "shout";
//!     const VERSION: &'static str = "0.1.0";
//!     const CONFIG_SCHEMA: &'static str = r#"{"type": "object", "properties": {"max_marks": {"type": "integer"}}}"#;
//!
//!     fn new(config: Self) -> Result<Self, String> {
//!         Ok(config)
//!     }
//! }
//!
//! impl Filter for Shout {
//!     fn decide(&self, record: &Record<'_>) -> Decision {
//!         let marks = record.instruction.chars().filter(|c| matches!(c, '!' | '！')).count();
//!         if marks <= self.max_marks {
//!             return Decision::keep();
//!         }
//!         Decision::drop("shouts").with_note(format!("{marks} exclamation marks")).with_score(marks as f64)
//!     }
//! }
//!
//! export_plugin!(Shout: Filter);
//! ```
//!
//! A plugin may be of several kinds: `export_plugin!(Mine: Filter, Scorer)`. Build the crate as a `cdylib` for
//! `wasm32-unknown-unknown`; the daemon takes what comes out as it is, and makes a component of it. The README shows the commands.

#[doc(hidden)]
pub mod bindings;
mod bridge;
pub mod data;
pub mod log;
pub mod model;
mod record;
pub mod text;
mod verdict;

use serde::de::DeserializeOwned;

#[doc(hidden)]
pub use bridge::{Bridge, Exported, Kept};
pub use record::{Field, Record};
pub use verdict::{Decision, Outcome, Score};

/// What a plugin asks to use.
pub use bindings::plugin::Capability;
#[doc(hidden)]
pub use bindings::plugin::Kind;
/// What templates are asked, and what they answer.
pub use bindings::template::{
    Completion, Example, Finish, Item, Message, Prompt, Rendered, Request, Role,
};

/// Who a plugin is, and how it is made of a configuration.
///
/// What it says must follow from the configuration and what it is asked alone, so that a run that was interrupted comes out the same.
/// A panic loses the record it happened on, nothing else.
pub trait Plugin: Sized + 'static {
    /// The configuration as it stands in workflows. Use `#[serde(default, deny_unknown_fields)]`, so that `{}` works
    /// and misspelt fields are refused.
    type Config: DeserializeOwned;

    /// The name that workflows use: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
    const NAME: &'static str;

    /// The version; `env!("CARGO_PKG_VERSION")` does well.
    const VERSION: &'static str;

    /// The JSON Schema of the configuration, an object; empty where there is nothing to configure.
    const CONFIG_SCHEMA: &'static str;

    /// What the plugin asks to use; a person grants it, or not.
    const CAPABILITIES: &'static [Capability] = &[];

    /// Makes the plugin, or says what to mend in the configuration.
    ///
    /// # Errors
    /// A text for the person who wrote the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;
}

/// Keeps or drops records.
pub trait Filter: Plugin {
    /// Decides on one record.
    fn decide(&self, record: &Record<'_>) -> Decision;

    /// Decides on a batch, as many decisions as records: for filters that ask the model, which is best asked at once.
    ///
    /// # Errors
    /// A text that says why; the host asks again with smaller batches.
    fn decide_all(&self, records: &[Record<'_>]) -> Result<Vec<Decision>, String> {
        Ok(records.iter().map(|record| self.decide(record)).collect())
    }
}

/// Accepts, corrects or drops answered records.
pub trait Validator: Plugin {
    /// Judges one record.
    fn validate(&self, record: &Record<'_>) -> Outcome;

    /// Judges a batch, as many outcomes as records.
    ///
    /// # Errors
    /// As of [`Filter::decide_all`].
    fn validate_all(&self, records: &[Record<'_>]) -> Result<Vec<Outcome>, String> {
        Ok(records.iter().map(|record| self.validate(record)).collect())
    }
}

/// Gives records numbers.
pub trait Scorer: Plugin {
    /// Scores one record.
    fn score(&self, record: &Record<'_>) -> Score;

    /// Scores a batch, as many scores as records.
    ///
    /// # Errors
    /// As of [`Filter::decide_all`].
    fn score_all(&self, records: &[Record<'_>]) -> Result<Vec<Score>, String> {
        Ok(records.iter().map(|record| self.score(record)).collect())
    }
}

/// Writes the prompts that ask a model for new instructions, and reads what comes back.
pub trait Template: Plugin {
    /// Writes the prompt of a request.
    ///
    /// # Errors
    /// A text that says why there is none, for a language that the template has no words for, say.
    fn render(&self, request: &Request) -> Result<Rendered, String>;

    /// Reads the items of a completion; none where there is none in it.
    ///
    /// # Errors
    /// A text that says why it cannot be read.
    fn parse(&self, completion: &Completion) -> Result<Vec<Item>, String>;
}

/// Exports a [`Plugin`] with its kinds, of `Filter`, `Template`, `Validator` and `Scorer`, as this crate's component. Once a crate, at
/// its root.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty: $($kind:ident),+ $(,)?) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Described;
            impl $crate::Exported for Described {
                type Plugin = $plugin;
                const KINDS: &'static [$crate::Kind] = &[$($crate::Kind::$kind),+];
                fn kept() -> &'static ::std::thread::LocalKey<$crate::Kept<$plugin>> {
                    ::std::thread_local! {
                        static KEPT: $crate::Kept<$plugin> = const { ::std::cell::RefCell::new(None) };
                    }
                    &KEPT
                }
            }
            type Exported = $crate::Bridge<Described>;
            $crate::bindings::plugin::export!(Exported with_types_in $crate::bindings::plugin);
            $($crate::__export_kind!($kind, Exported);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    (Filter, $exported:ident) => {
        $crate::bindings::filter::export!($exported with_types_in $crate::bindings::filter);
    };
    (Template, $exported:ident) => {
        $crate::bindings::template::export!($exported with_types_in $crate::bindings::template);
    };
    (Validator, $exported:ident) => {
        $crate::bindings::validator::export!($exported with_types_in $crate::bindings::validator);
    };
    (Scorer, $exported:ident) => {
        $crate::bindings::scorer::export!($exported with_types_in $crate::bindings::scorer);
    };
}
