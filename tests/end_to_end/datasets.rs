//! Dataset files of every kind come in through the inbox and by command, go out in every form, and are looked at without a workflow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn fixture(name: &str) -> PathBuf {
    repository()
        .join("daemon/crates/formats/tests/fixtures")
        .join(name)
}

/// Waits for a dropped file's report and reads it.
fn report(file: &Path) -> Result<Value> {
    let path = PathBuf::from(format!("{}.report.json", file.display()));
    wait_for(&path.to_string_lossy(), LIMIT, || path.exists())?;
    Ok(serde_json::from_str(&std::fs::read_to_string(&path)?)?)
}

#[test]
fn packed_and_foreign_files_go_in_by_inbox_and_by_command() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let files = [
        ("alpaca.good.json.gz", 4),
        ("alpaca.good.json.zst", 4),
        ("chat.good.parquet", 2),
        ("labelled.good.tsv", 3),
        ("natural-instructions.good.json", 3),
        ("instructlab.good.yaml", 2),
    ];
    let inbox = home.path().join("inbox");
    for (number, (name, records)) in files.into_iter().enumerate() {
        let dataset = format!("d{number}");
        std::fs::create_dir_all(inbox.join(&dataset))?;
        let dropped = inbox.join(&dataset).join(name);
        std::fs::copy(fixture(name), &dropped)?;
        let told = report(&dropped)?;
        ensure!(
            told["accepted"] == records && told["refused"] == 0,
            "{name}: {told}"
        );
        // The same file by command is the same version.
        let path = fixture(name).to_string_lossy().into_owned();
        let text = home.text(&["dataset", "import", &dataset, &path])?;
        ensure!(text.contains("was there already"), "{text}");
        home.text(&["dataset", "import", &format!("{dataset}-again"), &path])?;
        let shown = home.json(&["dataset", "show", &format!("{dataset}-again")])?;
        ensure!(shown["dataset"]["records"] == records, "{shown}");
    }
    Ok(())
}

#[test]
fn a_mapping_file_beside_a_dropped_file_names_its_columns_also_when_it_comes_late() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let folder = home.path().join("inbox/faq");
    std::fs::create_dir_all(&folder)?;
    let table = folder.join("mapped.csv");
    std::fs::copy(fixture("mapped.good.csv"), &table)?;
    let told = report(&table)?;
    ensure!(told["errors"][0]["reason"] == "unknown_format", "{told}");
    let mapping = folder.join("mapped.csv.mapping.yaml");
    std::fs::copy(fixture("mapped.good.csv.mapping.yaml"), &mapping)?;
    let accepted = || report(&table).is_ok_and(|told| told["accepted"] == 2);
    wait_for("the table to be read by its mapping", LIMIT, accepted)?;
    ensure!(!folder.join("mapped.csv.mapping.yaml.report.json").exists());

    // By command it is found beside the file, or named.
    let beside = fixture("mapped.good.csv").to_string_lossy().into_owned();
    home.text(&["dataset", "import", "beside", &beside])?;
    let alone = home.path().join("alone.csv").to_string_lossy().into_owned();
    std::fs::copy(fixture("mapped.good.csv"), &alone)?;
    let mapping = mapping.to_string_lossy().into_owned();
    home.text(&["dataset", "import", "named", &alone, "--mapping", &mapping])?;
    let difference = home.json(&["dataset", "diff", "beside", "named"])?;
    ensure!(
        difference["same"] == 2 && difference["changed"] == json!([]),
        "{difference}"
    );
    Ok(())
}

