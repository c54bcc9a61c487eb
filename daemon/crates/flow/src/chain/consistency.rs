//! Self-consistency as a rule of a chain (Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning"): the question is
//! answered again some times, and an answer that most of the others do not bear out goes.

use std::collections::BTreeMap;

use autodidact_domain::random::derive_seed;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{ConsistencySpec, RespondSpec};
use autodidact_domain::{Completion, Example, ModelRef, RuleRef, TaskType, Verdict};
use autodidact_text::{count_tokens, normalize, rouge_l, tokenize};

use super::checks::{labels_of, the_label, tidied};
use super::correction::Corrections;
use super::{ChainRecord, note};
use crate::error::FlowError;
use crate::journaled::Run;
use crate::prompts;
use crate::stages::prompt_too_long;
use crate::stages::respond::{Asker, Question};

const RULE: &str = "consistency";
/// Answers of at most so many tokens are equal or are not; what is longer can be said in other words.
const SHORT_ANSWER_TOKENS: usize = 6;
/// The most characters of another answer in evidence.
const SHOWN_CHARACTERS: usize = 60;

/// What asking again needs.
pub(super) struct Asking<'a> {
    pub(super) run: &'a Run,
    pub(super) spec: &'a ConsistencySpec,
    pub(super) human: &'a [Example],
    /// Which records are asked about.
    pub(super) open: Vec<bool>,
}

impl Asking<'_> {
    /// Has the open records answered again, by whoever answered them; gives the drops, and replaces what most of the others answer
    /// otherwise where that is one short answer. The tokens that it takes are added up.
    pub(super) fn ask(
        &self,
        records: &mut [ChainRecord],
        corrections: &mut Corrections,
        tokens: &mut u64,
    ) -> Result<Vec<Option<Verdict>>, FlowError> {
        let mut by_author: BTreeMap<(ModelOrder, u32), Vec<usize>> = BTreeMap::new();
        for (i, record) in records.iter().enumerate().filter(|(i, _)| self.open[*i]) {
            let author = ModelOrder::of(&author(self.run, self.spec, record));
            let round = record.lineage.as_ref().and_then(|lineage| lineage.round);
            let key = (author, round.unwrap_or(0));
            by_author.entry(key).or_default().push(i);
        }
        let mut drops = vec![None; records.len()];
        for ((author, round), asked) in by_author {
            let answers = self.answers(&author.model(), round, &asked, records, tokens)?;
            for (i, answers) in asked.into_iter().zip(answers) {
                match judge(self.spec, &records[i], &answers) {
                    Judgement::Agrees => {}
                    Judgement::Drop(drop) => drops[i] = Some(*drop),
                    Judgement::Replace { output, done } => {
                        corrections.note(i, RuleRef::builtin(RULE), done);
                        records[i].output = output;
                    }
                }
            }
        }
        Ok(drops)
    }

    /// Has one model answer some records, each `samples` times.
    fn answers(
        &self,
        model: &ModelRef,
        round: u32,
        asked: &[usize],
        records: &[ChainRecord],
        tokens: &mut u64,
    ) -> Result<Vec<Vec<Completion>>, FlowError> {
        let default = RespondSpec::default();
        let respond = self.run.spec().stages.respond.as_ref();
        let mut asker = Asker {
            run: self.run,
            round,
            spec: respond.unwrap_or(&default),
            human: self.human,
            model,
            progress: Box::new(|_| {}),
            tokens: 0,
        };
        let examples = asker.examples()?;
        let samples = self.spec.samples;
        let mut requests = Vec::with_capacity(asked.len() * samples as usize);
        for record in asked.iter().map(|i| &records[*i]) {
            let question = Question {
                language: record.language,
                instruction: &record.instruction,
                input: &record.input,
                task_type: record.task_type,
            };
            for sample in 0..samples {
                let coordinates = ["sample", RULE, &record.id.to_string(), &sample.to_string()];
                let seed = derive_seed(self.run.spec().seed, &coordinates);
                let mut request = asker.answer_request(examples, question, seed)?;
                request.sampling.temperature = self.spec.temperature;
                // Answers are compared alone, so one of another form than asked for does no harm.
                request.constraint_may_lapse = request.constraint.is_some();
                requests.push(request);
            }
        }
        let completions = asker.generate(requests)?;
        *tokens += asker.tokens;
        let answers = completions.chunks(samples as usize);
        Ok(answers.map(<[Completion]>::to_vec).collect())
    }
}

/// A model in an order that depends on nothing but its name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ModelOrder(String, Option<String>);

