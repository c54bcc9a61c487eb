//! How a command fails: what is said, under which reason, and with which exit code.

use std::process::ExitCode;

use autodidact_client::{ClientError, v1};
use serde_json::{Value, json};
use tonic::Status;

use super::output;
use crate::config::ConfigError;
use crate::shutdown::EXIT_INTERRUPTED;

/// The exit code of everything refused or failed.
const EXIT_FAILED: u8 = 1;
/// The exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;

/// A command's end that is not its success.
#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: u8,
    errors: Vec<ErrorBody>,
}

/// One error, as scripts read it under `--json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ErrorBody {
    /// A stable reason code, such as `NOT_FOUND`.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
    /// The file at fault.
    pub(crate) file: Option<String>,
    /// Its line, counted from 1.
    pub(crate) line: Option<u32>,
    /// What was expected.
    pub(crate) expected: Option<String>,
    /// The nearest right name.
    pub(crate) nearest: Option<String>,
}

impl ErrorBody {
    fn to_json(&self) -> Value {
        json!({
            "reason": self.reason, "message": self.message, "file": self.file, "line": self.line,
            "expected": self.expected, "nearest": self.nearest,
        })
    }
}

impl Failure {
    /// Something failed on this side of the connection.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::refused("FAILED", message)
    }

    /// Something was refused, under a reason.
    pub(crate) fn refused(reason: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            reason: reason.to_string(),
            message: message.into(),
            ..ErrorBody::default()
        };
        Self {
            exit_code: EXIT_FAILED,
            errors: vec![body],
        }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: &str) -> Self {
        let message = message.trim().trim_start_matches("error: ");
        Self {
            exit_code: EXIT_USAGE,
            ..Self::refused("USAGE", message)
        }
    }

    /// The user interrupted; the note says what that means, where it means something.
    pub(crate) fn interrupted(note: &str) -> Self {
        let errors = if note.is_empty() {
            Vec::new()
        } else {
            vec![ErrorBody {
                reason: "INTERRUPTED".into(),
                message: note.to_string(),
                ..ErrorBody::default()
            }]
        };
        Self {
            exit_code: EXIT_INTERRUPTED,
            errors,
        }
    }

    /// Whoever read stdout has gone (`autodidact … | head`); there is nobody to complain to.
    pub(crate) fn reader_gone() -> Self {
        Self {
            exit_code: 0,
            errors: Vec::new(),
        }
    }

    /// A workflow has faults.
    pub(crate) fn workflow_faults(file: Option<&str>, faults: &[v1::Fault]) -> Self {
        let body = |fault: &v1::Fault| {
            let mut message = format!("{}: {}", fault.path, fault.message);
            if !fault.found.is_empty() && !message.contains(&fault.found) {
                message = format!("{message} (found {})", fault.found);
            }
            ErrorBody {
                reason: "INVALID_WORKFLOW".into(),
                message,
                file: file.map(str::to_string),
                line: (fault.line > 0).then_some(fault.line),
                expected: (!fault.expected.is_empty()).then(|| fault.expected.clone()),
                nearest: fault.nearest.clone(),
            }
        };
        Self {
            exit_code: EXIT_FAILED,
            errors: faults.iter().map(body).collect(),
        }
    }

    /// The daemon refused a call, or does not answer.
    pub(crate) fn client(error: ClientError, file: Option<&str>) -> Self {
        let reason = error.reason();
        let failure = error.into_failure();
        if !failure.faults.is_empty() {
            return Self::workflow_faults(file, &failure.faults);
        }
        let body = ErrorBody {
            reason,
            message: failure.message,
            file: file.map(str::to_string),
            nearest: failure.nearest,
            ..ErrorBody::default()
        };
        Self {
            exit_code: EXIT_FAILED,
            errors: vec![body],
        }
    }

    /// Says what happened and gives the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        match self.errors.as_slice() {
            [] => {}
            errors if json => output::note(Self::errors_json(errors).to_string()),
            [error] => output::note(format!("error: {}", for_people(error))),
            errors => {
                output::note(format!("error: {} faults", errors.len()));
                errors
                    .iter()
                    .for_each(|error| output::note(format!("  {}", for_people(error))));
            }
        }
        ExitCode::from(self.exit_code)
    }

    /// One object with the first error, and all of them where there are several.
    fn errors_json(errors: &[ErrorBody]) -> Value {
        let mut object = json!({ "error": errors[0].to_json() });
        if errors.len() > 1 {
            object["errors"] = errors.iter().map(ErrorBody::to_json).collect();
        }
        object
    }

    /// Shows the first message, for tests and for wrapping.
    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        self.errors
            .first()
            .map_or("", |error| error.message.as_str())
    }
}

fn for_people(error: &ErrorBody) -> String {
    let mut text = String::new();
    if let Some(file) = &error.file {
        text.push_str(file);
        text.push_str(
            &error
                .line
                .map_or_else(|| ": ".to_string(), |line| format!(":{line}: ")),
        );
    }
    text.push_str(&error.message);
    if let Some(expected) = error
        .expected
        .as_ref()
        .filter(|expected| !error.message.contains(expected.as_str()))
    {
        text.push_str(&format!("; expected {expected}"));
    }
    if let Some(nearest) = error
        .nearest
        .as_ref()
        .filter(|nearest| !error.message.contains(nearest.as_str()))
    {
        text.push_str(&format!("; did you mean {nearest:?}?"));
    }
    output::visible(&text)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::client(error, None)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::client(status.into(), None)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<ConfigError>() {
            Some(config) => Self::from(config.clone()),
            None => Self::local(format!("{error:#}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let body = |fault: crate::config::ConfigFault| ErrorBody {
            reason: "INVALID_CONFIGURATION".into(),
            message: fault.to_string(),
            expected: Some(fault.expected),
            nearest: fault.nearest,
            ..ErrorBody::default()
        };
        Self {
            exit_code: EXIT_FAILED,
            errors: error.0.into_iter().map(body).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_workflow_is_told_with_its_line() {
        let fault = |line, nearest: Option<&str>| v1::Fault {
            line,
            path: "stages.trian".into(),
            message: "is not a field".into(),
            expected: "one of generate, train".into(),
            found: "trian".into(),
            nearest: nearest.map(str::to_string),
        };
        let failure =
            Failure::workflow_faults(Some("w.yaml"), &[fault(3, Some("train")), fault(0, None)]);
        assert_eq!(
            for_people(&failure.errors[0]),
            "w.yaml:3: stages.trian: is not a field; expected one of generate, train; did you mean \"train\"?"
        );
        let json = Failure::errors_json(&failure.errors);
        assert_eq!(json["error"]["line"], 3);
        assert_eq!(json["error"]["nearest"], "train");
        assert_eq!(json["errors"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["errors"][1]["line"], Value::Null);
    }

    #[test]
    fn an_answer_that_is_no_refusal_of_ours_is_named_by_its_code() {
        let failure = Failure::from(Status::deadline_exceeded("late"));
        assert_eq!(
            (failure.errors[0].reason.as_str(), failure.message()),
            ("DEADLINE_EXCEEDED", "late")
        );
    }
}
