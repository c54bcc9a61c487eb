//! How a text's hidden states become one vector, from sentence-transformers' `modules.json`.

use std::path::{Component, Path, PathBuf};

use serde_json::Value as Json;

use crate::EngineError;
use crate::models::folder::{parse_json, read_json, read_optional};

/// What is taken of a text's hidden states; the vector is brought to length 1 after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens, the marks of beginning and end included (Reimers and Gurevych 2019).
    Mean,
    /// The first token's (Xiao et al. 2023, BGE).
    Cls,
}

impl Pooling {
    /// Reads `modules.json` and the pooling module's `config.json`; the mean where there are none.
    pub(super) fn read(folder: &Path) -> Result<Self, EngineError> {
        let modules_path = folder.join("modules.json");
        let config_path = match read_optional(&modules_path)? {
            Some(bytes) => pooling_module(&modules_path, &parse_json(&modules_path, &bytes)?)?
                .map(|module| folder.join(module).join("config.json")),
            None => Some(folder.join("1_Pooling/config.json")).filter(|path| path.exists()),
        };
        match config_path {
            Some(path) => Self::from_json(&path, &read_json(&path)?),
            None => Ok(Self::Mean),
        }
    }

    fn from_json(path: &Path, json: &Json) -> Result<Self, EngineError> {
        let unsupported = |found: String| {
            EngineError::unsupported(path, "pooling_mode", "mean or CLS pooling", found)
        };
        // Newer versions name the mode, older ones have a switch for each.
        match &json["pooling_mode"] {
            Json::String(mode) if mode == "mean" => return Ok(Self::Mean),
            Json::String(mode) if mode == "cls" => return Ok(Self::Cls),
            Json::Null => {}
            other => return Err(unsupported(other.to_string())),
        }
        let switches = json
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == true);
        let set: Vec<&str> = switches.map(|(key, _)| key.as_str()).collect();
        match set[..] {
            ["pooling_mode_mean_tokens"] => Ok(Self::Mean),
            ["pooling_mode_cls_token"] => Ok(Self::Cls),
            [] => Err(unsupported("none".into())),
            _ => Err(unsupported(set.join(" and "))),
        }
    }
}

/// Finds the folder of the pooling module, and checks that there is no module that changes the vectors otherwise.
fn pooling_module(path: &Path, json: &Json) -> Result<Option<PathBuf>, EngineError> {
    let modules = json
        .as_array()
        .ok_or_else(|| EngineError::damaged(path, "contents", "a list", json.to_string()))?;
    let mut folder = None;
    for module in modules {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => {
                let name = PathBuf::from(module["path"].as_str().unwrap_or_default());
                if !name
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)))
                {
                    return Err(EngineError::damaged(
                        path,
                        "path",
                        "a folder below this one",
                        module["path"].to_string(),
                    ));
                }
                folder = Some(name);
            }
            _ => {
                return Err(EngineError::unsupported(
                    path,
                    "type",
                    "the modules Transformer, Pooling and Normalize",
                    module["type"].to_string(),
                ));
            }
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pooling_mode_is_read_or_refused_by_name() {
        let path = Path::new("config.json");
        for (json, expect) in [
            (json!({"pooling_mode_mean_tokens": true}), Ok(Pooling::Mean)),
            (
                json!({"pooling_mode_cls_token": true, "pooling_mode_max_tokens": false}),
                Ok(Pooling::Cls),
            ),
            (json!({"pooling_mode": "cls"}), Ok(Pooling::Cls)),
            (json!({"pooling_mode_max_tokens": true}), Err("max_tokens")),
            (json!({"pooling_mode": "lasttoken"}), Err("lasttoken")),
            (json!([]), Err("none")),
        ] {
            match (Pooling::from_json(path, &json), expect) {
                (found, Ok(expect)) => assert_eq!(found.unwrap(), expect, "{json}"),
                (found, Err(part)) => {
                    let message = found.unwrap_err().to_string();
                    assert!(message.contains(part), "{message}");
                }
            }
        }
    }

    #[test]
    fn other_modules_and_paths_outside_are_refused() {
        let path = Path::new("modules.json");
        let module = |kind: &str, path: &str| json!([{"type": kind, "path": path}]);
        let good = module("sentence_transformers.models.Pooling", "1_Pooling");
        assert_eq!(
            pooling_module(path, &good).unwrap(),
            Some("1_Pooling".into())
        );
        for bad in [
            module("sentence_transformers.models.Dense", "2_Dense"),
            module("sentence_transformers.models.Pooling", "../x"),
            module("sentence_transformers.models.Pooling", "/x"),
            json!({}),
        ] {
            assert!(pooling_module(path, &bad).is_err(), "{bad}");
        }
    }
}