impl ModelOrder {
    fn of(model: &ModelRef) -> Self {
        Self(
            model.model.to_string(),
            model.adapter.as_ref().map(ToString::to_string),
        )
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            model: self.0.parse().expect("it is a model's name"),
            adapter: self
                .1
                .as_ref()
                .map(|adapter| adapter.parse().expect("it is a checkpoint's name")),
        }
    }
}

/// Finds who answers again: the model named for it, the one that answered in this workflow, or the workflow's own.
fn author(run: &Run, spec: &ConsistencySpec, record: &ChainRecord) -> ModelRef {
    let base = |model| ModelRef {
        model,
        adapter: None,
    };
    if let Some(model) = &spec.model {
        return base(model.clone());
    }
    let lineage = record.lineage.as_ref();
    let model = lineage.and_then(|lineage| lineage.model.clone());
    match model.filter(|model| run.spec().uses_model(model)) {
        Some(model) => ModelRef {
            model,
            // A record of another workflow may be of an adapter that is no more.
            adapter: lineage
                .and_then(|lineage| lineage.adapter.clone())
                .filter(|adapter| run.ports.checkpoints.get(adapter).is_ok()),
        },
        None => base(run.spec().model.clone()),
    }
}

/// What the other answers make of an answer.
pub(super) enum Judgement {
    Agrees,
    Replace { output: String, done: String },
    Drop(Box<Verdict>),
}

fn judge(spec: &ConsistencySpec, record: &ChainRecord, answers: &[Completion]) -> Judgement {
    if let Some(drop) = answers
        .iter()
        .find_map(|answer| prompt_too_long(RULE, answer))
    {
        return Judgement::Drop(Box::new(drop));
    }
    let texts: Vec<String> = answers
        .iter()
        .map(|answer| prompts::parse_answer(&answer.text, answer.finish).unwrap_or_default())
        .collect();
    compare(spec, record, &texts)
}

/// Compares an answer with the others.
pub(super) fn compare(
    spec: &ConsistencySpec,
    record: &ChainRecord,
    answers: &[String],
) -> Judgement {
    let is_classification = autodidact_text::task_type_of(record.task_type, &record.labels)
        == Some(TaskType::Classification);
    let labels = is_classification.then(|| labels_of(record)).flatten();
    // "Output: 6" and "6" are one answer.
    let read = |answer: &String| {
        let tidied = tidied(record, answer);
        let label = labels
            .as_ref()
            .and_then(|labels| the_label(&tidied, labels));
        label.map(str::to_string).unwrap_or(tidied)
    };
    let answers: Vec<String> = answers.iter().map(read).collect();
    let output = read(&record.output);
    let is_closed = is_classification || count_tokens(&output) <= SHORT_ANSWER_TOKENS;
    let own = tokenize(&output);
    let agrees = |answer: &&String| {
        let is_equal = normalize(answer) == normalize(&output);
        is_equal || (!is_closed && rouge_l(&tokenize(answer), &own) >= spec.agreement_rouge_l)
    };
    let share_of = |count: usize| count as f64 / answers.len().max(1) as f64;
    let share = share_of(answers.iter().filter(agrees).count());
    if share >= spec.least {
        return Judgement::Agrees;
    }
    let (majority, count) = majority(&answers);
    let others: Vec<String> = answers
        .iter()
        .map(|answer| format!("{:?}", cut(answer)))
        .collect();
    let told = format!(
        "{share:.2} agree, at least {}; answered again: {}",
        spec.least,
        others.join(", ")
    );
    let is_short = count_tokens(majority) <= SHORT_ANSWER_TOKENS || labels.is_some();
    // More than half, so that there is no other of which the same could be said.
    let prevails = share_of(count) >= spec.least && count * 2 > answers.len();
    let is_known = labels
        .as_ref()
        .is_none_or(|labels| labels.iter().any(|label| label == majority));
    if spec.correct
        && is_closed
        && is_short
        && prevails
        && is_known
        && !normalize(majority).is_empty()
    {
        return Judgement::Replace {
            output: majority.to_string(),
            done: format!(
                "{:?} replaced by the answer of most: {told}",
                cut(&record.output)
            ),
        };
    }
    Judgement::Drop(Box::new(Verdict::drop(
        RULE,
        "inconsistent",
        Evidence {
            score: Some(share),
            ..note(told)
        },
    )))
}

/// Finds the answer that most give, the first of equally many, and how many do.
fn majority(answers: &[String]) -> (&str, usize) {
    let count = |answer: &String| {
        let normal = normalize(answer);
        answers
            .iter()
            .filter(|other| normalize(other) == normal)
            .count()
    };
    let mut best = ("", 0);
    for answer in answers {
        let votes = count(answer);
        if votes > best.1 {
            best = (answer, votes);
        }
    }
    best
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
