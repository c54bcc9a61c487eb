//! The packed weights of a decoder.

#![expect(unsafe_code, reason = "tasks write the columns of their own tiles")]

use std::sync::Arc;

use crate::EngineError;
use crate::engine::Compute;
use crate::kernels::{ExactMatrix, FastMatrix, QuantizedRows, SharedMut, WeightBits, Write};
use crate::models::config::ModelConfig;
use crate::models::dequantize::{BLOCK, ElementType, quantize_affine};
use crate::models::family::Variant;
use crate::models::files::ModelFiles;
use crate::models::tensor_names::{EMBEDDING, HEAD, LAST_NORM};

use super::team::Team;

/// Tiles of a task: enough work to be worth claiming, little enough to share evenly.
const TILES: usize = 4;

/// A decoder's weights, packed for one compute path.
pub(crate) struct Decoder {
    pub(crate) config: ModelConfig,
    pub(crate) compute: Compute,
    /// Shared with the decoders of adapters that have other weights.
    pub(crate) layers: Vec<Arc<DecoderLayer>>,
    pub(crate) norm: Vec<f32>,
    pub(crate) lm_head: Arc<Linear>,
    /// The embedding's rows are read from the files: a token needs one.
    pub(crate) files: Arc<ModelFiles>,
}

/// One layer. Matrices with the same input are one: q, k and v, and gate and up.
pub(crate) struct DecoderLayer {
    /// Before attention.
    pub(crate) input_norm: Vec<f32>,
    /// After attention, where the family has sandwich norms.
    pub(crate) attention_norm: Option<Vec<f32>>,
    /// Before the feed-forward part.
    pub(crate) feed_forward_norm: Vec<f32>,
    /// After it, where the family has sandwich norms.
    pub(crate) output_norm: Option<Vec<f32>>,
    /// Of the heads of q and of k.
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// `[q, k, v]`, one after the other.
    pub(crate) qkv_bias: Option<Vec<f32>>,
    pub(crate) qkv: Linear,
    pub(crate) o: Linear,
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

/// A packed matrix.
pub(crate) enum Linear {
    Exact(ExactMatrix),
    Fast(FastMatrix),
}

impl Decoder {
    /// Reads and packs all weights.
    pub(crate) fn load(
        files: &Arc<ModelFiles>,
        config: &ModelConfig,
        compute: Compute,
    ) -> Result<Self, EngineError> {
        let layer = |index| DecoderLayer::load(files, config, compute, index).map(Arc::new);
        Ok(Self {
            config: config.clone(),
            compute,
            layers: (0..config.layers)
                .map(layer)
                .collect::<Result<_, EngineError>>()?,
            norm: read_norm(files, config, LAST_NORM)?,
            lm_head: Arc::new(Linear::load(files, &[head_of(config).into()], compute)?),
            files: files.clone(),
        })
    }

    /// Makes a decoder of the same model in which some weights are replaced; the others are shared.
    pub(crate) fn with(&self, replaced: &ModelFiles) -> Result<Self, EngineError> {
        let (config, compute) = (&self.config, self.compute);
        let layer = |(index, layer): (usize, &Arc<DecoderLayer>)| {
            if !replaced.replaces(&format!("model.layers.{index}.")) {
                return Ok(layer.clone());
            }
            DecoderLayer::load(replaced, config, compute, index).map(Arc::new)
        };
        Ok(Self {
            config: config.clone(),
            compute,
            layers: self
                .layers
                .iter()
                .enumerate()
                .map(layer)
                .collect::<Result<_, EngineError>>()?,
            norm: read_norm(replaced, config, LAST_NORM)?,
            // Where one matrix is both, the replaced embedding is not the head.
            lm_head: match replaced.replaces(HEAD) {
                true => Arc::new(Linear::load(replaced, &[HEAD.into()], compute)?),
                false => self.lm_head.clone(),
            },
            files: Arc::new(replaced.keeping(EMBEDDING)),
        })
    }

    /// Writes a token's embedding.
    pub(crate) fn embed(&self, id: u32, out: &mut [f32]) -> Result<(), EngineError> {
        embed_token(&self.files, &self.config, id, out)
    }

    /// Tells what [`Decoder::bytes`] will, from the headers alone.
    pub(crate) fn bytes_needed(
        files: &ModelFiles,
        config: &ModelConfig,
        compute: Compute,
    ) -> usize {
        let linear = |names: &[String]| {
            let parts = names.iter().filter_map(|name| files.shape_of(name));
            let parts: Vec<(&[usize], ElementType)> = parts.collect();
            let n = parts.iter().map(|(shape, _)| shape[0]).sum();
            let k = parts.first().map_or(0, |(shape, _)| shape[1]);
            match compute {
                Compute::Exact => ExactMatrix::bytes_of(n, k),
                Compute::Fast => {
                    FastMatrix::bytes_of(n, k, bits_of(parts.iter().map(|(_, element)| *element)))
                }
            }
        };
        let layer = |index: usize| {
            let groups = matrices(&config.variant).map(|parts| linear(&names_of(index, parts)));
            groups.iter().sum::<usize>()
        };
        (0..config.layers).map(layer).sum::<usize>() + linear(&[head_of(config).to_string()])
    }

