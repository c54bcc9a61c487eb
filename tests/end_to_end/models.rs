//! Models through the command line: what is shown of them, talks that stream, and the bench.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use autodidact_client::{Client, Target, v1};
use autodidact_tests::{Home, binary, find_text, repository, tiny_model};
use serde_json::Value;

use crate::loop_tiny::LIMIT;
use crate::workflows::TINY;

#[test]
fn show_tells_what_a_user_wants_to_know_before_choosing() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let folder = home.path().join("licensed");
    std::fs::create_dir(&folder).context("make a folder")?;
    for entry in std::fs::read_dir(tiny_model()).context("read the model's folder")? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join(entry.file_name())).context("copy")?;
    }
    let card = "---\nlicense: apache-2.0\n---\n# Tiny\n";
    std::fs::write(folder.join("README.md"), card).context("write the model card")?;
    home.text(&["model", "add", "tiny", &folder.to_string_lossy()])?;
    let shown = home.json(&["model", "show", "tiny"])?;
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_string();
    assert_eq!(text("architecture"), "llama", "{shown}");
    assert_eq!(text("quantization"), "F16", "{shown}");
    assert_eq!(text("licence"), "apache-2.0", "{shown}");
    assert_eq!(text("chat_layout"), "template", "{shown}");
    assert_eq!(shown["is_batched"], true, "{shown}");
    // Whole numbers of 64 bits are texts in protobuf's JSON.
    let number = |key: &str| match &shown[key] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    };
    assert_eq!(number("parameters"), 504_672, "{shown}");
    assert_eq!(number("context_length"), 1024, "{shown}");
    assert!(number("memory_bytes") > 400_000, "{shown}");
    assert!(number("cache_bytes_per_token") > 0, "{shown}");

    let facts = home.text(&["model", "show", "tiny"])?;
    for fact in [
        "llama",
        "0.5 million",
        "F16",
        "1024 tokens",
        "MiB of weights, and ",
        "KiB for each token",
        "apache-2.0",
        "by its own chat template",
        "many sequences at once",
    ] {
        assert!(facts.contains(fact), "{fact:?} is missing in {facts}");
    }
    home.text(&["model", "remove", "tiny"])?;
    assert!(!home.text(&["model", "list"])?.contains("tiny"));
    Ok(())
}

#[test]
fn what_candle_transformers_alone_has_generates_and_says_how() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    let folder = repository().join("tests/golden/foreign/granite");
    home.text(&["model", "add", "old", &folder.to_string_lossy()])?;
    let facts = home.text(&["model", "show", "old"])?;
    for fact in [
        "granite",
        "one sequence at a time, in f32",
        "cannot be fine-tuned",
    ] {
        assert!(facts.contains(fact), "{fact:?} is missing in {facts}");
    }
    assert_eq!(home.json(&["model", "show", "old"])?["is_batched"], false);
    let generate = [
        "model",
        "generate",
        "old",
        "--prompt",
        "A bird",
        "--max-tokens",
        "8",
    ];
    let said = home.text(&generate)?;
    assert_eq!(said, home.text(&generate)?, "the likeliest tokens");
    let log = home.log();
    assert!(log.contains("runs unbatched, in f32"), "{log}");
    assert!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Says some lines to `model chat` and gives what it answered.
