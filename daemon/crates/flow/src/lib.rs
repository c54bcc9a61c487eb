//! The durable loop of Self-Instruct: a workflow's stages as journaled steps, replayed after a restart.
//!
//! The loop knows ports only (`autodidact_domain::ports`): no engine, no store, no network, no clock of its own.
//! Every step is intent, effect, result; a step with a result is never run again, and one without is run again with the
//! same randomness and the same effect ids, so a run killed anywhere ends as an undisturbed one does.

mod chain;
pub mod compare;
mod complexity;
mod contamination;
mod diversity;
mod embedders;
mod error;
mod instruction;
mod journaled;
mod judge;
mod labels;
mod ledger;
pub mod lineage;
mod pin;
mod plugins;
mod preflight;
#[cfg(test)]
mod prompt_snapshots;
mod prompts;
mod records;
pub mod report;
pub mod review;
mod run;
mod seeds;
mod shown;
pub mod spec;
mod stages;
mod statistics;
mod supervisor;

pub use embedders::{choose_embedder, embed_by_language};
pub use error::FlowError;
pub use plugins::{LogListener, Trial, TrialSummary, TriedRecord};
pub use spec::Fault;
pub use supervisor::{Checked, SubmitError, Supervisor};
