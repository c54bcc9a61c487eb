//! The engine's front: inspecting and loading models.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use autodidact_domain::{BaseDtype, ChatLayout, Constraint, Digest, Message, ModelDetails, Role};

use crate::EngineError;
use crate::device::{Accelerator, DeviceChoice};
use crate::encoder::{self, LoadedEncoder};
use crate::generate::Grammars;
use crate::memory::{Need, Room};
use crate::models::card::licence;
use crate::models::config::ModelConfig;
use crate::models::files::{ModelFiles, TextFiles};
use crate::models::foreign::{self, is_foreign};
use crate::models::weights::Weights;
use crate::runtime::cache::CacheShape;
use crate::runtime::device::DeviceDecoder;
use crate::runtime::{Buffers, Decoder, ForeignRunner, Runner, Team};
use crate::tokenizer::{ChatTemplate, Span, Tokenizer};
use crate::train::{DataCache, TextSide};

/// A sequence that any use of a model has room for.
const LEAST_SEQUENCE_TOKENS: usize = 512;
/// What a token of the vocabulary takes in the tokenizer's tables, merges included.
pub(crate) const VOCABULARY_BYTES: usize = 400;

/// Which arithmetic generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// f32 weights and activations: the reference.
    Exact,
    /// Bytes of weights in affine blocks of 32, bytes of activations: several times faster, with a small loss of precision.
    Fast,
}

impl Compute {
    /// Shows the name that reports and benches use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}

/// What a model's files say about it, read without loading the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The family, such as `llama`.
    pub architecture: String,
    /// The number of stored weights.
    pub parameters: u64,
    /// The element type most weights have, such as `Q4_1`.
    pub quantization: String,
    /// The longest sequence it was made for, in tokens.
    pub context_length: u64,
    /// Licence, layout of conversations, memory; where it is not batched, candle-transformers runs the model.
    pub details: ModelDetails,
    /// The BLAKE3 digest of the weights file; of several files, that of their digests in order.
    pub digest: Digest,
}

/// Loads models; holds the threads that compute.
#[derive(Clone, Debug)]
pub struct Engine {
    team: Arc<Team>,
    compute: Compute,
    /// What generates in place of our kernels.
    accelerator: Option<Accelerator>,
}

impl Engine {
    /// Starts a team of `threads` (the caller's own counts as one; at least one) for a compute path.
    pub fn new(threads: usize, compute: Compute) -> Self {
        Self {
            team: Arc::new(Team::new(threads)),
            compute,
            accelerator: None,
        }
    }

