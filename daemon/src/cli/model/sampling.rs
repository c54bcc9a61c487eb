//! How the next token is chosen, as flags.

use std::collections::BTreeMap;

use autodidact_client::v1;
use clap::Args;

/// How the next token is chosen.
#[derive(Args, Clone, Debug)]
pub(crate) struct SamplingArgs {
    /// The adapter checkpoint to put on the model
    #[arg(long)]
    pub(super) adapter: Option<String>,
    /// The most tokens to generate
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    max_tokens: u32,
    /// Before so many tokens the answer does not end by itself
    #[arg(long, default_value_t = 0)]
    min_tokens: u32,
    /// 0 takes the likeliest token; higher is more varied
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Keep the likeliest tokens up to this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Keep this many of the likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = 0)]
    top_k: u32,
    /// Drop tokens less likely than this share of the likeliest one; 0 keeps all
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    /// Make repetition less likely; 1 is off
    #[arg(long, default_value_t = 1.1)]
    repetition_penalty: f32,
    /// Lower the logits of tokens that came already, once; 0 is off
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Lower the logits of tokens that came already, once for each time; 0 is off
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Add to a token's logit, such as 1234=-2.5; -inf forbids it; may be given several times
    #[arg(long, value_name = "ID=VALUE", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
    /// End at this text; may be given several times
    #[arg(long)]
    stop: Vec<String>,
    /// The seed of the randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl SamplingArgs {
    /// Writes the flags as a message.
    pub(super) fn to_message(&self) -> v1::Sampling {
        v1::Sampling {
            temperature: Some(self.temperature),
            top_k: Some(self.top_k),
            top_p: Some(self.top_p),
            min_p: Some(self.min_p),
            repetition_penalty: Some(self.repetition_penalty),
            presence_penalty: Some(self.presence_penalty),
            frequency_penalty: Some(self.frequency_penalty),
            logit_bias: self.logit_bias.iter().copied().collect::<BTreeMap<_, _>>(),
            max_tokens: Some(self.max_tokens),
            min_tokens: Some(self.min_tokens),
            stop: self.stop.clone(),
            seed: Some(self.seed),
        }
    }
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let fault = || format!("expected ID=VALUE such as 1234=-2.5, found {text}");
    let (id, value) = text.split_once('=').ok_or_else(fault)?;
    match (id.parse(), value.parse()) {
        (Ok(id), Ok(value)) => Ok((id, value)),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_read() {
        assert_eq!(bias("12=-2.5"), Ok((12, -2.5)));
        assert_eq!(bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        for bad in ["12", "x=1", "-1=1", "1=", "=1"] {
            assert!(bias(bad).is_err(), "{bad}");
        }
    }
}
