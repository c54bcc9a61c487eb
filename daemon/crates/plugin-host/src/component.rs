//! From bytes to a component that is ready to be instantiated, and what it says of itself.

use std::borrow::Cow;

use autodidact_domain::{Capability, Digest, PluginKind, PluginName};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::{filter, plugin, scorer, template, validator};
use crate::registry::StoredComponent;
use crate::sandbox::State;
use crate::{Limits, PluginError, access, lift};

/// The version of the WIT package that components are made for.
pub(crate) const WIT_VERSION: &str = "0.1.0";
/// The longest version text, as the WIT says.
const MAX_VERSION_BYTES: usize = 64;
/// The longest configuration schema.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// The most names of imports or exports that a refusal lists.
const MAX_LISTED: usize = 10;

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

/// Where a component has the interfaces that it exports.
pub(crate) struct Exports {
    pub(crate) plugin: plugin::GuestIndices,
    pub(crate) filter: Option<filter::GuestIndices>,
    pub(crate) template: Option<template::GuestIndices>,
    pub(crate) validator: Option<validator::GuestIndices>,
    pub(crate) scorer: Option<scorer::GuestIndices>,
}

impl Exports {
    fn find(pre: &InstancePre<State>) -> Result<Self, PluginError> {
        let exports = Self {
            plugin: plugin::GuestIndices::new(pre).map_err(|error| foreign(&error))?,
            filter: indices(pre, PluginKind::Filter, filter::GuestIndices::new)?,
            template: indices(pre, PluginKind::Template, template::GuestIndices::new)?,
            validator: indices(pre, PluginKind::Validator, validator::GuestIndices::new)?,
            scorer: indices(pre, PluginKind::Scorer, scorer::GuestIndices::new)?,
        };
        if !exports.kinds().is_empty() {
            return Ok(exports);
        }
        let component_type = pre.component().component_type();
        let others = component_type.exports(pre.engine());
        let others: Vec<&str> = others.map(|(name, _)| name).take(MAX_LISTED).collect();
        Err(PluginError::Refused(format!(
            "it exports no kind of autodidact:plugin@{WIT_VERSION} (filter, template, validator or scorer), but {}; build it with the SDK of this version",
            if others.is_empty() {
                "nothing".to_string()
            } else {
                others.join(", ")
            }
        )))
    }

    /// Lists the kinds that are there.
    pub(crate) fn kinds(&self) -> Vec<PluginKind> {
        let kinds = [
            (PluginKind::Filter, self.filter.is_some()),
            (PluginKind::Template, self.template.is_some()),
            (PluginKind::Validator, self.validator.is_some()),
            (PluginKind::Scorer, self.scorer.is_some()),
        ];
        let there = kinds.into_iter().filter(|(_, there)| *there);
        there.map(|(kind, _)| kind).collect()
    }
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
    Component::from_binary(engine, &component).map_err(|error| refused(&error))
}

/// The interfaces that a component may import, and what it has to ask for one of.
const IMPORTS: [(&str, &[Capability]); 3] = [
    ("log", &[Capability::Log]),
    (
        "model",
        &[Capability::Generate, Capability::Embed, Capability::Score],
    ),
    ("data", &[Capability::Data]),
];

/// Checks a component's imports and exports.
pub(crate) fn check(
    engine: &Engine,
    digest: Digest,
    component: &Component,
) -> Result<Loaded, PluginError> {
    let component_type = component.component_type();
    let names = component_type.imports(engine).map(|(name, _)| name);
    let (known, foreign): (Vec<&str>, Vec<&str>) = names.partition(|name| import(name).is_some());
    if !foreign.is_empty() {
        let listed = foreign[..foreign.len().min(MAX_LISTED)].join(", ");
        let more = foreign.len().saturating_sub(MAX_LISTED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return Err(PluginError::Refused(format!(
            "it imports {listed}{more}, but a plugin may import log, model and data of autodidact:plugin@{WIT_VERSION} alone"
        )));
    }
    let mut linker = Linker::new(engine);
    access::link(&mut linker)?;
    let pre = linker
        .instantiate_pre(component)
        .map_err(|error| refused(&error))?;
    let exports = Exports::find(&pre)?;
    Ok(Loaded {
        digest,
        pre,
        exports,
        imports: known.into_iter().filter_map(import).collect(),
    })
}

/// Finds an interface that may be imported, by its whole name.
fn import(name: &str) -> Option<&'static (&'static str, &'static [Capability])> {
    let of_package = name.strip_prefix("autodidact:plugin/")?;
    let interface = of_package.strip_suffix(&format!("@{WIT_VERSION}"))?;
    IMPORTS.iter().find(|(known, _)| *known == interface)
}

/// Checks what a component says of itself against what it exports and imports.
pub(crate) fn check_description(
    description: plugin::Description,
    loaded: &Loaded,
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
    let kinds = loaded.exports.kinds();
    let mut said: Vec<PluginKind> = description.kinds.into_iter().map(kind).collect();
    said.sort();
    said.dedup();
    if said != kinds {
        return refused(format!(
            "it says that its kinds are {}, but it exports {}",
            listed(&said),
            listed(&kinds)
        ));
    }
    let mut capabilities: Vec<Capability> = description
        .capabilities
        .into_iter()
        .map(capability)
        .collect();
    capabilities.sort();
    capabilities.dedup();
    let is_asked_for = |needed: &[Capability]| capabilities.iter().any(|c| needed.contains(c));
    if let Some((interface, needed)) = loaded.imports.iter().find(|(_, n)| !is_asked_for(n)) {
        let needed: Vec<&str> = needed.iter().map(|capability| capability.name()).collect();
        return refused(format!(
            "it imports {interface}, but does not ask for {} in its description",
            needed.join(" or ")
        ));
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
        kinds,
        capabilities,
        config_schema: schema,
        size: size as u64,
        quarantine: None,
        excused: false,
    })
}

/// Finds a kind's interface: one that is there has to be as the WIT says, one that is not is a kind less.
fn indices<I>(
    pre: &InstancePre<State>,
    kind: PluginKind,
    find: fn(&InstancePre<State>) -> wasmtime::Result<I>,
) -> Result<Option<I>, PluginError> {
    let name = format!("autodidact:plugin/{kind}@{WIT_VERSION}");
    let component = pre.component();
    match component.get_export_index(None, &name) {
        None => Ok(None),
        Some(_) => find(pre).map(Some).map_err(|error| foreign(&error)),
    }
}

fn foreign(error: &wasmtime::Error) -> PluginError {
    PluginError::Refused(
        format!("it was not made for autodidact:plugin@{WIT_VERSION}: {error:#}")
            .chars()
            .take(1000)
            .collect(),
    )
}

fn kind(kind: plugin::Kind) -> PluginKind {
    match kind {
        plugin::Kind::Filter => PluginKind::Filter,
        plugin::Kind::Template => PluginKind::Template,
        plugin::Kind::Validator => PluginKind::Validator,
        plugin::Kind::Scorer => PluginKind::Scorer,
    }
}

fn capability(capability: plugin::Capability) -> Capability {
    match capability {
        plugin::Capability::Log => Capability::Log,
        plugin::Capability::Generate => Capability::Generate,
        plugin::Capability::Embed => Capability::Embed,
        plugin::Capability::Score => Capability::Score,
        plugin::Capability::Data => Capability::Data,
    }
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
