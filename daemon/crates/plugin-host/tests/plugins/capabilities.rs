//! What plugins may use: only what they ask for and a person granted, within bounds, and counted by whoever serves them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use autodidact_domain::capability::{GrantChange, LogLevel, PluginServices, ServiceError};
use autodidact_domain::plugin::{FilterDecision, PluginStanding};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{
    Capability, Completion, Digest, FinishReason, GenerateRequest, Granted, PluginCall, PluginRun,
    PortError, PortResult, ResponseLoss, ScoreRequest,
};
use autodidact_plugin_host::{Limits, PluginHost};
use serde_json::Value;

use super::wat_components::Plugin;
use super::{open_host, open_host_with, record, show, tight_limits};

const LOG: u8 = 0;
const GENERATE: u8 = 1;
const EMBED: u8 = 2;
const SCORE: u8 = 3;
pub(crate) const DATA: u8 = 4;

const LOG_IMPORT: &str =
    r#"(import "autodidact:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const MODEL_IMPORT: &str =
    r#"(import "autodidact:plugin/model@0.1.0" "generate" (func $generate (param i32 i32 i32)))"#;
const TEXT_IMPORT: &str = r#"(import "autodidact:plugin/text@0.1.0" "utf16"
    (func $utf16 (param i32 i32 i32 i32 i32 i32 i32)))"#;
const DATA_IMPORT: &str =
    r#"(import "autodidact:plugin/data@0.1.0" "read" (func $read (param i32 i32 i32)))"#;

/// Asks for a completion of `it is an error`, of 4 tokens, and drops every record for `bad` where there is none.
const ASK: &str = r#"
    (call $generate (i32.const 9200) (i32.const 1) (i32.const 9300))
    (if (i32.load8_u (i32.const 9300)) (then (call $refuse)))"#;
/// A request in memory, and a way to end a batch with an error that says what the host said.
const REQUEST: &str = r#"
  (data (i32.const 9200) "\00\00\00\00\1c\20\00\00\0e\00\00\00\04\00\00\00\00\00\00\00\00\00\80\3f\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (global $refused (mut i32) (i32.const 0))
  (func $refuse (global.set $refused (i32.const 1)))"#;
/// Gives the host's text back as the batch's error.
const TELL: &str = r#"
    (if (global.get $refused)
      (then
        (global.set $refused (i32.const 0))
        (i32.store8 (i32.const 16384) (i32.const 1))
        (call $put (i32.const 16388) (i32.load (i32.const 9304)) (i32.load (i32.const 9308)))
        (return (i32.const 16384))))"#;

/// Serves what a test wants, and counts.
#[derive(Default)]
struct Served {
    lines: Mutex<Vec<(LogLevel, String)>>,
    asked: AtomicU64,
    refused: AtomicU64,
    read: AtomicU64,
    /// How long a completion takes.
    takes: Duration,
    /// What the model says in the place of completions.
    fails: Option<ServiceError>,
}

impl PluginServices for Served {
    fn log(&self, level: LogLevel, message: &str) {
        self.lines
            .lock()
            .unwrap()
            .push((level, message.to_string()));
    }

    fn generate(
        &self,
        requests: Vec<GenerateRequest>,
        _: Duration,
    ) -> Result<Vec<Completion>, ServiceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.takes);
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        assert_eq!(requests[0].sampling.max_tokens, 4);
        let said = |_| Completion {
            text: "yes".into(),
            finish: FinishReason::Eos,
            prompt_tokens: 3,
            completion_tokens: 1,
            logprobs: Vec::new(),
        };
        Ok(requests.iter().map(said).collect())
    }

    fn embed(&self, _: Vec<String>, _: Duration) -> Result<Vec<Vec<f32>>, ServiceError> {
        Err(ServiceError::Refused("not here".into()))
    }

    fn score(&self, _: Vec<ScoreRequest>, _: Duration) -> Result<Vec<ResponseLoss>, ServiceError> {
        Err(ServiceError::Refused("not here".into()))
    }

    fn file_read(&self) {
        self.read.fetch_add(1, Ordering::SeqCst);
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }
}

