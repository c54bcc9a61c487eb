//! Reads a GGUF header with every length checked against the file before anything is allocated.
//!
//! Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::dequantize::ElementType;
use crate::EngineError;

/// The header of the biggest vocabularies stays below 32 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
const MAX_FIELDS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_ITEMS: u64 = 1 << 22;
const MAX_KEY_BYTES: u64 = 1 << 16;
const MAX_DIMENSIONS: u32 = 4;
/// Where a file says nothing, data is aligned to this many bytes.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value, its integers and lists widened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

impl Value {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Where a tensor lies and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct TensorPlace {
    pub(crate) element: ElementType,
    /// Outermost dimension first: a matrix is `[out, in]`.
    pub(crate) shape: Vec<usize>,
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Everything before the tensors' data.
#[derive(Clone, Debug)]
pub(crate) struct GgufHeader {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, TensorPlace>,
}

impl GgufHeader {
    /// Reads and checks the header of `file`; `path` is for errors.
    pub(crate) fn read(path: &Path, file: &File) -> Result<Self, EngineError> {
        let length = file
            .metadata()
            .map_err(|error| EngineError::io(path, "read the size of", error))?
            .len();
        Self::read_from(path, BufReader::with_capacity(1 << 20, file), length)
    }

    /// Reads and checks the header of something of a length; `path` is for errors.
    pub(crate) fn read_from(
        path: &Path,
        input: impl Read,
        length: u64,
    ) -> Result<Self, EngineError> {
        let mut reader = HeaderReader {
            path,
            input,
            position: 0,
            length,
        };
        let magic = reader.bytes::<4>("magic")?;
        if &magic != b"GGUF" {
            return Err(EngineError::unsupported(
                path,
                "magic",
                "\"GGUF\"",
                format!("{:?}", magic.escape_ascii().to_string()),
            ));
        }
        let version = reader.u32("version")?;
        if !matches!(version, 2 | 3) {
            return Err(EngineError::unsupported(
                path,
                "version",
                "2 or 3, little-endian",
                version.to_string(),
            ));
        }
        let tensor_count = reader.count("tensor count", MAX_TENSORS)?;
        let field_count = reader.count("metadata count", MAX_FIELDS)?;
        let mut metadata = BTreeMap::new();
        for index in 0..field_count {
            let key = reader.text(&format!("metadata key {index}"), MAX_KEY_BYTES)?;
            let kind = reader.u32(&key)?;
            let value = reader.value(&key, kind)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(EngineError::damaged(path, key, "one value", "two"));
            }
        }
        let mut places = Vec::new();
        for index in 0..tensor_count {
            places.push(reader.tensor(index)?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(value) => value
                .as_u64()
                .filter(|a| a.is_power_of_two() && *a <= 1 << 20)
                .ok_or_else(|| {
                    EngineError::damaged(
                        path,
                        "general.alignment",
                        "a power of two up to 1 MiB",
                        format!("{value:?}"),
                    )
                })?,
        };
        let data_start = reader.position.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, mut place) in places {
            place.offset = place.offset.saturating_add(data_start);
            if place.offset.saturating_add(place.bytes) > length {
                let expected = format!("{} bytes at offset {}", place.bytes, place.offset);
                return Err(EngineError::damaged(
                    path,
                    name,
                    expected,
                    format!("a file of {length} bytes"),
                ));
            }
            if tensors.insert(name.clone(), place).is_some() {
                return Err(EngineError::damaged(
                    path,
                    name,
                    "one tensor of this name",
                    "two",
                ));
            }
        }
        Ok(Self { metadata, tensors })
    }
}

/// A metadata field as it is stored.
pub(crate) struct StoredField {
    pub(crate) key: String,
    /// GGUF's code of the value's type.
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Reads the metadata of a GGUF as it is stored, in its order, to be written again.
pub(crate) fn stored_fields(path: &Path, file: &File) -> Result<Vec<StoredField>, EngineError> {
    let io = |error| EngineError::io(path, "read", error);
    let mut from_start = file;
    from_start.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut reader = HeaderReader {
        path,
        input: Kept {
            input: BufReader::with_capacity(1 << 20, file),
            kept: Vec::new(),
        },
        position: 0,
        length: file.metadata().map_err(io)?.len(),
    };
    // Magic, version and the count of tensors.
    reader.bytes::<16>("header")?;
    let count = reader.count("metadata count", MAX_FIELDS)?;
    let mut fields = Vec::new();
    for index in 0..count {
        let key = reader.text(&format!("metadata key {index}"), MAX_KEY_BYTES)?;
        let kind = reader.u32(&key)?;
        reader.input.kept.clear();
        reader.value(&key, kind)?;
        let bytes = std::mem::take(&mut reader.input.kept);
        fields.push(StoredField { key, kind, bytes });
    }
    Ok(fields)
}

/// Keeps what is read.
struct Kept<R> {
    input: R,
    kept: Vec<u8>,
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.kept.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// Reads forward, never past the file's end, and counts.
struct HeaderReader<'a, R> {
    path: &'a Path,
    input: R,
    position: u64,
    length: u64,
}

impl<R: Read> HeaderReader<'_, R> {
    fn take(&mut self, part: &str, bytes: u64) -> Result<(), EngineError> {
        let end = self.position.saturating_add(bytes);
        let limit = self.length.min(MAX_HEADER_BYTES);
        if end > limit {
            let expected = format!("{bytes} bytes at offset {}", self.position);
            return Err(EngineError::damaged(
                self.path,
                part,
                expected,
                format!("{} left", limit - self.position),
            ));
        }
        self.position = end;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, part: &str) -> Result<[u8; N], EngineError> {
        self.take(part, N as u64)?;
        let mut bytes = [0u8; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| EngineError::io(self.path, "read", error))?;
        Ok(bytes)
    }

