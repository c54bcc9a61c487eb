//! What a run makes of an example, shown before it starts: the model's text side alone, without its weights.

use std::collections::BTreeSet;
use std::path::Path;

use autodidact_domain::ports::TrainingView;
use autodidact_domain::preview::{
    ExamplePreview, NO_LABEL_TOKEN, NO_LAYOUT, PreviewRefusal, PreviewSpan, SpanPart,
};
use autodidact_domain::{Body, TrainTask};

use super::data::Labels;
use super::{EncodedExample, TextSide};
use crate::engine::open_text;
use crate::models::files::ModelFiles;
use crate::models::weights::Weights;
use crate::{ChatTemplate, EngineError, ModelConfig, Tokenizer};

/// A model's tokenizer and chat template.
pub struct TrainingText {
    pub(super) files: ModelFiles,
    tokenizer: Tokenizer,
    pub(super) config: ModelConfig,
    template: Option<ChatTemplate>,
}

impl TrainingText {
    /// Reads a model's header, tokenizer and chat template.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] and [`EngineError::Io`] where the model cannot be read, or is one that is not trained.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let (files, config, text) = ModelFiles::open(path)?;
        Weights::check_trainable(&files, &config)?;
        let (tokenizer, config, template) = open_text(path, &text, config)?;
        Ok(Self {
            files,
            tokenizer,
            config,
            template,
        })
    }

    /// Encodes an example as a run of the loaded model does.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the template cannot lay it out; [`EngineError::Invalid`] when the task does not take it.
    pub fn encode(
        &self,
        body: &Body,
        task: TrainTask,
        labels: &[String],
    ) -> Result<EncodedExample, EngineError> {
        let side = TextSide {
            path: &self.files.path,
            tokenizer: &self.tokenizer,
            config: &self.config,
            template: self.template.as_ref(),
        };
        side.encode(body, task, labels)
    }

    /// Decodes a stretch of tokens, special ones too.
    fn decode(&self, ids: &[u32]) -> String {
        let bytes = ids
            .iter()
            .flat_map(|id| match self.tokenizer.special_text(*id) {
                Some(text) => text.as_bytes(),
                None => self.tokenizer.piece(*id),
            });
        let bytes: Vec<u8> = bytes.copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Joins neighbouring tokens of one part; one with a label of its own stands alone.
    fn spans(&self, ids: &[u32], parts: &[(SpanPart, Option<String>)]) -> Vec<PreviewSpan> {
        let mut rest = ids;
        let stretches = parts.chunk_by(|a, b| a == b && a.1.is_none());
        let spans = stretches.map(|stretch| {
            let (these, after) = rest.split_at(stretch.len());
            rest = after;
            let (part, label) = stretch[0].clone();
            PreviewSpan {
                text: self.decode(these),
                part,
                label,
            }
        });
        spans.collect()
    }
}

impl TrainingView for TrainingText {
    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn preview(&self, body: &Body, task: TrainTask, max_length: usize) -> ExamplePreview {
        let refusal = |reason, message| Some(PreviewRefusal { reason, message });
        let names = labels_of(body);
        let mut example = match self.encode(body, task, &names) {
            Ok(example) => example,
            Err(error) => {
                return ExamplePreview {
                    spans: Vec::new(),
                    tokens: 0,
                    label_tokens: 0,
                    cut_tokens: 0,
                    refused: refusal(NO_LAYOUT, error.to_string()),
                };
            }
        };
        let ids = example.ids.clone();
        let first_label = example.carries_loss().iter().position(|carries| *carries);
        let cut_tokens = example.cut(max_length.min(self.config.context_length));
        let carries_loss = example.carries_loss();
        let name = |class: &u32| names.get(*class as usize).cloned();
        let parts = carries_loss.iter().enumerate();
        let parts = parts.map(|(position, carries)| match (carries, &example.labels) {
            (false, _) => (SpanPart::Given, None),
            (true, Labels::Responses(_)) => (SpanPart::Label, None),
            (true, Labels::Text(class)) => (SpanPart::Label, name(class)),
            (true, Labels::Tokens(classes)) => {
                (SpanPart::Label, classes[position].as_ref().and_then(name))
            }
        });
        let mut parts: Vec<(SpanPart, Option<String>)> = parts.collect();
        let label_tokens = carries_loss.iter().filter(|carries| **carries).count();
        let refused = match (label_tokens, first_label) {
            (0, None) => refusal(
                NO_LABEL_TOKEN,
                "expected an assistant's turn, found none".to_string(),
            ),
            (0, Some(first)) => refusal(
                NO_LABEL_TOKEN,
                format!(
                    "expected an answer within max_length = {} tokens, found its first at {}; raise max_length, or shorten what comes before",
                    example.ids.len(),
                    first + 1
                ),
            ),
            _ => None,
        };
        let tokens = parts.len();
        parts.resize(ids.len(), (SpanPart::Cut, None));
        ExamplePreview {
            spans: self.spans(&ids, &parts),
            tokens: tokens as u32,
            label_tokens: label_tokens as u32,
            cut_tokens: cut_tokens as u32,
            refused,
        }
    }
}

