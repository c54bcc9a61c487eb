//! Completions that give instructions or answers, and such that give none.

use autodidact_domain::workflow::PromptStyle;
use autodidact_domain::{Completion, FinishReason};
use serde::Deserialize;

use super::{Labelled, check};
use crate::prompts::parse_answer;
use crate::stages::generate::parse_items;
use crate::stages::respond::{Instance, settle};

pub(super) const REASONS: [&str; 2] = ["unparsable", "truncated"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    completion: String,
    style: PromptStyle,
    finish: FinishReason,
    drop: bool,
}

impl Labelled for List {
    fn is_one(&self) -> bool {
        self.drop
    }

    fn shown(&self) -> String {
        format!("{:?}", self.completion)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    answer: String,
    finish: FinishReason,
    drop: bool,
}

impl Labelled for Answer {
    fn is_one(&self) -> bool {
        self.drop
    }

    fn shown(&self) -> String {
        format!("{:?}", self.answer)
    }
}

#[test]
fn labelled_lists_are_read_as_people_do() {
    check(["unparsable"].into_iter(), |_, _, line: &List| {
        let items = parse_items(&line.completion, line.finish, line.style);
        (items.is_empty() != line.drop).then(|| format!("{items:?}"))
    });
}

#[test]
fn labelled_answers_are_cut_as_people_do() {
    check(["truncated"].into_iter(), |reason, _, line: &Answer| {
        let completion = Completion {
            text: line.answer.clone(),
            finish: line.finish,
            prompt_tokens: 1,
            completion_tokens: 9,
            logprobs: Vec::new(),
        };
        let output = parse_answer(&line.answer, line.finish);
        let settled = settle(&[Instance::new(String::new(), output, completion)]);
        let found = settled.kept.is_empty().then_some(settled.verdict.reason);
        let expect = line.drop.then_some(reason);
        (found.as_deref() != expect).then(|| format!("{found:?}, not {expect:?}"))
    });
}
