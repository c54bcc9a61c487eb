//! The talk with a model.

use std::io::{BufRead, IsTerminal, Read};

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use serde_json::json;
use tokio::sync::mpsc;

use super::SamplingArgs;
use super::generate::{Prompt, complete, read_stdin, turn};
use crate::cli::connect::{Starting, with_client};
use crate::cli::{Failure, Global, output};

/// The longest line that is taken; no prompt is longer than a message may be.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// The turns that are kept; earlier ones are forgotten, oldest first.
const MAX_TURNS: usize = 40;

/// What was asked for.
pub(super) struct ChatOptions {
    pub(super) model: String,
    pub(super) prompt: Option<String>,
    pub(super) system: Option<String>,
    pub(super) start: bool,
    pub(super) sampling: SamplingArgs,
}

/// Talks until the user ends it, with a daemon of its own where that was asked for and none runs.
pub(super) async fn run(options: ChatOptions, global: &Global) -> Result<(), Failure> {
    let starting = Starting::of_flag(options.start);
    with_client(global, starting, async |client| {
        talk(client, &options, global).await
    })
    .await
}

async fn talk(client: &Client, options: &ChatOptions, global: &Global) -> Result<(), Failure> {
    let start: Vec<v1::Message> = options
        .system
        .iter()
        .map(|text| turn(v1::Role::System, text.clone()))
        .collect();
    if let Some(prompt) = &options.prompt {
        let prompt = if prompt == "-" {
            read_stdin()?
        } else {
            prompt.clone()
        };
        let mut turns = start;
        turns.push(turn(v1::Role::User, prompt));
        let completion = complete(
            client,
            &options.model,
            Prompt::Chat(turns),
            &options.sampling,
            !global.json,
        )
        .await?;
        return if global.json {
            output::json(&json!({
                "model": options.model, "adapter": options.sampling.adapter,
                "completion": messages::of("Completion", &completion),
            }))
        } else {
            output::line("")
        };
    }

    let with_person = std::io::stdin().is_terminal();
    if with_person {
        let adapter = options
            .sampling
            .adapter
            .as_ref()
            .map(|name| format!(" with adapter {name}"))
            .unwrap_or_default();
        output::note(format!(
            "Talking with {}{adapter}. /new starts over; an empty line or Ctrl-D ends.",
            options.model
        ));
    }
    let mut lines = stdin_lines();
    let mut turns = start.clone();
    loop {
        if with_person {
            output::text("> ")?;
        }
        let Some(line) = lines.recv().await else {
            break;
        };
        match line.trim() {
            "" if with_person => break,
            "" => continue,
            "/new" => {
                turns.clone_from(&start);
                continue;
            }
            text => turns.push(turn(v1::Role::User, text.to_string())),
        }
        let prompt = Prompt::Chat(turns.clone());
        let completion = complete(client, &options.model, prompt, &options.sampling, true).await?;
        output::line("")?;
        turns.push(turn(v1::Role::Assistant, completion.text));
        while turns.len() > start.len() + MAX_TURNS {
            turns.drain(start.len()..start.len() + 2);
        }
    }
    Ok(())
}

/// Reads stdin line by line on a thread of its own, so that an interrupt is heard while nobody types.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            match input.by_ref().take(MAX_LINE_BYTES).read_line(&mut line) {
                Ok(1..) if sender.blocking_send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}
