//! The report in both forms and both languages, held against committed files; and what hostile data can do in it: nothing.
//!
//! After a wanted change: `UPDATE_REPORTS=1 cargo test -p autodidact-flow --test report`, and read the difference.

use std::collections::BTreeSet;
use std::path::Path;

use autodidact_domain::{Language, Report};
use autodidact_flow::report::{to_html, to_markdown};
use serde_json::{Value, json};

/// A report with something in every section; `said` makes what data says, by what it is.
fn report(said: impl Fn(&str) -> String) -> Report {
    let interval = |low: f64, high: f64| json!({"low": low, "high": high});
    let digest = |digit: &str| digit.repeat(64);
    let stage = |name: &str, taken: u64, reasons: Value, tokens: u64| {
        let counts = reasons.as_object().expect("reasons by code");
        let dropped: u64 = counts.values().filter_map(Value::as_u64).sum();
        json!({"name": name, "in": taken, "kept": taken - dropped, "dropped": dropped, "out": taken - dropped,
               "reasons": reasons, "seconds": taken as f64 / 8.0, "tokens": tokens})
    };
    let plugin_reason = said("rude");
    let round = |number: u32, promoted: bool, reason: &str| {
        let losses: Vec<f64> = (0..40u32)
            .map(|i| 1.5 + 2.0 / f64::from(i + number))
            .collect();
        json!({"round": number, "promoted": promoted, "promotion_reason": reason,
            "stages": [
                stage("generate", 24, json!({"unparsable": 2}), 2100),
                stage("filter", 48, json!({"near_duplicate": 9, plugin_reason.clone(): 3}), 0),
                stage("respond", 36, json!({}), 3400),
                stage("validate", 36, json!({"empty_output": 1}), 0),
                stage("train", 60, json!({}), 9000),
                stage("evaluate", 8, json!({}), 320),
                stage("promote", 1, json!({}), 0)],
            "human": 20, "generated": 35, "replayed": 5, "losses": losses,
            "eval_losses": [{"step": 10, "loss": 2.25}, {"step": 20, "loss": 2.0}, {"step": 40, "loss": 2.125}],
            "adapter_step": 20, "stopped_early": number == 2})
    };
    let evaluation = |model: &str, language: &str, loss: f64, rate: f64| {
        json!({"model": model, "language": language, "n": 8, "heldout_loss": loss, "rouge_l": 0.25,
            "success_rate": rate,
            "intervals": {"heldout_loss": interval(loss - 0.2, loss + 0.2), "success_rate": interval(rate - 0.1, rate + 0.2)},
            "task_types": {
                "classification": {"n": 3, "succeeded": 2, "metrics": {"accuracy": 0.6667, "macro_f1": 0.5},
                    "intervals": {"accuracy": interval(0.2, 0.94)}},
                "translation": {"n": 5, "succeeded": 0, "metrics": {"chrf": 12.345}}},
            "diversity": {"distinct_1": 0.5, "distinct_2": 0.875, "token_entropy": 6.25}})
    };
    serde_json::from_value(json!({
        "workflow": "self-instruct", "state": "done", "language": "en", "seed": 7, "compute": said("fast"),
        "dataset_digest": digest("a"), "adapter_digest": digest("b"), "adapter": "self-instruct.round-1",
        "dataset": said("self-instruct@2"), "seconds": 754.25, "peak_rss_mb": 913, "tokens_per_second": 41.5,
        "rounds": [
            round(1, true, "promoted: held-out loss a task against base: -0.5000 [-0.7500, -0.2500]"),
            round(2, false, "rolled back, not surely better: held-out loss a task against round-1: +0.0100 [-0.0200, +0.0400]")],
        "dropped": [
            {"stage": "filter", "reason": "near_duplicate", "count": 18, "examples": [
                {"record": digest("c"), "round": 1, "text": said("List the colours of a rainbow."), "rule": "rouge_l",
                 "nearest": said("List all colours of the rainbow."), "score": 0.8333},
                {"record": digest("d"), "round": 2, "text": said("写一首关于秋天的诗。"), "rule": "rouge_l",
                 "nearest": said("写一首关于秋天的短诗。"), "score": 0.9091}]},
            {"stage": "filter", "reason": plugin_reason, "count": 6, "examples": [
                {"record": digest("e"), "round": 1, "text": said("Insult me."), "rule": said("manners"), "note": said("found: insult")}]}],
        "evaluations": [
            evaluation("base", "en", 3.0, 0.25), evaluation("base", "zh", 3.5, 0.125),
            evaluation("round-1", "en", 2.5, 0.5), evaluation("round-1", "zh", 3.25, 0.25),
            evaluation("round-2", "en", 2.625, 0.5), evaluation("round-2", "zh", 3.125, 0.25)],
        "examples": [
            {"round": 1, "instruction": said("Name a metal."), "input": "", "output": said("Copper.")},
            {"round": 2, "instruction": said("翻译成英文。"), "input": said("你好"), "output": said("Hello.\nOr: hi.")}],
        "before_after": {"prompt": said("Name a river."), "expected": said("The Rhine."), "before": said("river river"),
            "after": said("The Danube."), "model": "round-1"},
        "plugins": [{"name": said("manners"), "version": "1.0.0", "digest": digest("f"), "dropped": 6}],
        "remote_models": [{"stage": "respond", "model": said("teacher"), "source": said("remote:https://far.example/v1"),
            "requests": 36, "uncounted": 2, "prompt_tokens": 1800, "completion_tokens": 2400, "cost": 0.0125}],
    }))
    .expect("a report of this or an earlier daemon")
}

