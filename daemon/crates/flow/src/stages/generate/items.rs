//! Reads what a model wrote in answer to a template: the items of a list, with their kinds where they say them.

use autodidact_domain::workflow::PromptStyle;
use autodidact_domain::{FinishReason, TaskType};

use crate::report::task_type_of_name;

/// An instruction of a list, with the kind that stood before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Item {
    pub(crate) instruction: String,
    pub(crate) task_type: Option<TaskType>,
    pub(crate) topic: Option<String>,
}

impl Item {
    /// Takes a label off that names no known kind: in a list of labelled items what stands in brackets before a blank is one.
    pub(crate) fn without_unknown_label(mut self) -> Self {
        let inner = self.instruction.strip_prefix(['[', '【']);
        let rest = inner.and_then(|inner| inner.split_once([']', '】']));
        if let Some((_, rest)) = rest
            && rest.starts_with(char::is_whitespace)
        {
            self.instruction = rest.trim_start().to_string();
        }
        self
    }
}

/// Reads the items of a completion.
///
/// A continued list's first item follows the prompt's open number; an answer's items begin at its first number, and what is
/// said before and after them is left out. Items keep their inner lines; a rule may judge those. The last item of a completion
/// that was cut off by its length counts only when it ends like a sentence.
pub(crate) fn parse_items(text: &str, finish: FinishReason, style: PromptStyle) -> Vec<Item> {
    let mut items: Vec<String> = match style {
        PromptStyle::Continue => vec![String::new()],
        PromptStyle::Chat => Vec::new(),
    };
    let mut is_open = true;
    for line in text.lines() {
        match strip_number(line) {
            Some(rest) => {
                items.push(rest.to_string());
                is_open = true;
            }
            // An answer goes on in words after an empty line; a list for a base model has its own end.
            None if style == PromptStyle::Chat && line.trim().is_empty() => is_open = false,
            None => {
                if let Some(item) = items.last_mut().filter(|_| is_open) {
                    if !item.is_empty() {
                        item.push('\n');
                    }
                    item.push_str(line.trim());
                }
            }
        }
    }
    let cut_off = finish == FinishReason::Length
        && !items.last().is_some_and(|item| ends_like_a_sentence(item));
    if cut_off {
        items.pop();
    }
    items
        .iter()
        .map(|item| read_item(item))
        .filter(|item| !item.instruction.is_empty())
        .collect()
}

/// Strips a list number in either script: `12.`, `12)`, `12、`, `（12）`, `十二、`, `Task 12:`, `任务 12：`, `**12.**`.
fn strip_number(line: &str) -> Option<&str> {
    let line = line
        .trim_start()
        .trim_start_matches(['*', '#'])
        .trim_start();
    let line = ["Task ", "task ", "任务", "指令"]
        .iter()
        .find_map(|word| line.strip_prefix(word))
        .map_or(line, str::trim_start);
    if let Some(rest) = line.strip_prefix(|c| ('①'..='⑳').contains(&c)) {
        return Some(rest.trim_start_matches(['、', '.', ' ']).trim());
    }
    let inner = line.strip_prefix(['(', '（', '第']).unwrap_or(line);
    let is_digit = |c: char| c.is_ascii_digit() || ('０'..='９').contains(&c);
    // "一条" counts fish, "第一条" is a number.
    let after_numerals: &[char] = match line.starts_with('第') {
        true => &['、', '）', ')', '.', '．', '条', '题'],
        false => &['、', '）', ')', '.', '．'],
    };
    let end = inner
        .find(|c: char| !is_digit(c))
        .filter(|end| *end > 0)
        .or_else(|| {
            inner
                .find(|c: char| !"一二三四五六七八九十".contains(c))
                .filter(|end| *end > 0 && inner[*end..].starts_with(after_numerals))
        })?;
    if inner[..end].chars().count() > 3 {
        return None;
    }
    let rest = inner[end..].trim_start_matches('*');
    let marks: &[char] = match line.starts_with('第') {
        true => &['.', ')', '、', '．', '。', '）', ':', '：', '条', '题'],
        false => &['.', ')', '、', '．', '。', '）', ':', '：'],
    };
    let marked = rest.strip_prefix(marks)?;
    // "3.5 metres" is text, not the third item.
    if rest.starts_with('.') && marked.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(marked.trim_start_matches(['*', ':', '：', '、']).trim())
}

/// Takes an item's kind, `[classification | travel]`, and the words that some models put before an instruction, off it.
fn read_item(text: &str) -> Item {
    let text = text.trim();
    let (kind, rest) = text
        .strip_prefix(['[', '【'])
        .and_then(|inner| inner.split_once([']', '】']))
        .map_or((None, text), |(kind, rest)| (Some(kind), rest.trim_start()));
    let named = kind.map(|kind| kind.split_once(['|', '｜']).unwrap_or((kind, "")));
    let task_type = named.and_then(|(name, _)| task_type_of_name(name.trim()));
    // What stands in brackets and names no kind of task is part of the instruction, unless it has a label's form.
    let is_label = task_type.is_some() || kind.is_some_and(|kind| kind.contains(['|', '｜']));
    let (rest, topic) = match named {
        Some((_, topic)) if is_label => (rest, Some(topic.trim())),
        _ => (text, None),
    };
    let instruction = [
        "Instruction:",
        "Task:",
        "指令：",
        "指令:",
        "任务：",
        "任务:",
    ]
    .iter()
    .find_map(|word| rest.strip_prefix(word))
    .unwrap_or(rest);
    Item {
        instruction: instruction.trim().to_string(),
        task_type,
        topic: topic.filter(|topic| !topic.is_empty()).map(str::to_string),
    }
}

