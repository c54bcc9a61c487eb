//! Records, requests and completions as guests get them.

use autodidact_domain::plugin::{TemplateCompletion, TemplateRequest};
use autodidact_domain::{Example, FinishReason, PluginRecord};

use super::bindings::template;

/// The texts of a record, as the WIT says.
const FIELDS: usize = 7;

/// What a record's language, form, topic and labels take together, mostly.
const OTHER_BYTES: usize = 64;

/// Records laid flat.
#[derive(Default)]
pub(super) struct Batch {
    /// All texts, one after the other.
    pub(super) text: Vec<u8>,
    /// Where each ends.
    pub(super) ends: Vec<u32>,
}

impl Batch {
    /// Lays records out.
    pub(super) fn of(records: &[PluginRecord<'_>]) -> Self {
        let bytes = |record: &PluginRecord<'_>| {
            record.instruction.len() + record.input.len() + record.output.len() + OTHER_BYTES
        };
        let mut batch = Self {
            text: Vec::with_capacity(records.iter().map(bytes).sum()),
            ends: Vec::with_capacity(FIELDS * records.len()),
        };
        for record in records {
            batch.push(record.instruction);
            batch.push(record.input);
            batch.push(record.output);
            batch.push(record.language);
            batch.push(record.task_type);
            batch.push(record.topic);
            for (i, label) in record.labels.iter().enumerate() {
                let line_end: &[u8] = if i > 0 { b"\n" } else { b"" };
                batch.text.extend_from_slice(line_end);
                batch.text.extend_from_slice(label.as_bytes());
            }
            batch.end();
        }
        batch
    }

    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.end();
    }

    /// Ends a text. A batch beyond 4 GiB lies far above what a guest's memory may hold: its ends are wrong, and the call fails before
    /// anyone reads them.
    fn end(&mut self) {
        self.ends
            .push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }
}

/// Lays a request out.
pub(super) fn request(request: &TemplateRequest<'_>) -> template::Request {
    let task_type = request.task_type.map(|task_type| task_type.name());
    template::Request {
        language: request.language.code().to_string(),
        examples: request.examples.iter().map(|e| example(e)).collect(),
        task_type: task_type.unwrap_or_default().to_string(),
        topic: request.topic.unwrap_or_default().to_string(),
        count: request.count,
        seed: request.seed,
    }
}

/// Lays a completion out.
pub(super) fn completion(completion: &TemplateCompletion<'_>) -> template::Completion {
    template::Completion {
        request: request(&completion.request),
        text: completion.text.to_string(),
        finish: match completion.finish {
            FinishReason::Length => template::Finish::Length,
            _ => template::Finish::Stop,
        },
    }
}

fn example(example: &Example) -> template::Example {
    let task_type = example.task_type.map(|task_type| task_type.name());
    template::Example {
        instruction: example.body.instruction_text().to_string(),
        input: example.body.input_text().to_string(),
        output: example.body.output_text().to_string(),
        task_type: task_type.unwrap_or_default().to_string(),
        topic: example.topic.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_one_after_the_other() {
        let labels = ["a".to_string(), "图".to_string()];
        let records = [
            PluginRecord {
                instruction: "Do",
                output: "图",
                language: "en",
                labels: &labels,
                ..PluginRecord::default()
            },
            PluginRecord {
                topic: "t",
                ..PluginRecord::default()
            },
        ];
        let batch = Batch::of(&records);
        assert_eq!(batch.ends.len(), 2 * FIELDS);
        assert_eq!(batch.text, "Do图ena\n图t".as_bytes());
        assert_eq!(
            batch.ends,
            [2, 2, 5, 7, 7, 7, 12, 12, 12, 12, 12, 12, 13, 13]
        );
        assert!(Batch::of(&[]).ends.is_empty());
    }
}
