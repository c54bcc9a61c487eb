//! evaluate: every held-out task answered and scored, for the base and for each round's adapter.

mod judge;

use std::collections::{BTreeMap, HashMap};

use autodidact_domain::journal::StageName;
use autodidact_domain::random::derive_seed;
use autodidact_domain::report::EvaluationReport;
use autodidact_domain::workflow::EvaluateSpec;
use autodidact_domain::{
    ClassifyInput, EventBody, Evidence, Example, ExampleId, GenerateRequest, LabelScores, Language,
    ModelRef, Sampling, TaskType, TrainTask, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::diversity;
use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::labels::{OTHER_KIND, input_of, labels_of};
use crate::report::by_task_type;
use crate::stages::{PROMPT_TOO_LONG, language_of, prompt_too_long};
use crate::statistics::{mean, mean_interval, ratio_interval, wilson_interval};
pub(crate) use judge::{Judgement, agreement};

/// One held-out task, answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskResult {
    pub(crate) id: ExampleId,
    pub(crate) language: Language,
    pub(crate) task_type: Option<TaskType>,
    pub(crate) answer: String,
    pub(crate) negative_log_likelihood: f64,
    pub(crate) tokens: u32,
    pub(crate) rouge_l: f64,
    pub(crate) success: bool,
}

impl TaskResult {
    /// Tells the loss, in nats a response token.
    pub(crate) fn loss(&self) -> f64 {
        self.negative_log_likelihood / f64::from(self.tokens.max(1))
    }
}

/// A model on all held-out tasks.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    /// `base` or `round-N`.
    pub(crate) model: String,
    pub(crate) results: Vec<TaskResult>,
    /// What the judge says of the answers, where there is one.
    pub(crate) judgement: Option<Judgement>,
}

impl Evaluation {
    /// Pairs the tasks that this and another model were asked, and that are measured over the same tokens in both: an adapter with
    /// tokens of its own before every sequence has less room for a task at the context's end.
    pub(crate) fn paired<'a>(&'a self, other: &'a Self) -> Vec<(&'a TaskResult, &'a TaskResult)> {
        let others = other.results.iter().map(|result| (result.id, result));
        let others: BTreeMap<ExampleId, &TaskResult> = others.collect();
        let pairs = self.results.iter().filter_map(|own| {
            let other = *others.get(&own.id)?;
            (own.tokens > 0 && own.tokens == other.tokens).then_some((own, other))
        });
        pairs.collect()
    }
}

/// Whose evaluation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// The base, before anything is trained.
    Base,
    /// What a round trained; round 0 is the one of the seeds alone.
    Round(u32),
}

impl Measured {
    /// The round that its steps are recorded in.
    fn round(self) -> u32 {
        match self {
            Self::Base => 0,
            Self::Round(round) => round,
        }
    }

    /// The name that reports have for it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Base => "base".to_string(),
            Self::Round(round) => format!("round-{round}"),
        }
    }
}

/// Evaluates a model.
pub(crate) fn evaluate(
    run: &mut Run,
    measured: Measured,
    spec: &EvaluateSpec,
    model: &ModelRef,
    tasks: &[Example],
) -> Result<Evaluation, FlowError> {
    let round = measured.round();
    let mut results = Vec::with_capacity(tasks.len());
    for batch in tasks.chunks(spec.batch as usize) {
        run.progress(
            round,
            StageName::Evaluate,
            results.len() as u64,
            tasks.len() as u64,
        );
        results.extend(run.step(round, StageName::Evaluate, |run, _| {
            evaluate_batch(run, round, spec, model, batch)
        })?);
    }
    let judge = spec.judge.as_ref();
    let judgement = judge.map(|judge| judge::mark(run, round, spec, judge, &results, tasks));
    let judgement = judgement.transpose()?;
    run.progress(
        round,
        StageName::Evaluate,
        tasks.len() as u64,
        tasks.len() as u64,
    );
    run.finish_stage(round, StageName::Evaluate)?;
    if results.is_empty() && !tasks.is_empty() {
        return Err(FlowError::Stopped(format!(
            "none of the {} held-out tasks can be asked: the prompt of each fills the context of {}; take shorter tasks or another model",
            tasks.len(),
            model.model
        )));
    }
    let evaluation = Evaluation {
        model: measured.name(),
        results,
        judgement,
    };
    let (loss, rate) = headline(&evaluation.results);
    run.ports.events.publish(
        Some(&run.spec().name),
        EventBody::Evaluated {
            model: evaluation.model.clone(),
            heldout_loss: loss,
            success_rate: rate,
        },
    )?;
    Ok(evaluation)
}

