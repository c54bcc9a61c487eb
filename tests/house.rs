//! The house keeps its shape: who may depend on whom, and what stands at the top level.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may use of the house; the binary and the tests may use everything.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        ("autodidact-domain", BTreeSet::new()),
        ("autodidact-text", BTreeSet::from(["autodidact-domain"])),
        ("autodidact-store", BTreeSet::from(["autodidact-domain"])),
        ("autodidact-engine", BTreeSet::from(["autodidact-domain"])),
        ("autodidact-remote", BTreeSet::from(["autodidact-domain"])),
        (
            "autodidact-plugin-host",
            BTreeSet::from(["autodidact-domain"]),
        ),
        (
            "autodidact-formats",
            BTreeSet::from(["autodidact-domain", "autodidact-text"]),
        ),
        (
            "autodidact-flow",
            BTreeSet::from(["autodidact-domain", "autodidact-text"]),
        ),
        ("autodidact-proto", BTreeSet::new()),
        ("autodidact-client", BTreeSet::from(["autodidact-proto"])),
        (
            "autodidact-server",
            BTreeSet::from(["autodidact-domain", "autodidact-flow", "autodidact-proto"]),
        ),
    ])
}

/// The only crate that may name each of these.
const OWNERS: [(&str, &str); 11] = [
    ("sled", "autodidact-store"),
    ("candle-core", "autodidact-engine"),
    ("candle-nn", "autodidact-engine"),
    ("tokenizers", "autodidact-engine"),
    ("llguidance", "autodidact-engine"),
    ("wasmtime", "autodidact-plugin-host"),
    ("reqwest", "autodidact-remote"),
    ("jieba-rs", "autodidact-text"),
    ("whichlang", "autodidact-text"),
    ("tonic-reflection", "autodidact-server"),
    ("parquet", "autodidact-formats"),
];

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo describes the workspace");
    let allowed = allowed();
    let mut seen = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        seen.insert(name.to_string());
        let normal = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal);
        for dependency in normal {
            let used = dependency.name.as_str();
            if let Some(allowed) = allowed.get(name)
                && used.starts_with("autodidact")
            {
                assert!(allowed.contains(used), "{name} must not use {used}");
            }
            if let Some((_, owner)) = OWNERS.iter().find(|(crate_name, _)| *crate_name == used) {
                assert_eq!(name, *owner, "only {owner} may name {used}");
            }
        }
    }
    for name in allowed.keys() {
        assert!(
            seen.contains(*name),
            "{name} is in the table but not in the workspace"
        );
    }
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    let root = autodidact_tests::repository();
    let expected = BTreeSet::from([
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "daemon",
        "deny.toml",
        "examples",
        "plugins",
        "proto",
        "rustfmt.toml",
        "sdk",
        "target",
        "tests",
    ]);
    for entry in std::fs::read_dir(root).expect("the repository can be read") {
        let name = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            name.starts_with('.') || expected.contains(name.as_str()),
            "{name} does not belong at the top level"
        );
    }
}
