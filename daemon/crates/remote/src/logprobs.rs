//! Log-probabilities in both of the API's forms.

use autodidact_domain::TokenLogprob;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The most likeliest tokens kept at a place.
const MAX_TOP: usize = 64;

/// What a choice says of its tokens: `content` in a chat, the lists in a plain completion.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Logprobs {
    #[serde(default)]
    content: Option<Vec<ChatToken>>,
    #[serde(default)]
    tokens: Option<Vec<String>>,
    #[serde(default)]
    token_logprobs: Option<Vec<Option<f32>>>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<Map<String, Value>>>>,
}

#[derive(Debug, Deserialize)]
struct ChatToken {
    token: String,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    logprob: f32,
    #[serde(default)]
    top_logprobs: Vec<TopToken>,
}

#[derive(Debug, Deserialize)]
struct TopToken {
    token: String,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    logprob: f32,
}

impl Logprobs {
    /// Reads them, in the order of the tokens.
    pub(crate) fn read(self) -> Vec<TokenLogprob> {
        if let Some(content) = self.content {
            return content.into_iter().map(chat_token).collect();
        }
        let (Some(tokens), Some(logprobs)) = (self.tokens, self.token_logprobs) else {
            return Vec::new();
        };
        let mut tops = self.top_logprobs.unwrap_or_default().into_iter();
        tokens
            .into_iter()
            .zip(logprobs)
            .map(|(token, logprob)| TokenLogprob {
                bytes: token.into_bytes(),
                logprob: logprob.unwrap_or(0.0),
                top: tops.next().flatten().map(top_of).unwrap_or_default(),
            })
            .collect()
    }
}

fn chat_token(token: ChatToken) -> TokenLogprob {
    TokenLogprob {
        bytes: token.bytes.unwrap_or_else(|| token.token.into_bytes()),
        logprob: token.logprob,
        top: token
            .top_logprobs
            .into_iter()
            .take(MAX_TOP)
            .map(|top| {
                let bytes = top.bytes.unwrap_or_else(|| top.token.into_bytes());
                (bytes, top.logprob)
            })
            .collect(),
    }
}

fn top_of(map: Map<String, Value>) -> Vec<(Vec<u8>, f32)> {
    let mut top: Vec<(Vec<u8>, f32)> = map
        .into_iter()
        .filter_map(|(token, logprob)| Some((token.into_bytes(), logprob.as_f64()? as f32)))
        .collect();
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    top.truncate(MAX_TOP);
    top
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let chat = json!({"content": [
            {"token": "é", "bytes": [195], "logprob": -0.5, "top_logprobs": [{"token": "a", "bytes": null, "logprob": -0.5}]},
        ]});
        let plain = json!({"tokens": ["b"], "token_logprobs": [-0.5], "top_logprobs": [{"c": -3.0, "a": -0.5}]});
        let read = |value: Value| serde_json::from_value::<Logprobs>(value).unwrap().read();
        let chat = read(chat);
        assert_eq!(chat[0].bytes, [195]);
        assert_eq!(chat[0].top, [(b"a".to_vec(), -0.5)]);
        let plain = read(plain);
        assert_eq!(
            (plain[0].bytes.as_slice(), plain[0].logprob),
            (&b"b"[..], -0.5)
        );
        assert_eq!(plain[0].top, [(b"a".to_vec(), -0.5), (b"c".to_vec(), -3.0)]);
        assert!(read(json!({})).is_empty());
    }
}
