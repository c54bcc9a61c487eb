//! Typed access to the fields of a model's header, with errors that name file and field.

use std::path::Path;

use serde_json::Value as Json;

use super::gguf::{GgufHeader, Value};
use crate::EngineError;

/// Typed access to GGUF metadata.
pub(super) struct GgufFields<'a> {
    pub(super) file: &'a Path,
    pub(super) header: &'a GgufHeader,
    /// The architecture's name, which its fields begin with; empty for the general ones.
    pub(super) prefix: &'a str,
}

impl GgufFields<'_> {
    fn get(&self, name: &str) -> (String, Option<&Value>) {
        let key = if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        };
        let value = self.header.metadata.get(&key);
        (key, value)
    }

    pub(super) fn text(&self, name: &str) -> Result<String, EngineError> {
        let (key, value) = self.get(name);
        let text = value.and_then(Value::as_str).map(str::to_string);
        text.ok_or_else(|| EngineError::damaged(self.file, key, "a text", describe(value)))
    }

    pub(super) fn optional_count(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Option<usize>, EngineError> {
        let (key, value) = self.get(name);
        let Some(value) = value else { return Ok(None) };
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if count <= limit => Ok(Some(count)),
            _ => Err(EngineError::damaged(
                self.file,
                key,
                format!("a count up to {limit}"),
                describe(Some(value)),
            )),
        }
    }

    pub(super) fn count(&self, name: &str, limit: usize) -> Result<usize, EngineError> {
        let found = self.optional_count(name, limit)?;
        found.ok_or_else(|| EngineError::damaged(self.file, self.get(name).0, "a count", "nothing"))
    }

    pub(super) fn optional_number(&self, name: &str) -> Result<Option<f32>, EngineError> {
        let (key, value) = self.get(name);
        match value {
            None => Ok(None),
            Some(Value::F32(number)) => Ok(Some(*number)),
            Some(Value::F64(number)) => Ok(Some(*number as f32)),
            other => Err(EngineError::damaged(
                self.file,
                key,
                "a number",
                describe(other),
            )),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<f32, EngineError> {
        let found = self.optional_number(name)?;
        found
            .ok_or_else(|| EngineError::damaged(self.file, self.get(name).0, "a number", "nothing"))
    }

    pub(super) fn optional_token(&self, key: &str) -> Option<u32> {
        self.header
            .metadata
            .get(key)?
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
    }
}

fn describe(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_string(), |value| format!("{value:?}"))
}

/// Typed access to `config.json`.
pub(crate) struct JsonFields<'a> {
    pub(crate) file: &'a Path,
    pub(crate) json: &'a Json,
}

impl JsonFields<'_> {
    pub(crate) fn text(&self, key: &str) -> Result<String, EngineError> {
        let text = self.json[key].as_str().map(str::to_string);
        text.ok_or_else(|| {
            EngineError::damaged(self.file, key, "a text", self.json[key].to_string())
        })
    }

    pub(crate) fn optional_count(
        &self,
        key: &str,
        limit: usize,
    ) -> Result<Option<usize>, EngineError> {
        let value = &self.json[key];
        if value.is_null() {
            return Ok(None);
        }
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if count <= limit => Ok(Some(count)),
            _ => Err(EngineError::damaged(
                self.file,
                key,
                format!("a count up to {limit}"),
                value.to_string(),
            )),
        }
    }

    pub(crate) fn count(&self, key: &str, limit: usize) -> Result<usize, EngineError> {
        let found = self.optional_count(key, limit)?;
        found.ok_or_else(|| EngineError::damaged(self.file, key, "a count", "nothing"))
    }
}