fn talk(home: &Home, flags: &[&str], lines: &str) -> Result<String> {
    let mut child = Command::new(binary())
        .arg("--data-dir")
        .arg(home.path())
        .args(["model", "chat", "tiny", "--max-tokens", "24"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the talk")?;
    let mut stdin = child.stdin.take().context("stdin")?;
    stdin.write_all(lines.as_bytes()).context("speak")?;
    drop(stdin);
    let output = child.wait_with_output().context("listen")?;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).context("read what was said")
}

#[test]
fn a_talk_shows_its_words_as_they_come() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let flags = ["--max-tokens", "900", "--temperature", "1", "--seed", "3"];
    // What is written at the end alone comes in one piece every time. Words
    // that come one by one may also reach a reader together where the machine
    // is busy, so a few talks are heard.
    let mut heard = Vec::new();
    for _ in 0..20 {
        let mut child = Command::new(binary())
            .arg("--data-dir")
            .arg(home.path())
            .args(["model", "chat", "tiny", "--prompt", "Tell a long story."])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .context("start the talk")?;
        let mut stdout = child.stdout.take().context("stdout")?;
        let mut first = vec![0; 1 << 16];
        let count = stdout.read(&mut first).context("listen")?;
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).context("listen on")?;
        assert!(child.wait().context("wait")?.success());
        if count > 0 && count < rest.len() {
            return Ok(());
        }
        heard.push((count, rest.len()));
    }
    panic!("bytes at first, and after them: {heard:?}");
}

#[test]
fn adapters_go_to_other_tools_and_come_from_them() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&TINY.replace("rounds: 2", "rounds: 1"))?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let checkpoints = home.json(&["checkpoint", "list"])?;
    let adapter = find_text(&checkpoints, "id").context("a checkpoint")?;
    // A prompt on which a small adapter shows: the likeliest tokens are often the base's own.
    let prompts = [
        "Name a bird.\n",
        "Translate the word into Chinese: river\n",
        "写一首诗。\n",
        "Which city is it?\n",
        "Is it good or bad? It broke.\n",
    ];
    let mut shown = None;
    for said in prompts {
        let own = talk(&home, &["--adapter", &adapter], said)?;
        if own != talk(&home, &[], said)? {
            shown = Some((said, own));
            break;
        }
    }
    let (said, own) = shown.context("a prompt that the adapter answers otherwise than its base")?;
    for format in ["peft", "gguf-lora"] {
        let out = home.path().join(format!("out-{format}"));
        let out_text = out.to_string_lossy().into_owned();
        let export = ["model", "export", "tiny", "--adapter", &adapter];
        let export = [&export[..], &["--format", format, "--out", &out_text]].concat();
        home.text(&export)?;
        // The folder is not written over.
        assert!(home.text(&export).is_err());
        let path = match format {
            "peft" => out.clone(),
            _ => out.join("adapter.gguf"),
        };
        let path = path.to_string_lossy().into_owned();
        let name = format!("back-{format}");
        home.text(&["model", "import", "tiny", &path, "--as", &name])?;
        assert_eq!(talk(&home, &["--adapter", &name], said)?, own, "{format}");
    }

    // A name that is taken stays what it is.
    let out = home.path().join("out-peft");
    let out = out.to_string_lossy();
    home.text(&["model", "import", "tiny", &out, "--as", "back-peft"])?;
    for name in ["back-gguf-lora", "tiny-loop.round-1"] {
        let config = home.path().join("out-peft/adapter_config.json");
        let text = std::fs::read_to_string(&config)?;
        let alpha = text.replace("\"lora_alpha\": 8", "\"lora_alpha\": 9");
        assert_ne!(text, alpha);
        std::fs::write(&config, alpha)?;
        let taken = home.run(&["model", "import", "tiny", &out, "--as", name])?;
        assert!(!taken.status.success(), "{name}");
        std::fs::write(&config, text)?;
    }

    // What PEFT itself made for another base says what does not fit.
    let foreign = repository().join("tests/golden/methods/dora");
    let import = [
        "model",
        "import",
        "tiny",
        &foreign.to_string_lossy(),
        "--as",
        "foreign",
    ];
    let output = home.run(&import)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("shape"),
        "{message}"
    );
    // For its own base it is taken.
    let llama = repository().join("tests/golden/families/llama3");
    home.text(&["model", "add", "llama", &llama.to_string_lossy()])?;
    for name in [
        "dora",
        "ia3",
        "lora_patterns",
        "lora_modules_to_save",
        "prompt",
        "prefix",
        "prefix_projection",
        "houlsby",
        "pfeiffer",
    ] {
        let folder = repository().join("tests/golden/methods").join(name);
        home.text(&[
            "model",
            "import",
            "llama",
            &folder.to_string_lossy(),
            "--as",
            name,
        ])?;
    }
    for (name, method) in [("ia3", "ia3"), ("prefix", "prefix"), ("houlsby", "adapter")] {
        let shown = home.json(&["checkpoint", "show", name])?;
        assert_eq!(shown["method"], method);
    }
    // What AdapterHub made goes back to it, and to nothing that has no place for it.
    let out = home.path().join("out-adapterhub");
    let out = out.to_string_lossy();
    let export = [
        "model",
        "export",
        "llama",
        "--adapter",
        "houlsby",
        "--out",
        &out,
    ];
    let refused = home.run(&[&export[..], &["--format", "peft"]].concat())?;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("expected adapterhub"), "{message}");
    home.text(&[&export[..], &["--format", "adapterhub"]].concat())?;
    home.text(&["model", "import", "llama", &out, "--as", "houlsby-back"])?;
    Ok(())
}

