//! Hostile headers of model files: whatever the bytes say, there is an answer, and never more memory than they account for.
//!
//! The targets run for some seconds in the ordinary tests. They fuzz for as long as one likes with
//! `cargo bolero test -p autodidact-engine gguf_headers` (or `safetensors_headers`).

mod changes;
#[path = "../counting/mod.rs"]
mod counting;
mod gguf;
mod safetensors;

use std::path::Path;
use std::time::Duration;

use autodidact_engine::{Compute, Engine, EngineError};

use counting::most_allocated;

const SECONDS: Duration = Duration::from_secs(5);
/// What reading takes whatever the file: its buffers of a MiB, and the splitting patterns' automata.
const FIXED_BYTES: usize = 12 << 20;
/// What a byte of a file may come to: an element of four bits becomes 32, an empty text of eight bytes a token in five tables.
const FACTOR: usize = 64;

/// Inspects and loads what lies at `path`, of `file_bytes` in all.
///
/// # Panics
/// Where the engine does, and where it allocates beyond what so many bytes account for.
fn inspect_and_load(path: &Path, file_bytes: usize) {
    let engine = Engine::new(1, Compute::Fast);
    let limit = FIXED_BYTES + FACTOR * file_bytes;
    let (inspected, inspecting) = most_allocated(|| Engine::inspect(path));
    assert!(
        inspecting <= limit,
        "{inspecting} bytes at once to inspect a file of {file_bytes}: {inspected:?}"
    );
    let (loaded, loading) = most_allocated(|| engine.load(path).map(|_| ()));
    assert!(
        loading <= limit,
        "{loading} bytes at once to load a file of {file_bytes}: {loaded:?}"
    );
    // What was let in can be used, and what is refused is so for good.
    assert_eq!(
        inspected.is_ok(),
        loaded.is_ok(),
        "{inspected:?} {loaded:?}"
    );
    if let Err(error) = inspected {
        assert!(
            matches!(
                error,
                EngineError::ModelFile { .. } | EngineError::Io { .. }
            ),
            "{error:?}"
        );
    }
}
