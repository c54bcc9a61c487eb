//! Datasets, their records, and what became of files.

use autodidact_domain::preview::{ExamplePreview, PreviewSpan, SpanPart};
use autodidact_domain::{
    Body, DatasetSummary, Example, ExampleId, FileReport, LineFault, Lineage, Message, Origin, Role,
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

pub(crate) fn example(example: Example) -> v1::Example {
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

fn line_fault(fault: LineFault) -> v1::LineFault {
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
