//! Records beside held-out tasks that they overlap, or do not.

use autodidact_domain::evaluation::ContaminationSpec;
use autodidact_domain::{Body, Example};
use serde::Deserialize;

use super::{Labelled, check};
use crate::contamination::{CONTAMINATED, Contamination};

pub(super) const REASON: &str = CONTAMINATED;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    held_out: Vec<Task>,
    instruction: String,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
    drop: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    instruction: String,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
}

impl Labelled for Line {
    fn is_one(&self) -> bool {
        self.drop
    }

    fn shown(&self) -> String {
        format!("{} | {} | {}", self.instruction, self.input, self.output)
    }
}

#[test]
fn labelled_overlaps_are_decided_as_people_did() {
    check([REASON].into_iter(), |reason, _, line: &Line| {
        let task = |task: &Task| {
            Example::human(Body::instruction(
                &task.instruction,
                &task.input,
                &task.output,
            ))
        };
        let held_out: Vec<Example> = line.held_out.iter().map(task).collect();
        let contamination = Contamination::new(ContaminationSpec::default(), &held_out)
            .expect("there are held-out tasks");
        let body = Body::instruction(&line.instruction, &line.input, &line.output);
        let found = contamination.of_record(&body);
        let found = found.map(|overlap| overlap.verdict().reason);
        let expect = line.drop.then_some(reason);
        (found.as_deref() != expect).then(|| format!("{found:?}, not {expect:?}"))
    });
}
