//! What may be asked of a sampler.

use autodidact_domain::{GenerateRequest, Sampling};

/// The most alternatives a token's log-probability comes with, as OpenAI's interface has it (`top_logprobs`).
const MAX_TOP_LOGPROBS: u32 = 20;

/// Tells what is wrong with a request's options, if anything.
pub(in crate::generate) fn check(
    request: &GenerateRequest,
    vocab_size: usize,
) -> Result<(), String> {
    let Sampling {
        temperature,
        top_k: _,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        logit_bias,
        max_tokens: _,
        min_tokens: _,
        early_end: _,
        stop: _,
        seed: _,
    } = &request.sampling;
    let rules = [
        (
            "temperature",
            *temperature,
            "0 or more",
            *temperature >= 0.0,
        ),
        (
            "top_p",
            *top_p,
            "above 0, at most 1",
            *top_p > 0.0 && *top_p <= 1.0,
        ),
        ("min_p", *min_p, "0 to 1", (0.0..=1.0).contains(min_p)),
        (
            "repetition_penalty",
            *repetition_penalty,
            "above 0",
            *repetition_penalty > 0.0,
        ),
        ("presence_penalty", *presence_penalty, "a number", true),
        ("frequency_penalty", *frequency_penalty, "a number", true),
    ];
    for (name, value, expected, holds) in rules {
        if !(holds && value.is_finite()) {
            return Err(format!("{name}: expected {expected}, found {value}"));
        }
    }
    for (id, bias) in logit_bias {
        if *id as usize >= vocab_size {
            return Err(format!(
                "logit_bias: expected token ids below {vocab_size}, found {id}"
            ));
        }
        if bias.is_nan() || *bias == f32::INFINITY {
            return Err(format!(
                "logit_bias of token {id}: expected a number or minus infinity, found {bias}"
            ));
        }
    }
    match request.logprobs {
        Some(top) if top > MAX_TOP_LOGPROBS => Err(format!(
            "logprobs: expected at most {MAX_TOP_LOGPROBS}, found {top}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Prompt;

    use super::*;

    fn request(change: impl FnOnce(&mut Sampling)) -> GenerateRequest {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        GenerateRequest::new(Prompt::Text("a".into()), sampling)
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let good = request(|s| {
            s.min_p = 1.0;
            s.logit_bias = [(0, -3.0), (9, f32::NEG_INFINITY)].into();
        });
        assert_eq!(check(&good, 10), Ok(()));
        for (bad, name) in [
            (request(|s| s.temperature = -1.0), "temperature"),
            (request(|s| s.temperature = f32::NAN), "temperature"),
            (request(|s| s.temperature = f32::INFINITY), "temperature"),
            (request(|s| s.top_p = 0.0), "top_p"),
            (request(|s| s.top_p = 1.5), "top_p"),
            (request(|s| s.min_p = -0.1), "min_p"),
            (request(|s| s.min_p = f32::NAN), "min_p"),
            (
                request(|s| s.repetition_penalty = 0.0),
                "repetition_penalty",
            ),
            (
                request(|s| s.presence_penalty = f32::INFINITY),
                "presence_penalty",
            ),
            (
                request(|s| s.frequency_penalty = f32::NAN),
                "frequency_penalty",
            ),
            (request(|s| s.logit_bias = [(10, 1.0)].into()), "below 10"),
            (
                request(|s| s.logit_bias = [(3, f32::NAN)].into()),
                "token 3",
            ),
            (
                request(|s| s.logit_bias = [(3, f32::INFINITY)].into()),
                "token 3",
            ),
        ] {
            let fault = check(&bad, 10).unwrap_err();
            assert!(fault.contains(name), "{fault}");
        }
        let many = GenerateRequest {
            logprobs: Some(21),
            ..good
        };
        assert!(check(&many, 10).unwrap_err().contains("logprobs"));
    }
}
