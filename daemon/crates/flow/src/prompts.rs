//! The texts that models are given, in both languages, and how their answers are read.

use autodidact_domain::example::join_input;
use autodidact_domain::example::{Example, Language};
use autodidact_domain::{FinishReason, Message, Prompt};

/// Lays out instruction and input of a few examples, and the instruction whose input is wanted.
pub(crate) fn input_request(
    language: Language,
    examples: &[&Example],
    instruction: &str,
) -> Prompt {
    let (instruction_marker, input_marker, none) = input_markers(language);
    let mut text = String::new();
    for example in examples {
        let input = match example.body.input_text() {
            "" => none.to_string(),
            input => flatten(input),
        };
        text.push_str(&format!(
            "{instruction_marker} {}\n{input_marker} {input}\n\n",
            flatten(&example.body.instruction_text())
        ));
    }
    text.push_str(&format!(
        "{instruction_marker} {}\n{input_marker}",
        flatten(instruction)
    ));
    Prompt::Text(text)
}

/// Ends a part at the end of its line, where the prompt's examples end theirs.
pub(crate) fn line_stops() -> Vec<String> {
    vec!["\n".to_string()]
}

/// The words by which a model says whether an instruction is a classification, with the blank that comes before them.
pub(crate) fn classification_answers(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::En => (" Yes", " No"),
        Language::Zh => ("是", "否"),
    }
}

/// Tasks that are classifications and tasks that are not, to be shown with the question.
const CLASSIFICATIONS: [(Language, &str, bool); 12] = [
    (
        Language::En,
        "Tell whether the review is positive or negative.",
        true,
    ),
    (Language::En, "Give three tips for sleeping better.", false),
    (
        Language::En,
        "Sort the message into one of these folders: work, family, advertising.",
        true,
    ),
    (
        Language::En,
        "Shorten the paragraph to one sentence.",
        false,
    ),
    (Language::En, "Is the statement true or false?", true),
    (Language::En, "Translate the sentence into French.", false),
    (Language::Zh, "判断这条评论是好评还是差评。", true),
    (Language::Zh, "给出三条改善睡眠的建议。", false),
    (
        Language::Zh,
        "把这封邮件归入以下文件夹之一：工作、家庭、广告。",
        true,
    ),
    (Language::Zh, "用一句话概括这段文字。", false),
    (Language::Zh, "下面的说法是对还是错？", true),
    (Language::Zh, "把这个句子译成英文。", false),
];

/// Asks whether an instruction is a classification, with some that are and some that are not before it.
pub(crate) fn classification_request(language: Language, instruction: &str) -> Prompt {
    let (head, task, question) = match language {
        Language::En => (
            "Some tasks ask for one of a few fixed labels. Say for each task whether it is one of those.",
            "Task:",
            "Fixed labels:",
        ),
        Language::Zh => (
            "有些任务要求从少数几个固定标签中选一个。请判断每个任务是否属于这一类。",
            "任务：",
            "固定标签：",
        ),
    };
    let (yes, no) = classification_answers(language);
    let mut text = format!("{head}\n\n");
    for (_, example, is_one) in CLASSIFICATIONS.iter().filter(|(of, ..)| *of == language) {
        let answer = if *is_one { yes } else { no };
        text.push_str(&format!("{task} {example}\n{question}{answer}\n\n"));
    }
    text.push_str(&format!("{task} {}\n{question}", flatten(instruction)));
    Prompt::Text(text)
}

/// Classifications with all their labels, to be shown before the one whose labels are wanted.
const LABEL_LISTS: [(Language, &str, &[&str]); 6] = [
    (
        Language::En,
        "Tell whether the review is positive or negative.",
        &["positive", "negative"],
    ),
    (
        Language::En,
        "Sort the message into the right folder.",
        &["work", "family", "advertising"],
    ),
    (Language::En, "Is the statement true?", &["true", "false"]),
    (
        Language::Zh,
        "判断这条评论是好评还是差评。",
        &["好评", "差评"],
    ),
    (
        Language::Zh,
        "把这封邮件归入合适的文件夹。",
        &["工作", "家庭", "广告"],
    ),
    (Language::Zh, "下面的说法对吗？", &["对", "错"]),
];

