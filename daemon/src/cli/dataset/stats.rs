//! `autodidact dataset stats`: what a set of records is made of.

use std::collections::BTreeMap;

use autodidact_domain::{Body, Example, Interrupt, Language, Origin, TaskType};
use autodidact_text::{count_tokens, tokenize};
use clap::Args;
use serde_json::{Value, json};

use super::duplicates::{self, Compared, Duplicate};
use super::source::{Records, SourceArgs, apart};
use crate::cli::{Failure, Global, output};

/// What is counted.
#[derive(Args)]
#[command(after_help = "\
Lengths are in tokens as ROUGE-L counts them: a run of letters and digits is one, and so is every Chinese character. First words are
first tokens. Duplicates are those that `dataset dedup` would drop.

Examples:
  autodidact dataset stats my-data
  autodidact dataset stats my-data@2 --json
  autodidact dataset stats --input train.parquet --threshold 0.5 --first-words 20")]
pub(in crate::cli) struct StatsArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The ROUGE-L above which a record is a near duplicate, from 0 to 1; 1 looks for none, which is quicker
    #[arg(long, default_value_t = 0.7, value_parser = duplicates::threshold)]
    threshold: f64,
    /// What of a record is compared to find duplicates
    #[arg(long, value_enum, default_value_t = Compared::Question)]
    by: Compared,
    /// How many of the most frequent topics and first words to show
    #[arg(long, default_value_t = 10)]
    first_words: usize,
}

/// Counts and shows.
pub(super) async fn run(args: StatsArgs, global: &Global) -> Result<(), Failure> {
    let records = args.source.load(global).await?;
    let json = global.json;
    apart(move |interrupt| {
        let stats = Stats::of(&records, &args, interrupt)?;
        match json {
            true => output::json(&stats.to_json()),
            false => stats.tell(),
        }
    })
    .await
}

/// Names with how often each occurs, the most frequent first and equal ones by name.
type Counts = Vec<(String, usize)>;

struct Stats {
    name: String,
    records: usize,
    unreadable: usize,
    answered: usize,
    kinds: Counts,
    languages: Counts,
    task_types: Counts,
    topics: Counts,
    origins: Counts,
    first_words: Counts,
    /// Of questions and of answers.
    lengths: [(&'static str, Lengths); 2],
    exact_duplicates: usize,
    near_duplicates: usize,
    threshold: f64,
}

/// How long texts are, in tokens.
#[derive(Debug, Default, PartialEq)]
struct Lengths {
    texts: usize,
    mean: f64,
    /// The length that half of the texts do not pass.
    median: usize,
    /// The length that 95 of 100 do not pass.
    p95: usize,
    longest: usize,
    total: usize,
}

impl Lengths {
    fn of(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let Some(&longest) = lengths.last() else {
            return Self::default();
        };
        let (texts, total) = (lengths.len(), lengths.iter().sum::<usize>());
        let within = |of_100: usize| lengths[(texts * of_100).div_ceil(100).max(1) - 1];
        Self {
            texts,
            mean: total as f64 / texts as f64,
            median: within(50),
            p95: within(95),
            longest,
            total,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "texts": self.texts, "mean": self.mean, "median": self.median, "p95": self.p95, "longest": self.longest,
            "total": self.total,
        })
    }
}

impl Stats {
    fn of(records: &Records, args: &StatsArgs, interrupt: &Interrupt) -> Result<Self, Failure> {
        let examples: Vec<&Example> = records.examples().collect();
        let texts: Vec<String> = examples
            .iter()
            .map(|example| args.by.text(example))
            .collect();
        let found = duplicates::find(&texts, args.threshold, interrupt)?;
        let count_of = |kind: Duplicate| found.iter().flatten().filter(|f| f.kind == kind).count();
        let count = |name: fn(&Example) -> Option<String>| {
            count(examples.iter().filter_map(|example| name(example)))
        };
        let most = |mut counts: Counts| {
            counts.truncate(args.first_words);
            counts
        };
        // A plain text is no answer to anything.
        let answers = examples
            .iter()
            .filter(|e| !matches!(e.body, Body::Text { .. }) && e.body.is_answered());
        let answers = answers.map(|example| count_tokens(&example.body.output_text()));
        let questions = examples
            .iter()
            .map(|e| count_tokens(&Compared::Question.text(e)));
        Ok(Self {
            name: records.name.clone(),
            records: examples.len(),
            unreadable: records.unreadable(),
            answered: examples
                .iter()
                .filter(|example| example.body.is_answered())
                .count(),
            kinds: count(|example| Some(kind(&example.body).to_string())),
            languages: count(|e| Some(e.language.map_or("unknown", Language::code).to_string())),
            task_types: count(|e| Some(e.task_type.map_or("unknown", TaskType::name).to_string())),
            topics: most(count(|example| example.topic.clone())),
            origins: count(|example| match example.lineage.origin {
                Origin::Human => Some("human".to_string()),
                Origin::Generated => Some("generated".to_string()),
            }),
            first_words: most(count(|example| {
                tokenize(&example.body.instruction_text())
                    .into_iter()
                    .next()
            })),
            lengths: [
                ("question", Lengths::of(questions.collect())),
                ("answer", Lengths::of(answers.collect())),
            ],
            exact_duplicates: count_of(Duplicate::Exact),
            near_duplicates: count_of(Duplicate::Near),
            threshold: args.threshold,
        })
    }

