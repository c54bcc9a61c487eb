//! Reads the fields of an `adapter_config.json`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::EngineError;

/// The fields, each read with what was expected where it is something else.
pub(super) struct Settings<'a>(pub(super) &'a Json);

impl Settings<'_> {
    fn fault(&self, name: &str, expected: impl ToString) -> EngineError {
        EngineError::adapter(format!("adapter_config.{name}"), expected, &self.0[name])
    }

    /// Refuses settings that change the arithmetic in ways that are not computed here.
    pub(super) fn refuse_others(&self, neutral: &[(&str, &[&str])]) -> Result<(), EngineError> {
        for (name, values) in neutral {
            if !values.contains(&self.0[*name].to_string().as_str()) {
                return Err(self.fault(name, values.join(" or ")));
            }
        }
        Ok(())
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, EngineError> {
        match &self.0[name] {
            Json::Null => Ok(default),
            Json::Bool(value) => Ok(*value),
            _ => Err(self.fault(name, "true or false")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<f32, EngineError> {
        let number = self.0[name].as_f64().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| self.fault(name, "a number"))?;
        Ok(number as f32)
    }

    pub(super) fn count(&self, name: &str, most: u32) -> Result<u32, EngineError> {
        let count = self.0[name]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok());
        let count = count.filter(|count| (1..=most).contains(count));
        count.ok_or_else(|| self.fault(name, format!("1 to {most}")))
    }

    /// Reads one of a few words; the first where nothing is set.
    pub(super) fn choice(&self, name: &str, known: &[&str]) -> Result<String, EngineError> {
        match &self.0[name] {
            Json::Null => Ok(known[0].into()),
            Json::String(word) if known.contains(&word.as_str()) => Ok(word.clone()),
            _ => Err(self.fault(name, known.join(" or "))),
        }
    }

    /// Reads the names of at least one module.
    pub(super) fn some_modules(&self, name: &str) -> Result<Vec<String>, EngineError> {
        match self.modules(name)? {
            modules if modules.is_empty() => Err(self.fault(name, "at least one name")),
            modules => Ok(modules),
        }
    }

    /// Reads module names: a list, or one text, which is a pattern.
    pub(super) fn modules(&self, name: &str) -> Result<Vec<String>, EngineError> {
        let names: Option<Vec<String>> = match &self.0[name] {
            Json::Null => Some(Vec::new()),
            Json::String(pattern) => Some(vec![pattern.clone()]),
            Json::Array(names) => {
                let names = names.iter().map(|name| Some(name.as_str()?.to_string()));
                names.collect()
            }
            _ => None,
        };
        names.ok_or_else(|| self.fault(name, "a list of names"))
    }

    /// Reads numbers by pattern.
    pub(super) fn patterns(&self, name: &str) -> Result<BTreeMap<String, f32>, EngineError> {
        let Json::Object(entries) = &self.0[name] else {
            return match self.0[name].is_null() {
                true => Ok(BTreeMap::new()),
                false => Err(self.fault(name, "numbers by pattern")),
            };
        };
        let entry = |(key, value): (&String, &Json)| {
            let value = value.as_f64().filter(|value| value.is_finite());
            Some((key.clone(), value? as f32))
        };
        let entries: Option<_> = entries.iter().map(entry).collect();
        entries.ok_or_else(|| self.fault(name, "numbers by pattern"))
    }

    /// Reads the decoder layers that are adapted; none where all are.
    pub(super) fn layers(&self, name: &str) -> Result<Option<Vec<usize>>, EngineError> {
        let layer = |layer: &Json| layer.as_u64().map(|layer| layer as usize);
        match &self.0[name] {
            Json::Null => Ok(None),
            one @ Json::Number(_) => match layer(one) {
                Some(layer) => Ok(Some(vec![layer])),
                None => Err(self.fault(name, "layers' numbers")),
            },
            Json::Array(layers) => match layers.iter().map(layer).collect() {
                Some(layers) => Ok(Some(layers)),
                None => Err(self.fault(name, "layers' numbers")),
            },
            _ => Err(self.fault(name, "layers' numbers")),
        }
    }
}

/// Writes an f32 with the digits it has, as a whole number where it is one (PEFT's `lora_alpha` is an integer).
pub(crate) fn number(value: f32) -> Json {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return json!(value as i64);
    }
    json!(value.to_string().parse::<f64>().unwrap_or(f64::from(value)))
}
