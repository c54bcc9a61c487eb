//! Sampling options, their defaults and ranges.

use autodidact_domain::Sampling;
use autodidact_proto::v1;
use tonic::Status;

use crate::status::bad_field;

/// The most tokens a call may ask for; the model's own context may be shorter.
const MAX_TOKENS: u32 = 32_768;
/// The most stop texts.
const MAX_STOPS: usize = 16;
/// The most tokens with a bias.
const MAX_BIASES: usize = 1024;

/// Reads and checks sampling options; what is not set takes its default.
pub(super) fn sampling(sampling: v1::Sampling) -> Result<Sampling, Status> {
    let default = Sampling::default();
    let read = Sampling {
        temperature: sampling.temperature.unwrap_or(default.temperature),
        top_k: sampling.top_k.unwrap_or(default.top_k),
        top_p: sampling.top_p.unwrap_or(default.top_p),
        min_p: sampling.min_p.unwrap_or(default.min_p),
        repetition_penalty: sampling
            .repetition_penalty
            .unwrap_or(default.repetition_penalty),
        presence_penalty: sampling
            .presence_penalty
            .unwrap_or(default.presence_penalty),
        frequency_penalty: sampling
            .frequency_penalty
            .unwrap_or(default.frequency_penalty),
        logit_bias: sampling.logit_bias,
        max_tokens: sampling.max_tokens.unwrap_or(default.max_tokens),
        min_tokens: sampling.min_tokens.unwrap_or(default.min_tokens),
        early_end: default.early_end,
        stop: sampling.stop,
        seed: sampling.seed.unwrap_or(default.seed),
    };
    for (field, value, low, high) in [
        ("temperature", read.temperature, 0.0, 5.0),
        ("top_p", read.top_p, 0.01, 1.0),
        ("min_p", read.min_p, 0.0, 1.0),
        ("repetition_penalty", read.repetition_penalty, 1.0, 2.0),
        ("presence_penalty", read.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", read.frequency_penalty, -2.0, 2.0),
    ] {
        if !(low..=high).contains(&value) {
            return Err(bad_field(
                &format!("sampling.{field}"),
                format!("expected {low} to {high}, found {value}"),
            ));
        }
    }
    if !(1..=MAX_TOKENS).contains(&read.max_tokens) {
        return Err(bad_field(
            "sampling.max_tokens",
            format!("expected 1 to {MAX_TOKENS}, found {}", read.max_tokens),
        ));
    }
    if read.min_tokens > read.max_tokens {
        return Err(bad_field(
            "sampling.min_tokens",
            format!(
                "expected at most max_tokens ({}), found {}",
                read.max_tokens, read.min_tokens
            ),
        ));
    }
    if read.stop.len() > MAX_STOPS || read.stop.iter().any(String::is_empty) {
        return Err(bad_field(
            "sampling.stop",
            format!("expected at most {MAX_STOPS} texts, none of them empty"),
        ));
    }
    check_biases(&read)?;
    Ok(read)
}

fn check_biases(sampling: &Sampling) -> Result<(), Status> {
    let biases = &sampling.logit_bias;
    if biases.len() > MAX_BIASES {
        return Err(bad_field(
            "sampling.logit_bias",
            format!(
                "expected at most {MAX_BIASES} tokens, found {}",
                biases.len()
            ),
        ));
    }
    let bad = |bias: &f32| bias.is_nan() || *bias == f32::INFINITY;
    match biases.iter().find(|(_, bias)| bad(bias)) {
        Some((id, bias)) => Err(bad_field(
            &format!("sampling.logit_bias[{id}]"),
            format!("expected a number or minus infinity, found {bias}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_checked() {
        let changed = |change: &dyn Fn(&mut v1::Sampling)| {
            let mut message = v1::Sampling::default();
            change(&mut message);
            sampling(message)
        };
        assert_eq!(changed(&|_| ()).unwrap(), Sampling::default());
        let read = changed(&|s| {
            s.min_p = Some(0.1);
            s.frequency_penalty = Some(-0.5);
            s.logit_bias = [(3, f32::NEG_INFINITY)].into();
        });
        let expect = Sampling {
            min_p: 0.1,
            frequency_penalty: -0.5,
            logit_bias: [(3, f32::NEG_INFINITY)].into(),
            ..Sampling::default()
        };
        assert_eq!(read.unwrap(), expect);
        let bad: &[&dyn Fn(&mut v1::Sampling)] = &[
            &|s| s.temperature = Some(f32::NAN),
            &|s| s.top_p = Some(0.0),
            &|s| s.min_p = Some(1.5),
            &|s| s.frequency_penalty = Some(3.0),
            &|s| s.max_tokens = Some(0),
            &|s| (s.max_tokens, s.min_tokens) = (Some(4), Some(5)),
            &|s| s.stop = vec![String::new()],
            &|s| s.logit_bias = [(1, f32::INFINITY)].into(),
            &|s| s.logit_bias = (0..1025).map(|id| (id, 1.0)).collect(),
        ];
        for (number, change) in bad.iter().enumerate() {
            assert!(changed(change).is_err(), "{number}");
        }
    }
}
