//! What is installed survives, is replaced, and mends itself.

use std::fs;
use std::path::{Path, PathBuf};

use autodidact_domain::ports::Plugins;
use autodidact_domain::{Digest, PluginCall, PortError};
use autodidact_plugin_host::{PluginError, PluginHost};
use serde_json::Value;

use super::wat_components::Plugin;
use super::{open_host, record, show, tight_limits};

fn component(name: &str, version: &str) -> Vec<u8> {
    Plugin {
        name,
        version,
        ..Plugin::default()
    }
    .component()
}

fn open(folder: &Path) -> PluginHost {
    PluginHost::open(folder, tight_limits()).unwrap()
}

fn works(host: &PluginHost, digest: Digest) -> bool {
    host.filter(&PluginCall::plain(digest, &Value::Null), &[record("D", "")])
        .is_ok_and(|outcomes| show(&outcomes.answers[0]) == "bad")
}

fn compiled_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("cache")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_code = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "cwasm");
    paths.filter(is_code).collect()
}

#[test]
fn the_installed_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let installed = open(folder.path())
        .install(&component("one", "1.0.0"), false)
        .unwrap();
    let host = open(folder.path());
    assert_eq!(host.list().unwrap(), std::slice::from_ref(&installed));
    assert_eq!(host.get("one").unwrap(), installed);
    assert!(works(&host, installed.digest));
}

#[test]
fn the_digest_that_sha256sum_prints_is_known_also_of_what_an_earlier_daemon_installed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = component("one", "1.0.0");
    let sha256 = open(folder.path()).install(&bytes, false).unwrap().sha256;
    assert_eq!(sha256, super::builtin::sha256(&bytes));
    let path = folder.path().join("registry.json");
    let registry = fs::read_to_string(&path).unwrap();
    let line = format!("\"sha256\": \"{sha256}\",");
    assert!(registry.contains(&line), "{registry}");
    fs::write(&path, registry.replace(&line, "")).unwrap();
    let host = open(folder.path());
    assert_eq!(host.get("one").unwrap().sha256, "");
    assert_eq!(host.install(&bytes, false).unwrap().sha256, sha256);
    assert_eq!(host.get("one").unwrap().sha256, sha256);
}

#[test]
fn the_same_bytes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let bytes = component("one", "1.0.0");
    let first = host.install(&bytes, false).unwrap();
    host.set_enabled("one", false).unwrap();
    let before = fs::read(folder.path().join("registry.json")).unwrap();
    let second = host.install(&bytes, false).unwrap();
    assert_eq!((second.digest, second.enabled), (first.digest, false));
    assert_eq!(
        fs::read(folder.path().join("registry.json")).unwrap(),
        before
    );
}

#[test]
fn a_newer_one_takes_the_name_and_the_older_stays_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let old = host.install(&component("one", "1.0.0"), false).unwrap();
    let new = host.install(&component("one", "1.1.0"), false).unwrap();
    assert_eq!(host.get("one").unwrap(), new);
    assert_eq!(host.list().unwrap().len(), 1);
    assert!(works(&host, old.digest) && works(&host, new.digest));
    drop(host);

    let host = open(folder.path());
    assert!(works(&host, old.digest));
    assert_eq!(host.prune(&[old.digest]).unwrap(), []);
    assert_eq!(host.prune(&[]).unwrap(), [old.digest]);
    assert!(matches!(
        host.filter(&PluginCall::plain(old.digest, &Value::Null), &[]),
        Err(PortError::NotFound { .. })
    ));
    assert!(works(&host, new.digest));
    assert_eq!(compiled_files(folder.path()).len(), 1);
    assert!(!folder.path().join(format!("{}.wasm", old.digest)).exists());
    // The older one can come back.
    assert_eq!(
        host.install(&component("one", "1.0.0"), false).unwrap(),
        old
    );
}

