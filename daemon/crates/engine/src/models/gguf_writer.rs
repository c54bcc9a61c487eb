//! Writes what stands before a GGUF's data: version 3, little-endian.

use super::dequantize::ElementType;
use super::gguf::StoredField;

const VERSION: u32 = 3;
/// Every tensor's data begins at a multiple of this many bytes: what readers assume where a file says nothing.
pub(crate) const ALIGNMENT: u64 = 32;
/// Codes of value types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Metadata to be written, in its order.
#[derive(Default)]
pub(crate) struct Metadata {
    fields: Vec<StoredField>,
}

/// A tensor to be written.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
    pub(crate) element: ElementType,
}

impl Entry {
    /// Tells the bytes of its data, without what fills up to the next tensor's.
    pub(crate) fn bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        (elements / self.element.block_elements() * self.element.block_bytes()) as u64
    }
}

impl Metadata {
    /// Takes fields as another file has them.
    pub(crate) fn of_stored(fields: Vec<StoredField>) -> Self {
        Self { fields }
    }

    /// Adds a field, or puts it in place of the one that has the key.
    fn put(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        let field = StoredField {
            key: key.to_string(),
            kind,
            bytes,
        };
        match self.fields.iter_mut().find(|field| field.key == key) {
            Some(place) => *place = field,
            None => self.fields.push(field),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.fields.retain(|field| field.key != key);
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        put_text(&mut bytes, value);
        self.put(key, TEXT, bytes);
    }

    pub(crate) fn count(&mut self, key: &str, value: usize) {
        // Every count of a model's shape is far below.
        self.put(key, U32, (value as u32).to_le_bytes().to_vec());
    }

    pub(crate) fn number(&mut self, key: &str, value: f32) {
        self.put(key, F32, value.to_le_bytes().to_vec());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.put(key, BOOL, vec![u8::from(value)]);
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        let mut bytes = list(TEXT, values.len());
        values.iter().for_each(|value| put_text(&mut bytes, value));
        self.put(key, LIST, bytes);
    }

    pub(crate) fn integers(&mut self, key: &str, values: &[i32]) {
        let mut bytes = list(I32, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.put(key, LIST, bytes);
    }

    pub(crate) fn numbers(&mut self, key: &str, values: &[f32]) {
        let mut bytes = list(F32, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.put(key, LIST, bytes);
    }

    /// Writes all that comes before the data of the tensors, which follows in their order, each filled up to [`ALIGNMENT`].
    pub(crate) fn header(&self, entries: &[Entry]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend((entries.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for field in &self.fields {
            put_text(&mut out, &field.key);
            out.extend(field.kind.to_le_bytes());
            out.extend(&field.bytes);
        }
        let mut offset = 0u64;
        for entry in entries {
            put_text(&mut out, &entry.name);
            out.extend((entry.shape.len() as u32).to_le_bytes());
            let sizes = entry.shape.iter().rev();
            out.extend(sizes.flat_map(|size| (*size as u64).to_le_bytes()));
            out.extend(entry.element.gguf_code().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += entry.bytes().next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }
}

fn list(kind: u32, count: usize) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend((count as u64).to_le_bytes());
    bytes
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::gguf::{GgufHeader, Value};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut metadata = Metadata::default();
        metadata.text("general.architecture", "llama");
        metadata.count("llama.block_count", 1);
        metadata.count("llama.block_count", 2);
        metadata.number("llama.rope.freq_base", 1e4);
        metadata.flag("tokenizer.ggml.add_bos_token", true);
        metadata.texts("tokenizer.ggml.tokens", &["a".into(), "鲸".into()]);
        metadata.integers("tokenizer.ggml.token_type", &[1, 3]);
        metadata.numbers("tokenizer.ggml.scores", &[-1.0, 0.5]);
        metadata.count("left", 1);
        metadata.remove("left");
        let entry = |name: &str, shape: &[usize], element| Entry {
            name: name.into(),
            shape: shape.to_vec(),
            element,
        };
        let entries = [
            entry("norm", &[5], ElementType::F32),
            entry("matrix", &[3, 64], ElementType::Q4_1),
        ];
        assert_eq!(entries.each_ref().map(Entry::bytes), [20, 120]);
        let mut file = metadata.header(&entries);
        let data = file.len() as u64;
        file.resize(file.len() + 32 + 128, 0);
        let read = GgufHeader::read_from(Path::new("x"), &file[..], file.len() as u64);
        let read = read.expect("a GGUF");
        let of = |key: &str| read.metadata[key].clone();
        assert_eq!(read.metadata.len(), 7);
        assert_eq!(of("llama.block_count"), Value::Unsigned(2));
        assert_eq!(of("llama.rope.freq_base"), Value::F32(1e4));
        assert_eq!(of("tokenizer.ggml.add_bos_token"), Value::Bool(true));
        let texts = ["a", "鲸"].map(String::from).to_vec();
        assert_eq!(of("tokenizer.ggml.tokens"), Value::Texts(texts));
        let kinds = Value::Numbers(vec![1.0, 3.0]);
        assert_eq!(of("tokenizer.ggml.token_type"), kinds);
        let matrix = &read.tensors["matrix"];
        assert_eq!(
            (matrix.offset, &matrix.shape[..]),
            (data + 32, &[3, 64][..])
        );
        assert_eq!(matrix.element, ElementType::Q4_1);
    }
}