    fn u32(&mut self, part: &str) -> Result<u32, EngineError> {
        self.bytes(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: &str) -> Result<u64, EngineError> {
        self.bytes(part).map(u64::from_le_bytes)
    }

    fn count(&mut self, part: &str, limit: u64) -> Result<u64, EngineError> {
        let count = self.u64(part)?;
        if count > limit {
            return Err(EngineError::damaged(
                self.path,
                part,
                format!("at most {limit}"),
                count.to_string(),
            ));
        }
        Ok(count)
    }

    fn text(&mut self, part: &str, limit: u64) -> Result<String, EngineError> {
        let length = self.count(part, limit)?;
        self.take(part, length)?;
        let mut bytes = vec![0u8; length as usize];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| EngineError::io(self.path, "read", error))?;
        String::from_utf8(bytes).map_err(|error| {
            EngineError::damaged(
                self.path,
                part,
                "UTF-8 text",
                error.into_bytes().escape_ascii().to_string(),
            )
        })
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, EngineError> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.bytes::<1>(key)?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes(key)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes(key)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes(key)?))),
            4 => Value::Unsigned(u64::from(self.u32(key)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes(key)?))),
            6 => Value::F32(f32::from_le_bytes(self.bytes(key)?)),
            7 => Value::Bool(self.bytes::<1>(key)?[0] != 0),
            8 => Value::Text(self.text(key, MAX_HEADER_BYTES)?),
            9 => self.list(key)?,
            10 => Value::Unsigned(self.u64(key)?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes(key)?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes(key)?)),
            other => {
                return Err(EngineError::damaged(
                    self.path,
                    key,
                    "a value type from 0 to 12",
                    other.to_string(),
                ));
            }
        })
    }

    fn list(&mut self, key: &str) -> Result<Value, EngineError> {
        let kind = self.u32(key)?;
        let count = self.count(key, MAX_ITEMS)?;
        if kind == 9 {
            return Err(EngineError::unsupported(
                self.path,
                key,
                "a flat list",
                "a list of lists",
            ));
        }
        // An item takes at least one byte, a text at least eight: a count that the file cannot hold ends here.
        let least = if kind == 8 { 8 } else { 1 };
        if count * least > self.length - self.position {
            let found = format!("{count} in {} bytes", self.length - self.position);
            return Err(EngineError::damaged(
                self.path,
                key,
                "as many items as are stored",
                found,
            ));
        }
        if kind == 8 {
            let texts = (0..count)
                .map(|_| self.text(key, MAX_HEADER_BYTES))
                .collect::<Result<_, _>>()?;
            return Ok(Value::Texts(texts));
        }
        let numbers = (0..count).map(|_| {
            Ok(match self.value(key, kind)? {
                Value::Bool(flag) => f64::from(u8::from(flag)),
                Value::Unsigned(number) => number as f64,
                Value::Signed(number) => number as f64,
                Value::F32(number) => f64::from(number),
                Value::F64(number) => number,
                Value::Text(_) | Value::Texts(_) | Value::Numbers(_) => f64::NAN,
            })
        });
        Ok(Value::Numbers(numbers.collect::<Result<_, EngineError>>()?))
    }

    /// Reads a tensor's entry; its offset still counts from the start of the data.
    fn tensor(&mut self, index: u64) -> Result<(String, TensorPlace), EngineError> {
        let name = self.text(&format!("tensor name {index}"), MAX_KEY_BYTES)?;
        let dimensions = self.u32(&name)?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            let expected = format!("1 to {MAX_DIMENSIONS} dimensions");
            return Err(EngineError::damaged(
                self.path,
                name,
                expected,
                dimensions.to_string(),
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64(&name)?);
        }
        let code = self.u32(&name)?;
        let element = ElementType::from_gguf(code).ok_or_else(|| {
            EngineError::unfit(
                self.path,
                &name,
                ElementType::SUPPORTED,
                ElementType::name_of_unread(code),
                "take this model in one of those quantisations",
            )
        })?;
        let offset = self.u64(&name)?;
        let (path, sizes) = (self.path, format!("{shape:?}"));
        let bytes = element.byte_size(&shape).ok_or_else(|| {
            EngineError::damaged(
                path,
                &name,
                format!("a size in whole blocks of {}", element.block_elements()),
                sizes,
            )
        })?;
        shape.reverse();
        let shape = shape.into_iter().map(|size| size as usize).collect();
        Ok((
            name,
            TensorPlace {
                element,
                shape,
                offset,
                bytes,
            },
        ))
    }
}
