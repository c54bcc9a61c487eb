use super::super::{Config, Variables};
use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("autodidact.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("key"), "sk-secret\n").unwrap();
    let variables: Variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let config = Config::load(&[], Some(&path), &variables).map_err(|error| error.to_string());
    (folder, config)
}

const TWO: &str = r#"
[remote_models.judge]
base_url = "https://api.example.com/v1"
model = "big-1"
api = "both"
key_env = "EXAMPLE_KEY"
prompt_price = 2.5
completion_price = 10
extras = true
constraints = "guided"

[remote_models."Near.by-1"]
base_url = "http://127.0.0.1:8000/v1"
model = "small"
key_file = "key"
max_retries = 0
"#;

#[test]
fn models_come_from_the_file_and_the_environment_stands_above_it() {
    let variables = [
        ("AUTODIDACT_REMOTE_MODELS_JUDGE_TIMEOUT_S", "9"),
        ("AUTODIDACT_REMOTE_MODELS_NEAR_BY_1_MODEL", "other"),
        (
            "AUTODIDACT_REMOTE_MODELS_NEW_ONE_BASE_URL",
            "http://127.0.0.1:1/v1",
        ),
        ("AUTODIDACT_REMOTE_MODELS_NEW_ONE_MODEL", "m"),
        ("AUTODIDACT_REMOTE_MODELS_NEW_ONE_EXTRAS", "true"),
        ("HOME", "/home/me"),
        ("EXAMPLE_KEY", "sk-secret"),
    ];
    let (folder, config) = load(TWO, &variables);
    let config = config.unwrap();
    let models = &config.remote_models;
    assert_eq!(
        models.keys().collect::<Vec<_>>(),
        ["Near.by-1", "judge", "new_one"]
    );
    let judge = &models["judge"].settings;
    assert_eq!((judge.api, judge.timeout_s), (Api::Both, 9));
    assert_eq!((judge.prompt_price, judge.completion_price), (2.5, 10.0));
    assert!(judge.extras && models["new_one"].settings.extras);
    assert_eq!(models["Near.by-1"].settings.model, "other");
    assert_eq!(
        models["Near.by-1"].key_file,
        Some(folder.path().join("key"))
    );

    let dumped = config.to_toml();
    assert!(!dumped.contains("sk-secret"), "{dumped}");
    assert!(
        !format!("{config:?}").contains("sk-secret")
            && !serde_json::to_string(&config)
                .unwrap()
                .contains("sk-secret")
    );
    let again = folder.path().join("dumped.toml");
    std::fs::write(&again, &dumped).unwrap();
    assert_eq!(
        Config::load(&[], Some(&again), &Variables::new()).unwrap(),
        config,
        "{dumped}"
    );
}

#[test]
fn every_fault_is_found_and_a_misplaced_key_is_not_shown() {
    let text = r#"
[remote_models.a]
base_url = "http://me:sk-secret@x/v1"
api = "smoke"
key = "sk-secret"
concurency = 3
extras = "maybe"
prompt_price = -1
key_env = "X"
key_file = "none"
[remote_models."a b"]
model = "m"
[remote_models.empty]
"#;
    let (_folder, config) = load(text, &[("AUTODIDACT_REMOTE_MODELS_A_KEY", "sk-secret")]);
    let text = config.unwrap_err();
    for expected in [
        "line 4: remote_models.a.api: expected \"chat\"",
        "line 5: remote_models.a.key: expected a known field (keys are named",
        "remote_models.a.concurency: expected a known field",
        "did you mean \"remote_models.a.concurrency\"?",
        "remote_models.a.extras: expected true or false",
        "remote_models.a.prompt_price",
        "remote_models.a.base_url: expected where",
        "remote_models.a.model: expected the name",
        "key_file or key_env, not both",
        "remote_models.a.key_file: expected a readable file",
        "remote_models.a b.model: expected a name",
        "remote_models.empty: expected a table",
        "AUTODIDACT_REMOTE_MODELS_A_KEY: expected",
    ] {
        assert!(text.contains(expected), "{expected}\nis missing in\n{text}");
    }
    assert!(!text.contains("sk-secret"), "{text}");
}

#[test]
fn variables_name_fields() {
    let check = |variable, expect: Option<&str>| {
        assert_eq!(key_of_variable(variable).as_deref(), expect, "{variable}");
    };
    check(
        "AUTODIDACT_REMOTE_MODELS_A_B_KEY_FILE",
        Some("remote_models.a_b.key_file"),
    );
    check("AUTODIDACT_REMOTE_MODELS_KEY_FILE", None);
    check("AUTODIDACT_REMOTE_MODELS_A_COLOUR", None);
}