/// Lists the labels that an example has, each once.
fn labels_of(body: &Body) -> Vec<String> {
    let labels: BTreeSet<&str> = match body {
        Body::Tagged { tags, .. } => tags.iter().map(String::as_str).collect(),
        _ => body
            .labelled()
            .map(|(_, label)| label)
            .into_iter()
            .collect(),
    };
    labels.into_iter().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Message;

    use super::*;
    use crate::{Compute, Engine};

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../tests/golden")
            .join(name)
    }

    /// Every family's template that the golden files have.
    const MODELS: [&str; 7] = [
        "tiny",
        "families/llama3",
        "families/qwen2",
        "families/qwen3",
        "families/mistral",
        "families/phi3",
        "families/gemma3",
    ];

    fn talk() -> Body {
        Body::Chat { messages: turns() }
    }

    fn turns() -> Vec<Message> {
        vec![
            Message::user("Name a bird, not a river."),
            Message::assistant("An owl."),
            Message::user("And another one of them?"),
            Message::assistant("The heron"),
            Message::user("The last question here."),
            Message::assistant("A wren!"),
        ]
    }

    #[test]
    fn every_assistant_turn_and_its_end_carry_loss_and_no_users_word_does() {
        for name in MODELS {
            let text = TrainingText::open(&golden(name)).expect(name);
            let shown = text.preview(&talk(), TrainTask::CausalLm, 512);
            assert_eq!((shown.cut_tokens, &shown.refused), (0, &None), "{name}");
            let of = |part: SpanPart| -> Vec<&str> {
                let spans = shown.spans.iter().filter(move |span| span.part == part);
                spans.map(|span| span.text.as_str()).collect()
            };
            let labels = of(SpanPart::Label);
            let answers: Vec<Message> = turns().into_iter().skip(1).step_by(2).collect();
            assert_eq!(labels.len(), answers.len(), "{name}: {labels:?}");
            for (label, answer) in labels.iter().zip(&answers) {
                let end = label.trim_start().strip_prefix(&answer.content);
                let end = end.unwrap_or_else(|| panic!("{name}: {label:?}"));
                let ends = text.config.eos_ids.iter();
                let ends: Vec<&str> = ends
                    .filter_map(|id| text.tokenizer.special_text(*id))
                    .collect();
                assert!(ends.contains(&end.trim()), "{name}: {end:?} of {ends:?}");
            }
            let given = of(SpanPart::Given).concat();
            for question in turns().iter().step_by(2) {
                // The golden vocabularies call some of their ordinary tokens special.
                let asked = text.tokenizer.encode(&question.content).expect(name);
                let asked = text.decode(&asked);
                assert!(given.contains(&asked), "{name}: {asked:?} in {given:?}");
                assert!(!labels.concat().contains(&asked), "{name}: {labels:?}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_what_a_loaded_model_trains_on() {
        for name in MODELS {
            let text = TrainingText::open(&golden(name)).expect(name);
            let model = Engine::new(1, Compute::Exact).load(&golden(name));
            let model = model.expect(name);
            let plain = Body::Text {
                text: "A heron stands in the reeds.".into(),
            };
            for body in [talk(), plain] {
                let trained = model.encode_example(&body, TrainTask::CausalLm, &[]);
                let trained = trained.expect(name);
                let encoded = text.encode(&body, TrainTask::CausalLm, &[]);
                assert_eq!(encoded.expect(name), trained, "{name}");
                let shown = text.preview(&body, TrainTask::CausalLm, 512);
                assert_eq!(
                    shown.label_tokens as usize,
                    crate::train::PackedBatch::new([&trained], crate::train::Before::default())
                        .targets
                        .rows
                        .len(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_plain_text_carries_loss_whole_with_an_end_and_no_template() {
        for name in MODELS {
            let text = TrainingText::open(&golden(name)).expect(name);
            let written = "A heron stands in the reeds. 苍鹭站在芦苇中。";
            let plain = Body::Text {
                text: written.into(),
            };
            let example = text.encode(&plain, TrainTask::CausalLm, &[]).expect(name);
            let begin = text.config.bos_id.filter(|_| text.config.add_bos);
            let mut expect: Vec<u32> = begin.into_iter().collect();
            expect.extend(text.tokenizer.encode(written).expect(name));
            expect.push(text.config.eos_ids[0]);
            assert_eq!(example.ids, expect, "{name}");
            let is_learnt = |(i, learnt): (usize, &bool)| *learnt == (i > 0 || begin.is_none());
            let Labels::Responses(flags) = &example.labels else {
                panic!("{name}: {:?}", example.labels);
            };
            assert!(flags.iter().enumerate().all(is_learnt), "{name}: {flags:?}");
            let shown = text.preview(&plain, TrainTask::CausalLm, 512);
            assert_eq!(shown.label_tokens, shown.tokens - 1, "{name}");
        }
    }

    #[test]
    fn what_is_cut_is_counted_and_an_answer_beyond_the_cut_is_refused() {
        let text = TrainingText::open(&golden("tiny")).expect("the tiny model");
        let whole = text.preview(&talk(), TrainTask::CausalLm, 512);
        let joined = |shown: &ExamplePreview| -> String {
            shown.spans.iter().map(|span| span.text.as_str()).collect()
        };
        for max_length in [1, 5, 20, 40, whole.tokens as usize] {
            let shown = text.preview(&talk(), TrainTask::CausalLm, max_length);
            assert_eq!(shown.tokens + shown.cut_tokens, whole.tokens);
            assert_eq!(shown.tokens as usize, max_length);
            // ASCII alone, so that no character is cut.
            assert_eq!(joined(&shown), joined(&whole));
            assert_eq!(shown.refused.is_some(), shown.label_tokens == 0);
        }
        let refused = text
            .preview(&talk(), TrainTask::CausalLm, 5)
            .refused
            .expect("no answer");
        assert_eq!(refused.reason, NO_LABEL_TOKEN);
        assert!(
            refused.message.contains("max_length = 5 tokens"),
            "{}",
            refused.message
        );
        let bare = Body::instruction("Name a bird.", "", "");
        let bare = text.preview(&bare, TrainTask::CausalLm, 512);
        let refused = bare.refused.expect("no answer");
        assert!(
            refused.message.contains("an assistant's turn"),
            "{}",
            refused.message
        );
    }
}
