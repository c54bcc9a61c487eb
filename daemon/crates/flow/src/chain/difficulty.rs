//! Instruction-following difficulty (Li et al. 2024, "From Quantity to Quality"): how much an instruction helps a model to its answer.

use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::DifficultySpec;
use autodidact_domain::{Message, Prompt, Verdict};

use super::ChainRecord;
use super::perplexity::base_or;
use crate::error::FlowError;
use crate::journaled::Run;

/// Measures the open records; gives the drops.
pub(super) fn ask(
    run: &Run,
    spec: &DifficultySpec,
    records: &[ChainRecord],
    open: &[bool],
) -> Result<Vec<Option<Verdict>>, FlowError> {
    let asked: Vec<usize> = (0..records.len())
        .filter(|i| open[*i] && !records[*i].output.trim().is_empty())
        .collect();
    let mut drops = vec![None; records.len()];
    if asked.is_empty() {
        return Ok(drops);
    }
    let after = |i: &usize| {
        let record = &records[*i];
        let task = autodidact_domain::example::join_input(&record.instruction, Some(&record.input));
        ScoreRequest {
            prompt: Prompt::Chat(vec![Message::user(task)]),
            continuation: record.output.clone(),
        }
    };
    // The same turn with nothing asked: the layout stays, so that the instruction alone makes the difference.
    let alone = |i: &usize| ScoreRequest {
        prompt: Prompt::Chat(vec![Message::user("")]),
        continuation: records[*i].output.clone(),
    };
    let model = base_or(run, spec.model.as_ref());
    let requests = asked.iter().map(after).chain(asked.iter().map(alone));
    let losses = run
        .ports
        .engine
        .score(&model, requests.collect(), &run.interrupt)?;
    let (after, alone) = losses.split_at(asked.len());
    for ((i, after), alone) in asked.into_iter().zip(after).zip(alone) {
        let note = |text: String| format!("{}: {text}", model.model);
        drops[i] = judge(spec, difficulty(after, alone)).map(|mut verdict| {
            verdict.evidence.note = verdict.evidence.note.map(note);
            verdict
        });
    }
    Ok(drops)
}

/// The loss a token of the answer after its instruction, over that of the answer alone; none for an answer that is certain by itself.
fn difficulty(after: &ResponseLoss, alone: &ResponseLoss) -> Option<f64> {
    let mean = |loss: &ResponseLoss| loss.negative_log_likelihood / f64::from(loss.tokens.max(1));
    (mean(alone) > 0.0).then(|| mean(after) / mean(alone))
}

fn judge(spec: &DifficultySpec, difficulty: Option<f64>) -> Option<Verdict> {
    let value = difficulty?;
    let (reason, note) = if value > spec.most {
        ("misaligned", format!("at most {}", spec.most))
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
    Some(Verdict::drop("difficulty", reason, evidence))
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
        };
        let reason = |after: ResponseLoss, alone: ResponseLoss| {
            judge(&spec, difficulty(&after, &alone)).map(|verdict| verdict.reason)
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
