//! The device thread with real jobs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use autodidact_domain::ports::ModelSource as _;
use autodidact_domain::{Body, ModelName, Prompt, Sampling, TrainOptions};
use autodidact_store::Store;

use super::*;
use crate::clock::SystemClock;
use crate::model_source::ModelFetcher;

fn device() -> (tempfile::TempDir, Store, DeviceThread) {
    device_on(1, ComputePath::Exact)
}

fn device_on(threads: usize, compute: ComputePath) -> (tempfile::TempDir, Store, DeviceThread) {
    device_with(threads, compute, None)
}

fn device_with(
    threads: usize,
    compute: ComputePath,
    memory_mib: Option<u64>,
) -> (tempfile::TempDir, Store, DeviceThread) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let options = DeviceOptions {
        threads,
        compute,
        device: DeviceChoice::Cpu,
        queue: 4,
        cached_adapters: 1,
        memory: MemoryLimit::new(memory_mib),
        exports: folder.path().join("exports"),
    };
    let device = DeviceThread::start(&options, store.models(), store.checkpoints()).unwrap();
    (folder, store, device)
}

fn model() -> ModelRef {
    named("none")
}

fn named(name: &str) -> ModelRef {
    ModelRef {
        model: ModelName::new(name).unwrap(),
        adapter: None,
    }
}

#[test]
fn a_panic_is_told_and_the_thread_goes_on() {
    let (_folder, _store, device) = device();
    let run = |work: fn() -> PortResult<u32>| {
        let receiver = device
            .submit::<(), u32>(
                Priority::Batch,
                &model(),
                &Interrupt::new(),
                0,
                move |_, _| work(),
            )
            .unwrap();
        finish(&receiver, &mut |()| {})
    };
    let error = run(|| panic!("a broken kernel")).unwrap_err();
    assert_eq!(
        error,
        PortError::Internal("the engine panicked: a broken kernel".into())
    );
    assert_eq!(run(|| Ok(7)), Ok(7));
}

#[test]
fn a_missing_model_and_a_raised_interrupt_are_answered() {
    let (_folder, _store, device) = device();
    let request = GenerateRequest::new(Prompt::Text("x".into()), Sampling::default());
    let generate = |interrupt: &Interrupt| {
        device.generate(&model(), vec![request.clone()], interrupt, &mut |_| {})
    };
    assert!(matches!(
        generate(&Interrupt::new()),
        Err(PortError::NotFound { what: "model", .. })
    ));
    let raised = Interrupt::new();
    raised.raise(autodidact_domain::InterruptReason::Pause);
    assert_eq!(generate(&raised), Err(PortError::Interrupted));
    device.close();
    assert!(matches!(
        generate(&Interrupt::new()),
        Err(PortError::Unavailable(_))
    ));
}

/// Registers the model of a path as `none`.
fn register(store: &Store, path: &Path) {
    register_as("none", store, path);
}

fn register_as(name: &str, store: &Store, path: &Path) {
    let fetcher = ModelFetcher::new(PathBuf::from("unused"));
    let source = path.to_string_lossy();
    let summary = fetcher
        .fetch(
            &ModelName::new(name).unwrap(),
            &source,
            None,
            &Interrupt::new(),
            &mut |_| {},
        )
        .unwrap();
    store.models().put(&summary).unwrap();
}

fn training(words: usize, examples: usize, steps: u32) -> TrainRequest {
    let example = |index: usize| {
        let answer: Vec<String> = (0..words)
            .map(|word| format!("word {}", word * (index + 3) % 97))
            .collect();
        let instruction = format!("Write list number {index}.");
        Body::instruction(&instruction, "", &answer.join(" "))
    };
    TrainRequest {
        model: model(),
        options: TrainOptions {
            batch_size: 4,
            max_length: 512,
            ..TrainOptions::default()
        },
        examples: (0..examples).map(example).collect(),
        eval_examples: Vec::new(),
        seed: 7,
        resume: None,
        steps,
    }
}

fn ask(device: &DeviceThread, heard: &mut dyn FnMut(&str)) -> PortResult<Vec<Completion>> {
    ask_model(&model(), device, heard)
}

fn ask_model(
    model: &ModelRef,
    device: &DeviceThread,
    heard: &mut dyn FnMut(&str),
) -> PortResult<Vec<Completion>> {
    let sampling = Sampling {
        max_tokens: 4,
        ..Sampling::default()
    };
    let prompt = Prompt::Chat(vec![Message::user(
        "What does a gardener do in winter? Say it in one short sentence.",
    )]);
    let request = GenerateRequest::new(prompt, sampling);
    let interrupt = Interrupt::new();
    device.generate_stream(model, vec![request], &interrupt, &mut |_, piece| {
        heard(piece);
    })
}

