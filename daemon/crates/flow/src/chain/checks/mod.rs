//! Checks of an answer by what its task asks for, one file each, and what can be corrected of it. They would rather keep than drop in
//! doubt, and correct only where nothing but the form changes.

mod code;
mod json;
mod label;
mod language;
mod refusal;
mod spans;
mod tidy;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{Check, ChecksSpec};
use autodidact_domain::{RuleRef, TaskType, Verdict};

use super::correction::Corrections;
use super::{ChainRecord, note};
use crate::instruction::{asks_for_json, guess_task_type};

pub(super) use label::{labels_of, the_label};

/// The rule's name in verdicts.
const RULE: &str = "checks";

/// What a check found.
enum Finding {
    /// Nothing to say.
    Fine,
    /// It is right but for its form: the corrected answer, with what was done.
    Corrected {
        output: String,
        done: String,
        /// What it is where nothing may be corrected; none where it may stay as it is.
        otherwise: Option<Evidence>,
    },
    /// It is wrong.
    Wrong(Evidence),
}

/// An answer with what the checks know of its task.
struct Answer<'a> {
    record: &'a ChainRecord,
    task_type: Option<TaskType>,
    /// The answer as the checks before left it.
    output: String,
}

/// Judges the records that are open, and corrects them in place; gives the drops.
pub(super) fn judge(
    spec: &ChecksSpec,
    records: &mut [ChainRecord],
    open: &[bool],
    corrections: &mut Corrections,
) -> Vec<Option<Verdict>> {
    let mut drops = vec![None; records.len()];
    for (i, record) in records.iter_mut().enumerate().filter(|(i, _)| open[*i]) {
        match examine(spec, record) {
            Err(drop) => drops[i] = Some(*drop),
            Ok((output, done)) => {
                for done in done {
                    corrections.note(i, RuleRef::builtin(RULE), done);
                }
                record.output = output;
            }
        }
    }
    drops
}

/// Examines one record: gives its answer, with what was corrected of it, or the first drop.
fn examine(spec: &ChecksSpec, record: &ChainRecord) -> Result<(String, Vec<String>), Box<Verdict>> {
    let mut answer = Answer::new(record, &record.output);
    let mut done = match spec.correct {
        true => answer.tidy(),
        false => Vec::new(),
    };
    let checks = Check::ALL
        .iter()
        .filter(|check| !spec.except.contains(check));
    for check in checks {
        let evidence = match find(*check, &answer) {
            Finding::Fine => continue,
            Finding::Wrong(evidence) => evidence,
            Finding::Corrected {
                output, done: what, ..
            } if spec.correct => {
                answer.output = output;
                done.push(what);
                continue;
            }
            Finding::Corrected {
                otherwise: None, ..
            } => continue,
            Finding::Corrected {
                otherwise: Some(evidence),
                ..
            } => evidence,
        };
        return Err(Box::new(Verdict::drop(RULE, check.code(), evidence)));
    }
    Ok((answer.output, done))
}

fn find(check: Check, answer: &Answer<'_>) -> Finding {
    match check {
        Check::Refusal => refusal::find(answer),
        Check::LabelNotInSet => label::find(answer),
        Check::SpanNotInInput => spans::find(answer),
        Check::InvalidJson => json::find(answer),
        Check::CodeDoesNotParse => code::find(answer),
        Check::WrongOutputLanguage => language::find(answer),
    }
}

/// Shows an answer to a record's question as the checks would leave it, where it is right but for its form.
pub(super) fn tidied(record: &ChainRecord, output: &str) -> String {
    let mut answer = Answer::new(record, output);
    answer.tidy();
    answer.output
}

impl<'a> Answer<'a> {
    fn new(record: &'a ChainRecord, output: &str) -> Self {
        let task_type = autodidact_text::task_type_of(record.task_type, &record.labels);
        Self {
            record,
            task_type: task_type.or_else(|| guess_task_type(&record.instruction)),
            output: output.to_string(),
        }
    }

    /// Leaves out what belongs to no answer; tells what.
    fn tidy(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for tidy in tidy::ALL {
            if let Some((output, what)) = tidy(self) {
                self.output = output;
                done.push(what);
            }
        }
        done
    }

    fn is(&self, task_type: TaskType) -> bool {
        self.task_type == Some(task_type)
    }

    /// Tells whether the answer is to be JSON.
    fn is_json(&self) -> bool {
        asks_for_json(&self.record.instruction)
    }

    /// Tells whether the answer is prose: no label, no spans, no code, no JSON.
    fn is_prose(&self) -> bool {
        let closed = [
            TaskType::Classification,
            TaskType::Extraction,
            TaskType::Code,
        ];
        !self
            .task_type
            .is_some_and(|task_type| closed.contains(&task_type))
            && !self.is_json()
    }
}

/// Shortens a text for evidence.
fn cut(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
