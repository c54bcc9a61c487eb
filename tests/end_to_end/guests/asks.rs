//! Uses all that a person may grant, and says in each decision what came of it.

use autodidact_plugin::model::{Continuation, Generation, Message, Prompt, Role};
use autodidact_plugin::{
    Capability, Decision, Filter, Plugin, Record, data, export_plugin, log, model,
};

struct Asks;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Plugin for Asks {
    type Config = Config;
    const NAME: &'static str = "asks-rust";
    const VERSION: &'static str = "0.1.0";
    const CONFIG_SCHEMA: &'static str = "";
    const CAPABILITIES: &'static [Capability] = &[
        Capability::Log,
        Capability::Generate,
        Capability::Embed,
        Capability::Score,
        Capability::Data,
    ];

    fn new(_: Config) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Filter for Asks {
    fn decide(&self, _: &Record<'_>) -> Decision {
        Decision::keep()
    }

    fn decide_all(&self, records: &[Record<'_>]) -> Result<Vec<Decision>, String> {
        log::log(log::Level::Info, "asked");
        let instructions: Vec<String> = records.iter().map(|r| r.instruction.to_string()).collect();
        let request = |question: &String| Generation::likeliest(question, 4).choosing(["yes", "no"]);
        let requests: Vec<Generation> = instructions.iter().map(request).collect();
        let said = model::generate(&requests)?;
        let vectors = model::embed(&instructions)?;
        let continuation = |content: &String| Continuation {
            prompt: Prompt::Chat(vec![Message { role: Role::User, content: content.clone() }]),
            text: "好 Yes.".to_string(),
        };
        let continuations: Vec<Continuation> = instructions.iter().map(continuation).collect();
        let likelihoods = model::score(&continuations)?;
        let file = data::files().remove(0);
        let content = String::from_utf8_lossy(&data::read(&file)?).into_owned();
        let why = data::read("none").unwrap_err();
        let all = said.iter().zip(&vectors).zip(&likelihoods);
        let decision = |((said, vector), likelihood): ((&model::Completion, &Vec<f32>), &model::Likelihood)| {
            let square: f64 = vector.iter().map(|v| f64::from(*v).powi(2)).sum();
            let note = format!(
                "{}; {} numbers, {:.0}; {} tokens; {file}: {content}; {why}",
                said.text,
                vector.len(),
                100.0 * square,
                likelihood.tokens
            );
            Decision::keep().with_note(note).with_score(likelihood.log_probability)
        };
        Ok(all.map(decision).collect())
    }
}

export_plugin!(Asks: Filter);
