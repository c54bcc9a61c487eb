//! An encoder's tensors: places and shapes checked before anything is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use autodidact_domain::Digest;

use super::config::EncoderConfig;
use crate::EngineError;
use crate::models::dequantize::ElementType;
use crate::models::folder::{digest_file, weights_files};
use crate::models::gguf::TensorPlace;
use crate::models::safetensors;

/// What models with a head in front of the encoder put before the tensors' names.
const PREFIXES: [&str; 2] = ["bert.", "roberta."];
/// Tensors beside the encoder that vectors do not need: heads, the pooler of next-sentence prediction, a constant.
const IGNORED: [&str; 5] = [
    "pooler.",
    "cls.",
    "lm_head.",
    "classifier.",
    "embeddings.position_ids",
];

/// Opened weights files with the places of the encoder's tensors.
pub(super) struct EncoderFiles {
    path: PathBuf,
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, (usize, TensorPlace)>,
}

impl EncoderFiles {
    /// Opens a Hugging Face folder and checks every tensor's place and shape.
    pub(super) fn open(path: &Path) -> Result<(Self, EncoderConfig), EngineError> {
        let config = EncoderConfig::read(path)?;
        let mut files = Self {
            path: path.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for name in weights_files(path)? {
            let file_path = path.join(name);
            let file = File::open(&file_path)
                .map_err(|error| EngineError::io(&file_path, "open model", error))?;
            let wanted = |name: &str| !is_ignored(plain_name(name));
            for (name, place) in safetensors::read_header_of(&file_path, &file, &wanted)? {
                let entry = (files.files.len(), place);
                if files
                    .tensors
                    .insert(plain_name(&name).to_string(), entry)
                    .is_some()
                {
                    return Err(EngineError::damaged(
                        &file_path,
                        name,
                        "one tensor of this name",
                        "two",
                    ));
                }
            }
            files.files.push((file_path, file));
        }
        files.check_shapes(&config)?;
        Ok((files, config))
    }

    /// Checks that exactly the encoder's tensors are there, each of its shape.
    fn check_shapes(&self, config: &EncoderConfig) -> Result<(), EngineError> {
        let expected: BTreeMap<String, Vec<usize>> = expected_tensors(config).into_iter().collect();
        for (name, shape) in &expected {
            match self.tensors.get(name) {
                None => {
                    return Err(EngineError::damaged(
                        self.first_file(),
                        name,
                        format!("a tensor {shape:?}"),
                        "none",
                    ));
                }
                Some((file, place)) if &place.shape != shape => {
                    return Err(EngineError::damaged(
                        &self.files[*file].0,
                        name,
                        format!("shape {shape:?}"),
                        format!("{:?}", place.shape),
                    ));
                }
                Some(_) => {}
            }
        }
        let strange = |name: &&String| !expected.contains_key(*name);
        match self.tensors.keys().find(strange) {
            Some(name) => Err(EngineError::unsupported(
                self.first_file(),
                name,
                format!("only the tensors of {}", config.architecture),
                "this tensor too",
            )),
            None => Ok(()),
        }
    }

    fn first_file(&self) -> &Path {
        self.files.first().map_or(&self.path, |(path, _)| path)
    }

    fn stored(&self, name: &str) -> Result<(&Path, &File, &TensorPlace), EngineError> {
        let (file, place) = self
            .tensors
            .get(name)
            .ok_or_else(|| EngineError::damaged(&self.path, name, "a tensor", "none"))?;
        let (path, file) = &self.files[*file];
        Ok((path, file, place))
    }

    /// Reads a tensor as f32, with its shape.
    pub(super) fn read(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), EngineError> {
        let (path, file, place) = self.stored(name)?;
        let mut bytes = vec![0u8; place.bytes as usize];
        file.read_exact_at(&mut bytes, place.offset)
            .map_err(|error| EngineError::io(path, "read", error))?;
        let mut data = vec![0f32; place.shape.iter().product()];
        place.element.to_f32(&bytes, &mut data)?;
        Ok((place.shape.clone(), data))
    }

    /// Reads one row of a matrix as f32; `bytes` is room that is used again.
    ///
    /// # Panics
    /// When the row is not below the matrix's rows or `out` is not as long as one.
    pub(super) fn read_row(
        &self,
        name: &str,
        row: usize,
        bytes: &mut Vec<u8>,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let (path, file, place) = self.stored(name)?;
        assert!(
            row < place.shape[0] && out.len() == place.shape[1],
            "a row of {name}"
        );
        let width = place.bytes / place.shape[0] as u64;
        bytes.resize(width as usize, 0);
        file.read_exact_at(bytes, place.offset + row as u64 * width)
            .map_err(|error| EngineError::io(path, "read", error))?;
        place.element.to_f32(bytes, out)
    }

    /// Counts the elements of the encoder's tensors.
    pub(super) fn parameters(&self) -> u64 {
        let count =
            |(_, place): &(usize, TensorPlace)| place.shape.iter().product::<usize>() as u64;
        self.tensors.values().map(count).sum()
    }

    /// Names the element type that most elements have.
    pub(super) fn element_type(&self) -> String {
        let mut elements: BTreeMap<ElementType, u64> = BTreeMap::new();
        for (_, place) in self.tensors.values() {
            *elements.entry(place.element).or_default() += place.bytes;
        }
        elements
            .into_iter()
            .max_by_key(|(_, bytes)| *bytes)
            .map(|(element, _)| format!("{element:?}"))
            .unwrap_or_default()
    }

    /// Digests the weights: a single file's BLAKE3, or the BLAKE3 of the shards' digests in order of their names.
    pub(super) fn digest(&self) -> Result<Digest, EngineError> {
        let digests = self.files.iter().map(|(path, _)| digest_file(path));
        let digests = digests.collect::<Result<Vec<_>, _>>()?;
        match digests[..] {
            [one] => Ok(one),
            _ => {
                let bytes = digests.iter().flat_map(|digest| *digest.as_bytes());
                Ok(Digest::of(&bytes.collect::<Vec<u8>>()))
            }
        }
    }
}

fn plain_name(name: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

fn is_ignored(name: &str) -> bool {
    IGNORED.iter().any(|ignored| name.starts_with(ignored))
}

/// Names every tensor an encoder has, with its shape.
fn expected_tensors(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let mut expected: Vec<(String, Vec<usize>)> = [
        ("word_embeddings.weight", vec![config.vocab_size, hidden]),
        ("position_embeddings.weight", vec![config.positions, hidden]),
        (
            "token_type_embeddings.weight",
            vec![config.token_types, hidden],
        ),
        ("LayerNorm.weight", vec![hidden]),
        ("LayerNorm.bias", vec![hidden]),
    ]
    .into_iter()
    .map(|(name, shape)| (format!("embeddings.{name}"), shape))
    .collect();
    let linears = [
        ("attention.self.query", hidden, hidden),
        ("attention.self.key", hidden, hidden),
        ("attention.self.value", hidden, hidden),
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", intermediate, hidden),
        ("output.dense", hidden, intermediate),
    ];
    for layer in 0..config.layers {
        let mut add =
            |name: String, shape| expected.push((format!("encoder.layer.{layer}.{name}"), shape));
        for (name, rows, columns) in linears {
            add(format!("{name}.weight"), vec![rows, columns]);
            add(format!("{name}.bias"), vec![rows]);
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{norm}.weight"), vec![hidden]);
            add(format!("{norm}.bias"), vec![hidden]);
        }
    }
    expected
}
