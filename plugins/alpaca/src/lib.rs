//! Asks a model that follows instructions for new ones, its demands told in words, in English or Chinese.
//!
//! After the way in which Alpaca's data was made (Taori et al. 2023): a list of demands, some tasks that exist, and a numbered list
//! to go on with.

mod items;
mod words;

use autodidact_plugin::{
    Completion, Item, Message, Plugin, Prompt, Rendered, Request, Role, Template, export_plugin,
};
use serde::Deserialize;

use words::Words;

/// The configuration; `config.schema.json` describes the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What new instructions must be like besides.
    pub demands: Demands,
    /// How many instructions a prompt asks for; 0 for as many as the workflow wants.
    pub count: u32,
}

/// Demands by language, a sentence each.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Demands {
    /// In English.
    pub en: Vec<String>,
    /// In Chinese.
    pub zh: Vec<String>,
}

/// The template with its configuration.
pub struct Alpaca(Config);

impl Plugin for Alpaca {
    type Config = Config;
    const NAME: &'static str = "alpaca";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        let blank = |demand: &String| demand.trim().is_empty();
        if config
            .demands
            .en
            .iter()
            .chain(&config.demands.zh)
            .any(blank)
        {
            return Err("demands: one of them is empty".to_string());
        }
        if config.count > 100 {
            return Err(format!("count: expected 0 to 100, found {}", config.count));
        }
        Ok(Self(config))
    }
}

impl Template for Alpaca {
    fn render(&self, request: &Request) -> Result<Rendered, String> {
        let words = Words::of(&request.language)?;
        let demands = match request.language.as_str() {
            "zh" => &self.0.demands.zh,
            _ => &self.0.demands.en,
        };
        let count = match self.0.count {
            0 => request.count,
            count => count,
        };
        let message = Message {
            role: Role::User,
            content: words.request(request, demands, count),
        };
        Ok(Rendered {
            prompt: Prompt::Chat(vec![message]),
            stop: Vec::new(),
        })
    }

    /// Reads a numbered list; what is said before and after it is left out.
    fn parse(&self, completion: &Completion) -> Result<Vec<Item>, String> {
        let items = items::read(&completion.text, completion.finish);
        let item = |instruction: String| Item {
            instruction,
            // Of the kind that was asked for.
            task_type: String::new(),
            topic: String::new(),
        };
        Ok(items.into_iter().map(item).collect())
    }
}

export_plugin!(Alpaca: Template);
