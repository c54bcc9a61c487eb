//! Log-probabilities and scores against plain sums over logits, and against the reference's.

use autodidact_domain::{
    FinishReason, GenerateRequest, Message, Prompt, ResponseLoss, ScoreRequest, TrainOptions,
};

use super::*;
use crate::{Adapter, EngineError, Silent};

fn text(prompt: &str, continuation: &str) -> ScoreRequest {
    ScoreRequest {
        prompt: Prompt::Text(prompt.into()),
        continuation: continuation.into(),
    }
}

fn score(model: &LoadedModel, requests: &[ScoreRequest]) -> Vec<ResponseLoss> {
    model.score(None, requests, &mut || {}, &calm()).unwrap()
}

/// The log-probability of a token where these logits stand, summed in f64.
fn log_probability(logits: &[f32], id: u32) -> f64 {
    let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    f64::from(logits[id as usize]) - total.ln()
}

#[test]
fn a_score_is_the_sum_over_the_continuation() {
    let model = tiny(Compute::Exact, 2);
    let (prompt, continuation) = ("The owl sat on a", " branch. 猫头鹰坐在树上。");
    let mut ids = model.encode(&Prompt::Text(prompt.into())).unwrap();
    let begin = ids.len();
    ids.extend(model.tokenizer().encode(continuation).unwrap());
    let logits = all_logits(&model, None, &ids, 128);
    let places = begin..ids.len();
    let expect: f64 = places
        .map(|at| -log_probability(&logits[at - 1], ids[at]))
        .sum();
    let found = score(&model, &[text(prompt, continuation)])[0];
    assert_eq!(found.tokens as usize, ids.len() - begin);
    let loss = found.negative_log_likelihood;
    assert!((loss - expect).abs() < 1e-4, "{loss} {expect}");
    let mean = expect / f64::from(found.tokens);
    assert!((found.perplexity() / mean.exp() - 1.0).abs() < 1e-4);
    let nothing = score(&model, &[text(prompt, "")])[0];
    assert_eq!((nothing.tokens, nothing.perplexity()), (0, 1.0));
}

#[test]
fn a_chat_score_is_the_loss_of_the_answer() {
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let asked = vec![
            Message::user("Name a bird."),
            Message::assistant("An owl."),
            Message::user("Another."),
        ];
        let score_of = |prompt: &[Message], answer: &str| {
            let request = ScoreRequest {
                prompt: Prompt::Chat(prompt.to_vec()),
                continuation: answer.into(),
            };
            score(&model, &[request])[0]
        };
        let loss_of = |conversation: Vec<Message>| {
            let losses = model.response_loss(None, &[conversation], &mut || {}, &calm());
            losses.unwrap()[0]
        };
        let first = loss_of(asked[..2].to_vec());
        assert_eq!(score_of(&asked[..1], "An owl."), first);
        // Of several answers, the continuation alone counts.
        let both = loss_of([&asked[..], &[Message::assistant("猫头鹰。")]].concat());
        let last = score_of(&asked, "猫头鹰。");
        assert_eq!(last.tokens, both.tokens - first.tokens);
        let sum = first.negative_log_likelihood + last.negative_log_likelihood;
        assert!((sum - both.negative_log_likelihood).abs() < 1e-3);
    }
}

#[test]
fn scores_depend_on_their_own_request_alone() {
    let model = tiny(Compute::Fast, 2);
    let request = |index: usize| text("a bird", &" owl,".repeat(1 + index * 7 % 50));
    let requests: Vec<ScoreRequest> = (0..40).map(request).collect();
    let together = score(&model, &requests);
    for (request, together) in requests.iter().zip(&together) {
        let alone = score(&model, std::slice::from_ref(request));
        assert_eq!(&alone[0], together);
    }
}

#[test]
fn what_cannot_be_scored_is_refused_before_any_work() {
    let model = tiny(Compute::Fast, 1);
    for (bad, part) in [
        (text("", "a"), "empty"),
        (text("a", &"#~".repeat(3000)), "the context holds 1024"),
    ] {
        let outcome = model.score(None, &[text("a", "b"), bad], &mut || {}, &calm());
        let Err(EngineError::Invalid(fault)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            fault.starts_with("request 1: ") && fault.contains(part),
            "{fault}"
        );
    }
    // What no context holds is the request's fault, also where there is no memory for a tenth of it.
    model.allow(Some(1 << 20));
    let endless = text("a", &"#~".repeat(1_000_000));
    let outcome = model.score(None, &[endless], &mut || {}, &calm());
    assert!(
        matches!(outcome, Err(EngineError::Invalid(_))),
        "{outcome:?}"
    );
}

#[test]
fn what_the_context_does_not_hold_with_virtual_tokens_is_refused_and_not_cut() {
    let model = tiny(Compute::Exact, 2);
    let options = TrainOptions {
        method: "prompt".into(),
        num_virtual_tokens: 5,
        ..TrainOptions::default()
    };
    let checkpoint = super::device::method_adapter(&model, &options);
    let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
    let length = |request: &ScoreRequest| {
        let prompt = model.encode(&request.prompt).unwrap().len();
        prompt + model.tokenizer.encode(&request.continuation).unwrap().len()
    };
    let words = |count: usize| text(&"owl ".repeat(count), " sat");
    let count = (1..1000).find(|count| length(&words(*count)) + 5 > 1024);
    let (fits, too_long) = (words(count.unwrap() - 1), words(count.unwrap()));
    let with = |request: &ScoreRequest| {
        let requests = std::slice::from_ref(request);
        model.score(Some(&adapter), requests, &mut || {}, &Interrupt::new())
    };
    assert!(length(&too_long) <= 1024);
    assert_eq!(score(&model, std::slice::from_ref(&too_long)).len(), 1);
    assert!(with(&fits).unwrap()[0].tokens > 0);
    let error = with(&too_long).unwrap_err().to_string();
    assert!(error.contains("5 virtual ones"), "{error}");
}

