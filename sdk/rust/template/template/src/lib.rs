//! Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back.

use autodidact_plugin::text::fold_width;
use autodidact_plugin::{
    Completion, Finish, Item, Message, Plugin, Prompt, Rendered, Request, Role, Template,
    export_plugin,
};
use serde::Deserialize;

/// The configuration; `CONFIG_SCHEMA` describes the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many instructions a prompt asks for; 0 for as many as the workflow wants.
    pub count: u32,
    /// A sentence about what new instructions must be like besides.
    pub demand: String,
}

/// The template with its configuration.
pub struct Mine(Config);

impl Plugin for Mine {
    type Config = Config;
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "count": {
                "description": "How many instructions a prompt asks for; 0 for as many as the workflow wants.",
                "type": "integer", "minimum": 0, "maximum": 100, "default": 0
            },
            "demand": {
                "description": "A sentence about what new instructions must be like besides.",
                "type": "string", "default": ""
            }
        }
    }"#;

    fn new(config: Config) -> Result<Self, String> {
        match config.count {
            0..=100 => Ok(Self(config)),
            count => Err(format!("count: expected 0 to 100, found {count}")),
        }
    }
}

impl Template for Mine {
    fn render(&self, request: &Request) -> Result<Rendered, String> {
        let content = self.ask(request)?;
        let role = Role::User;
        Ok(Rendered {
            prompt: Prompt::Chat(vec![Message { role, content }]),
            stop: Vec::new(),
        })
    }

    fn parse(&self, completion: &Completion) -> Result<Vec<Item>, String> {
        let mut items: Vec<&str> = completion.text.lines().filter_map(after_number).collect();
        let is_whole = |item: &&str| item.ends_with(['.', '!', '?', '。', '！', '？', '"', '”']);
        // The last one of a text that was cut counts where it is whole.
        if completion.finish == Finish::Length && !items.last().is_some_and(is_whole) {
            items.pop();
        }
        let item = |instruction: &str| Item {
            instruction: instruction.to_string(),
            task_type: String::new(),
            topic: String::new(),
        };
        Ok(items.into_iter().map(item).collect())
    }
}

impl Mine {
    fn ask(&self, request: &Request) -> Result<String, String> {
        let count = if self.0.count > 0 { self.0.count } else { request.count };
        let next = request.examples.len() + 1;
        let task_type = request.task_type.replace('_', " ");
        let kind = [task_type.as_str(), request.topic.as_str()];
        let kind: Vec<&str> = kind.into_iter().filter(|part| !part.is_empty()).collect();
        let kind = kind.join(", ");
        let (opening, demand, kind_line, known, closing) = match request.language.as_str() {
            "en" => (
                format!("Write {count} new tasks for an assistant that can only read and write text."),
                "Each task can be finished with words alone, and says all that is needed to do it.",
                format!("They are of this kind: {kind}."),
                "These tasks are taken:",
                format!("Go on with a numbered list from {next}, a task on each line, and write nothing else."),
            ),
            "zh" => (
                format!("请为一个只会读写文字的助手写 {count} 个新任务。"),
                "每个任务只用文字就能完成，并且把要做的事说清楚。",
                format!("类别：{kind}。"),
                "已经有的任务：",
                format!("请接着第 {next} 条写成编号列表，一行一个任务，不要写别的。"),
            ),
            other => return Err(format!("there are no words for {other}; there are for en and zh")),
        };
        let mut lines = vec![opening, demand.to_string()];
        if !self.0.demand.is_empty() {
            lines.push(self.0.demand.clone());
        }
        if !kind.is_empty() {
            lines.push(kind_line);
        }
        lines.extend([String::new(), known.to_string()]);
        for (i, example) in request.examples.iter().enumerate() {
            let words: Vec<&str> = example.instruction.split_whitespace().collect();
            lines.push(format!("{}. {}", i + 1, words.join(" ")));
        }
        lines.extend([String::new(), closing]);
        Ok(lines.join("\n"))
    }
}

/// Takes a number off a line: `3.`, `3)`, `３．`, `3、`, `（3）`; not that of `3.5 metres`.
fn after_number(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '\t', '\u{3000}', '*', '(', '（']);
    let is_digit = |c: char| fold_width(c).is_ascii_digit();
    let after = line.trim_start_matches(is_digit);
    let digits = line[..line.len() - after.len()].chars().count();
    let rest = after.strip_prefix(['.', ')', '、', '．', '）', ':', '：'])?;
    let is_decimal = after.starts_with('.') && rest.starts_with(is_digit);
    let item = rest.trim_start_matches('*').trim();
    ((1..=3).contains(&digits) && !is_decimal && !item.is_empty()).then_some(item)
}

export_plugin!(Mine: Template);
