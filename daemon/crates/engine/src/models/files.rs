//! A model's files: one GGUF, or a Hugging Face folder. Tensors go by their Hugging Face names either way.
//!
//! Tensors are read on demand with positioned reads, never mapped: a file cut behind our back is an error, not a signal.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autodidact_domain::Digest;
use serde_json::Value as Json;

use super::config::ModelConfig;
use super::dequantize::ElementType;
use super::folder::{digest_file, parse_json, read_json, read_optional, weights_files};
use super::foreign::{self, is_foreign};
use super::gguf::{GgufHeader, TensorPlace};
use super::interleaved::half_split_rows;
use super::long_rope::{CONSTANTS, ROPE_FACTORS, SHORT_ROPE_FACTORS, read_rope_factors};
use super::multimodal::{text_config, text_tensor};
use super::replaced::Replaced;
use super::safetensors;
use super::tensor_names::{expected_tensors, gguf_name, hugging_face_name};
use crate::EngineError;

/// What the tokenizer and the chat template are made from.
pub(crate) enum TextFiles {
    /// GGUF metadata.
    Gguf(GgufHeader),
    /// `tokenizer.json`, `tokenizer_config.json` (null where absent) and `chat_template.jinja`.
    HuggingFace {
        tokenizer: Vec<u8>,
        tokenizer_config: Json,
        template: Option<String>,
    },
}

/// Opened weights files with the places of their tensors.
#[derive(Clone)]
pub(crate) struct ModelFiles {
    /// The file or folder that was named.
    pub(crate) path: PathBuf,
    files: Vec<(PathBuf, Arc<File>)>,
    tensors: BTreeMap<String, StoredTensor>,
    /// What stands in the place of tensors, in f32 and Hugging Face's order of rows.
    pub(super) replaced: BTreeMap<String, Replaced>,
}

#[derive(Clone)]
struct StoredTensor {
    file: usize,
    place: TensorPlace,
    /// The heads whose rows GGUF interleaves, in q and k.
    interleaved_heads: Option<usize>,
}

/// A tensor as stored, rows in Hugging Face's order.
pub(crate) struct RawTensor {
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Tells whether a tensor is a head's, by transformers' name of it.
fn is_of_head(name: &str) -> bool {
    name.starts_with("score.")
}

impl ModelFiles {
    /// Opens a GGUF file or a Hugging Face folder and checks every tensor's place and shape.
    pub(crate) fn open(path: &Path) -> Result<(Self, ModelConfig, TextFiles), EngineError> {
        let metadata = path
            .metadata()
            .map_err(|error| EngineError::io(path, "open model", error))?;
        let (files, config, text) = if metadata.is_dir() {
            Self::open_folder(path, Self::no_head)?
        } else {
            Self::open_gguf(path)?
        };
        // Candle-transformers asks for its tensors by itself.
        if is_foreign(&config.architecture) {
            foreign::check(&config.architecture, &files)?;
        } else {
            let name_in_file = |name: &str| match &text {
                TextFiles::Gguf(_) => gguf_name(name, &config),
                TextFiles::HuggingFace { .. } => name.to_string(),
            };
            let expected = expected_tensors(&config);
            files.check_shapes(&config.architecture, expected, &name_in_file)?;
        }
        Ok((files, config, text))
    }

    /// Opens a folder of a model with a head of labels as its base alone, whose output matrix is left out.
    ///
    /// # Errors
    /// As [`ModelFiles::open`].
    pub(crate) fn open_headed(path: &Path) -> Result<(Self, ModelConfig, TextFiles), EngineError> {
        let (files, config, text) = Self::open_folder(path, is_of_head)?;
        let expected = expected_tensors(&config);
        files.check_shapes(&config.architecture, expected, &|name| name.to_string())?;
        Ok((files, config, text))
    }

