//! What an instruction asks for, where its words say so surely: the type of its task, a language, labels, JSON. In doubt none.

mod labels;
mod target_language;

use autodidact_domain::TaskType;
use autodidact_text::{without_code, without_quotations};

pub(crate) use labels::label_set;
pub(crate) use target_language::{names_a_language, target_language};

/// What may come before the verb of a request.
const COURTESIES: [&str; 12] = [
    "please ",
    "can you ",
    "could you ",
    "kindly ",
    "now ",
    "请你",
    "请您",
    "请",
    "帮我",
    "麻烦",
    "帮忙",
    "试着",
];

/// Guesses the type of a task that nobody told; only translations and the writing of Python say it by their words.
pub(crate) fn guess_task_type(instruction: &str) -> Option<TaskType> {
    let request = request(instruction);
    let is_program = [
        "程序", "代码", "函数", "脚本", "program", "function", "script", "code",
    ]
    .iter()
    .any(|word| request.contains(word));
    if is_program {
        let asks = [
            "write ",
            "implement ",
            "create ",
            "define ",
            "写",
            "编写",
            "实现",
            "定义",
            "用python",
        ];
        let is_asked = asks.iter().any(|verb| request.starts_with(verb));
        return (is_asked && request.contains("python")).then_some(TaskType::Code);
    }
    let is_translation = request.starts_with("translate ")
        || request.starts_with("翻译")
        || (["译成", "译为", "翻成"]
            .iter()
            .any(|verb| request.contains(verb))
            && target_language(instruction).is_some());
    is_translation.then_some(TaskType::Translation)
}

/// Tells whether an instruction asks for an answer in JSON, not about JSON and not for a program that has to do with it.
pub(crate) fn asks_for_json(instruction: &str) -> bool {
    let request = request(instruction);
    if !request.contains("json") {
        return false;
    }
    let others = [
        "function",
        "script",
        "program",
        "code",
        "python",
        "explain",
        "what is",
        "difference",
        "schema for",
        "parse",
        "how ",
        "why ",
        "函数",
        "脚本",
        "程序",
        "代码",
        "解释",
        "什么是",
        "区别",
        "解析",
        "如何",
        "怎么",
        "为什么",
        "介绍",
    ];
    if others.iter().any(|word| request.contains(word)) {
        return false;
    }
    let asked = [
        "as json",
        "as a json",
        "as valid json",
        "in json",
        "in valid json",
        "into json",
        "into a json",
        "to json",
        "to a json",
        "return json",
        "return a json",
        "return valid json",
        "output json",
        "output a json",
        "produce json",
        "produce a json",
        "generate json",
        "generate a json",
        "give a json",
        "write a json",
        "create a json",
        "only json",
        "json格式",
        "json形式",
        "输出json",
        "返回json",
        "成json",
        "为json",
        "用json",
        "以json",
        "生成json",
        "写json",
        "给出json",
        "一个json",
        "json对象",
        "json数组",
    ];
    let asks_politely = ["can", "could"]
        .iter()
        .any(|word| instruction.trim_start().to_lowercase().starts_with(word));
    // "What does null mean in JSON?" is a question about it.
    let is_question = request.trim_end().ends_with('?') && !asks_politely;
    asked.iter().any(|phrase| request.contains(phrase)) && !is_question
}

/// The request itself in lower case: without quotations, code, courtesies and blanks beside Chinese.
fn request(instruction: &str) -> String {
    let own_words = without_quotations(&without_code(instruction));
    let lower = without_blanks_at_cjk(&own_words.to_lowercase());
    let mut request = lower.trim_start();
    while let Some(rest) = COURTESIES
        .iter()
        .find_map(|courtesy| request.strip_prefix(courtesy))
    {
        request = rest.trim_start_matches([' ', '，', ',']);
    }
    request.to_string()
}

/// Leaves out the blanks that some put between Chinese and Latin letters.
fn without_blanks_at_cjk(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let is_cjk = |at: Option<usize>| {
        at.and_then(|at| characters.get(at))
            .is_some_and(|c| autodidact_text::is_cjk(*c))
    };
    let is_kept = |(i, c): &(usize, &char)| {
        **c != ' ' || !(is_cjk(i.checked_sub(1)) || is_cjk(i.checked_add(1)))
    };
    characters
        .iter()
        .enumerate()
        .filter(is_kept)
        .map(|(_, c)| *c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sure_words_tell_a_task_type() {
        let check = |text: &str, expect| assert_eq!(guess_task_type(text), expect, "{text}");
        for text in [
            "Translate the sentence into French.",
            "Please translate this.",
            "翻译下面的句子。",
            "请把这句话翻译成日语。",
            "将下面的话译为英文：",
        ] {
            check(text, Some(TaskType::Translation));
        }
        for text in [
            "Write a Python function that adds two numbers.",
            "用 Python 写一个排序函数。",
            "编写一段Python代码，计算平均值。",
        ] {
            check(text, Some(TaskType::Code));
        }
        for text in [
            "Explain how translation works.",
            "Write a function that translates numbers into Roman numerals.",
            "写一个程序，把英文翻译成中文。",
            "What does this Python code print?",
            "Summarize the article.",
            "解释这段Python代码。",
            "给出三条建议。",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn json_is_asked_for_or_only_spoken_of() {
        for text in [
            "Represent the book data as a JSON object.",
            "List three fruits in JSON format.",
            "Convert the list to a JSON array of strings.",
            "Can you return JSON with the keys name and age?",
            "转换成JSON对象。",
            "请以 JSON 格式输出结果。",
            "用 JSON 表示下面的信息。",
        ] {
            assert!(asks_for_json(text), "{text}");
        }
        for text in [
            "What does null mean in JSON?",
            "Explain the difference between JSON and XML.",
            "Write a Python function that converts a dictionary to JSON.",
            "Convert this JSON to CSV.",
            "什么是JSON？",
            "写一个解析JSON的函数。",
            "Name three fruits.",
        ] {
            assert!(!asks_for_json(text), "{text}");
        }
    }
}