/// A whole model with the adapter in its weights is a model like any other: it is added, and says what the adapter says.
#[test]
fn whole_models_are_exported_added_and_used() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[("AUTODIDACT_COMPUTE", "exact")])?;
    home.prepare()?;
    home.submit(&TINY.replace("rounds: 2", "rounds: 1"))?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let adapter = "tiny-loop.round-1";
    let said = "Name a bird.\n";
    let own = talk(&home, &["--adapter", adapter], said)?;
    assert_ne!(own, talk(&home, &[], said)?);
    let out_of = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    let export = ["model", "export", "tiny", "--adapter", adapter];
    for format in ["safetensors", "gguf-f32", "gguf-q8_0", "gguf-q4_1"] {
        let out = out_of(&format!("out-{format}"));
        let export = [&export[..], &["--format", format, "--out", &out]].concat();
        let told = home.json(&export)?;
        let apart = |name: &str| told[name].as_f64().context("a distance");
        assert!(
            apart("logits_apart")? < 0.6 && apart("base_apart")? > 0.0,
            "{told}"
        );
        // It is not written over, unless that is asked for.
        let again = home.run(&export)?;
        let message = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(message.contains("--overwrite"), "{message}");
        home.text(&[&export[..], &["--overwrite"]].concat())?;
        let path = match format {
            "safetensors" => out,
            _ => format!("{out}/model.gguf"),
        };
        let name = format!("whole-{}", format.replace('_', "-"));
        home.text(&["model", "add", &name, &path])?;
        let generate = [
            "model",
            "generate",
            &name,
            "--prompt",
            said,
            "--max-tokens",
            "12",
        ];
        assert!(!home.text(&generate)?.trim().is_empty());
        if ["safetensors", "gguf-f32"].contains(&format) {
            let whole = home.text(&[
                "model",
                "chat",
                &name,
                "--prompt",
                said.trim(),
                "--max-tokens",
                "24",
            ])?;
            let chat = [
                "model",
                "chat",
                "tiny",
                "--adapter",
                adapter,
                "--prompt",
                said.trim(),
                "--max-tokens",
                "24",
            ];
            assert_eq!(whole, home.text(&chat)?, "{format}");
        }
    }
    // Nothing stays behind, here and at the daemon's.
    let left = |folder: &std::path::Path| -> Result<Vec<String>> {
        let names = std::fs::read_dir(folder)?
            .map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    let beside = left(home.path())?;
    assert!(
        !beside.iter().any(|name| name.starts_with(".out")),
        "{beside:?}"
    );
    let exports: Vec<_> = beside.iter().filter(|name| *name == "exports").collect();
    for _ in exports {
        assert!(left(&home.path().join("exports"))?.is_empty());
    }

    let refused = |more: &[&str], expect: &str| -> Result<()> {
        let out = out_of("refused");
        let output = home.run(&[&["model", "export"][..], more, &["--out", &out]].concat())?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && message.contains(expect),
            "{more:?}: {message}"
        );
        assert!(!std::path::Path::new(&out).exists(), "{more:?}");
        Ok(())
    };
    let name = |adapter: &'static str| ["tiny", "--adapter", adapter, "--format"];
    refused(
        &[&name("tiny-loop.round-1")[..], &["gguf-q5_0"]].concat(),
        "gguf-q8_0",
    )?;
    refused(
        &[&name("tiny-loop.round-7")[..], &["safetensors"]].concat(),
        "round-7",
    )?;
    let other = [
        "whole-safetensors",
        "--adapter",
        adapter,
        "--format",
        "safetensors",
    ];
    refused(&other, "is an adapter of tiny")?;
    Ok(())
}

