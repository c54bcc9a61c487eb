//! `autodidact model embed`

use autodidact_client::{Client, v1};
use clap::Args;
use serde_json::{Value, json};

use super::texts::{TextArgs, calls, shortened};
use crate::cli::{Failure, Global, connect, output};

/// What to embed, and with what.
#[derive(Args, Clone, Debug)]
pub(crate) struct EmbedArgs {
    /// The encoder, or a generator whose hidden states are taken
    name: String,
    #[command(flatten)]
    texts: TextArgs,
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
    let texts = args.texts.read()?;
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

/// Shows each number with the digits that f32 has, not those of the f64 that JSON makes of it.
pub(super) fn numbers(vector: &[f32]) -> Vec<Value> {
    let number = |x: &f32| {
        x.to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from)
    };
    vector.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_of_f32() {
        assert_eq!(json!(numbers(&[0.1, -2.0])).to_string(), "[0.1,-2.0]");
    }
}
