//! Request ids: a repeated mutation gets the first one's answer and changes nothing.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use autodidact_domain::{Digest, PortError};
use autodidact_proto::v1::ErrorReason;
use prost::Message;
use tonic::Status;

use crate::context::Context;
use crate::status::{OrStatus, bad_field, refuse};

/// The longest request id, in bytes; a UUID takes 36.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What a mutation is known by.
pub(crate) struct Mutation {
    method: &'static str,
    request_id: String,
    body: Digest,
}

impl Mutation {
    /// Describes a call by its whole request.
    pub(crate) fn of(method: &'static str, request_id: &str, request: &impl Message) -> Self {
        Self {
            method,
            request_id: request_id.to_string(),
            body: Digest::of(&request.encode_to_vec()),
        }
    }

    /// Describes an upload by its header and its content.
    pub(crate) fn of_upload(
        method: &'static str,
        request_id: &str,
        header: &impl Message,
        content: Digest,
    ) -> Self {
        let mut bytes = header.encode_to_vec();
        bytes.extend_from_slice(content.as_bytes());
        Self {
            method,
            request_id: request_id.to_string(),
            body: Digest::of(&bytes),
        }
    }
}

/// The mutations with request ids that are at work now.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashSet<(&'static str, String)>>);

impl InFlight {
    fn enter(&self, mutation: &Mutation) -> Option<Entered<'_>> {
        let key = (mutation.method, mutation.request_id.clone());
        let entered = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone());
        entered.then_some(Entered {
            in_flight: self,
            key,
        })
    }
}

struct Entered<'a> {
    in_flight: &'a InFlight,
    key: (&'static str, String),
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.in_flight
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

/// Runs `work` unless its request id has an answer already; then gives that.
///
/// Refusals are not remembered, so that a mended state lets the same request pass. A kill between the work and its
/// answer's record lets a repeated request run the work again, which every mutation bears.
pub(crate) fn once<T: Message + Default>(
    context: &Context,
    mutation: &Mutation,
    work: impl FnOnce() -> Result<T, Status>,
) -> Result<T, Status> {
    let Mutation {
        method,
        request_id,
        body,
    } = mutation;
    if request_id.is_empty() {
        return work();
    }
    if request_id.len() > MAX_REQUEST_ID_BYTES {
        return Err(bad_field(
            "request_id",
            format!(
                "at most {MAX_REQUEST_ID_BYTES} bytes, found {}",
                request_id.len()
            ),
        ));
    }
    let Some(_entered) = context.in_flight.enter(mutation) else {
        return Err(refuse(
            ErrorReason::RequestInProgress,
            format!("request {request_id:?} is still at work; try again"),
        ));
    };
    let recalled = context
        .ports
        .requests
        .recall(method, request_id, *body)
        .map_err(reused)?;
    if let Some(answer) = recalled {
        return T::decode(answer.as_slice()).map_err(|error| {
            refuse(
                ErrorReason::Corrupt,
                format!("the stored answer cannot be read: {error}"),
            )
        });
    }
    let answer = work()?;
    context
        .ports
        .requests
        .remember(method, request_id, *body, &answer.encode_to_vec())
        .or_status()?;
    Ok(answer)
}

fn reused(error: PortError) -> Status {
    match error {
        PortError::Exists { .. } | PortError::Invalid(_) => {
            refuse(ErrorReason::RequestIdReused, error.to_string())
        }
        other => crate::status::from_port(other),
    }
}
