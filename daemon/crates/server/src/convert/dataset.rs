//! Datasets, their records, and what became of files.

use autodidact_domain::preview::{ExamplePreview, PreviewSpan, SpanPart};
use autodidact_domain::{
    Body, CheckpointId, DatasetSummary, Example, ExampleId, FileReport, Language, LineFault,
    Lineage, Message, ModelName, Origin, Role, TaskType,
};
use autodidact_proto::v1;

pub(crate) fn dataset(summary: &DatasetSummary) -> v1::Dataset {
    let DatasetSummary {
        name,
        version,
        digest,
        records,
        created_ms,
        source,
        source_digest,
    } = summary;
    v1::Dataset {
        name: name.to_string(),
        version: *version,
        digest: digest.to_string(),
        records: *records,
        created_ms: *created_ms,
        source: source.clone(),
        source_digest: source_digest.map(|digest| digest.to_string()),
    }
}

/// Turns a record into a message.
pub fn example(example: Example) -> v1::Example {
    let Example {
        id,
        body,
        language,
        task_type,
        topic,
        labels,
        lineage,
    } = example;
    let body = match body {
        Body::Instruction {
            instruction,
            input,
            output,
        } => v1::example::Body::Instruction(v1::Instruction {
            instruction,
            input,
            output,
        }),
        Body::Chat { messages } => v1::example::Body::Chat(v1::Conversation {
            messages: messages.into_iter().map(message).collect(),
        }),
        Body::Text { text } => v1::example::Body::Text(text),
        Body::Labelled { text, label } => {
            v1::example::Body::Labelled(v1::LabelledText { text, label })
        }
        Body::Tagged { tokens, tags } => {
            v1::example::Body::Tagged(v1::TaggedWords { tokens, tags })
        }
    };
    v1::Example {
        id: id.to_string(),
        body: Some(body),
        language: language.map(|language| language.code().to_string()),
        task_type: task_type.map(|task_type| task_type.name().to_string()),
        topic,
        labels,
        lineage: Some(self::lineage(lineage)),
    }
}

/// Turns a message back into a record.
///
/// # Errors
/// What is in it that this version does not know.
pub fn example_of(wire: v1::Example) -> Result<Example, &'static str> {
    use v1::example::Body as Wire;
    let body = match wire.body.ok_or("a body of an unknown kind")? {
        Wire::Instruction(body) => Body::Instruction {
            instruction: body.instruction,
            input: body.input,
            output: body.output,
        },
        Wire::Chat(body) => Body::Chat {
            messages: body
                .messages
                .into_iter()
                .map(message_of)
                .collect::<Result<_, _>>()?,
        },
        Wire::Text(text) => Body::Text { text },
        Wire::Labelled(body) => Body::Labelled {
            text: body.text,
            label: body.label,
        },
        Wire::Tagged(body) => Body::Tagged {
            tokens: body.tokens,
            tags: body.tags,
        },
    };
    let language = wire.language.map(|code| Language::from_code(&code));
    let task_type = wire.task_type.map(|name| TaskType::from_name(&name));
    let known = "an unknown language or task type";
    Ok(Example {
        id: wire.id.parse().map_err(|_| "an id that is no digest")?,
        body,
        language: language.map(|l| l.ok_or(known)).transpose()?,
        task_type: task_type.map(|t| t.ok_or(known)).transpose()?,
        topic: wire.topic,
        labels: wire.labels,
        lineage: lineage_of(wire.lineage.unwrap_or_default())?,
    })
}

fn message_of(message: v1::Message) -> Result<Message, &'static str> {
    let role = match message.role() {
        v1::Role::System => Role::System,
        v1::Role::User => Role::User,
        v1::Role::Assistant => Role::Assistant,
        v1::Role::Unspecified => return Err("an unknown role"),
    };
    let content = message.content;
    Ok(Message { role, content })
}

fn lineage_of(lineage: v1::Lineage) -> Result<Lineage, &'static str> {
    let origin = match lineage.origin() {
        v1::Origin::Human => Origin::Human,
        v1::Origin::Generated => Origin::Generated,
        v1::Origin::Unspecified => return Err("an unknown origin"),
    };
    let wrong = "a lineage that names nothing";
    let seeds = lineage.seeds.iter().map(|seed| seed.parse());
    Ok(Lineage {
        origin,
        round: lineage.round,
        seeds: seeds.collect::<Result<_, _>>().map_err(|_| wrong)?,
        model: lineage
            .model
            .map(ModelName::new)
            .transpose()
            .map_err(|_| wrong)?,
        adapter: lineage
            .adapter
            .map(CheckpointId::new)
            .transpose()
            .map_err(|_| wrong)?,
        edited_from: lineage
            .edited_from
            .map(|id| id.parse())
            .transpose()
            .map_err(|_| wrong)?,
        corrected_from: lineage.corrected_from,
    })
}

