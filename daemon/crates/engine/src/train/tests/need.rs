//! What a run is told to take.

use super::*;

fn need(options: &TrainOptions, lengths: &[usize], evaluated: &[usize]) -> u64 {
    let config = config();
    let sizing = Sizing {
        config: &config,
        lengths: Some(lengths),
        evaluated,
        max_length: 50,
        seed: 1,
        threads: 2,
        weights_in_f32: 0,
        beside: &[],
    };
    let need = sizing.need(options, None).expect("a need");
    need.memory_bytes()
}

#[test]
fn evaluations_of_longer_sequences_take_what_they_take() {
    let options = TrainOptions {
        gradient_checkpointing: true,
        batch_size: 2,
        ..options()
    };
    let trained = need(&options, &[10; 8], &[]);
    assert_eq!(need(&options, &[10; 8], &[10; 3]), trained);
    // Batches are as large as training's, and as many sequences as fit in it one after the other make one.
    let longer = need(&options, &[10; 8], &[10, 50]);
    assert!(longer > trained, "{longer} and {trained}");
    assert_eq!(
        need(&options, &[10; 8], &[5, 10, 50]),
        need(&options, &[10; 8], &[50])
    );
}

#[test]
fn the_largest_batch_of_every_epoch_that_is_made_counts() {
    let options = TrainOptions {
        batch_size: 2,
        epochs: 1,
        ..options()
    };
    let lengths = [50, 2, 3, 4, 49, 5, 6, 7];
    // Which two come together is drawn for every epoch; over many the two longest do.
    let most = need(
        &TrainOptions {
            epochs: 60,
            ..options.clone()
        },
        &lengths,
        &[],
    );
    assert!(need(&options, &lengths, &[]) < most);
    let by_steps = TrainOptions {
        max_steps: 60 * 4,
        ..options
    };
    assert_eq!(need(&by_steps, &lengths, &[]), most);
}
