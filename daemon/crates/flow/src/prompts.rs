//! The texts that models are given, in both languages, and how their answers are read.

use autodidact_domain::example::join_input;
use autodidact_domain::example::{Example, Language};
use autodidact_domain::{FinishReason, Message, Prompt};

/// Lays out the numbered list of Self-Instruct: examples first, the next number open.
pub(crate) fn instruction_list(language: Language, examples: &[&str]) -> Prompt {
    let mut text = String::from(match language {
        Language::En => "Come up with a series of different tasks:\n\n",
        Language::Zh => "请想出一系列各不相同的任务：\n\n",
    });
    for (i, example) in examples.iter().enumerate() {
        text.push_str(&format!("{}. {}\n", i + 1, flatten(example)));
    }
    text.push_str(&format!("{}.", examples.len() + 1));
    Prompt::Text(text)
}

/// What an instruction list's continuation must not run on into.
pub(crate) fn instruction_list_stops() -> Vec<String> {
    vec!["\n\n\n".to_string()]
}

/// Reads the items of a continued list, the first of which follows its number directly.
///
/// Items keep their inner lines; a rule may judge those. The last item of a completion that was cut off by its length
/// counts only when it ends like a sentence.
pub(crate) fn parse_instruction_list(text: &str, finish: FinishReason) -> Vec<String> {
    let mut items: Vec<String> = vec![String::new()];
    for line in text.lines() {
        match strip_number(line) {
            Some(rest) => items.push(rest.to_string()),
            None => {
                let item = items.last_mut().expect("it starts with one item");
                if !item.is_empty() {
                    item.push('\n');
                }
                item.push_str(line.trim());
            }
        }
    }
    let cut_off = finish == FinishReason::Length
        && !items.last().is_some_and(|item| ends_like_a_sentence(item));
    if cut_off {
        items.pop();
    }
    items
        .into_iter()
        .map(|item| item.trim().to_string())
        .filter(|item| !item.is_empty())
        .collect()
}

/// Strips a list number in either script: `12.`, `12)`, `12、`, `12．`, `（12）`.
fn strip_number(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let inner = line.strip_prefix(['(', '（']).unwrap_or(line);
    let digits = inner.len() - inner.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 || digits > 3 {
        return None;
    }
    let rest = &inner[digits..];
    let marked = rest.strip_prefix(['.', ')', '、', '．', '。', '）', ':', '：'])?;
    // "3.5 metres" is text, not the third item.
    if rest.starts_with('.') && marked.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(marked.trim())
}

fn ends_like_a_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', '”', '’', '」', '）', ')'])
        .ends_with(['.', '?', '!', '。', '？', '！'])
}

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
            flatten(example.body.instruction_text())
        ));
    }
    text.push_str(&format!(
        "{instruction_marker} {}\n{input_marker}",
        flatten(instruction)
    ));
    Prompt::Text(text)
}

/// Ends an input at the end of its line, where the prompt's examples end theirs.
pub(crate) fn input_request_stops() -> Vec<String> {
    vec!["\n".to_string()]
}

fn input_markers(language: Language) -> (&'static str, &'static str, &'static str) {
    match language {
        Language::En => ("Instruction:", "Input:", "<noinput>"),
        Language::Zh => ("指令：", "输入：", "<无输入>"),
    }
}

/// Reads a generated input; none where the model says that the instruction stands alone.
pub(crate) fn parse_input(text: &str) -> Option<String> {
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

/// Lays out an instruction for the model to answer, as its chat template wants it.
pub(crate) fn answer_request(instruction: &str, input: &str) -> Prompt {
    Prompt::Chat(vec![Message::user(join_input(instruction, Some(input)))])
}

/// Reads an answer. One that was cut off by its length is kept up to its last whole sentence or line.
pub(crate) fn parse_answer(text: &str, finish: FinishReason) -> Option<String> {
    let text = text.trim();
    if finish != FinishReason::Length {
        return (!text.is_empty()).then(|| text.to_string());
    }
    let end = text
        .char_indices()
        .filter(|(i, c)| match c {
            '。' | '！' | '？' | '\n' => true,
            '.' | '!' | '?' => {
                text[i + c.len_utf8()..].starts_with(char::is_whitespace) || i + 1 == text.len()
            }
            _ => false,
        })
        .map(|(i, c)| i + c.len_utf8())
        .next_back()?;
    let whole = text[..end].trim();
    (!whole.is_empty()).then(|| whole.to_string())
}

/// Puts a text on one line.
pub(crate) fn flatten(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_items_survive_numbering_in_either_script() {
        let check = |text: &str, finish, expect: &[&str]| {
            assert_eq!(parse_instruction_list(text, finish), expect, "{text:?}");
        };
        check(
            " Name a fruit.\n10. Add 1 and 2.\n",
            FinishReason::Eos,
            &["Name a fruit.", "Add 1 and 2."],
        );
        check(
            " 写一首诗。\n10、翻译这句话。\n（11）算一算",
            FinishReason::Eos,
            &["写一首诗。", "翻译这句话。", "算一算"],
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
        check("", FinishReason::Eos, &[]);
    }

    #[test]
    fn all_ways_to_say_no_input_are_none() {
        for none in ["<noinput>", " Noinput", "<无输入>", "", "N/A", "无。"] {
            assert_eq!(parse_input(none), None, "{none:?}");
        }
        assert_eq!(parse_input(" a b ").as_deref(), Some("a b"));
    }

    #[test]
    fn a_cut_answer_ends_with_its_last_whole_sentence() {
        let check = |text, finish, expect: Option<&str>| {
            assert_eq!(parse_answer(text, finish).as_deref(), expect)
        };
        check("One. Two is", FinishReason::Length, Some("One."));
        check("It costs 3.5 and", FinishReason::Length, None);
        check("一句。两", FinishReason::Length, Some("一句。"));
        check("One. Two is", FinishReason::Eos, Some("One. Two is"));
        check("  ", FinishReason::Eos, None);
    }
}
