//! Which human examples models are shown, and what people are told of the others when a run starts.

use std::collections::HashSet;

use autodidact_domain::{Example, ExampleId};

use crate::contamination::name_pairs;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::report::RunOutcome;
use crate::seeds;
use crate::stages::known_language;

/// Finds the human examples that models are shown: those in a language that is known and that overlap no held-out task. A new run
/// tells of what is lacking.
pub(crate) fn look_at_seeds(
    run: &Run,
    human: &[Example],
    outcome: &mut RunOutcome,
) -> Result<Vec<Example>, FlowError> {
    let languages = &run.spec().languages;
    let generates = run.spec().stages.generate.is_some();
    if generates {
        outcome.seeds = Some(seeds::check(languages, human));
    }
    let held_out = run.contamination.as_deref();
    let pairs: Vec<_> = held_out
        .into_iter()
        .flat_map(|held_out| held_out.pairs(human))
        .collect();
    if run.is_new {
        if !pairs.is_empty() {
            let (n, named) = (pairs.len(), name_pairs(languages[0], &pairs));
            run.warn(languages[0].pick(
                format!("{n} of {} records overlap the held-out tasks and are neither shown to models nor trained on: {named}", human.len()),
                format!("{} 条记录中有 {n} 条与留出任务重叠，既不展示给模型，也不用于训练：{named}", human.len()),
            ))?;
        }
        for warning in outcome.seeds.iter().flat_map(|seeds| &seeds.warnings) {
            run.warn(warning.message.clone())?;
        }
    }
    let overlapping: HashSet<ExampleId> = pairs.iter().map(|(record, _)| record.id).collect();
    let is_shown = |example: &&Example| {
        known_language(example, languages[0]).is_some() && !overlapping.contains(&example.id)
    };
    let shown: Vec<Example> = human.iter().filter(is_shown).cloned().collect();
    if generates && shown.is_empty() && !human.is_empty() {
        return Err(FlowError::Stopped(languages[0].pick(
            "no seed is left to make prompts from: all overlap the held-out tasks or are in a language that the workflow does not work in; add others",
            "没有可用于提示的种子：全部与留出任务重叠，或不是工作流的语言；请添加其他种子",
        ).to_string()));
    }
    Ok(shown)
}
