//! What a check says of plugins: where the fault stands, what is meant, and what stands where it has nothing to judge.

use autodidact_flow::Supervisor;

use crate::common::ports;
use crate::world;

#[test]
fn faults_stand_at_their_own_lines_whatever_is_wrong_before_them() {
    let supervisor = Supervisor::new(ports(&world()));
    let faults = supervisor
        .check(
            "name: plugged
model: tiny
seeds: seeds
stages:
  filter:
    chain:
      - plugin: {name: form}
      - rouge: {threshold: 0.7}
      - plugin:
          name: form
          kind: scorer
      - plugin: {config: {}}
      - plugin: {name: forn}
  validate:
    chain:
      - plugin: {name: mender}
      - plugin:
          name: mender
          grant: [log]
",
        )
        .unwrap_err();
    let mut found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line, fault.path.as_str()))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            (8, "stages.filter.chain[1]"),
            (9, "stages.filter.chain[2].plugin"),
            (12, "stages.filter.chain[3].plugin.name"),
            (13, "stages.filter.chain[4].plugin.name"),
            (19, "stages.validate.chain[1].plugin.grant"),
        ],
        "{faults:#?}"
    );
    let misspelt = faults.iter().find(|fault| fault.line == 13).unwrap();
    assert_eq!(misspelt.nearest.as_deref(), Some("form"));
    supervisor.shutdown();
}

#[test]
fn a_validator_before_there_are_answers_is_told_of() {
    let supervisor = Supervisor::new(ports(&world()));
    let warnings = |stages: &str| {
        let checked = supervisor.check(&format!(
            "name: plugged\nmodel: tiny\nseeds: seeds\nstages:\n{stages}"
        ));
        let warnings = checked.unwrap().warnings.into_iter();
        let of_plugins = warnings.filter(|warning| !warning.code.starts_with("seeds_"));
        of_plugins.map(|w| (w.code, w.message)).collect::<Vec<_>>()
    };
    let told = warnings("  filter: {chain: [exact, plugin: {name: mender}]}\n");
    let [(code, message)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(code, "validator_before_answers");
    assert!(message.starts_with("stages.filter.chain[1].plugin: plugin mender"));
    assert!(message.contains("stages.validate.chain"), "{message}");
    for fine in [
        "  filter: {chain: [plugin: {name: both}]}\n  validate: {chain: [plugin: {name: mender}]}\n",
        "  filter: {chain: [plugin: {name: worth}]}\n",
    ] {
        assert_eq!(warnings(fine), [], "{fine}");
    }
    supervisor.shutdown();
}