/// Asks a model and tells how long its first token took.
fn first_token(model: &ModelRef, device: &DeviceThread) -> Duration {
    let started = Instant::now();
    let mut first = None;
    ask_model(model, device, &mut |_| {
        first.get_or_insert_with(|| started.elapsed());
    })
    .unwrap();
    first.unwrap_or_else(|| started.elapsed())
}

#[test]
fn people_are_served_within_a_step_and_the_run_is_what_it_is_without_them() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let (_folder, store, device) = device_on(2, ComputePath::Fast);
    register(&store, &tiny);
    register_as("other", &store, &tiny.join("../families/qwen2"));
    let request = training(60, 16, 4);
    let calm = Interrupt::new();
    let alone = device.train(request.clone(), &calm, &mut |_| {}).unwrap();
    let (mut asked, mut steps, mut longest) = (0, 0, Duration::ZERO);
    let disturbed = std::thread::scope(|scope| {
        let run = scope.spawn(|| device.train(request, &Interrupt::new(), &mut |_| steps += 1));
        while !run.is_finished() {
            // Now the model that is trained, now another one beside it.
            let name = ["none", "other"][asked % 2];
            longest = longest.max(first_token(&named(name), &device));
            asked += 1;
        }
        run.join().unwrap().unwrap()
    });
    assert!(asked > 4, "{asked} questions in {steps} steps");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!(alone.losses, disturbed.losses);
    assert_eq!(alone.checkpoint, disturbed.checkpoint);
}

#[test]
fn a_model_that_memory_has_no_room_for_beside_a_run_is_served_after_it() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let (_folder, store, device) = device_with(2, ComputePath::Fast, Some(200));
    register(&store, &tiny);
    register_as("other", &store, &tiny.join("../families/qwen2"));
    std::thread::scope(|scope| {
        let (began, beginning) = sync_channel(100);
        let device = &device;
        let run = scope.spawn(move || {
            let mut step = |_| began.send(()).unwrap();
            let segment = device.train(training(60, 64, 12), &Interrupt::new(), &mut step);
            (segment, Instant::now())
        });
        beginning.recv().unwrap();
        // It is alone in not being served meanwhile.
        let other = scope.spawn(|| {
            first_token(&named("other"), device);
            Instant::now()
        });
        ask(device, &mut |_| {}).unwrap();
        assert!(!run.is_finished(), "the run went on meanwhile");
        let (segment, ended) = run.join().unwrap();
        assert!(segment.unwrap().losses.len() > 4);
        let answered = other.join().unwrap();
        assert!(answered >= ended || ended - answered < Duration::from_millis(200));
    });
}

/// Asks models in turn while one of them is trained on long examples; tells after what time the first tokens came.
fn waits_while_training(store: &Store, device: &DeviceThread, models: &[(&str, &Path)]) {
    for (name, path) in models {
        register_as(name, store, path);
    }
    let stop = Interrupt::new();
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        let mut request = training(400, 40, 10);
        request.model = named(models[0].0);
        let run = scope.spawn(|| device.train(request, &stop, &mut |_| {}));
        // The base is read for training first; what counts is the time while steps are made.
        std::thread::sleep(Duration::from_secs(6));
        for question in 0..9 {
            let name = models[question % models.len()].0;
            waits.push((name, first_token(&named(name), device)));
            // Not in step with the layers.
            std::thread::sleep(Duration::from_millis(300 + 211 * question as u64));
        }
        assert!(!run.is_finished(), "the run went on meanwhile");
        stop.raise(autodidact_domain::InterruptReason::Cancel);
        assert!(matches!(run.join().unwrap(), Err(PortError::Interrupted)));
    });
    eprintln!("first tokens after {waits:?}");
    for (question, (_, wait)) in waits.iter().enumerate() {
        // The second question's model is read from its file first, which takes half of this on a quiet machine.
        let bound = Duration::from_secs(if question == 1 { 4 } else { 2 });
        assert!(*wait < bound, "{waits:?}");
    }
}

#[test]
fn on_the_real_models_the_first_token_comes_within_two_seconds_of_training() {
    let path = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let (Some(smol), Some(gemma)) = (path("AUTODIDACT_TEST_MODEL"), path("AUTODIDACT_TEST_GEMMA"))
    else {
        eprintln!(
            "skipped: AUTODIDACT_TEST_MODEL and AUTODIDACT_TEST_GEMMA name no GGUF of SmolLM2-135M-Instruct and Gemma 3 270M"
        );
        return;
    };
    let (_folder, store, device) = device_on(2, ComputePath::Fast);
    let (smol, gemma) = (("smol", &*smol), ("gemma", &*gemma));
    waits_while_training(&store, &device, &[smol, gemma]);
    waits_while_training(&store, &device, &[gemma, smol]);
}

