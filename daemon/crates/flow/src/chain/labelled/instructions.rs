//! Lines that people labelled, and the tasks that come with the project, through the chains as workflows run them.

use std::collections::BTreeMap;
use std::path::Path;

use autodidact_domain::workflow::{ChainRule, RulesSpec, TextRule};
use autodidact_domain::{Body, Language, Verdict};
use serde::Deserialize;

use super::{Labelled, check, folder, lines};
use crate::chain::{Asked, Chain, ChainRecord};

/// A line of `tests/labelled/REASON.LANGUAGE.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    instruction: String,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
    /// What the chain kept before.
    #[serde(default)]
    earlier: Vec<String>,
    /// The user's list of blocked or sensitive words.
    #[serde(default)]
    words: Vec<String>,
    /// The languages that the workflow works in; both where none is given.
    #[serde(default)]
    languages: Vec<Language>,
    drop: bool,
}

impl Labelled for Line {
    fn is_one(&self) -> bool {
        self.drop
    }

    fn shown(&self) -> String {
        format!("{} | {} | {}", self.instruction, self.input, self.output)
    }
}

/// Reason codes with the stage that drops by them.
const REASONS: [(&str, &str); 17] = [
    ("exact_duplicate", "filter"),
    ("near_duplicate", "filter"),
    ("too_short", "filter"),
    ("too_long", "filter"),
    ("wrong_language", "filter"),
    ("blocked_word", "filter"),
    ("sensitive_word", "filter"),
    ("unanswerable", "filter"),
    ("bad_format", "filter"),
    ("repetition", "filter"),
    ("vague", "filter"),
    ("ungrammatical", "filter"),
    ("empty_output", "validate"),
    ("output_equals_input", "validate"),
    ("output_equals_instruction", "validate"),
    ("ends_with_colon", "validate"),
    ("missing_input", "validate"),
];

/// The reasons of these lines.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    REASONS.iter().map(|(reason, _)| *reason)
}

/// A chain of every rule that asks nobody.
fn chain(stage: &str, rules: RulesSpec, languages: &[Language]) -> Chain {
    let rules = ChainRule::Rules(rules);
    match stage {
        "filter" => {
            let near = ChainRule::RougeL { threshold: 0.7 };
            Chain::for_filter(&[ChainRule::Exact, near, rules], &[], languages)
        }
        _ => Chain::for_validate(&[rules], &[], languages),
    }
    .expect("no plugin is named")
}

fn record(language: Language, instruction: &str, input: &str, output: &str) -> ChainRecord {
    let id = Body::instruction(instruction, input, output).id();
    ChainRecord {
        input: input.to_string(),
        output: output.to_string(),
        ..ChainRecord::instruction(id, instruction, language)
    }
}

fn judge(chain: &Chain, record: &ChainRecord) -> Option<Verdict> {
    let memory = &chain.memory;
    let asked: Vec<Asked> = memory.links.iter().map(|_| Asked::Nobody).collect();
    memory.first_drop(&asked, 0, record)
}

fn decide((reason, stage): (&str, &str), language: Language, line: &Line) -> Option<Verdict> {
    let both = [Language::En, Language::Zh];
    let languages = if line.languages.is_empty() {
        &both[..]
    } else {
        &line.languages
    };
    let words_for = |rule| {
        if rule == reason {
            line.words.clone()
        } else {
            Vec::new()
        }
    };
    let rules = RulesSpec {
        blocked_words: words_for("blocked_word"),
        sensitive_words: words_for("sensitive_word"),
        ..RulesSpec::default()
    };
    let mut chain = chain(stage, rules, languages);
    for earlier in &line.earlier {
        chain.remember(&record(language, earlier, "", ""));
    }
    let record = record(language, &line.instruction, &line.input, &line.output);
    judge(&chain, &record)
}

#[test]
fn labelled_instructions_are_decided_as_people_did() {
    let stages: BTreeMap<&str, &str> = REASONS.into_iter().collect();
    let count = check(reasons(), |reason, language, line: &Line| {
        let found = decide((reason, stages[reason]), language, line).map(|verdict| verdict.reason);
        let expect = line.drop.then_some(reason);
        (found.as_deref() != expect).then(|| format!("{found:?}, not {expect:?}"))
    });
    assert!(count >= 680, "{count} lines");
}

/// Judges every instance of a file of tasks; gives the drops by reason, with their instructions.
fn drops(path: &Path, language: Language) -> BTreeMap<String, Vec<String>> {
    let languages = [Language::En, Language::Zh];
    // People write tasks of two words, which the reference's least length, made for what models write, would drop.
    let rules = RulesSpec {
        except: vec![TextRule::TooShort],
        ..RulesSpec::default()
    };
    let filter = chain("filter", rules, &languages);
    let validate = chain("validate", RulesSpec::default(), &languages);
    let mut drops: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in lines(path) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
        let instruction = text(&task["instruction"]);
        let mut verdicts = vec![judge(&filter, &record(language, &instruction, "", ""))];
        for instance in task["instances"].as_array().expect("a task has instances") {
            let (input, output) = (text(&instance["input"]), text(&instance["output"]));
            let record = record(language, &instruction, &input, &output);
            verdicts.push(judge(&validate, &record));
        }
        for verdict in verdicts.into_iter().flatten() {
            let note = verdict.evidence.note.unwrap_or_default();
            let reasons = drops.entry(verdict.reason).or_default();
            reasons.push(format!("{instruction} ({note})"));
        }
    }
    drops
}

#[test]
fn every_example_task_passes() {
    for (name, language) in [("en", Language::En), ("zh", Language::Zh)] {
        for part in ["seeds", "heldout"] {
            let path = folder("../../../examples/data").join(format!("{part}-{name}.jsonl"));
            let drops = drops(&path, language);
            assert!(drops.is_empty(), "{part}-{name}: {drops:#?}");
        }
    }
}

/// Where a task's own input is taken away, tasks that speak of one are found out: the rule is no dead letter.
#[test]
fn example_tasks_without_their_inputs_want_them() {
    let (mut without, mut found) = (0, 0);
    for (name, language) in [("en", Language::En), ("zh", Language::Zh)] {
        let languages = [Language::En, Language::Zh];
        let validate = chain("validate", RulesSpec::default(), &languages);
        let path = folder("../../../examples/data").join(format!("seeds-{name}.jsonl"));
        for task in lines(&path) {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
            let instance = &task["instances"][0];
            if instance["input"] != "" {
                let output = text(&instance["output"]);
                let record = record(language, &text(&task["instruction"]), "", &output);
                without += 1;
                found += usize::from(judge(&validate, &record).is_some());
            }
        }
    }
    // Most say only what to do ("Translate into French."), and what they want cannot be read off them.
    assert!(found * 5 >= without, "{found} of {without}");
}

/// Most seeds of the paper pass too: AUTODIDACT_TEST_SEEDS names the file `seed_tasks.jsonl` of its repository.
#[test]
fn most_of_the_papers_seeds_pass() {
    let Ok(path) = std::env::var("AUTODIDACT_TEST_SEEDS") else {
        return;
    };
    let count = lines(Path::new(&path)).len();
    let drops = drops(Path::new(&path), Language::En);
    let dropped: usize = drops.values().map(Vec::len).sum();
    println!("{dropped} of {count}: {drops:#?}");
    assert!(dropped * 10 <= count, "{dropped} of {count}: {drops:#?}");
}
