//! The packed weights of an encoder.

use super::config::EncoderConfig;
use crate::EngineError;
use crate::kernels::ExactMatrix;
use crate::models::files::ModelFiles;

/// The word embedding's name.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";

/// An encoder's weights.
pub(super) struct EncoderWeights {
    /// The word embedding's rows are read from the files: a token needs one.
    pub(super) files: ModelFiles,
    /// `[positions, hidden]`.
    pub(super) positions: Vec<f32>,
    /// The first token type's row, `[hidden]`; texts that stand alone have no other.
    pub(super) token_type: Vec<f32>,
    pub(super) norm: LayerNorm,
    pub(super) layers: Vec<EncoderLayer>,
}

/// One layer. Query, key and value have the same input and are one matrix.
pub(super) struct EncoderLayer {
    pub(super) qkv: Dense,
    pub(super) attention_output: Dense,
    pub(super) attention_norm: LayerNorm,
    pub(super) intermediate: Dense,
    pub(super) output: Dense,
    pub(super) output_norm: LayerNorm,
}

/// A matrix `[out, in]` with its bias `[out]`.
pub(super) struct Dense {
    pub(super) matrix: ExactMatrix,
    pub(super) bias: Vec<f32>,
}

/// Weight and shift of a norm.
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl EncoderWeights {
    /// Reads and packs all weights but the word embedding.
    pub(super) fn load(files: ModelFiles, config: &EncoderConfig) -> Result<Self, EngineError> {
        let layer = |index: usize| {
            let name = |part: &str| format!("encoder.layer.{index}.{part}");
            let dense = |parts: &[&str]| {
                let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
                Dense::load(&files, &names)
            };
            Ok(EncoderLayer {
                qkv: dense(&[
                    "attention.self.query",
                    "attention.self.key",
                    "attention.self.value",
                ])?,
                attention_output: dense(&["attention.output.dense"])?,
                attention_norm: LayerNorm::load(&files, &name("attention.output.LayerNorm"))?,
                intermediate: dense(&["intermediate.dense"])?,
                output: dense(&["output.dense"])?,
                output_norm: LayerNorm::load(&files, &name("output.LayerNorm"))?,
            })
        };
        let layers = (0..config.layers)
            .map(layer)
            .collect::<Result<_, EngineError>>()?;
        let mut token_type = files.read_f32("embeddings.token_type_embeddings.weight")?.1;
        token_type.truncate(config.hidden_size);
        Ok(Self {
            positions: files.read_f32("embeddings.position_embeddings.weight")?.1,
            token_type,
            norm: LayerNorm::load(&files, "embeddings.LayerNorm")?,
            layers,
            files,
        })
    }

    /// Tells the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        let layer = |layer: &EncoderLayer| {
            [
                &layer.qkv,
                &layer.attention_output,
                &layer.intermediate,
                &layer.output,
            ]
            .map(|dense| dense.matrix.bytes())
            .iter()
            .sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>() + size_of_val(self.positions.as_slice())
    }
}

impl Dense {
    /// Reads matrices with the same input and packs them one under the other.
    fn load(files: &ModelFiles, names: &[String]) -> Result<Self, EngineError> {
        let mut parts = Vec::new();
        let mut bias = Vec::new();
        for name in names {
            parts.push(files.read_f32(&format!("{name}.weight"))?);
            bias.extend(files.read_f32(&format!("{name}.bias"))?.1);
        }
        let columns = parts[0].0[1];
        let mut matrix = ExactMatrix::zeros(bias.len(), columns);
        let mut first = 0;
        for (shape, data) in &parts {
            matrix.set_rows(first, data, 1.0);
            first += shape[0];
        }
        Ok(Self { matrix, bias })
    }
}

impl LayerNorm {
    fn load(files: &ModelFiles, name: &str) -> Result<Self, EngineError> {
        Ok(Self {
            weight: files.read_f32(&format!("{name}.weight"))?.1,
            bias: files.read_f32(&format!("{name}.bias"))?.1,
        })
    }
}
