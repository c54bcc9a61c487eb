//! Plugins of each kind, by name: `form`, `mender`, `worth`, `words`, and `both`, which is a filter and a scorer.

use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateCompletion, TemplateItem, TemplateRequest,
    Validation,
};
use autodidact_domain::ports::{PluginAnswers, Plugins};
use autodidact_domain::{
    Digest, Language, PluginKind, PluginName, PluginRecord, PluginSummary, PortResult, Prompt,
};
use serde_json::Value;

use super::{Fake, missing};

const PLUGINS: [(&str, &[PluginKind]); 5] = [
    ("form", &[PluginKind::Filter]),
    ("mender", &[PluginKind::Validator]),
    ("worth", &[PluginKind::Scorer]),
    ("words", &[PluginKind::Template]),
    ("both", &[PluginKind::Filter, PluginKind::Scorer]),
];

impl Plugins for Fake {
    fn install(&self, _: &[u8], _: bool) -> PortResult<PluginSummary> {
        Plugins::get(self, "form")
    }

    fn list(&self) -> PortResult<Vec<PluginSummary>> {
        let names = PLUGINS.iter();
        names.map(|(name, _)| Plugins::get(self, name)).collect()
    }

    fn get(&self, name: &str) -> PortResult<PluginSummary> {
        let known = PLUGINS.iter().find(|(known, _)| *known == name);
        let (_, kinds) = known.ok_or_else(|| missing("plugin", name))?;
        Ok(PluginSummary {
            name: PluginName::new(name).expect("a plain name"),
            version: "0.1.0".into(),
            kinds: kinds.to_vec(),
            capabilities: Vec::new(),
            digest: Digest::of(name.as_bytes()),
            config_schema: String::new(),
            size: 1,
            builtin: true,
            enabled: true,
        })
    }

    fn set_enabled(&self, name: &str, _: bool) -> PortResult<PluginSummary> {
        Plugins::get(self, name)
    }

    fn remove(&self, _: &str) -> PortResult<()> {
        Ok(())
    }

    fn check_config(&self, _: Digest, _: &Value) -> PortResult<()> {
        Ok(())
    }

    /// Drops what mentions a violin, and fails on what mentions a quarry.
    fn filter(
        &self,
        _: Digest,
        _: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<FilterDecision>> {
        let decide = |record: &PluginRecord<'_>| {
            if record.instruction.contains("quarry") {
                return Err("trapped".to_string());
            }
            let has_violin = record.instruction.contains("violin");
            Ok(FilterDecision {
                drop_reason: has_violin.then(|| "violin".to_string()),
                note: None,
                score: None,
            })
        };
        Ok(records.iter().map(decide).collect())
    }

    /// Writes `colour` for `color` in answers, drops those that shout, and fails on what mentions a quarry.
    fn validate(
        &self,
        _: Digest,
        _: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<Validation>> {
        let validate = |record: &PluginRecord<'_>| match record.output {
            _ if record.instruction.contains("quarry") => Err("trapped".to_string()),
            output if output.contains("color") => Ok(Validation::Correct {
                output: output.replace("color", "colour"),
                note: Some("color is written colour".to_string()),
            }),
            output if output.contains('!') => Ok(Validation::Drop {
                reason: "shouts".to_string(),
                note: Some(format!("{} of {}", record.task_type, record.topic)),
                score: None,
            }),
            _ => Ok(Validation::Accept),
        };
        Ok(records.iter().map(validate).collect())
    }

    /// Counts an instruction's words; of one that mentions a lantern it cannot tell.
    fn score(
        &self,
        _: Digest,
        _: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<PluginScore>> {
        let score = |record: &PluginRecord<'_>| {
            let words = record.instruction.split_whitespace().count();
            let dark = record.instruction.contains("lantern");
            Ok(PluginScore {
                value: (!dark).then_some(words as f64),
                note: None,
            })
        };
        Ok(records.iter().map(score).collect())
    }

    /// Asks for tasks in words of its own; has none in Chinese.
    fn render(
        &self,
        _: Digest,
        config: &Value,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginAnswers<RenderedPrompt>> {
        let render = |request: &TemplateRequest<'_>| {
            if request.language == Language::Zh {
                return Err("no words for zh".to_string());
            }
            let shown = request.examples.iter();
            let shown: Vec<_> = shown.map(|e| e.body.instruction_text()).collect();
            let kind = request.task_type.map_or("any", |kind| kind.name());
            Ok(RenderedPrompt {
                prompt: Prompt::Text(format!(
                    "{} Like {}: {} tasks of kind {kind}",
                    config["word"].as_str().unwrap_or("Please."),
                    shown.join("|"),
                    request.count
                )),
                stop: vec!["END".to_string()],
            })
        };
        Ok(requests.iter().map(render).collect())
    }

    /// Reads tasks between strokes; fails on what mentions a quarry.
    fn parse(
        &self,
        _: Digest,
        _: &Value,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginAnswers<Vec<TemplateItem>>> {
        let parse = |completion: &TemplateCompletion<'_>| {
            if completion.text.contains("quarry") {
                return Err("trapped".to_string());
            }
            let items = completion.text.split('|').map(str::trim);
            let items = items.filter(|item| !item.is_empty());
            let item = |item: &str| TemplateItem {
                instruction: item.to_string(),
                task_type: None,
                topic: item.starts_with("Sing").then(|| "music".to_string()),
            };
            Ok(items.map(item).collect())
        };
        Ok(completions.iter().map(parse).collect())
    }
}
