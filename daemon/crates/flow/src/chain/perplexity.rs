//! How likely a model finds an instruction: what no seed comes near is hardly language.

use autodidact_domain::generation::ScoreRequest;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{Calibration, PerplexitySpec};
use autodidact_domain::{Language, ModelName, ModelRef, Prompt, Verdict};

use super::ChainRecord;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::prompts::flatten;

/// The name that the rule has in calibrations and verdicts.
const RULE: &str = "perplexity";
/// Seeds of a language that are measured.
const MAX_SEEDS: usize = 200;
/// The fewest seeds whose spread says something.
const MIN_SEEDS: usize = 8;
/// Standard deviations of the seeds' log perplexity that the bound lies above their mean: of a normal distribution one in 740 is
/// beyond three.
const DEVIATIONS: f64 = 3.0;

/// Measures the seeds' perplexity, by language; a language with too few seeds has no bound.
pub(super) fn measure(
    run: &Run,
    spec: &PerplexitySpec,
    seeds: &[ChainRecord],
) -> Result<Vec<Calibration>, FlowError> {
    let mut calibrations = Vec::new();
    for language in &run.spec().languages {
        let calibration = |bound, seeds, measured| Calibration {
            rule: RULE.to_string(),
            language: *language,
            model: model_of(run, spec).model,
            bound,
            seeds,
            measured,
        };
        if let Some(most) = spec.most {
            calibrations.push(calibration(most, 0, None));
            continue;
        }
        let own: Vec<&ChainRecord> = seeds
            .iter()
            .filter(|seed| seed.language == *language)
            .take(MAX_SEEDS)
            .collect();
        if own.len() < MIN_SEEDS {
            continue;
        }
        let logs: Vec<f64> = perplexities(run, spec, &own)?
            .iter()
            .map(|perplexity| perplexity.ln())
            .collect();
        let (mean, deviation) = spread(&logs);
        let bound = (mean + DEVIATIONS * deviation).exp();
        calibrations.push(calibration(bound, logs.len() as u64, Some(mean.exp())));
    }
    Ok(calibrations)
}

/// The mean and the standard deviation (of a sample).
fn spread(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (values.len() - 1) as f64).sqrt())
}

/// Measures the open records; gives the drops.
pub(super) fn ask(
    run: &Run,
    spec: &PerplexitySpec,
    bounds: &[Calibration],
    records: &[ChainRecord],
    open: &[bool],
) -> Result<Vec<Option<Verdict>>, FlowError> {
    let bound_of = |language| {
        let own = |bound: &&Calibration| bound.rule == RULE && bound.language == language;
        bounds.iter().find(own)
    };
    let asked: Vec<usize> = (0..records.len())
        .filter(|i| open[*i] && bound_of(records[*i].language).is_some())
        .collect();
    let shown: Vec<&ChainRecord> = asked.iter().map(|i| &records[*i]).collect();
    let mut drops = vec![None; records.len()];
    for (i, perplexity) in asked.iter().zip(perplexities(run, spec, &shown)?) {
        let bound = bound_of(records[*i].language).expect("filtered by it");
        drops[*i] = (perplexity > bound.bound).then(|| drop(bound, perplexity));
    }
    Ok(drops)
}

fn drop(bound: &Calibration, perplexity: f64) -> Verdict {
    let most = match bound.measured {
        Some(mean) => format!(
            "at most {:.1}; the mean of {} seeds is {mean:.1}",
            bound.bound, bound.seeds
        ),
        None => format!("at most {:.1}", bound.bound),
    };
    Verdict::drop(
        RULE,
        "ungrammatical",
        Evidence {
            score: Some(perplexity),
            note: Some(format!("perplexity by {}: {most}", bound.model)),
            ..Evidence::default()
        },
    )
}

/// Scores texts by themselves, as a list's first item, so that a base model expects an instruction.
fn perplexities(
    run: &Run,
    spec: &PerplexitySpec,
    records: &[&ChainRecord],
) -> Result<Vec<f64>, FlowError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let request = |record: &&ChainRecord| ScoreRequest {
        prompt: Prompt::Text(
            record
                .language
                .pick("A list of tasks:\n\n1.", "任务列表：\n\n1.")
                .to_string(),
        ),
        continuation: match record.language {
            Language::En => format!(" {}", flatten(&record.instruction)),
            Language::Zh => flatten(&record.instruction),
        },
    };
    let requests = records.iter().map(request).collect();
    let model = model_of(run, spec);
    let losses = run.ports.engine.score(&model, requests, &run.interrupt)?;
    Ok(losses.iter().map(|loss| loss.perplexity()).collect())
}

fn model_of(run: &Run, spec: &PerplexitySpec) -> ModelRef {
    base_or(run, spec.model.as_ref())
}

/// The model named, or the workflow's base: it stays the same over the rounds, and so does what it measures.
pub(super) fn base_or(run: &Run, named: Option<&ModelName>) -> ModelRef {
    ModelRef {
        model: named.unwrap_or(&run.spec().model).clone(),
        adapter: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample() {
        let (mean, deviation) = spread(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert!((mean - 5.0).abs() < 1e-12 && (deviation - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
    }
}