/// Asks for the labels that a classification may have, as a numbered list.
pub(crate) fn label_list_request(language: Language, instruction: &str) -> Prompt {
    let (head, task, labels) = match language {
        Language::En => (
            "Each task is answered with one of a few fixed labels. List the possible labels of each task.",
            "Task:",
            "Labels:",
        ),
        Language::Zh => (
            "每个任务都从少数几个固定标签中选一个作为答案。请列出每个任务所有可能的标签。",
            "任务：",
            "标签：",
        ),
    };
    let mut text = format!("{head}\n\n");
    for (_, example, list) in LABEL_LISTS.iter().filter(|(of, ..)| *of == language) {
        text.push_str(&format!("{task} {example}\n{labels}\n"));
        for (i, label) in list.iter().enumerate() {
            text.push_str(&format!("{}. {label}\n", i + 1));
        }
        text.push('\n');
    }
    text.push_str(&format!("{task} {}\n{labels}\n1.", flatten(instruction)));
    Prompt::Text(text)
}

/// Ends a list at the empty line after it.
pub(crate) fn paragraph_stops() -> Vec<String> {
    vec!["\n\n".to_string()]
}

/// Lays out some classifications, label before input, and the instruction whose label is wanted.
pub(crate) fn label_request(language: Language, shown: &[&Example], instruction: &str) -> Prompt {
    Prompt::Text(up_to_label(language, shown, instruction))
}

fn up_to_label(language: Language, shown: &[&Example], instruction: &str) -> String {
    let (instruction_marker, input_marker, _) = input_markers(language);
    let label_marker = label_marker(language);
    let mut text = String::new();
    for example in shown {
        text.push_str(&format!(
            "{instruction_marker} {}\n{label_marker} {}\n{input_marker} {}\n\n",
            flatten(&example.body.instruction_text()),
            flatten(&example.body.output_text()),
            flatten(example.body.input_text())
        ));
    }
    text.push_str(&format!(
        "{instruction_marker} {}\n{label_marker}",
        flatten(instruction)
    ));
    text
}

/// Goes on from [`label_request`] to the input that has the label.
pub(crate) fn labelled_input_request(
    language: Language,
    shown: &[&Example],
    instruction: &str,
    label: &str,
) -> Prompt {
    let (_, input_marker, _) = input_markers(language);
    let text = up_to_label(language, shown, instruction);
    Prompt::Text(format!("{text} {}\n{input_marker}", flatten(label)))
}

fn label_marker(language: Language) -> &'static str {
    match language {
        Language::En => "Label:",
        Language::Zh => "标签：",
    }
}

/// Asks for a mark of an instruction.
pub(crate) fn instruction_mark_request(language: Language, instruction: &str) -> Prompt {
    let text = match language {
        Language::En => format!(
            "How good is this task for an assistant that reads and writes text alone? 1 is senseless or impossible, 3 is usable, 5 is clear and useful.\n\nTask: {instruction}\n\nAnswer with one digit from 1 to 5."
        ),
        Language::Zh => format!(
            "对于只能读写文字的助手，这个任务质量如何？1 分：没有意义或无法完成；3 分：可用；5 分：清楚且有用。\n\n任务：{instruction}\n\n请只用 1 到 5 的一个数字回答。"
        ),
    };
    Prompt::Chat(vec![Message::user(text)])
}

/// Asks for a mark of an answered example.
pub(crate) fn example_mark_request(
    language: Language,
    instruction: &str,
    input: &str,
    output: &str,
) -> Prompt {
    let task = join_input(instruction, Some(input));
    let text = match language {
        Language::En => format!(
            "How well does the answer do what the task asks? 1 is wrong or beside the point, 3 is partly right, 5 is right and complete.\n\nTask: {task}\n\nAnswer: {output}\n\nAnswer with one digit from 1 to 5."
        ),
        Language::Zh => format!(
            "这个回答在多大程度上完成了任务？1 分：错误或答非所问；3 分：部分正确；5 分：正确且完整。\n\n任务：{task}\n\n回答：{output}\n\n请只用 1 到 5 的一个数字回答。"
        ),
    };
    Prompt::Chat(vec![Message::user(text)])
}

