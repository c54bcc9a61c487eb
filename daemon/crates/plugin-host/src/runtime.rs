//! The wasmtime engine, set up so that a call gives the same result every time.

use std::hash::{Hash, Hasher};

use wasmtime::{Config, Engine};

use crate::{Limits, PluginError};

/// Makes the engine.
pub(crate) fn make_engine(limits: &Limits) -> Result<Engine, PluginError> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.stack_bytes);
    // The two things in WebAssembly whose results may differ between machines.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);
    // Errors tell the kind of trap; guests come without names, so a backtrace adds nothing.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    Engine::new(&config).map_err(|error| PluginError::Runtime(error.to_string()))
}

/// Digests what compiled code depends on besides the component: wasmtime's version, the configuration, the machine's kind.
pub(crate) fn compatibility(engine: &Engine) -> [u8; 32] {
    let mut hasher = DigestHasher(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    *hasher.0.finalize().as_bytes()
}

/// Takes all bytes that a `Hash` gives, where the standard hashers keep 64 bits.
struct DigestHasher(blake3::Hasher);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let bytes = self.0.finalize();
        u64::from_le_bytes(*bytes.as_bytes().first_chunk().expect("32 bytes hold 8"))
    }
}
