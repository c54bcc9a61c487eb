//! What a request can cost at most, and what it did cost.

use autodidact_domain::{Account, GenerateRequest, Leave, Prompt, RemoteUsage};
use serde::Deserialize;
use std::time::Duration;

use crate::error::RemoteError;
use crate::settings::{Identity, RemoteSettings};

/// How long a request waits before it asks for leave again.
const LEAVE_POLL: Duration = Duration::from_millis(20);
/// Tokens that a chat template adds to a turn, at most: the longest of the common ones (Llama 3's header with its date) has
/// about 40.
const TEMPLATE_TOKENS: u64 = 64;
/// Prices are for a million tokens.
const PRICED_TOKENS: f64 = 1e6;

/// The tokens that a server says it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// Computes what tokens cost.
pub(crate) fn cost(settings: &RemoteSettings, usage: Usage) -> f64 {
    (usage.prompt_tokens as f64 * settings.prompt_price
        + usage.completion_tokens as f64 * settings.completion_price)
        / PRICED_TOKENS
}

/// Bounds the tokens of a request: a token has a byte at least.
pub(crate) fn most_tokens(request: &GenerateRequest) -> Usage {
    let prompt_tokens = match &request.prompt {
        Prompt::Text(text) => text.len() as u64 + TEMPLATE_TOKENS,
        Prompt::Chat(messages) => messages
            .iter()
            .map(|message| message.content.len() as u64 + TEMPLATE_TOKENS)
            .sum(),
    };
    Usage {
        prompt_tokens,
        completion_tokens: u64::from(request.sampling.max_tokens),
    }
}

/// A sum set aside for one request; given back unless the request is paid for.
pub(crate) struct Reservation<'a> {
    account: &'a dyn Account,
    most: f64,
    settled: bool,
}

impl<'a> Reservation<'a> {
    /// Waits for leave.
    pub(crate) async fn ask(account: &'a dyn Account, most: f64) -> Result<Self, RemoteError> {
        while account.reserve(most).map_err(RemoteError::Account)? == Leave::Later {
            tokio::time::sleep(LEAVE_POLL).await;
        }
        Ok(Self {
            account,
            most,
            settled: false,
        })
    }

    /// Pays for the answer; without the server's count, the most that it can have cost.
    pub(crate) fn settle(
        mut self,
        identity: &Identity,
        usage: Option<Usage>,
    ) -> Result<(), RemoteError> {
        self.settled = true;
        let told = usage.unwrap_or_default();
        let usage = RemoteUsage {
            model: identity.name.clone(),
            source: identity.settings.source(),
            prompt_tokens: told.prompt_tokens,
            completion_tokens: told.completion_tokens,
            counted: usage.is_some(),
            cost: usage.map_or(self.most, |usage| cost(&identity.settings, usage)),
        };
        self.account
            .settle(self.most, &usage)
            .map_err(RemoteError::Account)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.account.release(self.most);
        }
    }
}
