//! An example as tokens, and what is learnt of it, by the task of a run.

use std::path::Path;

use autodidact_domain::example::separates;
use autodidact_domain::training::shown_labels;
use autodidact_domain::{Body, ClassifyInput, TrainTask};

use super::EncodedExample;
use super::data::Labels;
use crate::engine::lay_out;
use crate::methods::nearest;
use crate::{ChatTemplate, EngineError, ModelConfig, Tokenizer};

/// The text side of a model.
#[derive(Clone, Copy)]
pub(crate) struct TextSide<'a> {
    pub(crate) path: &'a Path,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) config: &'a ModelConfig,
    pub(crate) template: Option<&'a ChatTemplate>,
}

impl TextSide<'_> {
    /// Lays an example out for a task whose labels have their places' numbers.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the template cannot lay a conversation out; [`EngineError::Invalid`] for an example of another
    /// kind than the task takes, and for a label that is none of the task's.
    pub(crate) fn encode(
        &self,
        body: &Body,
        task: TrainTask,
        labels: &[String],
    ) -> Result<EncodedExample, EngineError> {
        match task {
            TrainTask::CausalLm => {
                let text = (self.tokenizer, self.config);
                let messages = body.to_messages();
                let spans = lay_out(self.path, text, self.template, &messages, false)?;
                Ok(EncodedExample::of_spans(spans))
            }
            TrainTask::SequenceClassification => {
                let (text, label) = body.labelled().ok_or_else(|| {
                    other_kind("a text with a label, or an instruction with an answer")
                })?;
                let (ids, _) = self.input(&ClassifyInput::Text(text.into_owned()))?;
                let class = number_of(label, labels)?;
                let labels = Labels::Text(class);
                Ok(EncodedExample { ids, labels })
            }
            TrainTask::TokenClassification => {
                let Body::Tagged { tokens, tags } = body else {
                    return Err(other_kind("words with a tag each (tokens, ner_tags)"));
                };
                let (ids, ends) = self.input(&ClassifyInput::Words(tokens.clone()))?;
                let mut classes = vec![None; ids.len()];
                for (end, tag) in ends.into_iter().zip(tags) {
                    classes[end] = Some(number_of(tag, labels)?);
                }
                let labels = Labels::Tokens(classes);
                Ok(EncodedExample { ids, labels })
            }
        }
    }

    /// Splits what is classified into tokens; tells the places of those whose states are: the last of a text, and of every word.
    ///
    /// A word's label is by the state of its last token, which alone has seen the whole of it.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when a text cannot be split; [`EngineError::Invalid`] for one without tokens.
    pub(crate) fn input(
        &self,
        input: &ClassifyInput,
    ) -> Result<(Vec<u32>, Vec<usize>), EngineError> {
        let begin = self.config.bos_id.filter(|_| self.config.add_bos);
        let mut ids: Vec<u32> = begin.into_iter().collect();
        let mut ends = Vec::new();
        match input {
            ClassifyInput::Text(text) => {
                ids.extend(self.tokenizer.encode(text)?);
                if text.trim().is_empty() || ids.is_empty() {
                    return Err(EngineError::Invalid("expected a text, found none".into()));
                }
                ends.push(ids.len() - 1);
            }
            ClassifyInput::Words(words) => {
                let mut before = "";
                for word in words {
                    let blank = if separates(before, word) { " " } else { "" };
                    let tokens = self.tokenizer.encode(&format!("{blank}{word}"))?;
                    if word.trim().is_empty() || tokens.is_empty() {
                        return Err(EngineError::Invalid(
                            "expected words, found one that says nothing".into(),
                        ));
                    }
                    ids.extend(tokens);
                    ends.push(ids.len() - 1);
                    before = word;
                }
                if words.is_empty() {
                    return Err(EngineError::Invalid("expected words, found none".into()));
                }
            }
        }
        Ok((ids, ends))
    }
}

fn other_kind(expected: &str) -> EngineError {
    EngineError::Invalid(format!(
        "task_type: expected {expected}, found a record of another kind"
    ))
}

fn number_of(label: &str, labels: &[String]) -> Result<u32, EngineError> {
    let place = labels.iter().position(|known| known == label);
    let place = place.ok_or_else(|| {
        EngineError::Invalid(format!(
            "labels: {label:?} is none of them; did you mean {:?}? expected one of {}",
            nearest(label, labels),
            shown_labels(labels)
        ))
    })?;
    Ok(place as u32)
}
