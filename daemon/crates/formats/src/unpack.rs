//! Compressed files, by their first bytes.

use std::borrow::Cow;
use std::io::Read;

use crate::fault::{Fault, Reason};
use crate::reader::MAX_FILE_BYTES;

/// A way to compress a file.
struct Compression {
    /// For people.
    name: &'static str,
    /// The first bytes of every such file.
    magic: &'static [u8],
    unpack: fn(&[u8], usize) -> std::io::Result<Vec<u8>>,
}

/// Every compression that is read: gzip (RFC 1952) and zstd (RFC 8878), of one member or frame or several.
const COMPRESSIONS: [Compression; 2] = [
    Compression {
        name: "gzip",
        magic: &[0x1F, 0x8B],
        unpack: |bytes, limit| read_bounded(flate2::read::MultiGzDecoder::new(bytes), limit),
    },
    Compression {
        name: "zstd",
        magic: &[0x28, 0xB5, 0x2F, 0xFD],
        unpack: |bytes, limit| {
            read_bounded(zstd::stream::read::Decoder::with_buffer(bytes)?, limit)
        },
    },
];

/// Unpacks a file that is compressed, and leaves any other as it is. What does not unpack whole is refused whole: its digest was
/// not checked, so nothing in it is known to be right.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    unpack_bounded(bytes, MAX_FILE_BYTES)
}

fn unpack_bounded(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Fault> {
    let found = COMPRESSIONS.iter().find(|c| bytes.starts_with(c.magic));
    let Some(compression) = found else {
        return Ok(bytes.into());
    };
    let name = compression.name;
    let unpacked = (compression.unpack)(bytes, limit).map_err(|error| {
        let found = format!("{name} data that is cut off or damaged: {error}");
        Fault::new(Reason::BadCompression, "a whole compressed file", found)
    })?;
    if unpacked.len() > limit {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("a file of at most {} MiB when it is unpacked", limit >> 20),
            format!("{name} data of {} bytes that holds more", bytes.len()),
        ));
    }
    Ok(unpacked.into())
}

/// Reads to the end, or to one byte beyond the limit.
fn read_bounded(reader: impl Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).expect("compress");
        writer.finish().expect("compress")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 19).expect("compress")
    }

    #[test]
    fn a_small_file_that_unpacks_to_a_large_one_is_refused_at_the_bound() {
        let zeros = vec![0; 3 << 20];
        for packed in [gzip(&zeros), zstd(&zeros)] {
            assert!(packed.len() < 4000);
            let fault = unpack_bounded(&packed, 2 << 20).expect_err("too large");
            assert_eq!(fault.reason, Reason::TooLarge);
            assert_eq!(
                fault.expected,
                "a file of at most 2 MiB when it is unpacked"
            );
            assert_eq!(unpack_bounded(&packed, 3 << 20).as_deref(), Ok(&zeros[..]));
        }
    }

    #[test]
    fn members_follow_one_another_and_every_cut_is_told() {
        let parts: [&[u8]; 2] = ["写\n".as_bytes(), b"write\n"];
        for pack in [gzip, zstd] {
            let packed = parts.map(pack).concat();
            assert_eq!(unpack(&packed).as_deref(), Ok(&parts.concat()[..]));
            let first = pack(parts[0]).len();
            for cut in 4..packed.len() {
                let read = unpack(&packed[..cut]);
                assert_eq!(read.is_ok(), cut == first, "{cut} of {}", packed.len());
            }
            let mut damaged = packed;
            damaged[first / 2] ^= 0xFF;
            let fault = unpack(&damaged).expect_err("damaged");
            assert_eq!(fault.reason, Reason::BadCompression);
        }
    }
}
