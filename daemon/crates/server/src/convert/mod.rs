//! Domain types as wire types and back: one file for each kind of thing.

mod checkpoint;
mod classification;
mod dataset;
mod embedding;
mod event;
mod generation;
mod lineage;
mod model;
mod plugin;
mod review;
mod sampling;
mod spec;
mod verdict;
mod workflow;

pub(crate) use checkpoint::checkpoint;
pub(crate) use classification::{classify_request, classify_response};
pub(crate) use dataset::{dataset, file_report, line_fault, previewed};
pub use dataset::{example, example_of};
pub(crate) use embedding::{EmbedWish, embed_request, embed_response};
pub(crate) use event::{event, stage, stage_progress, training_need};
pub(crate) use generation::{completion, generate_requests, score, score_requests};
pub(crate) use lineage::{comparison, record_lineage};
pub(crate) use model::model;
pub(crate) use plugin::{plugin, plugin_uses};
pub(crate) use review::{review_decision, review_item, review_stats};
pub(crate) use spec::{spec_text, workflow_spec};
pub(crate) use verdict::{decision, recorded_verdict};
pub(crate) use workflow::{fault, warning, workflow};
