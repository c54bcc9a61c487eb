//! The fields of a request's JSON object, taken one by one, so that a wrong one is named and an unknown one is not passed over.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ApiError;

/// What changes nothing here: whose call it is, how it is billed, cached or filed away, and hints to other kinds of models.
const WITHOUT_EFFECT: [&str; 8] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "parallel_tool_calls",
];

/// What is left of a request.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::bad_request("the body is JSON, but no object")),
            Err(error) => Err(ApiError::bad_request(format!(
                "the body is not JSON: {error}"
            ))),
        }
    }

    /// Takes a field's value; none where it is not there or null.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| ApiError::field(name, error)),
        }
    }

    /// Takes a field that has to be there.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?
            .ok_or_else(|| ApiError::field(name, "it is required"))
    }

    /// Refuses a field that asks for something which is not done here; one that asks for nothing passes.
    pub(super) fn refuse(&mut self, name: &str, nothing: &[Value]) -> Result<(), ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if nothing.contains(&value) => Ok(()),
            Some(_) => Err(ApiError::field(
                name,
                "this server does not do that; leave it out",
            )),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let unknown = |name: &&String| !WITHOUT_EFFECT.contains(&name.as_str());
        match self.0.keys().find(unknown) {
            None => Ok(()),
            Some(name) => Err(ApiError::field(
                name,
                "this server knows no such field; leave it out",
            )),
        }
    }
}