fn ends_like_a_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', '”', '’', '」', '）', ')'])
        .ends_with(['.', '?', '!', '。', '？', '！'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, finish: FinishReason, style: PromptStyle, expect: &[&str]) {
        let items = parse_items(text, finish, style);
        let found: Vec<&str> = items.iter().map(|item| item.instruction.as_str()).collect();
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn list_items_survive_numbering_in_either_script() {
        let check = |text, finish, expect: &[&str]| {
            check(text, finish, PromptStyle::Continue, expect);
        };
        check(
            " Name a fruit.\n10. Add 1 and 2.\n",
            FinishReason::Eos,
            &["Name a fruit.", "Add 1 and 2."],
        );
        check(
            " 写一首诗。\n10、翻译这句话。\n（11）算一算\n十二、造个句子。\n任务 13：画龙点睛是什么意思？",
            FinishReason::Eos,
            &[
                "写一首诗。",
                "翻译这句话。",
                "算一算",
                "造个句子。",
                "画龙点睛是什么意思？",
            ],
        );
        check(
            " Say hi.\n**10.** Explain it.\nTask 11: Sum it up.",
            FinishReason::Eos,
            &["Say hi.", "Explain it.", "Sum it up."],
        );
        check(
            " Say hi.\n10. Explain how to",
            FinishReason::Length,
            &["Say hi."],
        );
        check(
            " Say hi.\n10. Explain it.",
            FinishReason::Length,
            &["Say hi.", "Explain it."],
        );
        check(
            " Convert\n3.5 metres to feet.\n",
            FinishReason::Eos,
            &["Convert\n3.5 metres to feet."],
        );
        check(
            " 一起写一首诗。\n二人如何分工？",
            FinishReason::Eos,
            &["一起写一首诗。\n二人如何分工？"],
        );
        check(
            " 写诗。\n3条鱼有几只眼？\n**10**. 造句。\n１１．算一算。\n第十二题：对对子。\n⑬ 猜谜。\n一条鱼有几片鳞？",
            FinishReason::Eos,
            &[
                "写诗。\n3条鱼有几只眼？",
                "造句。",
                "算一算。",
                "对对子。",
                "猜谜。\n一条鱼有几片鳞？",
            ],
        );
        check("", FinishReason::Eos, &[]);
    }

    #[test]
    fn in_a_labelled_list_any_label_is_taken_off() {
        let check = |text: &str, expect: &str| {
            let item = Item {
                instruction: text.to_string(),
                ..Item::default()
            };
            assert_eq!(item.without_unknown_label().instruction, expect);
        };
        check("[extract] Write down the dates.", "Write down the dates.");
        check("[抽签] 抽出时间。", "抽出时间。");
        // A slot is no label.
        check("[城市]的天气怎么样？", "[城市]的天气怎么样？");
        check("Name a fruit.", "Name a fruit.");
        check("[x", "[x");
    }

    #[test]
    fn an_answer_is_its_list_alone() {
        let check =
            |text, expect: &[&str]| check(text, FinishReason::Eos, PromptStyle::Chat, expect);
        check(
            "Sure! Here are the tasks:\n\n4. Name a fruit.\n5. Instruction: Add 1 and 2.\n\nI hope they help.",
            &["Name a fruit.", "Add 1 and 2."],
        );
        check(
            "好的，下面是任务：\n4. 写一首诗。\n\n5．指令：算一算。\n希望有帮助",
            &["写一首诗。", "算一算。\n希望有帮助"],
        );
        check("I cannot do that.", &[]);
    }

    #[test]
    fn kinds_are_read_off_and_other_brackets_stay() {
        let check = |text: &str, expect: (&str, Option<TaskType>, Option<&str>)| {
            let item = read_item(text);
            let found = (
                item.instruction.as_str(),
                item.task_type,
                item.topic.as_deref(),
            );
            assert_eq!(found, expect, "{text}");
        };
        let classification = Some(TaskType::Classification);
        check(
            "[classification | travel] Is it a city?",
            ("Is it a city?", classification, Some("travel")),
        );
        check("【分类】是城市吗？", ("是城市吗？", classification, None));
        check(
            "[分类 | 旅行] 是城市吗？",
            ("是城市吗？", classification, Some("旅行")),
        );
        check(
            "[question answering] Why?",
            ("Why?", Some(TaskType::QuestionAnswering), None),
        );
        check(
            "[personal | travel] Write a travel blog.",
            ("Write a travel blog.", None, Some("travel")),
        );
        check("【个人｜】写日记。", ("写日记。", None, None));
        check("[sic] Fix the text.", ("[sic] Fix the text.", None, None));
        check("[x", ("[x", None, None));
    }
}
