//! What stands beside the weights in a Hugging Face folder: the base's own files where it is one, else made from its GGUF.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::config_json;
use super::output::Output;
use crate::methods::Labelling;
use crate::models::files::TextFiles;
use crate::models::folder::{read_json, read_optional};
use crate::models::gguf::GgufHeader;
use crate::models::multimodal::text_config;
use crate::tokenizer::ChatTemplate;
use crate::{EngineError, LoadedModel};

/// Files that are taken over as they are.
const COPIED: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "LICENSE",
];

/// Writes them.
pub(super) fn write(
    model: &LoadedModel,
    text: &TextFiles,
    labelling: Option<&Labelling>,
    output: &mut Output<'_>,
) -> Result<(), EngineError> {
    match text {
        TextFiles::HuggingFace { .. } => copy(model, labelling, output),
        TextFiles::Gguf(header) => make(model, (header, text), labelling, output),
    }
}

/// Says in a configuration what a head of labels gives.
fn put_labelling(config: &mut Json, model: &LoadedModel, labelling: Option<&Labelling>) {
    let Some(Labelling { task, labels }) = labelling else {
        return;
    };
    if let Some(class) = model.config.headed_class(*task) {
        config["architectures"] = json!([class]);
    }
    let numbered = labels.iter().enumerate();
    let by_number = numbered
        .clone()
        .map(|(i, label)| (i.to_string(), json!(label)));
    config["id2label"] = Json::Object(by_number.collect());
    let by_label = numbered.map(|(i, label)| (label.clone(), json!(i)));
    config["label2id"] = Json::Object(by_label.collect());
    // transformers finds the last token of padded rows by it.
    if config["pad_token_id"].is_null() {
        config["pad_token_id"] = json!(model.config.eos_ids.first());
    }
}

fn copy(
    model: &LoadedModel,
    labelling: Option<&Labelling>,
    output: &mut Output<'_>,
) -> Result<(), EngineError> {
    let folder = &model.path;
    // Of a folder that also sees, the part that reads and writes is exported.
    let mut config = text_config(read_json(&folder.join("config.json"))?);
    if let Some([_, class]) = model.config.hugging_face_names() {
        config["architectures"] = json!([class]);
    }
    config["tie_word_embeddings"] = json!(model.config.tie_word_embeddings);
    let set: Vec<&str> = ["dtype", "torch_dtype"]
        .into_iter()
        .filter(|key| !config[*key].is_null())
        .collect();
    for key in if set.is_empty() {
        vec!["torch_dtype"]
    } else {
        set
    } {
        config[key] = json!("float32");
    }
    put_labelling(&mut config, model, labelling);
    put_json(output, "config.json", &config)?;
    for name in COPIED {
        if let Some(bytes) = read_optional(&folder.join(name))? {
            output.small(name, &bytes)?;
        }
    }
    Ok(())
}

fn make(
    model: &LoadedModel,
    (header, text): (&GgufHeader, &TextFiles),
    labelling: Option<&Labelling>,
    output: &mut Output<'_>,
) -> Result<(), EngineError> {
    let (path, config): (&Path, _) = (&model.path, &model.config);
    let id = |key: &str| {
        let field = header
            .metadata
            .get(&format!("tokenizer.ggml.{key}_token_id"))?;
        u32::try_from(field.as_u64()?).ok()
    };
    let padding = id("padding");
    let mut settings = config_json::of_gguf(path, config, header, padding)?;
    put_labelling(&mut settings, model, labelling);
    put_json(output, "config.json", &settings)?;
    let mut generation = json!({"eos_token_id": config.eos_ids});
    for (key, id) in [("bos_token_id", config.bos_id), ("pad_token_id", padding)] {
        if let Some(id) = id {
            generation[key] = json!(id);
        }
    }
    put_json(output, "generation_config.json", &generation)?;
    let tokenizer = model.tokenizer.to_json(config)?;
    // Half a million merges are not laid out over lines.
    output.small("tokenizer.json", tokenizer.to_string().as_bytes())?;
    let template = ChatTemplate::source_in(path, text);
    let template = template.as_ref().map(|template| template.text());
    let settings = model.tokenizer.config_json(config, padding, template);
    put_json(output, "tokenizer_config.json", &settings)
}

fn put_json(output: &mut Output<'_>, name: &str, json: &Json) -> Result<(), EngineError> {
    output.small(name, format!("{json:#}\n").as_bytes())
}
