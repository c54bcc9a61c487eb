//! What requests to remote models cost, and who gives leave for them.
//!
//! A cost is a price times tokens and has no currency: a workflow's cap is in whatever unit its models' prices are in.

use serde::{Deserialize, Serialize};

use crate::{ModelName, PortResult};

/// What one answered request used.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteUsage {
    /// The model's name here.
    pub model: ModelName,
    /// Where it is served, as `remote:URL`.
    pub source: String,
    /// The tokens of the prompt; 0 where the server did not say.
    pub prompt_tokens: u64,
    /// The tokens generated; 0 where the server did not say.
    pub completion_tokens: u64,
    /// Whether the server said how many tokens it used.
    pub counted: bool,
    /// Price times tokens. Where the server did not say, the most that the request can have cost.
    pub cost: f64,
}

/// An account's answer to a request for leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The request may be sent; the sum is set aside.
    Granted,
    /// Not before a request under way has told what it really cost; ask again.
    Later,
}

/// Pays for requests to remote models. One account serves many requests at once.
pub trait Account: Send + Sync {
    /// Sets the most that a request can cost aside.
    ///
    /// # Errors
    /// [`crate::PortError::Unavailable`], with what is spent and the cap, where even what is under way leaves too little.
    fn reserve(&self, most: f64) -> PortResult<Leave>;

    /// Gives a sum back that was set aside for a request without an answer.
    fn release(&self, reserved: f64);

    /// Pays for an answered request in place of the sum set aside. Returns when the payment survives a kill.
    ///
    /// # Errors
    /// A port's failure; the sum counts as spent all the same.
    fn settle(&self, reserved: f64, usage: &RemoteUsage) -> PortResult<()>;
}

/// Pays for everything and remembers nothing: for requests of people, who have no cap.
#[derive(Clone, Copy, Debug)]
pub struct NoAccount;

impl Account for NoAccount {
    fn reserve(&self, _: f64) -> PortResult<Leave> {
        Ok(Leave::Granted)
    }

    fn release(&self, _: f64) {}

    fn settle(&self, _: f64, _: &RemoteUsage) -> PortResult<()> {
        Ok(())
    }
}

/// What a stage used of a remote model, summed over its requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteUse {
    /// The model's name here.
    pub model: String,
    /// Where it is served, as `remote:URL`.
    pub source: String,
    /// The answered requests.
    pub requests: u64,
    /// Those of them for which the server did not say how many tokens it used.
    pub uncounted: u64,
    /// The tokens of the prompts that were counted.
    pub prompt_tokens: u64,
    /// The tokens generated that were counted.
    pub completion_tokens: u64,
    /// Price times tokens, in the unit of the prices.
    pub cost: f64,
}

impl RemoteUse {
    /// Adds one request.
    pub fn count(&mut self, usage: &RemoteUsage) {
        self.model = usage.model.to_string();
        self.source.clone_from(&usage.source);
        self.requests += 1;
        self.uncounted += u64::from(!usage.counted);
        self.prompt_tokens += usage.prompt_tokens;
        self.completion_tokens += usage.completion_tokens;
        self.cost += usage.cost;
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.model.clone_from(&other.model);
        self.source.clone_from(&other.source);
        self.requests += other.requests;
        self.uncounted += other.uncounted;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cost += other.cost;
    }
}