#[test]
fn records_go_out_in_every_form_and_come_back() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let source = home.path().join("mixed.jsonl");
    let lines = [
        json!({"instruction": "Name a bird of the sea.", "input": "", "output": "The gull."}),
        json!({"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}),
        json!({"text": "It broke.", "label": "complaint"}),
    ];
    std::fs::write(&source, lines.map(|line| format!("{line}\n")).concat())?;
    home.text(&["dataset", "import", "mixed", &source.to_string_lossy()])?;
    for (format, written) in [
        ("jsonl", 3),
        ("parquet", 3),
        ("alpaca", 2),
        ("chat", 2),
        ("sharegpt", 2),
        ("labelled", 1),
    ] {
        let out = home.path().join(format!("out.{format}"));
        let out = out.to_string_lossy();
        let told = home.json(&[
            "dataset", "export", "mixed", "--format", format, "--out", &out,
        ])?;
        ensure!(
            told["written"] == written && told["refused"] == 3 - written,
            "{format}: {told}"
        );
        if written < 3 {
            ensure!(told["errors"][0]["reason"] == "unfit", "{format}: {told}");
        }
        let difference = home.json(&["dataset", "diff", "mixed", "--input", &out])?;
        let same = difference["same"].as_u64().context("a count")?;
        // An instruction as a talk, or a talk as an instruction, is another record that says the same.
        let expect = match format {
            "alpaca" | "chat" | "sharegpt" => written - 1,
            _ => written,
        };
        ensure!(same == expect, "{format}: {difference}");
    }
    let tagged = home.run(&["dataset", "export", "mixed", "--format", "tagged"])?;
    let told = String::from_utf8_lossy(&tagged.stderr).into_owned();
    ensure!(
        !tagged.status.success() && told.contains("cannot be written as tagged"),
        "{told}"
    );
    Ok(())
}

#[test]
fn files_are_counted_compared_and_cleared_of_duplicates_without_a_daemon() -> Result<()> {
    let home = Home::new()?;
    let file = home.path().join("tasks.jsonl");
    let task = |text: &str, output: &str| json!({"instruction": text, "output": output});
    let lines = [
        task("Name three rivers of Europe.", "Rhine, Rhône, Po."),
        task("写一首关于秋天的诗。", "山高月小。"),
        task("name three rivers of EUROPE", "Elbe, Ebro, Oder."),
        task("Name three rivers of Asia.", "Indus, Mekong, Lena."),
        json!({"output": "nothing was asked"}),
        task("Name three lakes of Asia.", ""),
    ];
    std::fs::write(&file, lines.map(|line| format!("{line}\n")).concat())?;
    let file = file.to_string_lossy().into_owned();
    let out = home
        .path()
        .join("kept.jsonl")
        .to_string_lossy()
        .into_owned();
    let text = home.text(&[
        "dataset", "dedup", "--input", &file, "--out", &out, "--json",
    ])?;
    let told = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let reasons: Vec<&Value> = told.iter().map(|line| &line["reason"]).collect();
    let expect = json!([
        null,
        null,
        "exact_duplicate",
        "near_duplicate",
        "missing_field",
        null
    ]);
    ensure!(json!(reasons) == expect, "{text}");
    // In the last bits it is what rouge_score computes.
    let score = told[3]["score"].as_f64().context("a score")?;
    ensure!(
        told[3]["nearest"] == 0 && (score - 0.8).abs() < 1e-9,
        "{text}"
    );
    ensure!(std::fs::read_to_string(&out)?.lines().count() == 3);

    let stats = home.json(&["dataset", "stats", "--input", &file])?;
    ensure!(
        stats["records"] == 5 && stats["unreadable"] == 1 && stats["answered"] == 4,
        "{stats}"
    );
    ensure!(
        stats["exact_duplicates"] == 1 && stats["near_duplicates"] == 1,
        "{stats}"
    );
    ensure!(
        stats["languages"][1] == json!({"name": "zh", "count": 1}),
        "{stats}"
    );
    let difference = home.json(&["dataset", "diff", "--input", &file, "--input", &out])?;
    ensure!(difference["same"] == 3, "{difference}");
    ensure!(
        difference["only_in_a"]
            .as_array()
            .is_some_and(|only| only.len() == 2),
        "{difference}"
    );
    Ok(())
}
