//! Bytes that are no component, or were one once, are refused and never panic.

use std::panic::{AssertUnwindSafe, set_hook, take_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use autodidact_domain::PortError;
use autodidact_domain::ports::Plugins;
use autodidact_plugin_host::builtin_components;

use super::open_host;
use super::wat_components::Plugin;

const SECONDS: Duration = Duration::from_secs(3);

#[test]
fn garbage_is_refused() {
    let (_folder, host) = open_host();
    // A panic fails the test, and nothing looks at the host after that.
    let host = AssertUnwindSafe(host);
    bolero::check!()
        .with_test_time(SECONDS)
        .with_type::<Vec<u8>>()
        .for_each(|bytes| {
            for header in [&b""[..], b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"] {
                let result = host.install(&[header, bytes].concat(), false);
                assert!(matches!(result, Err(PortError::Invalid(_))), "{result:?}");
            }
        });
}

#[test]
fn a_component_with_a_changed_byte_never_panics() {
    let (_folder, host) = open_host();
    let host = AssertUnwindSafe(host);
    let good = Plugin::default().component();
    bolero::check!()
        .with_test_time(SECONDS)
        .with_type::<(usize, u8)>()
        .for_each(|(at, byte)| {
            let mut changed = good.clone();
            let at = at % changed.len();
            changed[at] = *byte;
            // A changed letter in a text or a changed constant is still a component; what it does stays in the limits.
            if let Ok(installed) = host.install(&changed, false) {
                host.remove(installed.name.as_str()).unwrap();
            }
        });
}

/// The lifter: what compilers write, with some bytes changed, cut out or put in, imports of capabilities and all.
#[test]
fn a_changed_core_module_never_panics() {
    let (_folder, host) = open_host();
    let host = AssertUnwindSafe(host);
    let good = Plugin {
        imports: r#"(import "autodidact:plugin/log@0.1.0" "log" (func (param i32 i32 i32)))"#,
        asks: &[0],
        ..Plugin::default()
    };
    let good = good.core_module();
    let panics = count_panics();
    bolero::check!()
        .with_test_time(SECONDS)
        .with_type::<Vec<(u16, u8, u8)>>()
        .for_each(|changes| {
            let mut changed = good.clone();
            for (at, kind, byte) in changes.iter().take(8) {
                let at = usize::from(*at) % changed.len().max(1);
                match kind % 3 {
                    0 => changed[at] = *byte,
                    1 => changed.insert(at, *byte),
                    _ => drop(changed.remove(at)),
                }
            }
            if let Ok(installed) = host.install(&changed, false) {
                host.remove(installed.name.as_str()).unwrap();
            }
            assert_eq!(panics.load(Ordering::SeqCst), 0, "{changes:?}");
        });
}

#[test]
fn a_cut_component_is_refused() {
    let (_folder, host) = open_host();
    let small = Plugin::default().component();
    // Custom sections at the end may be cut off whole; the tests' component has one, with names.
    let cuts = (0..small.len())
        .step_by(17)
        .filter(|length| host.install(&small[..*length], false).is_ok());
    assert!(cuts.count() <= 1);
    for (name, component) in builtin_components() {
        for part in 1..10 {
            let cut = &component[..component.len() * part / 10];
            assert!(
                host.install(cut, false).is_err(),
                "{name}, {} bytes",
                cut.len()
            );
        }
    }
}

/// Counts the panics of this thread from now on, also those that are caught: they are in the log all the same, as defects of ours.
pub(super) fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, here, others) = (Arc::clone(&panics), thread::current().id(), take_hook());
    set_hook(Box::new(move |panic| {
        if thread::current().id() == here {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        others(panic);
    }));
    panics
}

#[test]
fn a_cut_core_module_is_refused_without_a_panic() {
    let (_folder, host) = open_host();
    let panics = count_panics();
    let module = Plugin::default().core_module();
    for length in (8..module.len()).step_by(7) {
        // What is cut between two sections may still be a module, and says what it then says.
        if let Err(error) = host.install(&module[..length], false) {
            assert!(matches!(error, PortError::Invalid(_)), "{error}");
        }
    }
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}
