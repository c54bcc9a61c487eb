//! From bytes to a component that is ready to be instantiated, and what it says of itself.

use autodidact_domain::{Digest, PluginName};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::{Description, FilterPluginPre};
use crate::registry::StoredComponent;
use crate::sandbox::Bounds;
use crate::{Limits, PluginError};

/// The longest version text, as the WIT says.
const MAX_VERSION_BYTES: usize = 64;
/// The longest configuration schema.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// The most names of imports that a refusal lists.
const MAX_LISTED_IMPORTS: usize = 10;

/// A compiled component whose exports were checked.
pub(crate) struct Loaded {
    /// Its digest.
    pub(crate) digest: Digest,
    /// Instantiates it.
    pub(crate) pre: FilterPluginPre<Bounds>,
}

/// Compiles a component. Takes milliseconds to seconds.
pub(crate) fn compile(
    engine: &Engine,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Component, PluginError> {
    if bytes.len() > limits.component_bytes {
        let detail = format!(
            "it has {} bytes; at most {} are taken",
            bytes.len(),
            limits.component_bytes
        );
        return Err(PluginError::Refused(detail));
    }
    // A binary's first eight bytes: "\0asm", a version, and a layer, 0 for core modules and 1 for components.
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {}
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            let detail =
                "it is a core module; make a component of it with `wasm-tools component new`";
            return Err(PluginError::Refused(detail.to_string()));
        }
        _ => {
            return Err(PluginError::Refused(
                "it is not a WebAssembly component".to_string(),
            ));
        }
    }
    Component::from_binary(engine, bytes).map_err(|error| refused(&error))
}

/// Checks a component's imports (there must be none) and exports.
pub(crate) fn check(
    engine: &Engine,
    digest: Digest,
    component: &Component,
) -> Result<Loaded, PluginError> {
    let component_type = component.component_type();
    let imports: Vec<&str> = component_type
        .imports(engine)
        .map(|(name, _)| name)
        .collect();
    if !imports.is_empty() {
        let listed = imports[..imports.len().min(MAX_LISTED_IMPORTS)].join(", ");
        let more = imports.len().saturating_sub(MAX_LISTED_IMPORTS);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return Err(PluginError::Refused(format!(
            "it imports {listed}{more}, but a plugin may import nothing"
        )));
    }
    let pre = Linker::new(engine)
        .instantiate_pre(component)
        .map_err(|error| refused(&error))?;
    let pre = FilterPluginPre::new(pre).map_err(|error| {
        PluginError::Refused(format!(
            "it does not export the world filter-plugin of autodidact:plugin@0.1.0: {error:#}"
        ))
    })?;
    Ok(Loaded { digest, pre })
}

/// Checks what a component says of itself.
pub(crate) fn check_description(
    description: Description,
    size: usize,
) -> Result<StoredComponent, PluginError> {
    let refused = |detail: String| Err(PluginError::Refused(detail));
    let name = match PluginName::new(description.name) {
        Ok(name) => name,
        Err(error) => return refused(error.to_string()),
    };
    let version = description.version;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    if version.is_empty() || version.len() > MAX_VERSION_BYTES || !version.chars().all(good) {
        let shown: String = version.chars().take(80).collect();
        return refused(format!(
            "version {shown:?} is not valid: use 1 to 64 of a-z, A-Z, 0-9, '.', '+' and '-'"
        ));
    }
    if description.kinds.is_empty() {
        return refused("it says that it is of no kind; expected filter".to_string());
    }
    let schema = description.config_schema;
    if schema.len() > MAX_SCHEMA_BYTES {
        return refused(format!(
            "its configuration schema has {} bytes; at most {MAX_SCHEMA_BYTES}",
            schema.len()
        ));
    }
    if !schema.is_empty()
        && let Err(error) =
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&schema)
    {
        return refused(format!(
            "its configuration schema is not a JSON object: {error}"
        ));
    }
    Ok(StoredComponent {
        name,
        version,
        kinds: vec!["filter".to_string()],
        config_schema: schema,
        size: size as u64,
    })
}

fn refused(error: &wasmtime::Error) -> PluginError {
    PluginError::Refused(format!("{error:#}").chars().take(1000).collect())
}