fn granted(capabilities: &[Capability]) -> Granted {
    Granted {
        capabilities: capabilities.to_vec(),
        ..Granted::default()
    }
}

fn ask(
    host: &PluginHost,
    digest: Digest,
    granted: &Granted,
    served: &Arc<Served>,
    letters: &str,
) -> PortResult<PluginRun<FilterDecision>> {
    let records: Vec<_> = (0..letters.len())
        .map(|i| record(&letters[i..=i], ""))
        .collect();
    let call = PluginCall {
        granted,
        services: Some(Arc::clone(served) as Arc<dyn PluginServices>),
        ..PluginCall::plain(digest, &Value::Null)
    };
    host.filter(&call, &records)
}

fn shown(run: &PluginRun<FilterDecision>) -> Vec<String> {
    run.answers.iter().map(show).collect()
}

pub(crate) fn asking() -> Plugin<'static> {
    Plugin {
        imports: MODEL_IMPORT,
        asks: &[GENERATE],
        fields: REQUEST,
        before: concat_before(),
        ..Plugin::default()
    }
}

fn concat_before() -> &'static str {
    // Once for the tests of this file; there are few.
    String::leak(format!("{ASK}{TELL}"))
}

pub(crate) fn installed(host: &PluginHost, plugin: &Plugin<'_>) -> Digest {
    host.install(&plugin.core_module(), false).unwrap().digest
}

#[test]
fn a_plugin_uses_the_model_that_it_asks_for_where_it_is_granted() {
    let (_folder, host) = open_host();
    let digest = installed(&host, &asking());
    let served = Arc::new(Served::default());
    let run = ask(
        &host,
        digest,
        &granted(&[Capability::Generate]),
        &served,
        "kD",
    )
    .unwrap();
    assert_eq!(shown(&run), ["keep", "bad"]);
    assert_eq!(served.asked.load(Ordering::SeqCst), 1);
    // Once it has answered, nothing keeps whoever serves: a stream to a caller ends with its last holder.
    assert_eq!(Arc::strong_count(&served), 1);
    // Without a grant it is told so, and the model is not asked.
    for (refused, others) in (1..).zip([&[Capability::Log][..], &[]]) {
        let run = ask(&host, digest, &granted(others), &served, "k").unwrap();
        assert_eq!(
            shown(&run),
            ["error: generate is not granted to this plugin"]
        );
        assert_eq!(served.asked.load(Ordering::SeqCst), 1);
        assert_eq!(served.refused.load(Ordering::SeqCst), refused);
    }
    // Outside of a run nobody serves.
    let plain = PluginCall::plain(digest, &Value::Null);
    let run = host.filter(&plain, &[record("k", "")]).unwrap();
    assert_eq!(
        shown(&run),
        ["error: there is no model outside of judging records"]
    );
}

#[test]
fn each_way_to_use_the_model_is_granted_by_itself() {
    let (_folder, host) = open_host();
    let ways = [("embed", Capability::Embed), ("score", Capability::Score)];
    for (name, own) in ways {
        let imports = format!(
            r#"(import "autodidact:plugin/model@0.1.0" "{name}" (func $ask (param i32 i32 i32)))"#
        );
        let before = format!("{}{TELL}", ASK.replace("$generate", "$ask"));
        let asking = Plugin {
            imports: &imports,
            asks: &[GENERATE, EMBED, SCORE],
            before: &before,
            ..asking()
        };
        let digest = installed(&host, &asking);
        for granted_one in [Capability::Generate, Capability::Embed, Capability::Score] {
            let served = Arc::new(Served::default());
            let run = ask(&host, digest, &granted(&[granted_one]), &served, "k").unwrap();
            let (expected, refused) = match granted_one == own {
                true => ("error: not here".to_string(), 0),
                false => (format!("error: {name} is not granted to this plugin"), 1),
            };
            assert_eq!(shown(&run), [expected]);
            assert_eq!(served.refused.load(Ordering::SeqCst), refused);
        }
    }
}

