//! Components that loop, grab, trap, lie, and ask for what they may not have.

use std::time::{Duration, Instant};

use autodidact_domain::ports::Plugins;
use autodidact_domain::{Digest, Interrupt, InterruptReason, PluginCall, PluginRecord, PortError};
use autodidact_plugin_host::{Limits, PluginHost};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wat_components::Plugin;
use super::{open_host, open_host_with, record, show, tight_limits};

fn install(host: &PluginHost) -> Digest {
    host.install(&Plugin::default().component(), false)
        .unwrap()
        .digest
}

fn records(letters: &str) -> Vec<PluginRecord<'_>> {
    (0..letters.len())
        .map(|at| record(&letters[at..=at], ""))
        .collect()
}

fn run(host: &PluginHost, digest: Digest, letters: &str) -> Vec<String> {
    host.filter(&PluginCall::plain(digest, &Value::Null), &records(letters))
        .unwrap()
        .answers
        .iter()
        .map(show)
        .collect()
}

fn host_of_batches(batch_records: usize, threads: usize) -> (TempDir, PluginHost) {
    open_host_with(Limits {
        batch_records,
        threads,
        ..tight_limits()
    })
}

/// The record with the letter fails with this text, and its neighbours are judged all the same.
fn check_lonely_failure(letter: char, text: &str) {
    let (_folder, host) = open_host();
    let digest = install(&host);
    let outcomes = run(&host, digest, &format!("kDk{letter}DkkDk"));
    let expected = [
        "keep", "bad", "keep", "", "bad", "keep", "keep", "bad", "keep",
    ];
    for (at, outcome) in outcomes.iter().enumerate() {
        if at == 3 {
            assert!(
                outcome.starts_with("error: ") && outcome.contains(text),
                "{letter}: {outcome}"
            );
        } else {
            assert_eq!(outcome, expected[at], "{letter}, record {at}");
        }
    }
    // The host goes on as if nothing had been.
    assert_eq!(run(&host, digest, "Dk"), ["bad", "keep"]);
}

#[test]
fn an_endless_loop_is_stopped() {
    check_lonely_failure('L', "took longer than 201 ms");
}

#[test]
fn a_memory_grab_is_stopped() {
    check_lonely_failure('M', "wanted more than 8 MiB of memory");
}

#[test]
fn an_endless_recursion_is_stopped() {
    check_lonely_failure('S', "call stack exhausted");
}

#[test]
fn a_trap_loses_its_record_alone() {
    check_lonely_failure('T', "unreachable");
}

#[test]
fn an_error_loses_its_record_alone() {
    check_lonely_failure('E', "it is an error");
}

#[test]
fn a_wrong_count_loses_its_record_alone() {
    check_lonely_failure('W', "gave 0 answers to 1 questions");
}

#[test]
fn a_bad_reason_loses_its_record_alone() {
    check_lonely_failure('R', "\"Bad Reason\"");
}

#[test]
fn several_failures_in_several_batches_are_found() {
    let (_folder, host) = open_host();
    let digest = install(&host);
    let letters: String = (0..200)
        .map(|at| if at % 61 == 7 { 'T' } else { 'D' })
        .collect();
    for (at, outcome) in run(&host, digest, &letters).iter().enumerate() {
        assert_eq!(
            outcome.starts_with("error: "),
            at % 61 == 7,
            "record {at}: {outcome}"
        );
        assert!(outcome == "bad" || outcome.starts_with("error: "));
    }
}

#[test]
fn long_notes_are_cut_and_odd_scores_left_out() {
    let (_folder, host) = open_host();
    let digest = install(&host);
    let outcomes = host
        .filter(&PluginCall::plain(digest, &Value::Null), &records("NF"))
        .unwrap()
        .answers;
    let note = outcomes[0].as_ref().unwrap().note.as_deref().unwrap();
    assert!(
        note.len() <= tight_limits().note_bytes && note.ends_with('…'),
        "{} bytes",
        note.len()
    );
    assert_eq!(outcomes[1].as_ref().unwrap().score, None);
}

