//! Instruction-following difficulty (Li et al. 2024, "From Quantity to Quality"): how much an instruction helps a model to its answer.

use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{Calibration, DifficultySpec};
use autodidact_domain::{Message, Prompt, Verdict};

use super::ChainRecord;
use super::perplexity::base_or;
use crate::error::FlowError;
use crate::journaled::Run;

/// The name that the rule has in calibrations and verdicts.
const RULE: &str = "difficulty";
/// The greatest without seeds: the paper drops what is above.
const DEFAULT_MOST: f64 = 1.0;
/// Seeds of a language that are measured.
const MAX_SEEDS: usize = 200;
/// The fewest seeds whose spread says something.
const MIN_SEEDS: usize = 8;
/// The share of the seeds that lies under the bound. Small models find any instruction of some help to any answer, so that what does
/// not belong together lies below 1, and above nearly all that people wrote.
const QUANTILE: f64 = 0.95;

/// Measures the seeds' difficulty, by language, where a run makes new examples: a dataset that is judged itself says nothing about
/// what is good in it.
pub(super) fn measure(
    run: &Run,
    spec: &DifficultySpec,
    seeds: &[ChainRecord],
) -> Result<Vec<Calibration>, FlowError> {
    let mut calibrations = Vec::new();
    if spec.most.is_some() || run.spec().stages.generate.is_none() {
        return Ok(calibrations);
    }
    for language in &run.spec().languages {
        let is_own =
            |seed: &&ChainRecord| seed.language == *language && !seed.output.trim().is_empty();
        let own: Vec<&ChainRecord> = seeds.iter().filter(is_own).take(MAX_SEEDS).collect();
        if own.len() < MIN_SEEDS {
            continue;
        }
        let mut found: Vec<f64> = difficulties(run, spec, &own)?
            .into_iter()
            .flatten()
            .collect();
        found.sort_unstable_by(f64::total_cmp);
        let Some(bound) = quantile(&found, QUANTILE) else {
            continue;
        };
        calibrations.push(Calibration {
            rule: RULE.to_string(),
            language: *language,
            model: base_or(run, spec.model.as_ref()).model,
            bound: bound.min(DEFAULT_MOST),
            seeds: found.len() as u64,
            measured: quantile(&found, 0.5),
        });
    }
    Ok(calibrations)
}

/// Finds the value that a share of sorted ones does not pass.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied()
}

/// Measures the open records; gives the drops.
pub(super) fn ask(
    run: &Run,
    spec: &DifficultySpec,
    bounds: &[Calibration],
    records: &[ChainRecord],
    open: &[bool],
) -> Result<Vec<Option<Verdict>>, FlowError> {
    let asked: Vec<usize> = (0..records.len())
        .filter(|i| open[*i] && !records[*i].output.trim().is_empty())
        .collect();
    let shown: Vec<&ChainRecord> = asked.iter().map(|i| &records[*i]).collect();
    let mut drops = vec![None; records.len()];
    let model = base_or(run, spec.model.as_ref()).model;
    for (i, found) in asked.iter().zip(difficulties(run, spec, &shown)?) {
        let own =
            |bound: &&Calibration| bound.rule == RULE && bound.language == records[*i].language;
        let bound = bounds.iter().find(own);
        drops[*i] = judge(spec, bound, found).map(|mut verdict| {
            let note = verdict.evidence.note.take().unwrap_or_default();
            verdict.evidence.note = Some(format!("{model}: {note}"));
            verdict
        });
    }
    Ok(drops)
}

/// Measures answered records; none for an answer that is certain by itself.
fn difficulties(
    run: &Run,
    spec: &DifficultySpec,
    records: &[&ChainRecord],
) -> Result<Vec<Option<f64>>, FlowError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let after = |record: &&ChainRecord| {
        let task = autodidact_domain::example::join_input(&record.instruction, Some(&record.input));
        ScoreRequest {
            prompt: Prompt::Chat(vec![Message::user(task)]),
            continuation: record.output.clone(),
        }
    };
    // The same turn with nothing asked: the layout stays, so that the instruction alone makes the difference.
    let alone = |record: &&ChainRecord| ScoreRequest {
        prompt: Prompt::Chat(vec![Message::user("")]),
        continuation: record.output.clone(),
    };
    let model = base_or(run, spec.model.as_ref());
    let requests = records.iter().map(after).chain(records.iter().map(alone));
    let losses = run
        .ports
        .engine
        .score(&model, requests.collect(), &run.interrupt)?;
    let (after, alone) = losses.split_at(records.len());
    let pairs = after.iter().zip(alone);
    Ok(pairs
        .map(|(after, alone)| difficulty(after, alone))
        .collect())
}

/// The loss a token of the answer after its instruction, over that of the answer alone; none for an answer that is certain by itself.
fn difficulty(after: &ResponseLoss, alone: &ResponseLoss) -> Option<f64> {
    let mean = |loss: &ResponseLoss| loss.negative_log_likelihood / f64::from(loss.tokens.max(1));
    (mean(alone) > 0.0).then(|| mean(after) / mean(alone))
}

fn judge(
    spec: &DifficultySpec,
    calibration: Option<&Calibration>,
    difficulty: Option<f64>,
) -> Option<Verdict> {
    let value = difficulty?;
    let measured = calibration.map(|calibration| calibration.bound);
    let most = spec.most.or(measured).unwrap_or(DEFAULT_MOST);
    let (reason, note) = if value > most {
        let seeds = match calibration {
            Some(calibration) => format!(
                "; {} seeds have {QUANTILE} of theirs under it",
                calibration.seeds
            ),
            None => String::new(),
        };
        ("misaligned", format!("at most {most:.3}{seeds}"))
    } else if value < spec.least {
        ("too_easy", format!("at least {}", spec.least))
    } else {
        return None;
    };
    let evidence = Evidence {
        score: Some(value),
        note: Some(note),
        ..Evidence::default()
    };
    Some(Verdict::drop(RULE, reason, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_that_does_not_help_and_one_that_says_it_all_drop() {
        let spec = DifficultySpec {
            least: 0.2,
            ..DifficultySpec::default()
        };
        let loss = |negative_log_likelihood, tokens| ResponseLoss {
            negative_log_likelihood,
            tokens,
            prompt_tokens: 1,
        };
        let reason = |after: ResponseLoss, alone: ResponseLoss| {
            judge(&spec, None, difficulty(&after, &alone)).map(|verdict| verdict.reason)
        };
        assert_eq!(reason(loss(6.0, 4), loss(10.0, 4)), None);
        assert_eq!(
            reason(loss(11.0, 4), loss(10.0, 4)).as_deref(),
            Some("misaligned")
        );
        assert_eq!(
            reason(loss(1.0, 4), loss(10.0, 4)).as_deref(),
            Some("too_easy")
        );
        assert_eq!(reason(loss(0.0, 4), loss(0.0, 4)), None);
    }
}
