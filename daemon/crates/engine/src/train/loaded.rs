//! Training a loaded model.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use autodidact_domain::random::Random;
use autodidact_domain::training::{TrainProgress, keeps_base_quantised};
use autodidact_domain::{
    BaseDtype, Body, Checkpoint, Interrupt, ModelName, ModelRef, Prompt, TrainOptions,
    TrainRequest, TrainSegment, TrainTask,
};

use super::{Base, DataCache, EncodedExample, check_options, run};
use crate::methods::from_options;
use crate::models::base::BaseWeights;
use crate::models::files::ModelFiles;
use crate::models::weights::Weights;
use crate::runtime::Runner;
use crate::{DeviceChoice, Engine, EngineError, LoadedModel, Pause};

impl Engine {
    /// Holds training options against a model's header.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] with the field and what was expected; [`EngineError::ModelFile`] and [`EngineError::Io`] where the
    /// model cannot be read, or is one that is not trained.
    pub fn check_training(
        path: &Path,
        options: &TrainOptions,
        device: DeviceChoice,
    ) -> Result<(), EngineError> {
        let (files, config, _) = ModelFiles::open(path)?;
        Weights::check_trainable(&files, &config)?;
        if device != DeviceChoice::Cpu {
            refuse_on_device(options)?;
        }
        check_options(options)?;
        from_options(options, &config).map(drop)
    }
}

/// Refuses what the plain operations of a GPU do not have.
fn refuse_on_device(options: &TrainOptions) -> Result<(), EngineError> {
    let refuse = |field: &str, found: &str| {
        Err(EngineError::Invalid(format!(
            "{field}: expected another on a GPU, where every state and the base in f32 are held, found {found}; or use the device cpu"
        )))
    };
    match options {
        options if keeps_base_quantised(&options.method) => refuse("method", &options.method),
        options if options.gradient_checkpointing => refuse("gradient_checkpointing", "true"),
        options if options.dtype != BaseDtype::Float32 => refuse("dtype", options.dtype.name()),
        _ => Ok(()),
    }
}