/// Every method trains a round of its own in the real loop.
#[test]
fn every_method_trains_in_a_workflow() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    for (name, options) in [
        (
            "dora",
            "method: lora\n    use_dora: true\n    target_modules: all-linear\n    gradient_checkpointing: true",
        ),
        (
            "qlora",
            "method: qlora\n    label_smoothing_factor: 0.05\n    rank_pattern: {v_proj: 2}",
        ),
        ("ia3", "method: ia3"),
        ("adapter", "method: adapter\n    bottleneck: houlsby"),
        (
            "prompt",
            "method: prompt\n    num_virtual_tokens: 6\n    prompt_tuning_init: TEXT\n    prompt_tuning_init_text: Answer in a few words.",
        ),
        (
            "prefix",
            "method: prefix\n    num_virtual_tokens: 4\n    prefix_projection: true",
        ),
        ("full", "method: full"),
        (
            "whole-head",
            "method: lora\n    modules_to_save: [lm_head, model.norm]",
        ),
    ] {
        let workflow = TINY
            .replace("tiny-loop", name)
            .replace("rounds: 2", "rounds: 1")
            .replace("method: lora", options);
        home.submit(&workflow)?;
        home.wait_until_done(name, LIMIT)?;
        let shown = home.json(&["checkpoint", "show", &format!("{name}.round-1")])?;
        let method = match name {
            "dora" | "whole-head" => "lora",
            other => other,
        };
        assert_eq!(shown["method"], method);
        let adapter = format!("{name}.round-1");
        let said = talk(&home, &["--adapter", &adapter], "Name a bird.\n")?;
        assert!(!said.trim().is_empty());
    }
    Ok(())
}

/// A dataset alone is trained on, a run goes on from another's adapter, and what cannot be is refused before it begins.
#[test]
fn train_makes_an_adapter_of_a_dataset() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let base = ["--model", "tiny", "--data", "seeds-en"];
    let quick = [
        "--set",
        "r=2",
        "--set",
        "max_length=96",
        "--set",
        "learning_rate=5e-3",
    ];
    home.text(
        &[
            &["train", "first", "--held-out", "heldout-en"][..],
            &base,
            &quick,
        ]
        .concat(),
    )?;
    let first = home.json(&["checkpoint", "show", "first.round-1"])?;
    assert_eq!(first["step"], first["total_steps"]);
    let second = ["train", "second", "--init-adapter", "first.round-1"];
    home.text(&[&second[..], &base, &quick].concat())?;
    let losses = |name: &str| -> Result<Value> { home.report(name) };
    let (first, second) = (losses("first")?, losses("second")?);
    assert_ne!(first["adapter_digest"], second["adapter_digest"]);
    // A finished run has nothing left to do.
    let resumed = home.run(&["train", "--resume", "first"])?;
    let message = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(message.contains("it is done"), "{message}");

    let refused = |more: &[&str], expect: &str| -> Result<()> {
        let output = home.run(&[&["train", "third"][..], &base, more].concat())?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{more:?}");
        assert!(message.contains(expect), "{more:?}: {message}");
        Ok(())
    };
    refused(
        &["--set", "target_modules=layers.9.self_attn.q_proj"],
        "did you mean \"q_proj\"?",
    )?;
    refused(&["--set", "target_modules=qproj"], "q_proj")?;
    refused(&["--set", "r=0"], "r")?;
    refused(&["--set", "rr=1"], "rr")?;
    refused(&["--set", "r"], "OPTION=VALUE")?;
    refused(&["--init-adapter", "frist.round-1"], "first.round-1")?;
    refused(
        &["--method", "ia3", "--set", "feedforward_modules=[q_proj]"],
        "feedforward_modules",
    )?;
    Ok(())
}

