//! What a call failed with, read from a status and its details.

use autodidact_proto::v1::{ErrorReason, Fault, WorkflowFaults};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

/// Why a call failed. Boxed, since an error is rare and its facts are many.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ClientError(Box<Failure>);

/// The facts of a failed call.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// The stable reason; none where the daemon did not answer, or another server did.
    pub reason: Option<ErrorReason>,
    /// What went wrong, for people.
    pub message: String,
    /// The nearest right name, where a name was wrong and one is near.
    pub nearest: Option<String>,
    /// A workflow's faults. Of very many the first; `Check` gives all.
    pub faults: Vec<Fault>,
}

impl ClientError {
    /// Shows the facts.
    pub fn failure(&self) -> &Failure {
        &self.0
    }

    /// Takes the facts.
    pub fn into_failure(self) -> Failure {
        *self.0
    }

    /// Names the reason as documents do, such as `NOT_FOUND`; the gRPC code where there is none.
    pub fn reason(&self) -> String {
        match self.0.reason {
            Some(reason) => reason.as_reason().to_string(),
            None => {
                format!("{:?}", self.0.code)
                    .chars()
                    .fold(String::new(), |mut name, character| {
                        if character.is_uppercase() && !name.is_empty() {
                            name.push('_');
                        }
                        name.push(character.to_ascii_uppercase());
                        name
                    })
            }
        }
    }

    /// Tells whether the same call may succeed when it is tried again soon.
    pub fn is_transient(&self) -> bool {
        match self.0.reason {
            Some(reason) => matches!(
                reason,
                ErrorReason::RequestInProgress
                    | ErrorReason::Busy
                    | ErrorReason::SlowPeer
                    | ErrorReason::ShuttingDown
            ),
            // Without a reason it came from the transport. A broken connection shows under any of these codes.
            None => matches!(
                self.0.code,
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
            ),
        }
    }

    pub(crate) fn local(code: Code, message: impl Into<String>) -> Self {
        Self::from(Status::new(code, message))
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info
            .as_ref()
            .and_then(|info| ErrorReason::from_reason(&info.reason));
        let nearest = info.and_then(|mut info| info.metadata.remove("nearest"));
        let details = pb::Status::decode(status.details())
            .unwrap_or_default()
            .details;
        let faults = details
            .iter()
            .find(|detail| detail.type_url.ends_with("/autodidact.v1.WorkflowFaults"))
            .and_then(|detail| WorkflowFaults::decode(detail.value.as_slice()).ok());
        let message = match status.message() {
            "" => format!("the call failed: {}", status.code().description()),
            message => message.to_string(),
        };
        Self(Box::new(Failure {
            code: status.code(),
            reason,
            message,
            nearest,
            faults: faults.unwrap_or_default().faults,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_without_details_is_named_by_its_code() {
        let error = ClientError::from(Status::deadline_exceeded("late"));
        assert_eq!(
            (error.reason().as_str(), error.to_string().as_str()),
            ("DEADLINE_EXCEEDED", "late")
        );
        assert!(!error.is_transient());
        assert!(ClientError::from(Status::unavailable("gone")).is_transient());
    }
}
