//! `autodidact dataset preview`: what a training run would train on.

use autodidact_client::{Client, v1};
use autodidact_domain::TrainTask;
use autodidact_proto::json as messages;
use clap::Args;

use crate::cli::output::visible;
use crate::cli::{Failure, Global, output};

/// What to show.
#[derive(Args)]
#[command(after_help = "\
Records are laid out by the model's own chat template and cut at --max-length, as a run does it. What carries loss is green on a
terminal and {+marked+} elsewhere; what is cut off is red, or [-marked-]. With --task-type SEQ_CLS or TOKEN_CLS the tokens by whose
states labels are learnt are marked, each with its label: {+word[label]+}. The totals are of the whole version.

Examples:
  autodidact dataset preview my-data --model smollm2-135m-instruct
  autodidact dataset preview my-data --model gemma-3-270m --max-length 256 --offset 100 --limit 5
  autodidact dataset preview reviews --model smollm2-135m-instruct --task-type SEQ_CLS
  autodidact dataset preview my-data --model smollm2-135m-instruct --limit 1000 --json")]
pub(in crate::cli) struct PreviewArgs {
    /// The dataset
    name: String,
    /// The base model that would be trained
    #[arg(long)]
    model: String,
    /// The version [default: the newest]
    #[arg(long)]
    version: Option<u32>,
    /// The longest sequence in tokens, as the train stage's max_length [default: the stage's]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    max_length: Option<u32>,
    /// What a run learns of the records
    #[arg(long, value_name = "TASK", default_value = "CAUSAL_LM", value_parser = TrainTask::ALL.map(TrainTask::name))]
    task_type: String,
    /// The first record to show, counted from 0
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// The most records to show
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Asks and shows.
pub(super) async fn run(
    client: &Client,
    args: PreviewArgs,
    global: &Global,
) -> Result<(), Failure> {
    let request = v1::PreviewDatasetRequest {
        dataset: args.name,
        version: args.version,
        model: args.model,
        max_length: args.max_length.unwrap_or_default(),
        offset: args.offset,
        limit: args.limit,
        task_type: args.task_type,
    };
    let answer = client.datasets().preview(request).await?.into_inner();
    if global.json {
        return output::json(&messages::of("PreviewDatasetResponse", &answer));
    }
    let marks = match output::is_coloured() {
        true => &COLOURS,
        false => &PLAIN,
    };
    for record in &answer.records {
        output::line(heading(record))?;
        output::line(render(&record.spans, marks))?;
        output::line("")?;
    }
    output::line(sums(&answer))
}

/// What stands around a stretch that carries loss, and one that is cut off.
struct Marks {
    given: [&'static str; 2],
    label: [&'static str; 2],
    cut: [&'static str; 2],
}

/// As `git diff --word-diff` has them.
const PLAIN: Marks = Marks {
    given: ["", ""],
    label: ["{+", "+}"],
    cut: ["[-", "-]"],
};
/// Dim, green, red (ECMA-48, SGR).
const COLOURS: Marks = Marks {
    given: ["\x1b[2m", "\x1b[0m"],
    label: ["\x1b[32m", "\x1b[0m"],
    cut: ["\x1b[31m", "\x1b[0m"],
};

fn render(spans: &[v1::PreviewSpan], marks: &Marks) -> String {
    let show = |span: &v1::PreviewSpan| {
        let [before, after] = match span.part() {
            v1::SpanPart::Label => marks.label,
            v1::SpanPart::Cut => marks.cut,
            v1::SpanPart::Given | v1::SpanPart::Unspecified => marks.given,
        };
        match &span.label {
            Some(label) => format!("{before}{}[{}]{after}", visible(&span.text), visible(label)),
            None => format!("{before}{}{after}", visible(&span.text)),
        }
    };
    spans.iter().map(show).collect()
}

fn heading(record: &v1::PreviewedRecord) -> String {
    let mut text = format!(
        "record {}: {} tokens, {} with loss",
        record.index, record.tokens, record.label_tokens
    );
    if record.cut_tokens > 0 {
        text += &format!(", {} cut off", record.cut_tokens);
    }
    if let Some(refusal) = &record.refused {
        text += &format!("; refused, {}: {}", refusal.reason, refusal.message);
    }
    text
}

fn sums(answer: &v1::PreviewDatasetResponse) -> String {
    let (dataset, totals) = (
        answer.dataset.clone().unwrap_or_default(),
        answer.totals.clone().unwrap_or_default(),
    );
    let refused: Vec<String> = totals
        .refused
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let refused = match refused.is_empty() {
        true => "none refused".to_string(),
        false => format!("refused {}", refused.join(", ")),
    };
    format!(
        "{}@{}: {} of {} records are trained on, {refused}, {} cut at {} tokens ({} tokens cut off)\n\
         {} tokens, {} with loss, the longest record {}",
        dataset.name,
        dataset.version,
        totals.trained,
        totals.records,
        totals.truncated,
        answer.max_length,
        totals.cut_tokens,
        totals.tokens,
        totals.label_tokens,
        totals.longest
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_loss_is_marked_and_nothing_steers_the_terminal() {
        let span = |text: &str, part: v1::SpanPart| v1::PreviewSpan {
            text: text.into(),
            part: part.into(),
            label: None,
        };
        let spans = [
            span("<|user|>\nHi \x1b[2J", v1::SpanPart::Given),
            span("好的</s>", v1::SpanPart::Label),
            span(" more", v1::SpanPart::Cut),
        ];
        assert_eq!(
            render(&spans, &PLAIN),
            "<|user|>\nHi \\u{1b}[2J{+好的</s>+}[- more-]"
        );
        assert_eq!(
            render(&spans[1..], &COLOURS),
            "\x1b[32m好的</s>\x1b[0m\x1b[31m more\x1b[0m"
        );
    }

    #[test]
    fn a_heads_labels_stand_beside_what_they_are_learnt_by() {
        let span = v1::PreviewSpan {
            text: " Bern".into(),
            part: v1::SpanPart::Label.into(),
            label: Some("B-LOC".into()),
        };
        assert_eq!(render(&[span], &PLAIN), "{+ Bern[B-LOC]+}");
    }

    #[test]
    fn refusals_are_told_with_their_reason() {
        let record = v1::PreviewedRecord {
            index: 7,
            tokens: 5,
            cut_tokens: 9,
            refused: Some(v1::PreviewRefusal {
                reason: "no_label_token".into(),
                message: "expected an answer".into(),
            }),
            ..Default::default()
        };
        assert_eq!(
            heading(&record),
            "record 7: 5 tokens, 0 with loss, 9 cut off; refused, no_label_token: expected an answer"
        );
    }
}
