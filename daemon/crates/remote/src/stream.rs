//! Streamed answers: server-sent events, line by line.

use std::time::{Duration, Instant};

use autodidact_domain::{Completion, GenerateRequest};
use reqwest::Response;
use tokio::time::timeout;

use crate::answer::{Answer, Parts};
use crate::error::RemoteError;
use crate::http::{Call, MAX_BODY_BYTES};
use crate::logprobs::Logprobs;
use crate::pay::Usage;
use crate::request::Body;
use crate::retry::Failure;
use crate::stop::StopFilter;

/// The longest line of a stream, in bytes; an event with a token's 20 likeliest neighbours has a few KiB.
const MAX_LINE_BYTES: usize = 1 << 20;
/// How long the end of a stream, with the token counts in it, is waited for after a stop text came up.
const AFTER_STOP: Duration = Duration::from_secs(2);

/// Reads a stream to its end. `piece` hears the text as it comes, without stop texts.
///
/// A stream that breaks before its first piece may be asked for again; after it, half an answer is told already.
pub(crate) async fn read(
    call: &Call<'_>,
    mut response: Response,
    request: &GenerateRequest,
    body: &Body,
    piece: &mut dyn FnMut(&str),
) -> Result<(Completion, Option<Usage>), Failure> {
    let silence = Duration::from_secs(call.identity.settings.timeout_s);
    let mut lines = Lines::default();
    let mut reader = Reader {
        filter: StopFilter::new(&body.stops),
        parts: Parts::default(),
        usage: None,
        told: false,
        piece,
    };
    let mut stopped_at: Option<Instant> = None;
    let mut done = false;
    while !done {
        let wait = match stopped_at {
            Some(at) => AFTER_STOP.saturating_sub(at.elapsed()),
            None => silence,
        };
        let chunk = match timeout(wait, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            // The text is whole already; only its count is missing.
            Ok(Err(_)) | Err(_) if stopped_at.is_some() => break,
            Ok(Err(error)) => return Err(reader.cut(call, call.broken(&error))),
            Err(_) => return Err(reader.cut(call, call.late())),
        };
        lines
            .push(&chunk)
            .map_err(|what| reader.cut(call, call.malformed(what)))?;
        while let Some(line) = lines.next() {
            done |= reader
                .line(call, &line)
                .map_err(|failure| reader.cut(call, failure))?;
        }
        if reader.filter.stopped() {
            stopped_at.get_or_insert_with(Instant::now);
        }
    }
    if !done && stopped_at.is_none() && reader.parts.finish_reason.is_none() {
        let what = format!(
            "{} ended its stream in the middle of an answer",
            call.place()
        );
        return Err(reader.cut(call, Failure::Again { what, after: None }));
    }
    let rest = reader.filter.finish();
    reader.tell(&rest);
    let (parts, usage) = (reader.parts, reader.usage);
    let completion = parts.into_completion(call, request, &body.stops, usage)?;
    Ok((completion, usage))
}

struct Reader<'a> {
    filter: StopFilter<'a>,
    parts: Parts,
    usage: Option<Usage>,
    told: bool,
    piece: &'a mut dyn FnMut(&str),
}

impl Reader<'_> {
    /// Takes one line; true at the end of the stream.
    fn line(&mut self, call: &Call<'_>, line: &[u8]) -> Result<bool, Failure> {
        // Comments, names and ids of events, and the blank lines between them say nothing here.
        let Some(data) = line.strip_prefix(b"data:") else {
            if line
                .first()
                .is_some_and(|first| matches!(first, b'{' | b'<'))
            {
                return Err(call.not_json(line, "it is no stream of events"));
            }
            return Ok(false);
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return Ok(true);
        }
        let value = serde_json::from_slice(data)
            .map_err(|error| call.not_json(data, &error.to_string()))?;
        let answer = Answer::read(call, value)?;
        self.usage = answer.usage().or(self.usage);
        let Some(choice) = answer.choices.into_iter().next() else {
            return Ok(false);
        };
        let new = choice.piece();
        if self.parts.text.len() + new.len() > MAX_BODY_BYTES {
            return Err(call.malformed("a text without end"));
        }
        self.parts.text.push_str(new);
        let passed = self.filter.push(new);
        self.tell(&passed);
        let logprobs = choice.logprobs.map(Logprobs::read).unwrap_or_default();
        self.parts.logprobs.extend(logprobs);
        self.parts.finish_reason = choice.finish_reason.or(self.parts.finish_reason.take());
        self.parts.stop_reason = choice.stop_reason.or(self.parts.stop_reason.take());
        Ok(false)
    }

    fn tell(&mut self, text: &str) {
        if !text.is_empty() {
            self.told = true;
            (self.piece)(text);
        }
    }

    /// Makes a failure final once a part of the answer is with the caller.
    fn cut(&self, call: &Call<'_>, failure: Failure) -> Failure {
        match failure {
            Failure::Again { what, .. } if self.told => {
                Failure::Final(RemoteError::Failed(format!(
                    "{what}, after a part of the answer was passed on; ask again (remote model {})",
                    call.identity.name
                )))
            }
            other => other,
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// What was given out already.
    from: usize,
    /// What is known to hold no line's end.
    searched: usize,
    total: usize,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Result<(), &'static str> {
        self.bytes.drain(..self.from);
        self.searched -= self.from;
        self.from = 0;
        self.total += chunk.len();
        self.bytes.extend_from_slice(chunk);
        if self.total > MAX_BODY_BYTES {
            return Err("a stream of more than 32 MiB, which is not read to its end");
        }
        // The chunk's own lines are whole; only what they leave over grows.
        let open = self.bytes.len()
            - self
                .bytes
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
        if open > MAX_LINE_BYTES {
            return Err("a line of more than 1 MiB");
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let found = self.bytes[self.searched..].iter().position(|b| *b == b'\n');
        let Some(at) = found else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + at;
        let line = self.bytes[self.from..end].trim_ascii_end().to_vec();
        (self.from, self.searched) = (end + 1, end + 1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_stream_is_cut() {
        let text = b"data: one\r\n\n: ping\ndata: \xe4\xbd\xa0\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk).unwrap();
                while let Some(line) = lines.next() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            assert_eq!(found, ["data: one", "", ": ping", "data: 你"], "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 64 << 10];
        let refused = (0..100).find_map(|_| {
            let pushed = lines.push(&chunk).err();
            assert_eq!(lines.next(), None);
            pushed
        });
        assert_eq!(refused, Some("a line of more than 1 MiB"));
    }
}
