//! Plain types that the parts of Autodidact share, and the ports (traits) that the loop needs.
//!
//! Nothing here is async, reads a clock or touches a disk. Each part of the house implements the ports it
//! serves; the binary puts them together.

pub mod capability;
pub mod chain;
pub mod checkpoint;
pub mod classification;
pub mod comparison;
pub mod dataset;
pub mod embedding;
pub mod error;
pub mod evaluation;
pub mod event;
pub mod example;
pub mod exchange;
pub mod figures;
pub mod generation;
pub mod id;
pub mod interrupt;
pub mod journal;
pub mod lineage;
pub mod model;
pub mod plan;
pub mod plugin;
pub mod ports;
pub mod preflight;
pub mod preview;
pub mod random;
pub mod report;
pub mod review;
pub mod shown;
pub mod spending;
pub mod training;
pub mod verdict;
pub mod workflow;

pub use capability::{Capability, Granted, PluginCall, PluginRun, PluginUses};
pub use checkpoint::{Checkpoint, CheckpointSummary, NamedTensor};
pub use classification::{Classifications, ClassifyInput, LabelScores};
pub use dataset::{DatasetSummary, FileReport, LineFault, ParsedFile, WrittenFile};
pub use embedding::{EmbedReport, EmbedderRef, EmbedderTable, Embeddings};
pub use error::{PortError, PortResult};
pub use event::{Event, EventBody, StageProgress};
pub use example::{Body, Example, Language, Lineage, Message, Origin, Role, TaskType};
pub use generation::{
    Completion, Constraint, FinishReason, GenerateRequest, Prompt, ResponseLoss, Sampling,
    ScoreRequest, TokenLogprob,
};
pub use id::{CheckpointId, DatasetName, Digest, ExampleId, ModelName, PluginName, WorkflowName};
pub use interrupt::{Interrupt, InterruptReason};
pub use journal::{StepKey, StepRecord};
pub use model::{ChatLayout, ModelDetails, ModelRef, ModelSummary};
pub use plugin::{PluginKind, PluginRecord, PluginSummary};
pub use report::Report;
pub use review::{ReviewDecision, ReviewItem, ReviewRound};
pub use spending::{Account, Leave, NoAccount, RemoteUsage, RemoteUse};
pub use training::{
    BaseDtype, EvalLoss, LrScheduler, TrainOptions, TrainRequest, TrainSegment, TrainTask,
};
pub use verdict::{Decision, Evidence, RuleRef, Verdict};
pub use workflow::{WorkflowSpec, WorkflowState, WorkflowSummary};
