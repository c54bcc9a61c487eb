//! Hostile functions of every kind: whatever a function of an interface does, each question has an answer or a reason.

use autodidact_domain::plugin::{TemplateCompletion, TemplateRequest, Validation};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{Digest, FinishReason, Language, PluginCall, PluginKind};
use autodidact_plugin_host::{Limits, PluginHost};
use serde_json::Value;

use super::{open_host, open_host_with, record, tight_limits};

/// What the functions of a core module do beside answering.
#[derive(Clone, Copy, Default)]
struct Beside<'a> {
    /// First in `cabi_realloc`, which gives memory.
    on_realloc: &'a str,
    /// In `check-config`, in the place of accepting all.
    on_check: &'a str,
    /// After each answer of a kind has been read.
    on_post_return: &'a str,
}

fn module(body: &str) -> Vec<u8> {
    module_with(Beside::default(), body)
}

/// A core module that is of every kind. The functions of the kinds do as `body` says. Memory: 1024 name, 1040 version, 1060 kinds,
/// 2048 results, 4096 bytes that are no UTF-8.
fn module_with(beside: Beside<'_>, body: &str) -> Vec<u8> {
    let text = r#"(module
  (memory (export "memory") 2)
  (table $table 1 funcref)
  (data (i32.const 1024) "every")
  (data (i32.const 1040) "1.0.0")
  (data (i32.const 1060) "\00\01\02\03")
  (data (i32.const 4096) "\ff\fe\fd")
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
    ON_REALLOC
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (block $enough
      (loop $more
        (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))
  (func $put (param $at i32) (param $text i32) (param $length i32)
    (i32.store (local.get $at) (local.get $text))
    (i32.store offset=4 (local.get $at) (local.get $length)))
  (func $for_ever (result i32) (loop $on (br $on)) unreachable)
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  ;; A result that is well: a list of so many, from an address on.
  (func $list (param $at i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 2048) (i32.const 0))
    (call $put (i32.const 2052) (local.get $at) (local.get $count))
    (i32.const 2048))
  (func (export "autodidact:plugin/plugin@0.1.0#describe") (result i32)
    (call $put (i32.const 2048) (i32.const 1024) (i32.const 5))
    (call $put (i32.const 2056) (i32.const 1040) (i32.const 5))
    (call $put (i32.const 2064) (i32.const 1060) (i32.const 4))
    (call $put (i32.const 2072) (i32.const 1024) (i32.const 0))
    (call $put (i32.const 2080) (i32.const 1024) (i32.const 0))
    (i32.const 2048))
  (func (export "autodidact:plugin/plugin@0.1.0#check-config") (param i32 i32) (result i32)
    ON_CHECK
    (i32.store8 (i32.const 2048) (i32.const 0))
    (i32.const 2048))
  FUNCTIONS)"#;
    let functions = [
        ("filter", "filter", 6),
        ("validator", "validate", 6),
        ("scorer", "score", 6),
        ("template", "render", 4),
        ("template", "parse", 4),
    ];
    let functions = functions.map(|(kind, function, parameters)| {
        let (export, i32s) = (
            format!("autodidact:plugin/{kind}@0.1.0#{function}"),
            "i32 ".repeat(parameters),
        );
        let after = match beside.on_post_return {
            "" => String::new(),
            on => format!(r#"(func (export "cabi_post_{export}") (param i32) {on})"#),
        };
        format!(r#"(func (export "{export}") (param {i32s}) (result i32) {body}) {after}"#)
    });
    let text = text
        .replace("FUNCTIONS", &functions.join("\n"))
        .replace("ON_REALLOC", beside.on_realloc)
        .replace("ON_CHECK", beside.on_check);
    wat::parse_str(text).expect("the tests' own text is well formed")
}

/// Asks the functions of every kind; shows the reason why each has no answer.
fn reasons(host: &PluginHost, digest: Digest) -> [String; 5] {
    let call = PluginCall::plain(digest, &Value::Null);
    let records = [record("one", "two")];
    let request = TemplateRequest {
        language: Language::Zh,
        examples: &[],
        task_type: None,
        topic: None,
        count: 1,
        seed: 1,
    };
    let completion = TemplateCompletion {
        request: request.clone(),
        text: "said",
        finish: FinishReason::Eos,
    };
    fn reason<T: std::fmt::Debug>(answers: &[Result<T, String>]) -> String {
        match answers {
            [Err(reason)] => reason.clone(),
            other => panic!("expected a reason, found {other:?}"),
        }
    }
    [
        reason(&host.filter(&call, &records).unwrap().answers),
        reason(&host.validate(&call, &records).unwrap().answers),
        reason(&host.score(&call, &records).unwrap().answers),
        reason(&host.render(&call, &[request]).unwrap().answers),
        reason(&host.parse(&call, &[completion]).unwrap().answers),
    ]
}

fn check(body: &str, expected: &str) {
    check_with(Beside::default(), body, expected);
}

fn check_with(beside: Beside<'_>, body: &str, expected: &str) {
    let (_folder, host) = open_host();
    let installed = host.install(&module_with(beside, body), false).unwrap();
    assert_eq!(
        installed.kinds,
        PluginKind::ALL.map(|(kind, _)| kind),
        "{body}"
    );
    for reason in reasons(&host, installed.digest) {
        assert!(reason.contains(expected), "{body}: {reason}");
    }
    // The host goes on.
    assert_eq!(host.check_config(installed.digest, &Value::Null), Ok(()));
}

#[test]
fn a_trap_in_any_export_is_a_reason() {
    check("unreachable", "unreachable");
}

#[test]
fn a_loop_in_any_export_is_a_reason() {
    check("(call $for_ever)", "took longer than 201 ms");
}

#[test]
fn a_recursion_in_any_export_is_a_reason() {
    check("(call $recurse (i32.const 0))", "call stack exhausted");
}

/// Zeros, an answer of every kind to one question.
const WELL: &str = "(call $list (i32.const 8192) (i32.const 1))";

#[test]
fn whatever_a_plugin_does_after_it_answered_is_a_reason() {
    let after = |on_post_return| Beside {
        on_post_return,
        ..Beside::default()
    };
    check_with(after("unreachable"), WELL, "unreachable");
    check_with(after("(drop (call $for_ever))"), WELL, "took longer than");
    let recursion = "(drop (call $recurse (i32.const 0)))";
    check_with(after(recursion), WELL, "call stack exhausted");
}

#[test]
fn memory_that_is_none_is_a_reason() {
    let (_folder, host) = open_host();
    for (on_realloc, why) in [
        ("unreachable", "unreachable"),
        ("(return (call $for_ever))", "took longer than"),
        ("(return (i32.const -1))", "realloc"),
        ("(return (i32.const 0x7ffffff8))", "realloc"),
    ] {
        let beside = Beside {
            on_realloc,
            ..Beside::default()
        };
        let installed = host.install(&module_with(beside, WELL), false).unwrap();
        for reason in reasons(&host, installed.digest) {
            assert!(reason.contains(why), "{on_realloc}: {reason}");
        }
    }
}

#[test]
fn a_check_of_configurations_that_fails_refuses_them() {
    let (_folder, host) = open_host();
    for (on_check, why) in [
        ("unreachable", "unreachable"),
        ("(drop (call $for_ever))", "took longer than"),
        (
            "(drop (call $recurse (i32.const 0)))",
            "call stack exhausted",
        ),
        ("(return (i32.const -1))", ""),
    ] {
        let beside = Beside {
            on_check,
            ..Beside::default()
        };
        let installed = host.install(&module_with(beside, WELL), false).unwrap();
        let refused = host.check_config(installed.digest, &Value::Null);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{on_check}: {refused}");
    }
}

#[test]
fn what_is_grabbed_at_once_is_refused_like_what_is_grabbed_in_steps() {
    for pages in ["1000", "60000", "-1"] {
        let grab = format!("(drop (memory.grow (i32.const {pages}))) unreachable");
        check(&grab, "wanted more than 8 MiB of memory");
    }
    for elements in ["300000", "-2"] {
        let grab = format!(
            "(drop (table.grow $table (ref.null func) (i32.const {elements}))) unreachable"
        );
        check(&grab, "wanted more than 200000 table elements");
    }
}

#[test]
fn an_answer_too_many_or_too_few_is_a_reason() {
    check(
        "(call $list (i32.const 65536) (i32.const 0))",
        "gave 0 answers to 1 questions",
    );
    // Zeros are an answer of every kind.
    check(
        "(call $list (i32.const 8192) (i32.const 2))",
        "gave 2 answers to 1 questions",
    );
}

#[test]
fn a_list_that_lies_outside_or_has_no_end_is_a_reason() {
    let (_folder, host) = open_host();
    for body in [
        "(call $list (i32.const 0x7ffffff8) (i32.const 1))",
        "(call $list (i32.const 8192) (i32.const 0x7fffffff))",
        "(call $list (i32.const 8192) (i32.const 5000))",
        "(call $list (i32.const 8193) (i32.const 1))",
        "(i32.const -1)",
        "(i32.const 131064)",
    ] {
        let installed = host.install(&module(body), false).unwrap();
        for reason in reasons(&host, installed.digest) {
            assert!(!reason.is_empty(), "{body}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_a_reason() {
    // An error whose text is no UTF-8.
    check(
        "(i32.store8 (i32.const 2048) (i32.const 1)) (call $put (i32.const 2052) (i32.const 4096) (i32.const 3)) (i32.const 2048)",
        "utf-8",
    );
    // A result that is neither an answer nor an error.
    check(
        "(i32.store8 (i32.const 2048) (i32.const 7)) (i32.const 2048)",
        "discriminant",
    );
    // And a name that is none.
    let (_folder, host) = open_host();
    let text = String::from_utf8_lossy(&module("unreachable")).into_owned();
    assert!(text.contains("every"));
    let mut named = module("unreachable");
    let at = named
        .windows(5)
        .position(|bytes| bytes == b"every")
        .unwrap();
    named[at] = 0xff;
    let refused = host.install(&named, false).unwrap_err().to_string();
    assert!(refused.contains("utf-8"), "{refused}");
}

/// Corrects every record with 40,000 bytes, and notes how many were asked about at once, a character of its code from 48 on.
const LONG_CORRECTIONS: &str = r#"(local $count i32) (local $i i32) (local $at i32)
  (local.set $count (i32.div_u (local.get 5) (i32.const 7)))
  (i32.store8 (i32.const 3000) (i32.add (local.get $count) (i32.const 48)))
  (memory.fill (i32.const 16384) (i32.const 97) (i32.const 40000))
  (local.set $at (i32.const 8192))
  (loop $next
    (i32.store8 (local.get $at) (i32.const 1))
    (call $put (i32.add (local.get $at) (i32.const 8)) (i32.const 16384) (i32.const 40000))
    (i32.store8 (i32.add (local.get $at) (i32.const 16)) (i32.const 1))
    (call $put (i32.add (local.get $at) (i32.const 20)) (i32.const 3000) (i32.const 1))
    (local.set $at (i32.add (local.get $at) (i32.const 48)))
    (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
  (call $list (i32.const 8192) (local.get $count))"#;

#[test]
fn corrections_of_a_call_are_bounded_in_sum() {
    let (_folder, host) = open_host();
    let installed = host.install(&module(LONG_CORRECTIONS), false).unwrap();
    let call = PluginCall::plain(installed.digest, &Value::Null);
    let records = vec![record("one", "two"); 60];
    let answers = host.validate(&call, &records).unwrap().answers;
    assert_eq!(answers.len(), 60);
    for answer in answers {
        let Ok(Validation::Correct {
            output,
            note: Some(note),
        }) = answer
        else {
            panic!("expected a correction, found {answer:?}");
        };
        assert_eq!(output.len(), 40_000);
        // 60 and 30 at once gave more than 1 MiB.
        assert_eq!(note.as_bytes(), [15 + 48]);
    }
    let (_folder, host) = open_host_with(Limits {
        output_bytes: 20_000,
        ..tight_limits()
    });
    let installed = host.install(&module(LONG_CORRECTIONS), false).unwrap();
    let answers = host.validate(&call, &records[..2]).unwrap().answers;
    assert_eq!(installed.digest, call.digest);
    for answer in answers {
        let reason = answer.unwrap_err();
        assert!(reason.contains("gave back more than 19 KiB"), "{reason}");
    }
}

#[test]
fn memory_comes_back_after_whatever_it_did() {
    let (_folder, host) = open_host();
    // What is not written to is not the machine's memory.
    let grab = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))
        unreachable";
    let installed = host.install(&module(grab), false).unwrap();
    let before = resident_bytes();
    for _ in 0..200 {
        for reason in reasons(&host, installed.digest) {
            assert!(
                reason.contains("wanted more than 8 MiB of memory"),
                "{reason}"
            );
        }
    }
    // A thousand calls took 8 MiB each.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "{} MiB stayed", grown >> 20);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