impl LoadedModel {
    /// Trains for a stretch; see [`run`]. `init` is the adapter that `request.model.adapter` names, where it names one.
    ///
    /// Between operations `pause` may let others use the device.
    /// On a device of candle's the plain operations compute, in f32, and nobody promises the same bits twice.
    /// The weights are read as f32 unless someone holds them already ([`LoadedModel::weights`]).
    ///
    /// # Errors
    /// As [`run`]; also [`EngineError::Io`] when the model's files cannot be read any more.
    pub fn train(
        &self,
        request: TrainRequest,
        init: Option<Checkpoint>,
        interrupt: &Interrupt,
        pause: &Pause,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> Result<TrainSegment, EngineError> {
        let options = request.options.clone();
        let weights = self.training_weights(&options)?;
        let base = Base {
            config: self.config(),
            weights: &weights,
            digest: self.info().digest,
            threads: self.team.threads(),
            tokenize: &|text| self.encode(&Prompt::Text(text.into())),
            encode: &|body| self.encode_example(body, options.task_type, &options.labels),
            encoded: &self.training_data,
            pause,
            room: &self.room,
        };
        run(base, request, init, interrupt, progress)
    }

    /// Trains on sequences of `length` arbitrary tokens, each of which carries loss, to measure; tells the tokens a second of
    /// every step. Nothing is kept.
    ///
    /// # Errors
    /// As [`LoadedModel::train`]; [`EngineError::Invalid`] for sequences that the context does not hold.
    pub fn measure_train(
        &self,
        options: &TrainOptions,
        length: usize,
        steps: u32,
        interrupt: &Interrupt,
    ) -> Result<Vec<f64>, EngineError> {
        let recipe = from_options(options, self.config())?;
        let context = self.config().context_length - recipe.plan().virtual_tokens();
        // The last target is no input.
        let tokens = length.saturating_add(1);
        if length == 0 || steps == 0 || tokens > context {
            return Err(EngineError::Invalid(format!(
                "expected at least one step of sequences of 1 to {} tokens (the context is {context}), found {steps} of {length}",
                context - 1
            )));
        }
        let weights = self.training_weights(options)?;
        let vocabulary = self.config().vocab_size;
        let encode = |body: &Body| {
            let mut random = Random::at(1, &["measured", &body.instruction_text()]);
            let ids = (0..tokens).map(|_| random.below(vocabulary) as u32);
            let flags = vec![true; tokens];
            Ok(EncodedExample::of_responses(ids.collect(), flags))
        };
        let base = Base {
            config: self.config(),
            weights: &weights,
            digest: self.info().digest,
            threads: self.team.threads(),
            tokenize: &|text| self.encode(&Prompt::Text(text.into())),
            encode: &encode,
            encoded: &DataCache::default(),
            pause: &Pause::never(),
            room: &self.room,
        };
        let at_a_step = options.batch_size as usize * options.gradient_accumulation_steps as usize;
        let example = |index: usize| Body::instruction(&index.to_string(), "", "");
        let request = TrainRequest {
            model: ModelRef {
                model: ModelName::new("measured")
                    .map_err(|error| EngineError::Invalid(error.to_string()))?,
                adapter: None,
            },
            options: TrainOptions {
                epochs: steps,
                max_length: tokens as u32,
                ..options.clone()
            },
            examples: (0..at_a_step).map(example).collect(),
            eval_examples: Vec::new(),
            seed: 1,
            resume: None,
            steps,
        };
        let mut rates = Vec::with_capacity(steps as usize);
        let mut progress = |step: TrainProgress| rates.push(step.tokens_per_second);
        run(base, request, None, interrupt, &mut progress)?;
        Ok(rates)
    }

    /// Shows the weights where they are trained on: in memory, on the device that generates, or in the files where the method
    /// leaves them quantised. Whoever trains in stretches holds them in between.
    ///
    /// # Errors
    /// As [`LoadedModel::weights`].
    pub fn training_weights(&self, options: &TrainOptions) -> Result<BaseWeights, EngineError> {
        match &self.decoder {
            Runner::Device(decoder) => {
                if !decoder.device().is_cpu() {
                    refuse_on_device(options)?;
                }
                let mut held = self
                    .device_weights
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(weights) = held.upgrade() {
                    return Ok(BaseWeights::Held(weights));
                }
                let weights = Arc::new(self.weights()?.to_device(decoder.device())?);
                *held = Arc::downgrade(&weights);
                Ok(BaseWeights::Held(weights))
            }
            Runner::Own(_) if keeps_base_quantised(&options.method) => {
                BaseWeights::stored(&self.files, &self.config)
            }
            Runner::Own(_) if options.dtype == BaseDtype::BFloat16 => {
                Ok(BaseWeights::Rounded(self.rounded_weights()?))
            }
            Runner::Own(_) | Runner::Foreign(_) => Ok(BaseWeights::Held(self.weights()?)),
        }
    }

    /// Lays an example out for a task; see [`TextSide::encode`].
    pub(crate) fn encode_example(
        &self,
        body: &Body,
        task: TrainTask,
        labels: &[String],
    ) -> Result<EncodedExample, EngineError> {
        self.text_side().encode(body, task, labels)
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Message;

    use super::*;
    use crate::train::Before;
    use crate::{Adapter, Compute};

    #[test]
    fn training_and_scoring_agree_on_the_loss_before_and_after() {
        check_losses(false);
        check_losses(true);
    }

    #[test]
    fn a_base_in_bf16_teaches_what_its_rounded_weights_teach() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden");
        // The files of one are bf16 already, so nothing is rounded there.
        for (name, is_exact) in [
            ("families/qwen2", false),
            ("tiny", false),
            ("families/phi3/model.gguf", false),
            ("families/gemma3", true),
            ("families/llama3", false),
        ] {
            let model = Engine::new(2, Compute::Exact).load(&golden.join(name));
            let model = model.expect(name);
            let run = |method: &str, dtype| {
                let options = TrainOptions {
                    method: method.into(),
                    dtype,
                    target_modules: vec!["all-linear".into()],
                    learning_rate: 1e-2,
                    max_steps: 8,
                    batch_size: 2,
                    ..TrainOptions::default()
                };
                let answer = "a heron, a wren, an owl and a kite";
                let request = TrainRequest {
                    model: ModelRef {
                        model: ModelName::new("tiny").expect("a name"),
                        adapter: None,
                    },
                    options,
                    examples: (0..4)
                        .map(|i| Body::instruction(&format!("Name birds, {i}."), "", answer))
                        .collect(),
                    eval_examples: Vec::new(),
                    seed: 4,
                    resume: None,
                    steps: 8,
                };
                let quiet = Interrupt::new();
                model.train(request, None, &quiet, &Pause::never(), &mut |_| {})
            };
            let exact = run("lora", BaseDtype::Float32).expect("trains");
            let rounded = run("lora", BaseDtype::BFloat16).expect("trains");
            if is_exact {
                assert_eq!(rounded.losses, exact.losses, "{name}");
                assert_eq!(rounded.checkpoint.adapter, exact.checkpoint.adapter);
            }
            let bound = 0.02 * exact.losses[0];
            for (rounded, exact) in rounded.losses.iter().zip(&exact.losses) {
                assert!((rounded - exact).abs() < bound, "{name}: {rounded} {exact}");
            }
            let weights = model.rounded_weights().expect("weights");
            let bytes = BaseWeights::Rounded(weights).bytes();
            let in_f32 = model.files.parameters() * 4;
            assert!(bytes * 9 < in_f32 * 5, "{name}: {bytes} of {in_f32}");
            for (method, field) in [("qlora", "dtype"), ("full", "dtype")] {
                let told = run(method, BaseDtype::BFloat16).expect_err("refused");
                assert!(told.to_string().contains(field), "{told}");
            }
        }
    }

    #[test]
    fn a_base_left_quantised_teaches_the_same_bits() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden");
        for name in [
            "tiny",
            "families/llama3/model.gguf",
            "families/qwen2/model.gguf",
            "families/phi3/model.gguf",
            "families/gemma3",
        ] {
            let model = Engine::new(2, Compute::Exact).load(&golden.join(name));
            let model = model.expect(name);
            let weights = model.weights().expect("weights");
            let run = |method: &str, gradient_checkpointing| {
                let options = TrainOptions {
                    method: method.into(),
                    target_modules: vec!["all-linear".into()],
                    use_dora: true,
                    label_smoothing_factor: 0.1,
                    gradient_checkpointing,
                    ..TrainOptions::default()
                };
                let base = model.training_weights(&options).expect("a base");
                assert_eq!(base.bytes() == 0, method == "qlora");
                let recipe = crate::methods::from_options(&options, model.config());
                let plan = std::sync::Arc::new(recipe.expect("valid").plan().clone());
                let parameters = plan.drawn(3, &base);
                let ids: Vec<u32> = (0..40)
                    .map(|i| i * 7 % model.config().vocab_size as u32)
                    .collect();
                let flags = vec![true; ids.len()];
                let example = EncodedExample::of_responses(ids, flags);
                let batch = crate::train::PackedBatch::new(&[example], Before::default());
                let trained =
                    crate::train::TrainableModel::new(model.config(), &base, plan, 40, 40, 2);
                let trained = trained
                    .expect("threads")
                    .checkpointing(gradient_checkpointing)
                    .smoothing(0.1);
                trained
                    .loss_and_gradients(&parameters, &batch, 1)
                    .expect("a loss")
            };
            assert_eq!(run("lora", false), run("qlora", true), "{name}");
            drop(weights);
        }
    }

