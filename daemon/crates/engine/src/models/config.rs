//! What a model's header says about its shape, from GGUF metadata or Hugging Face's `config.json`.

use std::path::Path;

use autodidact_domain::embedding::ENCODER_ARCHITECTURES;
use serde_json::Value as Json;

use super::family::{FAMILIES, Family, RopeScaling, Variant};
use super::fields::{GgufFields, JsonFields};
use super::foreign::{foreign_architectures, is_foreign, with_common_names};
use super::gguf::{GgufHeader, Value};
use super::multimodal::multimodal_names;
use crate::EngineError;

/// Limits that no sane model passes; a header beyond them is refused before anything is allocated.
const MAX_LAYERS: usize = 1024;
const MAX_WIDTH: usize = 1 << 18;
pub(crate) const MAX_HEAD: usize = 1024;
const MAX_VOCABULARY: usize = 1 << 22;
const MAX_CONTEXT: usize = 1 << 28;
/// The field of a GGUF file that names its architecture.
const GGUF_ARCHITECTURE: &str = "general.architecture";
/// Stands where a foreign model has no RMSNorm; nothing computes with it.
const FOREIGN_NORM_EPSILON: f64 = 1e-5;

/// The shape and the constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family, such as `llama`; GGUF's name for it, or `config.json`'s.
    pub architecture: String,
    /// Tokens in the vocabulary, and rows of the embedding.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width of the feed-forward part.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// The width of a head; even.
    pub head_dim: usize,
    /// The epsilon of RMSNorm.
    pub rms_norm_eps: f32,
    /// The base of the rotary embedding.
    pub rope_theta: f32,
    /// The longest sequence the model was made for, in tokens.
    pub context_length: usize,
    /// Whether the embedding is the output matrix as well.
    pub tie_word_embeddings: bool,
    /// The tokens that end a turn or a text.
    pub eos_ids: Vec<u32>,
    /// The token that begins a text, where the model has one.
    pub bos_id: Option<u32>,
    /// Whether plain text begins with `bos_id`.
    pub add_bos: bool,
    /// Where the family differs from the plain Llama.
    pub variant: Variant,
}

impl ModelConfig {
    /// Reads GGUF metadata. `tie_word_embeddings` follows from the tensors there are.
    pub(crate) fn from_gguf(file: &Path, header: &GgufHeader) -> Result<Self, EngineError> {
        let fields = GgufFields {
            file,
            header,
            prefix: "",
        };
        let architecture = fields.text(GGUF_ARCHITECTURE)?;
        let family = find_family(file, GGUF_ARCHITECTURE, &architecture, |row| row.gguf)?;
        let fields = GgufFields {
            prefix: &architecture,
            ..fields
        };
        if header
            .metadata
            .contains_key(&format!("{architecture}.expert_count"))
            && fields.count("expert_count", MAX_WIDTH)? > 0
        {
            return Err(EngineError::unsupported(
                file,
                "expert_count",
                "a dense model",
                "a mixture of experts",
            ));
        }
        let hidden_size = fields.count("embedding_length", MAX_WIDTH)?;
        let heads = fields.count("attention.head_count", MAX_WIDTH)?;
        let head_dim = match fields.optional_count("attention.key_length", MAX_WIDTH)? {
            Some(width) => width,
            None => hidden_size / heads.max(1),
        };
        if let Some(width) = fields.optional_count("rope.dimension_count", MAX_WIDTH)?
            && width != head_dim
        {
            return Err(EngineError::unsupported(
                file,
                "rope.dimension_count",
                format!("the head width {head_dim}"),
                width.to_string(),
            ));
        }
        let vocab_size = header
            .tensors
            .get("token_embd.weight")
            .and_then(|tensor| tensor.shape.first().copied());
        let bos_id = fields.optional_token("tokenizer.ggml.bos_token_id");
        let eos_ids = gguf_eos_ids(&fields);
        let layers = fields.count("block_count", MAX_LAYERS)?;
        let shape = (hidden_size, heads.max(1), layers);
        let variant = family
            .traits
            .variant_of_gguf(&fields, &architecture, shape, MAX_CONTEXT)?;
        let longest = variant.long_rope.map(|long_rope| long_rope.context);
        let config = Self {
            vocab_size: vocab_size.ok_or_else(|| {
                EngineError::damaged(
                    file,
                    "token_embd.weight",
                    "a tensor [vocabulary, width]",
                    "none",
                )
            })?,
            hidden_size,
            intermediate_size: fields.count("feed_forward_length", MAX_WIDTH)?,
            layers,
            heads,
            kv_heads: fields
                .optional_count("attention.head_count_kv", MAX_WIDTH)?
                .unwrap_or(heads),
            head_dim,
            rms_norm_eps: fields.number("attention.layer_norm_rms_epsilon")?,
            // The base of Su et al. 2021, which GGUF leaves out where it holds.
            rope_theta: fields
                .optional_number("rope.freq_base")?
                .unwrap_or(10_000.0),
            context_length: fields
                .count("context_length", MAX_CONTEXT)?
                .min(longest.unwrap_or(usize::MAX)),
            tie_word_embeddings: !header.tensors.contains_key("output.weight"),
            eos_ids,
            bos_id,
            add_bos: bos_id.is_some() && gguf_adds_bos(header),
            architecture,
            variant,
        };
        config.check(file)?;
        Ok(config)
    }

