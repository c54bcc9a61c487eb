use autodidact_domain::{Digest, ExampleId};
use serde_json::{Value, json};

use autodidact_domain::comparison::MeasureDifference;

use super::*;

fn digest(text: &str) -> ExampleId {
    Digest::of(text.as_bytes())
}

/// A workflow with an evaluation of its base and one of its first round; `held_out` tells the version of its tasks, and `losses` has
/// the round's loss and success on each.
fn side(name: &str, train: Value, held_out: &str, tasks: &[(f64, u32, bool)]) -> Side {
    let dataset = json!({"name": "held", "version": 1, "digest": digest(held_out), "records": tasks.len(),
        "created_ms": 0, "source": "test", "source_digest": null});
    let spec = json!({"name": name, "seed": 7, "languages": ["en"], "rounds": 1, "model": "tiny", "seeds": null,
        "held_out": "held", "mix": {"human": 1.0, "generated": 1.0, "replay": 0.5}, "on_drop": null,
        "stages": {"generate": null, "filter": {"chain": ["exact", {"rouge_l": {"threshold": 0.7}}]}, "respond": null,
            "validate": null, "train": train, "evaluate": {"max_tokens": 8, "batch": 4}, "promote": null}});
    let workflow = json!({"spec": spec, "spec_digest": digest(name), "state": "done", "message": "", "created_ms": 0,
        "updated_ms": 0, "pinned": {"seeds": null, "held_out": dataset, "plugins": [], "model": {
            "name": "tiny", "source": "test", "path": "", "sha256": "", "architecture": "llama", "parameters": 1,
            "quantization": "F32", "context_length": 64, "digest": digest("tiny")}}});
    let mut workflow: WorkflowSummary = read(workflow);
    workflow.state = WorkflowState::Done;
    let results = |change: f64| -> Vec<TaskResult> {
        let tasks = tasks.iter().enumerate();
        let result = |(i, (loss, tokens, success)): (usize, &(f64, u32, bool))| {
            json!({"id": digest(&format!("task {i}")), "language": "en", "task_type": null, "answer": "",
                "negative_log_likelihood": (loss + change) * f64::from(*tokens), "tokens": tokens,
                "rouge_l": 0.0, "success": success})
        };
        tasks.map(result).map(read).collect()
    };
    let evaluations: Vec<Evaluation> = [("base", 1.0), ("round-1", 0.0)]
        .into_iter()
        .map(|(model, change)| Evaluation {
            model: model.to_string(),
            results: results(change),
            judgement: None,
        })
        .collect();
    let told = evaluations.iter().map(|evaluation| {
        let n = evaluation.results.len() as f64;
        let sum = |value: fn(&TaskResult) -> f64| evaluation.results.iter().map(value).sum::<f64>();
        let loss = sum(|r| r.negative_log_likelihood) / sum(|r| f64::from(r.tokens));
        let rate = sum(|r| f64::from(u8::from(r.success))) / n;
        json!({"model": evaluation.model, "language": "en", "n": evaluation.results.len(), "heldout_loss": loss,
            "rouge_l": 0.0, "success_rate": rate, "diversity": {}, "task_types": {},
            "intervals": {"heldout_loss": {"low": loss - 0.5, "high": loss + 0.5}}})
    });
    let told: Vec<Value> = told.collect();
    let stage = |name: &str, taken: u64, dropped: u64| {
        json!({"name": name, "in": taken, "kept": taken - dropped, "dropped": dropped, "out": taken - dropped,
            "reasons": {"near_duplicate": dropped}, "seconds": 1.0, "tokens": taken})
    };
    let mut stages = vec![stage("filter", 60, tasks.len() as u64)];
    if workflow.spec.stages.train.is_some() {
        stages.push(stage("train", 9, 0));
    }
    let report = json!({"workflow": name, "state": "done", "language": "en", "seed": 7, "compute": "exact",
        "dataset_digest": null, "adapter_digest": null, "adapter": null, "dataset": null, "seconds": 2.5,
        "peak_rss_mb": 1, "tokens_per_second": 1.0, "evaluations": told, "examples": [], "before_after": null,
        "plugins": [], "rounds": [{"round": 1, "promoted": true, "promotion_reason": "", "stages": stages,
            "human": 0, "generated": 0, "replayed": 0, "losses": []}]});
    Side {
        workflow,
        report: read(report),
        evaluations,
    }
}

