//! `autodidact:plugin@0.1.0`: everything that knows this version of the interfaces. A later version gets a folder of its own beside this
//! one, which stays.

mod answers;
mod asked;
mod bindings;
mod exports;
mod guest;
mod imports;
mod records;
mod text;

use autodidact_domain::Capability;

pub(crate) use exports::Exports;
pub(crate) use guest::Guest;
pub(crate) use imports::link;

/// The version as names of interfaces have it.
pub(crate) const VERSION: &str = "0.1.0";

/// The files of the WIT package.
pub(crate) const WIT: [&str; 8] = [
    include_str!("../../../../../sdk/wit/0.1.0/plugin.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/filter.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/template.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/validator.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/scorer.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/capabilities.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/text.wit"),
    include_str!("../../../../../sdk/wit/0.1.0/worlds.wit"),
];

/// The interfaces that a component may import, and what it has to ask for one of; nothing for what nobody has to grant.
const IMPORTS: [(&str, &[Capability]); 4] = [
    ("log", &[Capability::Log]),
    (
        "model",
        &[Capability::Generate, Capability::Embed, Capability::Score],
    ),
    ("data", &[Capability::Data]),
    ("text", &[]),
];

/// Finds an interface that may be imported, by its whole name.
pub(crate) fn import(name: &str) -> Option<&'static (&'static str, &'static [Capability])> {
    let of_package = name.strip_prefix("autodidact:plugin/")?;
    let interface = of_package.strip_suffix(&format!("@{VERSION}"))?;
    IMPORTS.iter().find(|(known, _)| *known == interface)
}
