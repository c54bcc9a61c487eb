//! Errors as gRPC statuses with stable reasons: the one place where they are made.

use autodidact_domain::id::BadName;
use autodidact_domain::{PortError, PortResult};
use autodidact_flow::Fault;
use autodidact_proto::v1::ErrorReason;
use autodidact_proto::{ERROR_DOMAIN, v1};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt, pb};

/// Details and message travel in HTTP headers, of which peers take 8 KiB by default; base64 adds a third.
const MAX_DETAIL_BYTES: usize = 4 * 1024;
/// The most a message may take once percent-encoded.
const MAX_MESSAGE_COST: usize = 1200;
/// The most characters of one text of a fault; `Check` gives them whole.
const MAX_FAULT_CHARACTERS: usize = 200;

/// Names the gRPC code under which a reason comes.
fn code_of(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::NotFound => Code::NotFound,
        ErrorReason::AlreadyExists | ErrorReason::RequestIdReused => Code::AlreadyExists,
        ErrorReason::InvalidArgument
        | ErrorReason::ContextExceeded
        | ErrorReason::InvalidWorkflow
        | ErrorReason::BadPageToken
        | ErrorReason::WrongOffset
        | ErrorReason::DigestMismatch => Code::InvalidArgument,
        ErrorReason::RequestInProgress | ErrorReason::Interrupted => Code::Aborted,
        ErrorReason::TooLarge | ErrorReason::Busy | ErrorReason::SlowPeer => {
            Code::ResourceExhausted
        }
        ErrorReason::InUse | ErrorReason::Unavailable => Code::FailedPrecondition,
        ErrorReason::ShuttingDown => Code::Unavailable,
        ErrorReason::Unauthenticated => Code::Unauthenticated,
        ErrorReason::Corrupt => Code::DataLoss,
        ErrorReason::Internal | ErrorReason::Unspecified => Code::Internal,
    }
}

/// Makes a status with a reason.
pub(crate) fn refuse(reason: ErrorReason, message: impl Into<String>) -> Status {
    refuse_with(reason, message, &[])
}

/// Makes a status with a reason and facts for programs.
pub(crate) fn refuse_with(
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    build(reason, message, metadata, Vec::new())
}

/// Makes a status that names one wrong field of the request.
pub(crate) fn bad_field(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let violation = FieldViolation::new(field, cut(&message, MAX_FAULT_CHARACTERS));
    build(
        ErrorReason::InvalidArgument,
        format!("{field}: {message}"),
        &[],
        vec![violation],
    )
}

/// Makes a status that names a wrong name in the request.
pub(crate) fn bad_name(field: &'static str) -> impl Fn(BadName) -> Status {
    move |error| bad_field(field, error.to_string())
}

/// Reads the reason that a status of ours carries.
pub(crate) fn reason_of(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    ErrorReason::from_reason(&details.error_info()?.reason)
}

/// Makes a status of a port's error.
pub(crate) fn from_port(error: PortError) -> Status {
    let message = error.to_string();
    match error {
        PortError::NotFound {
            what,
            name,
            nearest,
        } => {
            let mut metadata = vec![("what", what), ("name", name.as_str())];
            metadata.extend(nearest.as_deref().map(|nearest| ("nearest", nearest)));
            refuse_with(ErrorReason::NotFound, message, &metadata)
        }
        PortError::Exists { what, name, .. } => refuse_with(
            ErrorReason::AlreadyExists,
            message,
            &[("what", what), ("name", &name)],
        ),
        PortError::Invalid(_) | PortError::Diverged { .. } => {
            refuse(ErrorReason::InvalidArgument, message)
        }
        PortError::TooLong(_) => refuse(ErrorReason::ContextExceeded, message),
        PortError::Unavailable(_) => refuse(ErrorReason::Unavailable, message),
        PortError::Interrupted => refuse(ErrorReason::Interrupted, message),
        PortError::Corrupt(_) => {
            tracing::error!(error = %message, "stored data is damaged");
            refuse(ErrorReason::Corrupt, message)
        }
        PortError::Internal(_) => {
            tracing::error!(error = %message, "a call failed");
            refuse(ErrorReason::Internal, message)
        }
    }
}

/// Turns a port's answer into a call's.
pub(crate) trait OrStatus<T> {
    /// Makes a status of the error.
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for PortResult<T> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(from_port)
    }
}

