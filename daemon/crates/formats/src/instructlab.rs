//! InstructLab's `qna.yaml`: what a model should learn, told by examples.
//!
//! | field | |
//! |---|---|
//! | `task_description` | text; not kept. May be absent of knowledge, which has a `domain` |
//! | `seed_examples` | a list of `{question, answer, context?}`, or, of knowledge, of `{context, questions_and_answers: [{question, answer}]}` |
//! | `domain` | text; the topic. May be absent |
//!
//! Every question is an example: the instruction, with the context as its input.

use autodidact_domain::{Body, Example};
use saphyr::{MarkedYaml, YamlData};
use serde_json::Value;

use crate::container::{Container, Content, Record, Records};
use crate::fault::{Fault, Reason, describe};
use crate::fields::{Fields, optional_text, required_text, wrong_type};
use crate::format::{Format, is_told_as};
use crate::mapping::Mapping;
use crate::metadata::example_leniently;
use crate::yaml;

/// A file as a container of records, each with the file's description.
pub(crate) const CONTAINER: Container = Container {
    name: "an InstructLab qna.yaml",
    recognises: |content, _| {
        content
            .text()
            .lines()
            .any(|line| line.starts_with(EXAMPLES))
    },
    records,
};

pub(crate) const FORMAT: Format = Format {
    name: "instructlab",
    fields: "task_description, question, answer, context?",
    recognises: |fields| is_told_as("instructlab", fields),
    read,
    write: None,
};

/// How the line begins that tells such a file.
const EXAMPLES: &str = "seed_examples:";

fn records<'file>(content: &'file Content<'_>, mapping: &'file Mapping) -> Records<'file> {
    let records = read_file(content.text(), mapping).unwrap_or_else(|(line, fault)| {
        let fields = Err(fault);
        vec![Record { line, fields }]
    });
    Box::new(records.into_iter())
}

fn read_file(text: &str, mapping: &Mapping) -> Result<Vec<Record>, (u64, Fault)> {
    let document = yaml::load(text)?;
    let expected = "a list `seed_examples`";
    let Some(examples) = yaml::field(&document, "seed_examples") else {
        let found = describe(&yaml::to_json(&document));
        return Err((1, Fault::new(Reason::MissingField, expected, found)));
    };
    let YamlData::Sequence(items) = &examples.data else {
        let fault = wrong_type(expected, &yaml::to_json(examples));
        return Err((yaml::line(examples), fault));
    };
    let told = |name: &str| yaml::field(&document, name).map_or(Value::Null, yaml::to_json);
    let about = [
        // Of knowledge, its domain stands for the description it has none of.
        (
            "task_description",
            match told("task_description") {
                Value::Null => "".into(),
                description => description,
            },
        ),
        ("topic", told("domain")),
    ];
    let mut records = Vec::new();
    for item in items {
        let nested = yaml::field(item, "questions_and_answers").map(|list| &list.data);
        match nested {
            Some(YamlData::Sequence(questions)) => {
                let context = yaml::field(item, "context").map(yaml::to_json);
                for question in questions {
                    records.push(record(question, context.clone(), &about, mapping));
                }
            }
            _ => records.push(record(item, None, &about, mapping)),
        }
    }
    Ok(records)
}

fn record(
    item: &MarkedYaml<'_>,
    context: Option<Value>,
    about: &[(&str, Value)],
    mapping: &Mapping,
) -> Record {
    let fields = match yaml::to_json(item) {
        Value::Object(fields) => {
            let mut fields = mapping.apply(fields);
            if let Some(context) = context {
                fields.insert("context".to_string(), context);
            }
            for (name, value) in about.iter().filter(|(_, value)| !value.is_null()) {
                fields.insert(name.to_string(), value.clone());
            }
            Ok(fields)
        }
        other => Err(wrong_type(
            "objects {question, answer} in `seed_examples`",
            &other,
        )),
    };
    Record {
        line: yaml::line(item),
        fields,
    }
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let question = required_text(fields, "question")?;
    let context = optional_text(fields, "context")?.unwrap_or("");
    let answer = required_text(fields, "answer")?;
    Ok(example_leniently(
        // A text that is written over several lines ends with one.
        Body::instruction(question.trim_end(), context.trim_end(), answer.trim_end()),
        fields,
    ))
}
