//! What judges say when they are asked for a mark.

use autodidact_domain::workflow::ScoreSpec;
use autodidact_domain::{Decision, ModelRef};
use serde::Deserialize;

use super::{Labelled, check};
use crate::chain::score::{judge_mark, read_mark};

pub(super) const REASONS: [&str; 2] = ["low_score", "no_score"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    answer: String,
    least: u32,
    drop: bool,
}

impl Labelled for Line {
    fn is_one(&self) -> bool {
        self.drop
    }

    fn shown(&self) -> String {
        format!("{:?}, at least {}", self.answer, self.least)
    }
}

#[test]
fn labelled_marks_are_decided_as_people_did() {
    let judge = ModelRef {
        model: "judge".parse().expect("a plain name"),
        adapter: None,
    };
    check(REASONS.into_iter(), |reason, _, line: &Line| {
        let spec = ScoreSpec {
            least: line.least,
            model: None,
        };
        let verdict = judge_mark(&spec, &judge, read_mark(&line.answer), &line.answer);
        let found = (verdict.decision == Decision::Drop).then_some(verdict.reason);
        let expect = line.drop.then_some(reason);
        (found.as_deref() != expect).then(|| format!("{found:?}, not {expect:?}"))
    });
}
