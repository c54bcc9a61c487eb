//! Labels of texts and words, by an adapter with a head.

use autodidact_domain::{Classifications, ClassifyInput, Interrupt, LabelScores, TrainTask};

use crate::engine::LoadedModel;
use crate::{Adapter, EngineError};

/// The most probabilities that one call gives.
const MAX_FIGURES: usize = 1 << 24;

impl LoadedModel {
    /// Tells how likely every label is for each input, by the states over the last norm. A word beyond the model's context has no
    /// figures; a text is judged by what the context holds. A result is bitwise independent of the other inputs.
    ///
    /// `between` is called between the passes, so that the caller's thread can see to other things.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for an adapter without a head or of another base, for an input without tokens, and for texts where
    /// words are labelled; [`EngineError::Memory`] where there is no room for a text's states, [`EngineError::Interrupted`] when
    /// interrupted.
    pub fn classify(
        &self,
        adapter: &Adapter,
        inputs: &[ClassifyInput],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Classifications, EngineError> {
        let classifier = adapter.classifier()?;
        let task = classifier.labelling.task;
        let laid_out = inputs.iter().enumerate().map(|(index, input)| {
            let laid_out = match (task, input) {
                (TrainTask::SequenceClassification, ClassifyInput::Words(_)) => Err(other_kind(
                    "a text, since the adapter labels whole texts (SEQ_CLS), found words",
                )),
                (TrainTask::TokenClassification, ClassifyInput::Text(_)) => Err(other_kind(
                    "words, since the adapter labels each of them (TOKEN_CLS), found a text",
                )),
                _ => self.text_side().input(input),
            };
            laid_out.map_err(|error| error.of("input", index))
        });
        let laid_out = laid_out.collect::<Result<Vec<_>, _>>()?;
        let units: usize = inputs.iter().map(ClassifyInput::units).sum();
        let figures = units.saturating_mul(classifier.labelling.labels.len());
        if figures > MAX_FIGURES {
            return Err(EngineError::Invalid(format!(
                "expected texts or words that get at most {MAX_FIGURES} figures at once, a label each, found {figures}; ask for fewer"
            )));
        }
        let logits = self.label_logits(adapter, laid_out, between, interrupt)?;
        let scores = |logits: Vec<f32>| match logits.is_empty() {
            true => LabelScores::default(),
            false => LabelScores::of_logits(&logits),
        };
        let results = logits.into_iter();
        Ok(Classifications {
            task,
            labels: classifier.labelling.labels.clone(),
            results: results
                .map(|units| units.into_iter().map(scores).collect())
                .collect(),
        })
    }

    /// Computes the labels' logits of texts as tokens, each with the places of those whose states are judged; none for those beyond
    /// the context.
    pub(crate) fn label_logits(
        &self,
        adapter: &Adapter,
        mut laid_out: Vec<(Vec<u32>, Vec<usize>)>,
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        let classifier = adapter.classifier()?;
        let virtual_tokens = self.virtual_ids(self.updates_of(Some(adapter))?).len();
        let room = self.config.context_length - virtual_tokens;
        for (ids, ends) in &mut laid_out {
            ids.truncate(room);
            if classifier.labelling.task == TrainTask::SequenceClassification {
                *ends = vec![ids.len() - 1];
            }
        }
        let units = laid_out
            .iter()
            .map(|(_, ends)| vec![Vec::new(); ends.len()]);
        let mut logits: Vec<Vec<Vec<f32>>> = units.collect();
        let mut hear = |index: usize, place: usize, state: &[f32]| {
            if let Ok(unit) = laid_out[index].1.binary_search(&place) {
                logits[index][unit] = classifier.logits(state);
            }
        };
        let mut lay_out = |index: usize| Ok(laid_out[index].0.clone());
        let texts = (laid_out.len(), &mut lay_out as _);
        self.states(Some(adapter), texts, &mut hear, between, interrupt)?;
        Ok(logits)
    }
}

fn other_kind(expected: &str) -> EngineError {
    EngineError::Invalid(format!("expected {expected}"))
}
