//! Lines for the daemon's log: capability `log`.

pub use crate::bindings::capabilities::log::Level;

/// Writes a line; outside of the host to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::capabilities::log::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}