    fn check_losses(use_rslora: bool) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/tiny");
        let model = Engine::new(2, Compute::Exact)
            .load(&path)
            .expect("the tiny model");
        let conversation = vec![
            Message::user("Write a haiku about a lake."),
            Message::assistant("The lake holds the moon"),
        ];
        let options = TrainOptions {
            learning_rate: 1e-2,
            use_rslora,
            epochs: 12,
            batch_size: 1,
            ..TrainOptions::default()
        };
        let mut request = TrainRequest {
            model: ModelRef {
                model: ModelName::new("tiny").expect("a name"),
                adapter: None,
            },
            options,
            examples: vec![Body::Chat {
                messages: conversation.clone(),
            }],
            eval_examples: Vec::new(),
            seed: 4,
            resume: None,
            steps: 11,
        };
        let calm = Interrupt::new();
        let train = |request: &TrainRequest| {
            model.train(request.clone(), None, &calm, &Pause::never(), &mut |_| {})
        };
        let loss = |adapter: Option<&Adapter>| {
            let conversations = std::slice::from_ref(&conversation);
            let loss = model
                .response_loss(adapter, conversations, &mut || {}, &calm)
                .expect("a loss")[0];
            loss.negative_log_likelihood / f64::from(loss.tokens)
        };
        let first = train(&request).expect("trains");
        let before = loss(None);
        assert!(
            (first.losses[0] - before).abs() < 1e-4,
            "{} and {before}",
            first.losses[0]
        );

        // The last step's loss is that of the adapter as the first stretch left it.
        let adapter = Adapter::from_checkpoint(&model, &first.checkpoint).expect("it fits");
        let after = loss(Some(&adapter));
        request.resume = Some(first.checkpoint);
        let last = train(&request).expect("goes on").losses[0];
        assert!((last - after).abs() < 1e-4, "{last} and {after}");
        assert!(after < before / 2.0, "from {before} to {after}");
    }
}