#[test]
fn output_is_bounded() {
    let (_folder, host) = open_host();
    let digest = install(&host);
    // 60 notes of 40 KB share the guest's memory but not the host's: more than 1 MiB in one call, little in each half of a half.
    let outcomes = run(&host, digest, &"O".repeat(60));
    assert!(outcomes.iter().all(|outcome| outcome == "keep"));
    let small = Limits {
        output_bytes: 20_000,
        ..tight_limits()
    };
    let (_folder, host) = open_host_with(small);
    let digest = install(&host);
    let outcomes = run(&host, digest, "kOk");
    assert!(
        outcomes[1].contains("gave back more than 19 KiB"),
        "{outcomes:?}"
    );
    assert_eq!(
        (outcomes[0].as_str(), outcomes[2].as_str()),
        ("keep", "keep")
    );
}

/// A host whose calls may take 50 ms.
fn hasty_host() -> (TempDir, PluginHost) {
    open_host_with(Limits {
        call_ms: 50,
        record_ms: 1,
        ..tight_limits()
    })
}

#[test]
fn a_plugin_that_always_loops_is_given_up_soon() {
    let (_folder, host) = hasty_host();
    let call = PluginCall {
        max_failures: 10,
        ..PluginCall::plain(install(&host), &Value::Null)
    };
    let letters = "L".repeat(256);
    let started = Instant::now();
    let run = host.filter(&call, &records(&letters)).unwrap();
    assert!(run.gave_up && run.answers.iter().all(Result::is_err));
    // Searched to the end it were 511 calls of 51 ms and more, 26 s.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn many_loops_in_a_batch_lose_themselves_alone() {
    let (_folder, host) = hasty_host();
    let digest = install(&host);
    let letters: String = (0..64)
        .map(|i| if i < 5 || i % 13 == 0 { 'L' } else { 'k' })
        .collect();
    let outcomes = run(&host, digest, &letters);
    for (letter, outcome) in letters.chars().zip(outcomes) {
        match letter {
            'L' => assert!(outcome.contains("took longer"), "{outcome}"),
            _ => assert_eq!(outcome, "keep"),
        }
    }
}

#[test]
fn a_plugin_stops_when_whoever_asks_is_told_to() {
    let limits = Limits {
        call_ms: 60_000,
        ..tight_limits()
    };
    let (_folder, host) = open_host_with(limits);
    let interrupt = Interrupt::new();
    let call = PluginCall {
        interrupt: Some(interrupt.clone()),
        ..PluginCall::plain(install(&host), &Value::Null)
    };
    let started = Instant::now();
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            interrupt.raise(InterruptReason::Pause);
        });
        host.filter(&call, &records("kLk"))
    });
    assert_eq!(said, Err(PortError::Interrupted));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn an_instance_that_leaks_is_replaced() {
    let (_folder, host) = host_of_batches(10, 1);
    let digest = install(&host);
    // The guest never frees: 40 batches of 1 MB are more than its 8 MiB.
    let output = "x".repeat(100_000);
    let asked: Vec<_> = (0..400).map(|_| record("D", &output)).collect();
    let plain = PluginCall::plain(digest, &Value::Null);
    let outcomes = host.filter(&plain, &asked).unwrap().answers;
    assert_eq!(outcomes.len(), 400);
    for outcome in &outcomes {
        assert_eq!(show(outcome), "bad");
    }
}

/// A plugin that counts the calls of its instance, and does something in each.
fn counting(on_each_call: &str) -> Vec<u8> {
    let before =
        format!("(global.set $calls (i32.add (global.get $calls) (i32.const 1))) {on_each_call}");
    let plugin = Plugin {
        fields: "(global $calls (mut i32) (i32.const 0))",
        before: &before,
        ..Plugin::default()
    };
    plugin.component()
}