/// Makes a status of a workflow's faults: as `BadRequest` for any client, as `WorkflowFaults` for ours.
///
/// The headers that carry it are small, so long texts are cut and, of very many faults, the first stand for all; the
/// metadata `faults` has their number.
pub(crate) fn from_faults(faults: &[Fault]) -> Status {
    let count = faults.len().to_string();
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let rest = if faults.len() > 1 {
        format!(" (and {} more)", faults.len() - 1)
    } else {
        String::new()
    };
    let message = format!("the workflow has faults: {first}{rest}");

    let mut violations = Vec::new();
    let mut carried = v1::WorkflowFaults::default();
    let mut bytes = 0;
    for fault in faults {
        let violation =
            FieldViolation::new(&fault.path, cut(&fault.to_string(), MAX_FAULT_CHARACTERS));
        let fault = v1::Fault {
            line: fault.line,
            path: cut(&fault.path, MAX_FAULT_CHARACTERS),
            message: cut(&fault.message, MAX_FAULT_CHARACTERS),
            expected: cut(&fault.expected, MAX_FAULT_CHARACTERS),
            found: cut(&fault.found, MAX_FAULT_CHARACTERS),
            nearest: fault
                .nearest
                .as_deref()
                .map(|nearest| cut(nearest, MAX_FAULT_CHARACTERS)),
        };
        bytes += violation.field.len() + violation.description.len() + fault.encoded_len();
        if bytes > MAX_DETAIL_BYTES {
            break;
        }
        violations.push(violation);
        carried.faults.push(fault);
    }
    let status = build(
        ErrorReason::InvalidWorkflow,
        message,
        &[("faults", &count)],
        violations,
    );
    with_detail(
        &status,
        "type.googleapis.com/autodidact.v1.WorkflowFaults",
        carried.encode_to_vec(),
    )
}

fn build(
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
    violations: Vec<FieldViolation>,
) -> Status {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_string(), cut(value, MAX_FAULT_CHARACTERS)))
        .collect::<Vec<_>>();
    let mut details = ErrorDetails::new();
    details.set_error_info(
        reason.as_reason(),
        ERROR_DOMAIN,
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    if !violations.is_empty() {
        details.set_bad_request(violations);
    }
    Status::with_error_details(code_of(reason), cut_to_cost(&message.into()), details)
}

/// Adds a detail of our own to those that `tonic-types` knows.
fn with_detail(status: &Status, type_url: &str, value: Vec<u8>) -> Status {
    let mut inner = pb::Status::decode(status.details()).unwrap_or_default();
    inner.details.push(prost_types::Any {
        type_url: type_url.to_string(),
        value,
    });
    Status::with_details(
        status.code(),
        status.message(),
        inner.encode_to_vec().into(),
    )
}

/// Cuts a text to a number of characters, marking the cut.
fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Cuts a message to what fits a header: a character outside ASCII takes three bytes for each of its own.
fn cut_to_cost(message: &str) -> String {
    let mut cost = 0;
    for (at, character) in message.char_indices() {
        cost += if character.is_ascii_graphic() || character == ' ' {
            1
        } else {
            3 * character.len_utf8()
        };
        if cost > MAX_MESSAGE_COST {
            return format!("{}…", &message[..at]);
        }
    }
    message.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: u32) -> Fault {
        Fault {
            line,
            path: format!("stages.generate.field{line}"),
            message: "错".repeat(300),
            expected: "a number".into(),
            found: "\"x\"".into(),
            nearest: Some("target".into()),
        }
    }

    #[test]
    fn every_reason_has_a_code_and_a_name() {
        for number in 1.. {
            let Ok(reason) = ErrorReason::try_from(number) else {
                break;
            };
            let status = refuse(reason, "why");
            assert_eq!(status.code(), code_of(reason));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(ErrorReason::from_reason(&info.reason), Some(reason));
            assert_eq!(info.domain, "autodidact");
            assert!(number < 1000);
        }
    }

    #[test]
    fn port_errors_carry_facts() {
        let status = from_port(PortError::NotFound {
            what: "dataset",
            name: "sead".into(),
            nearest: Some("seed".into()),
        });
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["nearest"], "seed");
        assert_eq!(info.metadata["what"], "dataset");
    }

    #[test]
    fn faults_fit_the_headers_however_many_they_are() {
        let few = from_faults(&[fault(3), fault(4)]);
        let violations = few.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[1].field, "stages.generate.field4");
        assert!(violations[0].description.starts_with("line 3: "));

        let many: Vec<Fault> = (1..500).map(fault).collect();
        let status = from_faults(&many);
        assert_eq!(
            status.get_details_error_info().unwrap().metadata["faults"],
            "499"
        );
        let mut response = tonic::codegen::http::Response::new(());
        status.add_header(response.headers_mut()).unwrap();
        let bytes: usize = response
            .headers()
            .iter()
            .map(|(key, value)| key.as_str().len() + value.len() + 32)
            .sum();
        assert!(bytes < 8 * 1024, "{bytes}");
    }
}
