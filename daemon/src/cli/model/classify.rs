//! `autodidact model classify`

use std::collections::BTreeSet;

use autodidact_client::{Client, v1};
use autodidact_domain::TrainTask;
use autodidact_domain::example::join_words;
use autodidact_text::{TaggedSpan, split_words, tagged_spans};
use clap::Args;
use serde_json::{Map, Value, json};

use super::embed::numbers;
use super::texts::{TextArgs, calls, shortened};
use crate::cli::{Failure, Global, connect, output};

/// What to label, and with what.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClassifyArgs {
    /// The base model
    name: String,
    /// The adapter, trained with task_type SEQ_CLS or TOKEN_CLS
    #[arg(long)]
    adapter: String,
    #[command(flatten)]
    texts: TextArgs,
}

/// A text as it is asked about, and what it was given.
struct Labelled {
    text: String,
    /// Where every one of them has a label.
    words: Option<Vec<String>>,
    units: Vec<v1::LabelScore>,
}

/// Runs the command.
pub(crate) async fn run(args: ClassifyArgs, global: &Global) -> Result<(), Failure> {
    let texts = args.texts.read()?;
    let client = connect(global).await?;
    let task = task_of(&client, &args.adapter).await?;
    let (labels, labelled) = classify(&client, &args, task, &texts).await?;
    if global.json {
        let results = labelled.iter().map(|labelled| to_json(labelled, &labels));
        return output::json_line(&json!({
            "model": args.name,
            "adapter": args.adapter,
            "task_type": task.name(),
            "labels": labels,
            "results": results.collect::<Vec<_>>(),
        }));
    }
    match task {
        TrainTask::TokenClassification => {
            let rows: Vec<Vec<String>> = labelled.iter().map(entities).collect();
            output::table(&["TEXT", "ENTITIES"], &rows)
        }
        _ => {
            let rows: Vec<Vec<String>> = labelled.iter().map(label).collect();
            output::table(&["TEXT", "LABEL", "PROBABILITY"], &rows)
        }
    }
}

/// Asks what an adapter gives labels to.
async fn task_of(client: &Client, adapter: &str) -> Result<TrainTask, Failure> {
    let request = v1::GetCheckpointRequest { id: adapter.into() };
    let answer = client.checkpoints().get(request).await?.into_inner();
    let settings = answer.checkpoint.unwrap_or_default().adapter_config_json;
    let settings: Value = serde_json::from_str(&settings).unwrap_or_default();
    let task = settings["task_type"]
        .as_str()
        .and_then(TrainTask::from_name);
    task.filter(|task| task.has_head()).ok_or_else(|| {
        Failure::refused(
            "INVALID_ARGUMENT",
            format!(
                "{adapter} continues texts and has no head of labels; expected an adapter trained with task_type SEQ_CLS or TOKEN_CLS"
            ),
        )
    })
}

async fn classify(
    client: &Client,
    args: &ClassifyArgs,
    task: TrainTask,
    texts: &[String],
) -> Result<(Vec<String>, Vec<Labelled>), Failure> {
    let (mut labels, mut labelled) = (Vec::new(), Vec::with_capacity(texts.len()));
    for part in calls(texts) {
        let words = part.iter().map(|text| match task {
            TrainTask::TokenClassification => Some(split_words(text)),
            _ => None,
        });
        let words: Vec<Option<Vec<String>>> = words.collect();
        let items = part.iter().zip(&words).map(|(text, words)| {
            let input = match words {
                Some(tokens) => v1::classify_item::Input::Words(v1::Words {
                    tokens: tokens.clone(),
                }),
                None => v1::classify_item::Input::Text(text.clone()),
            };
            v1::ClassifyItem { input: Some(input) }
        });
        let request = v1::ClassifyRequest {
            model: args.name.clone(),
            adapter: Some(args.adapter.clone()),
            items: items.collect(),
        };
        let answer = client.models().classify(request).await?.into_inner();
        labels = answer.labels;
        let results = part.iter().zip(words).zip(answer.results);
        labelled.extend(results.map(|((text, words), result)| Labelled {
            text: text.clone(),
            words,
            units: result.units,
        }));
    }
    Ok((labels, labelled))
}

fn label(labelled: &Labelled) -> Vec<String> {
    let unit = labelled.units.first().cloned().unwrap_or_default();
    vec![
        shortened(&labelled.text),
        unit.label.clone(),
        format!("{:.3}", best_probability(&unit)),
    ]
}

fn best_probability(unit: &v1::LabelScore) -> f32 {
    let scores = unit.log_probabilities.iter().copied();
    scores.fold(f32::NEG_INFINITY, f32::max).exp()
}

/// Shows the entities that a sentence's tags make.
fn entities(labelled: &Labelled) -> Vec<String> {
    let words = labelled.words.as_deref().unwrap_or_default();
    let tag = |unit: &v1::LabelScore| match unit.label.is_empty() {
        true => "O".to_string(),
        false => unit.label.clone(),
    };
    let tags: Vec<String> = labelled.units.iter().map(tag).collect();
    let spans: BTreeSet<TaggedSpan> = tagged_spans(tags.iter().map(String::as_str));
    let mut spans: Vec<TaggedSpan> = spans.into_iter().collect();
    spans.sort_by_key(|(_, first, _)| *first);
    let shown = spans.iter().filter_map(|(kind, first, last)| {
        let words = words.get(*first..=*last)?;
        Some(format!("{} ({kind})", join_words(words)))
    });
    let shown: Vec<String> = shown.collect();
    vec![shortened(&labelled.text), shown.join(", ")]
}

fn to_json(labelled: &Labelled, labels: &[String]) -> Value {
    let unit = |unit: &v1::LabelScore| -> Map<String, Value> {
        let probabilities: Vec<f32> = unit.log_probabilities.iter().map(|x| x.exp()).collect();
        let numbers = numbers(&probabilities);
        let by_label: Map<String, Value> = labels.iter().cloned().zip(numbers).collect();
        Map::from_iter([
            ("label".to_string(), json!(unit.label)),
            ("probabilities".to_string(), Value::Object(by_label)),
        ])
    };
    match &labelled.words {
        None => {
            let mut fields = labelled.units.first().map(unit).unwrap_or_default();
            fields.insert("text".into(), json!(labelled.text));
            Value::Object(fields)
        }
        Some(words) => {
            let units = words.iter().zip(&labelled.units);
            let units = units.map(|(word, scores)| {
                let mut fields = unit(scores);
                fields.insert("word".into(), json!(word));
                Value::Object(fields)
            });
            json!({ "text": labelled.text, "words": units.collect::<Vec<_>>() })
        }
    }
}
