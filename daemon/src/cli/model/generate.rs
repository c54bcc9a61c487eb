//! Continuing a prompt, once or several times, freely or in a given form.

use std::io::Read;
use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::Args;
use serde_json::json;

use super::SamplingArgs;
use crate::cli::{Failure, Global, connect, output};

pub(super) const EXAMPLES: &str = "\
With --choices, --regex or --json-schema the whole answer has that form, unless it is cut short by --max-tokens or --stop.

Examples:
  autodidact model generate smollm2-135m-instruct --prompt \"Name three rivers.\"
  autodidact model generate smollm2-135m-instruct --prompt \"Is water wet?\" --choices yes,no --logprobs 5
  autodidact model generate smollm2-135m-instruct --prompt \"A date, please.\" --regex \"\\d{4}-\\d{2}-\\d{2}\"
  autodidact model generate smollm2-135m-instruct --prompt \"Describe a cat.\" --json-schema cat.json
  autodidact model generate smollm2-135m-instruct --prompt \"Write a slogan.\" --temperature 0.9 --min-p 0.1 --completions 4";

/// No prompt and no schema is longer than a message may be.
const MAX_INPUT_BYTES: u64 = 4 << 20;

/// What was asked for.
#[derive(Args)]
pub(crate) struct GenerateOptions {
    /// The model
    name: String,
    /// The prompt, or - for stdin
    #[arg(long)]
    prompt: String,
    /// Continue the text itself instead of answering it as a chat turn
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    form: FormArgs,
    /// How many completions, with the seeds --seed, --seed + 1 and so on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    completions: u32,
    /// Tell how likely each token was, and this many of the likeliest at its place
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=20))]
    logprobs: Option<u32>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// The form that the text is to have.
#[derive(Args)]
#[group(multiple = false)]
struct FormArgs {
    /// Answer by one of these texts, with commas between
    #[arg(long, value_delimiter = ',', value_name = "TEXT,…")]
    choices: Vec<String>,
    /// Answer by a text that this regular expression matches as a whole
    #[arg(long)]
    regex: Option<String>,
    /// Answer by JSON that the schema in this file allows
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
}

impl FormArgs {
    fn to_message(&self) -> Result<Option<v1::generate_request::Constraint>, Failure> {
        use v1::generate_request::Constraint;
        if !self.choices.is_empty() {
            let texts = self.choices.clone();
            return Ok(Some(Constraint::Choices(v1::Choices { texts })));
        }
        if let Some(path) = &self.json_schema {
            return Ok(Some(Constraint::JsonSchema(read_schema(path)?)));
        }
        Ok(self.regex.clone().map(Constraint::Regex))
    }
}

/// Continues a prompt and shows what comes.
pub(super) async fn run(options: GenerateOptions, global: &Global) -> Result<(), Failure> {
    let prompt = match options.prompt.as_str() {
        "-" => read_stdin()?,
        prompt => prompt.to_string(),
    };
    let prompt = if options.raw {
        Prompt::Text(prompt)
    } else {
        Prompt::Chat(vec![turn(v1::Role::User, prompt)])
    };
    let request = v1::GenerateRequest {
        constraint: options.form.to_message()?,
        logprobs: options.logprobs,
        completions: options.completions,
        ..request(&options.name, prompt, &options.sampling)
    };
    let client = connect(global).await?;
    let several = options.completions > 1;
    let completions = collect(&client, request, !global.json && !several).await?;
    if global.json {
        let mut answer = json!({"model": options.name, "adapter": options.sampling.adapter});
        if several {
            answer["completions"] = messages::list("Completion", &completions);
        } else {
            answer["completion"] = messages::of("Completion", &completions[0]);
        }
        return output::json(&answer);
    }
    for (number, completion) in completions.iter().enumerate() {
        if several {
            output::line(format!("[{}] {}", number + 1, completion.text))?;
        } else {
            output::line("")?;
        }
        if options.logprobs.is_some() {
            tell_logprobs(completion)?;
        }
    }
    Ok(())
}

