//! Rates of the real model, printed when asked for; no verdict, since the machine may be busy.

use super::*;

/// Wall clock; of one thread its time on a core, which other programs do not lengthen as much.
struct Watch(std::time::Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(std::time::Instant::now(), Self::core_seconds())
    }

    fn core_seconds() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|ns| ns.parse::<f64>().ok())
            .unwrap_or_default()
            / 1e9
    }

    fn seconds(&self, model: &LoadedModel) -> f64 {
        let core = Self::core_seconds() - self.1;
        if model.team.threads() == 1 && core > 0.0 {
            core
        } else {
            self.0.elapsed().as_secs_f64()
        }
    }
}

fn rate(model: &LoadedModel, rows: usize, prompt: usize, steps: usize) -> (f64, f64) {
    let shape = CacheShape::of(&model.config);
    let mut caches: Vec<KvCache> = (0..rows)
        .map(|_| KvCache::new(shape, prompt + steps).unwrap())
        .collect();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    let ids: Vec<u32> = (0..(prompt + steps) as u32)
        .map(|i| 1000 + i * 37 % 40_000)
        .collect();
    let start = Watch::start();
    for cache in &mut caches {
        for from in (0..prompt).step_by(MAX_BATCH_TOKENS) {
            batch.clear();
            batch.push(0, &ids[from..prompt.min(from + MAX_BATCH_TOKENS)], from);
            model
                .decoder
                .forward(
                    &model.team,
                    &batch,
                    &mut [cache],
                    None,
                    &mut buffers,
                    &mut |_, _| {},
                )
                .unwrap();
        }
    }
    let prefill = (rows * prompt) as f64 / start.seconds(model);
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    let start = Watch::start();
    for step in 0..steps {
        batch.clear();
        for row in 0..rows {
            let at = batch.push(row, &ids[prompt + step..=prompt + step], prompt + step);
            batch.wanted.push(at);
        }
        model
            .decoder
            .forward(
                &model.team,
                &batch,
                &mut caches,
                None,
                &mut buffers,
                &mut |_, _| {},
            )
            .unwrap();
    }
    (prefill, (rows * steps) as f64 / start.seconds(model))
}

#[test]
#[ignore = "prints rates; run it alone: cargo test --release -p autodidact-engine -- --ignored --nocapture rates"]
fn rates() {
    let Some(path) = real_path() else { return };
    for (compute, threads) in [
        (Compute::Fast, 1),
        (Compute::Fast, 2),
        (Compute::Exact, 1),
        (Compute::Exact, 2),
    ] {
        let model = &Engine::new(threads, compute).load(&path).unwrap();
        for rows in [1, 8, 32] {
            let runs: Vec<(f64, f64)> = (0..3).map(|_| rate(model, rows, 256, 24)).collect();
            let best = |of: fn(&(f64, f64)) -> f64| runs.iter().map(of).fold(0.0, f64::max);
            eprintln!(
                "{} on {threads} threads, {rows} sequences: prefill {:.0} tok/s, decode {:.0} tok/s",
                compute.as_str(),
                best(|run| run.0),
                best(|run| run.1)
            );
        }
    }
}

#[test]
#[ignore = "prints rates; run it alone: cargo test --release -p autodidact-engine -- --ignored --nocapture rates"]
fn constrained_rates() {
    use autodidact_domain::{Constraint, GenerateRequest, Message, Prompt};
    let Some(path) = real_path() else { return };
    let model = &Engine::new(2, Compute::Fast).load(&path).unwrap();
    let start = std::time::Instant::now();
    assert!(model.grammars().is_ok());
    eprintln!("vocabulary: {:?}", start.elapsed());
    let text = serde_json::json!({"type": "string", "minLength": 400});
    let list =
        serde_json::json!({"type": "array", "minItems": 40, "items": {"enum": ["a", "bc", "是"]}});
    let forms = [
        ("free", None),
        ("letters", Some(Constraint::Regex("[a-z ]{400}".into()))),
        ("JSON text", Some(Constraint::JsonSchema(text))),
        ("JSON list", Some(Constraint::JsonSchema(list))),
    ];
    for (name, constraint) in forms {
        let request = |seed| GenerateRequest {
            constraint: constraint.clone(),
            ..GenerateRequest::new(
                Prompt::Chat(vec![Message::user("Tell me of owls.")]),
                sampled(seed, 64),
            )
        };
        let requests: Vec<GenerateRequest> = (0..16).map(request).collect();
        let start = std::time::Instant::now();
        let done = model
            .generate(None, &requests, &mut crate::Silent, &calm())
            .unwrap();
        let tokens: u32 = done.iter().map(|one| one.completion_tokens).sum();
        let rate = f64::from(tokens) / start.elapsed().as_secs_f64();
        eprintln!("{name}, 16 sequences: {rate:.0} tok/s");
    }
}