#[test]
fn workflows_and_people_with_one_model_are_served_together() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let (_folder, store, device) = device_on(2, ComputePath::Fast);
    register(&store, &tiny);
    let requests = |seed: u64, max_tokens| -> Vec<GenerateRequest> {
        let request = |index: u64| {
            let sampling = Sampling {
                temperature: 1.0,
                max_tokens,
                seed: seed + index,
                // Without an end, so that the length is what is asked for.
                logit_bias: [(2, f32::NEG_INFINITY)].into(),
                ..Sampling::default()
            };
            GenerateRequest::new(Prompt::Text(format!("Task {index}: write")), sampling)
        };
        (0..6).map(request).collect()
    };
    let generate = |seed: u64, max_tokens| {
        device.generate(
            &model(),
            requests(seed, max_tokens),
            &Interrupt::new(),
            &mut |_| {},
        )
    };
    let alone = [generate(0, 900).unwrap(), generate(100, 30).unwrap()];
    std::thread::scope(|scope| {
        let (began, beginning) = sync_channel(1);
        let device = &device;
        let long = scope.spawn(move || {
            let mut progress = |_| {
                let _ = began.try_send(());
            };
            let requests = requests(0, 900);
            let made = device.generate(&model(), requests, &Interrupt::new(), &mut progress);
            (made.unwrap(), Instant::now())
        });
        beginning.recv().unwrap();
        let short = scope.spawn(|| (generate(100, 30).unwrap(), Instant::now()));
        let gone = Interrupt::new();
        gone.raise(autodidact_domain::InterruptReason::Cancel);
        let nobody = device.generate_stream(&model(), requests(5, 9), &gone, &mut |_, _| {});
        assert_eq!(nobody, Err(PortError::Interrupted));
        ask(device, &mut |_| {}).unwrap();
        let asked = Instant::now();
        let too_long =
            GenerateRequest::new(Prompt::Text("again ".repeat(4000)), Sampling::default());
        let refused =
            device.generate_stream(&model(), vec![too_long], &Interrupt::new(), &mut |_, _| {});
        assert!(matches!(refused, Err(PortError::TooLong(_))), "{refused:?}");
        let (short, short_ended) = short.join().unwrap();
        let (long, long_ended) = long.join().unwrap();
        assert_eq!([long, short], alone);
        // Nobody waited for the end of the long one.
        assert!(short_ended < long_ended && asked < long_ended);
    });
}

#[test]
fn what_the_memory_will_not_suffice_for_is_refused_and_the_thread_goes_on() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let request = |max_tokens| {
        let sampling = Sampling {
            max_tokens,
            ..Sampling::default()
        };
        GenerateRequest::new(Prompt::Text("Name a bird:".into()), sampling)
    };
    let refused = |memory_mib, work: &dyn Fn(&DeviceThread) -> PortError, parts: &[&str]| {
        let (_folder, store, device) = device_with(1, ComputePath::Fast, Some(memory_mib));
        register(&store, &tiny);
        assert_eq!(device.memory_limit(), Some(memory_mib << 20));
        let error = work(&device);
        let PortError::Unavailable(message) = &error else {
            panic!("{error:?}");
        };
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        }
        message.clone()
    };
    let generate = |device: &DeviceThread, max_tokens| {
        let requests = vec![request(max_tokens)];
        device.generate(&model(), requests, &Interrupt::new(), &mut |_| {})
    };
    let weights = refused(
        1,
        &|device| generate(device, 4).unwrap_err(),
        &[
            "golden/tiny",
            "MiB of weights",
            "take a smaller model",
            "limits.memory_mib is 1",
        ],
    );
    assert!(
        weights.contains("at most the 1.0 MiB available"),
        "{weights}"
    );
    // The model fits, but not once more in f32.
    let train = |device: &DeviceThread| {
        let request = training(8, 4, 1);
        device
            .train(request, &Interrupt::new(), &mut |_| {})
            .unwrap_err()
    };
    refused(
        3,
        &|device| {
            let refused = train(device);
            assert_eq!(generate(device, 8).unwrap().len(), 1);
            refused
        },
        &[
            "golden/tiny",
            "for training",
            "weights in f32",
            "limits.memory_mib is 3",
        ],
    );
    // That fits too, and the steps do not.
    refused(
        4,
        &train,
        &[
            "training on batches of up to",
            "states",
            "lower max_length",
            "limits.memory_mib is 4",
        ],
    );
}