#[test]
fn waiting_for_the_model_does_not_count_but_has_a_bound_of_its_own() {
    let limits = Limits {
        call_ms: 100,
        wait_ms: 1000,
        ..tight_limits()
    };
    let (_folder, host) = open_host_with(limits);
    let digest = installed(&host, &asking());
    let patient = Arc::new(Served {
        takes: Duration::from_millis(400),
        ..Served::default()
    });
    let generate = granted(&[Capability::Generate]);
    let run = ask(&host, digest, &generate, &patient, "kD").unwrap();
    assert_eq!(shown(&run), ["keep", "bad"]);
    assert!(run.seconds < 0.3, "{} s in the plugin", run.seconds);
    // What follows is measured as before.
    let run = ask(&host, digest, &generate, &patient, "kL").unwrap();
    assert_eq!(
        run.answers[0].as_ref().map(|d| d.drop_reason.clone()),
        Ok(None)
    );
    assert!(
        shown(&run)[1].contains("took longer than 101 ms"),
        "{run:?}"
    );
    // A loop that asks and asks has waited enough some time.
    let digest = installed(
        &host,
        &Plugin {
            version: "2.0.0",
            before: "(loop $on (call $generate (i32.const 9200) (i32.const 1) (i32.const 9300)) (br $on))",
            ..asking()
        },
    );
    let started = Instant::now();
    let run = ask(&host, digest, &generate, &patient, "k").unwrap();
    assert!(
        shown(&run)[0].contains("waited longer than 1000 ms for the model"),
        "{run:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    // One that is refused each time does not wait, so its own time ends it.
    let spent = Arc::new(Served {
        fails: Some(ServiceError::Refused("the budget is spent".into())),
        ..Served::default()
    });
    let run = ask(&host, digest, &generate, &spent, "k").unwrap();
    assert!(
        shown(&run)[0].contains("took longer than 101 ms"),
        "{run:?}"
    );
}

#[test]
fn a_model_that_fails_ends_the_run_and_not_the_record() {
    let (_folder, host) = open_host();
    let digest = installed(&host, &asking());
    let generate = granted(&[Capability::Generate]);
    for error in [
        PortError::Interrupted,
        PortError::Unavailable("gone".into()),
    ] {
        let served = Arc::new(Served {
            fails: Some(ServiceError::Port(error.clone())),
            ..Served::default()
        });
        let run = ask(&host, digest, &generate, &served, "kDk");
        assert_eq!(run.unwrap_err(), error);
        assert_eq!(served.asked.load(Ordering::SeqCst), 1);
    }
    let refused = Arc::new(Served {
        fails: Some(ServiceError::Refused("the budget is spent".into())),
        ..Served::default()
    });
    let run = ask(&host, digest, &generate, &refused, "kD").unwrap();
    assert_eq!(shown(&run), ["error: the budget is spent"; 2]);
}

#[test]
fn a_billion_lines_of_log_are_a_hundred_and_a_deadline() {
    let (_folder, host) = open_host();
    let flood = Plugin {
        imports: LOG_IMPORT,
        asks: &[LOG],
        before: "(local.set $i (i32.const 1000000000))
                 (loop $on
                   (call $log (i32.const 2) (i32.const 8220) (i32.const 60000))
                   (local.set $i (i32.sub (local.get $i) (i32.const 1)))
                   (br_if $on (local.get $i)))",
        ..Plugin::default()
    };
    let digest = installed(&host, &flood);
    let served = Arc::new(Served::default());
    let run = ask(&host, digest, &granted(&[Capability::Log]), &served, "k").unwrap();
    assert!(shown(&run)[0].contains("took longer than"), "{run:?}");
    let lines = served.lines.lock().unwrap();
    assert_eq!(lines.len(), tight_limits().log_lines + 1);
    assert_eq!(lines[0].0, LogLevel::Warn);
    assert!(lines[0].1.starts_with("it is an error") && lines[0].1.len() <= 1003);
    assert!(
        lines[100]
            .1
            .ends_with("more lines in one call were left out"),
        "{:?}",
        lines[100]
    );
    drop(lines);
    // Without a grant they go nowhere.
    let silent = Arc::new(Served::default());
    ask(&host, digest, &Granted::default(), &silent, "k").unwrap();
    assert!(silent.lines.lock().unwrap().is_empty());
}

#[test]
fn a_plugin_reads_the_files_that_it_was_given_and_no_other() {
    let (_folder, host) = open_host();
    // Reads `it is an error` (the name of a file) and says what came of it.
    let reading = Plugin {
        imports: DATA_IMPORT,
        asks: &[DATA],
        before: "(call $read (i32.const 8220) (i32.const 2) (i32.const 9304))
                 (i32.store8 (i32.const 16384) (i32.const 1))
                 (call $put (i32.const 16388) (i32.load (i32.const 9308)) (i32.load (i32.const 9312)))
                 (return (i32.const 16384))",
        ..Plugin::default()
    };
    let plugin = host.install(&reading.core_module(), false).unwrap();
    let change = |files: &[(&str, &str)]| GrantChange {
        grant: vec![Capability::Data],
        files: files
            .iter()
            .map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))
            .collect(),
        ..GrantChange::default()
    };
    let refused = host.grant("hostile", &change(&[])).unwrap_err().to_string();
    assert!(refused.contains("no file to read"), "{refused}");
    let refused = host
        .grant("hostile", &change(&[("../it", "x")]))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is no name for a file"), "{refused}");
    let granted_now = host
        .grant("hostile", &change(&[("it", "the words")]))
        .unwrap()
        .granted;
    assert_eq!(granted_now.files["it"].size, 9);
    let served = Arc::new(Served::default());
    let run = ask(&host, plugin.digest, &granted_now, &served, "k").unwrap();
    assert_eq!(shown(&run), ["error: the words"]);
    assert_eq!(served.read.load(Ordering::SeqCst), 1);
    // A workflow that was bound before keeps its file; a later one has the new one.
    let later = host
        .grant("hostile", &change(&[("it", "others")]))
        .unwrap()
        .granted;
    let run = ask(&host, plugin.digest, &granted_now, &served, "k").unwrap();
    assert_eq!(shown(&run), ["error: the words"]);
    let run = ask(&host, plugin.digest, &later, &served, "k").unwrap();
    assert_eq!(shown(&run), ["error: others"]);
    let other = Granted {
        files: [("that".to_string(), later.files["it"])].into(),
        ..later.clone()
    };
    let run = ask(&host, plugin.digest, &other, &served, "k").unwrap();
    assert_eq!(shown(&run), ["error: there is no file \"it\""]);
    // What nobody refers to any more goes.
    host.prune(&[]).unwrap();
    let gone = ask(&host, plugin.digest, &granted_now, &served, "k").unwrap_err();
    assert!(matches!(gone, PortError::Corrupt(_)), "{gone}");
    let revoked = GrantChange {
        revoke: vec![Capability::Embed],
        ..GrantChange::default()
    };
    let never_asked = host.grant("hostile", &revoked).unwrap_err().to_string();
    assert!(never_asked.contains("embed"), "{never_asked}");
    let revoked = GrantChange {
        revoke: vec![Capability::Data],
        ..GrantChange::default()
    };
    assert_eq!(
        host.grant("hostile", &revoked).unwrap().granted,
        Granted::default()
    );
    let run = ask(&host, plugin.digest, &Granted::default(), &served, "k").unwrap();
    assert_eq!(shown(&run), ["error: data is not granted to this plugin"]);
}