#[test]
fn an_instance_serves_batches_until_it_traps() {
    // Traps in every call after an instance's second: shows which instance answers.
    let traps_at_the_third =
        counting("(if (i32.gt_u (global.get $calls) (i32.const 2)) (then unreachable))");
    let (_folder, host) = host_of_batches(2, 1);
    let digest = host.install(&traps_at_the_third, false).unwrap().digest;
    // The third batch traps in the first instance; a fresh one then answers each half, and traps at the fourth.
    assert_eq!(run(&host, digest, "DkDkDkDk"), ["bad", "keep"].repeat(4));
    // A lone record has no halves, so the trap shows.
    let lone = run(&host, digest, "DkDkk");
    assert_eq!(lone[..4], ["bad", "keep", "bad", "keep"]);
    assert!(lone[4].starts_with("error: "), "{lone:?}");
}

#[test]
fn what_a_plugin_remembers_ends_with_what_it_was_asked_at_once() {
    // Asked again, as after a kill, it must say the same, whatever it was asked meanwhile.
    let traps_at_every_third =
        counting("(if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 3))) (then unreachable))");
    for threads in [1, 2] {
        let (_folder, host) = host_of_batches(1, threads);
        let digest = host.install(&traps_at_every_third, false).unwrap().digest;
        let first = run(&host, digest, "kkkkkkkkkk");
        assert!(first.iter().any(|said| said.starts_with("error: ")));
        for between in ["", "k", "kk"] {
            run(&host, digest, between);
            assert_eq!(run(&host, digest, "kkkkkkkkkk"), first);
        }
        host.check_config(digest, &json!({})).unwrap();
        assert_eq!(run(&host, digest, "kkkkkkkkkk"), first);
    }
}

#[test]
fn configurations_are_put_to_the_plugin() {
    let (_folder, host) = open_host();
    let digest = install(&host);
    assert_eq!(host.check_config(digest, &json!({})), Ok(()));
    let expected = "configuration of plugin \"hostile\": it is an error";
    assert_eq!(
        host.check_config(digest, &json!({"a": 1})),
        Err(PortError::Invalid(expected.to_string()))
    );
}

#[test]
fn what_a_plugin_lets_pass_its_schema_may_not() {
    let (_folder, host) = open_host();
    // The plugin looks at the second byte alone.
    let held = Plugin {
        schema: r#"{"type": "object", "properties": {"a": {"type": "integer"}}, "maxProperties": 1}"#,
        before: "",
        ..Plugin::default()
    };
    let digest = host.install(&held.component(), false).unwrap().digest;
    assert_eq!(host.check_config(digest, &json!({})), Ok(()));
    let refused = host.check_config(digest, &json!({"a": "x"})).unwrap_err();
    // Its own words come first.
    assert!(refused.to_string().contains("it is an error"), "{refused}");
    let strict = Plugin {
        schema: r#"{"type": "object", "required": ["limit"]}"#,
        version: "2.0.0",
        ..Plugin::default()
    };
    let digest = host.install(&strict.component(), false).unwrap().digest;
    let refused = host.check_config(digest, &json!({})).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("\"limit\" is a required property"),
        "{refused}"
    );
}

fn check_refused(component: &[u8], expected: &str) {
    let (_folder, host) = open_host();
    match host.install(component, false) {
        Err(PortError::Invalid(message)) => assert!(message.contains(expected), "{message}"),
        other => panic!("expected a refusal with {expected:?}, found {other:?}"),
    }
    assert_eq!(host.list().unwrap(), []);
}

#[test]
fn imports_are_refused_by_name() {
    let text = r#"(component
        (import "wasi:filesystem/types@0.2.0" (instance))
        (import "wasi:sockets/tcp@0.2.0" (instance)))"#;
    let component = wat::parse_str(text).unwrap();
    check_refused(
        &component,
        "it imports wasi:filesystem/types@0.2.0, wasi:sockets/tcp@0.2.0, but a plugin may import log, model, data and text of autodidact:plugin@0.1.0 alone",
    );
}

