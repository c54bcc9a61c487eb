//! `autodidact model embed`

use std::io::Read;
use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Failure, Global, connect, output};

/// Texts of one call; the daemon takes no more at once.
const TEXTS_PER_CALL: usize = 256;
/// The bytes of one call's texts; a message holds 4 MiB.
const BYTES_PER_CALL: usize = 2 << 20;
/// The most that is read of a file or of stdin.
const MAX_INPUT_BYTES: u64 = 256 << 20;
/// Columns of a text in the table for people.
const SHOWN_CHARACTERS: usize = 48;

/// What to embed, and with what.
#[derive(Args, Clone, Debug)]
pub(crate) struct EmbedArgs {
    /// The encoder, or a generator whose hidden states are taken
    name: String,
    /// The texts; the lines of stdin where neither texts nor a file are given
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    texts: Vec<String>,
    /// Take the lines of this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The adapter checkpoint to put on a generator
    #[arg(long)]
    adapter: Option<String>,
    /// Let the daemon choose the embedder of this language (en or zh), with NAME as the generator where no encoder will do
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// Take vectors even when the embedder does not know over 5% of the tokens
    #[arg(long)]
    allow_unknown: bool,
}

/// Vectors of all texts.
struct Embedded {
    model: String,
    vectors: Vec<Vec<f32>>,
    tokens: u64,
    unknown_tokens: u64,
}

/// Runs the command.
pub(crate) async fn run(args: EmbedArgs, global: &Global) -> Result<(), Failure> {
    let texts = texts_of(&args)?;
    let client = connect(global).await?;
    let embedded = embed(&client, &args, &texts).await?;
    if global.json {
        let rows = texts
            .iter()
            .zip(&embedded.vectors)
            .map(|(text, vector)| json!({ "text": text, "vector": numbers(vector) }));
        return output::json_line(&json!({
            "model": embedded.model,
            "tokens": embedded.tokens,
            "unknown_tokens": embedded.unknown_tokens,
            "texts": rows.collect::<Vec<_>>(),
        }));
    }
    let width = embedded.vectors.first().map_or(0, Vec::len);
    output::facts(&[
        ("embedder", embedded.model.clone()),
        ("numbers", format!("{width} a text")),
        ("tokens", embedded.tokens.to_string()),
        ("unknown tokens", embedded.unknown_tokens.to_string()),
    ])?;
    let row = |(text, vector): (&String, &Vec<f32>)| {
        let first = &embedded.vectors[0];
        let cosine: f32 = vector.iter().zip(first).map(|(a, b)| a * b).sum();
        let start: Vec<String> = vector.iter().take(4).map(|x| format!("{x:.4}")).collect();
        vec![
            shortened(text),
            format!("{} …", start.join(" ")),
            format!("{cosine:.3}"),
        ]
    };
    let rows: Vec<Vec<String>> = texts.iter().zip(&embedded.vectors).map(row).collect();
    output::table(&["TEXT", "VECTOR", "COSINE TO THE FIRST"], &rows)
}

async fn embed(client: &Client, args: &EmbedArgs, texts: &[String]) -> Result<Embedded, Failure> {
    let mut embedded = Embedded {
        model: args.name.clone(),
        vectors: Vec::with_capacity(texts.len()),
        tokens: 0,
        unknown_tokens: 0,
    };
    for part in calls(texts) {
        let request = v1::EmbedRequest {
            model: args.name.clone(),
            adapter: args.adapter.clone(),
            texts: part.to_vec(),
            language: args.language.clone(),
            allow_unknown: args.allow_unknown,
        };
        let answer = client.models().embed(request).await?.into_inner();
        if !embedded.vectors.is_empty() && embedded.model != answer.model {
            return Err(Failure::refused(
                "INVALID_ARGUMENT",
                format!(
                    "the daemon chose {} for some of the texts and {} for others, whose vectors cannot be compared; name an embedder without --language",
                    embedded.model, answer.model
                ),
            ));
        }
        embedded.model = answer.model;
        embedded.tokens += answer.tokens;
        embedded.unknown_tokens += answer.unknown_tokens;
        embedded
            .vectors
            .extend(answer.embeddings.into_iter().map(|e| e.values));
    }
    Ok(embedded)
}

/// Cuts the texts into calls that a message holds.
fn calls(texts: &[String]) -> Vec<&[String]> {
    let mut calls = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        let full = index - first == TEXTS_PER_CALL || bytes + text.len() > BYTES_PER_CALL;
        if full && index > first {
            calls.push(&texts[first..index]);
            (first, bytes) = (index, 0);
        }
        bytes += text.len();
    }
    calls.push(&texts[first..]);
    calls
}

fn texts_of(args: &EmbedArgs) -> Result<Vec<String>, Failure> {
    let texts = match (&args.file, args.texts.is_empty()) {
        (Some(path), _) => lines(&read(path)?),
        (None, true) => lines(&read_all(std::io::stdin(), "stdin")?),
        (None, false) => args.texts.clone(),
    };
    if texts.is_empty() {
        return Err(Failure::refused("INVALID_ARGUMENT", "there is no text"));
    }
    Ok(texts)
}

/// Takes every line that holds anything.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_string)
        .collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::local(format!("open {shown}: {error}")))?;
    read_all(file, &shown)
}

fn read_all(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("read {name}: {error}")))?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::refused(
            "TOO_LARGE",
            format!("{name}: expected at most {MAX_INPUT_BYTES} bytes, found more; split it"),
        ));
    }
    Ok(text)
}

/// Shows each number with the digits that f32 has, not those of the f64 that JSON makes of it.
fn numbers(vector: &[f32]) -> Vec<Value> {
    let number = |x: &f32| {
        x.to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from)
    };
    vector.iter().map(number).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_string();
    }
    text.chars()
        .take(SHOWN_CHARACTERS)
        .chain("…".chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_into_calls_by_count_and_bytes() {
        let texts = vec!["a".to_string(); 600];
        let lengths: Vec<usize> = calls(&texts).iter().map(|call| call.len()).collect();
        assert_eq!(lengths, [256, 256, 88]);
        let texts = vec!["a".repeat(BYTES_PER_CALL - 1); 3];
        let lengths: Vec<usize> = calls(&texts).iter().map(|call| call.len()).collect();
        assert_eq!(lengths, [1, 1, 1]);
    }

    #[test]
    fn numbers_keep_the_digits_of_f32() {
        assert_eq!(json!(numbers(&[0.1, -2.0])).to_string(), "[0.1,-2.0]");
        assert_eq!(lines("a\n\n \nb\r\n"), ["a", "b"]);
    }
}
