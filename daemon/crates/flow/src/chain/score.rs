//! A model's marks as a rule of a chain.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{MARKS, ScoreSpec};
use autodidact_domain::{Constraint, GenerateRequest, ModelRef, Prompt, Sampling, Verdict};

use super::ChainRecord;
use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use crate::judge;
use crate::prompts;
use crate::stages::prompt_too_long;

/// A mark is one token, or two where a blank comes first.
const MAX_TOKENS: u32 = 4;

/// Asks for the marks of the records that are open; gives the verdicts on those.
///
/// The judge is held to a mark by a constraint; a server without constraints may say something else, and what has no mark
/// in it is a drop too.
pub(super) fn ask<T>(
    run: &Run,
    stage: &'static str,
    spec: &ScoreSpec,
    records: &[ChainRecord],
    open: &[bool],
    outcome: &mut Outcome<T>,
) -> Result<Vec<Option<Verdict>>, FlowError> {
    let judge = ModelRef {
        model: spec.model.as_ref().unwrap_or(&run.spec().model).clone(),
        adapter: None,
    };
    let asked: Vec<usize> = (0..records.len()).filter(|i| open[*i]).collect();
    let prompts = asked.iter().map(|i| prompt(stage, &records[*i])).collect();
    let found = judge::ask(run, &judge, prompts)?;
    outcome.tokens += found.tokens;
    let mut verdicts = vec![None; records.len()];
    for ((i, mark), said) in asked.into_iter().zip(found.marks).zip(found.said) {
        let too_long = said
            .as_ref()
            .and_then(|said| prompt_too_long("score", said));
        let said = said.map(|said| said.text).unwrap_or_default();
        verdicts[i] = too_long.or_else(|| Some(judge_mark(spec, &judge, mark, &said)));
    }
    Ok(verdicts)
}

fn prompt(stage: &str, record: &ChainRecord) -> Prompt {
    match stage {
        "validate" => prompts::example_mark_request(
            record.language,
            &record.instruction,
            &record.input,
            &record.output,
        ),
        _ => prompts::instruction_mark_request(record.language, &record.instruction),
    }
}

/// Holds the answer to a prompt to a mark.
pub(crate) fn mark_request(prompt: Prompt) -> GenerateRequest {
    GenerateRequest {
        constraint: Some(Constraint::Choices(
            MARKS.map(|mark| mark.to_string()).collect(),
        )),
        constraint_may_lapse: true,
        ..GenerateRequest::new(
            prompt,
            Sampling {
                max_tokens: MAX_TOKENS,
                ..Sampling::default()
            },
        )
    }
}

pub(super) fn judge_mark(
    spec: &ScoreSpec,
    judge: &ModelRef,
    mark: Option<u32>,
    answer: &str,
) -> Verdict {
    let (reason, note) = match mark {
        Some(_) => ("low_score", format!("at least {}", spec.least)),
        None => (
            "no_score",
            format!("asked twice, the judge said {answer:?}"),
        ),
    };
    let evidence = Evidence {
        score: mark.map(f64::from),
        note: Some(format!("{}: {note}", judge.model)),
        ..Evidence::default()
    };
    match mark {
        Some(mark) if mark >= spec.least => Verdict {
            evidence,
            ..Verdict::keep("score")
        },
        _ => Verdict::drop("score", reason, evidence),
    }
}

/// Reads the first number of an answer, where it is a mark: "4", "4/5", "Mark: 4."
pub(crate) fn read_mark(answer: &str) -> Option<u32> {
    let mut numbers = answer.split(|c: char| !c.is_ascii_digit() && c != '.');
    let first = numbers.find(|part| part.contains(|c: char| c.is_ascii_digit()))?;
    let mark = first.trim_matches('.').parse().ok()?;
    MARKS.contains(&mark).then_some(mark)
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Decision;

    use super::*;

    #[test]
    fn a_mark_below_the_least_drops_and_so_does_none() {
        let spec = ScoreSpec {
            least: 3,
            model: None,
        };
        let judge = ModelRef {
            model: "judge".parse().unwrap(),
            adapter: None,
        };
        let reason = |answer| {
            let verdict = judge_mark(&spec, &judge, read_mark(answer), answer);
            (verdict.decision == Decision::Drop).then_some(verdict.reason)
        };
        let kept = judge_mark(&spec, &judge, Some(4), "4").evidence;
        assert_eq!(
            (kept.score, kept.note.as_deref()),
            (Some(4.0), Some("judge: at least 3"))
        );
        assert_eq!(reason("3"), None);
        for answer in [" 5 ", "4/5", "Mark: 4.", "评分：4 分", "**3**", "...3"] {
            assert_eq!(reason(answer), None, "{answer}");
        }
        assert_eq!(reason("2").as_deref(), Some("low_score"));
        for answer in ["", "6", "good", "3.5", "45", "...", "99999999999"] {
            assert_eq!(reason(answer).as_deref(), Some("no_score"), "{answer}");
        }
    }
}