    /// Reads the tensors of a folder's head of labels, by name.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] and [`EngineError::Io`] where they cannot be read.
    pub(crate) fn read_head(path: &Path) -> Result<BTreeMap<String, Vec<f32>>, EngineError> {
        let keep = |name: &str| is_of_head(name).then(|| name.to_string());
        let head = Self::open_safetensors(path, &keep)?;
        let names = head.tensors.keys().filter(|name| is_of_head(name));
        let read = |name: &String| Ok((name.clone(), head.read_f32(name)?.1));
        names.map(read).collect()
    }

    fn no_head(_: &str) -> bool {
        false
    }

    fn open_gguf(path: &Path) -> Result<(Self, ModelConfig, TextFiles), EngineError> {
        let file = File::open(path).map_err(|error| EngineError::io(path, "open model", error))?;
        let header = GgufHeader::read(path, &file)?;
        let mut config = ModelConfig::from_gguf(path, &header)?;
        for name in [ROPE_FACTORS, SHORT_ROPE_FACTORS] {
            if let Some(place) = header.tensors.get(name) {
                let factors = read_rope_factors(path, &file, (name, place), config.head_dim)?;
                config.variant.rope_scaling = factors;
            }
        }
        let mut tensors = BTreeMap::new();
        let interleaves = config.interleaves_in_gguf();
        let weights = header
            .tensors
            .iter()
            .filter(|(name, _)| !CONSTANTS.contains(&name.as_str()));
        for (name, place) in weights {
            let Some(hf_name) = hugging_face_name(name, &config) else {
                return Err(EngineError::unsupported(
                    path,
                    name,
                    format!("only the tensors of {}", config.architecture),
                    "this tensor too",
                ));
            };
            let interleaved_heads = if interleaves && name.ends_with("attn_q.weight") {
                Some(config.heads)
            } else if interleaves && name.ends_with("attn_k.weight") {
                Some(config.kv_heads)
            } else {
                None
            };
            tensors.insert(
                hf_name,
                StoredTensor {
                    file: 0,
                    place: place.clone(),
                    interleaved_heads,
                },
            );
        }
        let files = Self {
            path: path.to_path_buf(),
            files: vec![(path.to_path_buf(), Arc::new(file))],
            tensors,
            replaced: BTreeMap::new(),
        };
        Ok((files, config, TextFiles::Gguf(header)))
    }

    /// Opens a folder; tensors that are a head's stay out, and with one the class of the model is not looked at.
    fn open_folder(
        path: &Path,
        is_head: fn(&str) -> bool,
    ) -> Result<(Self, ModelConfig, TextFiles), EngineError> {
        // Old conversions store a constant of the rotary embedding.
        let is_weight = |name: &str| !name.ends_with("rotary_emb.inv_freq");
        let keep = |name: &str| text_tensor(name).filter(|_| is_weight(name));
        let mut files = Self::open_safetensors(path, &keep)?;
        let config_path = path.join("config.json");
        let mut config_json = text_config(read_json(&config_path)?);
        let tensors = files.tensors.len();
        files.tensors.retain(|name, _| !is_head(name));
        if files.tensors.len() < tensors {
            config_json["architectures"] = Json::Null;
        }
        let generation = read_optional(&path.join("generation_config.json"))?;
        let generation = generation
            .map(|bytes| parse_json(&path.join("generation_config.json"), &bytes))
            .transpose()?;
        let has_lm_head = files.tensors.contains_key("lm_head.weight");
        let config = ModelConfig::from_hugging_face(
            &config_path,
            &config_json,
            generation.as_ref(),
            has_lm_head,
        )?;
        if config.tie_word_embeddings {
            files.tensors.remove("lm_head.weight");
        }
        let tokenizer_path = path.join("tokenizer.json");
        let tokenizer = read_optional(&tokenizer_path)?
            .ok_or_else(|| EngineError::unsupported(path, "tokenizer.json", "a file", "none"))?;
        let tokenizer_config_path = path.join("tokenizer_config.json");
        let tokenizer_config = match read_optional(&tokenizer_config_path)? {
            Some(bytes) => parse_json(&tokenizer_config_path, &bytes)?,
            None => Json::Null,
        };
        let template_path = path.join("chat_template.jinja");
        let template = read_optional(&template_path)?
            .map(String::from_utf8)
            .transpose()
            .map_err(|error| {
                EngineError::damaged(
                    &template_path,
                    "template",
                    "UTF-8 text",
                    error.utf8_error().to_string(),
                )
            })?;
        Ok((
            files,
            config,
            TextFiles::HuggingFace {
                tokenizer,
                tokenizer_config,
                template,
            },
        ))
    }