#[test]
fn real_score_equals_transformers() {
    let Some(model) = Real::SmolLm2.load(Compute::Exact) else {
        return;
    };
    let mut compared = 0;
    for prompt in golden_json("smollm2_greedy.json")["prompts"]
        .as_array()
        .unwrap()
    {
        // The reference's loss is that of every token after the first; here they follow it.
        let ids = ids_of(&prompt["prompt_ids"]);
        let (first, rest) = ids.split_at(1);
        let decode = |ids: &[u32]| model.tokenizer().decode(ids);
        let (first, rest) = (decode(first), decode(rest));
        let encode = |text: &str| model.tokenizer().encode(text).unwrap();
        if [encode(&first), encode(&rest)].concat() != ids {
            continue;
        }
        let found = score(model, &[text(&first, &rest)])[0];
        let mean = found.negative_log_likelihood / f64::from(found.tokens);
        let expect = prompt["prompt_mean_nll"].as_f64().unwrap();
        assert!((mean - expect).abs() < 1e-4, "{mean} {expect}");
        compared += 1;
    }
    // The others begin with a special token, which no text has.
    assert_eq!(compared, 3, "prompts that split behind their first token");
}

#[test]
fn log_probabilities_are_the_models_own() {
    let model = tiny(Compute::Exact, 2);
    let request = |logprobs, sampling| GenerateRequest {
        logprobs,
        ..GenerateRequest::new(Prompt::Text("Tell of 猫头鹰 and".into()), sampling)
    };
    let penalised = Sampling {
        frequency_penalty: 0.7,
        min_p: 0.02,
        logit_bias: [(70, 2.0), (71, f32::NEG_INFINITY)].into(),
        ..sampled(3, 30)
    };
    let greedy = Sampling {
        max_tokens: 30,
        ..Sampling::default()
    };
    for sampling in [greedy.clone(), penalised] {
        let asked = [
            request(Some(3), sampling.clone()),
            request(Some(0), sampling.clone()),
            request(None, sampling.clone()),
        ];
        let done = model.generate(None, &asked, &mut Silent, &calm()).unwrap();
        assert!(done.iter().all(|one| one.text == done[0].text));
        assert!(done[1].logprobs.iter().all(|token| token.top.is_empty()));
        assert!(done[2].logprobs.is_empty());
        let told = &done[0].logprobs;
        assert_eq!(told.len(), done[0].completion_tokens as usize);
        let bytes: Vec<u8> = told.iter().flat_map(|token| token.bytes.clone()).collect();
        assert!(String::from_utf8_lossy(&bytes).starts_with(&done[0].text));
        if sampling == greedy {
            assert!(told.iter().all(|token| token.logprob == token.top[0].1));
        } else {
            assert!(told.iter().any(|token| token.logprob < token.top[0].1));
        }
        check_against_logits(&model, &asked[0].prompt, told);
    }
}

/// Follows the told tokens by their bytes and compares every figure with the logits at its place.
fn check_against_logits(
    model: &LoadedModel,
    prompt: &Prompt,
    told: &[autodidact_domain::TokenLogprob],
) {
    let mut ids = model.encode(prompt).unwrap();
    for token in told {
        let logits = all_logits(model, None, &ids, 128).pop().unwrap();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        for ((bytes, logprob), id) in token.top.iter().zip(&order) {
            let expect = log_probability(&logits, *id);
            assert!((f64::from(*logprob) - expect).abs() < 1e-4);
            let is_special = model.tokenizer().is_special(*id);
            assert_eq!(bytes.is_empty(), is_special);
        }
        let near = |id: &u32| {
            let expect = log_probability(&logits, *id);
            (f64::from(token.logprob) - expect).abs() < 1e-4
                && (token.bytes.is_empty() || model.tokenizer().piece(*id) == token.bytes)
        };
        ids.push(
            order
                .into_iter()
                .find(near)
                .expect("the token is one of all"),
        );
    }
}

#[test]
fn the_end_of_a_turn_has_a_log_probability_and_no_bytes() {
    let model = tiny(Compute::Exact, 1);
    let request = GenerateRequest {
        logprobs: Some(1),
        ..GenerateRequest::new(
            Prompt::Chat(vec![Message::user("Name a bird.")]),
            Sampling {
                logit_bias: [(2, 100.0)].into(),
                ..Sampling::default()
            },
        )
    };
    let done = model.generate(None, &[request], &mut Silent, &calm());
    let done = done.unwrap().remove(0);
    assert_eq!(
        (done.finish, done.completion_tokens),
        (FinishReason::Eos, 1)
    );
    assert!(done.logprobs[0].bytes.is_empty() && done.logprobs[0].logprob < 0.0);
}
