//! An encoder's tensors: places and shapes checked before anything is read.

use std::path::Path;

use super::config::EncoderConfig;
use crate::EngineError;
use crate::models::files::ModelFiles;

/// What models with a head in front of the encoder put before the tensors' names.
const PREFIXES: [&str; 2] = ["bert.", "roberta."];
/// Tensors beside the encoder that vectors do not need: heads, the pooler of next-sentence prediction, a constant.
const IGNORED: [&str; 5] = [
    "pooler.",
    "cls.",
    "lm_head.",
    "classifier.",
    "embeddings.position_ids",
];

/// Opens a Hugging Face folder and checks every tensor's place and shape.
///
/// # Errors
/// As [`ModelFiles::open`].
pub(super) fn open(path: &Path) -> Result<(ModelFiles, EncoderConfig), EngineError> {
    let config = EncoderConfig::read(path)?;
    let keep = |name: &str| {
        let name = plain_name(name);
        (!is_ignored(name)).then(|| name.to_string())
    };
    let files = ModelFiles::open_safetensors(path, &keep)?;
    let expected = expected_tensors(&config);
    files.check_shapes(&config.architecture, expected, &str::to_string)?;
    Ok((files, config))
}

fn plain_name(name: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

fn is_ignored(name: &str) -> bool {
    IGNORED.iter().any(|ignored| name.starts_with(ignored))
}

/// Names every tensor an encoder has, with its shape.
fn expected_tensors(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let mut expected: Vec<(String, Vec<usize>)> = [
        ("word_embeddings.weight", vec![config.vocab_size, hidden]),
        ("position_embeddings.weight", vec![config.positions, hidden]),
        (
            "token_type_embeddings.weight",
            vec![config.token_types, hidden],
        ),
        ("LayerNorm.weight", vec![hidden]),
        ("LayerNorm.bias", vec![hidden]),
    ]
    .into_iter()
    .map(|(name, shape)| (format!("embeddings.{name}"), shape))
    .collect();
    let linears = [
        ("attention.self.query", hidden, hidden),
        ("attention.self.key", hidden, hidden),
        ("attention.self.value", hidden, hidden),
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", intermediate, hidden),
        ("output.dense", hidden, intermediate),
    ];
    for layer in 0..config.layers {
        let mut add =
            |name: String, shape| expected.push((format!("encoder.layer.{layer}.{name}"), shape));
        for (name, rows, columns) in linears {
            add(format!("{name}.weight"), vec![rows, columns]);
            add(format!("{name}.bias"), vec![rows]);
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{norm}.weight"), vec![hidden]);
            add(format!("{norm}.bias"), vec![hidden]);
        }
    }
    expected
}
