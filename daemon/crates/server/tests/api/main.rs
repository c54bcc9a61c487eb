//! The real server over real sockets, with the real client and workflow supervisor, on ports faked in memory.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod access;
mod datasets;
mod fakes;
mod harness;
mod others;
mod python;
mod reviews;
mod watches;
mod workflows;
