use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn flag(key: &str, value: &str) -> Setting {
    Setting {
        key: key.into(),
        value: Value::Text(value.into()),
        origin: format!("--{}", key.replace(['.', '_'], "-")),
        base: PathBuf::new(),
    }
}

fn with_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("autodidact.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn flags_stand_above_the_environment_above_the_file_above_the_defaults() {
    let (_folder, path) = with_file("threads = 3\ncompute = \"exact\"\n[log]\nlevel = \"warn\"\n");
    let config = Config::load(
        &[flag("threads", "5")],
        Some(&path),
        &variables(&[
            ("AUTODIDACT_THREADS", "4"),
            ("AUTODIDACT_LOG_LEVEL", "debug"),
            ("HOME", "/h"),
        ]),
    )
    .unwrap();
    assert_eq!(config.threads, 5);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.compute, ComputePath::Exact);
    assert_eq!(config.limits.file_mib, 256);
    assert_eq!(
        config.data_dir,
        PathBuf::from("/h/.local/share/autodidact/default")
    );
    assert_eq!(
        config.socket,
        PathBuf::from("/h/.local/share/autodidact/default/run/autodidact.sock")
    );
}

#[test]
fn every_fault_is_found_at_once_with_its_line_and_the_nearest_name() {
    let (_folder, path) = with_file(
        "threds = 3\ncompute = \"slow\"\ndevice = \"gpu\"\n[limits]\nfile_mib = -1\n[log]\nlevel = \"lots\"\n[tcp]\naddress = \"0.0.0.0:80\"\n[[inbox]]\npath = \"x\"\ncolour = 1\n",
    );
    let error = Config::load(
        &[flag("threads", "many")],
        Some(&path),
        &variables(&[("AUTODIDACT_THREDS", "2")]),
    )
    .unwrap_err();
    let text = error.to_string();
    for expected in [
        "autodidact.toml line 1: threds: expected a known field, found 3; did you mean \"threads\"?",
        "autodidact.toml line 2: compute: expected \"exact\" or \"fast\", found \"slow\"",
        "autodidact.toml line 3: device: expected \"cpu\"",
        "autodidact.toml line 5: limits.file_mib: expected a whole number from 1 to 4096, found -1",
        "autodidact.toml line 7: log.level",
        "inbox.colour",
        "inbox: expected",
        "--threads: threads: expected a whole number from 1 to 1024, found \"many\"",
        "AUTODIDACT_THREDS: expected a known variable, found \"2\"; did you mean \"AUTODIDACT_THREADS\"?",
        "tcp.address: expected a loopback address",
    ] {
        assert!(text.contains(expected), "{expected}\nis missing in\n{text}");
    }
    assert_eq!(error.0.len(), 10, "{text}");
}

#[test]
fn the_device_is_the_processor_unless_another_is_set_that_is_built_in() {
    let load = |text: &str| {
        let device = variables(&[("AUTODIDACT_DEVICE", text), ("HOME", "/h")]);
        Config::load(&[], None, &device)
    };
    assert_eq!(load("").unwrap().device, DeviceChoice::Cpu);
    let config = load("cpu").unwrap();
    assert!(config.to_toml().contains("device = \"cpu\"\n"));
    match DeviceChoice::Cuda(1).is_built_in() {
        true => assert_eq!(load("cuda:1").unwrap().device, DeviceChoice::Cuda(1)),
        false => {
            let text = load("cuda:1").unwrap_err().to_string();
            assert!(
                text.contains("AUTODIDACT_DEVICE: device: expected \"cpu\"")
                    && text.contains("daemon/build-cuda.sh"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_file_that_is_no_toml_or_missing_is_refused() {
    let (_folder, path) = with_file("threads = = 2\n");
    let text = Config::load(&[], Some(&path), &Variables::new())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("line 1") && text.contains("expected TOML"),
        "{text}"
    );
    let text = Config::load(&[], Some(Path::new("/none/x.toml")), &Variables::new())
        .unwrap_err()
        .to_string();
    assert!(text.contains("readable TOML file"), "{text}");
}

#[test]
fn paths_in_the_file_are_relative_to_it_and_the_dump_gives_the_same_again() {
    let (folder, path) = with_file(
        "data_dir = \"data\"\n[tcp]\naddress = \"127.0.0.1:0\"\n[[inbox]]\npath = \"drop\"\ndataset = \"d\"\n",
    );
    let config = Config::load(&[], Some(&path), &Variables::new()).unwrap();
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.inbox[0].path, folder.path().join("drop"));
    assert_eq!(
        config.tcp.token_file,
        Some(folder.path().join("data/run/token"))
    );

    let dumped = folder.path().join("dumped.toml");
    std::fs::write(&dumped, config.to_toml()).unwrap();
    assert_eq!(
        Config::load(&[], Some(&dumped), &Variables::new()).unwrap(),
        config
    );
}

#[test]
fn the_file_in_the_data_directory_is_found_and_folders_come_from_flags_too() {
    let (folder, _path) = with_file("threads = 7\n");
    let config = Config::load(
        &[
            flag("data_dir", folder.path().to_str().unwrap()),
            flag("inbox", "seeds=/drop"),
        ],
        None,
        &Variables::new(),
    )
    .unwrap();
    assert_eq!(config.threads, 7);
    assert_eq!(
        config.inbox,
        [InboxFolder {
            path: "/drop".into(),
            dataset: "seeds".into()
        }]
    );
    assert!(Config::load(&[flag("inbox", "../bad=/drop")], None, &Variables::new()).is_err());
}

#[test]
fn embedders_are_models_or_the_generator_by_language() {
    let (_folder, path) = with_file("[embedders]\nen = \"minilm\"\nzh = \"generator\"\n");
    let config = Config::load(&[], Some(&path), &Variables::new()).unwrap();
    let table = config.embedders.table();
    assert_eq!(table.get(Language::Zh), Some(&EmbedderSetting::Generator));
    assert_eq!(
        table.get(Language::En),
        EmbedderSetting::parse("minilm").as_ref()
    );
    assert_eq!(
        Config::defaults("/d".into()).embedders.table(),
        EmbedderTable::default()
    );
    let (_folder, path) = with_file("[embedders]\nen = \"../x\"\nfr = \"minilm\"\n");
    let text = Config::load(&[], Some(&path), &Variables::new())
        .unwrap_err()
        .to_string();
    for expected in [
        "line 2: embedders.en: expected the name",
        "line 3: embedders.fr",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}
