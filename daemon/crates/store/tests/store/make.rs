//! Things to store, made from random numbers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::Clock;
use autodidact_domain::random::Random;
use autodidact_domain::review::{PassedVerdict, Ruling, SampledFor};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{Mix, Pinned, Stages};
use autodidact_domain::{
    Body, Checkpoint, Digest, Example, ExampleId, Language, ModelName, ModelSummary, NamedTensor,
    Report, ReviewDecision, ReviewItem, StepKey, Verdict, WorkflowName, WorkflowSpec,
    WorkflowState, WorkflowSummary,
};
use autodidact_store::Store;

/// A clock that moves on by a millisecond whenever it is read.
#[derive(Default)]
pub(crate) struct Counting(AtomicU64);

impl Clock for Counting {
    fn now_ms(&self) -> u64 {
        1_795_461_912_000 + self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn peak_rss_mb(&self) -> u64 {
        0
    }
    fn rss_mb(&self) -> u64 {
        0
    }
}

pub(crate) fn open(path: &Path) -> Store {
    Store::open(path, Arc::new(Counting::default())).expect("open the store")
}

pub(crate) fn text(random: &mut Random, longest: usize) -> String {
    const WORDS: [&str; 8] = [
        "write",
        "a",
        "鲸鱼",
        "list",
        "\"quoted\"",
        "骆驼",
        "sum\n",
        "of",
    ];
    let mut text = String::new();
    let length = random.below(longest + 1);
    while text.len() < length {
        text.push_str(WORDS[random.below(WORDS.len())]);
        text.push(' ');
    }
    text
}

/// Mostly short, sometimes over a part, rarely over many.
pub(crate) fn length(random: &mut Random) -> usize {
    [60, 60, 60, 300, 5000, 30_000][random.below(6)]
}

pub(crate) fn example(random: &mut Random) -> Example {
    let longest = length(random);
    let body = Body::instruction(&text(random, 80), &text(random, 20), &text(random, longest));
    let mut example = Example::human(body);
    example.language = [None, Some(Language::En), Some(Language::Zh)][random.below(3)];
    example
}

pub(crate) fn stage(random: &mut Random) -> StageName {
    StageName::ALL[random.below(StageName::ALL.len())].0
}

pub(crate) fn step(random: &mut Random, workflow: &WorkflowName) -> StepKey {
    let (round, index) = (random.below(4) as u32, random.below(300) as u32);
    StepKey {
        workflow: workflow.clone(),
        round,
        stage: stage(random),
        index,
    }
}

pub(crate) fn verdicts(random: &mut Random, key: &StepKey, count: usize) -> Vec<RecordedVerdict> {
    let verdict = |_| RecordedVerdict {
        round: key.round,
        // Mostly the step's own stage.
        stage: if random.below(10) == 0 {
            stage(random)
        } else {
            key.stage
        },
        record: Digest::of(&random.next_u64().to_le_bytes()),
        text: {
            let longest = length(random);
            text(random, longest)
        },
        verdict: if random.below(3) == 0 {
            let score = Some(random.next_f64());
            Verdict::drop(
                "rouge_l",
                "near_duplicate",
                Evidence {
                    score,
                    ..Evidence::default()
                },
            )
        } else {
            Verdict::keep("chain")
        },
    };
    (0..count).map(verdict).collect()
}

pub(crate) fn item(random: &mut Random) -> ReviewItem {
    ReviewItem {
        example: example(random),
        why: match random.below(2) {
            0 => SampledFor::Random,
            _ => SampledFor::Doubtful {
                margin: random.next_f64(),
            },
        },
        passed: vec![PassedVerdict {
            stage: stage(random),
            verdict: Verdict::keep("chain"),
        }],
    }
}

/// No two are the same: the time tells them apart, and the note does where that does not count.
pub(crate) fn decision(random: &mut Random, record: ExampleId, note: String) -> ReviewDecision {
    let ruling = match random.below(3) {
        0 => Ruling::Accept,
        1 => Ruling::Reject,
        _ => Ruling::Edit {
            body: example(random).body,
        },
    };
    let time_ms = random.next_u64() >> 20;
    ReviewDecision {
        record,
        ruling,
        reviewer: "anna".into(),
        note: format!("{time_ms} {note}"),
        time_ms,
    }
}

pub(crate) fn model(random: &mut Random, name: &str) -> ModelSummary {
    let digest = Digest::of(&random.next_u64().to_le_bytes());
    ModelSummary {
        name: ModelName::new(name).expect("a name"),
        source: "pypi:x".into(),
        path: "/x".into(),
        sha256: digest.to_string(),
        architecture: "llama".into(),
        parameters: 135_000_000,
        quantization: "Q4_1".into(),
        context_length: 2048,
        digest,
        details: Default::default(),
    }
}

pub(crate) fn workflow(random: &mut Random, name: &str) -> WorkflowSummary {
    let spec = WorkflowSpec {
        name: WorkflowName::new(name).expect("a name"),
        seed: random.next_u64(),
        languages: vec![Language::En],
        rounds: 2,
        model: ModelName::new("m").expect("a name"),
        seeds: None,
        held_out: None,
        mix: Mix::default(),
        stages: Stages::default(),
        on_drop: None,
        spending_cap: None,
    };
    let message = text(random, 9000);
    WorkflowSummary {
        spec_digest: Digest::of(&spec.seed.to_le_bytes()),
        spec,
        pinned: Pinned {
            seeds: None,
            held_out: None,
            eval_dataset: None,
            model: model(random, "m"),
            plugins: vec![],
            labels: Vec::new(),
        },
        state: WorkflowState::Pending,
        message,
        created_ms: 1,
        updated_ms: 1,
    }
}

pub(crate) fn report(random: &mut Random, workflow: &WorkflowName) -> Report {
    Report {
        workflow: workflow.clone(),
        state: WorkflowState::Done,
        language: autodidact_domain::Language::Zh,
        seed: random.next_u64(),
        compute: text(random, 20_000),
        dataset_digest: None,
        adapter_digest: None,
        adapter: None,
        dataset: None,
        seconds: random.next_f64(),
        peak_rss_mb: 1,
        tokens_per_second: random.next_f64(),
        rounds: vec![],
        dropped: vec![],
        evaluations: vec![],
        examples: vec![],
        before_after: None,
        plugins: vec![],
        calibrations: vec![],
        judge: None,
        seeds: None,
        remote_models: vec![],
    }
}

pub(crate) fn tensor(random: &mut Random, name: &str, elements: usize) -> NamedTensor {
    let data = (0..elements).map(|_| random.next_f64() as f32).collect();
    NamedTensor {
        name: name.into(),
        shape: vec![elements],
        data,
    }
}

pub(crate) fn checkpoint(random: &mut Random, elements: usize) -> Checkpoint {
    let step = random.below(1000) as u32;
    Checkpoint {
        meta: CheckpointMeta {
            method: "lora".into(),
            model: ModelName::new("m").expect("a name"),
            base_digest: Digest::of(b"base"),
            adapter_config: serde_json::json!({ "r": 8, "lora_alpha": 16.0 }),
            step,
            total_steps: 1000,
            trainer_state: serde_json::json!({ "cursor": step }),
            promoted_from: None,
        },
        adapter: vec![tensor(random, "a", elements / 3), tensor(random, "b", 8)],
        optimizer: vec![
            tensor(random, "m", elements / 3),
            tensor(random, "v", elements / 3),
        ],
    }
}
