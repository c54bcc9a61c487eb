//! Encoders of the BERT family: texts in, one vector each out (Devlin et al. 2019; Reimers and Gurevych 2019).
//!
//! Everything is f32. Texts are sorted by length and their tokens laid one after the other, without padding: the matrices
//! multiply all rows of a pass at once, attention stays within each text. So a text's vector depends on that text alone,
//! bit for bit.

mod config;
mod files;
mod forward;
mod layers;
mod pooling;
mod text;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::{ChatLayout, EmbedReport, Embeddings, Interrupt, ModelDetails};

pub use config::EncoderConfig;
pub use pooling::Pooling;

use crate::EngineError;
use crate::engine::ModelInfo;
use crate::memory::{Need, Room};
use crate::models::card::folder_licence;
use crate::models::files::ModelFiles;
use crate::runtime::Team;
use forward::Pass;
use layers::EncoderWeights;
use text::{Encoded, TextEncoder};

/// Tokens of a pass: enough to keep several threads busy, little enough to stay in the cache and to be interrupted soon.
const PASS_TOKENS: usize = 1024;
/// Texts that a task turns into tokens.
const TEXTS_PER_TASK: usize = 8;

/// What a task made of the texts from the first one's number on.
type EncodedPart = (usize, Result<Vec<Encoded>, EngineError>);

/// An encoder in memory.
pub struct LoadedEncoder {
    info: ModelInfo,
    config: EncoderConfig,
    pooling: Pooling,
    text: TextEncoder,
    weights: EncoderWeights,
    team: Arc<Team>,
}

/// Tells whether a path is the folder of an encoder, by its `config.json` alone.
pub(crate) fn is_encoder_folder(path: &Path) -> bool {
    config::architecture_of(path).is_some()
}

/// Reads an encoder's header, checks it whole, and digests the weights.
pub(crate) fn inspect(path: &Path) -> Result<ModelInfo, EngineError> {
    let (files, config) = files::open(path)?;
    let pooling = Pooling::read(path)?;
    let text = TextEncoder::read(path, &config, pooling)?;
    describe(path, &files, &config, &text)
}

fn describe(
    path: &Path,
    files: &ModelFiles,
    config: &EncoderConfig,
    text: &TextEncoder,
) -> Result<ModelInfo, EngineError> {
    Ok(ModelInfo {
        architecture: config.architecture.clone(),
        parameters: files.parameters(),
        quantization: files.quantization(),
        context_length: text.max_tokens() as u64,
        digest: files.digest()?,
        details: ModelDetails {
            licence: folder_licence(path),
            chat_layout: ChatLayout::None,
            is_batched: true,
            memory_bytes: files.parameters() * size_of::<f32>() as u64,
            cache_bytes_per_token: 0,
        },
    })
}

impl LoadedEncoder {
    pub(crate) fn load(path: &Path, team: Arc<Team>, room: &Room) -> Result<Self, EngineError> {
        let (files, config) = files::open(path)?;
        // The word embedding's rows stay in the file.
        let rows = (config.vocab_size * config.hidden_size) as u64;
        let weights = files.parameters().saturating_sub(rows) * size_of::<f32>() as u64;
        let need = Need {
            what: path.display().to_string(),
            parts: &[("weights", weights)],
            advice: "take a smaller encoder, or make more memory available",
        };
        need.check(room.bytes())?;
        let pooling = Pooling::read(path)?;
        let text = TextEncoder::read(path, &config, pooling)?;
        Ok(Self {
            info: describe(path, &files, &config, &text)?,
            weights: EncoderWeights::load(files, &config)?,
            config,
            pooling,
            text,
            team,
        })
    }

    /// Shows what the files say.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Shows the shape and constants.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Tells how a text's hidden states become one vector.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Tells the bytes that the weights take in memory; the rows of the word embedding stay in the file.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Makes a vector of length 1 of each text, in their order. What is beyond the encoder's longest sequence is cut off.
    ///
    /// `between` is called between the passes, so that the caller's thread can see to other things.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when a text cannot be split, [`EngineError::Io`] when the file cannot be read any more,
    /// [`EngineError::Interrupted`] when interrupted.
    pub fn embed(
        &self,
        texts: &[String],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Embeddings, EngineError> {
        let encoded = self.encode(texts)?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| (std::cmp::Reverse(encoded[*index].ids.len()), *index));
        let mut embeddings = Embeddings {
            vectors: vec![Vec::new(); texts.len()],
            tokens: encoded.iter().map(|text| text.tokens).sum(),
            unknown_tokens: encoded.iter().map(|text| text.unknown).sum(),
        };
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            let (mut pass, mut count) = (Pass::new(self), 0);
            while count < rest.len() && (count == 0 || pass.has_room(&encoded[rest[count]].ids)) {
                pass.push(&encoded[rest[count]].ids);
                count += 1;
            }
            for (vector, index) in pass.run()?.into_iter().zip(rest) {
                embeddings.vectors[*index] = vector;
            }
            rest = &rest[count..];
            between();
        }
        Ok(embeddings)
    }

    /// Counts tokens and unknown ones without computing vectors.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when a text cannot be split.
    pub fn report(&self, texts: &[String]) -> Result<EmbedReport, EngineError> {
        let encoded = self.encode(texts)?;
        Ok(EmbedReport {
            tokens: encoded.iter().map(|text| text.tokens).sum(),
            unknown_tokens: encoded.iter().map(|text| text.unknown).sum(),
        })
    }

    /// Turns texts into tokens, shared out among the threads.
    fn encode(&self, texts: &[String]) -> Result<Vec<Encoded>, EngineError> {
        let parts: Mutex<Vec<EncodedPart>> = Mutex::default();
        self.team.run_ranges(texts.len(), TEXTS_PER_TASK, &|range| {
            let first = range.start;
            let encoded = texts[range].iter().map(|text| self.text.encode(text));
            let part = (first, encoded.collect());
            parts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(part);
        });
        let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.sort_by_key(|(first, _)| *first);
        let mut all = Vec::with_capacity(texts.len());
        for (_, part) in parts {
            all.extend(part?);
        }
        Ok(all)
    }
}
