//! What a person grants: only what a plugin asks for, with the component or later, for every version of its name.

use autodidact_domain::capability::GrantChange;
use autodidact_domain::ports::Plugins;
use autodidact_domain::{Capability, Granted, PortError};
use autodidact_plugin_host::PluginHost;

use super::capabilities::{DATA, asking, installed};
use super::tight_limits;
use super::wat_components::Plugin;

#[test]
fn grants_are_for_what_is_asked_for_and_outlive_versions() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    installed(&host, &asking());
    let change = |capability, max_tokens| GrantChange {
        grant: vec![capability],
        max_tokens,
        ..GrantChange::default()
    };
    let refused = host
        .grant("hostile", &change(Capability::Embed, None))
        .unwrap_err();
    let expected = "plugin hostile does not ask for embed; it asks for generate";
    assert_eq!(refused, PortError::Invalid(expected.into()));
    host.grant("hostile", &change(Capability::Generate, Some(500)))
        .unwrap();
    drop(host);
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let expected = Granted {
        capabilities: vec![Capability::Generate],
        max_tokens: Some(500),
        ..Granted::default()
    };
    assert_eq!(host.get("hostile").unwrap().granted, expected);
    // A version that does not ask any more does not have it; the next that asks has it again.
    installed(
        &host,
        &Plugin {
            version: "2.0.0",
            ..Plugin::default()
        },
    );
    assert!(host.get("hostile").unwrap().granted.capabilities.is_empty());
    installed(&host, &asking());
    assert_eq!(host.get("hostile").unwrap().granted, expected);
}

#[test]
fn what_is_installed_with_a_grant_is_not_there_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    let module = asking().core_module();
    let refused = host.install_granted(&module, &[Capability::Generate, Capability::Embed]);
    let expected =
        "plugin hostile does not ask for embed; it asks for generate; nothing was installed";
    assert_eq!(refused, Err(PortError::Invalid(expected.into())));
    assert_eq!(host.list().unwrap(), []);
    let components = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        let is_component = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".wasm");
        names.filter(is_component).count()
    };
    assert_eq!(components(), 0);

    let (plugin, before) = host
        .install_granted(&module, &[Capability::Generate])
        .unwrap();
    assert_eq!(
        (plugin.granted.capabilities.as_slice(), before),
        (&[Capability::Generate][..], None)
    );
    drop(host);
    let host = PluginHost::open(folder.path(), tight_limits()).unwrap();
    assert_eq!(host.get("hostile").unwrap(), plugin);
    // A refused version leaves the one before as it was.
    let newer = Plugin {
        version: "2.0.0",
        ..asking()
    };
    let refused = host.install_granted(&newer.core_module(), &[Capability::Embed]);
    assert!(refused.is_err());
    assert_eq!(host.get("hostile").unwrap(), plugin);
    let (newer, before) = host.install_granted(&newer.core_module(), &[]).unwrap();
    assert_eq!(
        (newer.granted, before),
        (plugin.granted.clone(), Some(plugin))
    );
    // Files to read come by a grant of their own.
    let reads = Plugin {
        asks: &[DATA],
        version: "3.0.0",
        ..Plugin::default()
    };
    let refused = host.install_granted(&reads.core_module(), &[Capability::Data]);
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("`autodidact plugin grant hostile data --file NAME=PATH`"),
        "{refused}"
    );
    assert_eq!(host.get("hostile").unwrap().version, "2.0.0");
}