#[test]
fn a_talk_streams_and_takes_any_adapter() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&TINY.replace("rounds: 2", "rounds: 1"))?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let checkpoints = home.json(&["checkpoint", "list"])?;
    let adapter = find_text(&checkpoints, "id").context("a checkpoint")?;

    let said = "Name a bird.\nTell a story about it.\n";
    let base = talk(&home, &[], said)?;
    assert_eq!(base, talk(&home, &[], said)?, "the likeliest tokens");
    let tuned = talk(&home, &["--adapter", &adapter], said)?;
    assert!(!tuned.trim().is_empty() && tuned != base, "{tuned}");
    // The second turn is answered with the first one known.
    let afresh = talk(&home, &[], "Name a bird.\n/new\nTell a story about it.\n")?;
    assert_ne!(afresh, base);
    let once = ["model", "chat", "tiny", "--max-tokens", "24"];
    let once = home.text(&[&once[..], &["--prompt", "Name a bird."]].concat())?;
    assert!(base.starts_with(once.trim_end()), "{once:?} {base:?}");

    let socket = home.path().join("run/autodidact.sock");
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let client = Client::connect(&Target::Unix(socket)).await?;
        let request = v1::GenerateRequest {
            model: "tiny".into(),
            adapter: Some(adapter),
            prompt: Some(v1::generate_request::Prompt::Text("Name a bird:".into())),
            sampling: Some(v1::Sampling {
                max_tokens: Some(200),
                ..v1::Sampling::default()
            }),
            ..v1::GenerateRequest::default()
        };
        let mut stream = client.models().generate(request).await?.into_inner();
        let (mut pieces, mut whole) = (Vec::new(), None);
        while let Some(message) = stream.message().await? {
            match message.message {
                Some(v1::generate_response::Message::Piece(text)) => {
                    assert!(whole.is_none(), "a piece after the end");
                    pieces.push(text);
                }
                Some(v1::generate_response::Message::Completion(all)) => whole = Some(all.text),
                None => {}
            }
        }
        assert!(pieces.len() > 3, "{pieces:?}");
        assert_eq!(Some(pieces.concat()), whole);
        Ok(())
    })
}

