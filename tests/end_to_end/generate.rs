//! Texts of a given form, several completions, log-probabilities and scores, through the command line and the client.

use anyhow::{Context, Result};
use autodidact_client::{Client, Target, v1};
use autodidact_tests::{Home, tiny_model};
use serde_json::{Value, json};

#[test]
fn completions_have_the_form_asked_for() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    let start = ["model", "generate", "tiny", "--prompt", "Is an owl a bird?"];
    let generate = |flags: &[&str]| home.json(&[&start, flags].concat());

    let shown = generate(&["--choices", "yes,no,不是", "--logprobs", "2"])?;
    let text = shown["completion"]["text"].as_str().context("text")?;
    assert!(["yes", "no", "不是"].contains(&text), "{shown}");
    let told = shown["completion"]["logprobs"].as_array();
    let told = told.context("logprobs")?;
    let tokens = shown["completion"]["completion_tokens"].as_u64();
    assert_eq!(Some(told.len() as u64), tokens, "{shown}");
    assert_eq!(told[0]["top"].as_array().map(Vec::len), Some(2), "{shown}");

    let schema = home.path().join("schema.json");
    let fields = json!({"age": {"type": "integer", "minimum": 1, "maximum": 9}, "mood": {"enum": ["calm", "平静"]}});
    let object = json!({"type": "object", "properties": fields, "required": ["age", "mood"], "additionalProperties": false});
    std::fs::write(&schema, object.to_string()).context("write schema")?;
    let path = schema.to_string_lossy();
    let several = ["--completions", "3", "--temperature", "1.2", "--seed", "5"];
    let shown = generate(&[&["--json-schema", &*path], &several[..]].concat())?;
    let completions = shown["completions"].as_array().context("completions")?;
    assert_eq!(completions.len(), 3);
    for completion in completions {
        let text = completion["text"].as_str().context("text")?;
        let value: Value = serde_json::from_str(text).with_context(|| text.to_string())?;
        assert!((1..=9).contains(&value["age"].as_u64().context("age")?));
        assert!(["calm", "平静"].contains(&value["mood"].as_str().context("mood")?));
    }
    // The seeds follow one another, and a completion does not depend on those beside it.
    let second = ["--temperature", "1.2", "--seed", "6"];
    let alone = generate(&[&["--json-schema", &*path], &second[..]].concat())?;
    assert_eq!(alone["completion"], completions[1]);

    let regex = ["--regex", r"\d{2}/[a-c]+", "--max-tokens", "40"];
    let text = home.text(&[&start, &regex[..]].concat())?;
    let (digits, letters) = text.trim_end().split_once('/').context("a stroke")?;
    assert!(digits.len() == 2 && letters.bytes().all(|byte| (b'a'..=b'c').contains(&byte)));

    let refused = home.run(&[&start, &["--regex", "(a"][..]].concat())?;
    assert_eq!(refused.status.code(), Some(1));
    let fault = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(fault.contains("regular expression"), "{fault}");
    Ok(())
}

#[test]
fn texts_are_scored() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    let socket = home.path().join("run/autodidact.sock");
    let item = |continuation: &str| v1::ScoreItem {
        prompt: Some(v1::score_item::Prompt::Text("Name a bird: an".into())),
        continuation: continuation.into(),
    };
    let request = |items: Vec<v1::ScoreItem>| v1::ScoreRequest {
        model: "tiny".into(),
        adapter: None,
        items,
    };
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let client = Client::connect(&Target::Unix(socket)).await?;
        let items = vec![item(" owl"), item(" q#~¤ q#~¤"), item("")];
        let scores = client.models().score(request(items)).await?;
        let scores = scores.into_inner().scores;
        let tokens: Vec<bool> = scores.iter().map(|score| score.tokens > 0).collect();
        assert_eq!(tokens, [true, true, false]);
        assert!(scores[0].perplexity < scores[1].perplexity, "{scores:?}");
        for score in &scores[..2] {
            let mean = score.negative_log_likelihood / f64::from(score.tokens);
            assert!((score.perplexity / mean.exp() - 1.0).abs() < 1e-9);
        }
        let long = request(vec![item(&"#~".repeat(3000))]);
        let refused = client.models().score(long).await;
        let refused = refused.expect_err("the context does not hold it");
        assert!(refused.message().contains("the context holds 1024"));
        Ok(())
    })
}