    /// Tells how many bytes of the files are in memory at once while [`Decoder::load`] packs them.
    pub(crate) fn bytes_read_at_once(files: &ModelFiles, config: &ModelConfig) -> u64 {
        let group = |names: &[String]| names.iter().map(|name| files.bytes_of(name)).sum();
        let layer = |index: usize| {
            let groups = matrices(&config.variant).map(|parts| group(&names_of(index, parts)));
            groups.into_iter().max().unwrap_or(0)
        };
        let layers = (0..config.layers).map(layer);
        let head = group(&[head_of(config).to_string()]);
        layers.chain([head]).max().unwrap_or(0)
    }

    /// Tells how many elements the biggest layer's matrices have together, or the head where that has more.
    pub(crate) fn most_elements(files: &ModelFiles, config: &ModelConfig) -> u64 {
        let elements = |name: &String| {
            let shape = files.shape_of(name).map_or(&[][..], |(shape, _)| shape);
            shape.iter().map(|size| *size as u64).product::<u64>()
        };
        let layer = |index: usize| {
            let groups = matrices(&config.variant).map(|parts| names_of(index, parts));
            groups.iter().flatten().map(elements).sum()
        };
        let head = elements(&head_of(config).to_string());
        (0..config.layers).map(layer).fold(head, u64::max)
    }

    /// Tells the bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| layer.bytes());
        layers.sum::<usize>() + self.lm_head.bytes()
    }

    /// Tells the bytes of the weights that no other decoder shares.
    pub(crate) fn own_bytes(&self) -> usize {
        let own = |layer: &&Arc<DecoderLayer>| Arc::strong_count(layer) == 1;
        let layers = self.layers.iter().filter(own).map(|layer| layer.bytes());
        let head = match Arc::strong_count(&self.lm_head) {
            1 => self.lm_head.bytes(),
            _ => 0,
        };
        layers.sum::<usize>() + head + self.files.replaced_bytes()
    }
}

impl DecoderLayer {
    fn load(
        files: &ModelFiles,
        config: &ModelConfig,
        compute: Compute,
        index: usize,
    ) -> Result<Self, EngineError> {
        let variant = &config.variant;
        let linear = |parts: &[&str]| Linear::load(files, &names_of(index, parts), compute);
        let norm = |part: &str| {
            read_norm(
                files,
                config,
                &format!("model.layers.{index}.{part}.weight"),
            )
        };
        let (after_attention, before_feed_forward) = match variant.sandwich_norms {
            true => (
                Some(norm("post_attention_layernorm")?),
                norm("pre_feedforward_layernorm")?,
            ),
            false => (None, norm("post_attention_layernorm")?),
        };
        let mut qkv_bias = Vec::new();
        for part in ["q", "k", "v"].iter().filter(|_| variant.qkv_bias) {
            let name = format!("model.layers.{index}.self_attn.{part}_proj.bias");
            qkv_bias.extend(files.read_f32(&name)?.1);
        }
        let head_norms =
            || Ok::<_, EngineError>((norm("self_attn.q_norm")?, norm("self_attn.k_norm")?));
        let output_norm = || norm("post_feedforward_layernorm");
        let [qkv, o, gate_up, down] = matrices(variant);
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            attention_norm: after_attention,
            feed_forward_norm: before_feed_forward,
            output_norm: variant.sandwich_norms.then(output_norm).transpose()?,
            head_norms: variant.qk_norm.then(head_norms).transpose()?,
            qkv_bias: variant.qkv_bias.then_some(qkv_bias),
            qkv: linear(qkv)?,
            o: linear(o)?,
            gate_up: linear(gate_up)?,
            down: linear(down)?,
        })
    }

    fn bytes(&self) -> usize {
        let matrices = [&self.qkv, &self.o, &self.gate_up, &self.down];
        matrices.map(Linear::bytes).iter().sum()
    }
}

/// Reads a norm as what is multiplied by.
fn read_norm(
    files: &ModelFiles,
    config: &ModelConfig,
    name: &str,
) -> Result<Vec<f32>, EngineError> {
    let mut weight = files.read_f32(name)?.1;
    if config.variant.norms_less_one {
        weight.iter_mut().for_each(|weight| *weight += 1.0);
    }
    Ok(weight)
}

