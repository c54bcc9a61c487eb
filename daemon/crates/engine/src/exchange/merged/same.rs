//! Holds a written model against the one it was made of.

use std::path::Path;
use std::sync::Arc;

use autodidact_domain::Message;

use crate::engine::open_text;
use crate::models::config::ModelConfig;
use crate::models::files::{ModelFiles, TextFiles};
use crate::tokenizer::{ChatTemplate, Tokenizer};
use crate::{EngineError, LoadedModel};

/// Letters of several scripts, numbers, blanks of every kind, code, and a character of four bytes.
const TEXT: &str = "Hello, world! It's 1234567 o'clock.\n\n  The 2nd line\tcosts 3.50 €;  naïve café. \
    天气很好，我们去公园。\r\nПривет! 🙂 def f(x):\n        return x ** 2  \n#### Done";
/// How far frequencies of the rotary embedding may be apart where formats write them in different ways.
const SAME_FREQUENCY: f32 = 1e-5;

/// Opens a written model and compares all but its weights' numbers.
///
/// # Errors
/// [`EngineError::Invalid`] with the part that the format does not hold; what opening it gives.
pub(super) fn open(
    model: &LoadedModel,
    format: &str,
    path: &Path,
) -> Result<(Arc<ModelFiles>, ModelConfig), EngineError> {
    compare(model, format, path, ModelFiles::open(path)?)
}

/// As [`open`], of a folder with a head of labels in the place of the output matrix.
///
/// # Errors
/// As there.
pub(super) fn open_headed(
    model: &LoadedModel,
    format: &str,
    path: &Path,
) -> Result<(Arc<ModelFiles>, ModelConfig), EngineError> {
    let (files, mut config, text) = ModelFiles::open_headed(path)?;
    config.tie_word_embeddings = model.config.tie_word_embeddings;
    let (files, mut config) = compare(model, format, path, (files, config, text))?;
    // What is not there is not read.
    config.tie_word_embeddings = true;
    Ok((files, config))
}

fn compare(
    model: &LoadedModel,
    format: &str,
    path: &Path,
    (files, config, text): (ModelFiles, ModelConfig, TextFiles),
) -> Result<(Arc<ModelFiles>, ModelConfig), EngineError> {
    let (tokenizer, config, template) = open_text(path, &text, config)?;
    let differs = |part: &str, base: String, written: String| {
        Err(EngineError::Invalid(format!(
            "format: {format} does not hold this model's {part}: {base} would be read as {written}; expected another format"
        )))
    };
    for ((part, base), (_, written)) in facts(&model.config).into_iter().zip(facts(&config)) {
        if base != written {
            return differs(part, base, written);
        }
    }
    let missing = model
        .config
        .eos_ids
        .iter()
        .find(|id| !config.eos_ids.contains(id));
    if missing.is_some() {
        let [base, written] =
            [&model.config, &config].map(|config| format!("{:?}", config.eos_ids));
        return differs("tokens that end a turn", base, written);
    }
    if !same_frequencies(&model.config, &config) {
        let [base, written] = [&model.config, &config].map(|config| frequencies(config, 0));
        return differs(
            "frequencies of the rotary embedding",
            format!("{base:?}"),
            format!("{written:?}"),
        );
    }
    let tokens = |tokenizer: &Tokenizer| tokenizer.encode(TEXT);
    if tokens(&model.tokenizer)? != tokens(&tokenizer)? {
        return differs(
            "way to split text",
            "a text's tokens".into(),
            "others".into(),
        );
    }
    let base = laid_out(&model.tokenizer, model.template.as_ref())?;
    if base != laid_out(&tokenizer, template.as_ref())? {
        return differs(
            "chat template",
            "a conversation's tokens".into(),
            "others".into(),
        );
    }
    Ok((Arc::new(files), config))
}

/// Lists what two configurations of one model share, whatever format they were read from.
fn facts(config: &ModelConfig) -> Vec<(&'static str, String)> {
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let variant = &config.variant;
    let windows: Vec<Option<usize>> = (0..config.layers)
        .map(|layer| Some(config.window_of(layer)?.positions))
        .collect();
    vec![
        ("vocabulary", text(&config.vocab_size)),
        ("hidden size", text(&config.hidden_size)),
        ("intermediate size", text(&config.intermediate_size)),
        ("layers", text(&config.layers)),
        ("heads", text(&(config.heads, config.kv_heads))),
        ("head width", text(&config.head_dim)),
        ("RMSNorm epsilon", text(&config.rms_norm_eps)),
        ("context length", text(&config.context_length)),
        ("output matrix", text(&config.tie_word_embeddings)),
        ("begin token", text(&(config.bos_id, config.add_bos))),
        ("embedding's scale", text(&variant.embedding_scale)),
        ("activation", text(&variant.activation)),
        (
            "scale of scores",
            format!("{:.4e}", config.attention_scale()),
        ),
        ("windows of attention", text(&windows)),
    ]
}

fn frequencies(config: &ModelConfig, layer: usize) -> Vec<f32> {
    config.rope_frequencies(config.window_of(layer))
}

fn same_frequencies(a: &ModelConfig, b: &ModelConfig) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= SAME_FREQUENCY * a.abs();
    (0..a.layers).all(|layer| {
        let (a, b) = (frequencies(a, layer), frequencies(b, layer));
        a.iter().zip(&b).all(near)
    })
}

/// The tokens of a question with its answer, and of a question that waits for one; none where there is no template.
fn laid_out(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Option<[Vec<u32>; 2]>, EngineError> {
    let Some(template) = template else {
        return Ok(None);
    };
    let messages = [Message::user(TEXT.trim()), Message::assistant("Hello.")];
    let ids = |messages: &[Message], waits| {
        let spans = template.render_spans(tokenizer, messages, waits)?;
        Ok::<_, EngineError>(spans.into_iter().flat_map(|span| span.ids).collect())
    };
    Ok(Some([ids(&messages, false)?, ids(&messages[..1], true)?]))
}