    fn groups(&self) -> [(&'static str, &Counts); 6] {
        [
            ("kinds", &self.kinds),
            ("languages", &self.languages),
            ("task_types", &self.task_types),
            ("origins", &self.origins),
            ("topics", &self.topics),
            ("first_words", &self.first_words),
        ]
    }

    fn to_json(&self) -> Value {
        let mut told = json!({
            "name": self.name, "records": self.records, "unreadable": self.unreadable, "answered": self.answered,
            "answered_share": share(self.answered, self.records), "exact_duplicates": self.exact_duplicates,
            "near_duplicates": self.near_duplicates, "threshold": self.threshold,
        });
        for (name, counts) in self.groups() {
            // A list, so that the order is told.
            let counts = counts
                .iter()
                .map(|(name, count)| json!({"name": name, "count": count}));
            told[name] = counts.collect();
        }
        let lengths = self.lengths.iter();
        told["tokens"] = lengths
            .map(|(name, lengths)| (name.to_string(), lengths.to_json()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        told
    }

    fn tell(&self) -> Result<(), Failure> {
        let of_all = |count: usize| format!("{count} ({:.1}%)", 100.0 * share(count, self.records));
        output::facts(&[
            ("records", format!("{} of {}", self.records, self.name)),
            ("unreadable", self.unreadable.to_string()),
            ("answered", of_all(self.answered)),
            ("exact duplicates", of_all(self.exact_duplicates)),
            (
                "near duplicates",
                format!(
                    "{}, ROUGE-L above {}",
                    of_all(self.near_duplicates),
                    self.threshold
                ),
            ),
        ])?;
        output::line("")?;
        let row = |(name, lengths): &(&str, Lengths)| {
            vec![
                name.to_string(),
                lengths.texts.to_string(),
                format!("{:.1}", lengths.mean),
                lengths.median.to_string(),
                lengths.p95.to_string(),
                lengths.longest.to_string(),
                lengths.total.to_string(),
            ]
        };
        let headings = [
            "TOKENS", "TEXTS", "MEAN", "MEDIAN", "95%", "LONGEST", "TOTAL",
        ];
        output::table(&headings, &self.lengths.iter().map(row).collect::<Vec<_>>())?;
        for (name, counts) in self.groups() {
            if counts.is_empty() {
                continue;
            }
            output::line("")?;
            let heading = name.replace('_', " ").to_uppercase();
            let row = |(name, count): &(String, usize)| vec![output::excerpt(name), of_all(*count)];
            output::table(
                &[&heading, "RECORDS"],
                &counts.iter().map(row).collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }
}

fn share(count: usize, all: usize) -> f64 {
    match all {
        0 => 0.0,
        all => count as f64 / all as f64,
    }
}

/// Names what a body is, as its JSON does.
fn kind(body: &Body) -> &'static str {
    match body {
        Body::Instruction { .. } => "instruction",
        Body::Chat { .. } => "chat",
        Body::Text { .. } => "text",
        Body::Labelled { .. } => "labelled",
        Body::Tagged { .. } => "tagged",
    }
}

fn count(names: impl Iterator<Item = String>) -> Counts {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Counts = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dataset::source::SourceKind;

    #[test]
    fn a_small_set_is_counted() {
        let task = |text: &str, answer: &str, topic: Option<&str>, language| {
            let mut example = Example::human(Body::instruction(text, "", answer));
            example.topic = topic.map(str::to_string);
            example.language = Some(language);
            Ok(example)
        };
        let records = Records {
            name: "x@1".into(),
            records: vec![
                task(
                    "Name a bird of the sea.",
                    "The gull.",
                    Some("birds"),
                    Language::En,
                ),
                task("Name a bird of the lake.", "", Some("birds"), Language::En),
                task("name a bird of the sea", "A tern.", None, Language::En),
                task("写一首诗。", "山高月小。", Some("诗"), Language::Zh),
            ],
            kind: SourceKind::Stored,
        };
        let args = StatsArgs {
            source: SourceArgs::default(),
            threshold: 0.7,
            by: Compared::Question,
            first_words: 2,
        };
        let stats = Stats::of(&records, &args, &Interrupt::new());
        let told = stats
            .map_err(|failure| failure.message().to_string())
            .unwrap()
            .to_json();
        assert_eq!(told["records"], 4);
        assert_eq!(
            (&told["answered"], &told["answered_share"]),
            (&json!(3), &json!(0.75))
        );
        assert_eq!(
            (&told["exact_duplicates"], &told["near_duplicates"]),
            (&json!(1), &json!(1))
        );
        let counts = |name: &str, count: usize| json!({"name": name, "count": count});
        assert_eq!(told["languages"], json!([counts("en", 3), counts("zh", 1)]));
        assert_eq!(told["topics"], json!([counts("birds", 2), counts("诗", 1)]));
        assert_eq!(
            told["first_words"],
            json!([counts("name", 3), counts("写", 1)])
        );
        assert_eq!(told["task_types"], json!([counts("unknown", 4)]));
        let answers =
            json!({"texts": 3, "mean": 8.0 / 3.0, "median": 2, "p95": 4, "longest": 4, "total": 8});
        assert_eq!(told["tokens"]["answer"], answers);
        assert_eq!(told["tokens"]["question"]["longest"], 6);
        assert_eq!(Lengths::of(Vec::new()), Lengths::default());
    }
}
