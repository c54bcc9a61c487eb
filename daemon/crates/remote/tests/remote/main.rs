//! Remote models against a server that fails in every way, and against a real one where the environment names it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(clippy::print_stdout, reason = "a test's account is its data")]

mod failing;
mod real;
mod server;
mod speaking;

use autodidact_domain::{GenerateRequest, Message, ModelName, ModelRef, Prompt, Sampling};
use autodidact_remote::{Key, RemoteModels, RemoteSettings};

/// The key that no error, log or debug text may hold.
pub(crate) const SECRET: &str = "sk-very-secret";

/// Settings for a server of a test: quick to send again, quick to give up.
pub(crate) fn settings(url: &str) -> RemoteSettings {
    RemoteSettings {
        base_url: format!("{url}/v1"),
        model: "m".into(),
        retry_base_ms: 20,
        max_retries: 3,
        timeout_s: 1,
        ..RemoteSettings::default()
    }
}

pub(crate) fn open(settings: RemoteSettings) -> RemoteModels {
    let key = Some(Key::new(SECRET).unwrap());
    RemoteModels::open([(name(), settings, key)]).unwrap()
}

pub(crate) fn name() -> ModelName {
    ModelName::new("far").unwrap()
}

pub(crate) fn far() -> ModelRef {
    ModelRef {
        model: name(),
        adapter: None,
    }
}

/// A conversation of one turn.
pub(crate) fn ask(text: &str) -> GenerateRequest {
    let prompt = Prompt::Chat(vec![Message::user(text.to_string())]);
    GenerateRequest::new(prompt, Sampling::default())
}