    /// Reads `config.json`. `eos_token_ids` of `generation_config.json` are added; `add_bos` is the tokenizer's to say.
    pub(crate) fn from_hugging_face(
        file: &Path,
        config: &Json,
        generation: Option<&Json>,
        has_lm_head: bool,
    ) -> Result<Self, EngineError> {
        let architecture = JsonFields { file, json: config }.text("model_type")?;
        let foreign = is_foreign(&architecture);
        let common;
        let config = match foreign {
            true => {
                common = with_common_names(&architecture, config);
                &common
            }
            false => config,
        };
        let fields = JsonFields { file, json: config };
        let family = match foreign {
            true => None,
            false => Some(hugging_face_family(file, config, &architecture)?),
        };
        let hidden_size = fields.count("hidden_size", MAX_WIDTH)?;
        let heads = fields.count("num_attention_heads", MAX_WIDTH)?;
        let theta = config["rope_theta"]
            .as_f64()
            .or_else(|| config["rope_parameters"]["rope_theta"].as_f64())
            .or_else(|| config["rope_parameters"]["full_attention"]["rope_theta"].as_f64());
        let mut eos_ids = token_ids(&config["eos_token_id"]);
        if let Some(generation) = generation {
            for id in token_ids(&generation["eos_token_id"]) {
                if !eos_ids.contains(&id) {
                    eos_ids.push(id);
                }
            }
        }
        let tied = config["tie_word_embeddings"].as_bool().unwrap_or(false);
        let layers = fields.count("num_hidden_layers", MAX_LAYERS)?;
        let variant = match family {
            Some(family) => {
                family
                    .traits
                    .variant_of_json(&fields, (hidden_size, layers), MAX_CONTEXT)?
            }
            None => Variant::default(),
        };
        // What our decoder does not run may have another norm, whose constant candle-transformers reads.
        let norm_epsilon = config["rms_norm_eps"]
            .as_f64()
            .or(foreign.then_some(FOREIGN_NORM_EPSILON));
        let longest = variant.long_rope.map(|long_rope| long_rope.context);
        let result = Self {
            vocab_size: fields.count("vocab_size", MAX_VOCABULARY)?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size", MAX_WIDTH)?,
            layers,
            heads,
            kv_heads: fields
                .optional_count("num_key_value_heads", MAX_WIDTH)?
                .unwrap_or(heads),
            head_dim: fields
                .optional_count("head_dim", MAX_WIDTH)?
                .unwrap_or(hidden_size / heads.max(1)),
            rms_norm_eps: norm_epsilon.ok_or_else(|| {
                EngineError::unsupported(
                    file,
                    "rms_norm_eps",
                    "a number",
                    config["rms_norm_eps"].to_string(),
                )
            })? as f32,
            rope_theta: theta.unwrap_or(10_000.0) as f32,
            context_length: fields
                .count("max_position_embeddings", MAX_CONTEXT)?
                .min(longest.unwrap_or(usize::MAX)),
            tie_word_embeddings: tied || !has_lm_head,
            eos_ids,
            bos_id: token_ids(&config["bos_token_id"]).first().copied(),
            add_bos: false,
            architecture,
            variant,
        };
        result.check(file)?;
        Ok(result)
    }

