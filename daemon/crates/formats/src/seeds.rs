//! Self-Instruct seed tasks.
//!
//! | field | |
//! |---|---|
//! | `instruction` | text |
//! | `instances` | a list of `{input, output}`; `input` may be absent, null or empty. Without an instance the record is a bare instruction |
//! | `is_classification` | true or false; may be absent. Tells the task type where `task_type` is absent |
//! | `task_type`, `topic`, `labels`, `language` | our own; may be absent |
//! | `id`, `name` | not kept: an example is known by its content |
//!
//! One task is one example: its first instance counts and any further ones are passed over, so a file of 175 tasks is a dataset
//! of 175.

use autodidact_domain::{Body, Example, Role, TaskType};
use serde::Serialize;

use crate::fault::Fault;
use crate::fields::{Fields, object, optional_flag, optional_text, required_list, required_text};
use crate::format::{Format, Write, held_elsewhere, to_line};
use crate::metadata::{Metadata, example_strictly};

pub(crate) const FORMAT: Format = Format {
    name: "seeds",
    fields: "instruction, instances[{input, output}], is_classification?",
    recognises,
    read,
    write: Some(Write::lines(write)),
};

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("instances")
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let instruction = required_text(fields, "instruction")?;
    let body = match required_list(fields, "instances")?.first() {
        None => Body::instruction(instruction, "", ""),
        Some(instance) => {
            let instance = object(instance, "objects {input, output} in `instances`")?;
            let input = optional_text(instance, "input")?.unwrap_or("");
            Body::instruction(instruction, input, required_text(instance, "output")?)
        }
    };
    let is_classification = optional_flag(fields, "is_classification")?.unwrap_or(false);
    let mut example = example_strictly(body, fields)?;
    if example.task_type.is_none() && is_classification {
        example.task_type = Some(TaskType::Classification);
    }
    Ok(example)
}

/// Why a task that has an input and no output cannot be written.
pub(crate) const INPUT_ALONE: &str =
    "a task without an answer has an input, which no format holds alone";

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    id: String,
    name: &'static str,
    instruction: &'example str,
    instances: Vec<Instance<'example>>,
    is_classification: bool,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

#[derive(Serialize)]
struct Instance<'example> {
    input: &'example str,
    output: &'example str,
}

fn write(example: &Example, position: usize) -> Result<String, &'static str> {
    match &example.body {
        Body::Chat { messages } => {
            let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
            if roles != [Role::User, Role::Assistant] {
                return Err(
                    "a task has one question and one answer; `chat` takes any conversation",
                );
            }
        }
        Body::Instruction {
            input: Some(_),
            output: None,
            ..
        } => return Err(INPUT_ALONE),
        Body::Instruction { .. } => {}
        body @ (Body::Text { .. } | Body::Labelled { .. } | Body::Tagged { .. }) => {
            return Err(held_elsewhere(body));
        }
    }
    let output = example.body.output_text();
    let instance = Instance {
        input: example.body.input_text(),
        output: &output,
    };
    Ok(to_line(&Record {
        id: format!("task_{position}"),
        name: example.task_type.map_or("task", TaskType::name),
        instruction: &example.body.instruction_text(),
        instances: if output.is_empty() {
            Vec::new()
        } else {
            vec![instance]
        },
        is_classification: example.task_type == Some(TaskType::Classification),
        metadata: Metadata::of(example),
    }))
}
