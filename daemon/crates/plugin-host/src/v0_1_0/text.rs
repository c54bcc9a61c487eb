//! The interface `text`: strings for languages whose own are UTF-16.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use super::VERSION;
use crate::sandbox::State;

/// Puts the interface where components find it.
///
/// Not by the bindings: they would copy what they are given first, and count it against what a call may give back.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(&format!("autodidact:plugin/text@{VERSION}"))?;
    interface.func_wrap(
        "utf16",
        |store: StoreContextMut<'_, State>,
         (text, ends, first, every): (WasmList<u8>, WasmList<u32>, u32, u32)| {
            let (text, ends) = (text.as_le_slice(&store), ends.as_le_slice(&store));
            let read = utf16(text, ends, first as usize, every as usize);
            read.map(|read| (read,)).map_err(|wrong| {
                wasmtime::Error::msg(format!("text.utf16 cannot read what it was given: {wrong}"))
            })
        },
    )
}

/// Reads every so many texts from one on: them all, and where each ends in UTF-16 code units, as little-endian numbers of 32 bits. The ends
/// in bytes are little-endian too, whatever the machine's own order.
fn utf16(
    text: &[u8],
    ends: &[u32],
    first: usize,
    every: usize,
) -> Result<(String, Vec<u8>), String> {
    if every == 0 {
        return Err("every text of none".to_string());
    }
    let mut read = String::new();
    let mut ends_read = Vec::with_capacity(4 * (ends.len() / every + 1));
    let (mut read_to, mut units) = (0, 0u32);
    for at in (first..ends.len()).step_by(every) {
        let end = u32::from_le(ends[at]) as usize;
        let begin = match at {
            0 => 0,
            _ => u32::from_le(ends[at - 1]) as usize,
        };
        // Texts that overlapped could come to far more than there is.
        let bytes = text.get(begin..end).filter(|_| begin >= read_to);
        let bytes = bytes.ok_or_else(|| {
            format!(
                "text {at} goes from byte {begin} to {end}, where {read_to} of {} were read",
                text.len()
            )
        })?;
        read_to = end;
        let part = std::str::from_utf8(bytes).map_err(|error| format!("text {at}: {error}"))?;
        let length: usize = match part.is_ascii() {
            true => part.len(),
            false => part.chars().map(char::len_utf16).sum(),
        };
        let length = u32::try_from(length).ok();
        units = length
            .and_then(|length| units.checked_add(length))
            .ok_or("it comes to 4 GiB")?;
        read.push_str(part);
        ends_read.extend_from_slice(&units.to_le_bytes());
    }
    Ok((read, ends_read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(ends: &[u8]) -> Vec<u32> {
        let ends = ends.chunks_exact(4);
        ends.map(|end| u32::from_le_bytes(end.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn ends_are_counted_in_units() {
        let text = "aé图𝄞!";
        let byte_ends = [1, 3, 3, 6, 10, 11].map(u32::to_le);
        let (read, ends) = utf16(text.as_bytes(), &byte_ends, 0, 1).unwrap();
        assert_eq!(
            (read.as_str(), units(&ends)),
            (text, vec![1, 2, 2, 3, 5, 6])
        );
        let (read, ends) = utf16(text.as_bytes(), &byte_ends, 1, 3).unwrap();
        assert_eq!((read.as_str(), units(&ends)), ("é𝄞", vec![1, 3]));
        let nothing = Ok((String::new(), Vec::new()));
        assert_eq!(utf16(b"", &[], 0, 7), nothing);
        assert_eq!(utf16(text.as_bytes(), &byte_ends, 6, 7), nothing);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = |text: &[u8], ends: &[u32]| {
            let ends: Vec<u32> = ends.iter().map(|end| end.to_le()).collect();
            utf16(text, &ends, 0, 1).unwrap_err()
        };
        assert!(told(b"a\xff", &[2]).starts_with("text 0: invalid utf-8"));
        assert!(told("图".as_bytes(), &[1]).starts_with("text 0: incomplete utf-8"));
        assert_eq!(
            told(b"abc", &[2, 1]),
            "text 1 goes from byte 2 to 1, where 2 of 3 were read"
        );
        assert!(told(b"abc", &[u32::MAX]).contains("from byte 0 to 4294967295"));
        let again = [0, 3, 0, 3].map(u32::to_le);
        let again = utf16(b"abc", &again, 1, 2).unwrap_err();
        assert!(
            again.contains("text 3 goes from byte 0 to 3, where 3 of 3 were read"),
            "{again}"
        );
        assert!(utf16(b"abc", &[3], 0, 0).is_err());
    }
}
