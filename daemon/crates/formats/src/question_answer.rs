//! Questions and answers, as GSM8K has them.
//!
//! | field | |
//! |---|---|
//! | `question` | text |
//! | `answer` | text, kept as it is: steps, notes of sums in `<<…>>` and the result after `####` |
//!
//! An answer that ends with `#### ` and a result makes the task type `reasoning` where `task_type` is absent.

use autodidact_domain::{Body, Example, TaskType};

use crate::fault::Fault;
use crate::fields::{Fields, required_text};
use crate::format::{Format, is_told_as};
use crate::metadata::example_leniently;

pub(crate) const FORMAT: Format = Format {
    name: "question-answer",
    fields: "question, answer",
    recognises: |fields| is_told_as("question-answer", fields),
    read,
    write: None,
};

fn read(fields: &Fields) -> Result<Example, Fault> {
    let question = required_text(fields, "question")?;
    let answer = required_text(fields, "answer")?;
    let mut example = example_leniently(Body::instruction(question, "", answer), fields);
    let last_line = answer.trim_end().lines().last();
    if last_line.is_some_and(|line| line.starts_with("#### ")) {
        example.task_type.get_or_insert(TaskType::Reasoning);
    }
    Ok(example)
}
