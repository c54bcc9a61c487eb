//! The distribution of choices, and what changes it.

use super::*;

fn counts(sampling: &Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
    let mut sampler = Sampler::bare(sampling, &[], logits.len());
    let mut counts = vec![0; logits.len()];
    for _ in 0..draws {
        counts[chosen(&mut sampler, logits) as usize] += 1;
    }
    counts
}

fn chosen(sampler: &mut Sampler<'_>, logits: &[f32]) -> u32 {
    let choice = sampler.next(Isa::detect(), &[], &mut logits.to_vec());
    assert_eq!(choice.finish, None);
    choice.token.unwrap()
}

fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn draws_follow_the_distribution() {
    let logits = logits_of(&[0.5, 0.3, 0.15, 0.05]);
    let warm = Sampling {
        temperature: 1.0,
        seed: 1,
        ..Sampling::default()
    };
    let found = counts(&warm, &logits, 20_000);
    for (count, expect) in found.iter().zip([10_000, 6_000, 3_000, 1_000]) {
        assert!(count.abs_diff(expect) < 300, "{found:?}");
    }
    // Temperature 0.5 squares the odds: 25 : 9 : 2.25 : 0.25.
    let found = counts(
        &Sampling {
            temperature: 0.5,
            ..warm
        },
        &logits,
        20_000,
    );
    assert!(
        found[0].abs_diff(13_699) < 300 && found[1].abs_diff(4_932) < 300,
        "{found:?}"
    );
}

#[test]
fn top_k_and_top_p_keep_the_likeliest() {
    let logits = logits_of(&[0.05, 0.5, 0.15, 0.3]);
    let warm = Sampling {
        temperature: 1.0,
        seed: 2,
        ..Sampling::default()
    };
    let kept = |sampling| {
        counts(&sampling, &logits, 4_000)
            .iter()
            .map(|count| *count > 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kept(Sampling {
            top_k: 2,
            ..warm.clone()
        }),
        [false, true, false, true]
    );
    assert_eq!(
        kept(Sampling {
            top_p: 0.79,
            ..warm.clone()
        }),
        [false, true, false, true]
    );
    assert_eq!(
        kept(Sampling {
            top_p: 0.81,
            ..warm.clone()
        }),
        [false, true, true, true]
    );
    // Of the two that top-k leaves, the first alone has 0.625 of the mass.
    assert_eq!(
        kept(Sampling {
            top_k: 2,
            top_p: 0.6,
            ..warm.clone()
        }),
        [false, true, false, false]
    );
    assert_eq!(
        kept(Sampling {
            top_p: 1e-6,
            ..warm
        }),
        [false, true, false, false]
    );
}

#[test]
fn a_flat_distribution_reaches_every_token_under_top_p() {
    let flat = Sampling {
        temperature: 1.0,
        top_p: 0.999,
        seed: 3,
        ..Sampling::default()
    };
    let found = counts(&flat, &vec![0.0; 5000], 30_000);
    assert!(found.iter().filter(|count| **count > 0).count() > 4_900);
}

#[test]
fn penalties_change_the_greedy_choice() {
    let mut sampler_options = Sampling {
        repetition_penalty: 2.0,
        ..Sampling::default()
    };
    let mut sampler = Sampler::bare(&sampler_options, &[0], 3);
    assert_eq!(
        chosen(&mut sampler, &[3.0, 2.0, 1.2]),
        1,
        "the prompt's token counts 1.5"
    );
    assert_eq!(
        chosen(&mut sampler, &[3.0, 2.0, 1.2]),
        0,
        "both are halved now"
    );
    sampler_options = Sampling {
        presence_penalty: 1.5,
        ..Sampling::default()
    };
    let mut sampler = Sampler::bare(&sampler_options, &[0], 3);
    assert_eq!(
        chosen(&mut sampler, &[3.0, 2.0, 1.2]),
        0,
        "the prompt does not count"
    );
    assert_eq!(chosen(&mut sampler, &[3.0, 2.0, 1.2]), 1);
    assert_eq!(
        chosen(&mut sampler, &[3.0, 2.0, 1.2]),
        0,
        "1.5 again, once only, against 0.5 and 1.2"
    );
}

#[test]
fn biases_and_the_frequency_penalty_change_the_greedy_choice() {
    let options = Sampling {
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..Sampling::default()
    };
    let mut sampler = Sampler::bare(&options, &[0, 0, 0], 3);
    let found: Vec<u32> = (0..6)
        .map(|_| chosen(&mut sampler, &[3.0, 2.1, 1.2]))
        .collect();
    // 3.0, 2.25, 1.75, 1.25 for the first; 2.1, 1.35, 0.85 for the second.
    assert_eq!(found, [0, 0, 1, 0, 1, 0]);

    let options = Sampling {
        logit_bias: [(0, f32::NEG_INFINITY), (2, 1.0)].into(),
        repetition_penalty: 2.0,
        ..Sampling::default()
    };
    let mut sampler = Sampler::bare(&options, &[], 3);
    let found: Vec<u32> = (0..3)
        .map(|_| chosen(&mut sampler, &[3.0, 2.0, 1.2]))
        .collect();
    // The bias comes first: (1.2 + 1) / 2 stands against 2, then against 1.
    assert_eq!(found, [2, 1, 2]);
}

#[test]
fn min_p_drops_what_is_far_less_likely_than_the_likeliest() {
    let kept = |logits: &[f32], sampling: Sampling| {
        let found = counts(&sampling, logits, 4_000).into_iter().enumerate();
        found
            .filter(|(_, count)| *count > 0)
            .map(|(id, _)| id)
            .collect::<Vec<_>>()
    };
    let warm = Sampling {
        temperature: 1.0,
        min_p: 0.25,
        seed: 4,
        ..Sampling::default()
    };
    let logits = logits_of(&[0.05, 0.5, 0.15, 0.3]);
    assert_eq!(kept(&logits, warm.clone()), [1, 2, 3]);
    // The temperature comes before: at 0.5 the odds are 25 : 9 : 2.25.
    let cold = Sampling {
        temperature: 0.5,
        ..warm.clone()
    };
    assert_eq!(kept(&logits, cold), [1, 3]);
    let top = Sampling {
        top_k: 2,
        top_p: 0.9,
        ..warm.clone()
    };
    assert_eq!(kept(&logits, top), [1, 3]);
    let one = Sampling {
        min_p: 1.0,
        ..warm.clone()
    };
    assert_eq!(kept(&logits, one), [1]);
    // All of a wide flat distribution are within reach.
    let found = counts(&warm, &vec![0.0; 3000], 30_000);
    assert!(found.iter().filter(|count| **count > 0).count() > 2_900);
}

#[test]
fn what_is_forbidden_never_comes_and_nothing_left_ends_the_completion() {
    let forbidden = |ids: &[u32]| Sampling {
        temperature: 5.0,
        logit_bias: ids.iter().map(|id| (*id, f32::NEG_INFINITY)).collect(),
        seed: 5,
        ..Sampling::default()
    };
    let found = counts(&forbidden(&[0, 3, 4]), &[9.0, 0.0, 1.0, 99.0, 0.0], 5_000);
    assert!(found[0] + found[3] + found[4] == 0 && found[1] > 0 && found[2] > 0);
    let options = forbidden(&[0, 1]);
    let mut sampler = Sampler::bare(&options, &[], 2);
    let choice = sampler.next(Isa::detect(), &[], &mut [1.0, 2.0]);
    let expect = Choice {
        token: None,
        finish: Some(FinishReason::Length),
    };
    assert_eq!(choice, expect);
}