fn message(message: Message) -> v1::Message {
    let role = match message.role {
        Role::System => v1::Role::System,
        Role::User => v1::Role::User,
        Role::Assistant => v1::Role::Assistant,
    };
    v1::Message {
        role: role.into(),
        content: message.content,
    }
}

fn lineage(lineage: Lineage) -> v1::Lineage {
    let Lineage {
        origin,
        round,
        seeds,
        model,
        adapter,
        edited_from,
        corrected_from,
    } = lineage;
    let origin = match origin {
        Origin::Human => v1::Origin::Human,
        Origin::Generated => v1::Origin::Generated,
    };
    v1::Lineage {
        origin: origin.into(),
        round,
        seeds: seeds.iter().map(ToString::to_string).collect(),
        model: model.map(|model| model.to_string()),
        adapter: adapter.map(|adapter| adapter.to_string()),
        edited_from: edited_from.map(|id| id.to_string()),
        corrected_from,
    }
}

pub(crate) fn previewed(index: u64, id: ExampleId, preview: ExamplePreview) -> v1::PreviewedRecord {
    let ExamplePreview {
        spans,
        tokens,
        label_tokens,
        cut_tokens,
        refused,
    } = preview;
    v1::PreviewedRecord {
        index,
        id: id.to_string(),
        spans: spans.into_iter().map(preview_span).collect(),
        tokens,
        label_tokens,
        cut_tokens,
        refused: refused.map(|refusal| v1::PreviewRefusal {
            reason: refusal.reason.to_string(),
            message: refusal.message,
        }),
    }
}

fn preview_span(span: PreviewSpan) -> v1::PreviewSpan {
    let PreviewSpan { text, part, label } = span;
    let part = match part {
        SpanPart::Given => v1::SpanPart::Given,
        SpanPart::Label => v1::SpanPart::Label,
        SpanPart::Cut => v1::SpanPart::Cut,
    };
    v1::PreviewSpan {
        text,
        part: part.into(),
        label,
    }
}

pub(crate) fn file_report(report: FileReport) -> v1::FileReport {
    let FileReport {
        file,
        digest,
        dataset,
        accepted,
        refused,
        errors,
    } = report;
    v1::FileReport {
        file,
        digest: digest.to_string(),
        dataset,
        accepted,
        refused,
        errors: errors.into_iter().map(line_fault).collect(),
    }
}

pub(crate) fn line_fault(fault: LineFault) -> v1::LineFault {
    let LineFault {
        line,
        reason,
        expected,
        found,
    } = fault;
    v1::LineFault {
        line,
        reason,
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_same_there_and_back() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let bodies = [
            Body::instruction("Add.", "1 1", "2"),
            Body::instruction("问", "", ""),
            Body::Chat {
                messages: vec![
                    Message {
                        role: Role::System,
                        content: "s".into(),
                    },
                    Message::user("q"),
                    Message::assistant("a"),
                ],
            },
            Body::Text { text: "t".into() },
            Body::Labelled {
                text: "t".into(),
                label: "l".into(),
            },
            Body::Tagged {
                tokens: words("a b"),
                tags: words("O B-X"),
            },
        ];
        for body in bodies {
            let plain = Example::human(body);
            let mut full = plain.clone();
            full.language = Some(Language::Zh);
            full.task_type = Some(TaskType::Code);
            full.topic = Some("x".into());
            full.labels = words("l m");
            full.lineage = Lineage {
                origin: Origin::Generated,
                round: Some(2),
                seeds: vec![plain.id],
                model: ModelName::new("base").ok(),
                adapter: CheckpointId::new("w.round-1").ok(),
                edited_from: Some(plain.id),
                corrected_from: Some("Label: x.".into()),
            };
            for record in [plain, full] {
                assert_eq!(example_of(example(record.clone())), Ok(record));
            }
        }
        assert!(example_of(v1::Example::default()).is_err());
    }
}
