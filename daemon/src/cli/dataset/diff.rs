//! `autodidact dataset diff`: what two sets of records do not share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use autodidact_domain::{Example, ExampleId};
use autodidact_proto::json as messages;
use autodidact_server::example_to_wire;
use clap::Args;
use serde_json::{Value, json};

use super::source::{Records, SourceKind, fetch, read_file};
use crate::cli::{Failure, Global, output};

/// What is compared.
#[derive(Args)]
#[command(after_help = "\
A record is the same where its content is, word for word. Of the same ones it is told what is known of one otherwise than of the other:
language, task type, topic, labels, and, of stored datasets, where it comes from. Their order does not count.

Examples:
  autodidact dataset diff my-data@1 my-data@2
  autodidact dataset diff my-data --input corrected.jsonl
  autodidact dataset diff --input old.jsonl --input new.parquet --json")]
pub(in crate::cli) struct DiffArgs {
    /// The datasets: NAME for the newest version, or NAME@VERSION
    #[arg(num_args = 0..=2, value_name = "DATASET")]
    names: Vec<String>,
    /// A file in place of a stored dataset, in any form that `dataset import` reads; files come after datasets
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// The most records of each kind to show; --json has all
    #[arg(long, default_value_t = 10)]
    limit: usize,
}

/// The field that tells where a record comes from.
const LINEAGE: &str = "lineage";

/// Compares and shows.
pub(super) async fn run(args: DiffArgs, global: &Global) -> Result<(), Failure> {
    let mut sides = Vec::new();
    if args.names.len() + args.input.len() != 2 {
        let found = args.names.len() + args.input.len();
        let message = format!("expected two to compare, datasets or --input files; found {found}");
        return Err(Failure::usage(&message));
    }
    for name in &args.names {
        sides.push(fetch(name, global).await?);
    }
    for path in &args.input {
        sides.push(read_file(path)?);
    }
    let difference = Difference::of(&sides[0], &sides[1]);
    match global.json {
        true => output::json(&difference.to_json(&sides[0].name, &sides[1].name)),
        false => difference.tell(&sides[0].name, &sides[1].name, args.limit),
    }
}

/// What two sets do not share.
struct Difference<'a> {
    only_a: Vec<&'a Example>,
    only_b: Vec<&'a Example>,
    /// The same content with what is known of it changed.
    changed: Vec<Changed<'a>>,
    same: usize,
}

struct Changed<'a> {
    example: &'a Example,
    /// What it is of which it was, and what it is.
    fields: Vec<(&'static str, Value, Value)>,
}

impl<'a> Difference<'a> {
    fn of(a: &'a Records, b: &'a Records) -> Self {
        let by_id = |records: &'a Records| -> BTreeMap<ExampleId, &'a Example> {
            records
                .examples()
                .map(|example| (example.id, example))
                .collect()
        };
        let (in_a, in_b) = (by_id(a), by_id(b));
        // A file does not say where its records come from.
        let is_told = |name: &str| name != LINEAGE || [a.kind, b.kind] == [SourceKind::Stored; 2];
        let mut changed = Vec::new();
        for example in in_order(a) {
            let Some(other) = in_b.get(&example.id) else {
                continue;
            };
            let mut fields = changes(example, other);
            fields.retain(|(name, ..)| is_told(name));
            if !fields.is_empty() {
                changed.push(Changed { example, fields });
            }
        }
        let shared = in_a.keys().filter(|id| in_b.contains_key(id)).count();
        Self {
            only_a: in_order(a)
                .filter(|example| !in_b.contains_key(&example.id))
                .collect(),
            only_b: in_order(b)
                .filter(|example| !in_a.contains_key(&example.id))
                .collect(),
            same: shared - changed.len(),
            changed,
        }
    }

