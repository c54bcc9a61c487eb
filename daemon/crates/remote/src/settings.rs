//! What a remote model is set to.

use std::fmt;
use std::time::Duration;

use autodidact_domain::ModelName;
use reqwest::header::HeaderValue;
use serde::Serialize;

use crate::retry::Patience;

/// A server's model under a name of ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteSettings {
    /// Where the API begins, such as `https://api.example.com/v1`; `/chat/completions` is added to it.
    pub base_url: String,
    /// The name that the server knows the model by.
    pub model: String,
    /// Which of the server's calls continue prompts.
    pub api: Api,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Seconds that an answer may take; of a streamed one, seconds without a piece.
    pub timeout_s: u64,
    /// How often a request is sent again after a failure that may pass.
    pub max_retries: u32,
    /// Milliseconds that the first wait before sending again lasts at most; each next one lasts at most twice as long.
    pub retry_base_ms: u64,
    /// The price of a million prompt tokens, in any unit.
    pub prompt_price: f64,
    /// The price of a million generated tokens, in the same unit.
    pub completion_price: f64,
    /// Whether the server takes `top_k`, `min_p` and `repetition_penalty`, which are not OpenAI's.
    pub extras: bool,
    /// Which form of constrained output the server takes.
    pub constraints: Constraints,
    /// The name that the server has for the most tokens to generate.
    pub max_tokens_field: MaxTokensField,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            model: String::new(),
            api: Api::Chat,
            concurrency: 8,
            timeout_s: 120,
            max_retries: 5,
            retry_base_ms: 500,
            prompt_price: 0.0,
            completion_price: 0.0,
            extras: false,
            constraints: Constraints::None,
            max_tokens_field: MaxTokensField::MaxTokens,
        }
    }
}

impl RemoteSettings {
    /// Tells what is wrong with a base URL; nothing is, where this answers none.
    ///
    /// A key in it would get into logs and reports, so user names, passwords and queries are refused.
    pub fn base_url_fault(text: &str) -> Option<&'static str> {
        let Ok(url) = reqwest::Url::parse(text) else {
            return Some("it is no URL");
        };
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Some("it does not start with http:// or https:// and a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some("it holds a user name or password; keys belong into key_file or key_env");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Some("it holds a query or fragment, which cannot be added to");
        }
        None
    }

    /// Shows the source that lists and reports name.
    pub(crate) fn source(&self) -> String {
        format!(
            "{}{}",
            autodidact_domain::model::REMOTE_SOURCE,
            self.base_url.trim_end_matches('/')
        )
    }
}

/// Which calls continue prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `/chat/completions` for all; a plain text is one user turn.
    Chat,
    /// `/completions` for all; a conversation is laid out as plain text.
    Completions,
    /// Each for its own: conversations go to `/chat/completions`, plain texts to `/completions`.
    Both,
}

/// Which form of constrained output a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraints {
    /// None: a constrained request is refused.
    None,
    /// OpenAI's `response_format` with a JSON schema.
    JsonSchema,
    /// vLLM's `guided_choice`, `guided_regex` and `guided_json`.
    Guided,
}

/// The name of the most tokens to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// What most servers take.
    MaxTokens,
    /// What OpenAI's newer models want.
    MaxCompletionTokens,
}

impl MaxTokensField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// A server's key. It shows itself nowhere: there is no way to print or serialise it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The longest key taken, in bytes; tokens of large providers have up to 2 KiB.
    const MAX_BYTES: usize = 8 << 10;

    /// Takes a key, without the blanks around it.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > Self::MAX_BYTES {
            return Err("it is longer than 8 KiB");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds blanks, line ends or characters outside ASCII");
        }
        Ok(Self(text.to_string()))
    }

    /// Shows the value of the header that carries it.
    pub(crate) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .expect("a key is checked to be printable ASCII");
        value.set_sensitive(true);
        value
    }

    /// Takes it out of a text that a server sent.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// A remote model as the registry of this crate holds it: name, settings, key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: ModelName,
    pub(crate) settings: RemoteSettings,
    pub(crate) key: Option<Key>,
}

impl Identity {
    /// Tells how requests that failed in passing are sent again.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            retries: self.settings.max_retries,
            base: Duration::from_millis(self.settings.retry_base_ms),
            advice: format!(
                "See whether the server is up, or raise max_retries or timeout_s of [remote_models.{}]",
                self.name
            ),
        }
    }

    /// Hides the key in a server's text, and cuts it to what a message bears.
    pub(crate) fn quote(&self, text: &str) -> String {
        /// Enough for a sentence or two.
        const CHARACTERS: usize = 300;
        let hidden = match &self.key {
            Some(key) => key.hide_in(text),
            None => text.to_string(),
        };
        let line = hidden.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(CHARACTERS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_itself_nowhere() {
        let key = Key::new(" sk-secret\n").unwrap();
        let identity = Identity {
            name: ModelName::new("far").unwrap(),
            settings: RemoteSettings::default(),
            key: Some(key),
        };
        assert!(!format!("{identity:?}").contains("secret"));
        assert_eq!(
            identity.quote("Incorrect key:\n sk-secret."),
            "Incorrect key: [key]."
        );
        assert_eq!(identity.quote(&"x".repeat(999)).chars().count(), 301);
        for wrong in ["", "  ", "a b", "a\nb", "键", &"x".repeat(9000)] {
            assert!(Key::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_base_url_holds_no_secrets() {
        let fault = RemoteSettings::base_url_fault;
        assert_eq!(fault("https://api.example.com/v1"), None);
        assert_eq!(fault("http://127.0.0.1:8000/v1/"), None);
        for wrong in [
            "",
            "api.example.com",
            "ftp://x/v1",
            "http://user:pass@x/v1",
            "http://x/v1?key=1",
            "http://x/v1#a",
        ] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
    }
}
