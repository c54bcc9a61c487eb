//! Models that run on a server elsewhere: any that speaks OpenAI's API can generate and embed. And models' files from a hub.
//!
//! This is the only crate that calls out over HTTP. Its callers block; a small runtime of its own keeps their requests going.
//! A request is asked for again where the server or the way to it fails for a while, and never where it was refused.
//! What a server sends is not trusted: every size has a bound, and nothing of it is executed or laid out unchecked.
//!
//! Keys are read by the caller and live in [`Key`], which shows itself nowhere. The server's own texts are searched for the key
//! before they become part of a message.
//!
//! What a server answers cannot be had again bit for bit, not even with the same seed: a workflow's journal is what makes its
//! replay exact.

mod answer;
mod background;
mod embeddings;
mod error;
mod fetch;
mod http;
mod hub;
mod logprobs;
mod models;
mod pay;
mod request;
mod retry;
mod settings;
mod stop;
mod stream;

pub use error::RemoteError;
pub use fetch::fetch;
pub use hub::{Hub, HubFile, HubRevision};
pub use models::{RemoteModel, RemoteModels};
pub use settings::{Api, Constraints, Key, MaxTokensField, RemoteSettings};