fn input_markers(language: Language) -> (&'static str, &'static str, &'static str) {
    match language {
        Language::En => ("Instruction:", "Input:", "<noinput>"),
        Language::Zh => ("指令：", "输入：", "<无输入>"),
    }
}

/// An input as a model tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToldInput {
    /// The input.
    Text(String),
    /// The instruction stands alone.
    NotNeeded,
    /// It was cut off before its first whole sentence, or there was no room for it.
    Cut,
}

/// Reads a generated input. One that was cut off by its length is kept up to its last whole sentence.
pub(crate) fn read_input(text: &str, finish: FinishReason) -> ToldInput {
    if finish == FinishReason::NoRoom {
        return ToldInput::Cut;
    }
    match parse_input(text) {
        None => ToldInput::NotNeeded,
        Some(text) => parse_answer(&text, finish).map_or(ToldInput::Cut, ToldInput::Text),
    }
}

/// Markers of an input in either script, and of what may come after one, in lower case and without their colon.
const INPUT_MARKERS: [&str; 2] = ["input", "输入"];
const LATER_MARKERS: [&str; 6] = ["output", "instruction", "label", "输出", "指令", "标签"];

/// Strips a marker with its colon, of either width.
fn strip_marker<'a>(text: &'a str, markers: &[&str]) -> Option<&'a str> {
    let text = text.trim_start();
    let (before, after) = text.split_once([':', '：'])?;
    let word = before.trim().to_lowercase();
    markers.contains(&word.as_str()).then(|| after.trim_start())
}

/// Reads a generated input; none where the model says that the instruction stands alone.
fn parse_input(text: &str) -> Option<String> {
    let own = strip_marker(text, &INPUT_MARKERS).unwrap_or(text);
    let is_own = |line: &&str| strip_marker(line, &LATER_MARKERS).is_none();
    let lines: Vec<&str> = own.lines().take_while(is_own).collect();
    let text = lines.join("\n");
    let text = text.trim();
    let bare: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase();
    let none = matches!(
        bare.as_str(),
        "" | "noinput" | "none" | "na" | "无输入" | "无" | "没有输入"
    );
    (!none).then(|| text.to_string())
}

/// Asks for an instruction's keyword; what a model is about to say then tells what the instruction is about.
pub(crate) fn keyword_request(language: Language, instruction: &str) -> Prompt {
    let instruction = flatten(instruction);
    Prompt::Text(language.pick(
        format!("Task: {instruction}\nKeyword:"),
        format!("任务：{instruction}\n关键词："),
    ))
}

/// Lays out an instruction for the model to answer, as its chat template wants it, after turns that show how.
pub(crate) fn answer_request(shown: Vec<Message>, instruction: &str, input: &str) -> Prompt {
    let mut messages = shown;
    messages.push(Message::user(join_input(instruction, Some(input))));
    Prompt::Chat(messages)
}

/// Reads an answer. One that was cut off by its length is kept up to its last whole sentence or line.
pub(crate) fn parse_answer(text: &str, finish: FinishReason) -> Option<String> {
    let text = text.trim();
    if finish != FinishReason::Length {
        return (!text.is_empty()).then(|| text.to_string());
    }
    let end = text
        .char_indices()
        .filter_map(|(i, c)| sentence_end(text, i, c))
        .next_back()?;
    let whole = text[..end].trim();
    (!whole.is_empty()).then(|| whole.to_string())
}

/// Tells where a sentence ends whose last mark stands at `i`, with what closes behind it; none where it goes on.
fn sentence_end(text: &str, i: usize, mark: char) -> Option<usize> {
    let end = i + mark.len_utf8();
    if mark == '\n' {
        return (!announces(text[..i].trim())).then_some(end);
    }
    let closing = |c: char| "\"'”’」』》）)".contains(c);
    let rest = &text[end..];
    let after = rest.trim_start_matches(closing);
    let end = end + rest.len() - after.len();
    match mark {
        '。' | '！' | '？' => Some(end),
        '.' | '!' | '?' if !(after.is_empty() || after.starts_with(char::is_whitespace)) => None,
        '.' if is_no_end(&text[..i]) => None,
        '.' | '!' | '?' => Some(end),
        _ => None,
    }
}

