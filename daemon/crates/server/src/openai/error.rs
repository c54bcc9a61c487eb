//! Errors as OpenAI's clients read them.

use autodidact_proto::v1::ErrorReason;
use axum::http::{StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::status::reason_of;

/// A call that failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    /// Whether the connection is of no more use, since the rest of the request was left unread on it.
    closes: bool,
}

impl ApiError {
    /// Names a wrong field.
    pub(super) fn field(param: &str, message: impl std::fmt::Display) -> Self {
        Self {
            param: Some(param.to_string()),
            ..Self::request(StatusCode::BAD_REQUEST, format!("{param}: {message}"))
        }
    }

    /// Names what is wrong with the request as a whole.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::request(StatusCode::BAD_REQUEST, message.into())
    }

    pub(super) fn not_found(message: String) -> Self {
        Self {
            code: Some("unknown_url"),
            ..Self::request(StatusCode::NOT_FOUND, message)
        }
    }

    pub(super) fn no_model(name: &str) -> Self {
        Self {
            code: Some("model_not_found"),
            param: Some("model".to_string()),
            ..Self::request(
                StatusCode::NOT_FOUND,
                format!("there is no model {name:?}; /v1/models lists them"),
            )
        }
    }

    /// Makes the error of a batch of texts the call's, whose texts are counted from the first batch on.
    pub(super) fn of_text(status: Status, before: usize) -> Self {
        let mut error = Self::from(status);
        let index = error.param.as_deref().and_then(|param| {
            let index = param.strip_prefix("texts[")?.strip_suffix(']')?;
            index.parse::<usize>().ok()
        });
        if let Some(index) = index {
            let param = format!("input[{}]", before + index);
            error.message = error
                .message
                .replacen(&format!("texts[{index}]"), &param, 1);
            error.param = Some(param);
        }
        error
    }

    pub(super) fn wrong_method(message: String) -> Self {
        Self {
            code: Some("method_not_supported"),
            ..Self::request(StatusCode::METHOD_NOT_ALLOWED, message)
        }
    }

    pub(super) fn too_large(message: String) -> Self {
        Self::request(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// Tells a client of HTTP/1 not to use the connection again; HTTP/2 ends the stream alone.
    pub(super) fn closing(self, version: Version) -> Self {
        Self {
            closes: version <= Version::HTTP_11,
            ..self
        }
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, message.to_string())
    }

    fn request(status: StatusCode, message: String) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code: None,
            param: None,
            message,
            closes: false,
        }
    }

    fn server(status: StatusCode, message: String) -> Self {
        Self {
            kind: "server_error",
            ..Self::request(status, message)
        }
    }

    /// Writes the object that stands in the body, or in an event of a stream.
    pub(super) fn to_json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let message = status.message().to_string();
        match (status.code(), reason_of(&status)) {
            (_, Some(ErrorReason::ContextExceeded)) => Self {
                code: Some("context_length_exceeded"),
                ..Self::bad_request(message)
            },
            (Code::InvalidArgument, _) => {
                let details = status.get_error_details();
                let violations = details.bad_request().map(|bad| &bad.field_violations);
                let Some(violation) = violations.and_then(|all| all.first()) else {
                    return Self::bad_request(message);
                };
                let param = param(&violation.field);
                let rest = message.strip_prefix(&violation.field).unwrap_or(&message);
                Self {
                    message: format!(
                        "{param}{}",
                        if rest == message {
                            format!(": {rest}")
                        } else {
                            rest.to_string()
                        }
                    ),
                    param: Some(param),
                    ..Self::bad_request("")
                }
            }
            (Code::NotFound, _) => Self {
                code: Some("model_not_found"),
                param: Some("model".to_string()),
                ..Self::request(StatusCode::NOT_FOUND, message)
            },
            (Code::Unauthenticated, _) => Self {
                code: Some("invalid_api_key"),
                ..Self::request(StatusCode::UNAUTHORIZED, message)
            },
            (_, Some(ErrorReason::Busy)) => Self {
                kind: "rate_limit_error",
                code: Some("rate_limit_exceeded"),
                ..Self::request(StatusCode::TOO_MANY_REQUESTS, message)
            },
            (_, Some(ErrorReason::TooLarge)) => Self::too_large(message),
            (Code::FailedPrecondition | Code::Unavailable | Code::Aborted, _) => {
                Self::server(StatusCode::SERVICE_UNAVAILABLE, message)
            }
            _ => Self::server(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

/// Names a field of the gRPC messages as OpenAI's interface does.
fn param(field: &str) -> String {
    let field = field
        .strip_prefix("sampling.")
        .or_else(|| field.strip_prefix("chat."))
        .unwrap_or(field);
    match field {
        "completions" => "n",
        "text" => "prompt",
        "texts" => "input",
        "json_schema" => "response_format",
        "adapter" => "model",
        other => other,
    }
    .to_string()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = super::json(self.status, &self.to_json());
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.closes {
            let close = header::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{bad_field, refuse};

    #[test]
    fn statuses_become_what_clients_tell_apart() {
        for (status, http, kind, param) in [
            (
                bad_field("sampling.top_p", "expected 0.01 to 1, found 3"),
                400,
                "invalid_request_error",
                json!("top_p"),
            ),
            (
                refuse(ErrorReason::InvalidArgument, "the prompt is empty"),
                400,
                "invalid_request_error",
                Value::Null,
            ),
            (
                refuse(ErrorReason::NotFound, "there is no model x"),
                404,
                "invalid_request_error",
                json!("model"),
            ),
            (
                refuse(ErrorReason::Busy, "too many"),
                429,
                "rate_limit_error",
                Value::Null,
            ),
            (
                refuse(ErrorReason::ShuttingDown, "going down"),
                503,
                "server_error",
                Value::Null,
            ),
            (
                refuse(ErrorReason::Internal, "a defect"),
                500,
                "server_error",
                Value::Null,
            ),
        ] {
            let error = ApiError::from(status);
            assert_eq!(error.status.as_u16(), http, "{}", error.message);
            let json = error.to_json();
            assert_eq!(json["error"]["type"], kind);
            assert_eq!(json["error"]["param"], param);
        }
        let error = ApiError::from(bad_field("sampling.top_p", "expected 0.01 to 1, found 3"));
        assert_eq!(error.message, "top_p: expected 0.01 to 1, found 3");
        let error = ApiError::from(refuse(ErrorReason::ContextExceeded, "shorten the prompt"));
        assert_eq!(error.status.as_u16(), 400);
        assert_eq!(error.to_json()["error"]["code"], "context_length_exceeded");
    }
}
