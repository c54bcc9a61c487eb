//! `autodidact review …`

mod decide;
mod editor;
mod interactive;
mod show;

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::{Args, Subcommand};

use super::{Failure, Global, connect, output};
use decide::{Verdict, decide_all};

#[derive(Subcommand)]
pub(super) enum ReviewCommand {
    /// Show the next example that nobody has decided on
    #[command(after_help = "\
A review stage (`stages.review` in the workflow file) lays some of what a round keeps before people. With a gate, training waits
for them: `autodidact review stats` tells what is missing. An id may be cut where what is left of it is unique.

Examples:
  autodidact review next
  autodidact review next --workflow self-instruct --interactive   one after the other, with a key each
  autodidact review next --limit 1000 --json | jq -r '.items[].example.id'")]
    Next(NextArgs),
    /// Say that examples are valid as they are
    #[command(after_help = "\
Examples:
  autodidact review accept 3f2a91c0
  autodidact review accept 3f2a91c0 77b1d2e4 --reviewer anna")]
    Accept(DecideArgs),
    /// Say that examples are not valid; they go no further
    #[command(
        after_help = "Example:\n  autodidact review reject 3f2a91c0 --note 'the sum is wrong'"
    )]
    Reject(DecideArgs),
    /// Write what an example should have said; that goes on in its place
    #[command(after_help = "\
Without --instruction, --input and --output the example is opened in the editor that VISUAL or EDITOR names. What an example
becomes has an id of its own; the original stays on file.

Examples:
  autodidact review edit 3f2a91c0 --output 'The sum is 4.'
  EDITOR=nano autodidact review edit 3f2a91c0 --note 'put right'")]
    Edit(EditArgs),
    /// Show where reviews stand: what was decided, how surely the examples are valid, what is missing
    #[command(after_help = "\
VALID is the share of accepted examples among the reviewed ones, with the ends of its Wilson interval, each of which holds by
itself with the gate's confidence; the gate looks at the lower one. Where all examples of a round are reviewed it is the share.

Examples:
  autodidact review stats
  autodidact review stats self-instruct --decisions")]
    Stats(StatsArgs),
}

#[derive(Args)]
pub(super) struct NextArgs {
    /// An example to show, decided on or not, by its id
    id: Option<String>,
    #[command(flatten)]
    place: Place,
    /// The most examples to show
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Show one after the other and ask what to do with each: a, r, e, s or q, and Enter
    #[arg(short, long, conflicts_with_all = ["id", "limit"])]
    interactive: bool,
    /// Who decides, with --interactive [default: your login name]
    #[arg(long, value_name = "NAME", requires = "interactive")]
    reviewer: Option<String>,
}

#[derive(Args)]
pub(super) struct DecideArgs {
    /// The examples' ids, or their first digits
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct EditArgs {
    /// The example's id, or its first digits
    id: String,
    /// What to do; of a conversation its first question, of a text the text
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// What to do it to; empty takes it away
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// The answer; of a conversation its last
    #[arg(long, value_name = "TEXT")]
    output: Option<String>,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct StatsArgs {
    /// Those of one workflow
    workflow: Option<String>,
    /// Those of one round
    #[arg(long)]
    round: Option<u32>,
    /// List the decisions too
    #[arg(long, requires = "workflow")]
    decisions: bool,
}

/// Where an example is.
#[derive(Args, Clone)]
struct Place {
    /// Those of one workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Those of one round
    #[arg(long)]
    round: Option<u32>,
}

/// Who decides, and why.
#[derive(Args, Clone)]
struct Said {
    /// Who decides [default: your login name]
    #[arg(long, value_name = "NAME")]
    reviewer: Option<String>,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
}

impl Said {
    /// Tells who decides: whoever was named, or who is logged in.
    fn reviewer(&self) -> Result<String, Failure> {
        reviewer(self.reviewer.as_deref())
    }
}

fn reviewer(named: Option<&str>) -> Result<String, Failure> {
    let known = ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok());
    let mut known = named.map(str::to_string).into_iter().chain(known);
    known.find(|name| !name.trim().is_empty()).ok_or_else(|| {
        Failure::local("nobody is logged in by name here; say who decides with --reviewer NAME")
    })
}

/// Runs a review command.
pub(super) async fn run(command: ReviewCommand, global: &Global) -> Result<(), Failure> {
    let client = connect(global).await?;
    match command {
        ReviewCommand::Next(args) => next(&client, args, global).await,
        ReviewCommand::Accept(args) => decide_all(&client, args, &Verdict::Accept, global).await,
        ReviewCommand::Reject(args) => decide_all(&client, args, &Verdict::Reject, global).await,
        ReviewCommand::Edit(args) => edit(&client, args, global).await,
        ReviewCommand::Stats(args) => show::stats(&client, args, global).await,
    }
}

async fn next(client: &Client, args: NextArgs, global: &Global) -> Result<(), Failure> {
    if args.interactive && global.json {
        return Err(Failure::usage(
            "--interactive is for people, and --json for scripts: give one",
        ));
    }
    if args.interactive {
        let reviewer = reviewer(args.reviewer.as_deref())?;
        return interactive::run(client, &args.place, &reviewer).await;
    }
    let request = v1::NextReviewRequest {
        workflow: args.place.workflow.unwrap_or_default(),
        round: args.place.round,
        record: args.id.unwrap_or_default(),
        page_size: args.limit,
        page_token: String::new(),
    };
    let answer = client.reviews().next(request).await?.into_inner();
    if global.json {
        return output::json(&messages::of("NextReviewResponse", &answer));
    }
    if answer.items.is_empty() {
        return output::line("nothing is to be reviewed; `autodidact review stats` shows what was");
    }
    for item in &answer.items {
        show::item(item)?;
        show::commands(item)?;
    }
    Ok(())
}

async fn edit(client: &Client, args: EditArgs, global: &Global) -> Result<(), Failure> {
    let given = v1::EditExample {
        instruction: args.instruction,
        input: args.input,
        output: args.output,
    };
    // Whoever cannot be named learns so before they write.
    args.said.reviewer()?;
    let edit = match given == v1::EditExample::default() {
        false => given,
        true => editor::change(&find(client, &args.id, &args.place).await?).await?,
    };
    let args = DecideArgs {
        ids: vec![args.id],
        said: args.said,
        place: args.place,
    };
    decide_all(client, args, &Verdict::Edit(edit), global).await
}

/// Reads one example by its id, or the beginning of it.
async fn find(client: &Client, id: &str, place: &Place) -> Result<v1::Example, Failure> {
    let request = v1::NextReviewRequest {
        workflow: place.workflow.clone().unwrap_or_default(),
        round: place.round,
        record: id.to_string(),
        ..Default::default()
    };
    let answer = client.reviews().next(request).await?.into_inner();
    let found = answer.items.into_iter().next();
    found
        .and_then(|item| item.example)
        .ok_or_else(|| Failure::refused("NOT_FOUND", format!("no example {id} is under review")))
}
