//! Two models on the held-out tasks: paired task by task where both were asked the same ones.

use autodidact_domain::comparison::{EvaluationDifference, MeasureDifference};
use autodidact_domain::random::derive_seed;
use autodidact_domain::report::{EvaluationReport, Interval};
use autodidact_domain::{ExampleId, Language};

use super::Side;
use crate::report::final_model;
use crate::stages::evaluate::{Evaluation, TaskResult};
use crate::statistics::{paired_difference, paired_ratio_difference};

/// Compares the bases, the rounds of equal number and, where those are others, the models that the runs end with.
pub(super) fn differences(a: &Side, b: &Side, language: Language) -> Vec<EvaluationDifference> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for evaluation in &a.report.evaluations {
        let pair = (evaluation.model.clone(), evaluation.model.clone());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    if let (Some(last_a), Some(last_b)) = (final_model(&a.report), final_model(&b.report))
        && last_a != last_b
    {
        pairs.push((last_a, last_b));
    }
    let mut found = Vec::new();
    for (model_a, model_b) in pairs {
        for of_a in a.report.evaluations.iter().filter(|e| e.model == model_a) {
            let mut others = b.report.evaluations.iter();
            let of_b = others.find(|e| e.model == model_b && e.language == of_a.language);
            if let Some(of_b) = of_b {
                let compared = Compared {
                    sides: [a, b],
                    reports: [of_a, of_b],
                    language,
                };
                found.push(compared.difference());
            }
        }
    }
    found
}

