//! Hugging Face's weights: one safetensors file, or shards with an index.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::output::Output;
use super::weights::{Merge, Norms};
use crate::EngineError;

/// The most bytes of a shard, as transformers' `max_shard_size` has them.
const SHARD_BYTES: u64 = 5_000_000_000;
const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The data begins at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// A tensor's name and shape.
type Tensor = (String, Vec<usize>);

/// Writes every tensor in f32.
pub(super) fn write(merge: &Merge<'_>, output: &mut Output<'_>) -> Result<(), EngineError> {
    write_sharded(merge, output, SHARD_BYTES)
}

/// As [`write`], in shards of at most so many bytes where one tensor does not take more.
pub(super) fn write_sharded(
    merge: &Merge<'_>,
    output: &mut Output<'_>,
    shard_bytes: u64,
) -> Result<(), EngineError> {
    let tensors = merge.tensors();
    output.expect(tensors.iter().map(bytes_of).sum());
    let norms = match merge.config.folder_has_norms_less_one() {
        true => Norms::LessOne,
        false => Norms::Whole,
    };
    let shards = shards(&tensors, shard_bytes);
    let name = |number: usize| match shards.len() {
        1 => ONE_FILE.to_string(),
        count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    };
    let mut places: BTreeMap<&str, String> = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        output.begin(&name(number))?;
        output.put(&header(shard))?;
        for (tensor, shape) in *shard {
            places.insert(tensor, name(number));
            merge.read(tensor, shape, norms, &mut |numbers| {
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                output.put(&bytes)
            })?;
        }
        output.end()?;
    }
    if shards.len() > 1 {
        let total: u64 = tensors.iter().map(bytes_of).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": places});
        output.small(INDEX, format!("{index:#}\n").as_bytes())?;
    }
    Ok(())
}

fn bytes_of((_, shape): &Tensor) -> u64 {
    (shape.iter().product::<usize>() * size_of::<f32>()) as u64
}

/// Cuts the list of tensors into shards.
fn shards(tensors: &[Tensor], shard_bytes: u64) -> Vec<&[Tensor]> {
    let (mut shards, mut first, mut bytes) = (Vec::new(), 0, 0u64);
    for (at, tensor) in tensors.iter().enumerate() {
        let size = bytes_of(tensor);
        if at > first && bytes + size > shard_bytes {
            shards.push(&tensors[first..at]);
            (first, bytes) = (at, 0);
        }
        bytes += size;
    }
    shards.push(&tensors[first..]);
    shards
}

fn header(tensors: &[Tensor]) -> Vec<u8> {
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut offset = 0u64;
    for tensor in tensors {
        let end = offset + bytes_of(tensor);
        let entry = json!({"dtype": "F32", "shape": tensor.1, "data_offsets": [offset, end]});
        fields.insert(tensor.0.clone(), entry);
        offset = end;
    }
    let mut text = Json::Object(fields).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_cut_into_shards_that_no_two_overfill() {
        let tensor = |size: usize| (format!("{size}"), vec![size]);
        let check = |sizes: &[usize], expect: &[usize]| {
            let tensors: Vec<Tensor> = sizes.iter().map(|size| tensor(*size)).collect();
            let cut = shards(&tensors, 40);
            let counts: Vec<usize> = cut.iter().map(|shard| shard.len()).collect();
            assert_eq!(counts, expect, "{sizes:?}");
        };
        check(&[1, 2, 7], &[3]);
        check(&[1, 2, 8], &[2, 1]);
        check(&[20, 1, 20], &[1, 1, 1]);
        check(&[5, 5, 5, 5, 1], &[2, 2, 1]);
    }
}
