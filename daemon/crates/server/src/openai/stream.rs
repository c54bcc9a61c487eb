//! Completions as server-sent events (WHATWG HTML, 9.2): a chunk each, `[DONE]` at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use autodidact_proto::v1;
use autodidact_proto::v1::generate_response::Message;
use serde_json::Value;
use tokio_stream::Stream;
use tonic::Status;

use super::ApiError;
use super::answer::{Shape, Usage};
use crate::stream::Outgoing;

/// The events of one call. Dropping it stops the work.
pub(super) struct Events {
    shape: Shape,
    messages: Outgoing<v1::GenerateResponse>,
    prompts: usize,
    /// Which choices were opened.
    opened: Vec<bool>,
    completions: Vec<(usize, v1::Completion)>,
    includes_usage: bool,
    /// Events that are ready.
    ready: VecDeque<String>,
    is_over: bool,
}

impl Events {
    /// Begins with a message that was read already.
    pub(super) fn new(
        shape: Shape,
        first: v1::GenerateResponse,
        messages: Outgoing<v1::GenerateResponse>,
        prompts: usize,
        includes_usage: bool,
    ) -> Self {
        let mut events = Self {
            shape,
            messages,
            prompts,
            opened: Vec::new(),
            completions: Vec::new(),
            includes_usage,
            ready: VecDeque::new(),
            is_over: false,
        };
        events.take(first);
        events
    }

    fn push(&mut self, value: &Value) {
        self.ready.push_back(format!("data: {value}\n\n"));
    }

    fn take(&mut self, message: v1::GenerateResponse) {
        let index = message.index as usize;
        if self.opened.len() <= index {
            self.opened.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.opened[index], true)
            && let Some(opening) = self.shape.opening(index)
        {
            self.push(&opening);
        }
        match message.message {
            Some(Message::Piece(text)) => {
                let piece = self.shape.piece(index, &text);
                self.push(&piece);
            }
            Some(Message::Completion(completion)) => {
                let closing = self.shape.closing(index, &completion);
                self.push(&closing);
                let counts = v1::Completion {
                    prompt_tokens: completion.prompt_tokens,
                    completion_tokens: completion.completion_tokens,
                    ..v1::Completion::default()
                };
                self.completions.push((index, counts));
            }
            None => {}
        }
    }

    fn end(&mut self, failure: Option<Status>) {
        self.is_over = true;
        if let Some(status) = failure {
            let error = ApiError::from(status).to_json();
            return self.push(&error);
        }
        if self.includes_usage {
            let each = self.completions.len() / self.prompts.max(1);
            let mut usage = Usage::default();
            for (index, completion) in &self.completions {
                usage.add(*index, each, completion);
            }
            let last = self.shape.usage(usage);
            self.push(&last);
        }
        self.ready.push_back("data: [DONE]\n\n".to_string());
    }
}

impl Stream for Events {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.messages).poll_next(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => self.end(Some(status)),
                Poll::Ready(None) => self.end(None),
            }
        }
    }
}
