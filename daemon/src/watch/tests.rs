use super::*;

fn touch(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"{}").unwrap();
}

#[test]
fn a_scan_finds_finished_names_and_refuses_what_leaves_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let inbox = root.path().join("inbox");
    for name in [
        "d/b.json",
        "d/a.jsonl",
        "d/a.jsonl.mapping.yaml",
        "d/table.csv.mapping.json",
        "d/.hidden",
        "d/a.jsonl.report.json",
        "d/c.json.part",
        "d/x.tmp",
        "d/sub/y.json",
    ] {
        touch(&inbox.join(name));
    }
    touch(&inbox.join("loose.json"));
    touch(&inbox.join("bad name/z.json"));
    touch(&root.path().join("secret.json"));
    touch(&root.path().join("extra/e.json"));
    std::os::unix::fs::symlink(root.path().join("secret.json"), inbox.join("d/link.json")).unwrap();
    std::os::unix::fs::symlink(inbox.join("d/a.jsonl"), inbox.join("d/inside.json")).unwrap();

    let extra = InboxFolder {
        path: root.path().join("extra"),
        dataset: "other".into(),
    };
    let (found, refused) = folders::scan(&inbox, &[extra]);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let looks = found;
    let found: Vec<_> = looks
        .iter()
        .map(|c| (c.dataset.to_string(), name(&c.path)))
        .collect();
    let expected = [
        ("d", "a.jsonl"),
        ("d", "b.json"),
        ("d", "inside.json"),
        ("other", "e.json"),
    ];
    assert_eq!(found, expected.map(|(d, f)| (d.to_string(), f.to_string())));
    let has_mapping = |c: &&Candidate| c.look.mapping.is_some();
    let mapped: Vec<_> = looks
        .iter()
        .filter(has_mapping)
        .map(|c| name(&c.path))
        .collect();
    assert_eq!(mapped, ["a.jsonl"]);
    let refused: Vec<_> = refused.iter().map(|r| name(&r.path)).collect();
    assert_eq!(refused, ["bad name", "link.json", "loose.json"]);
}

#[test]
fn a_report_stands_beside_its_file() {
    assert_eq!(
        report_path(Path::new("/a/b.json")),
        Path::new("/a/b.json.report.json")
    );
}

#[test]
fn the_folder_of_plugins_takes_components_and_says_why_it_takes_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("plugins");
    for name in [
        "a.wasm",
        "B.WASM",
        "a.wasm.report.json",
        ".hidden.wasm",
        "c.wasm.part",
        "notes.txt",
        "project/d.wasm",
    ] {
        touch(&folder.join(name));
    }
    touch(&root.path().join("build.wasm"));
    let link = std::os::unix::fs::symlink;
    link(root.path().join("build.wasm"), folder.join("link.wasm")).unwrap();
    link(folder.join("a.wasm"), folder.join("inside.wasm")).unwrap();
    link(folder.join("nothing"), folder.join("nowhere.wasm")).unwrap();
    let (found, refused) = plugins::scan(&folder);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let found: Vec<_> = found.iter().map(|(path, _)| name(path)).collect();
    assert_eq!(found, ["B.WASM", "a.wasm", "inside.wasm"]);
    let refused: Vec<_> = refused.iter().map(|r| (name(&r.path), &r.reason)).collect();
    let expected = [
        ("link.wasm", "leaves the folder"),
        ("notes.txt", ".wasm"),
        ("project", "is a folder"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for ((found, reason), (name, part)) in refused.iter().zip(expected) {
        assert!(found == name && reason.contains(part), "{found}: {reason}");
    }
}