/// One model of each, on the tasks of one language.
struct Compared<'a> {
    sides: [&'a Side; 2],
    reports: [&'a EvaluationReport; 2],
    /// What reasons are told in.
    language: Language,
}

/// Two results of the same task.
type Pair<'a> = (&'a TaskResult, &'a TaskResult);

/// What a measure's pairs give: their number, the difference with its interval, and why there are no more.
struct Paired {
    pairs: usize,
    difference: f64,
    interval: Option<Interval>,
    note: String,
}

impl Compared<'_> {
    fn difference(&self) -> EvaluationDifference {
        let [a, b] = self.reports;
        let tasks = self.pairs();
        let loss = match &tasks {
            Err(note) => self.unpaired(a.heldout_loss, b.heldout_loss, note),
            Ok(tasks) => self.loss(tasks),
        };
        let success = match &tasks {
            Err(note) => self.unpaired(a.success_rate, b.success_rate, note),
            Ok(tasks) => self.success(tasks),
        };
        EvaluationDifference {
            model_a: a.model.clone(),
            model_b: b.model.clone(),
            language: a.language.clone(),
            measures: vec![
                self.measure("heldout_loss", [a.heldout_loss, b.heldout_loss], loss),
                self.measure("success_rate", [a.success_rate, b.success_rate], success),
            ],
        }
    }

    /// Pairs the results of the tasks that both models were asked.
    ///
    /// # Errors
    /// Why there are no such tasks.
    fn pairs(&self) -> Result<Vec<Pair<'_>>, String> {
        let held_out = self
            .sides
            .map(|side| side.workflow.pinned.held_out.as_ref());
        let digests = held_out.map(|dataset| dataset.map(|dataset| dataset.digest));
        if digests[0] != digests[1] || digests[0].is_none() {
            return Err(self
                .language
                .pick(
                    "not paired: the held-out tasks are others, so each interval stands for itself",
                    "未配对：两者的留出任务不同，因此各自给出区间",
                )
                .to_string());
        }
        let results = |place: usize| {
            let model = &self.reports[place].model;
            let mut all = self.sides[place].evaluations.iter();
            all.find(|evaluation: &&Evaluation| evaluation.model == *model)
        };
        let (Some(a), Some(b)) = (results(0), results(1)) else {
            return Err(self
                .language
                .pick(
                    "not paired: the journal has no results of single tasks",
                    "未配对：日志中没有单个任务的结果",
                )
                .to_string());
        };
        let code = &self.reports[0].language;
        let find = |id: ExampleId| b.results.iter().find(|result| result.id == id);
        let of_language = a.results.iter();
        let of_language = of_language.filter(|result| result.language.code() == code);
        let pairs = of_language.filter_map(|a| Some((a, find(a.id)?)));
        Ok(pairs.collect())
    }

    /// Loss is compared over the tasks that are measured over the same tokens in both.
    fn loss(&self, tasks: &[Pair<'_>]) -> Paired {
        let same = tasks.iter();
        let same = same.filter(|(a, b)| a.tokens == b.tokens && a.tokens > 0);
        let pairs: Vec<Pair<'_>> = same.copied().collect();
        let [a, b] = self.reports;
        if pairs.is_empty() {
            let note = self.language.pick(
                "not paired: the models cut the answers into other tokens, so their losses do not measure the same",
                "未配对：两个模型的分词不同，损失不可直接比较",
            );
            return self.unpaired(a.heldout_loss, b.heldout_loss, note);
        }
        let of = |result: &TaskResult| (result.negative_log_likelihood, f64::from(result.tokens));
        let before: Vec<(f64, f64)> = pairs.iter().map(|(a, _)| of(a)).collect();
        let after: Vec<(f64, f64)> = pairs.iter().map(|(_, b)| of(b)).collect();
        let (difference, interval) =
            paired_ratio_difference(&before, &after, self.seed("heldout_loss"));
        Paired {
            pairs: pairs.len(),
            difference,
            interval: Some(interval),
            note: self.over(pairs.len()),
        }
    }

    fn success(&self, tasks: &[Pair<'_>]) -> Paired {
        let of = |result: &TaskResult| f64::from(u8::from(result.success));
        let before: Vec<f64> = tasks.iter().map(|(a, _)| of(a)).collect();
        let after: Vec<f64> = tasks.iter().map(|(_, b)| of(b)).collect();
        let (difference, interval) = paired_difference(&before, &after, self.seed("success_rate"));
        Paired {
            pairs: tasks.len(),
            difference,
            interval: (!tasks.is_empty()).then_some(interval),
            note: self.over(tasks.len()),
        }
    }

    /// Says over how many tasks a difference is, where that is not all of them.
    fn over(&self, pairs: usize) -> String {
        let all = self.reports.map(|report| report.n).into_iter().max();
        let all = all.unwrap_or(0);
        match all == pairs as u64 {
            true => String::new(),
            false => self.language.pick(
                format!(
                    "paired over {pairs} of {all} tasks; the others were not measured alike in both"
                ),
                format!("在 {all} 个任务中的 {pairs} 个上配对；其余任务在两者中的度量方式不同"),
            ),
        }
    }

    fn unpaired(&self, a: f64, b: f64, note: &str) -> Paired {
        Paired {
            pairs: 0,
            difference: b - a,
            interval: None,
            note: note.to_string(),
        }
    }

    fn measure(&self, measure: &str, values: [f64; 2], paired: Paired) -> MeasureDifference {
        let interval = |place: usize| self.reports[place].intervals.get(measure).copied();
        MeasureDifference {
            measure: measure.to_string(),
            a: values[0],
            a_interval: interval(0),
            b: values[1],
            b_interval: interval(1),
            difference: paired.difference,
            interval: paired.interval,
            pairs: paired.pairs as u64,
            note: paired.note,
        }
    }

    /// Seeds a bootstrap: the same two runs are told the same interval whenever they are compared.
    fn seed(&self, measure: &str) -> u64 {
        let [a, b] = self.reports;
        let other = &self.sides[1].workflow.spec;
        let coordinates = [
            "compare",
            other.name.as_str(),
            &other.seed.to_string(),
            &a.model,
            &b.model,
            &a.language,
            measure,
        ];
        derive_seed(self.sides[0].workflow.spec.seed, &coordinates)
    }
}
