//! Records of any length, split into parts that sled keeps inside its log.
//!
//! A record has a head, at `[HEAD] ++ key`, and parts, at `[PART] ++ key ++ generation ++ index`. A short record
//! lies in its head. The head of a long one names the generation of parts in force; a new value is written as the
//! other generation before the head changes over, so a record is replaced whole or not at all, however long it is.
//! Parts that no head names are leftovers: nobody reads them, and the next write or removal of the key clears them.

use sled::IVec;

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::table::{Table, number};

/// The longest value given to sled.
///
/// sled splits a leaf above 16 items and merges one below 4 into its left neighbour, so a leaf may hold 16 + 3 items
/// for a while and, when several neighbours empty at once, more; a page above 128 KiB (a quarter of its 512 KiB
/// segment) becomes a blob file. At 4 KiB, 31 items still fit. At 7 KiB, deleting leaves blob files behind (measured).
pub(crate) const PART_BYTES: usize = 4096;

/// The first byte of heads' keys. Other keys of a table start with [`FIRST_OTHER`] or more.
const HEAD: u8 = 0;
/// The first byte of parts' keys.
const PART: u8 = 1;
/// The least first byte that a table may use for keys that are no records.
pub(crate) const FIRST_OTHER: u8 = 2;

/// A record with its key.
pub(crate) type Record = (Vec<u8>, Vec<u8>);

const INLINE: u8 = 0;
const SPLIT: u8 = 1;
/// Kind, generation and length.
const SPLIT_HEAD_BYTES: usize = 10;

/// Writes a record under a key that holds none.
pub(crate) fn put_new(
    writer: &mut BatchWriter<'_>,
    key: &[u8],
    bytes: &[u8],
) -> Result<(), StoreError> {
    write(writer, key, 0, bytes)
}

/// Writes a record, in place of the one that stands there.
pub(crate) fn put(
    writer: &mut BatchWriter<'_>,
    key: &[u8],
    bytes: &[u8],
) -> Result<(), StoreError> {
    let old = writer
        .table()
        .get(&head_key(key))?
        .and_then(|head| generation(&head));
    let new = old.map_or(0, |generation| generation ^ 1);
    // What an unfinished write left in the new generation beyond what will be written over.
    let count = if bytes.len() < PART_BYTES {
        0
    } else {
        bytes.len().div_ceil(PART_BYTES)
    };
    for part in writer
        .table()
        .range(part_key(key, new, count as u32)..=part_key(key, new, u32::MAX))
    {
        writer.remove(part?.0)?;
    }
    write(writer, key, new, bytes)?;
    for part in writer.table().scan(&part_prefix(key, new ^ 1)) {
        writer.remove(part?.0)?;
    }
    Ok(())
}

/// Removes a record and whatever parts lie under its key.
pub(crate) fn remove(writer: &mut BatchWriter<'_>, key: &[u8]) -> Result<(), StoreError> {
    writer.remove(head_key(key))?;
    for generation in [0, 1] {
        for part in writer.table().scan(&part_prefix(key, generation)) {
            writer.remove(part?.0)?;
        }
    }
    Ok(())
}

/// Tells whether a whole record stands under a key.
pub(crate) fn contains(table: &Table, key: &[u8]) -> Result<bool, StoreError> {
    Ok(table.get(&head_key(key))?.is_some())
}

/// Reads a record.
pub(crate) fn get(table: &Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match table.get(&head_key(key))? {
        Some(head) => resolve(table, key, &head).map(Some),
        None => Ok(None),
    }
}

/// Reads every record whose key starts with the prefix, in order.
pub(crate) fn scan(
    table: &Table,
    prefix: &[u8],
) -> impl DoubleEndedIterator<Item = Result<Record, StoreError>> + use<> {
    let table = table.clone();
    table
        .scan(&head_key(prefix))
        .map(move |pair| read_pair(&table, pair?))
}

/// Reads every record from a key on to the last key with the prefix.
pub(crate) fn scan_from(
    table: &Table,
    prefix: &[u8],
    from: &[u8],
) -> impl Iterator<Item = Result<Record, StoreError>> + use<> {
    let (table, prefix) = (table.clone(), head_key(prefix));
    table
        .range(head_key(from)..)
        .take_while(move |pair| {
            pair.as_ref()
                .map_or(true, |(key, _)| key.starts_with(&prefix))
        })
        .map(move |pair| read_pair(&table, pair?))
}

/// Removes every record from a key on to the last key with the prefix, leftovers among them.
pub(crate) fn remove_from(
    writer: &mut BatchWriter<'_>,
    prefix: &[u8],
    from: &[u8],
) -> Result<(), StoreError> {
    for kind in [HEAD, PART] {
        let (start, prefix) = ([&[kind], from].concat(), [&[kind], prefix].concat());
        for pair in writer.table().range(start..) {
            let (key, _) = pair?;
            if !key.starts_with(&prefix) {
                break;
            }
            writer.remove(key)?;
        }
    }
    Ok(())
}

