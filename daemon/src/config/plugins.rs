//! `[plugins.NAME]`: what a plugin of that name may take, where it is more or less than every plugin's.

use std::collections::BTreeMap;

use autodidact_domain::PluginName;
use serde::Serialize;

use super::fields::integer;
use super::{ConfigFault, Setting};

/// What the keys of these fields begin with.
const SECTION: &str = "plugins";

/// The limits of one plugin; what is not set is every plugin's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PluginConfig {
    /// The most memory of an instance, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
    /// The time that every call gets, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_ms: Option<u64>,
    /// The time that a call gets besides for each of its records, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_ms: Option<u64>,
    /// The longest that a call may wait for models, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_s: Option<u64>,
    /// The most that a call may give back, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_kib: Option<u64>,
    /// The lines of log that a call may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_lines: Option<u64>,
    /// The records of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_records: Option<u64>,
}

/// The plugins with limits of their own, by name.
pub(crate) type PluginConfigs = BTreeMap<String, PluginConfig>;

/// A field, with the whole numbers that it takes.
type Field = (
    &'static str,
    [i64; 2],
    fn(&mut PluginConfig) -> &mut Option<u64>,
);

static FIELDS: [Field; 7] = [
    ("memory_mib", [1, 4096], |c| &mut c.memory_mib),
    ("call_ms", [1, 600_000], |c| &mut c.call_ms),
    ("record_ms", [0, 60_000], |c| &mut c.record_ms),
    ("wait_s", [1, 86_400], |c| &mut c.wait_s),
    ("output_kib", [1, 65_536], |c| &mut c.output_kib),
    ("log_lines", [0, 100_000], |c| &mut c.log_lines),
    ("batch_records", [1, 4096], |c| &mut c.batch_records),
];

impl PluginConfig {
    /// Puts what is set in the place of every plugin's limits.
    pub(crate) fn limits(&self) -> autodidact_plugin_host::Limits {
        let all = autodidact_plugin_host::Limits::default();
        let size = |set: Option<u64>, unit: u64, all: usize| {
            set.map_or(all, |set| usize::try_from(set * unit).unwrap_or(usize::MAX))
        };
        autodidact_plugin_host::Limits {
            memory_bytes: size(self.memory_mib, 1 << 20, all.memory_bytes),
            call_ms: self.call_ms.unwrap_or(all.call_ms),
            record_ms: self.record_ms.unwrap_or(all.record_ms),
            wait_ms: self.wait_s.map_or(all.wait_ms, |seconds| seconds * 1000),
            output_bytes: size(self.output_kib, 1 << 10, all.output_bytes),
            log_lines: size(self.log_lines, 1, all.log_lines),
            batch_records: size(self.batch_records, 1, all.batch_records),
            ..all
        }
    }
}

/// Sets the field that a key such as `plugins.NAME.memory_mib` names, or adds a fault. `None` where the key is another's.
pub(super) fn apply(
    plugins: &mut PluginConfigs,
    setting: &Setting,
    faults: &mut Vec<ConfigFault>,
) -> Option<()> {
    let rest = setting.key.strip_prefix(SECTION)?;
    let rest = rest.strip_prefix('.').or(rest.is_empty().then_some(""))?;
    let mut fault = |expected: String, nearest: Option<String>| {
        faults.push(ConfigFault {
            origin: setting.origin.clone(),
            key: setting.key.clone(),
            expected,
            found: setting.value.to_string(),
            nearest,
        });
    };
    // A name may hold dots; a field's does not.
    let parts = rest.rsplit_once('.');
    let Some((name, field)) = parts.filter(|(name, _)| PluginName::new(*name).is_ok()) else {
        let names = FIELDS.map(|(name, ..)| name).join(", ");
        fault(format!("a table [plugins.NAME] with {names}"), None);
        return Some(());
    };
    let Some((_, [least, most], place)) = FIELDS.iter().find(|(known, ..)| *known == field) else {
        let likeness = |known: &str| strsim::jaro_winkler(field, known);
        let names = FIELDS.iter().map(|(known, ..)| *known);
        let near = names.filter(|known| likeness(known) >= 0.75);
        let nearest = near.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.map(|nearest| format!("{SECTION}.{name}.{nearest}"));
        let names = FIELDS.map(|(name, ..)| name).join(", ");
        fault(format!("a known field: {names}"), nearest);
        return Some(());
    };
    match integer(&setting.value, *least, *most) {
        Some(number) => *place(plugins.entry(name.to_string()).or_default()) = Some(number),
        None => fault(format!("a whole number from {least} to {most}"), None),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    fn applied(key: &str, value: i64) -> (PluginConfigs, Vec<ConfigFault>) {
        let (mut plugins, mut faults) = (PluginConfigs::new(), Vec::new());
        let setting = Setting {
            key: key.to_string(),
            value: Value::Integer(value),
            origin: "a file".to_string(),
            base: Default::default(),
        };
        apply(&mut plugins, &setting, &mut faults);
        (plugins, faults)
    }

    #[test]
    fn what_is_set_is_the_plugins_and_the_rest_is_everyones() {
        let (plugins, faults) = applied("plugins.my.filter.memory_mib", 512);
        assert!(faults.is_empty(), "{faults:?}");
        let limits = plugins["my.filter"].limits();
        let all = autodidact_plugin_host::Limits::default();
        assert_eq!(limits.memory_bytes, 512 << 20);
        assert_eq!((limits.call_ms, limits.threads), (all.call_ms, all.threads));
        let (plugins, _) = applied("plugins.slow.wait_s", 2);
        assert_eq!(plugins["slow"].limits().wait_ms, 2000);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        let told = |key, value| applied(key, value).1.remove(0);
        assert!(
            told("plugins.memory_mib", 1)
                .expected
                .contains("[plugins.NAME]")
        );
        assert_eq!(
            told("plugins.x.memory_mib", 0).expected,
            "a whole number from 1 to 4096"
        );
        let misspelt = told("plugins.x.memory", 1);
        assert_eq!(misspelt.nearest.as_deref(), Some("plugins.x.memory_mib"));
        assert!(applied("plugin", 1).1.is_empty());
    }
}