fn in_language(language: Language) -> Report {
    Report {
        language,
        ..report(str::to_string)
    }
}

#[test]
fn both_forms_in_both_languages_are_the_committed_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report");
    for language in [Language::En, Language::Zh] {
        let report = in_language(language);
        for (ending, text) in [("md", to_markdown(&report)), ("html", to_html(&report))] {
            let path = folder.join(format!("{language}.{ending}"));
            if std::env::var_os("UPDATE_REPORTS").is_some() {
                std::fs::write(&path, &text).expect("write the file");
            }
            let committed = std::fs::read_to_string(&path).expect("read the file");
            for (number, (found, expected)) in text.lines().zip(committed.lines()).enumerate() {
                assert_eq!(found, expected, "{}, line {}", path.display(), number + 1);
            }
            assert_eq!(text.len(), committed.len(), "{}", path.display());
        }
    }
}

#[test]
fn a_report_of_an_earlier_daemon_and_one_without_figures_are_laid_out() {
    let mut json = serde_json::to_value(in_language(Language::En)).expect("plain data");
    for field in ["rounds", "evaluations", "examples", "plugins"] {
        json[field] = json!([]);
    }
    for field in ["dropped", "remote_models"] {
        json.as_object_mut().expect("an object").remove(field);
    }
    json["before_after"] = Value::Null;
    let report: Report = serde_json::from_value(json).expect("a report");
    assert_eq!(
        elements(&to_html(&report))
            .iter()
            .filter(|e| *e == "h2")
            .count(),
        1
    );
    let markdown = to_markdown(&report);
    assert!(
        markdown.starts_with("# self-instruct\n\nSeed 7, compute path fast"),
        "{markdown}"
    );
    assert!(markdown.contains("## What came of it"), "{markdown}");
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    for language in [Language::En, Language::Zh] {
        let page = to_html(&in_language(language));
        let names: BTreeSet<String> = elements(&page).into_iter().collect();
        for loading in [
            "script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form",
        ] {
            assert!(!names.contains(loading), "{loading}");
        }
        for word in [" src=", "url(", "@import", "style=\"", " on"] {
            let in_a_tag = tags(&page).iter().any(|tag| tag.contains(word));
            assert!(!in_a_tag, "{word:?} in a tag");
        }
        assert!(!page.contains("url(") && !page.contains("@import"));
        let links = page.matches("href=").count();
        assert_eq!(
            links,
            page.matches("href=\"#section-").count(),
            "links lead into the page"
        );
        let policy = "default-src 'none'; style-src 'sha256-";
        assert!(page.contains(policy) && !page.contains("unsafe-inline"));
        for (needed, least) in [
            ("<th scope=\"col\"", 20),
            ("<th scope=\"row\"", 20),
            ("<desc id=", 2),
            ("<title id=", 2),
        ] {
            assert!(page.matches(needed).count() >= least, "{needed}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }
}

#[test]
fn what_data_says_changes_nothing_around_it() {
    const ATTACK: &str = "</bdi></td><script>alert('1')</script>\"><img src=x onerror=\"a()\"> &amp; | `` [x](javascript:a) \u{202E}evil\u{0} -->";
    for language in [Language::En, Language::Zh] {
        let harmless = in_language(language);
        let hostile = Report {
            language,
            ..report(|text| format!("{ATTACK} {text}"))
        };
        let (page, attacked) = (to_html(&harmless), to_html(&hostile));
        assert_eq!(
            elements(&attacked),
            elements(&page),
            "no element more or less"
        );
        assert!(attacked.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"));
        assert!(attacked.contains("⟨U+202E⟩evil⟨U+0000⟩"));
        assert!(!attacked.contains(['\u{202E}', '\0']));

        let (text, attacked) = (to_markdown(&harmless), to_markdown(&hostile));
        assert_eq!(
            attacked.lines().count(),
            text.lines().count(),
            "no line more or less"
        );
        assert!(!attacked.contains(['\u{202E}', '\0']));
        // Whatever stands between two bars that are not escaped is a cell.
        let cells = |text: &str| -> Vec<usize> {
            let plain = |line: &str| line.replace(r"\\", "").replace(r"\|", "");
            text.lines()
                .map(|line| plain(line).matches('|').count())
                .collect()
        };
        assert_eq!(cells(&attacked), cells(&text));
        let tag = attacked.match_indices('<');
        for (place, _) in tag {
            assert!(
                attacked[..place].ends_with('\\'),
                "{}",
                &attacked[place..place + 20]
            );
        }
    }
}

/// Cuts the tags out of a page, and finds fault with what is no HTML.
fn tags(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(begin) = rest.find('<') {
        let text = &rest[..begin];
        assert!(
            !text.contains('>') || text.contains('{'),
            "a bare > in {text:?}"
        );
        let mut quoted = false;
        let inner = &rest[begin + 1..];
        let end = inner.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let end = end.unwrap_or_else(|| panic!("a tag that does not end: {inner:.80}"));
        let tag = &inner[..end];
        assert!(!tag.contains('<'), "a < in <{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        found.push(tag.to_string());
        rest = &inner[end + 1..];
    }
    found
}

/// Names the elements of a page in order; every one must be closed in its turn.
fn elements(page: &str) -> Vec<String> {
    assert!(page.starts_with("<!DOCTYPE html>\n"));
    let mut open: Vec<String> = Vec::new();
    let mut names = Vec::new();
    let mut ids = BTreeSet::new();
    for tag in tags(page).into_iter().skip(1) {
        let name: String = tag
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != '>')
            .collect();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "after {names:?}");
            continue;
        }
        let name = name.trim_end_matches('/').to_string();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        if let Some((_, id)) = tag.split_once(" id=\"") {
            let id = id.split('"').next().unwrap_or_default();
            assert!(ids.insert(id.to_string()), "two elements are called {id}");
        }
        let is_void = name == "meta" || tag.ends_with('/');
        if !is_void {
            open.push(name.clone());
        }
        names.push(name);
    }
    assert!(open.is_empty(), "{open:?} stay open");
    assert!(names.len() > 20);
    names
}