    fn to_json(&self, a: &str, b: &str) -> Value {
        let list = |examples: &[&Example]| -> Value {
            let wire = examples
                .iter()
                .map(|example| example_to_wire((*example).clone()));
            messages::list("Example", &wire.collect::<Vec<_>>())
        };
        let changed = self.changed.iter().map(|changed| {
            let fields = changed.fields.iter();
            let fields = fields.map(|(name, a, b)| (name.to_string(), json!({"a": a, "b": b})));
            json!({"id": changed.example.id.to_string(), "fields": fields.collect::<serde_json::Map<_, _>>()})
        });
        json!({
            "a": a, "b": b, "same": self.same, "only_in_a": list(&self.only_a), "only_in_b": list(&self.only_b),
            "changed": changed.collect::<Vec<_>>(),
        })
    }

    fn tell(&self, a: &str, b: &str, limit: usize) -> Result<(), Failure> {
        for (sign, name, examples) in [('-', a, &self.only_a), ('+', b, &self.only_b)] {
            for example in examples.iter().take(limit) {
                output::line(format!(
                    "{sign} {}",
                    output::excerpt(&example.body.instruction_text())
                ))?;
            }
            if examples.len() > limit {
                output::line(format!(
                    "{sign} … and {} more only in {name}",
                    examples.len() - limit
                ))?;
            }
        }
        for Changed { example, fields } in self.changed.iter().take(limit) {
            output::line(format!(
                "~ {}",
                output::excerpt(&example.body.instruction_text())
            ))?;
            for (name, a, b) in fields {
                output::line(format!("    {name}: {a} -> {b}"))?;
            }
        }
        if self.changed.len() > limit {
            output::line(format!(
                "~ … and {} more changed",
                self.changed.len() - limit
            ))?;
        }
        output::line(format!(
            "{} only in {a}, {} only in {b}, {} changed, {} the same",
            self.only_a.len(),
            self.only_b.len(),
            self.changed.len(),
            self.same
        ))
    }
}

/// Shows each content once, where it stands first.
fn in_order(records: &Records) -> impl Iterator<Item = &Example> {
    let mut seen = std::collections::HashSet::new();
    records
        .examples()
        .filter(move |example| seen.insert(example.id))
}

/// Lists what is known of one content here and there, where it differs.
fn changes(a: &Example, b: &Example) -> Vec<(&'static str, Value, Value)> {
    let mut known = vec![
        ("language", json!(a.language), json!(b.language)),
        ("task_type", json!(a.task_type), json!(b.task_type)),
        ("topic", json!(a.topic), json!(b.topic)),
        ("labels", json!(a.labels), json!(b.labels)),
        (LINEAGE, json!(a.lineage), json!(b.lineage)),
    ];
    known.retain(|(_, a, b)| a != b);
    known
}

#[cfg(test)]
mod tests {
    use autodidact_domain::{Body, Lineage, Origin, TaskType};

    use super::*;

    fn records(texts: &[&str], kind: SourceKind) -> Records {
        let example = |text: &&str| Ok(Example::human(Body::instruction(text, "", "x")));
        Records {
            name: "x".into(),
            records: texts.iter().map(example).collect(),
            kind,
        }
    }

    #[test]
    fn what_two_sets_do_not_share_is_told() {
        let a = records(&["one", "two", "三", "one"], SourceKind::Stored);
        let mut b = records(&["三", "two", "four"], SourceKind::Stored);
        let third = b.records[0].as_mut().unwrap();
        third.task_type = Some(TaskType::Code);
        third.lineage = Lineage {
            origin: Origin::Generated,
            ..Lineage::human()
        };
        let told = Difference::of(&a, &b).to_json("a@1", "b@2");
        assert_eq!(told["only_in_a"].as_array().unwrap().len(), 1);
        assert_eq!(told["only_in_a"][0]["instruction"]["instruction"], "one");
        assert_eq!(told["only_in_b"][0]["instruction"]["instruction"], "four");
        assert_eq!(told["same"], 1);
        let fields = &told["changed"][0]["fields"];
        assert_eq!(fields["task_type"], json!({"a": null, "b": "code"}));
        assert_eq!(fields["lineage"]["b"]["origin"], "generated");

        // A file does not say where its records come from.
        b.kind = SourceKind::File;
        let told = Difference::of(&a, &b).to_json("a@1", "b.jsonl");
        assert!(told["changed"][0]["fields"].get("lineage").is_none());
        let same = Difference::of(&a, &a);
        assert_eq!((same.same, same.changed.len()), (3, 0));
    }
}