    /// Opens a folder's safetensors; `keep` gives the name under which a tensor is kept, and none for those that are left out.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] for damaged files and two tensors of one name, [`EngineError::Io`] for unreadable ones.
    pub(crate) fn open_safetensors(
        path: &Path,
        keep: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, EngineError> {
        let mut files = Self {
            path: path.to_path_buf(),
            files: Vec::new(),
            replaced: BTreeMap::new(),
            tensors: BTreeMap::new(),
        };
        for name in weights_files(path)? {
            let file_path = path.join(name);
            let file = File::open(&file_path)
                .map_err(|error| EngineError::io(&file_path, "open model", error))?;
            let wanted = |name: &str| keep(name).is_some();
            for (name, place) in safetensors::read_header(&file_path, &file, &wanted)? {
                let stored = StoredTensor {
                    file: files.files.len(),
                    place,
                    interleaved_heads: None,
                };
                let kept = keep(&name).unwrap_or_else(|| name.clone());
                if files.tensors.insert(kept, stored).is_some() {
                    return Err(EngineError::damaged(
                        &file_path,
                        name,
                        "one tensor of this name",
                        "two",
                    ));
                }
            }
            files.files.push((file_path, Arc::new(file)));
        }
        Ok(files)
    }

    /// Checks that exactly these tensors are there, each of its shape. `name_in_file` tells what the file calls one.
    pub(crate) fn check_shapes(
        &self,
        architecture: &str,
        expected: Vec<(String, Vec<usize>)>,
        name_in_file: &dyn Fn(&str) -> String,
    ) -> Result<(), EngineError> {
        // Of several files, the one that should hold a missing tensor is not known.
        let any = match &self.files[..] {
            [(path, _)] => path,
            _ => &self.path,
        };
        let expected: BTreeMap<String, Vec<usize>> = expected.into_iter().collect();
        for (name, shape) in &expected {
            match self.tensors.get(name) {
                None => {
                    let expected = format!("a tensor {shape:?}");
                    let name = name_in_file(name);
                    return Err(EngineError::damaged(any, name, expected, "none"));
                }
                Some(stored) if &stored.place.shape != shape => {
                    return Err(EngineError::damaged(
                        &self.files[stored.file].0,
                        name_in_file(name),
                        format!("shape {shape:?}"),
                        format!("{:?}", stored.place.shape),
                    ));
                }
                Some(_) => {}
            }
        }
        let strange = |name: &&String| !expected.contains_key(*name);
        match self.tensors.keys().find(strange) {
            Some(name) => Err(EngineError::unsupported(
                any,
                name_in_file(name),
                format!("only the tensors of {architecture}"),
                "this tensor too",
            )),
            None => Ok(()),
        }
    }

    fn stored(&self, name: &str) -> Result<&StoredTensor, EngineError> {
        self.tensors
            .get(name)
            .ok_or_else(|| EngineError::damaged(&self.path, name, "a tensor", "none"))
    }

    /// Reads a tensor as stored, q and k rows put in half-split order.
    pub(crate) fn read_raw(&self, name: &str) -> Result<RawTensor, EngineError> {
        if let Some(Replaced { shape, data }) = self.replaced.get(name) {
            return Ok(RawTensor {
                element: ElementType::F32,
                shape: shape.clone(),
                bytes: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            });
        }
        let stored = self.stored(name)?;
        let (path, file) = &self.files[stored.file];
        let place = &stored.place;
        let mut bytes = vec![0u8; place.bytes as usize];
        file.read_exact_at(&mut bytes, place.offset)
            .map_err(|error| EngineError::io(path, "read", error))?;
        if let Some(heads) = stored.interleaved_heads {
            bytes = half_split_rows(&bytes, place.shape[0], heads);
        }
        Ok(RawTensor {
            element: place.element,
            shape: place.shape.clone(),
            bytes,
        })
    }

    /// Reads a tensor as f32, with its shape.
    pub(crate) fn read_f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), EngineError> {
        let raw = self.read_raw(name)?;
        let mut data = vec![0f32; raw.shape.iter().product()];
        raw.element.to_f32(&raw.bytes, &mut data)?;
        Ok((raw.shape, data))
    }

