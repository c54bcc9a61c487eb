//! Evaluations, early stopping, longer runs, and where stretches end.

use autodidact_domain::EvalLoss;

use super::*;

/// A request that is evaluated on other conversations than it trains on.
fn evaluated(options: TrainOptions) -> TrainRequest {
    let conversation = |i: usize| {
        let question = format!("what is {}", "hgfedcba".repeat(i % 3 + 1));
        Body::instruction(&question, "", &format!("it is {}, {}", i + 20, i * 7))
    };
    TrainRequest {
        eval_examples: (0..5).map(conversation).collect(),
        ..request(options)
    }
}

/// Runs to the end, stretch by stretch; gives the last one with all losses and evaluations.
fn train_to_the_end(mut request: TrainRequest) -> (TrainSegment, Vec<f64>, Vec<EvalLoss>) {
    let (mut losses, mut evaluations) = (Vec::new(), Vec::new());
    loop {
        let segment = train(&request, None, &Interrupt::new()).expect("trains");
        losses.extend(&segment.losses);
        evaluations.extend(segment.evaluation);
        if segment.is_finished() {
            return (segment, losses, evaluations);
        }
        request.resume = Some(segment.checkpoint);
    }
}

#[test]
fn evaluations_measure_and_change_nothing() {
    let straight = train(&request(options()), None, &Interrupt::new()).expect("trains");
    let options = TrainOptions {
        eval_steps: 4,
        label_smoothing_factor: 0.0,
        ..options()
    };
    let request = evaluated(options.clone());
    let (last, losses, evaluations) = train_to_the_end(request.clone());
    assert_eq!(losses, straight.losses);
    assert_eq!(last.checkpoint.adapter, straight.checkpoint.adapter);
    assert_eq!(last.checkpoint.optimizer, straight.checkpoint.optimizer);
    let steps: Vec<u32> = evaluations
        .iter()
        .map(|evaluation| evaluation.step)
        .collect();
    assert_eq!(steps, [4, 6], "every fourth step, and the last");

    // A loss is the mean over all response tokens, without dropout: what the plain operations give for one large batch.
    let config = config();
    let weights = weights(&config);
    let without_dropout = TrainOptions {
        lora_dropout: 0.0,
        ..options
    };
    let plan = plan(&without_dropout, &config);
    let parameters = plan.read_tensors("", &last.checkpoint.adapter);
    let conversations = request.eval_examples.iter();
    let examples: Vec<EncodedExample> = conversations
        .map(|messages| encode(messages).expect("encodes"))
        .collect();
    let batch = PackedBatch::new(&examples, Before::default());
    let model = TrainableModel::new(&config, &weights, plan, batch.ids.len(), 50, 2);
    let (loss, _) = model
        .expect("threads")
        .plain_loss_and_gradients(&parameters.expect("of this plan"), &batch, 9)
        .expect("a loss");
    let found = evaluations[1].loss;
    assert!((found - loss).abs() < 1e-5, "{found} and {loss}");
}

#[test]
fn a_run_stops_early_at_the_same_step_wherever_it_was_cut() {
    // The rate is so high that the loss over other examples soon rises.
    let options = TrainOptions {
        epochs: 20,
        learning_rate: 0.05,
        lr_scheduler_type: LrScheduler::Constant,
        eval_steps: 2,
        early_stopping_patience: 2,
        ..options()
    };
    let request = evaluated(options.clone());
    let (straight, losses, evaluations) = train_to_the_end(request.clone());
    assert!(straight.stopped_early && straight.step < straight.total_steps);
    let (_, without_patience, _) = train_to_the_end(TrainRequest {
        options: TrainOptions {
            early_stopping_patience: 0,
            ..options
        },
        ..request.clone()
    });
    assert_eq!(losses, without_patience[..losses.len()]);
    for every in [1, 3] {
        let cut = TrainRequest {
            steps: every,
            ..request.clone()
        };
        let (last, cut_losses, cut_evaluations) = train_to_the_end(cut);
        assert_eq!(last.checkpoint, straight.checkpoint, "every {every}");
        assert_eq!((&cut_losses, &cut_evaluations), (&losses, &evaluations));
        assert!(last.stopped_early);
    }
    // What has stopped stays stopped, unless it is given more patience.
    let mut again = TrainRequest {
        resume: Some(straight.checkpoint),
        ..request
    };
    let still = train(&again, None, &Interrupt::new()).expect("nothing to do");
    assert!(still.stopped_early && still.losses.is_empty());
    again.options.early_stopping_patience = 9;
    let on = train(&again, None, &Interrupt::new()).expect("goes on");
    assert_eq!(on.losses.len(), 2);
}

#[test]
fn a_longer_run_goes_on_from_the_end_of_a_shorter_one() {
    let of_epochs = |epochs| TrainOptions {
        epochs,
        lr_scheduler_type: LrScheduler::Constant,
        warmup_ratio: 0.0,
        warmup_steps: 2,
        ..options()
    };
    let short = train(&request(of_epochs(2)), None, &Interrupt::new()).expect("trains");
    let straight = train(&request(of_epochs(5)), None, &Interrupt::new()).expect("trains");
    let continued = TrainRequest {
        resume: Some(short.checkpoint.clone()),
        ..request(of_epochs(5))
    };
    let longer = train(&continued, None, &Interrupt::new()).expect("goes on");
    assert_eq!((short.step, longer.step), (6, 15));
    assert_eq!(longer.checkpoint, straight.checkpoint);
    assert_eq!([short.losses, longer.losses].concat(), straight.losses);
    // Steps of a number of their own end in the middle of an epoch, and the schedule is that of all of them.
    let by_steps = TrainOptions {
        max_steps: 8,
        lr_scheduler_type: LrScheduler::Linear,
        ..of_epochs(1)
    };
    let mut rates = Vec::new();
    let request = TrainRequest {
        resume: Some(short.checkpoint.clone()),
        ..request(by_steps.clone())
    };
    // Another schedule is another run, however many steps it has.
    let error = train(&request, None, &Interrupt::new()).expect_err("refused");
    assert!(
        error.to_string().contains("trainer_state.options"),
        "{error}"
    );
    let linear = TrainRequest {
        resume: None,
        ..request
    };
    let mut tell = |progress: TrainProgress| rates.push(progress.learning_rate);
    let whole = train_told(&linear, None, &Interrupt::new(), &mut tell).expect("trains");
    assert_eq!((whole.step, whole.total_steps), (8, 8));
    assert!(rates[2..].windows(2).all(|pair| pair[0] > pair[1]) && rates[7] > 0.0);
    // Where the moments were put aside, it cannot go on.
    let mut bare = continued;
    bare.resume.as_mut().expect("it resumes").optimizer.clear();
    let error = train(&bare, None, &Interrupt::new()).expect_err("refused");
    assert!(error.to_string().contains("init_adapter"), "{error}");
}

#[test]
fn a_stretch_ends_after_as_many_minutes() {
    let whole = request(options());
    let straight = train(&whole, None, &Interrupt::new()).expect("trains");
    let hurried = request(TrainOptions {
        checkpoint_minutes: 1e-9,
        ..options()
    });
    let first = train(&hurried, None, &Interrupt::new()).expect("trains");
    assert_eq!(first.step, 1);
    let (last, losses, _) = train_to_the_end(hurried);
    assert_eq!(losses, straight.losses);
    assert_eq!(last.checkpoint.adapter, straight.checkpoint.adapter);
}
