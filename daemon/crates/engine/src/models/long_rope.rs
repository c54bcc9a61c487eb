//! Divisors of the rotary embedding's frequencies that files bring along: Llama 3's in GGUF, and those of LongRoPE.
//!
//! LongRoPE (Ding et al. 2024), as Phi-3's long variants have it: each frequency has a divisor of its own for texts within the
//! first context and one for longer ones, and attention's scores grow with the extension.
//!
//! Ours are the divisors of the first context, and the context ends with it: those for longer texts would change all keys of
//! a text that grows past it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value as Json;

use super::family::RopeScaling;
use super::fields::GgufFields;
use super::gguf::TensorPlace;
use crate::EngineError;

/// GGUF's factors of the rotary embedding's frequencies, `[head_dim / 2]` f32: constants, no weights.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The same of LongRoPE, for texts within the first context.
pub(crate) const SHORT_ROPE_FACTORS: &str = "rope_factors_short.weight";
/// The same, for longer texts.
pub(crate) const LONG_ROPE_FACTORS: &str = "rope_factors_long.weight";
/// Tensors that are no weights.
pub(crate) const CONSTANTS: [&str; 3] = [ROPE_FACTORS, SHORT_ROPE_FACTORS, LONG_ROPE_FACTORS];

/// What a model with it has beside the divisors of its frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongRope {
    /// The context that the divisors hold for, in tokens.
    pub context: usize,
    /// What attention's scores are multiplied by.
    pub score_factor: f32,
}

impl LongRope {
    /// Reads it and the divisors from the object under `key` of `config.json`.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where a part is missing or out of range.
    pub(super) fn of_json(
        file: &Path,
        key: &str,
        config: &Json,
    ) -> Result<(Self, Vec<f32>), EngineError> {
        let rope = &config[key];
        let damaged = |name: &str, expected: &str, found: &Json| {
            EngineError::damaged(file, format!("{key}.{name}"), expected, found.to_string())
        };
        let list = rope["short_factor"].as_array();
        let factors: Option<Vec<f32>> = list
            .into_iter()
            .flatten()
            .map(|factor| factor.as_f64().map(|factor| factor as f32))
            .collect();
        let factors = factors.filter(|factors| {
            let mut factors = factors.iter();
            factors.len() > 0 && factors.all(|factor| factor.is_finite() && *factor > 0.0)
        });
        let factors = factors.ok_or_else(|| {
            damaged(
                "short_factor",
                "a list of factors above 0",
                &rope["short_factor"],
            )
        })?;
        let original = "original_max_position_embeddings";
        let context = [&rope[original], &config[original]];
        let context = context.iter().find_map(|count| count.as_u64());
        let context = context.filter(|count| *count > 1);
        let context =
            context.ok_or_else(|| damaged(original, "a count above 1", &rope[original]))?;
        let longest = config["max_position_embeddings"].as_f64();
        let times = rope["factor"].as_f64();
        let times = times.or(longest.map(|longest| longest / context as f64));
        // transformers, modeling_rope_utils.py, _compute_longrope_parameters.
        let computed = match times {
            Some(times) if times > 1.0 => (1.0 + times.ln() / (context as f64).ln()).sqrt(),
            _ => 1.0,
        };
        let factor = rope["attention_factor"].as_f64().unwrap_or(computed);
        let long_rope = Self {
            context: usize::try_from(context).unwrap_or(usize::MAX),
            score_factor: (factor * factor) as f32,
        };
        Ok((long_rope, factors))
    }

    /// Reads it from GGUF metadata; the divisors are a tensor there.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where a part is missing or out of range.
    pub(super) fn of_gguf(fields: &GgufFields<'_>, limit: usize) -> Result<Self, EngineError> {
        let factor = fields.optional_number("rope.scaling.attn_factor")?;
        let factor = factor.unwrap_or(1.0);
        Ok(Self {
            context: fields.count("rope.scaling.original_context_length", limit)?,
            score_factor: factor * factor,
        })
    }
}

/// Reads one of GGUF's tensors of divisors.
///
/// # Errors
/// [`EngineError::ModelFile`] where it is misshapen or has a number that is not above 0.
pub(super) fn read_rope_factors(
    path: &Path,
    file: &File,
    (name, place): (&str, &TensorPlace),
    head_dim: usize,
) -> Result<RopeScaling, EngineError> {
    if place.shape != [head_dim / 2] {
        let expected = format!("shape [{}]", head_dim / 2);
        let found = format!("{:?}", place.shape);
        return Err(EngineError::damaged(path, name, expected, found));
    }
    let factors = read_numbers(path, file, place)?;
    if factors
        .iter()
        .any(|factor| !(factor.is_finite() && *factor > 0.0))
    {
        return Err(EngineError::damaged(
            path,
            name,
            "factors above 0",
            "others",
        ));
    }
    Ok(RopeScaling::Factors(factors))
}

/// Reads a small tensor as f32.
///
/// # Errors
/// [`EngineError::Io`] when it cannot be read.
pub(crate) fn read_numbers(
    path: &Path,
    file: &File,
    place: &TensorPlace,
) -> Result<Vec<f32>, EngineError> {
    let mut bytes = vec![0u8; place.bytes as usize];
    file.read_exact_at(&mut bytes, place.offset)
        .map_err(|error| EngineError::io(path, "read", error))?;
    let mut numbers = vec![0f32; place.shape.iter().product()];
    place.element.to_f32(&bytes, &mut numbers)?;
    Ok(numbers)
}
