//! What the tensors of a decoder are called, in Hugging Face's files and in GGUF's, and their shapes.

use super::config::ModelConfig;

/// The rows of tokens that go in.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The rows of tokens that come out, where they are another matrix.
pub(crate) const HEAD: &str = "lm_head.weight";
/// The norm after the last layer.
pub(crate) const LAST_NORM: &str = "model.norm.weight";

/// GGUF's names of a layer's tensors, and Hugging Face's.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("attn_norm.weight", "input_layernorm.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_qkv.weight", "self_attn.qkv_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
];
/// Those that families name otherwise, looked at first.
const SANDWICH_NAMES: &[(&str, &str)] = &[
    ("ffn_norm.weight", "pre_feedforward_layernorm.weight"),
    (
        "post_attention_norm.weight",
        "post_attention_layernorm.weight",
    ),
    ("post_ffw_norm.weight", "post_feedforward_layernorm.weight"),
];
const FUSED_NAMES: &[(&str, &str)] = &[("ffn_up.weight", "mlp.gate_up_proj.weight")];
const OTHER_NAMES: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Names every tensor a decoder has, with its shape.
pub(crate) fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let mut expected = vec![
        (
            "model.embed_tokens.weight".to_string(),
            vec![config.vocab_size, hidden],
        ),
        ("model.norm.weight".to_string(), vec![hidden]),
    ];
    if !config.tie_word_embeddings {
        expected.push((
            "lm_head.weight".to_string(),
            vec![config.vocab_size, hidden],
        ));
    }
    let variant = &config.variant;
    let mut parts: Vec<(&str, Vec<usize>)> = vec![
        ("input_layernorm.weight", vec![hidden]),
        ("post_attention_layernorm.weight", vec![hidden]),
        ("self_attn.o_proj.weight", vec![hidden, queries]),
        ("mlp.down_proj.weight", vec![hidden, intermediate]),
    ];
    if variant.fused {
        parts.push((
            "self_attn.qkv_proj.weight",
            vec![queries + 2 * keys, hidden],
        ));
        parts.push(("mlp.gate_up_proj.weight", vec![2 * intermediate, hidden]));
    } else {
        parts.push(("self_attn.q_proj.weight", vec![queries, hidden]));
        parts.push(("self_attn.k_proj.weight", vec![keys, hidden]));
        parts.push(("self_attn.v_proj.weight", vec![keys, hidden]));
        parts.push(("mlp.gate_proj.weight", vec![intermediate, hidden]));
        parts.push(("mlp.up_proj.weight", vec![intermediate, hidden]));
    }
    if variant.qkv_bias {
        parts.push(("self_attn.q_proj.bias", vec![queries]));
        parts.push(("self_attn.k_proj.bias", vec![keys]));
        parts.push(("self_attn.v_proj.bias", vec![keys]));
    }
    if variant.qk_norm {
        parts.push(("self_attn.q_norm.weight", vec![config.head_dim]));
        parts.push(("self_attn.k_norm.weight", vec![config.head_dim]));
    }
    if variant.sandwich_norms {
        parts.push(("pre_feedforward_layernorm.weight", vec![hidden]));
        parts.push(("post_feedforward_layernorm.weight", vec![hidden]));
    }
    for layer in 0..config.layers {
        for (name, shape) in &parts {
            expected.push((format!("model.layers.{layer}.{name}"), shape.clone()));
        }
    }
    expected
}

/// Finds what Hugging Face calls a tensor of GGUF's; none for one that no decoder has.
pub(super) fn hugging_face_name(gguf: &str, config: &ModelConfig) -> Option<String> {
    if let Some((_, name)) = OTHER_NAMES.iter().find(|(name, _)| *name == gguf) {
        return Some((*name).to_string());
    }
    let (layer, part) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let mut names = layer_names(config);
    let (_, name) = names.find(|(name, _)| *name == part)?;
    Some(format!(
        "model.layers.{}.{name}",
        layer.parse::<u32>().ok()?
    ))
}

/// Finds what GGUF calls a tensor.
pub(crate) fn gguf_name(hugging_face: &str, config: &ModelConfig) -> String {
    let named = |names: &mut dyn Iterator<Item = &'static (&'static str, &'static str)>, name| {
        let mut found = names.filter(|(_, hugging_face)| *hugging_face == name);
        found.next().map(|(gguf, _)| *gguf)
    };
    let in_layer = || {
        let (layer, part) = hugging_face
            .strip_prefix("model.layers.")?
            .split_once('.')?;
        let part = named(&mut layer_names(config), part)?;
        Some(format!("blk.{layer}.{part}"))
    };
    let other = named(&mut OTHER_NAMES.iter(), hugging_face);
    other
        .map(String::from)
        .or_else(in_layer)
        .unwrap_or_else(|| hugging_face.to_string())
}

/// Lists the names of a layer's tensors, those of the family first.
fn layer_names(
    config: &ModelConfig,
) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let special: &[(&str, &str)] = match &config.variant {
        variant if variant.sandwich_norms => SANDWICH_NAMES,
        variant if variant.fused => FUSED_NAMES,
        _ => &[],
    };
    special.iter().chain(LAYER_NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated() {
        let mut config = crate::models::config::ModelConfig {
            architecture: "llama".into(),
            vocab_size: 8,
            hidden_size: 4,
            intermediate_size: 4,
            layers: 8,
            heads: 1,
            kv_heads: 1,
            head_dim: 4,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            context_length: 8,
            tie_word_embeddings: true,
            eos_ids: Vec::new(),
            bos_id: None,
            add_bos: false,
            variant: Default::default(),
        };
        let check = |config: &ModelConfig, gguf: &str, expect: &str| {
            assert_eq!(hugging_face_name(gguf, config).as_deref(), Some(expect));
            assert_eq!(gguf_name(expect, config), gguf);
        };
        check(
            &config,
            "blk.7.attn_q.weight",
            "model.layers.7.self_attn.q_proj.weight",
        );
        check(
            &config,
            "blk.7.attn_q.bias",
            "model.layers.7.self_attn.q_proj.bias",
        );
        check(
            &config,
            "blk.7.ffn_norm.weight",
            "model.layers.7.post_attention_layernorm.weight",
        );
        assert_eq!(hugging_face_name("blk.7.attn_r.weight", &config), None);
        config.variant.sandwich_norms = true;
        check(
            &config,
            "blk.7.ffn_norm.weight",
            "model.layers.7.pre_feedforward_layernorm.weight",
        );
        check(
            &config,
            "blk.7.post_attention_norm.weight",
            "model.layers.7.post_attention_layernorm.weight",
        );
        check(&config, "token_embd.weight", "model.embed_tokens.weight");
    }
}