    /// As [`Engine::new`], with a device that generates, scores and gives hidden states: on a GPU, `exact` is f32 and
    /// `fast` bf16. Encoders and architectures that candle-transformers alone has stay on the processor; training is f32.
    ///
    /// # Errors
    /// [`EngineError::Device`] when this build has no such devices, or the device cannot be used.
    pub fn on_device(
        threads: usize,
        compute: Compute,
        device: DeviceChoice,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            accelerator: device.open(compute)?,
            ..Self::new(threads, compute)
        })
    }

    /// Makes an engine on a device of candle's that is open.
    #[cfg(test)]
    pub(crate) fn on_accelerator(threads: usize, accelerator: Accelerator) -> Self {
        Self {
            accelerator: Some(accelerator),
            ..Self::new(threads, Compute::Exact)
        }
    }

    /// Names what generates, as reports and benches do: `exact` or `fast`, or number format and device such as
    /// `bf16 on cuda:0`.
    pub fn compute_name(&self) -> String {
        match &self.accelerator {
            Some(accelerator) => accelerator.compute_name(),
            None => self.compute.as_str().to_string(),
        }
    }

    /// Tells which compute path generates.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Compiles a constraint over single bytes, to see before any model is loaded whether it can be met at all.
    ///
    /// # Errors
    /// What is wrong with it, in llguidance's words or ours.
    pub fn check_constraint(constraint: &Constraint) -> Result<(), String> {
        crate::generate::check_constraint(constraint)
    }

    /// Reads a model's header, tokenizer and chat template, checks them whole, and digests the weights.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] for damaged and unsupported files and for parts that do not fit each other,
    /// [`EngineError::Io`] for unreadable ones, [`EngineError::Tokenizer`] where a splitting pattern cannot be used.
    pub fn inspect(path: &Path) -> Result<ModelInfo, EngineError> {
        if encoder::is_encoder_folder(path) {
            return encoder::inspect(path);
        }
        let (files, config, text) = ModelFiles::open(path)?;
        // What will be needed of them is tried here too, so that a model that was added can be used.
        open_text(path, &text, config.clone())?;
        Self::describe(path, &files, &config, &text)
    }

    fn describe(
        path: &Path,
        files: &ModelFiles,
        config: &ModelConfig,
        text: &TextFiles,
    ) -> Result<ModelInfo, EngineError> {
        let is_batched = !is_foreign(&config.architecture);
        let chat_layout = match ChatTemplate::source_in(path, text) {
            Some(_) => ChatLayout::Template,
            None if config.eos_ids.is_empty() => ChatLayout::None,
            None => ChatLayout::Alpaca,
        };
        let details = ModelDetails {
            licence: licence(path, text),
            chat_layout,
            is_batched,
            memory_bytes: match is_batched {
                true => Decoder::bytes_needed(files, config, Compute::Fast) as u64,
                false => files.parameters() * size_of::<f32>() as u64,
            },
            cache_bytes_per_token: CacheShape::of(config, Compute::Fast).bytes_per_token() as u64,
        };
        Ok(ModelInfo {
            architecture: config.architecture.clone(),
            parameters: files.parameters(),
            quantization: files.quantization(),
            context_length: config.context_length as u64,
            details,
            digest: files.digest()?,
        })
    }

    /// Loads a GGUF file or a Hugging Face folder, whatever memory it takes.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub fn load(&self, path: &Path) -> Result<LoadedModel, EngineError> {
        self.load_within(path, None)
    }

    /// Loads a GGUF file or a Hugging Face folder where the memory that is available, in bytes, will suffice.
    ///
    /// # Errors
    /// As [`Engine::inspect`]; [`EngineError::Memory`] where the weights and a short sequence take more, before any of them
    /// is read.
    pub fn load_within(
        &self,
        path: &Path,
        available: Option<u64>,
    ) -> Result<LoadedModel, EngineError> {
        if encoder::is_encoder_folder(path) {
            return Err(EngineError::Invalid(format!(
                "{} is an encoder: it gives embeddings, and cannot generate, score or be trained; name a model that generates",
                path.display()
            )));
        }
        let (files, config, text) = ModelFiles::open(path)?;
        let room = Room::new(available);
        let held = self.check_memory(path, &files, &config, &room)?;
        let files = Arc::new(files);
        // Side by side, since a vocabulary of Gemma's size takes as long as its weights.
        let (text, decoder) = std::thread::scope(|scope| {
            let text = scope.spawn(|| {
                let info = Self::describe(path, &files, &config, &text)?;
                Ok::<_, EngineError>((info, open_text(path, &text, config.clone())?))
            });
            let decoder = self.read_decoder(&files, &config);
            (text.join(), decoder)
        });
        let (info, (tokenizer, config, template)) =
            text.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let decoder = decoder?;
        room.take(held);
        Ok(LoadedModel {
            path: path.to_path_buf(),
            info,
            room,
            held,
            config,
            files,
            tokenizer,
            template,
            decoder,
            team: self.team.clone(),
            compute: self.compute,
            weights: Mutex::new(Weak::new()),
            rounded_weights: Mutex::new(Weak::new()),
            device_weights: Mutex::new(Weak::new()),
            training_data: DataCache::default(),
            grammars: OnceLock::new(),
        })
    }
}

impl Engine {
    /// Reads the weights into what runs them.
    fn read_decoder(
        &self,
        files: &Arc<ModelFiles>,
        config: &ModelConfig,
    ) -> Result<Runner, EngineError> {
        Ok(
            match (is_foreign(&config.architecture), &self.accelerator) {
                (true, _) => {
                    let model = foreign::build(&config.architecture, files)?;
                    let runner = ForeignRunner::new(model, config.vocab_size, files.parameters());
                    Runner::Foreign(runner)
                }
                (false, Some(accelerator)) => {
                    Runner::Device(Box::new(DeviceDecoder::load(files, config, accelerator)?))
                }
                (false, None) => Runner::Own(Box::new(Decoder::load(files, config, self.compute)?)),
            },
        )
    }

