//! A GGUF with all that llama.cpp needs: a GGUF base's own metadata, or metadata made from a folder's.

use std::fs::File;

use super::metadata::of_folder;
use super::output::Output;
use super::weights::{Merge, Norms};
use crate::models::dequantize::ElementType;
use crate::models::files::TextFiles;
use crate::models::gguf::{GgufHeader, stored_fields};
use crate::models::gguf_writer::{ALIGNMENT, Entry, Metadata};
use crate::models::interleaved::interleave_rows;
use crate::models::long_rope::{CONSTANTS, read_numbers};
use crate::models::tensor_names::gguf_name;
use crate::{EngineError, LoadedModel};

pub(super) const FILE: &str = "model.gguf";
/// Version of the quantised formats (ggml.h, `GGML_QNT_VERSION`).
const QUANTISATION_VERSION: usize = 2;

/// Constants beside the weights: names and numbers.
pub(super) type Constants = Vec<(String, Vec<f32>)>;

/// A tensor to be written and where its numbers come from.
enum Source {
    /// A weight, by Hugging Face's name.
    Weight(String),
    Constant(Vec<f32>),
}

/// Writes the file with matrices of an element type.
pub(super) fn write(
    model: &LoadedModel,
    merge: &Merge<'_>,
    text: &TextFiles,
    element: ElementType,
    output: &mut Output<'_>,
) -> Result<(), EngineError> {
    let (mut metadata, constants) = match text {
        TextFiles::Gguf(header) => of_gguf(merge, header)?,
        TextFiles::HuggingFace { .. } => of_folder(model, text)?,
    };
    metadata.count("general.file_type", file_type(element));
    metadata.count("general.quantization_version", QUANTISATION_VERSION);
    let (entries, sources) = entries(merge, constants, element);
    output.expect(entries.iter().map(Entry::bytes).sum());
    output.begin(FILE)?;
    output.put(&metadata.header(&entries))?;
    for (entry, source) in entries.iter().zip(sources) {
        match source {
            Source::Constant(numbers) => output.put(&entry.element.store(&numbers)?)?,
            Source::Weight(name) => {
                let heads = interleaved_heads(merge, &name);
                merge.read(&name, &entry.shape, Norms::Whole, &mut |numbers| {
                    let stored = match heads {
                        Some(heads) => {
                            let moved = interleave_rows(numbers, entry.shape[0], heads);
                            entry.element.store(&moved)?
                        }
                        None => entry.element.store(numbers)?,
                    };
                    output.put(&stored)
                })?;
            }
        }
        let fill = entry.bytes().next_multiple_of(ALIGNMENT) - entry.bytes();
        output.put(&vec![0; fill as usize])?;
    }
    output.end()
}

/// Takes over what a GGUF base says, and its constants.
fn of_gguf(merge: &Merge<'_>, header: &GgufHeader) -> Result<(Metadata, Constants), EngineError> {
    let path = merge.path();
    let file = File::open(path).map_err(|error| EngineError::io(path, "open", error))?;
    let mut metadata = Metadata::of_stored(stored_fields(path, &file)?);
    metadata.remove("general.alignment");
    let mut constants = Vec::new();
    for name in CONSTANTS {
        if let Some(place) = header.tensors.get(name) {
            constants.push((name.to_string(), read_numbers(path, &file, place)?));
        }
    }
    Ok((metadata, constants))
}

/// Lists the tensors, constants first.
fn entries(
    merge: &Merge<'_>,
    constants: Constants,
    element: ElementType,
) -> (Vec<Entry>, Vec<Source>) {
    let constants = constants.into_iter().map(|(name, numbers)| {
        let entry = Entry {
            name,
            shape: vec![numbers.len()],
            element: ElementType::F32,
        };
        (entry, Source::Constant(numbers))
    });
    let weights = merge.tensors().into_iter().map(|(name, shape)| {
        let entry = Entry {
            name: gguf_name(&name, merge.config),
            element: element_of(&name, &shape, element),
            shape,
        };
        (entry, Source::Weight(name))
    });
    constants.chain(weights).unzip()
}

/// Chooses a tensor's type: vectors stay f32; token matrices, on which most depends, keep eight bits where others have four; rows
/// that are no whole blocks become halves.
fn element_of(name: &str, shape: &[usize], wanted: ElementType) -> ElementType {
    let is_of_tokens = !name.starts_with("model.layers.");
    let element = match (shape, wanted) {
        ([_], _) => return ElementType::F32,
        (_, ElementType::Q4_1) if is_of_tokens => ElementType::Q8_0,
        (_, wanted) => wanted,
    };
    let width = shape.last().copied().unwrap_or_default();
    match width.is_multiple_of(element.block_elements()) {
        true => element,
        false => ElementType::F16,
    }
}

/// The heads whose rows a GGUF of the family interleaves.
fn interleaved_heads(merge: &Merge<'_>, name: &str) -> Option<usize> {
    let config = merge.config;
    match name {
        _ if !config.interleaves_in_gguf() => None,
        name if name.ends_with("self_attn.q_proj.weight") => Some(config.heads),
        name if name.ends_with("self_attn.k_proj.weight") => Some(config.kv_heads),
        _ => None,
    }
}

/// Tells llama.cpp's number of a file whose matrices are of a type (llama.h, `llama_ftype`).
fn file_type(element: ElementType) -> usize {
    match element {
        ElementType::F32 => 0,
        ElementType::Q4_1 => 3,
        ElementType::Q8_0 => 7,
        _ => 1,
    }
}
