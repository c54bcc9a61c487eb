//! A look at a log before sled touches it: sled takes a segment with an unreadable header for a free one and blanks
//! it, so what it would destroy has to be found first.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::StoreError;

/// sled's default `segment_size` (`config.rs`), which the store keeps.
const SEGMENT_BYTES: u64 = 512 << 10;
/// `SEG_HEADER_LEN` in sled's `pagecache/constants.rs`: a CRC-32, then the log sequence number and the highest
/// stable one, 8 bytes each.
const HEADER_BYTES: usize = 20;

/// Checks the header of every segment of a log file; a blank one is free and good. Holds sled's own lock meanwhile:
/// a log that another process writes to is none of ours to judge.
pub(crate) fn check_log(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::io(format!("read {}", path.display()), source);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked {
                directory: path.parent().unwrap_or(path).to_path_buf(),
            });
        }
        // A file system without locks.
        Err(TryLockError::Error(source)) if source.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let length = file.metadata().map_err(failed)?.len();
    for base in (0..length).step_by(SEGMENT_BYTES as usize) {
        if length - base < HEADER_BYTES as u64 {
            break;
        }
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(base))
            .and_then(|_| file.read_exact(&mut header))
            .map_err(failed)?;
        if header != [0; HEADER_BYTES] && !is_sound(&header) {
            return Err(StoreError::Corrupt(format!(
                "{} is unreadable at byte {base}",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_sound(header: &[u8; HEADER_BYTES]) -> bool {
    let (stored, covered) = header.split_at(4);
    (crc32(covered) ^ u32::MAX).to_le_bytes() == stored
}

/// CRC-32 as in IEEE 802.3, bit by bit: a header is 16 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    crc ^ u32::MAX
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_log_of_sled_is_sound_until_a_header_is_touched() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        for i in 0..2000u32 {
            db.insert(i.to_be_bytes(), vec![7; 1000]).expect("insert");
        }
        let log = directory.path().join("db");
        assert!(
            matches!(check_log(&log), Err(StoreError::Locked { .. })),
            "in use"
        );
        drop(db);
        // sled's threads let go of the file a moment later.
        while let Err(error) = check_log(&log) {
            assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        }
        let mut bytes = fs::read(&log).expect("read");
        assert!(bytes.len() as u64 > SEGMENT_BYTES);
        bytes[SEGMENT_BYTES as usize + 5] ^= 1;
        fs::write(&log, &bytes).expect("write");
        assert!(matches!(check_log(&log), Err(StoreError::Corrupt(_))));
    }
}
