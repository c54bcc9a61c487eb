//! Large contents in chunks, either way, with offsets and digests.

use autodidact_domain::Digest;
use autodidact_proto::v1::ErrorReason;
use autodidact_proto::{CHUNK_BYTES, v1};
use sha2::{Digest as _, Sha256};
use tonic::{Status, Streaming};

use crate::context::{Context, shutting_down};
use crate::status::{bad_field, refuse, refuse_with};
use crate::stream::{End, Sink};

/// A message of an upload, taken apart.
pub(crate) enum Part<H> {
    Header(H),
    Chunk(v1::Chunk),
    Empty,
}

/// An upload as it arrived.
pub(crate) struct Upload<H> {
    pub(crate) header: H,
    pub(crate) bytes: Vec<u8>,
}

/// Receives one header and its chunks, holding at most `limit` bytes.
pub(crate) async fn receive<M, H>(
    context: &Context,
    stream: &mut Streaming<M>,
    limit: u64,
    take_apart: impl Fn(M) -> Part<H>,
) -> Result<Upload<H>, Status> {
    let mut header = None;
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(message) = next(context, stream).await? {
        match take_apart(message) {
            Part::Header(found) if header.is_none() => header = Some(found),
            Part::Header(_) => return Err(bad_field("header", "it came twice")),
            Part::Empty => return Err(bad_field("message", "neither a header nor a chunk is set")),
            Part::Chunk(_) if header.is_none() => {
                return Err(bad_field("header", "it must come before the first chunk"));
            }
            Part::Chunk(chunk) => {
                let expected = bytes.len() as u64;
                if chunk.offset != expected {
                    let found = chunk.offset.to_string();
                    return Err(refuse_with(
                        ErrorReason::WrongOffset,
                        format!("expected a chunk at offset {expected}, found one at {found}"),
                        &[("expected", &expected.to_string()), ("found", &found)],
                    ));
                }
                if expected + chunk.data.len() as u64 > limit {
                    return Err(refuse(
                        ErrorReason::TooLarge,
                        format!("more than {limit} bytes are not taken"),
                    ));
                }
                bytes.extend_from_slice(&chunk.data);
            }
        }
    }
    let header = header.ok_or_else(|| bad_field("header", "it is missing"))?;
    Ok(Upload { header, bytes })
}

async fn next<M>(context: &Context, stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
    let patience = context.limits.slow_peer;
    tokio::select! {
        message = tokio::time::timeout(patience, stream.message()) => match message {
            Ok(message) => message,
            Err(_) => Err(refuse(
                ErrorReason::SlowPeer,
                format!("nothing arrived on this stream for {} seconds", patience.as_secs_f32()),
            )),
        },
        () = context.shutdown.cancelled() => Err(shutting_down()),
    }
}

/// Checks an upload against what was announced, and tells its BLAKE3 digest.
pub(crate) fn check(
    bytes: &[u8],
    size: Option<u64>,
    announced: Option<&v1::ContentDigest>,
) -> Result<Digest, Status> {
    let digest = Digest::of(bytes);
    let found_size = bytes.len() as u64;
    if let Some(expected) = size.filter(|expected| *expected != found_size) {
        return Err(mismatch(
            "size",
            &expected.to_string(),
            &found_size.to_string(),
        ));
    }
    if let Some(expected) = announced.and_then(|a| a.blake3.as_deref()) {
        same("BLAKE3 digest", expected, &digest.to_string())?;
    }
    if let Some(expected) = announced.and_then(|a| a.sha256.as_deref()) {
        same("SHA-256 digest", expected, &sha256(bytes))?;
    }
    Ok(digest)
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), Status> {
    if expected.eq_ignore_ascii_case(found) {
        Ok(())
    } else {
        Err(mismatch(what, expected, found))
    }
}

fn mismatch(what: &str, expected: &str, found: &str) -> Status {
    refuse_with(
        ErrorReason::DigestMismatch,
        format!("the content has the {what} {found}, not {expected} as announced; send it again"),
        &[("expected", expected), ("found", found)],
    )
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Describes a content's end.
pub(crate) fn end_of(bytes: &[u8]) -> v1::TransferEnd {
    let sha256 = Sha256::digest(bytes);
    end(bytes.len() as u64, Digest::of(bytes), &sha256)
}

/// Describes the end of a content of which size and digests are known.
pub(crate) fn end(size: u64, blake3: Digest, sha256: &[u8]) -> v1::TransferEnd {
    let digest = v1::ContentDigest {
        blake3: Some(blake3.to_string()),
        sha256: Some(hexadecimal(sha256)),
    };
    v1::TransferEnd {
        size,
        digest: Some(digest),
    }
}

/// Sends a header, a content in chunks, and its end.
pub(crate) async fn send_all<M>(
    context: &Context,
    sink: &Sink<M>,
    header: M,
    bytes: &[u8],
    end: v1::TransferEnd,
    chunk: impl Fn(v1::Chunk) -> M,
    last: impl FnOnce(v1::TransferEnd) -> M,
) -> Result<(), End> {
    sink.send(header, context).await?;
    for (index, data) in bytes.chunks(CHUNK_BYTES).enumerate() {
        let offset = (index * CHUNK_BYTES) as u64;
        sink.send(
            chunk(v1::Chunk {
                offset,
                data: data.to_vec(),
            }),
            context,
        )
        .await?;
    }
    sink.send(last(end), context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_facts_are_checked() {
        let right = end_of(b"abc");
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            right.digest.as_ref().unwrap().sha256.as_deref(),
            Some(expected)
        );
        assert!(check(b"abc", Some(3), right.digest.as_ref()).is_ok());
        assert!(check(b"abc", None, None).is_ok());
        assert!(check(b"abc", Some(4), None).is_err());
        assert!(check(b"abd", None, right.digest.as_ref()).is_err());
        let sha_alone = v1::ContentDigest {
            blake3: None,
            sha256: Some("0".repeat(64)),
        };
        assert!(check(b"abc", None, Some(&sha_alone)).is_err());
    }
}
