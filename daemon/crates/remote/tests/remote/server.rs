//! A small HTTP server whose every answer, good or bad, the test decides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Received {
    /// The last turn's text, or the prompt.
    pub(crate) fn prompt(&self) -> String {
        let turns = self.body["messages"].as_array();
        let last = turns.and_then(|turns| turns.last());
        let text = last.map_or(&self.body["prompt"], |turn| &turn["content"]);
        text.as_str().unwrap_or_default().to_string()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// A status, more header lines, and a body.
    Whole(u16, &'static str, String),
    /// Nothing for this long, then this reply.
    After(Duration, Box<Reply>),
    /// A body cut off after half of it.
    Half(String),
    /// Events; cut off without an end where that is said.
    Events(Vec<Value>, Ending),
    /// A body without end.
    Endless(&'static str),
    /// The connection closed without a word.
    Closed,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Done,
    Cut,
    /// Silence, the connection open.
    Stall,
}

impl Reply {
    /// A good answer of a chat.
    pub(crate) fn said(text: &str) -> Self {
        Self::json(&json!({
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }))
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::Whole(200, "Content-Type: application/json\r\n", value.to_string())
    }

    pub(crate) fn status(status: u16, message: &str) -> Self {
        Self::Whole(
            status,
            "",
            json!({"error": {"message": message}}).to_string(),
        )
    }
}

/// A piece of a streamed chat.
pub(crate) fn delta(text: &str) -> Value {
    json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]})
}

/// The end of a streamed chat, and the counts after it.
pub(crate) fn end() -> [Value; 2] {
    [
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}),
    ]
}

type Answerer = dyn Fn(usize, &Received) -> Reply + Send + Sync;

/// A server on a port of its own, until the test ends.
pub(crate) struct Server {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    /// Requests being answered now, and the most there were at once.
    load: Arc<Mutex<(usize, usize)>>,
}

impl Server {
    /// Starts a server; the answerer is told the number of the request, from 0.
    pub(crate) fn start(
        answerer: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            received: Arc::default(),
            load: Arc::default(),
        };
        let (received, load) = (Arc::clone(&server.received), Arc::clone(&server.load));
        let answerer: Arc<Answerer> = Arc::new(answerer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, load) = (Arc::clone(&received), Arc::clone(&load));
                let answerer = Arc::clone(&answerer);
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let number = {
                        let mut received = received.lock().unwrap();
                        received.push(request.clone());
                        received.len() - 1
                    };
                    {
                        let mut load = load.lock().unwrap();
                        load.0 += 1;
                        load.1 = load.1.max(load.0);
                    }
                    let mut reply = answerer(number, &request);
                    while let Reply::After(time, next) = reply {
                        thread::sleep(time);
                        reply = *next;
                    }
                    let answered = || load.lock().unwrap().0 -= 1;
                    // Whoever reads the whole answer may ask again before this thread goes on.
                    let is_whole = matches!(reply, Reply::Whole(..));
                    if is_whole {
                        answered();
                    }
                    // A caller that is gone hears nothing.
                    let _ = write(&stream, reply);
                    if !is_whole {
                        answered();
                    }
                });
            }
        });
        server
    }

    /// Every request so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The most requests answered at once.
    pub(crate) fn peak(&self) -> usize {
        self.load.lock().unwrap().1
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_string();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        at: Instant::now(),
        path,
        authorization,
        body: serde_json::from_slice(&body).ok()?,
    })
}

fn write(mut stream: &TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => write!(
            stream,
            "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            body.len()
        ),
        Reply::After(time, reply) => {
            thread::sleep(time);
            write(stream, *reply)
        }
        Reply::Half(body) => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
            body.len(),
            &body[..body.len() / 2]
        ),
        Reply::Events(events, ending) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )?;
            let mut chunk = |text: &str| {
                write!(stream, "{:x}\r\n{text}\r\n", text.len())?;
                stream.flush()
            };
            chunk(": hello\n\n")?;
            for event in events {
                // Cut in two, so that no event comes whole.
                let text = format!("data: {event}\n\n");
                let middle = (0..=text.len() / 2)
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0);
                chunk(&text[..middle.max(1)])?;
                chunk(&text[middle.max(1)..])?;
            }
            match ending {
                Ending::Done => {
                    chunk("data: [DONE]\n\n")?;
                    write!(stream, "0\r\n\r\n")
                }
                Ending::Cut => Ok(()),
                Ending::Stall => {
                    thread::sleep(Duration::from_secs(5));
                    Ok(())
                }
            }
        }
        Reply::Endless(headers) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{headers}\r\n")?;
            let chunk = [b'x'; 64 << 10];
            loop {
                stream.write_all(&chunk)?;
            }
        }
        Reply::Closed => Ok(()),
    }
}
