//! The one command of the README, on the real model.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use autodidact_domain::random::Random;
use autodidact_tests::{Home, tell};
use serde_json::Value;

fn asked() -> bool {
    let asked = std::env::var("AUTODIDACT_TEST_QUICKSTART").is_ok();
    if !asked {
        tell("skipped: AUTODIDACT_TEST_QUICKSTART is not set");
    }
    asked
}

fn evaluation<'a>(report: &'a Value, model: &str) -> Result<&'a Value> {
    report["evaluations"]
        .as_array()
        .and_then(|all| all.iter().find(|e| e["model"] == model))
        .with_context(|| format!("the evaluation of {model}"))
}

#[test]
fn quickstart_teaches_the_real_model() -> Result<()> {
    if !asked() {
        return Ok(());
    }
    let home = Home::new()?;
    let started = Instant::now();
    let output = home.run(&["quickstart"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}\nquickstart took {:?}", started.elapsed());
    let report = home.report("self-instruct")?;
    for round in report["rounds"].as_array().context("rounds")? {
        assert!(round["generated"].as_u64() >= Some(48), "{round}");
        assert!(round["human"].as_u64() >= Some(100), "{round}");
        for stage in round["stages"].as_array().context("stages")? {
            let count = |key: &str| stage[key].as_u64().unwrap_or(u64::MAX / 4);
            assert_eq!(count("in"), count("kept") + count("dropped"), "{stage}");
        }
    }
    let base = evaluation(&report, "base")?["heldout_loss"]
        .as_f64()
        .context("loss")?;
    for model in ["base", "round-1", "round-2"] {
        assert_eq!(evaluation(&report, model)?["n"], 108);
    }
    for model in ["round-1", "round-2"] {
        let loss = evaluation(&report, model)?["heldout_loss"]
            .as_f64()
            .context("loss")?;
        assert!(
            loss < base,
            "{model}: held-out loss {loss} is not below the base's {base}"
        );
    }
    let plugins = report["plugins"].as_array().context("plugins")?;
    assert_eq!(plugins.len(), 2);
    for plugin in plugins {
        assert!(
            plugin["dropped"].as_u64() >= Some(1),
            "{plugin} dropped nothing"
        );
        assert!(
            plugin["digest"].as_str().is_some_and(|d| d.len() == 64),
            "{plugin}"
        );
        assert!(
            text.contains(plugin["name"].as_str().unwrap_or("?")),
            "the summary names {plugin}"
        );
    }
    assert!(
        report["peak_rss_mb"].as_u64() < Some(3072),
        "{}",
        report["peak_rss_mb"]
    );
    assert!(
        started.elapsed() < Duration::from_secs(12 * 60),
        "it took {:?}",
        started.elapsed()
    );
    // Run again, it says that it is done and shows the same report.
    let again = home.run(&["quickstart"])?;
    ensure!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(home.report("self-instruct")?, report);
    Ok(())
}

#[test]
fn quickstart_teaches_a_base_model_in_chinese() -> Result<()> {
    if !asked() {
        return Ok(());
    }
    let home = Home::new()?;
    let started = Instant::now();
    let output = home.run(&["quickstart", "--lang", "zh", "--rounds", "1"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{text}\n{told}");
    println!("{text}\nquickstart took {:?} in Chinese", started.elapsed());
    let report = home.report("self-instruct-zh")?;
    assert_eq!(report["language"], "zh");
    let loss = |model: &str| -> Result<f64> {
        let found = evaluation(&report, model)?;
        assert_eq!(
            (&found["n"], &found["language"]),
            (&108.into(), &"zh".into())
        );
        found["heldout_loss"].as_f64().context("loss")
    };
    let (base, tuned) = (loss("base")?, loss("round-1")?);
    assert!(
        tuned < base,
        "held-out loss {tuned} is not below the base's {base}"
    );
    let examples = report["examples"].as_array().context("examples")?;
    let is_chinese = |example: &&Value| {
        let instruction = example["instruction"].as_str().unwrap_or_default();
        instruction.chars().any(|c| ('一'..='鿿').contains(&c))
    };
    let chinese = examples.iter().filter(is_chinese).count();
    assert!(
        !examples.is_empty() && 2 * chinese > examples.len(),
        "{examples:?}"
    );
    for expected in ["第 1 轮 生成：", "第 1 轮 训练：", "工作流已完成"] {
        assert!(told.contains(expected), "{expected} is missing of {told}");
    }
    for expected in ["记录的去向", "留出任务上的表现", "与训练结果对话"] {
        assert!(text.contains(expected), "{expected} is missing of {text}");
    }
    let folder = home.path().join("reports/self-instruct-zh");
    let markdown = std::fs::read_to_string(folder.join("report.md")).context("read report")?;
    for expected in ["## 第 1 轮", "## 留出任务", "## 结果"] {
        assert!(
            markdown.contains(expected),
            "{expected} is missing of {markdown}"
        );
    }
    Ok(())
}

/// `AUTODIDACT_TEST_QUICKSTART_KILLS=5` kills the daemon as often in the middle of a quickstart.
#[test]
fn kills_in_a_quickstart_change_nothing() -> Result<()> {
    let Some(kills) = std::env::var("AUTODIDACT_TEST_QUICKSTART_KILLS")
        .ok()
        .and_then(|t| t.parse::<u64>().ok())
    else {
        println!("skipped: AUTODIDACT_TEST_QUICKSTART_KILLS is not set");
        return Ok(());
    };
    let straight = Home::new()?;
    let output = straight.run(&["quickstart"])?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let home = Home::new()?;
    let mut random = Random::at(5, &["quickstart"]);
    let mut child = home.spawn(&["quickstart"])?;
    for kill in 0..kills {
        let wait = Duration::from_millis(20_000 + random.below(60_000) as u64);
        std::thread::sleep(wait);
        child.kill()?;
        println!("kill {kill} after {wait:?}");
        child = home.spawn(&["serve"])?;
    }
    home.wait_until_done("self-instruct", Duration::from_secs(20 * 60))?;
    for line in home
        .log()
        .lines()
        .filter(|line| line.contains("resumes at"))
    {
        println!("{line}");
    }
    child.terminate()?;
    for key in ["dataset_digest", "adapter_digest"] {
        assert_eq!(
            home.report("self-instruct")?[key],
            straight.report("self-instruct")?[key],
            "{key}"
        );
    }
    Ok(())
}
