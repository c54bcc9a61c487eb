//! Reads the small files of a Hugging Face folder, none without a bound, and digests the big ones.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use autodidact_domain::Digest;
use serde_json::Value as Json;

use crate::EngineError;

/// `tokenizer.json` of the biggest vocabularies stays below 40 MiB.
const MAX_JSON_BYTES: u64 = 256 << 20;
const MAX_SHARDS: usize = 4096;
const DIGEST_BUFFER_BYTES: usize = 1 << 20;

/// Names the weights files of a folder: the shards its index lists, or the one file.
pub(crate) fn weights_files(folder: &Path) -> Result<Vec<String>, EngineError> {
    let index_path = folder.join("model.safetensors.index.json");
    let Some(bytes) = read_optional(&index_path)? else {
        return Ok(vec!["model.safetensors".to_string()]);
    };
    let index = parse_json(&index_path, &bytes)?;
    let map = index["weight_map"].as_object();
    let map = map.ok_or_else(|| {
        EngineError::damaged(
            &index_path,
            "weight_map",
            "an object",
            index["weight_map"].to_string(),
        )
    })?;
    let mut names = Vec::new();
    for name in map.values() {
        let plain = name
            .as_str()
            .filter(|name| name.ends_with(".safetensors") && !name.contains(['/', '\\']));
        match plain {
            Some(name) => names.push(name.to_string()),
            None => {
                return Err(EngineError::damaged(
                    &index_path,
                    "weight_map",
                    "names of .safetensors files",
                    name.to_string(),
                ));
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(EngineError::damaged(
            &index_path,
            "weight_map",
            format!("1 to {MAX_SHARDS} files"),
            names.len().to_string(),
        ));
    }
    Ok(names)
}

/// Reads a small file; none where it does not exist.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, EngineError> {
    let io = |error| EngineError::io(path, "read", error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(EngineError::damaged(
            path,
            "size",
            format!("at most {MAX_JSON_BYTES} bytes"),
            "more",
        ));
    }
    Ok(Some(bytes))
}

pub(crate) fn read_json(path: &Path) -> Result<Json, EngineError> {
    let bytes = read_optional(path)?.ok_or_else(|| {
        EngineError::unsupported(path, "file", "a Hugging Face model folder", "none")
    })?;
    parse_json(path, &bytes)
}

pub(crate) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Json, EngineError> {
    serde_json::from_slice(bytes).or_else(|error| {
        serde_json::from_slice(&without_endless_numbers(bytes))
            .map_err(|_| EngineError::damaged(path, "contents", "JSON", error.to_string()))
    })
}

/// Writes null for the numbers without end that Python's writer puts into JSON, such as the limits of Mamba's time steps.
fn without_endless_numbers(json: &[u8]) -> Vec<u8> {
    const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let (mut written, mut at, mut in_text) = (Vec::with_capacity(json.len()), 0, false);
    while at < json.len() {
        let rest = &json[at..];
        let number = NUMBERS.iter().find(|number| rest.starts_with(number));
        if let (false, Some(number)) = (in_text, number) {
            written.extend_from_slice(b"null");
            at += number.len();
            continue;
        }
        // An escaped quotation mark ends no text.
        let count = if in_text && json[at] == b'\\' { 2 } else { 1 };
        in_text ^= json[at] == b'"';
        written.extend_from_slice(&rest[..count.min(rest.len())]);
        at += count;
    }
    written
}

pub(crate) fn digest_file(path: &Path) -> Result<Digest, EngineError> {
    let io = |error| EngineError::io(path, "read", error);
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; DIGEST_BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(io)?;
        if count == 0 {
            return Ok(Digest::from_bytes(*hasher.finalize().as_bytes()));
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_end_are_read_as_null_outside_of_texts() {
        let json = br#"{"limit": [0.5, Infinity, -Infinity], "x": NaN, "text": "a \" Infinity", "n": "NaN"}"#;
        let read = parse_json(Path::new("config.json"), json).expect("it is read");
        let expect = serde_json::json!({"limit": [0.5, null, null], "x": null, "text": "a \" Infinity", "n": "NaN"});
        assert_eq!(read, expect);
        for cut in 0..json.len() {
            assert!(parse_json(Path::new("config.json"), &json[..cut]).is_err());
        }
    }
}