fn read<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error} in {json:#}"))
}

fn tasks(loss: impl Fn(u32) -> f64, success: impl Fn(u32) -> bool) -> Vec<(f64, u32, bool)> {
    (0..40u32)
        .map(|i| (loss(i), 4 + i % 3, success(i)))
        .collect()
}

fn of<'a>(comparison: &'a Comparison, model: &str, measure: &str) -> &'a MeasureDifference {
    let mut rows = comparison.evaluations.iter();
    let row = rows.find(|row| row.model_b == model).expect("a row of it");
    let mut measures = row.measures.iter();
    measures
        .find(|found| found.measure == measure)
        .expect("both measures")
}

#[test]
fn the_same_tasks_are_paired_and_a_steady_gain_is_seen() {
    // Tasks differ far more among themselves than the two runs on any of them.
    let a = side("a", json!(null), "tasks", &tasks(f64::from, |i| i % 4 == 0));
    let b = side(
        "b",
        json!(null),
        "tasks",
        &tasks(|i| f64::from(i) - 0.25, |i| i % 2 == 0),
    );
    let compared = compare(&a, &b, Language::En);
    let loss = of(&compared, "round-1", "heldout_loss");
    assert_eq!((loss.pairs, loss.note.as_str()), (40, ""));
    assert!((loss.difference + 0.25).abs() < 1e-9, "{loss:?}");
    let interval = loss.interval.expect("paired");
    assert!(interval.high < 0.0 && interval.low > -0.5, "{loss:?}");
    assert!((loss.b - loss.a - loss.difference).abs() < 1e-9);
    assert!(loss.a_interval.is_some() && loss.b_interval.is_some());
    let success = of(&compared, "round-1", "success_rate");
    assert!((success.difference - 0.25).abs() < 1e-9, "{success:?}");
    let interval = success.interval.expect("paired");
    assert!(interval.low > 0.0 && interval.high < 0.5, "{success:?}");
    // The other way round everything has the other sign.
    let turned = compare(&b, &a, Language::En);
    assert!((of(&turned, "round-1", "heldout_loss").difference - 0.25).abs() < 1e-9);
    assert_eq!(
        compare(&a, &b, Language::En),
        compared,
        "told the same each time"
    );
}

#[test]
fn other_tasks_are_not_paired_and_the_reason_is_told_in_either_language() {
    let a = side("a", json!(null), "tasks", &tasks(f64::from, |_| true));
    let b = side("b", json!(null), "others", &tasks(f64::from, |_| false));
    for (language, said) in [
        (Language::En, "held-out tasks are others"),
        (Language::Zh, "留出任务不同"),
    ] {
        let compared = compare(&a, &b, language);
        for measure in ["heldout_loss", "success_rate"] {
            let found = of(&compared, "base", measure);
            assert_eq!((found.pairs, found.interval), (0, None));
            assert!(found.note.contains(said), "{}", found.note);
            assert!((found.difference - (found.b - found.a)).abs() < 1e-9);
        }
    }
    let settings = compare(&a, &b, Language::En).settings;
    assert_eq!(settings.len(), 1, "{settings:?}");
    assert_eq!(settings[0].field, "pinned.held_out");
}

#[test]
fn tasks_of_other_tokens_are_left_out_of_the_loss_alone() {
    let of_a = tasks(f64::from, |_| true);
    let mut of_b = of_a.clone();
    of_b[0].1 += 1;
    let (a, b) = (
        side("a", json!(null), "tasks", &of_a),
        side("b", json!(null), "tasks", &of_b),
    );
    let compared = compare(&a, &b, Language::En);
    let loss = of(&compared, "base", "heldout_loss");
    assert_eq!(loss.pairs, 39);
    assert!(loss.note.contains("39 of 40"), "{}", loss.note);
    assert!(
        loss.difference.abs() < 1e-9,
        "the task that differs is not in it: {loss:?}"
    );
    let success = of(&compared, "base", "success_rate");
    assert_eq!((success.pairs, success.note.as_str()), (40, ""));

    of_b.iter_mut().for_each(|task| task.1 += 3);
    let b = side("b", json!(null), "tasks", &of_b);
    let compared = compare(&a, &b, Language::En);
    let loss = of(&compared, "base", "heldout_loss");
    assert_eq!((loss.pairs, loss.interval), (0, None));
    assert!(loss.note.contains("other tokens"), "{}", loss.note);
}