fn evaluate_batch(
    run: &Run,
    round: u32,
    spec: &EvaluateSpec,
    model: &ModelRef,
    batch: &[Example],
) -> Result<Outcome<Vec<TaskResult>>, FlowError> {
    let trained = run.workflow.pinned.train_of(run.spec());
    if let Some(task) = trained.map(|train| train.options.task_type)
        && task.has_head()
    {
        return label_batch(run, task, model, batch);
    }
    let requests = batch.iter().map(|task| question(spec, task)).collect();
    let mut progress = run.token_progress(round, StageName::Evaluate);
    let started = run.ports.clock.now_ms();
    let completions = run
        .ports
        .engine
        .generate(model, requests, &run.interrupt, &mut progress)?;
    let generation_seconds = run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
    let conversations = batch.iter().map(|task| task.body.to_messages()).collect();
    let losses = run
        .ports
        .engine
        .response_loss(model, conversations, &run.interrupt)?;
    let default = run.spec().languages[0];
    let mut outcome = Outcome::new(Vec::with_capacity(batch.len()));
    outcome.generation_seconds = generation_seconds;
    for ((task, completion), loss) in batch.iter().zip(completions).zip(losses) {
        let (answer, (_, reference)) = (completion.text.trim(), task.body.question());
        let reference = &*reference;
        outcome.tokens += u64::from(completion.completion_tokens);
        // It depends on the task, the tokenizer and what an adapter puts before it.
        let drop = prompt_too_long("evaluate", &completion);
        let is_dropped = drop.is_some();
        outcome.verdicts.push(Judged {
            record: task.id,
            text: task.body.instruction_text().to_string(),
            verdict: drop.unwrap_or_else(|| Verdict::keep("evaluate")),
        });
        if is_dropped {
            continue;
        }
        outcome.value.push(TaskResult {
            id: task.id,
            language: language_of(task, default),
            task_type: task.task_type,
            negative_log_likelihood: loss.negative_log_likelihood,
            tokens: loss.tokens,
            rouge_l: autodidact_text::rouge_l(
                &autodidact_text::tokenize(answer),
                &autodidact_text::tokenize(reference),
            ),
            success: autodidact_text::succeeds(task.task_type, &task.labels, answer, reference),
            answer: answer.to_string(),
        });
    }
    outcome.out = outcome.value.len() as u64;
    Ok(outcome)
}

/// Lets a head label a batch of tasks. A task's tokens are its labels here, and its loss is that of the right ones.
fn label_batch(
    run: &Run,
    task: TrainTask,
    model: &ModelRef,
    batch: &[Example],
) -> Result<Outcome<Vec<TaskResult>>, FlowError> {
    let inputs = batch.iter().map(|example| input_of(task, &example.body));
    let inputs: Vec<Option<ClassifyInput>> = inputs.collect();
    let given = inputs.iter().flatten().cloned().collect();
    let engine = &run.ports.engine;
    let found = engine.classify(model, given, &run.interrupt)?;
    let mut results = found.results.iter();
    let default = run.spec().languages[0];
    let mut outcome = Outcome::new(Vec::with_capacity(batch.len()));
    for (example, input) in batch.iter().zip(&inputs) {
        let scores = input.as_ref().and_then(|_| results.next());
        let labelled = scores.map(|scores| labelled(task, &found.labels, scores, example));
        let verdict = match &labelled {
            Some(Some(_)) => Verdict::keep("evaluate"),
            Some(None) => dropped(PROMPT_TOO_LONG, "its words go beyond the model's context"),
            None => dropped(OTHER_KIND, "the training task has no place for it"),
        };
        outcome.verdicts.push(Judged {
            record: example.id,
            text: example.body.instruction_text().to_string(),
            verdict,
        });
        let Some((answer, loss, units)) = labelled.flatten() else {
            continue;
        };
        let reference = example.body.output_text();
        outcome.value.push(TaskResult {
            id: example.id,
            language: language_of(example, default),
            task_type: example.task_type,
            negative_log_likelihood: loss,
            tokens: units,
            rouge_l: autodidact_text::rouge_l(
                &autodidact_text::tokenize(&answer),
                &autodidact_text::tokenize(&reference),
            ),
            success: answer == reference,
            answer,
        });
    }
    outcome.out = outcome.value.len() as u64;
    Ok(outcome)
}

