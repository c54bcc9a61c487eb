//! Reads a safetensors header with every length checked against the file before anything is allocated.
//!
//! Layout: <https://huggingface.co/docs/safetensors>, eight bytes of header length, JSON, data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;

use super::dequantize::ElementType;
use super::gguf::TensorPlace;
use crate::EngineError;

/// The format's own limit is 100 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;
const MAX_DIMENSIONS: usize = 4;

/// Reads and checks the header of `file`, of which the wanted tensors alone: others may be of types that are not supported.
/// `path` is for errors.
pub(crate) fn read_header(
    path: &Path,
    mut file: &File,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, TensorPlace>, EngineError> {
    let io = |error| EngineError::io(path, "read", error);
    let length = file.metadata().map_err(io)?.len();
    let mut prefix = [0u8; 8];
    if length < 8 {
        return Err(EngineError::damaged(
            path,
            "header length",
            "8 bytes",
            format!("a file of {length}"),
        ));
    }
    file.read_exact(&mut prefix).map_err(io)?;
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > MAX_HEADER_BYTES.min(length - 8) {
        let expected = format!("at most {}", MAX_HEADER_BYTES.min(length - 8));
        return Err(EngineError::damaged(
            path,
            "header length",
            expected,
            header_bytes.to_string(),
        ));
    }
    let mut header = vec![0u8; header_bytes as usize];
    file.read_exact(&mut header).map_err(io)?;
    let header: BTreeMap<String, Json> = serde_json::from_slice(&header).map_err(|error| {
        EngineError::damaged(path, "header", "a JSON object", error.to_string())
    })?;
    let data_start = 8 + header_bytes;
    let entries = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__" && wanted(name));
    entries
        .map(|(name, entry)| {
            place(path, &name, &entry, data_start, length).map(|place| (name, place))
        })
        .collect()
}

fn place(
    path: &Path,
    name: &str,
    entry: &Json,
    data_start: u64,
    length: u64,
) -> Result<TensorPlace, EngineError> {
    let damaged = |expected: String, found: &Json| {
        EngineError::damaged(path, name, expected, found.to_string())
    };
    let dtype = entry["dtype"].as_str().unwrap_or_default();
    let element = ElementType::from_safetensors(dtype).ok_or_else(|| {
        EngineError::unfit(
            path,
            name,
            "F32, F16 or BF16",
            entry["dtype"].to_string(),
            "take this model in one of those types, or quantised as GGUF",
        )
    })?;
    let numbers = |json: &Json| {
        json.as_array()?
            .iter()
            .map(Json::as_u64)
            .collect::<Option<Vec<u64>>>()
    };
    let mut sizes = numbers(&entry["shape"])
        .filter(|sizes| (1..=MAX_DIMENSIONS).contains(&sizes.len()))
        .ok_or_else(|| {
            damaged(
                format!("a shape of 1 to {MAX_DIMENSIONS} sizes"),
                &entry["shape"],
            )
        })?;
    sizes.reverse();
    let bytes = element
        .byte_size(&sizes)
        .ok_or_else(|| damaged("a size in bounds".into(), &entry["shape"]))?;
    let offsets = numbers(&entry["data_offsets"]).unwrap_or_default();
    let fits = |begin: u64, end: u64| {
        begin <= end
            && end - begin == bytes
            && data_start.checked_add(end).is_some_and(|end| end <= length)
    };
    match offsets[..] {
        [begin, end] if fits(begin, end) => {
            let shape = sizes.into_iter().rev().map(|size| size as usize).collect();
            Ok(TensorPlace {
                element,
                shape,
                offset: data_start + begin,
                bytes,
            })
        }
        _ => Err(damaged(
            format!(
                "two offsets {bytes} bytes apart within {} bytes of data",
                length - data_start
            ),
            &entry["data_offsets"],
        )),
    }
}
