//! Whole runs on small random models.

use autodidact_domain::{LrScheduler, ModelName, ModelRef, NamedTensor};
use candle_core::{Device, Tensor};

use super::*;
use crate::memory::Room;
use crate::models::weights::{LayerWeights, Weights};

mod need;
mod trainer;

fn config() -> ModelConfig {
    ModelConfig {
        architecture: "llama".into(),
        vocab_size: 48,
        hidden_size: 24,
        intermediate_size: 40,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        context_length: 64,
        tie_word_embeddings: true,
        eos_ids: vec![],
        bos_id: None,
        add_bos: false,
        variant: Default::default(),
    }
}

fn weights(config: &ModelConfig) -> BaseWeights {
    let mut seed = 0;
    let mut tensor = |outputs: usize, inputs: usize| {
        seed += 1;
        let scale = (3.0 / inputs as f32).sqrt();
        let values: Vec<f32> = crate::ops::testing::numbers(outputs * inputs, seed)
            .iter()
            .map(|x| x * scale)
            .collect();
        Tensor::from_vec(values, (outputs, inputs), &Device::Cpu).expect("a tensor")
    };
    let norm = || {
        Tensor::ones(config.hidden_size, candle_core::DType::F32, &Device::Cpu).expect("a tensor")
    };
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let layers = (0..config.layers).map(|_| LayerWeights {
        input_norm: norm(),
        attention_norm: None,
        feed_forward_norm: norm(),
        output_norm: None,
        head_norms: None,
        qkv_bias: None,
        q_proj: tensor(q, hidden),
        k_proj: tensor(kv, hidden),
        v_proj: tensor(kv, hidden),
        o_proj: tensor(hidden, q),
        gate_proj: tensor(inner, hidden),
        up_proj: tensor(inner, hidden),
        down_proj: tensor(hidden, inner),
    });
    let layers = layers.collect();
    // Logits are at most as long as these rows times the norm of what comes out, so longer ones let the loss go lower.
    let embed_tokens = (tensor(config.vocab_size, hidden) * 4.0).expect("a tensor");
    BaseWeights::from(Weights {
        layers,
        norm: norm(),
        embed_tokens,
        lm_head: None,
    })
}

fn plan(options: &TrainOptions, config: &ModelConfig) -> Arc<Plan> {
    let recipe = methods::from_options(options, config).expect("valid options");
    Arc::new(recipe.plan().clone())
}

/// A byte of a message is a token; the last message is the response.
fn encode(body: &Body) -> Result<EncodedExample, EngineError> {
    let messages = body.to_messages();
    let last = messages.len() - 1;
    let tokens = messages.iter().enumerate().flat_map(|(index, message)| {
        message
            .content
            .bytes()
            .map(move |byte| (u32::from(byte % 48), index == last))
    });
    let (ids, is_response) = tokens.unzip();
    Ok(EncodedExample::of_responses(ids, is_response))
}

fn request(options: TrainOptions) -> TrainRequest {
    let conversation = |i: usize| {
        let question = format!("what is {}", "abcdefgh".repeat(i % 4 + 1));
        Body::instruction(&question, "", &format!("it is {i}, {}", i * i))
    };
    TrainRequest {
        model: ModelRef {
            model: ModelName::new("tiny").expect("a name"),
            adapter: None,
        },
        options,
        examples: (0..10).map(conversation).collect(),
        eval_examples: Vec::new(),
        seed: 11,
        resume: None,
        steps: u32::MAX,
    }
}

fn options() -> TrainOptions {
    TrainOptions {
        r: 4,
        lora_dropout: 0.1,
        target_modules: vec!["q_proj".into(), "v_proj".into(), "down_proj".into()],
        learning_rate: 5e-3,
        weight_decay: 0.01,
        epochs: 2,
        batch_size: 4,
        max_length: 50,
        ..TrainOptions::default()
    }
}

/// Runs a request on the small model.
fn train(
    request: &TrainRequest,
    init: Option<&Checkpoint>,
    interrupt: &Interrupt,
) -> Result<TrainSegment, EngineError> {
    train_told(request, init, interrupt, &mut |_| {})
}

