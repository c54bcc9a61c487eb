//! What a prompt says, by language.

use autodidact_plugin::{Example, Request};

/// The words of a language.
pub(crate) struct Words {
    opening: &'static str,
    must: &'static str,
    demands: &'static [&'static str],
    kind: &'static str,
    known: &'static str,
    closing: &'static str,
}

const ENGLISH: Words = Words {
    opening: "Make up {count} new tasks for an assistant that can only read and write text.",
    must: "Every task must",
    demands: &[
        "start with another word than the tasks below, and ask for something else;",
        "be one that the assistant can finish with words alone: no pictures, sounds, files, clocks or web pages;",
        "say all that is needed to do it, in one or two English sentences;",
        "be a task that somebody would really want done.",
    ],
    kind: "be of this kind: {kind}.",
    known: "Tasks that are taken:",
    closing: "Write them as a numbered list that goes on from {next}, a task on each line, and write nothing else.",
};

const CHINESE: Words = Words {
    opening: "请为一个只会读写文字的助手设计 {count} 个新任务。",
    must: "每个任务都要：",
    demands: &[
        "开头的词和要做的事都与下面的任务不同；",
        "只用文字就能完成，不需要图片、声音、文件、时钟或网页；",
        "用一两句中文把要做的事说清楚；",
        "是真有人需要完成的事。",
    ],
    kind: "属于这一类：{kind}。",
    known: "已经有的任务：",
    closing: "请接着第 {next} 条写成编号列表，一行一个任务，不要写别的。",
};

impl Words {
    /// Finds a language's words.
    pub(crate) fn of(language: &str) -> Result<&'static Self, String> {
        match language {
            "en" => Ok(&ENGLISH),
            "zh" => Ok(&CHINESE),
            other => Err(format!(
                "there are no words for {other:?}; there are for en and zh"
            )),
        }
    }

    /// Writes a request.
    pub(crate) fn request(&self, request: &Request, demands: &[String], count: u32) -> String {
        let mut lines = vec![
            self.opening.replace("{count}", &count.to_string()),
            String::new(),
            self.must.to_string(),
        ];
        let own = demands.iter().map(|demand| demand.trim());
        let demands = self.demands.iter().copied().chain(own);
        lines.extend(demands.map(|demand| format!("- {demand}")));
        if let Some(kind) = kind(request) {
            lines.push(format!("- {}", self.kind.replace("{kind}", &kind)));
        }
        lines.push(String::new());
        lines.push(self.known.to_string());
        let shown = request.examples.iter().enumerate();
        lines.extend(shown.map(|(i, example)| format!("{}. {}", i + 1, on_one_line(example))));
        lines.push(String::new());
        let next = request.examples.len() + 1;
        lines.push(self.closing.replace("{next}", &next.to_string()));
        lines.join("\n")
    }
}

fn kind(request: &Request) -> Option<String> {
    let task_type = request.task_type.replace('_', " ");
    match (task_type.is_empty(), request.topic.is_empty()) {
        (true, true) => None,
        (false, true) => Some(task_type),
        (true, false) => Some(request.topic.clone()),
        (false, false) => Some(format!("{task_type}, {}", request.topic)),
    }
}

fn on_one_line(example: &Example) -> String {
    let words: Vec<&str> = example.instruction.split_whitespace().collect();
    words.join(" ")
}