    /// Reads one row of a matrix as f32.
    ///
    /// # Panics
    /// When the row is not below the matrix's rows or `out` is not as long as one.
    pub(crate) fn read_row(
        &self,
        name: &str,
        row: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        assert_eq!(
            out.len(),
            self.stored(name)?.place.shape[1],
            "a row of {name}"
        );
        self.read_rows(name, row, out)
    }

    /// Reads rows of a matrix as f32, as many as `out` holds.
    ///
    /// # Panics
    /// When the rows go beyond the matrix's or `out` does not hold whole ones.
    pub(crate) fn read_rows(
        &self,
        name: &str,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        if let Some(Replaced { shape, data }) = self.replaced.get(name) {
            out.copy_from_slice(&data[first * shape[1]..][..out.len()]);
            return Ok(());
        }
        let stored = self.stored(name)?;
        let (path, file) = &self.files[stored.file];
        let place = &stored.place;
        let rows = out.len() / place.shape[1];
        assert!(
            first + rows <= place.shape[0] && out.len() == rows * place.shape[1],
            "rows of {name}"
        );
        let of_row = place.bytes / place.shape[0] as u64;
        let mut bytes = vec![0u8; rows * of_row as usize];
        file.read_exact_at(&mut bytes, place.offset + first as u64 * of_row)
            .map_err(|error| EngineError::io(path, "read", error))?;
        place.element.to_f32(&bytes, out)
    }

    /// Finds a tensor's shape and elements without reading it.
    pub(crate) fn shape_of(&self, name: &str) -> Option<(&[usize], ElementType)> {
        let place = &self.tensors.get(name)?.place;
        Some((&place.shape, place.element))
    }

    /// Tells a tensor's bytes in its file; none for one that is not there.
    pub(crate) fn bytes_of(&self, name: &str) -> u64 {
        self.tensors
            .get(name)
            .map_or(0, |stored| stored.place.bytes)
    }

    /// Counts the elements of all tensors.
    pub(crate) fn parameters(&self) -> u64 {
        self.tensors
            .values()
            .map(|stored| stored.place.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Names the element type that most elements have, as file listings do.
    pub(crate) fn quantization(&self) -> String {
        let mut elements: BTreeMap<ElementType, u64> = BTreeMap::new();
        for stored in self.tensors.values() {
            *elements.entry(stored.place.element).or_default() +=
                stored.place.shape.iter().product::<usize>() as u64;
        }
        elements
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(element, _)| format!("{element:?}"))
            .unwrap_or_default()
    }

    /// Digests the weights: a single file's BLAKE3, or the BLAKE3 of the shards' digests in order of their names.
    pub(crate) fn digest(&self) -> Result<Digest, EngineError> {
        let digests = self
            .files
            .iter()
            .map(|(path, _)| digest_file(path))
            .collect::<Result<Vec<_>, _>>()?;
        match digests[..] {
            [one] => Ok(one),
            _ => Ok(Digest::of(
                &digests
                    .iter()
                    .flat_map(|digest| *digest.as_bytes())
                    .collect::<Vec<u8>>(),
            )),
        }
    }
}