#[test]
fn what_a_plugin_imports_it_has_to_ask_for() {
    let (_folder, host) = open_host();
    let refused = |plugin: Plugin<'_>| {
        host.install(&plugin.core_module(), false)
            .unwrap_err()
            .to_string()
    };
    let silent = refused(Plugin {
        asks: &[LOG],
        ..asking()
    });
    assert!(
        silent.contains("it imports model, but does not ask for generate or embed or score"),
        "{silent}"
    );
    let wrong = refused(Plugin {
        imports: r#"(import "autodidact:plugin/log@0.1.0" "shout" (func $log (param i32 i32 i32)))"#,
        asks: &[LOG],
        ..Plugin::default()
    });
    assert!(wrong.contains("shout"), "{wrong}");
    let newer = refused(Plugin {
        imports: r#"(import "autodidact:plugin/log@0.2.0" "log" (func $log (param i32 i32 i32)))"#,
        asks: &[LOG],
        ..Plugin::default()
    });
    assert!(newer.contains("autodidact:plugin/log@0.2.0"), "{newer}");
    assert_eq!(host.list().unwrap(), []);
}

/// The plugin gives back, as its batch's error, what the host read for it.
#[test]
fn texts_are_read_for_whoever_has_no_decoder() {
    let (_folder, host) = open_host();
    let said = |first_and_every: &str, ends: &str| {
        let before = format!(
            "(call $utf16 (local.get $text) (local.get $text_len) (local.get $ends) {ends} {first_and_every} (i32.const 9304))
             (i32.store8 (i32.const 16384) (i32.const 1))
             (call $put (i32.const 16388) (i32.load (i32.const 9304)) (i32.load (i32.const 9308)))
             (return (i32.const 16384))"
        );
        let reading = Plugin {
            imports: TEXT_IMPORT,
            before: &before,
            ..Plugin::default()
        };
        let call = PluginCall::plain(installed(&host, &reading), &Value::Null);
        shown(&host.filter(&call, &[record("图𝄞!", "b")]).unwrap()).remove(0)
    };
    let all = "(local.get $ends_len)";
    assert!(said("(i32.const 0) (i32.const 7)", all).ends_with("图𝄞!"));
    assert!(said("(i32.const 2) (i32.const 7)", all).ends_with('b'));
    assert!(!said("(i32.const 9) (i32.const 1)", all).contains('图'));
    let none = said("(i32.const 0) (i32.const 0)", all);
    assert!(
        none.contains("text.utf16 cannot read what it was given: every text of none"),
        "{none}"
    );
    // Its list of ends goes on where there are none, and then beyond its memory.
    let beyond = said("(i32.const 0) (i32.const 1)", "(i32.const 100)");
    assert!(
        beyond.contains("text.utf16 cannot read what it was given: text 7"),
        "{beyond}"
    );
    let outside = said("(i32.const 0) (i32.const 1)", "(i32.const 1000000)");
    assert!(outside.contains("out of bounds"), "{outside}");
    // It is asked without end.
    let endless = Plugin {
        imports: TEXT_IMPORT,
        before: "(loop $on
            (call $utf16 (local.get $text) (local.get $text_len) (local.get $ends) (local.get $ends_len)
              (i32.const 0) (i32.const 7) (i32.const 9304))
            (global.set $top (i32.const 65536))
            (br $on))",
        ..Plugin::default()
    };
    let call = PluginCall::plain(installed(&host, &endless), &Value::Null);
    let told = shown(&host.filter(&call, &[record("a", "")]).unwrap()).remove(0);
    assert!(told.contains("took longer than"), "{told}");
}

