//! Harder versions of instructions that were kept (Evol-Instruct, Xu et al. 2023), asked for by examples so that a base model
//! can do it too.

use autodidact_domain::plan::PromptStyle;
use autodidact_domain::{Language, Message, Prompt};

use crate::prompts::flatten;

/// Tasks with harder versions: a further demand, a limit, a further step of thought, a narrower subject.
const PAIRS: [(Language, &str, &str); 8] = [
    (
        Language::En,
        "Name three rivers in Africa.",
        "Name three African rivers that cross at least two borders, from the longest to the shortest.",
    ),
    (
        Language::En,
        "Write a short poem about the sea.",
        "Write a poem of eight lines about the sea at night in which no line uses the word \"water\".",
    ),
    (
        Language::En,
        "Is the review positive or negative?",
        "Say whether the review is positive, negative or mixed, and quote the words that decide it.",
    ),
    (
        Language::En,
        "How long does a train take for 120 km at 60 km/h?",
        "A train goes 120 km at 60 km/h, waits 15 minutes and comes back at 80 km/h. How long is it away?",
    ),
    (
        Language::Zh,
        "说出非洲的三条河流。",
        "说出流经至少两个国家的三条非洲河流，并按长度从长到短排列。",
    ),
    (
        Language::Zh,
        "写一首关于大海的短诗。",
        "写一首八行诗描写夜里的大海，每行都不能出现“水”字。",
    ),
    (
        Language::Zh,
        "判断这条评论是好评还是差评。",
        "判断这条评论是好评、差评还是褒贬参半，并引用作为依据的词句。",
    ),
    (
        Language::Zh,
        "火车以每小时60公里行驶120公里要多久？",
        "火车以每小时60公里行驶120公里，停15分钟，再以每小时80公里返回，一共要多久？",
    ),
];

/// Asks for a harder version of an instruction.
pub(crate) fn request(style: PromptStyle, language: Language, instruction: &str) -> Prompt {
    let (head, task, harder) = language.pick(
        (
            "Each task is followed by a harder version of it, which asks for something more.",
            "Task:",
            "Harder task:",
        ),
        (
            "每个任务后面是它的加难版本，要求更多。",
            "任务：",
            "加难任务：",
        ),
    );
    let mut text = format!("{head}\n\n");
    for (_, before, after) in PAIRS.iter().filter(|(of, ..)| *of == language) {
        text.push_str(&format!("{task} {before}\n{harder} {after}\n\n"));
    }
    text.push_str(&format!("{task} {}\n{harder}", flatten(instruction)));
    match style {
        PromptStyle::Continue => Prompt::Text(text),
        PromptStyle::Chat => Prompt::Chat(vec![Message::user(text)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_ends_where_the_harder_version_begins() {
        let Prompt::Text(english) = request(PromptStyle::Continue, Language::En, "Add\n1 and 2.")
        else {
            panic!("a text");
        };
        assert!(
            english.ends_with("\n\nTask: Add 1 and 2.\nHarder task:"),
            "{english}"
        );
        assert_eq!(english.matches("Harder task:").count(), 5);
        let Prompt::Text(chinese) = request(PromptStyle::Continue, Language::Zh, "算一算。")
        else {
            panic!("a text");
        };
        assert!(
            chinese.ends_with("\n\n任务： 算一算。\n加难任务："),
            "{chinese}"
        );
        assert!(!chinese.contains("Task"));
    }
}
