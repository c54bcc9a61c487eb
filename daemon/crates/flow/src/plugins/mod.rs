//! The plugins of a workflow: which they are, what they may use, and what is said where one fails.

mod asking;
mod pin;
mod services;
mod trial;

pub(crate) use asking::{Bound, PLUGIN_ERROR};
pub(crate) use pin::{find, kind_in_chain, pin, without_answers};
pub use services::LogListener;
pub(crate) use services::{Accounts, PluginWork};
pub use trial::{Trial, TrialSummary, TriedRecord};
