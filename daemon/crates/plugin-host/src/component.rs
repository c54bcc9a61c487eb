//! From bytes to a component that is ready to be instantiated, and what it says of itself.

use std::borrow::Cow;

use autodidact_domain::{Capability, Digest, PluginKind, PluginName};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::registry::StoredComponent;
use crate::sandbox::State;
use crate::v0_1_0::{self, Exports, VERSION};
use crate::{Limits, PluginError, effort, lift, schema};

/// The longest version text, as the WIT says.
const MAX_VERSION_BYTES: usize = 64;
/// The most names of imports or exports that a refusal lists.
pub(crate) const MAX_LISTED: usize = 10;

/// A compiled component whose exports were checked.
pub(crate) struct Loaded {
    /// Its digest.
    pub(crate) digest: Digest,
    /// Instantiates it.
    pub(crate) pre: InstancePre<State>,
    /// Where its exports are.
    pub(crate) exports: Exports,
    /// The interfaces that it imports, and what it has to ask for one of.
    imports: Vec<&'static (&'static str, &'static [Capability])>,
}

/// What a component says of itself.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kinds: Vec<PluginKind>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) config_schema: String,
}

/// Compiles a component, or a core module of which one can be made. Takes milliseconds to seconds.
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
    let component = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Cow::Borrowed(bytes),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Cow::Owned(lift::lift(bytes)?),
        _ => {
            return Err(PluginError::Refused(
                "it is not a WebAssembly component or module".to_string(),
            ));
        }
    };
    effort::check(&component).map_err(PluginError::Refused)?;
    Component::from_binary(engine, &component).map_err(|error| refused(&error))
}

/// Checks a component's imports and exports.
pub(crate) fn check(
    engine: &Engine,
    digest: Digest,
    component: &Component,
) -> Result<Loaded, PluginError> {
    let component_type = component.component_type();
    let names = component_type.imports(engine).map(|(name, _)| name);
    let (known, foreign): (Vec<&str>, Vec<&str>) =
        names.partition(|name| v0_1_0::import(name).is_some());
    if !foreign.is_empty() {
        let listed = foreign[..foreign.len().min(MAX_LISTED)].join(", ");
        let more = foreign.len().saturating_sub(MAX_LISTED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return Err(PluginError::Refused(format!(
            "it imports {listed}{more}, but a plugin may import log, model, data and text of autodidact:plugin@{VERSION} alone"
        )));
    }
    let mut linker = Linker::new(engine);
    v0_1_0::link(&mut linker)?;
    let pre = linker
        .instantiate_pre(component)
        .map_err(|error| refused(&error))?;
    let exports = Exports::find(&pre)?;
    Ok(Loaded {
        digest,
        pre,
        exports,
        imports: known.into_iter().filter_map(v0_1_0::import).collect(),
    })
}

/// Checks what a component says of itself against what it exports and imports.
pub(crate) fn check_description(
    description: Described,
    loaded: &Loaded,
    bytes: &[u8],
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
    let kinds = loaded.exports.kinds();
    let mut said = description.kinds;
    said.sort();
    said.dedup();
    if said != kinds {
        return refused(format!(
            "it says that its kinds are {}, but it exports {}",
            listed(&said),
            listed(&kinds)
        ));
    }
    let mut capabilities = description.capabilities;
    capabilities.sort();
    capabilities.dedup();
    let is_asked_for = |needed: &[Capability]| {
        needed.is_empty() || capabilities.iter().any(|c| needed.contains(c))
    };
    if let Some((interface, needed)) = loaded.imports.iter().find(|(_, n)| !is_asked_for(n)) {
        let needed: Vec<&str> = needed.iter().map(|capability| capability.name()).collect();
        return refused(format!(
            "it imports {interface}, but does not ask for {} in its description",
            needed.join(" or ")
        ));
    }
    let config_schema = description.config_schema;
    if let Err(error) = schema::read(&config_schema) {
        return refused(format!("its configuration schema: {error}"));
    }
    Ok(StoredComponent {
        name,
        version,
        kinds,
        capabilities,
        config_schema,
        size: bytes.len() as u64,
        sha256: sha256(bytes),
        quarantine: None,
        excused: false,
    })
}

/// Digests bytes as `sha256sum` does.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listed(kinds: &[PluginKind]) -> String {
    match kinds {
        [] => "none".to_string(),
        kinds => kinds
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn refused(error: &wasmtime::Error) -> PluginError {
    PluginError::Refused(format!("{error:#}").chars().take(1000).collect())
}
