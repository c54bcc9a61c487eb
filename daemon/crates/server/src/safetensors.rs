//! Writes tensors as a safetensors file (<https://github.com/huggingface/safetensors>, "Format"): eight bytes of header
//! length, a JSON header, then the elements.

use std::collections::BTreeMap;

use autodidact_domain::NamedTensor;

/// Writes f32 tensors in their order. The header is padded so that the elements are aligned to eight bytes.
pub(crate) fn to_bytes(tensors: &[NamedTensor]) -> Vec<u8> {
    let mut entries: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
    entries.insert("__metadata__", serde_json::json!({ "format": "pt" }));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.data.len() * size_of::<f32>();
        let entry = serde_json::json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(&tensor.name, entry);
    }
    let mut header =
        serde_json::to_vec(&entries).expect("text keys and plain values always serialise");
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    for tensor in tensors {
        bytes.extend(tensor.data.iter().flat_map(|element| element.to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stand_where_the_header_says() {
        let tensors = [
            NamedTensor {
                name: "b".into(),
                shape: vec![1, 2],
                data: vec![1.0, 2.0],
            },
            NamedTensor {
                name: "a".into(),
                shape: vec![1],
                data: vec![-3.5],
            },
        ];
        let bytes = to_bytes(&tensors);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(length % 8, 0);
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        for tensor in &tensors {
            let entry = &header[&tensor.name];
            assert_eq!(entry["shape"], serde_json::json!(tensor.shape));
            let offsets: Vec<usize> =
                serde_json::from_value(entry["data_offsets"].clone()).unwrap();
            let data = &bytes[8 + length..][offsets[0]..offsets[1]];
            let expected: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(data, expected);
        }
        assert_eq!(bytes.len(), 8 + length + 12);
    }
}
