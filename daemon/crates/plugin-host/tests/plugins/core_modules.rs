//! Core modules, as C, Zig and AssemblyScript compile to.

use std::sync::atomic::Ordering;

use autodidact_domain::PluginCall;
use autodidact_domain::PortError;
use autodidact_domain::ports::Plugins;
use serde_json::Value;

use super::garbage::count_panics;
use super::wat_components::Plugin;
use super::{open_host, record, show, tight_limits};

#[test]
fn a_core_module_is_a_plugin_as_it_is() {
    let (folder, host) = open_host();
    let module = Plugin::default().core_module();
    let installed = host.install(&module, false).unwrap();
    // It goes by the digest of the file that the user has.
    assert_eq!(installed.digest, autodidact_domain::Digest::of(&module));
    assert_eq!(installed.size, module.len() as u64);
    let judge = |host: &autodidact_plugin_host::PluginHost| {
        let records = [record("D", ""), record("T", ""), record("k", "")];
        let outcomes = host
            .filter(&PluginCall::plain(installed.digest, &Value::Null), &records)
            .unwrap()
            .answers;
        outcomes.iter().map(show).collect::<Vec<_>>()
    };
    let found = judge(&host);
    assert_eq!((found[0].as_str(), found[2].as_str()), ("bad", "keep"));
    assert!(found[1].contains("unreachable"), "{found:?}");
    // And so after a restart, with the compiled code and without.
    drop(host);
    let path = folder.path().join("plugins");
    for _ in 0..2 {
        let host = autodidact_plugin_host::PluginHost::open(&path, tight_limits()).unwrap();
        assert_eq!(judge(&host), found);
        std::fs::remove_dir_all(path.join("cache")).unwrap();
    }
}

fn refusal(module: &[u8]) -> String {
    let (_folder, host) = open_host();
    match host.install(module, false) {
        Err(PortError::Invalid(message)) => message,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn core_modules_that_are_no_plugins_are_refused_with_what_they_lack() {
    let text = Plugin::default().core_text();
    let check = |text: &str, expected: &str| {
        let message = refusal(&wat::parse_str(text).unwrap());
        assert!(message.contains(expected), "{message}");
    };
    check(
        "(module)",
        "it exports no function of a kind, such as autodidact:plugin/filter@0.1.0#filter",
    );
    check(
        &text.replace(
            "plugin/plugin@0.1.0#describe",
            "plugin/plugin@0.1.0#described",
        ),
        "interface `autodidact:plugin/plugin@0.1.0` function `describe`",
    );
    check(
        &text.replace(r#"(export "cabi_realloc")"#, r#"(export "realloc")"#),
        "realloc",
    );
    check(
        &text.replace(r#"(memory (export "memory") 2)"#, "(memory 2)"),
        "memory",
    );
    // As languages' standard libraries import files, sockets, clocks, the environment and chance.
    for function in [
        "fd_write",
        "path_open",
        "sock_send",
        "clock_time_get",
        "environ_get",
        "args_get",
        "random_get",
        "proc_exit",
    ] {
        for module in ["wasi_snapshot_preview1", "env"] {
            let import = format!(r#"(module (import "{module}" "{function}" (func (param i32)))"#);
            check(&text.replacen("(module", &import, 1), module);
        }
    }
    let other = text.replace(
        "(param $text i32) (param $text_len i32) (param $ends i32)",
        "(param $text i32) (param $text_len i64) (param $ends i32)",
    );
    assert_ne!(other, text);
    let message =
        refusal(&wat::parse_str(other.replace("(local.get $text_len)", "(i32.const 0)")).unwrap());
    assert!(message.contains("filter"), "{message}");
}

#[test]
fn a_core_module_with_a_changed_or_missing_byte_never_panics() {
    let (_folder, host) = open_host();
    let module = Plugin::default().core_module();
    let panics = count_panics();
    for at in 0..module.len() {
        let mut changed = module.clone();
        changed[at] ^= 1 << (at % 8);
        // Some changes are harmless, and what they make is a plugin.
        let _ = host.install(&changed, false);
    }
    for end in (8..module.len()).step_by(7) {
        assert!(host.install(&module[..end], false).is_err(), "{end}");
    }
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}