#[test]
fn whatever_else_is_imported_is_refused() {
    for interface in [
        "wasi:cli/environment@0.2.0",
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:random/random@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
        "autodidact:plugin/log@0.0.9",
        "autodidact:plugin/model@0.2.0",
        "autodidact:plugin/files@0.1.0",
        "somebody:elses/log@0.1.0",
    ] {
        let component = format!(r#"(component (import "{interface}" (instance)))"#);
        check_refused(&wat::parse_str(component).unwrap(), interface);
    }
    check_refused(
        &wat::parse_str(r#"(component (import "run" (func)))"#).unwrap(),
        "it imports run",
    );
}

#[test]
fn missing_exports_are_refused() {
    check_refused(&wat::parse_str("(component)").unwrap(), "autodidact:plugin");
    let text = Plugin::default().text();
    let without_filter = text.replace(
        r#"(export "autodidact:plugin/filter@0.1.0" (instance $filters_instance))"#,
        "",
    );
    assert_ne!(without_filter, text);
    check_refused(
        &wat::parse_str(without_filter).unwrap(),
        "it exports no kind of autodidact:plugin@0.1.0 (filter, template, validator or scorer), but autodidact:plugin/plugin@0.1.0;",
    );
    let says_more = text.replace(
        "(i32.const 9000) (i32.const 1)",
        "(i32.const 8192) (i32.const 1)",
    );
    let says_more = says_more.replace(
        r#"(data (i32.const 8192) "bad")"#,
        r#"(data (i32.const 8192) "\01ad")"#,
    );
    check_refused(
        &wat::parse_str(says_more).unwrap(),
        "it says that its kinds are template, but it exports filter",
    );
    let other_version = text.replace(
        "autodidact:plugin/filter@0.1.0",
        "autodidact:plugin/filter@0.9.0",
    );
    check_refused(
        &wat::parse_str(other_version).unwrap(),
        "but autodidact:plugin/plugin@0.1.0, autodidact:plugin/filter@0.9.0; build it with the SDK of this version",
    );
    let older = text.replace("@0.1.0", "@0.0.9");
    check_refused(
        &wat::parse_str(older).unwrap(),
        "it was not made for autodidact:plugin@0.1.0",
    );
    let other_type = text.replace(
        r#"(field "score" (option f64))"#,
        r#"(field "score" (option f32))"#,
    );
    check_refused(
        &wat::parse_str(other_type).unwrap(),
        "expected `f64` found `f32`",
    );
}

#[test]
fn other_files_are_refused() {
    check_refused(b"", "not a WebAssembly component or module");
    check_refused(b"MZ and more", "not a WebAssembly component or module");
    let mut large = b"\0asm\x0d\0\x01\0".to_vec();
    large.resize(tight_limits().component_bytes + 1, 0);
    check_refused(&large, "at most");
}

#[test]
fn bad_descriptions_are_refused() {
    let check = |plugin: Plugin<'_>, expected: &str| check_refused(&plugin.component(), expected);
    check(
        Plugin {
            name: "../hostile",
            ..Plugin::default()
        },
        "plugin name",
    );
    check(
        Plugin {
            name: "",
            ..Plugin::default()
        },
        "plugin name",
    );
    check(
        Plugin {
            version: "1 0",
            ..Plugin::default()
        },
        "version",
    );
    check(
        Plugin {
            schema: "[]",
            ..Plugin::default()
        },
        "schema",
    );
    check(
        Plugin {
            schema: "{",
            ..Plugin::default()
        },
        "schema",
    );
    check(
        Plugin {
            describe: "unreachable",
            ..Plugin::default()
        },
        "describe: ",
    );
    check(
        Plugin {
            describe: "(loop $l (br $l))",
            ..Plugin::default()
        },
        "took longer",
    );
}

#[test]
fn start_functions_and_first_memory_stay_in_the_limits() {
    let check = |fields: &str, expected: &str| {
        check_refused(
            &Plugin {
                fields,
                ..Plugin::default()
            }
            .component(),
            expected,
        );
    };
    check(
        "(func $begin (loop $l (br $l))) (start $begin)",
        "took longer",
    );
    check("(func $begin unreachable) (start $begin)", "unreachable");
    check("(table 300000 funcref)", "table elements");
    let text = Plugin::default().text().replace(
        r#"(memory (export "memory") 2)"#,
        r#"(memory (export "memory") 200)"#,
    );
    check_refused(
        &wat::parse_str(text).unwrap(),
        "wanted more than 8 MiB of memory",
    );
}