/// Reads a token's embedding from the files.
pub(super) fn embed_token(
    files: &ModelFiles,
    config: &ModelConfig,
    id: u32,
    out: &mut [f32],
) -> Result<(), EngineError> {
    if id as usize >= config.vocab_size {
        return Err(EngineError::Invalid(format!(
            "token {id} is not one of {}",
            config.vocab_size
        )));
    }
    files.read_row(EMBEDDING, id as usize, out)?;
    if let Some(scale) = config.variant.embedding_scale {
        out.iter_mut().for_each(|x| *x *= scale);
    }
    Ok(())
}

/// The matrices of a layer: those with the same input are one. In order q, k and v; o; gate and up; down.
fn matrices(variant: &Variant) -> [&'static [&'static str]; 4] {
    let o: &[&str] = &["self_attn.o_proj"];
    let down: &[&str] = &["mlp.down_proj"];
    match variant.fused {
        true => [&["self_attn.qkv_proj"], o, &["mlp.gate_up_proj"], down],
        false => [
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            o,
            &["mlp.gate_proj", "mlp.up_proj"],
            down,
        ],
    }
}

fn names_of(layer: usize, parts: &[&str]) -> Vec<String> {
    let name = |part: &&str| format!("model.layers.{layer}.{part}.weight");
    parts.iter().map(name).collect()
}

fn head_of(config: &ModelConfig) -> &'static str {
    match config.tie_word_embeddings {
        true => EMBEDDING,
        false => HEAD,
    }
}

/// Tells in how many bits matrices are packed together.
fn bits_of(elements: impl Iterator<Item = ElementType>) -> WeightBits {
    match elements.map(ElementType::affine_bits).max() {
        Some(4) => WeightBits::Four,
        Some(5) => WeightBits::Five,
        _ => WeightBits::Eight,
    }
}

impl Linear {
    /// Reads matrices with the same input and packs them one under the other.
    fn load(files: &ModelFiles, names: &[String], compute: Compute) -> Result<Self, EngineError> {
        let parts = names
            .iter()
            .map(|name| files.read_raw(name))
            .collect::<Result<Vec<_>, _>>()?;
        let n = parts.iter().map(|part| part.shape[0]).sum();
        let k = parts[0].shape[1];
        let mut linear = match compute {
            Compute::Exact => Self::Exact(ExactMatrix::zeros(n, k)),
            Compute::Fast => {
                let bits = bits_of(parts.iter().map(|part| part.element));
                Self::Fast(FastMatrix::zeros(n, k, bits))
            }
        };
        let mut first = 0;
        for part in &parts {
            let row_bytes = part.bytes.len() / part.shape[0];
            let mut values = vec![0f32; k];
            for (row, bytes) in (first..).zip(part.bytes.chunks_exact(row_bytes)) {
                match &mut linear {
                    Self::Exact(matrix) => {
                        part.element.to_f32(bytes, &mut values)?;
                        matrix.set_rows(row, &values, 1.0);
                    }
                    Self::Fast(matrix) if part.element.is_affine() => {
                        let mut index = 0;
                        for bytes in bytes.chunks_exact(part.element.block_bytes()) {
                            part.element.each_affine_block(bytes, &mut |block| {
                                matrix.set_block(row, index, block);
                                index += 1;
                            });
                        }
                    }
                    Self::Fast(matrix) => {
                        part.element.to_f32(bytes, &mut values)?;
                        for (index, values) in values.chunks(BLOCK).enumerate() {
                            matrix.set_block(row, index, &quantize_affine(values));
                        }
                    }
                }
            }
            first += part.shape[0];
        }
        Ok(linear)
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Exact(matrix) => matrix.rows(),
            Self::Fast(matrix) => matrix.rows(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Exact(matrix) => matrix.bytes(),
            Self::Fast(matrix) => matrix.bytes(),
        }
    }

    /// Multiplies rows and writes or adds the product to `out` (`[rows, n]`); `quantized` holds the same rows as `x`
    /// where the matrix is of bytes.
    pub(crate) fn multiply(
        &self,
        team: &Team,
        x: &[f32],
        quantized: &QuantizedRows,
        rows: usize,
        out: &mut [f32],
        write: Write,
    ) {
        let n = self.rows();
        let isa = team.isa();
        let out = SharedMut::new(&mut out[..rows * n]);
        let tiles = match self {
            Self::Exact(matrix) => matrix.tiles(),
            Self::Fast(matrix) => matrix.tiles(),
        };
        let size = (tiles / (team.threads() * 16))
            .clamp(1, TILES * 4)
            .max(TILES.min(tiles.div_ceil(team.threads())));
        team.run_ranges(tiles, size, &|range| {
            // SAFETY: a task has these columns for itself.
            unsafe {
                match self {
                    Self::Exact(matrix) => {
                        matrix.multiply(isa, x, range.start, range.len(), &out, n, 0, write)
                    }
                    Self::Fast(matrix) => matrix.multiply(
                        isa,
                        quantized,
                        rows,
                        range.start,
                        range.len(),
                        &out,
                        n,
                        write,
                    ),
                }
            }
        });
    }
}
