//! Whom the stage asks, with which options, shown by which examples.

use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::workflow::{BASE_MODEL_EXAMPLES, ConstraintSpec, RespondSpec};
use autodidact_domain::{
    ChatLayout, Completion, Constraint, Example, GenerateRequest, Language, Message, ModelRef,
    Sampling, TaskType,
};

use crate::error::FlowError;
use crate::instruction::guess_task_type;
use crate::journaled::Run;
use crate::prompts;
use crate::stages::language_of;

/// What asking needs. Whoever has a question answered again asks with the same.
pub(crate) struct Asker<'a> {
    pub(crate) run: &'a Run,
    pub(crate) round: u32,
    pub(crate) spec: &'a RespondSpec,
    pub(crate) human: &'a [Example],
    pub(crate) model: &'a ModelRef,
    pub(crate) progress: Box<dyn FnMut(u64)>,
    pub(crate) tokens: u64,
}

/// A task that is to be answered.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) language: Language,
    pub(crate) instruction: &'a str,
    pub(crate) input: &'a str,
    /// The type of the task, where it was told.
    pub(crate) task_type: Option<TaskType>,
}

impl Asker<'_> {
    pub(crate) fn generate(
        &mut self,
        requests: Vec<GenerateRequest>,
    ) -> Result<Vec<Completion>, FlowError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let completions = self
            .run
            .generate(self.model, requests, &mut *self.progress)?;
        let tokens = completions.iter().map(|c| u64::from(c.completion_tokens));
        self.tokens += tokens.sum::<u64>();
        Ok(completions)
    }

    /// Begins what is drawn for one purpose at one place.
    pub(super) fn random(&self, purpose: &str, index: usize) -> Random {
        let coordinates = [purpose, &self.round.to_string(), &index.to_string()];
        Random::at(self.run.spec().seed, &coordinates)
    }

    /// Gives the sampling seed for one purpose at one place.
    pub(super) fn seed(&self, purpose: &str, index: usize) -> u64 {
        let coordinates = [
            "sample",
            purpose,
            &self.round.to_string(),
            &index.to_string(),
        ];
        derive_seed(self.run.spec().seed, &coordinates)
    }

    /// Lists the human examples of a language.
    pub(super) fn human(&self, language: Language) -> impl Iterator<Item = &Example> {
        let default = self.run.spec().languages[0];
        self.human
            .iter()
            .filter(move |example| language_of(example, default) == language)
    }

    /// Tells how many examples the model sees answered first.
    pub(crate) fn examples(&self) -> Result<u32, FlowError> {
        if let Some(count) = self.spec.examples {
            return Ok(count);
        }
        let own = &self.run.workflow.pinned.model;
        let layout = match self.model.model == own.name {
            true => own.details.chat_layout,
            false => {
                self.run
                    .ports
                    .models
                    .get(&self.model.model)?
                    .details
                    .chat_layout
            }
        };
        Ok(match layout {
            ChatLayout::Alpaca => BASE_MODEL_EXAMPLES,
            ChatLayout::Template | ChatLayout::None => 0,
        })
    }

    /// Reads the form that answers have.
    pub(crate) fn constraint(&self) -> Result<Option<Constraint>, FlowError> {
        let form = self.spec.constraint.as_ref();
        let form = form.map(ConstraintSpec::constraint).transpose();
        form.map_err(|fault| FlowError::Stopped(format!("stages.respond.constraint: {fault}")))
    }

    /// Asks a question of the model as its chat template wants it, after `examples` human ones, with the options that answers to
    /// tasks of its type have.
    pub(crate) fn answer_request(
        &self,
        examples: u32,
        question: Question<'_>,
        seed: u64,
    ) -> Result<GenerateRequest, FlowError> {
        let spec = self.spec;
        let Question {
            language,
            instruction,
            input,
            task_type,
        } = question;
        let task_type = task_type.or_else(|| guess_task_type(instruction));
        let of_type = task_type.and_then(|task_type| spec.temperatures.get(&task_type));
        let shown = self.shown_turns(examples, language);
        Ok(GenerateRequest {
            constraint: self.constraint()?,
            ..GenerateRequest::new(
                prompts::answer_request(shown, instruction, input),
                Sampling {
                    temperature: *of_type.unwrap_or(&spec.temperature),
                    top_p: spec.top_p,
                    repetition_penalty: spec.repetition_penalty,
                    max_tokens: spec.max_tokens,
                    seed,
                    ..Sampling::default()
                },
            )
        })
    }

    /// Draws the human examples that are shown answered, as turns. They are the same for a whole round, so that the engine
    /// computes them once.
    fn shown_turns(&self, examples: u32, language: Language) -> Vec<Message> {
        let human: Vec<&Example> = self
            .human(language)
            .filter(|example| !example.body.output_text().is_empty())
            .collect();
        let mut random = self.random("shown", 0);
        let shown = random.pick(&human, examples as usize);
        shown
            .iter()
            .flat_map(|example| example.body.to_messages())
            .collect()
    }
}