/// Tells whether lines announce what follows, which was cut off: "Here is the list:", or nothing but "Dear Ms. Alvarez,".
fn announces(lines: &str) -> bool {
    const GREETINGS: [&str; 8] = [
        "Dear ", "Hi", "Hello", "Hey", "尊敬", "亲爱", "您好", "你好",
    ];
    let greets = GREETINGS.iter().any(|word| lines.starts_with(word));
    let open = lines.ends_with([',', '，', '、']);
    lines.ends_with([':', '：']) || greets && open && !lines.contains('\n')
}

/// Tells whether a full stop behind this text ends no sentence: a list's number, an abbreviation.
fn is_no_end(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    let word = line.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    (is_number && line.trim() == word)
        || word.contains('.') && word.chars().all(|c| c.is_ascii_alphabetic() || c == '.')
        || ["Dr", "Mr", "Mrs", "Ms", "St", "vs", "etc"].contains(&word)
}

/// Shows a prompt to people and to a judge; of a conversation every turn, with who says it.
pub(crate) fn show_prompt(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Chat(turns) => match turns.as_slice() {
            [question] => question.content.clone(),
            turns => {
                let told = |turn: &Message| format!("{}: {}", turn.role.as_str(), turn.content);
                turns.iter().map(told).collect::<Vec<_>>().join("\n")
            }
        },
    }
}

/// Puts a text on one line.
pub(crate) fn flatten(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_say_no_input_are_none() {
        for none in ["<noinput>", " Noinput", "<无输入>", "", "N/A", "无。"] {
            assert_eq!(parse_input(none), None, "{none:?}");
        }
        assert_eq!(parse_input(" a b ").as_deref(), Some("a b"));
    }

    #[test]
    fn inputs_with_markers_in_either_script() {
        let check = |text: &str, finish, expect: Option<&str>| {
            let expect = expect.map_or(ToldInput::NotNeeded, |text| ToldInput::Text(text.into()));
            assert_eq!(read_input(text, finish), expect, "{text:?}");
        };
        check("Input: a b", FinishReason::Stop, Some("a b"));
        check("输入：苹果\n输出：水果", FinishReason::Eos, Some("苹果"));
        check("INPUT： <noinput>", FinishReason::Eos, None);
        check("输入: 无", FinishReason::Eos, None);
        check("Ratio: 3:4", FinishReason::Eos, Some("Ratio: 3:4"));
        check("One. Two is", FinishReason::Length, Some("One."));
        let cut = read_input("apples, pears and", FinishReason::Length);
        assert_eq!(cut, ToldInput::Cut);
        assert_eq!(read_input("", FinishReason::NoRoom), ToldInput::Cut);
    }

    #[test]
    fn a_cut_answer_ends_with_its_last_whole_sentence() {
        let check = |text, finish, expect: Option<&str>| {
            assert_eq!(parse_answer(text, finish).as_deref(), expect)
        };
        check("One. Two is", FinishReason::Length, Some("One."));
        check("It costs 3.5 and", FinishReason::Length, None);
        check("1. Preheat the oven to", FinishReason::Length, None);
        check("Use tools, e.g. a hammer and", FinishReason::Length, None);
        check("Ask Dr. Miller about", FinishReason::Length, None);
        check(
            "It was 12. Then it",
            FinishReason::Length,
            Some("It was 12."),
        );
        check(
            "He said \"Go.\" Then",
            FinishReason::Length,
            Some("He said \"Go.\""),
        );
        check(
            "她说：“走吧。”然后",
            FinishReason::Length,
            Some("她说：“走吧。”"),
        );
        check(
            "Dear Ms. Alvarez,\nThank you for",
            FinishReason::Length,
            None,
        );
        check("步骤如下：\n先把", FinishReason::Length, None);
        check(
            "Red leaves fall\nThe wind",
            FinishReason::Length,
            Some("Red leaves fall"),
        );
        check("一句。两", FinishReason::Length, Some("一句。"));
        check("One. Two is", FinishReason::Eos, Some("One. Two is"));
        check("  ", FinishReason::Eos, None);
    }
}