#[test]
fn a_plugin_that_fails_and_fails_is_given_up_and_stands_in_quarantine_until_it_is_enabled() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let digest = installed(&host, &Plugin::default());
    let letters = "T".repeat(200);
    let records: Vec<_> = (0..200).map(|i| record(&letters[i..=i], "")).collect();
    let call = PluginCall {
        max_failures: 10,
        ..PluginCall::plain(digest, &Value::Null)
    };
    let run = host.filter(&call, &records).unwrap();
    assert!(run.gave_up && run.answers.len() == 200);
    let not_asked = |answer: &Result<FilterDecision, String>| {
        answer
            .as_ref()
            .is_err_and(|e| e.contains("not asked any more"))
    };
    assert_eq!(run.answers.iter().filter(|a| not_asked(a)).count(), 190);
    assert_eq!(host.standing(digest).unwrap(), PluginStanding::Trusted);
    host.quarantine(digest, "it failed on 10 records").unwrap();
    drop(host);
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let reason = "it failed on 10 records".to_string();
    assert_eq!(
        host.get("hostile").unwrap().quarantine,
        Some(reason.clone())
    );
    assert_eq!(
        host.standing(digest).unwrap(),
        PluginStanding::Quarantined(reason)
    );
    let enabled = host.set_enabled("hostile", true).unwrap();
    assert_eq!(enabled.quarantine, None);
    assert_eq!(host.standing(digest).unwrap(), PluginStanding::Excused);
}