fn write(
    writer: &mut BatchWriter<'_>,
    key: &[u8],
    generation: u8,
    bytes: &[u8],
) -> Result<(), StoreError> {
    if bytes.len() < PART_BYTES {
        let mut head = Vec::with_capacity(bytes.len() + 1);
        head.push(INLINE);
        head.extend_from_slice(bytes);
        return writer.insert(head_key(key), &head);
    }
    for (index, part) in bytes.chunks(PART_BYTES).enumerate() {
        let index = u32::try_from(index)
            .map_err(|_| StoreError::Database("a record is too long".to_string()))?;
        writer.insert(part_key(key, generation, index), part)?;
    }
    let mut head = [0; SPLIT_HEAD_BYTES];
    (head[0], head[1]) = (SPLIT, generation);
    head[2..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    writer.insert(head_key(key), &head)
}

fn read_pair(table: &Table, (key, head): (IVec, IVec)) -> Result<Record, StoreError> {
    let key = key[1..].to_vec();
    let bytes = resolve(table, &key, &head)?;
    Ok((key, bytes))
}

/// Reads what a head names. Allocates only as much as there are parts, whatever length the head claims.
fn resolve(table: &Table, key: &[u8], head: &[u8]) -> Result<Vec<u8>, StoreError> {
    if let [INLINE, bytes @ ..] = head {
        return Ok(bytes.to_vec());
    }
    let generation = generation(head)
        .ok_or_else(|| StoreError::Corrupt("a record's head is malformed".to_string()))?;
    let length = number(&head[2..])?;
    let mut bytes = Vec::new();
    for part in table.scan(&part_prefix(key, generation)) {
        if bytes.len() as u64 >= length {
            break;
        }
        bytes.extend_from_slice(&part?.1);
    }
    if bytes.len() as u64 != length {
        return Err(StoreError::Corrupt(format!(
            "a record has {} of {length} bytes",
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn generation(head: &[u8]) -> Option<u8> {
    (head.len() == SPLIT_HEAD_BYTES && head[0] == SPLIT).then(|| head[1])
}

fn head_key(key: &[u8]) -> Vec<u8> {
    [&[HEAD], key].concat()
}

fn part_prefix(key: &[u8], generation: u8) -> Vec<u8> {
    [&[PART], key, &[generation]].concat()
}

fn part_key(key: &[u8], generation: u8, index: u32) -> Vec<u8> {
    [
        part_prefix(key, generation).as_slice(),
        &index.to_be_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (tempfile::TempDir, Table) {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        (directory, Table(db.open_tree("t").expect("a tree")))
    }

    fn store(table: &Table, key: &[u8], bytes: &[u8]) {
        let mut writer = BatchWriter::new(table);
        put(&mut writer, key, bytes).expect("put");
        writer.finish().expect("finish");
    }

    #[test]
    fn records_of_every_length_go_round_and_leave_nothing() {
        let (_directory, table) = table();
        for length in [0, 1, 4095, 4096, 4097, 12_288, 3 << 20, 5000, 10, 8192] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            store(&table, b"k", &bytes);
            assert_eq!(get(&table, b"k").expect("get"), Some(bytes), "{length}");
            let parts = table.scan(&[PART]).count();
            assert_eq!(
                parts,
                if length < PART_BYTES {
                    0
                } else {
                    length.div_ceil(PART_BYTES)
                },
                "{length}"
            );
            assert!(
                table
                    .scan(&[])
                    .all(|pair| pair.expect("pair").1.len() <= PART_BYTES)
            );
        }
        let mut writer = BatchWriter::new(&table);
        remove(&mut writer, b"k").expect("remove");
        writer.finish().expect("finish");
        assert!(table.is_empty());
    }

    #[test]
    fn a_replacement_cut_off_leaves_the_old_record() {
        let (_directory, table) = table();
        let (old, long) = (vec![1; 10_000], vec![2; 50_000]);
        store(&table, b"k", &old);
        // The parts of the new value, without the head that would put them in force.
        for (index, part) in long.chunks(PART_BYTES).enumerate() {
            table
                .insert(&part_key(b"k", 1, index as u32), part)
                .expect("insert");
        }
        assert_eq!(get(&table, b"k").expect("get"), Some(old));
        store(&table, b"k", &[3; 9000]);
        assert_eq!(get(&table, b"k").expect("get"), Some(vec![3; 9000]));
        assert_eq!(table.scan(&[PART]).count(), 3, "the leftovers are cleared");
    }

    #[test]
    fn a_missing_part_is_found() {
        let (_directory, table) = table();
        store(&table, b"k", &[7; 9000]);
        table.0.remove(part_key(b"k", 0, 1)).expect("remove");
        assert!(matches!(get(&table, b"k"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn scans_keep_to_their_prefix() {
        let (_directory, table) = table();
        for key in [b"a1", b"a2", b"a3", b"b1"] {
            store(&table, key, &[key[1]; 5000]);
        }
        let keys = |found: Vec<Result<Record, StoreError>>| -> Vec<Vec<u8>> {
            found
                .into_iter()
                .map(|pair| pair.expect("pair").0)
                .collect()
        };
        assert_eq!(keys(scan(&table, b"a").collect()), [b"a1", b"a2", b"a3"]);
        assert_eq!(
            keys(scan_from(&table, b"a", b"a2").collect()),
            [b"a2", b"a3"]
        );
        let mut writer = BatchWriter::new(&table);
        remove_from(&mut writer, b"a", b"a2").expect("remove");
        writer.finish().expect("finish");
        assert_eq!(keys(scan(&table, b"").collect()), [b"a1", b"b1"]);
        assert_eq!(table.scan(&[PART]).count(), 4);
    }
}