    /// Refuses a model that the memory will not suffice for; tells the bytes that it will hold.
    fn check_memory(
        &self,
        path: &Path,
        files: &ModelFiles,
        config: &ModelConfig,
        room: &Room,
    ) -> Result<u64, EngineError> {
        let f32s = files.parameters().saturating_mul(size_of::<f32>() as u64);
        let reading = Decoder::bytes_read_at_once(files, config);
        let tokens = LEAST_SEQUENCE_TOKENS.min(config.context_length);
        let [weights, reading, working, sequence] =
            match (is_foreign(&config.architecture), &self.accelerator) {
                (true, _) => [f32s, 0, 0, 0],
                (false, Some(accelerator)) => {
                    let moved = DeviceDecoder::bytes_on_their_way(files, config, accelerator);
                    [0, reading.saturating_add(moved), 0, 0]
                }
                (false, None) => [
                    Decoder::bytes_needed(files, config, self.compute) as u64,
                    reading,
                    Buffers::bytes_needed(config) as u64,
                    CacheShape::of(config, self.compute).bytes(tokens) as u64,
                ],
            };
        let vocabulary = (config.vocab_size * VOCABULARY_BYTES) as u64;
        let need = Need {
            what: path.display().to_string(),
            parts: &[
                ("weights", weights),
                ("the file while they are read", reading),
                ("vocabulary", vocabulary),
                ("activations", working),
                ("keys and values of a short sequence", sequence),
            ],
            advice: "take a smaller model or one quantised to fewer bits, or make more memory available",
        };
        need.check(room.bytes())?;
        Ok(weights + vocabulary + working)
    }
}

/// Lays out a conversation as [`LoadedModel::conversation_spans`] does, with the text side of the model at `path` alone.
///
/// # Errors
/// As there.
pub(crate) fn lay_out(
    path: &Path,
    (tokenizer, config): (&Tokenizer, &ModelConfig),
    template: Option<&ChatTemplate>,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<Vec<Span>, EngineError> {
    match messages {
        [only] if only.role == Role::Assistant && !add_generation_prompt => {
            plain_spans(tokenizer, config, &only.content)
        }
        _ => {
            let template =
                template.ok_or_else(|| EngineError::template(path, "chat template", "none"))?;
            template.render_spans(tokenizer, messages, add_generation_prompt)
        }
    }
}

/// Lays a plain text out as documents are in pretraining: the begin token where the model has one, the text, and an end token
/// that is learnt with it.
fn plain_spans(
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    text: &str,
) -> Result<Vec<Span>, EngineError> {
    let begin = config.bos_id.filter(|_| config.add_bos);
    let begin = begin.map(|id| Span {
        ids: vec![id],
        is_response: false,
    });
    let mut ids = tokenizer.encode(text)?;
    ids.extend(config.eos_ids.first());
    let text = Span {
        ids,
        is_response: true,
    };
    Ok(begin.into_iter().chain([text]).collect())
}

/// Makes tokenizer and chat template, and tries them out; tells the model's constants with what the tokenizer adds.
pub(crate) fn open_text(
    path: &Path,
    text: &TextFiles,
    config: ModelConfig,
) -> Result<(Tokenizer, ModelConfig, Option<ChatTemplate>), EngineError> {
    let (tokenizer, adds_bos) = Tokenizer::from_files(path, text, &config)?;
    let config = ModelConfig {
        add_bos: config.add_bos || adds_bos,
        ..config
    };
    let template = ChatTemplate::from_files(path, text, &tokenizer, &config)?;
    Ok((tokenizer, config, template))
}

impl Engine {
    /// Loads the Hugging Face folder of an encoder, which embeds texts.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] for damaged and unsupported files, [`EngineError::Io`] for unreadable ones.
    pub fn load_encoder(&self, path: &Path) -> Result<LoadedEncoder, EngineError> {
        self.load_encoder_within(path, None)
    }

    /// Loads an encoder where the memory that is available, in bytes, will suffice.
    ///
    /// # Errors
    /// As [`Engine::load_encoder`]; [`EngineError::Memory`] where its weights take more, before any of them is read.
    pub fn load_encoder_within(
        &self,
        path: &Path,
        available: Option<u64>,
    ) -> Result<LoadedEncoder, EngineError> {
        LoadedEncoder::load(path, self.team.clone(), &Room::new(available))
    }
}

/// A base model in memory, ready to generate, to score and to be trained.
pub struct LoadedModel {
    pub(crate) path: PathBuf,
    pub(crate) info: ModelInfo,
    pub(crate) config: ModelConfig,
    pub(crate) files: Arc<ModelFiles>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) decoder: Runner,
    pub(crate) team: Arc<Team>,
    pub(crate) compute: Compute,
    /// What further work may take.
    pub(crate) room: Room,
    held: u64,
    weights: Mutex<Weak<Weights>>,
    /// The same in bf16.
    rounded_weights: Mutex<Weak<Weights>>,
    /// The same in f32 on the device that generates, where that is no processor's kernels.
    pub(crate) device_weights: Mutex<Weak<Weights>>,
    /// The examples that a training run has encoded.
    pub(crate) training_data: DataCache,
    /// Made when the first constraint comes; some MiB for a large vocabulary.
    grammars: OnceLock<Result<Grammars, String>>,
}