    /// Refuses shapes that no decoder has, so that later arithmetic cannot overflow or divide by zero.
    fn check(&self, file: &Path) -> Result<(), EngineError> {
        let refuse = |part: &str, expected: String, found: String| {
            Err(EngineError::damaged(file, part, expected, found))
        };
        let widths = [
            ("vocabulary", self.vocab_size, MAX_VOCABULARY),
            ("hidden size", self.hidden_size, MAX_WIDTH),
            ("intermediate size", self.intermediate_size, MAX_WIDTH),
            ("layers", self.layers, MAX_LAYERS),
            ("heads", self.heads, MAX_WIDTH),
            ("key-value heads", self.kv_heads, MAX_WIDTH),
            ("head width", self.head_dim, MAX_WIDTH),
            ("context length", self.context_length, MAX_CONTEXT),
        ];
        for (part, found, limit) in widths {
            if found == 0 || found > limit {
                return refuse(part, format!("1 to {limit}"), found.to_string());
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return refuse(
                "key-value heads",
                format!("a divisor of {} heads", self.heads),
                self.kv_heads.to_string(),
            );
        }
        if !self.head_dim.is_multiple_of(2)
            || self.head_dim > MAX_HEAD
            || self.heads * self.head_dim > MAX_WIDTH
        {
            return refuse(
                "head width",
                "an even number, within bounds over all heads".into(),
                self.head_dim.to_string(),
            );
        }
        if let RopeScaling::Factors(factors) = &self.variant.rope_scaling
            && factors.len() != self.head_dim / 2
        {
            return refuse(
                "factors of the rotary embedding",
                (self.head_dim / 2).to_string(),
                factors.len().to_string(),
            );
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return refuse(
                "RMSNorm epsilon",
                "above 0, below 1".into(),
                self.rms_norm_eps.to_string(),
            );
        }
        if !(self.rope_theta >= 1.0 && self.rope_theta.is_finite()) {
            return refuse(
                "rope base",
                "at least 1".into(),
                self.rope_theta.to_string(),
            );
        }
        let limit = self.vocab_size as u32;
        if let Some(id) = self
            .eos_ids
            .iter()
            .chain(self.bos_id.iter())
            .find(|id| **id >= limit)
        {
            return refuse("special token id", format!("below {limit}"), id.to_string());
        }
        Ok(())
    }
}

fn hugging_face_family(
    file: &Path,
    config: &Json,
    architecture: &str,
) -> Result<&'static Family, EngineError> {
    let family = find_family(file, "model_type", architecture, |row| row.hugging_face)?;
    if let Some(class) = config["architectures"][0].as_str() {
        find_family(file, "architectures", class, |row| row.class)?;
    }
    Ok(family)
}

fn find_family(
    file: &Path,
    part: &str,
    found: &str,
    name: impl Fn(&Family) -> &'static str,
) -> Result<&'static Family, EngineError> {
    let known = FAMILIES.iter().filter(|row| !name(row).is_empty());
    known.clone().find(|row| name(row) == found).ok_or_else(|| {
        let mut names: Vec<&str> = known.map(&name).collect();
        let mut expected = match part {
            "model_type" => {
                names.extend(multimodal_names());
                names.extend(foreign_architectures());
                names.extend(ENCODER_ARCHITECTURES);
                names.join(", ")
            }
            _ => names.join(", "),
        };
        if part == GGUF_ARCHITECTURE {
            expected += "; some others load from their Hugging Face folders";
        }
        EngineError::unsupported(file, part, expected, found)
    })
}

/// Tells whether plain text begins with the begin token: as the file says, else as llama.cpp assumes for the vocabulary.
fn gguf_adds_bos(header: &GgufHeader) -> bool {
    if let Some(Value::Bool(add)) = header.metadata.get("tokenizer.ggml.add_bos_token") {
        return *add;
    }
    let text = |key: &str| {
        header
            .metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    text("tokenizer.ggml.model") == "llama"
        || matches!(
            text("tokenizer.ggml.pre"),
            "llama-bpe" | "llama3" | "llama-v3"
        )
}

/// Collects the tokens that end a turn or a text: those the file names, and control tokens of well-known texts.
fn gguf_eos_ids(fields: &GgufFields<'_>) -> Vec<u32> {
    // llama.cpp ends generation at these too (`llama-vocab.cpp`, end-of-generation tokens).
    const KNOWN: &[&str] = &[
        "<end_of_turn>",
        "<|end|>",
        "<|endoftext|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "</s>",
    ];
    const CONTROL: f64 = 3.0;
    let keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    let named = keys
        .iter()
        .filter_map(|key| fields.optional_token(&format!("tokenizer.ggml.{key}")));
    let mut ids = Vec::new();
    let mut add = |id: u32| {
        if !ids.contains(&id) {
            ids.push(id);
        }
    };
    named.for_each(&mut add);
    let metadata = &fields.header.metadata;
    if let (Some(Value::Texts(texts)), Some(Value::Numbers(kinds))) = (
        metadata.get("tokenizer.ggml.tokens"),
        metadata.get("tokenizer.ggml.token_type"),
    ) {
        let tokens = texts.iter().zip(kinds).enumerate();
        let known =
            tokens.filter(|(_, (text, kind))| **kind == CONTROL && KNOWN.contains(&text.as_str()));
        known.for_each(|(id, _)| add(id as u32));
    }
    ids
}

/// Reads one id or a list of ids.
fn token_ids(json: &Json) -> Vec<u32> {
    let id = |json: &Json| json.as_u64().and_then(|id| u32::try_from(id).ok());
    match json {
        Json::Array(items) => items.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}
