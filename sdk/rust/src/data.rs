//! Files that a person gave the plugin to read: capability `data`.

/// Lists the names of the files, sorted.
pub fn files() -> Vec<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::capabilities::data::files();
    #[cfg(not(target_family = "wasm"))]
    Vec::new()
}

/// Reads a whole file.
///
/// # Errors
/// Where it is not granted, or there is no such file.
pub fn read(name: &str) -> Result<Vec<u8>, String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::capabilities::data::read(name);
    #[cfg(not(target_family = "wasm"))]
    Err(format!("{name}: outside of the host there are no files"))
}