fn tell_logprobs(completion: &v1::Completion) -> Result<(), Failure> {
    let row = |token: &v1::TokenLogprob| {
        let top: Vec<String> = token
            .top
            .iter()
            .map(|other| format!("{} {:.2}", quoted(&other.bytes), other.logprob))
            .collect();
        vec![
            quoted(&token.bytes),
            format!("{:.2}", token.logprob),
            top.join("  "),
        ]
    };
    let rows: Vec<Vec<String>> = completion.logprobs.iter().map(row).collect();
    output::table(&["TOKEN", "LOGPROB", "LIKELIEST"], &rows)
}

/// Shows a token's bytes, which may be a part of a character or none.
fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok("") => "(special)".to_string(),
        Ok(text) => format!("{text:?}"),
        Err(_) => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
    }
}

/// What a model is given.
pub(super) enum Prompt {
    Text(String),
    Chat(Vec<v1::Message>),
}

pub(super) fn turn(role: v1::Role, content: String) -> v1::Message {
    v1::Message {
        role: role.into(),
        content,
    }
}

/// Asks for one free completion, showing it as it comes where that is wanted.
pub(super) async fn complete(
    client: &Client,
    model: &str,
    prompt: Prompt,
    sampling: &SamplingArgs,
    show: bool,
) -> Result<v1::Completion, Failure> {
    let completions = collect(client, request(model, prompt, sampling), show).await?;
    completions.into_iter().next().ok_or_else(cut_short)
}

fn request(model: &str, prompt: Prompt, sampling: &SamplingArgs) -> v1::GenerateRequest {
    let prompt = match prompt {
        Prompt::Text(text) => v1::generate_request::Prompt::Text(text),
        Prompt::Chat(messages) => v1::generate_request::Prompt::Chat(v1::Conversation { messages }),
    };
    v1::GenerateRequest {
        model: model.to_string(),
        adapter: sampling.adapter.clone(),
        prompt: Some(prompt),
        sampling: Some(sampling.to_message()),
        ..Default::default()
    }
}

/// Collects the completions asked for, at least one, showing the text as it comes where that is wanted.
async fn collect(
    client: &Client,
    request: v1::GenerateRequest,
    show: bool,
) -> Result<Vec<v1::Completion>, Failure> {
    use v1::generate_response::Message;
    let wanted = request.completions.max(1) as usize;
    let mut completions = Vec::new();
    let mut stream = client.models().generate(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        match message.message {
            Some(Message::Piece(piece)) if show => output::text(&piece)?,
            Some(Message::Completion(completion)) => completions.push(completion),
            Some(Message::Piece(_)) | None => {}
        }
    }
    if completions.len() < wanted {
        return Err(cut_short());
    }
    Ok(completions)
}

fn cut_short() -> Failure {
    Failure::refused(
        "UNAVAILABLE",
        "the daemon ended the answer early; try again",
    )
}

/// Reads all of stdin, up to what a message may hold.
pub(super) fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_INPUT_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("read stdin: {error}")))?;
    Ok(text)
}

fn read_schema(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::local(format!("read {}: {error}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_INPUT_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: GenerateOptions,
    }

    fn parse(flags: &[&str]) -> Result<GenerateOptions, clap::Error> {
        let line = ["generate", "m", "--prompt", "p"].iter().chain(flags);
        Line::try_parse_from(line).map(|line| line.options)
    }

    #[test]
    fn forms_exclude_each_other_and_become_constraints() {
        use v1::generate_request::Constraint;
        let form = |flags: &[&str]| parse(flags).unwrap().form.to_message().unwrap();
        assert_eq!(form(&[]), None);
        let texts = vec!["yes".to_string(), "不是".to_string()];
        assert_eq!(
            form(&["--choices", "yes,不是"]),
            Some(Constraint::Choices(v1::Choices { texts }))
        );
        assert_eq!(
            form(&["--regex", "a,b"]),
            Some(Constraint::Regex("a,b".into()))
        );
        assert!(parse(&["--regex", "a", "--choices", "b"]).is_err());
        assert!(parse(&["--completions", "17"]).is_err());
        let missing = parse(&["--json-schema", "/no/such/file"]).unwrap();
        assert!(missing.form.to_message().is_err());
    }

    #[test]
    fn tokens_are_shown_even_where_they_are_no_text() {
        assert_eq!(quoted(" a\n".as_bytes()), "\" a\\n\"");
        assert_eq!(quoted(&[0xE7, 0x8C]), "\\xe7\\x8c");
        assert_eq!(quoted(b""), "(special)");
    }
}