impl LoadedModel {
    /// Shows what the files say.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Shows the shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Shows the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tells which compute path generates.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Names what generates with this model, as [`Engine::compute_name`] does; what candle-transformers runs is `exact`.
    pub fn compute_name(&self) -> String {
        match &self.decoder {
            Runner::Own(_) => self.compute.as_str().to_string(),
            Runner::Device(decoder) => decoder.compute_name(),
            Runner::Foreign(_) => Compute::Exact.as_str().to_string(),
        }
    }

    /// Tells the bytes of the weights that generation holds.
    pub fn packed_bytes(&self) -> usize {
        self.decoder.bytes()
    }

    /// Tells the bytes that the model holds for as long as it is there: weights, vocabulary, activations.
    pub fn held_bytes(&self) -> u64 {
        self.held
    }

    /// Tells what memory is available for further work, in bytes; none is no bound.
    pub fn allow(&self, available: Option<u64>) {
        self.room.set(available);
    }

    /// Tells how many of the allowed bytes the work at hand leaves; none is no bound.
    pub fn left(&self) -> Option<u64> {
        Some(self.room.bytes()).filter(|bytes| *bytes != u64::MAX)
    }

    /// Reads the weights as f32 tensors, or shares those that someone still holds. Drop the `Arc` to free them.
    ///
    /// # Errors
    /// [`EngineError::Memory`] where they do not fit beside what is held, [`EngineError::Io`] when the files cannot be read
    /// any more.
    pub fn weights(&self) -> Result<Arc<Weights>, EngineError> {
        self.held_weights(&self.weights, BaseDtype::Float32)
    }

    /// As [`LoadedModel::weights`], with the matrices in bf16.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn rounded_weights(&self) -> Result<Arc<Weights>, EngineError> {
        self.held_weights(&self.rounded_weights, BaseDtype::BFloat16)
    }

    fn held_weights(
        &self,
        held: &Mutex<Weak<Weights>>,
        dtype: BaseDtype,
    ) -> Result<Arc<Weights>, EngineError> {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weights) = held.upgrade() {
            return Ok(weights);
        }
        let bytes = self.files.parameters() * dtype.bytes();
        let reading = Decoder::bytes_read_at_once(&self.files, &self.config);
        let (weights, advice) = match dtype {
            BaseDtype::Float32 => (
                "weights in f32",
                "train a smaller model, hold frozen weights in bf16 (dtype: bfloat16, with any method but full), or make more memory available",
            ),
            BaseDtype::BFloat16 => (
                "weights in bf16",
                "train a smaller model, or make more memory available",
            ),
        };
        let need = Need {
            what: format!("{} for training", self.path.display()),
            parts: &[(weights, bytes), ("the file while they are read", reading)],
            advice,
        };
        need.check(self.room.bytes())?;
        let weights = match dtype {
            BaseDtype::Float32 => Weights::load(&self.files, &self.config),
            BaseDtype::BFloat16 => Weights::load_rounded(&self.files, &self.config),
        };
        let weights = Arc::new(weights?);
        self.room.take(bytes);
        *held = Arc::downgrade(&weights);
        Ok(weights)
    }

    /// Shows what lays texts out.
    pub(crate) fn text_side(&self) -> TextSide<'_> {
        TextSide {
            path: &self.path,
            tokenizer: &self.tokenizer,
            config: &self.config,
            template: self.template.as_ref(),
        }
    }

    /// Lays out a conversation with the model's chat template, as tokens with their part in the loss. A lone answer is a plain
    /// text: it is laid out without the template, and all of it carries loss.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the model has no template, or it cannot be used.
    pub fn conversation_spans(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<Span>, EngineError> {
        let text = (&self.tokenizer, &self.config);
        let template = self.template.as_ref();
        lay_out(&self.path, text, template, messages, add_generation_prompt)
    }

    /// Shows what compiles constraints for this vocabulary; the first call makes it.
    pub(crate) fn grammars(&self) -> Result<&Grammars, String> {
        let made = self.grammars.get_or_init(|| Grammars::new(self));
        made.as_ref().map_err(String::clone)
    }

    #[cfg(test)]
    pub(crate) fn chat_template(&self) -> Result<&ChatTemplate, EngineError> {
        self.template
            .as_ref()
            .ok_or_else(|| EngineError::template(&self.path, "chat template", "none"))
    }
}