#[test]
fn settings_and_funnels_stand_side_by_side() {
    let few = tasks(f64::from, |_| true);
    let a = side("a", json!(null), "tasks", &few);
    let b = side("b", json!({"method": "lora", "r": 4}), "tasks", &few[..8]);
    let compared = compare(&a, &b, Language::En);
    let setting = |field: &str| {
        let mut settings = compared.settings.iter();
        settings.find(|setting| setting.field == field)
    };
    let rank = setting("stages.train.r").expect("it is in one of them");
    assert_eq!((rank.a.as_deref(), rank.b.as_deref()), (None, Some("4")));
    assert!(setting("name").is_none() && setting("seed").is_none());
    assert!(
        setting("stages.filter.chain[1].rouge_l.threshold").is_none(),
        "it is the same"
    );
    let [filter, train] = compared.funnel.as_slice() else {
        panic!("{:?}", compared.funnel);
    };
    assert_eq!(
        (filter.stage.as_str(), train.stage.as_str()),
        ("filter", "train")
    );
    let dropped = |counts: &Option<StageCounts>| counts.map(|counts| counts.dropped);
    assert_eq!(
        (dropped(&filter.a), dropped(&filter.b)),
        (Some(40), Some(8))
    );
    assert_eq!((train.a, dropped(&train.b)), (None, Some(0)));
    assert_eq!((compared.a.tokens, compared.b.tokens), (60, 69));
    assert_eq!(compared.b.final_model, "round-1");
    // A base and a round, each with two measures; what the runs end with is no third.
    assert_eq!(compared.evaluations.len(), 2);
}

#[test]
fn runs_that_end_with_other_rounds_are_compared_by_those_too() {
    let few = tasks(f64::from, |_| true);
    let (a, mut b) = (
        side("a", json!(null), "tasks", &few),
        side("b", json!(null), "tasks", &few),
    );
    b.report.rounds[0].promoted = Some(false);
    b.report
        .evaluations
        .retain(|evaluation| evaluation.model == "base");
    let compared = compare(&a, &b, Language::En);
    let models = compared.evaluations.iter();
    let models: Vec<(&str, &str)> = models
        .map(|row| (row.model_a.as_str(), row.model_b.as_str()))
        .collect();
    assert_eq!(models, [("base", "base"), ("round-1", "base")]);
    let loss = &compared.evaluations[1].measures[0];
    assert!((loss.difference - 1.0).abs() < 1e-9, "{loss:?}");
}

#[test]
fn the_seeds_alone_are_told_from_the_base_of_the_same_round() {
    let result = |task: &str| -> TaskResult {
        read(
            json!({"id": digest(task), "language": "en", "task_type": null, "answer": "",
            "negative_log_likelihood": 1.0, "tokens": 2, "rouge_l": 0.0, "success": false}),
        )
    };
    let found = |steps: &[(u32, &[&str])]| {
        let steps = steps.iter().map(|(round, tasks)| {
            let results = tasks.iter().map(|task| result(task));
            (*round, results.collect())
        });
        let evaluations = evaluations(steps.collect()).into_iter();
        let told = evaluations.map(|evaluation| (evaluation.model, evaluation.results.len()));
        told.collect::<Vec<_>>()
    };
    let expect = |models: &[(&str, usize)]| -> Vec<(String, usize)> {
        let told = models
            .iter()
            .map(|(model, count)| (model.to_string(), *count));
        told.collect()
    };
    assert_eq!(
        found(&[(0, &["a", "b"]), (0, &["c"]), (1, &["a", "b"]), (1, &["c"])]),
        expect(&[("base", 3), ("round-1", 3)])
    );
    assert_eq!(
        found(&[
            (0, &["a", "b"]),
            (0, &["c"]),
            (0, &["a", "b"]),
            (0, &["c"]),
            (1, &["a"])
        ]),
        expect(&[("base", 3), ("round-0", 3), ("round-1", 1)])
    );
    assert_eq!(
        found(&[(0, &["a"]), (0, &["a"])]),
        expect(&[("base", 1), ("round-0", 1)])
    );
    assert_eq!(found(&[]), []);
}