#[test]
fn the_bench_prints_what_scripts_read() -> Result<()> {
    let home = Home::new()?;
    let lines = |arguments: &[&str]| -> Result<Vec<Value>> {
        let text = home.text(&[arguments, &["--json"]].concat())?;
        let read = |line: &str| serde_json::from_str(line).with_context(|| line.to_string());
        text.lines().map(read).collect()
    };
    let model = tiny_model();
    let model = model.to_string_lossy();
    let start = ["bench", "generate", "--model", &model];
    let counts = ["--prompt", "24", "--new", "6", "--batch", "1,4"];
    let ways = ["--threads", "2", "--compute", "exact", "--runs", "5"];
    let printed = lines(&[&start[..], &counts, &ways].concat())?;
    let works: Vec<(&str, u64)> = printed
        .iter()
        .map(|line| {
            let work = line["work"].as_str().unwrap_or_default();
            (work, line["batch"].as_u64().unwrap_or_default())
        })
        .collect();
    let expect = [("prefill", 1), ("decode", 1), ("prefill", 4), ("decode", 4)];
    assert_eq!(works, expect);
    for line in &printed {
        assert_eq!(line["model"], "tiny", "{line}");
        assert_eq!(line["compute"], "exact", "{line}");
        assert_eq!(line["threads"], 2, "{line}");
        assert_eq!(line["unit"], "tokens/s", "{line}");
        let runs = line["runs"].as_array().context("runs")?;
        let mut rates: Vec<f64> = runs.iter().filter_map(Value::as_f64).collect();
        assert_eq!(rates.len(), 5, "{line}");
        rates.sort_by(f64::total_cmp);
        assert_eq!(line["median"].as_f64(), Some(rates[2]), "{line}");
        assert!(
            line["peak_rss_mb"].as_u64().is_some_and(|mb| mb > 0),
            "{line}"
        );
        assert!(line["version"].is_string(), "{line}");
    }
    let encoder = repository().join("tests/golden/encoder/bert");
    let encoder = encoder.to_string_lossy();
    for (embedder, compute) in [(&encoder, "exact"), (&model, "fast")] {
        let flags = ["--batch", "3", "--runs", "1", "--compute", "fast"];
        let start = ["bench", "embed", "--model", embedder];
        let printed = lines(&[&start[..], &flags].concat())?;
        assert_eq!(printed.len(), 1);
        assert_eq!(printed[0]["work"], "embed");
        assert_eq!(printed[0]["unit"], "sentences/s");
        assert!(printed[0]["peak_rss_mb"].as_u64().is_some_and(|mb| mb > 0));
        assert_eq!(printed[0]["compute"], compute, "an encoder is f32 always");
    }
    let start = ["bench", "train", "--model", &model];
    let sizes = [
        "--batch",
        "1,2",
        "--seq",
        "16",
        "--steps",
        "3",
        "--accumulation",
        "2",
    ];
    let printed = lines(&[&start[..], &sizes, &["--targets", "q_proj,down_proj"]].concat())?;
    assert_eq!(printed.len(), 2);
    for (line, batch) in printed.iter().zip([1, 2]) {
        assert_eq!(line["work"], "train", "{line}");
        assert_eq!(line["batch"], batch, "{line}");
        assert_eq!(line["runs"].as_array().map(Vec::len), Some(2), "{line}");
        assert!(line["median"].as_f64().is_some_and(|rate| rate > 0.0));
    }
    let flags = ["--records", "500", "--runs", "1", "--batch", "1,64"];
    let printed = lines(&[&["bench", "plugin"], &flags[..]].concat())?;
    let told = printed.iter().map(|line| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_string();
        (text("model"), text("compute"), line["batch"].as_u64())
    });
    let rows = [
        ("length", "native", 1),
        ("length", "component", 1),
        ("length", "component", 64),
        ("length", "from the cache", 1),
        ("a chain of five", "component", 64),
        ("a chain of five", "component", 64),
    ];
    let rows = rows.map(|(model, compute, batch)| (model.into(), compute.into(), Some(batch)));
    assert_eq!(told.collect::<Vec<_>>(), rows);
    for line in &printed {
        assert_eq!(line["work"], "plugin", "{line}");
        assert!(line["median"].as_f64().is_some_and(|cost| cost > 0.0));
    }
    let refused = home.run(&[&start[..], &["--seq", "2000"]].concat())?;
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("the context is 1024"), "{message}");
    let start = ["bench", "generate", "--model", &model];
    let people = home.text(&[&start[..], &counts, &["--runs", "1"]].concat())?;
    assert_eq!(people.lines().count(), 4, "{people}");
    let refused = home.run(&[&start[..], &["--prompt", "2000", "--batch", "1"]].concat())?;
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("1024 (the context)"), "{message}");
    Ok(())
}
