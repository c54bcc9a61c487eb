//! Serves the gRPC interface of Autodidact, and OpenAI's HTTP interface to its models, over Unix sockets and TCP.
//!
//! The interface is `proto/autodidact/v1/*.proto`; the stable reasons of its errors are the `ErrorReason` values there,
//! and `status.rs` is the one place where errors become them. One file per service stands in `services/`,
//! each conversion between domain and wire types in one file of `convert/`; OpenAI's interface is `openai/`. Every call of a port goes through
//! `blocking.rs`, so nothing here holds up the runtime.
//!
//! Deliberately absent: command lines, configuration files and the data directory; the binary binds listeners with
//! [`Listener`], puts the ports together and calls [`Server::serve`].

mod auth;
mod blocking;
mod context;
mod convert;
mod error;
mod feed;
mod import;
mod in_use;
mod listen;
mod openai;
mod pages;
mod requests;
mod safetensors;
mod server;
mod services;
mod status;
mod stream;
mod tls;
mod transfer;
mod watch;

pub use auth::{Auth, Tls, Token};
pub use context::Limits;
pub use convert::{example as example_to_wire, example_of as example_from_wire};
pub use error::ServerError;
pub use import::{Imported, IncomingFile, import_file};
pub use listen::Listener;
pub use server::Server;
