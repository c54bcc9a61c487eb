//! What is told of memory is what is taken: the needs that loading, generating and training are refused by, against what
//! they allocate.

#![expect(clippy::print_stderr, reason = "a test says what it measured")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use autodidact_domain::{
    Body, GenerateRequest, Interrupt, InterruptReason, ModelName, ModelRef, Prompt, Sampling,
    TrainOptions, TrainRequest,
};
// A build for fuzzing instruments every test and needs what bolero links.
use bolero as _;

use autodidact_engine::{Compute, Engine, EngineError, LoadedModel, Pause, Silent};

mod counting;

use counting::most_allocated;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/tiny")
}

/// Held by each test, since what one allocates would count for another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The real model, where the environment names one.
fn paths() -> Vec<PathBuf> {
    let real = std::env::var_os("AUTODIDACT_TEST_MODEL").map(PathBuf::from);
    if real.is_none() {
        eprintln!("without AUTODIDACT_TEST_MODEL, on the tiny model alone");
    }
    [tiny()].into_iter().chain(real).collect()
}

/// Finds the least room with which work is not refused, to 1 in 256.
fn least_room(mut is_refused: impl FnMut(u64) -> bool) -> u64 {
    let (mut low, mut high) = (1u64 << 10, 1u64 << 40);
    while high - low > high / 256 {
        let middle = low + (high - low) / 2;
        match is_refused(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

fn is_memory(error: &EngineError) -> bool {
    matches!(error, EngineError::Memory(_))
}

/// What is told covers what is taken, and is not much more than it: nobody is refused who would have had room.
fn check(what: &str, told: u64, taken: usize) {
    eprintln!("{what}: told {told}, taken {taken}");
    let slack = 4 << 20;
    assert!(
        taken as u64 <= told + slack / 4,
        "{what}: {taken} of {told}"
    );
    assert!(
        told <= 2 * taken as u64 + slack,
        "{what}: {taken} of {told}"
    );
}

fn load(path: &Path, compute: Compute, room: Option<u64>) -> Result<LoadedModel, EngineError> {
    Engine::new(1, compute).load_within(path, room)
}

#[test]
fn a_model_is_refused_before_it_is_read_where_it_does_not_fit() {
    let _alone = alone();
    for path in paths() {
        for compute in [Compute::Fast, Compute::Exact] {
            let told = least_room(|room| match load(&path, compute, Some(room)) {
                Ok(_) => false,
                Err(error) => {
                    assert!(is_memory(&error), "{error}");
                    true
                }
            });
            let (refused, refusing) = most_allocated(|| load(&path, compute, Some(told / 2)));
            let message = refused
                .err()
                .expect("half the room is too little")
                .to_string();
            for part in [
                &*path.display().to_string(),
                "at most the ",
                " of weights",
                "take a smaller model",
            ] {
                assert!(message.contains(part), "{part:?} is missing in {message:?}");
            }
            let (model, taken) = most_allocated(|| load(&path, compute, Some(told)));
            let model = model.expect("it fits");
            assert!(
                refusing < taken / 2 || taken < 4 << 20,
                "{refusing} of {taken}"
            );
            let generate = || {
                let sampling = Sampling {
                    max_tokens: 16,
                    ..Sampling::default()
                };
                let prompt = Prompt::Text("Name a bird that flies by night. ".repeat(20));
                let request = GenerateRequest::new(prompt, sampling);
                model.generate(None, &[request], &mut Silent, &Interrupt::new())
            };
            let held = model.packed_bytes();
            let (completions, generating) = most_allocated(generate);
            assert_eq!(completions.expect("there is room").len(), 1);
            let taken = taken.max(held + generating);
            check(&format!("{} {compute:?}", path.display()), told, taken);
        }
    }
}

fn training(batch_size: u32, method: &str, gradient_checkpointing: bool) -> TrainRequest {
    let conversation = |i: usize| {
        let answer = "apples, owls and rivers, ".repeat(12);
        Body::instruction(&format!("Write list number {i}."), "", &answer)
    };
    TrainRequest {
        model: ModelRef {
            model: ModelName::new("tiny").expect("a name"),
            adapter: None,
        },
        options: TrainOptions {
            method: method.into(),
            batch_size,
            gradient_checkpointing,
            ..TrainOptions::default()
        },
        examples: (0..8).map(conversation).collect(),
        eval_examples: Vec::new(),
        seed: 1,
        resume: None,
        steps: 2,
    }
}

#[test]
fn training_is_refused_before_a_step_where_it_does_not_fit() {
    let _alone = alone();
    for path in paths() {
        let model = load(&path, Compute::Fast, None).expect("it loads");
        let told = least_room(|room| {
            model.allow(Some(room));
            match model.weights() {
                Ok(_) => false,
                Err(error) => {
                    let message = error.to_string();
                    assert!(is_memory(&error), "{message}");
                    assert!(message.contains("weights in f32"), "{message}");
                    true
                }
            }
        });
        model.allow(Some(told));
        let (weights, taken) = most_allocated(|| model.weights());
        let held = weights.expect("it fits");
        check(&format!("{} weights", path.display()), told, taken);
        for gradient_checkpointing in [false, true] {
            for batch_size in [1, 4] {
                check_training(
                    &model,
                    &training(batch_size, "lora", gradient_checkpointing),
                );
            }
        }
        drop(held);
        for batch_size in [1, 4] {
            check_training(&model, &training(batch_size, "qlora", true));
        }
    }
}

/// Finds the least room that is not refused, and trains in it.
fn check_training(model: &LoadedModel, request: &TrainRequest) {
    let train = |room: u64, interrupt: &Interrupt| {
        model.allow(Some(room));
        model.train(
            request.clone(),
            None,
            interrupt,
            &Pause::never(),
            &mut |_| {},
        )
    };
    let raised = Interrupt::new();
    raised.raise(InterruptReason::Cancel);
    let told = least_room(|room| match train(room, &raised) {
        Err(EngineError::Memory(message)) => {
            assert!(
                message.contains("it fits with ") || message.contains("no option makes it fit"),
                "{message}"
            );
            true
        }
        // The first thing after the check.
        Err(EngineError::Interrupted) => false,
        other => panic!("{other:?}"),
    });
    let (segment, taken) = most_allocated(|| train(told, &Interrupt::new()));
    assert_eq!(segment.expect("there is room").step, 2);
    let options = &request.options;
    let what = format!(
        "{} of {}, {} at once, checkpointing {}",
        options.method,
        model.info().architecture,
        options.batch_size,
        options.gradient_checkpointing
    );
    check(&what, told, taken);
}

#[test]
fn a_sequence_is_refused_for_itself_and_not_for_its_neighbours() {
    let _alone = alone();
    let model = load(&tiny(), Compute::Fast, None).expect("it loads");
    let request = |text: &str, max_tokens| {
        let sampling = Sampling {
            max_tokens,
            ..Sampling::default()
        };
        GenerateRequest::new(Prompt::Text(text.into()), sampling)
    };
    let generate = |requests: &[GenerateRequest]| {
        model.generate(None, requests, &mut Silent, &Interrupt::new())
    };
    let short: Vec<GenerateRequest> = (0..9).map(|i| request(&format!("Task {i}:"), 20)).collect();
    let expect = generate(&short).expect("no bound");
    // Room for two short ones at once: they take turns, and nothing changes.
    model.allow(Some(model.info().details.cache_bytes_per_token * 100));
    assert_eq!(generate(&short).expect("they take turns"), expect);
    let requests = [short[0].clone(), request("Task:", 900)];
    let message = generate(&requests).expect_err("too long").to_string();
    for part in [
        "request 1",
        "tokens",
        "keys and values",
        "ask for fewer new tokens",
    ] {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}
