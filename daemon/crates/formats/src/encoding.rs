//! Text encodings: UTF-8, UTF-16 with a byte order mark, and GB18030.

use std::borrow::Cow;

use encoding_rs::{GB18030, UTF_16BE, UTF_16LE};

use crate::fault::{Fault, Reason};

/// Of the two-byte characters of a text in GB18030, the least share that GB/T 2312 has too. Nearly all of Chinese prose is
/// there; pairs of bytes that are a Latin letter with an accent and its neighbour are not.
const LEAST_COMMON_SHARE: f64 = 0.9;

const EXPECTED: &str = "text in UTF-8, UTF-16 with a byte order mark, or GB18030";

/// Decodes a file's text, without a byte order mark; a fault comes with its line.
pub(crate) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, (u64, Fault)> {
    let foreign = |found: &str| Err((1, Fault::new(Reason::BadEncoding, EXPECTED, found)));
    match bytes {
        [0xFF, 0xFE, rest @ ..] => return utf_16(rest, UTF_16LE),
        [0xFE, 0xFF, rest @ ..] => return utf_16(rest, UTF_16BE),
        [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
            return foreign("UTF-16 without a byte order mark");
        }
        _ => {}
    }
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text).into()),
        Err(error) => error,
    };
    if let Some(text) = gb18030(bytes) {
        return Ok(text.into());
    }
    let at = error.valid_up_to();
    let found = match error.error_len() {
        None => "a UTF-8 character that is cut off at the end of the file".to_string(),
        Some(_) => format!("byte 0x{:02X} at offset {at}, which is neither", bytes[at]),
    };
    let fault = Fault::new(Reason::BadEncoding, EXPECTED, found);
    Err((line_at(bytes, at), fault))
}

fn utf_16(
    bytes: &[u8],
    encoding: &'static encoding_rs::Encoding,
) -> Result<Cow<'static, str>, (u64, Fault)> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes);
    if let Some(text) = text {
        return Ok(text.into_owned().into());
    }
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    let before = text.split('\u{FFFD}').next().unwrap_or("");
    let fault = Fault::new(
        Reason::BadEncoding,
        EXPECTED,
        "UTF-16 with half a character",
    );
    Err((line_at(before.as_bytes(), before.len()), fault))
}

/// Decodes GB18030 (which GBK and GB/T 2312 are parts of), where the bytes are that beyond doubt.
fn gb18030(bytes: &[u8]) -> Option<String> {
    let text = GB18030.decode_without_bom_handling_and_without_replacement(bytes)?;
    let (mut pairs, mut common) = (0usize, 0usize);
    let mut rest = bytes;
    while let [lead, after @ ..] = rest {
        rest = after;
        if let (0x80.., [trail, after @ ..]) = (*lead, after) {
            rest = after;
            if trail.is_ascii_digit() {
                // A character of four bytes: a digit is never second of two (GB 18030-2022).
                rest = rest.get(2..).unwrap_or_default();
                continue;
            }
            pairs += 1;
            // GB/T 2312 has both bytes above 0xA0, and its characters' first ones end at 0xF7.
            common += usize::from(matches!(*lead, 0xA1..=0xF7) && *trail > 0xA0);
        }
    }
    (common as f64 >= LEAST_COMMON_SHARE * pairs as f64).then(|| text.into_owned())
}

/// Counts the line that a byte stands on, from 1.
fn line_at(bytes: &[u8], at: usize) -> u64 {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "第一行 one\r\n第二行：写一首诗。\n";

    #[test]
    fn a_text_is_the_same_in_every_encoding() {
        let utf_16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let units = std::iter::once(0xFEFF).chain(TEXT.encode_utf16());
            units.flat_map(to_bytes).collect()
        };
        let (gb, _, _) = GB18030.encode(TEXT);
        let files = [
            TEXT.as_bytes().to_vec(),
            format!("\u{FEFF}{TEXT}").into_bytes(),
            utf_16(u16::to_le_bytes),
            utf_16(u16::to_be_bytes),
            gb.into_owned(),
        ];
        for bytes in files {
            assert_eq!(decode(&bytes).as_deref(), Ok(TEXT), "{bytes:02X?}");
        }
        // A rare character of four bytes does not make the text doubtful.
        let (rare, _, _) = GB18030.encode("中文里有𠮷字。");
        assert_eq!(decode(&rare).as_deref(), Ok("中文里有𠮷字。"));
    }

    #[test]
    fn what_is_none_of_them_is_told_with_its_line() {
        let check = |bytes: &[u8], line: u64, found: &str| {
            let (at, fault) = decode(bytes).expect_err("no text");
            assert_eq!((at, fault.reason), (line, Reason::BadEncoding), "{bytes:?}");
            assert!(fault.found.contains(found), "{}", fault.found);
        };
        // Latin-1: a letter with an accent before a blank, and one before a letter, which GBK has a character for.
        check(b"one\ncaf\xE9 au lait", 2, "byte 0xE9 at offset 7");
        check(b"\xE9t\xE9s", 1, "byte 0xE9 at offset 0");
        check(
            "一\n诗".as_bytes().split_last().expect("bytes").1,
            2,
            "cut off",
        );
        check(b"{\0\"\0", 1, "without a byte order mark");
        check(b"\xFF\xFEa\0\n\0b", 2, "half a character");
        check(b"\xFF\xFE\x00\xD8a\0", 1, "half a character");
    }
}
