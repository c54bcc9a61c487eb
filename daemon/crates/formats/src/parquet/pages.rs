//! How much a file's pages say that they unpack to, before any is.
//!
//! The library makes room for a page by what its header says, whatever the file's index says of the column. So the headers are
//! read first, and alone: a header (Thrift's compact protocol, `PageHeader` in parquet.thrift) tells its page's sizes, and so
//! where the next one is.

use ::parquet::file::metadata::ParquetMetaData;

/// The most that structures are nested in a header; the format's own have three levels.
const MAX_DEPTH: usize = 8;

/// Adds up what all pages unpack to, in bytes.
///
/// Of a column whose headers make no sense from some page on, the pages before it are counted: the library reads no further.
pub(super) fn unpacked_bytes(file: &[u8], metadata: &ParquetMetaData) -> u64 {
    let columns = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let mut sum = 0u64;
    for column in columns {
        let (start, length) = column.byte_range();
        let chunk = usize::try_from(start).ok().and_then(|start| {
            let end = start.saturating_add(usize::try_from(length).ok()?);
            file.get(start..end.min(file.len()))
        });
        let mut rest = Header(chunk.unwrap_or_default());
        while let Some(page) = rest.sizes() {
            sum = sum.saturating_add(page.unpacked);
            rest = match usize::try_from(page.packed) {
                Ok(packed) if packed < rest.0.len() => Header(&rest.0[packed..]),
                _ => break,
            };
        }
    }
    sum
}

/// What a page takes, in bytes.
#[derive(Debug, PartialEq)]
struct Sizes {
    unpacked: u64,
    packed: u64,
}

/// Bytes that start with a header; what is read goes.
struct Header<'bytes>(&'bytes [u8]);

/// Types of fields in the compact protocol.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const STRUCT: u8 = 12;
}

impl<'bytes> Header<'bytes> {
    /// Reads the header that starts here.
    fn sizes(&mut self) -> Option<Sizes> {
        let (mut unpacked, mut packed) = (None, None);
        let mut id = 0i64;
        while let Some((delta, kind)) = self.field()? {
            id = match delta {
                0 => self.signed()?,
                delta => id + i64::from(delta),
            };
            match (id, kind) {
                (2, kind::I32) => unpacked = Some(self.signed()?),
                (3, kind::I32) => packed = Some(self.signed()?),
                (_, kind) => self.skip(kind, MAX_DEPTH)?,
            }
        }
        Some(Sizes {
            unpacked: u64::try_from(unpacked?).ok()?,
            packed: u64::try_from(packed?).ok()?,
        })
    }

    fn take(&mut self, count: usize) -> Option<&'bytes [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Reads a field's distance from the one before and its type; nothing at a structure's end.
    fn field(&mut self) -> Option<Option<(u8, u8)>> {
        Some(match self.byte()? {
            0 => None,
            byte => Some((byte >> 4, byte & 0x0F)),
        })
    }

    /// Reads a number of seven bits a byte.
    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Reads a number with its sign in the last bit.
    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            kind::TRUE | kind::FALSE => Some(()),
            kind::BYTE => self.take(1).map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.unsigned().map(drop),
            kind::DOUBLE => self.take(8).map(drop),
            kind::BINARY => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.take(length).map(drop)
            }
            kind::LIST | kind::SET => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.unsigned()?,
                    count => u64::from(count),
                };
                // Every element has a byte at least: a count beyond the bytes ends at theirs.
                for _ in 0..count {
                    match byte & 0x0F {
                        kind::TRUE | kind::FALSE => self.take(1).map(drop)?,
                        0 => return None,
                        kind => self.skip(kind, depth)?,
                    }
                }
                Some(())
            }
            kind::STRUCT => {
                while let Some((delta, kind)) = self.field()? {
                    if delta == 0 {
                        self.signed()?;
                    }
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use autodidact_domain::{Body, Example};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_all_pages_unpack_to_is_what_the_index_says() {
        let fixture = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
            std::fs::read(format!("{folder}/{name}")).expect("read a fixture")
        };
        let text = |number: usize| Body::Text {
            text: format!("{number} {}", "a".repeat(5000)),
        };
        let examples: Vec<Example> = (0..100).map(|n| Example::human(text(n))).collect();
        let ours = crate::parquet::write(&examples.iter().collect::<Vec<_>>());
        assert!(ours.len() < 100_000);
        let files = [
            (fixture("chat.good.parquet"), 100),
            (fixture("alpaca.good.parquet"), 100),
            (fixture("tagged.good.parquet"), 50),
            (ours, 500_000),
        ];
        for (file, least) in files {
            let reader = SerializedFileReader::new(Bytes::from(file.clone())).expect("open");
            let columns = reader
                .metadata()
                .row_groups()
                .iter()
                .flat_map(|g| g.columns());
            // The index counts headers too.
            let index: i64 = columns.map(|column| column.uncompressed_size()).sum();
            let pages = unpacked_bytes(&file, reader.metadata());
            assert!(
                (least..=index as u64).contains(&pages),
                "{pages} of {index}"
            );
        }
    }

    #[test]
    fn headers_that_make_no_sense_end() {
        let sizes = |bytes: &[u8]| Header(bytes).sizes();
        // Field 1 (a type) 0, field 2 100, field 3 7, field 5 a structure with a list of three flags, and the end.
        let good = [
            0x15, 0, 0x15, 0xC8, 1, 0x15, 14, 0x2C, 0x19, 0x31, 1, 1, 2, 0, 0,
        ];
        let expect = Sizes {
            unpacked: 100,
            packed: 7,
        };
        assert_eq!(sizes(&good), Some(expect));
        for cut in 0..good.len() {
            assert_eq!(sizes(&good[..cut]), None, "{cut}");
        }
        assert_eq!(
            sizes(&[0x15, 0, 0x15, 1, 0x15, 14, 0]),
            None,
            "less than nothing"
        );
        assert_eq!(sizes(&[0x5C; 64]), None, "nested too deep");
        assert_eq!(sizes(&[0x19, 0xF5, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), None);
    }
}