/// Reads a head's figures of a task: the likeliest labels as they would be written, the loss of the right ones in nats, and how
/// many they are; none where the context does not hold all words.
fn labelled(
    task: TrainTask,
    labels: &[String],
    scores: &[LabelScores],
    example: &Example,
) -> Option<(String, f64, u32)> {
    let best = scores.iter().map(|scores| {
        let name = labels.get(scores.best()?)?;
        Some(name.as_str())
    });
    let best = best.collect::<Option<Vec<&str>>>()?;
    let right = labels_of(task, &example.body)?;
    let losses = scores.iter().zip(&right).map(|(scores, right)| {
        let number = labels.iter().position(|label| label == right);
        let score = number.and_then(|number| scores.0.get(number));
        // A label that the head does not know is as unlikely as can be told.
        -f64::from(score.copied().unwrap_or(f32::MIN_POSITIVE.ln()))
    });
    Some((best.join(" "), losses.sum(), right.len() as u32))
}

fn dropped(reason: &str, note: &str) -> Verdict {
    let evidence = Evidence {
        note: Some(note.to_string()),
        ..Evidence::default()
    };
    Verdict::drop("evaluate", reason, evidence)
}

/// Asks for a task's answer.
fn question(spec: &EvaluateSpec, task: &Example) -> GenerateRequest {
    let sampling = Sampling {
        max_tokens: spec.max_tokens,
        ..Sampling::default()
    };
    GenerateRequest::new(task.body.question().0, sampling)
}

fn headline(results: &[TaskResult]) -> (f64, f64) {
    let tokens: f64 = results.iter().map(|r| f64::from(r.tokens)).sum();
    let loss = results
        .iter()
        .map(|r| r.negative_log_likelihood)
        .sum::<f64>()
        / tokens.max(1.0);
    let rate = results.iter().filter(|r| r.success).count() as f64 / results.len().max(1) as f64;
    (loss, rate)
}

/// Sums an evaluation up, one report a language.
pub(crate) fn summarize(
    evaluation: &Evaluation,
    held_out: &[Example],
    seed: u64,
) -> Vec<EvaluationReport> {
    let tasks: HashMap<ExampleId, &Example> = held_out.iter().map(|task| (task.id, task)).collect();
    let mut by_language: BTreeMap<Language, Vec<TaskResult>> = BTreeMap::new();
    for result in &evaluation.results {
        by_language
            .entry(result.language)
            .or_default()
            .push(result.clone());
    }
    by_language
        .into_iter()
        .map(|(language, results)| summarize_language(evaluation, language, &results, &tasks, seed))
        .collect()
}

fn summarize_language(
    evaluation: &Evaluation,
    language: Language,
    results: &[TaskResult],
    tasks: &HashMap<ExampleId, &Example>,
    seed: u64,
) -> EvaluationReport {
    let (heldout_loss, success_rate) = headline(results);
    let rouge: Vec<f64> = results.iter().map(|r| r.rouge_l).collect();
    let pairs: Vec<(f64, f64)> = results
        .iter()
        .map(|r| (r.negative_log_likelihood, f64::from(r.tokens)))
        .collect();
    let succeeded = results.iter().filter(|r| r.success).count() as u64;
    let seed = derive_seed(seed, &["interval", language.code()]);
    let answers: Vec<&str> = results.iter().map(|r| r.answer.as_str()).collect();
    let mut diversity = diversity::of_texts(&answers, seed);
    let judged = evaluation.judgement.as_ref();
    let mut intervals = BTreeMap::from([
        ("heldout_loss".to_string(), ratio_interval(&pairs, seed)),
        ("rouge_l".to_string(), mean_interval(&rouge, seed)),
        (
            "success_rate".to_string(),
            wilson_interval(succeeded, results.len() as u64),
        ),
    ]);
    intervals.append(&mut diversity.intervals);
    EvaluationReport {
        model: evaluation.model.clone(),
        language: language.code().to_string(),
        n: results.len() as u64,
        heldout_loss,
        rouge_l: mean(&rouge),
        success_rate,
        intervals,
        task_types: by_task_type(results, tasks, seed),
        diversity: diversity.values,
        judge: judged.map(|judged| judge::summarize(judged, language, results, seed)),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::workflow::ContaminationSpec;
    use autodidact_domain::{Body, Message, Prompt};

    use super::*;

    #[test]
    fn a_conversation_is_asked_with_all_turns_before_its_last_answer() {
        let before = [
            Message::user("My lamp is broken."),
            Message::assistant("Which lamp?"),
            Message::user("The desk lamp."),
        ];
        let messages = [&before[..], &[Message::assistant("I send a new one.")]].concat();
        let task = Example::human(Body::Chat { messages });
        let spec = EvaluateSpec {
            max_tokens: 7,
            batch: 1,
            judge: None,
            contamination: ContaminationSpec::default(),
        };
        let asked = question(&spec, &task);
        let Prompt::Chat(messages) = asked.prompt else {
            panic!("a conversation: {:?}", asked.prompt);
        };
        assert_eq!(messages, before);
        assert_eq!(asked.sampling.max_tokens, 7);
    }
}