#[test]
fn a_visitor_is_asked_and_leaves_without_a_trace() {
    let (_folder, host) = open_host();
    let visitor = host.visit(&Plugin::default().component()).unwrap();
    assert_eq!(
        (visitor.name.as_str(), host.list().unwrap().len()),
        ("hostile", 0)
    );
    let plain = PluginCall::plain(visitor.digest, &Value::Null);
    let run = host.filter(&plain, &[record("D", "")]).unwrap();
    assert_eq!(shown(&run), ["bad"]);
    assert!(
        run.peak_memory_bytes >= 2 * 65536,
        "{}",
        run.peak_memory_bytes
    );
    // Two guests of the same house: the first to leave does not turn the other out.
    host.visit(&Plugin::default().component()).unwrap();
    host.leave(visitor.digest);
    assert!(host.check_config(visitor.digest, &Value::Null).is_ok());
    host.leave(visitor.digest);
    let again = host.install(&Plugin::default().component(), false).unwrap();
    assert_eq!(again.digest, visitor.digest);
}

#[test]
fn the_compiled_code_of_many_visitors_does_not_stay() {
    let (folder, host) = open_host();
    let cached = || {
        let cache = folder.path().join("plugins/cache");
        std::fs::read_dir(cache).unwrap().count()
    };
    let installed = installed(&host, &Plugin::default());
    let (mut most, before) = (0, cached());
    for i in 0..12 {
        let version = format!("2.0.{i}");
        let visitor = Plugin {
            version: &version,
            ..Plugin::default()
        };
        let visitor = host.visit(&visitor.component()).unwrap();
        host.leave(visitor.digest);
        most = most.max(cached());
    }
    assert_eq!(most, 9 * before);
    assert_eq!(cached(), 9 * before);
    assert!(host.check_config(installed, &Value::Null).is_ok());
}

#[test]
fn a_plugin_that_needs_more_than_others_to_begin_has_its_own_limits_then_too() {
    // 200 pages are 12.5 MiB.
    let big = |name| Plugin {
        name,
        describe: "(drop (memory.grow (i32.const 200)))",
        ..Plugin::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let more = Limits {
        memory_bytes: 16 << 20,
        ..tight_limits()
    };
    let host = host.with_limits_of([("big".to_string(), more)]);
    assert!(host.install(&big("big").component(), false).is_ok());
    let refused = host.install(&big("other").component(), false).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("wanted more than 8 MiB of memory"),
        "{refused}"
    );
}

#[test]
fn a_plugin_may_have_limits_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let more = Limits {
        call_ms: 600,
        ..tight_limits()
    };
    let host = host.with_limits_of([("slow".to_string(), more)]);
    let plain = PluginCall::plain(installed(&host, &Plugin::default()), &Value::Null);
    let slow = Plugin {
        name: "slow",
        ..Plugin::default()
    };
    let own = PluginCall::plain(installed(&host, &slow), &Value::Null);
    let reason = |call: &PluginCall<'_>| {
        let run = host.filter(call, &[record("L", "")]).unwrap();
        shown(&run)[0].clone()
    };
    assert!(reason(&plain).contains("took longer than 201 ms"));
    assert!(reason(&own).contains("took longer than 601 ms"));
}
