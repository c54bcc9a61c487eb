//! Two versions that take each other's place while they are asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use autodidact_domain::PluginCall;
use autodidact_domain::ports::Plugins;
use serde_json::Value;

use super::wat_components::Plugin;
use super::{open_host, record, show};

const SWAPS: usize = 1000;

#[test]
fn two_versions_swapped_a_thousand_times_lose_and_mix_nothing() {
    let (_folder, host) = open_host();
    let version = |version| {
        Plugin {
            version,
            ..Plugin::default()
        }
        .core_module()
    };
    let versions = [version("1.0.0"), version("2.0.0")];
    let digests = versions
        .each_ref()
        .map(|module| host.install(module, false).unwrap().digest);
    let done = AtomicBool::new(false);
    let letters = "kDTk".repeat(100);
    let expected: Vec<&str> = "kDTk"
        .chars()
        .cycle()
        .take(letters.len())
        .map(|letter| match letter {
            'k' => "keep",
            'D' => "bad",
            _ => "error",
        })
        .collect();
    let asked = AtomicUsize::new(0);
    let seen = [AtomicBool::new(false), AtomicBool::new(false)];
    let has_seen_enough =
        || asked.load(Ordering::SeqCst) > 20 && seen.iter().all(|seen| seen.load(Ordering::SeqCst));
    std::thread::scope(|scope| {
        let ask = || {
            let records: Vec<_> = (0..letters.len())
                .map(|i| record(&letters[i..=i], ""))
                .collect();
            while !done.load(Ordering::SeqCst) {
                // Whoever asks by name takes the one in force; who is bound to a digest keeps it.
                let plugin = host.get("hostile").unwrap();
                let at = digests
                    .iter()
                    .position(|digest| *digest == plugin.digest)
                    .unwrap();
                assert_eq!(plugin.version, ["1.0.0", "2.0.0"][at]);
                seen[at].store(true, Ordering::SeqCst);
                for digest in [plugin.digest, digests[0]] {
                    let call = PluginCall::plain(digest, &Value::Null);
                    let answers = host.filter(&call, &records).unwrap().answers;
                    let shown: Vec<String> = answers.iter().map(show).collect();
                    let fits = |(shown, expected): (&String, &&str)| shown.starts_with(expected);
                    assert!(shown.iter().zip(&expected).all(fits), "{shown:?}");
                    assert_eq!(shown.len(), expected.len());
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let askers = [scope.spawn(ask), scope.spawn(ask)];
        // On a busy machine it goes on until those who ask have had their turns; an even number of times, so that the second stays.
        let started = Instant::now();
        let mut swaps = 0;
        while swaps < SWAPS || swaps % 2 == 1 || !has_seen_enough() {
            host.install(&versions[swaps % 2], false).unwrap();
            swaps += 1;
            if started.elapsed() > Duration::from_secs(120)
                || askers.iter().any(|a| a.is_finished())
            {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
        for asker in askers {
            asker.join().unwrap();
        }
    });
    assert!(has_seen_enough(), "{asked:?} runs, {seen:?}");
    assert_eq!(host.get("hostile").unwrap().version, "2.0.0");
}
