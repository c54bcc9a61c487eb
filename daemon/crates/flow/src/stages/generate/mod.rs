//! generate: prompts of human and generated examples in, candidate instructions out.

mod draft;
mod evolve;
mod items;
mod plan;
mod template;

use autodidact_domain::journal::StageName;
use autodidact_domain::plan::RoundPlan;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::GenerateSpec;
use autodidact_domain::{
    Body, Completion, Digest, Example, ExampleId, Language, ModelRef, TaskType, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::{language_of, prompt_too_long};
use draft::Draft;
#[cfg(test)]
pub(crate) use evolve::request as harder_request;
pub(crate) use items::Item;
pub(crate) use items::parse_items;
use plan::Allotment;
pub(crate) use plan::{first_plan, missing};
#[cfg(test)]
pub(crate) use template::lay_out;
pub(crate) use template::{Kind, Template};

/// An instruction that a model wrote, not judged yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) instruction: String,
    pub(crate) language: Language,
    /// The examples in its prompt.
    pub(crate) seeds: Vec<ExampleId>,
    /// The form of task that it was asked to be, or that the model says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task_type: Option<TaskType>,
    /// What it is about, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// Whether it was asked for as a harder version of the one example in its prompt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_evolved: bool,
}

impl Candidate {
    /// Shows a record of a dataset as if it had been generated.
    pub(crate) fn of_example(example: &Example, default: Language) -> Self {
        Self {
            instruction: example.body.instruction_text().to_string(),
            language: language_of(example, default),
            seeds: Vec::new(),
            task_type: example.task_type,
            topic: example.topic.clone(),
            is_evolved: false,
        }
    }
}

/// What prompts are made from.
pub(crate) struct PromptPool<'a> {
    pub(crate) human: &'a [Example],
    pub(crate) generated: &'a [Example],
    /// The round's own among the generated.
    pub(crate) kept: &'a [Example],
    /// The languages of which examples are missing; prompts take turns between them.
    pub(crate) languages: Vec<Language>,
}

/// What every wave of a round has in common.
pub(crate) struct Generation<'a> {
    pub(crate) spec: &'a GenerateSpec,
    pub(crate) template: &'a Template,
    pub(crate) plan: &'a RoundPlan,
    pub(crate) model: &'a ModelRef,
    pub(crate) round: u32,
}

/// What a wave made, and the quotas that its prompts were for, by their places in the plan.
#[derive(Serialize, Deserialize)]
#[serde(from = "JournaledWave")]
pub(crate) struct Wave {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) quotas: Vec<Option<usize>>,
}

/// A wave as journals have it: earlier daemons knew no quotas.
#[derive(Deserialize)]
#[serde(untagged)]
enum JournaledWave {
    Wave {
        candidates: Vec<Candidate>,
        quotas: Vec<Option<usize>>,
    },
    Candidates(Vec<Candidate>),
}

impl From<JournaledWave> for Wave {
    fn from(wave: JournaledWave) -> Self {
        match wave {
            JournaledWave::Wave { candidates, quotas } => Self { candidates, quotas },
            JournaledWave::Candidates(candidates) => Self {
                candidates,
                quotas: Vec::new(),
            },
        }
    }
}

/// What became of a prompt, or the drop that says why nothing did.
pub(crate) type OrDrop<T> = Result<T, Box<Verdict>>;

/// Runs one wave: `count` requests of the round, after those for the quotas `asked`.
pub(crate) fn wave(
    run: &mut Run,
    generation: &Generation<'_>,
    pool: &PromptPool<'_>,
    asked: &[Option<usize>],
    count: u32,
) -> Result<Wave, FlowError> {
    let round = generation.round;
    let mut wave: Wave = run.step(round, StageName::Generate, |run, _| {
        let default = run.spec().languages[0];
        let mut allotment = Allotment::new(generation.plan, asked, pool.kept, default);
        let first = asked.len() as u32;
        let drafts: Vec<Draft<'_>> = (first..first + count)
            .map(|index| draft::draft(run, generation, pool, &mut allotment, index))
            .collect();
        let template = &*generation.template.now(run)?;
        let prompts = template.write(run, &drafts)?;
        let mut progress = run.token_progress(round, StageName::Generate);
        let started = run.ports.clock.now_ms();
        let said = template.ask(run, generation.model, prompts, &mut progress)?;
        let mut outcome = Outcome::new(Wave {
            candidates: Vec::new(),
            quotas: drafts.iter().map(|draft| draft.quota).collect(),
        });
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        let read = template.read(run, &drafts, &said)?;
        for ((draft, said), items) in drafts.iter().zip(&said).zip(read) {
            if let Ok(completion) = said {
                outcome.tokens += u64::from(completion.completion_tokens);
            }
            outcome.verdicts.push(judge(said, &items));
            let candidates = items.unwrap_or_default().into_iter();
            let candidates = candidates.map(|item| draft.candidate(item));
            outcome.value.candidates.extend(candidates);
        }
        outcome.out = outcome.value.candidates.len() as u64;
        Ok(outcome)
    })?;
    wave.quotas.resize(count as usize, None);
    Ok(wave)
}

/// Judges what became of a prompt: what the model said, or why it was not asked, and the items that were read, or why they were not.
fn judge(said: &OrDrop<Completion>, items: &OrDrop<Vec<Item>>) -> Judged {
    let text = match said {
        Ok(completion) => completion.text.clone(),
        Err(unwritten) => unwritten.evidence.note.clone().unwrap_or_default(),
    };
    let verdict = match (said, items) {
        (Err(drop), _) | (Ok(_), Err(drop)) => Verdict::clone(drop),
        (Ok(completion), Ok(items)) => {
            prompt_too_long("generate", completion).unwrap_or_else(|| match items.is_empty() {
                true => Verdict::drop(
                    "generate",
                    "unparsable",
                    Evidence {
                        note: Some("no list item in it".into()),
                        ..Evidence::default()
                    },
                ),
                false => Verdict::keep("generate"),
            })
        }
    };
    Judged {
        record: Digest::of(text.as_bytes()),
        text,
        verdict,
    }
}

/// The id that an instruction has before it is answered.
pub(crate) fn instruction_id(instruction: &str) -> ExampleId {
    Body::instruction(instruction, "", "").id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_of_a_daemon_without_quotas_is_read() {
        let old = r#"[{"instruction": "Say hi.", "language": "en", "seeds": []}]"#;
        let wave: Wave = serde_json::from_str(old).unwrap();
        assert_eq!((wave.candidates.len(), wave.quotas.len()), (1, 0));
        let new = serde_json::to_string(&wave).unwrap();
        let again: Wave = serde_json::from_str(&new).unwrap();
        assert_eq!(again.candidates, wave.candidates);
    }
}