#[test]
fn names_are_found_enabled_and_removed() {
    let (_folder, host) = open_host();
    let digest = host
        .install(&component("counter", "1.0.0"), false)
        .unwrap()
        .digest;
    let nearest = match host.get("conter") {
        Err(PortError::NotFound { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest.as_deref(), Some("counter"));
    assert!(!host.set_enabled("counter", false).unwrap().enabled);
    assert!(!host.get("counter").unwrap().enabled);
    assert!(host.set_enabled("counter", true).unwrap().enabled);
    host.remove("counter").unwrap();
    assert_eq!(host.list().unwrap(), []);
    assert!(matches!(
        host.remove("counter"),
        Err(PortError::NotFound { .. })
    ));
    assert!(
        works(&host, digest),
        "a workflow that is bound to it goes on"
    );
    assert_eq!(host.prune(&[]).unwrap(), [digest]);
}

#[test]
fn what_comes_with_the_daemon_is_kept_apart() {
    let (_folder, host) = open_host();
    host.install(&component("one", "1.0.0"), true).unwrap();
    assert!(matches!(host.remove("one"), Err(PortError::Invalid(_))));
    assert!(matches!(
        host.install(&component("one", "2.0.0"), false),
        Err(PortError::Exists { .. })
    ));
    assert_eq!(
        host.install(&component("one", "1.1.0"), true)
            .unwrap()
            .version,
        "1.1.0"
    );
    host.install(&component("mine", "1.0.0"), false).unwrap();
    assert!(matches!(
        host.install(&component("mine", "2.0.0"), true),
        Err(PortError::Exists { .. })
    ));
}

#[test]
fn damaged_compiled_code_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let digest = open(folder.path())
        .install(&component("one", "1.0.0"), false)
        .unwrap()
        .digest;
    let [path] = compiled_files(folder.path()).try_into().unwrap();
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [
        flipped,
        good[..good.len() / 2].to_vec(),
        Vec::new(),
        b"garbage".repeat(100),
    ] {
        fs::write(&path, &damaged).unwrap();
        assert!(works(&open(folder.path()), digest));
        let mended = fs::read(&path).unwrap();
        assert_ne!(mended, damaged);
        assert_eq!(mended, good);
    }
    // Nor is code trusted whose digest is another's, or gone.
    let digest_path = path.with_extension("blake3");
    fs::write(&digest_path, [0; 32]).unwrap();
    assert!(works(&open(folder.path()), digest));
    assert_ne!(fs::read(&digest_path).unwrap(), [0; 32]);
    fs::remove_file(&digest_path).unwrap();
    assert!(works(&open(folder.path()), digest));
    assert!(digest_path.exists());
    fs::remove_dir_all(folder.path().join("cache")).unwrap();
    assert!(works(&open(folder.path()), digest));
}

#[test]
fn compiled_code_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let digest = open(folder.path())
        .install(&component("one", "1.0.0"), false)
        .unwrap()
        .digest;
    // With the component gone, only the compiled code can answer.
    fs::remove_file(folder.path().join(format!("{digest}.wasm"))).unwrap();
    assert!(works(&open(folder.path()), digest));
}

#[test]
fn a_version_that_is_refused_leaves_the_one_before_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let old = host.install(&component("one", "1.0.0"), false).unwrap();
    let newer = || Plugin {
        name: "one",
        version: "2.0.0",
        ..Plugin::default()
    };
    let traps = Plugin {
        describe: "unreachable",
        ..newer()
    };
    let asks_more = Plugin {
        imports: r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
        ..newer()
    };
    let bad_schema = Plugin {
        schema: "[]",
        ..newer()
    };
    let of_next = newer().core_text().replace("@0.1.0", "@0.2.0");
    for (refused, why) in [
        (traps.core_module(), "unreachable"),
        (asks_more.core_module(), "wasi_snapshot_preview1"),
        (bad_schema.core_module(), "schema"),
        (wat::parse_str(of_next).unwrap(), "@0.1.0"),
    ] {
        let told = host.install(&refused, false).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
        assert_eq!(host.get("one").unwrap(), old);
        assert!(works(&host, old.digest));
    }
    assert_eq!(open(folder.path()).list().unwrap(), [old]);
}

#[test]
fn a_damaged_component_is_told_and_mended_by_installing_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = component("one", "1.0.0");
    let digest = open(folder.path()).install(&bytes, false).unwrap().digest;
    fs::write(folder.path().join(format!("{digest}.wasm")), b"\0asm").unwrap();
    fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let host = open(folder.path());
    let error = host
        .filter(&PluginCall::plain(digest, &Value::Null), &[record("D", "")])
        .unwrap_err();
    assert!(
        matches!(&error, PortError::Corrupt(text) if text.contains("install the plugin again")),
        "{error}"
    );
    host.install(&bytes, false).unwrap();
    assert!(works(&host, digest));
}

#[test]
fn a_registry_that_cannot_be_read_is_refused() {
    let check = |json: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("registry.json"), json).unwrap();
        match PluginHost::open(folder.path(), tight_limits()) {
            Err(PluginError::Corrupt { detail, .. }) => {
                assert!(detail.contains(expected), "{detail}")
            }
            other => panic!("expected {expected:?}, found {:?}", other.err()),
        }
    };
    check("{", "move the file away");
    check(
        r#"{"format": 2, "plugins": {}, "components": {}}"#,
        "use a newer version",
    );
    check(r#"{"format": 1, "plugins": {}}"#, "components");
    let digest = Digest::of(b"");
    let dangling = format!(
        r#"{{"format": 1, "plugins": {{"one": {{"in_force": "{digest}", "enabled": true, "builtin": false}}}}, "components": {{}}}}"#
    );
    check(&dangling, "missing component");
}

#[test]
fn leftovers_of_a_crash_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path())
        .install(&component("one", "1.0.0"), false)
        .unwrap();
    let leftovers = [
        folder.path().join("registry.tmp"),
        folder.path().join("cache/x.tmp"),
        folder.path().join("cache/old.cwasm"),
    ];
    for path in &leftovers {
        fs::write(path, b"half").unwrap();
    }
    let host = open(folder.path());
    assert!(leftovers.iter().all(|path| !path.exists()));
    assert_eq!(host.list().unwrap().len(), 1);
    assert_eq!(compiled_files(folder.path()).len(), 1);
}

#[cfg(unix)]
#[test]
fn the_folders_are_the_daemons_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    open(&plugins);
    for path in [&plugins, &plugins.join("cache")] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