/// Runs it and tells of every step.
fn train_told(
    request: &TrainRequest,
    init: Option<&Checkpoint>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<TrainSegment, EngineError> {
    let config = config();
    let weights = weights(&config);
    let base = Base {
        config: &config,
        weights: &weights,
        digest: Digest::of(b"tiny"),
        threads: 2,
        tokenize: &|text| Ok(text.bytes().map(|byte| u32::from(byte % 48)).collect()),
        encode: &encode,
        encoded: &DataCache::default(),
        pause: &Pause::never(),
        room: &Room::new(None),
    };
    run(base, request.clone(), init.cloned(), interrupt, progress)
}

#[test]
fn a_run_that_stops_after_any_step_ends_as_the_straight_run_bit_for_bit() {
    check_stops(options());
    check_stops(TrainOptions {
        use_dora: true,
        gradient_checkpointing: true,
        label_smoothing_factor: 0.1,
        ..options()
    });
    for method in ["ia3", "adapter", "prompt", "prefix", "full"] {
        check_stops(of_method(method));
    }
    check_stops(TrainOptions {
        prefix_projection: true,
        encoder_hidden_size: 5,
        ..of_method("prefix")
    });
    check_stops(TrainOptions {
        prompt_tuning_init: "TEXT".into(),
        prompt_tuning_init_text: "Answer well.".into(),
        ..of_method("prompt")
    });
    check_stops(TrainOptions {
        modules_to_save: vec!["embed_tokens".into(), "lm_head".into(), "norm".into()],
        ..options()
    });
    check_stops(TrainOptions {
        batch_size: 2,
        gradient_accumulation_steps: 2,
        neftune_noise_alpha: 5.0,
        lr_scheduler_type: LrScheduler::WarmupStableDecay,
        warmup_steps: 2,
        use_rslora: true,
        ..options()
    });
}

fn of_method(method: &str) -> TrainOptions {
    TrainOptions {
        method: method.into(),
        target_modules: Vec::new(),
        num_virtual_tokens: 4,
        reduction_factor: 4.0,
        ..options()
    }
}

fn check_stops(options: TrainOptions) {
    let whole = request(options);
    let straight = train(&whole, None, &Interrupt::new()).expect("trains");
    assert_eq!(
        (straight.step, straight.total_steps, straight.losses.len()),
        (6, 6, 6)
    );
    assert_eq!((straight.truncated, straight.refused.len()), (1, 0));
    for stop in 0..6 {
        let first = train(
            &TrainRequest {
                steps: stop,
                ..whole.clone()
            },
            None,
            &Interrupt::new(),
        )
        .expect("trains");
        assert_eq!(first.step, stop);
        let second = TrainRequest {
            resume: Some(first.checkpoint),
            ..whole.clone()
        };
        let second = train(&second, None, &Interrupt::new()).expect("goes on");
        assert_eq!(
            second.checkpoint, straight.checkpoint,
            "stopped after {stop}"
        );
        assert_eq!([first.losses, second.losses].concat(), straight.losses);
    }
    let done = TrainRequest {
        resume: Some(straight.checkpoint.clone()),
        ..whole
    };
    let done = train(&done, None, &Interrupt::new()).expect("nothing to do");
    assert_eq!(
        (done.step, done.losses.len(), done.checkpoint),
        (6, 0, straight.checkpoint)
    );
}

/// How far two adapters lie apart, in the length of what was learned from the drawn one.
fn distance(one: &Checkpoint, other: &Checkpoint, drawn: &Checkpoint) -> f64 {
    let values = |checkpoint: &Checkpoint| -> Vec<f32> {
        let tensors = checkpoint.adapter.iter();
        tensors.flat_map(|tensor| tensor.data.clone()).collect()
    };
    let length = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let (one, other, drawn) = (values(one), values(other), values(drawn));
    length(&one, &other) / length(&one, &drawn)
}

#[test]
fn accumulated_gradients_are_those_of_the_large_batch() {
    let run = |batch_size, gradient_accumulation_steps, steps| {
        let mut request = request(TrainOptions {
            lora_dropout: 0.0,
            batch_size,
            gradient_accumulation_steps,
            ..options()
        });
        request.steps = steps;
        train(&request, None, &Interrupt::new()).expect("trains")
    };
    let (large, drawn) = (run(4, 1, 6), run(4, 1, 0));
    for (batch_size, accumulated) in [(2, 2), (1, 4), (3, 2)] {
        let small = run(batch_size, accumulated, 6);
        if batch_size * accumulated != 4 {
            assert_eq!(small.total_steps, 4, "six examples a step");
            continue;
        }
        assert_eq!(small.total_steps, large.total_steps);
        assert_eq!(small.tokens, large.tokens);
        for (small, large) in small.losses.iter().zip(&large.losses) {
            assert!((small - large).abs() < 1e-5, "{small} and {large}");
        }
        let apart = distance(&large.checkpoint, &small.checkpoint, &drawn.checkpoint);
        assert!(apart < 1e-3, "{batch_size} x {accumulated}: {apart}");
    }
}

#[test]
fn noise_is_within_its_bound_and_changes_with_the_step() {
    let config = config();
    let weights = weights(&config);
    let plan = plan(&options(), &config);
    let data = TrainingData::encode(&request(options()).examples, &encode, 50).expect("data");
    let batch = data.batch(&[0, 3], Before::default());
    let rows = |alpha, seed| -> Vec<f32> {
        let tokens = batch.ids.len();
        let model = TrainableModel::new(&config, &weights, plan.clone(), tokens, 50, 1);
        let model = model.expect("threads").noising(alpha);
        let rows = model.first_states(&batch, seed).expect("rows");
        let rows = rows.flatten_all().expect("numbers");
        rows.to_vec1().expect("numbers")
    };
    let plain = rows(0.0, 1);
    assert_eq!(plain, rows(0.0, 2));
    let noise = |seed| -> Vec<f32> {
        let pairs = rows(5.0, seed).into_iter().zip(&plain);
        pairs.map(|(noisy, plain)| noisy - plain).collect()
    };
    assert_ne!(noise(1), noise(2));
    let noise = noise(1);
    for range in batch.sequences.ranges() {
        let numbers = range.len() * config.hidden_size;
        let bound = 5.0 / (numbers as f64).sqrt();
        let part = &noise[range.start * config.hidden_size..][..numbers];
        let squares = part.iter().map(|x| f64::from(*x).powi(2));
        let root = (squares.sum::<f64>() / numbers as f64).sqrt();
        assert!(
            (root / (bound / 3f64.sqrt()) - 1.0).abs() < 0.1,
            "{root} {bound}"
        );
        assert!(part.iter().all(|x| f64::from(x.abs()) <= bound * 1.0001));
    }
}

#[test]
fn one_batch_can_be_learned_by_heart_by_every_method() {
    let lora = TrainOptions {
        r: 16,
        lora_dropout: 0.0,
        learning_rate: 2e-2,
        weight_decay: 0.0,
        epochs: 300,
        target_modules: vec!["all-linear".into()],
        ..options()
    };
    let dora = TrainOptions {
        use_dora: true,
        ..lora.clone()
    };
    // A few hundred numbers, which begin as ones.
    let ia3 = TrainOptions {
        method: "ia3".into(),
        learning_rate: 0.1,
        ..lora.clone()
    };
    let of = |method: &str, learning_rate| TrainOptions {
        method: method.into(),
        learning_rate,
        target_modules: Vec::new(),
        reduction_factor: 2.0,
        bottleneck: "houlsby".into(),
        num_virtual_tokens: 8,
        encoder_hidden_size: 32,
        prefix_projection: true,
        ..lora.clone()
    };
    let whole = TrainOptions {
        modules_to_save: vec!["lm_head".into(), "embed_tokens".into()],
        ..lora.clone()
    };
    // What stands before a sequence alone does not make a drawn model say four things; it does one.
    let prompt = TrainOptions {
        num_virtual_tokens: 24,
        ..of("prompt", 0.5)
    };
    for (options, examples, least) in [
        (of("adapter", 2e-2), 4, 0.1),
        (prompt, 1, 0.3),
        (of("prefix", 2e-2), 1, 0.1),
        (of("full", 5e-3), 4, 0.1),
        (whole, 4, 0.1),
        (lora, 4, 0.1),
        (dora, 4, 0.1),
        (ia3, 4, 0.5),
    ] {
        let what = format!("{options:?}");
        let mut request = request(options);
        request.examples.truncate(examples);
        let segment = train(&request, None, &Interrupt::new()).expect("trains");
        let (first, last) = (segment.losses[0], segment.losses[299]);
        assert!(
            first > 3.0 && last < least,
            "from {first} to {last}: {what}"
        );
    }
}

#[test]
fn what_is_made_again_gives_the_same_bits() {
    let run = |gradient_checkpointing| {
        let options = TrainOptions {
            gradient_checkpointing,
            ..options()
        };
        let segment = train(&request(options), None, &Interrupt::new()).expect("trains");
        (segment.losses, segment.checkpoint.adapter)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn smoothed_targets_cost_more_and_teach_less_certainty() {
    let run = |label_smoothing_factor| {
        let options = TrainOptions {
            label_smoothing_factor,
            epochs: 30,
            ..options()
        };
        let segment = train(&request(options), None, &Interrupt::new()).expect("trains");
        (segment.losses[0], segment.losses[segment.losses.len() - 1])
    };
    let ((sharp_first, sharp), (smooth_first, smooth)) = (run(0.0), run(0.2));
    // At first the model is as wrong about all tokens, so that spreading changes little.
    assert!((sharp_first - smooth_first).abs() < 0.2 * sharp_first);
    assert!(smooth > sharp + 0.1, "{smooth} {sharp}");
}

#[test]
fn the_fused_model_has_the_plain_models_loss_and_gradients() {
    let config = config();
    let weights = weights(&config);
    let options = options();
    let plan = plan(&options, &config);
    let data = TrainingData::encode(&request(options).examples, &encode, 50).expect("data");
    let batch = data.batch(&[0, 3, 5, 9], Before::default());
    let model = TrainableModel::new(&config, &weights, plan.clone(), batch.ids.len(), 50, 2)
        .expect("threads");
    let mut parameters = plan.drawn(1, &weights);
    // B must not be zero, or A has no gradient.
    for (seed, layer) in parameters.iter_mut().enumerate() {
        let numbers = crate::ops::testing::numbers(layer.len(), seed as u64);
        for (value, number) in layer.iter_mut().zip(numbers) {
            *value += 0.1 * number;
        }
    }
    let (fused_loss, fused) = model
        .loss_and_gradients(&parameters, &batch, 3)
        .expect("fused");
    let (plain_loss, plain) = model
        .plain_loss_and_gradients(&parameters, &batch, 3)
        .expect("plain");
    assert!(
        (fused_loss - plain_loss).abs() < 1e-5,
        "{fused_loss} and {plain_loss}"
    );
    for (layer, (fused, plain)) in fused.iter().zip(&plain).enumerate() {
        crate::ops::testing::assert_close(&format!("layer {layer}"), fused, plain, 1e-4);
    }
}

#[test]
fn an_example_never_attends_to_another_in_its_batch() {
    let (config, options) = (config(), options());
    let weights = weights(&config);
    let plan = plan(&options, &config);
    let parameters = plan.drawn(3, &weights);
    // Half of a fresh adapter is nothing, and would hide gradients.
    let parameters: Vec<Vec<f32>> = parameters
        .into_iter()
        .map(|layer| {
            layer
                .iter()
                .enumerate()
                .map(|(i, x)| x + 0.01 * (i % 7) as f32)
                .collect()
        })
        .collect();
    let example = |first: u32, length: u32| {
        let ids = (0..length).map(|i| (first + i * 5) % 48).collect();
        let is_response = (0..length).map(|i| i > 2).collect();
        EncodedExample::of_responses(ids, is_response)
    };
    let (ours, other, another) = (example(1, 11), example(7, 17), example(20, 17));
    // The loss is of our tokens alone, so whatever comes of the neighbour's came by attention.
    let measure = |examples: [&EncodedExample; 3], place: usize| {
        let mut batch = PackedBatch::new(examples, Before::default());
        let range = batch.sequences.ranges().nth(place).expect("a sequence");
        let is_ours = |row: &u32| range.contains(&(*row as usize));
        let kept = batch.targets.rows.iter().zip(&batch.targets.tokens);
        let kept = kept.filter(|(row, _)| is_ours(row));
        let (rows, tokens) = kept.map(|(row, token)| (*row, *token)).unzip();
        (batch.targets.rows, batch.targets.tokens) = (rows, tokens);
        let model = TrainableModel::new(&config, &weights, plan.clone(), 64, 32, 2);
        let model = model.expect("threads");
        let found = model.loss_and_gradients(&parameters, &batch, 5);
        found.expect("a loss")
    };
    for place in 0..3 {
        let with = |neighbour: &EncodedExample| {
            let mut examples = [neighbour, neighbour, neighbour];
            examples[place] = &ours;
            measure(examples, place)
        };
        assert_eq!(with(&other), with(&another), "in place {place}");
        // What is measured does depend on our own tokens.
        let mut examples = [&other, &other, &other];
        let changed = EncodedExample {
            ids: ours.ids.iter().map(|id| (id + 1) % 48).collect(),
            ..ours.clone()
        };
        examples[place] = &changed;
        assert_ne!(with(&other), measure(examples, place), "in place {place}");
    }
}

#[test]
fn a_fresh_run_can_start_from_an_adapter() {
    let whole = request(options());
    let first = train(&whole, None, &Interrupt::new()).expect("trains");
    let still = TrainOptions {
        learning_rate: 0.0,
        ..options()
    };
    let second =
        train(&request(still), Some(&first.checkpoint), &Interrupt::new()).expect("starts");
    assert_eq!(second.checkpoint.adapter, first.checkpoint.adapter);
    assert!(second.losses[0] < first.losses[0]);
    let wider = request(TrainOptions { r: 5, ..options() });
    let error = train(&wider, Some(&first.checkpoint), &Interrupt::new())
        .expect_err("another rank")
        .to_string();
    assert!(
        error.contains("the starting adapter's r: expected"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let whole = request(options());
    let first = train(
        &TrainRequest {
            steps: 2,
            ..whole.clone()
        },
        None,
        &Interrupt::new(),
    )
    .expect("trains")
    .checkpoint;
    let check = |change: &dyn Fn(&mut TrainRequest), expect: &str| {
        let mut other = TrainRequest {
            resume: Some(first.clone()),
            ..whole.clone()
        };
        change(&mut other);
        let error = train(&other, None, &Interrupt::new())
            .expect_err("refused")
            .to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(&|r| r.seed = 12, "trainer_state.seed");
    check(
        &|r| r.options.learning_rate = 1.0,
        "trainer_state.options.learning_rate: expected 1.0, found 0.005",
    );
    check(&|r| r.options.lora_alpha = 1.0, "adapter_config");
    check(&|r| r.examples.swap(0, 1), "trainer_state.data_digest");
    check(
        &|r| r.options.max_steps = 1,
        "one of the run's 1 (epochs, max_steps), found 2",
    );
    let without = |checkpoint: &mut Option<Checkpoint>, change: &dyn Fn(&mut Vec<NamedTensor>)| {
        change(&mut checkpoint.as_mut().expect("it resumes").optimizer);
    };
    check(
        &|r| without(&mut r.resume, &|optimizer| optimizer.clear()),
        "exp_avg.",
    );
    let mut other = TrainRequest {
        resume: Some(first.clone()),
        ..whole.clone()
    };
    other.options.checkpoint_steps += 1;
    assert!(train(&other, None, &Interrupt::new()).is_ok());
}

#[test]
fn a_diverged_run_names_its_step_and_examples() {
    let mut request = request(TrainOptions {
        warmup_ratio: 0.0,
        ..options()
    });
    let broken = {
        let mut first = train(
            &TrainRequest {
                steps: 1,
                ..request.clone()
            },
            None,
            &Interrupt::new(),
        )
        .expect("trains");
        first.checkpoint.adapter[0].data[0] = f32::NAN;
        first.checkpoint
    };
    request.resume = Some(broken);
    let error = train(&request, None, &Interrupt::new()).expect_err("diverged");
    let EngineError::Diverged { message, examples } = &error else {
        panic!("{error}");
    };
    assert!(
        message.contains("diverged at step 2, batch 2 of epoch 1: the loss is NaN"),
        "{message}"
    );
    let order = Order::new(request.seed, 10, 4).batch(1);
    let expected: Vec<u32> = order.iter().map(|index| *index as u32).collect();
    assert_eq!(examples, &expected);
}

#[test]
fn interrupts_and_wrong_options_end_a_run() {
    let interrupt = Interrupt::new();
    interrupt.raise(autodidact_domain::InterruptReason::Pause);
    assert!(matches!(
        train(&request(options()), None, &interrupt),
        Err(EngineError::Interrupted)
    ));
    let check = |options: TrainOptions, expect: &str| {
        let error = train(&request(options), None, &Interrupt::new())
            .expect_err("refused")
            .to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(TrainOptions { r: 0, ..options() }, "r: expected");
    check(
        TrainOptions {
            batch_size: 0,
            ..options()
        },
        "batch_size: expected at least 1",
    );
    check(
        TrainOptions {
            gradient_accumulation_steps: 0,
            ..options()
        },
        "gradient_accumulation_steps: expected at least 1",
    );
    check(
        TrainOptions {
            epochs: 0,
            ..options()
        },
        "epochs",
    );
    check(
        TrainOptions {
            learning_rate: f64::NAN,
            ..options()
        },
        "learning_rate",
    );
    check(
        TrainOptions {
            load_best_model_at_end: true,
            ..options()
        },
        "load_best_model_at_end: expected eval_steps",
    );
    check(
        TrainOptions {
            early_stopping_patience: 1,
            ..options()
        },
        "early_stopping_patience: expected eval_steps",
    );
    check(
        TrainOptions {
            eval_steps: 1,
            ..options()
        },
        "eval_steps: no example is left: 0 were given",
    );
    check(
        TrainOptions {
            max_length: 5,
            ..options()
        },
        "max_length = 5",
    );
}
