//! What guests answer, checked: reasons are codes, notes short, numbers can be written down, and texts are not empty.

use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateItem, Validation,
};
use autodidact_domain::{Message, Prompt, Role, TaskType};

use super::bindings::{filter, scorer, template, validator};

/// The longest reason code, in bytes, as the WIT says.
const MAX_REASON_BYTES: usize = 64;
/// The longest text of a guest's that an error shows, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// The longest answer that is taken as a correction, in bytes: some 60,000 tokens.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// The longest instruction that is taken out of a completion, in bytes.
const MAX_INSTRUCTION_BYTES: usize = 64 << 10;
/// The most items of one completion; some eight are asked for.
const MAX_ITEMS: usize = 256;
/// The most texts at which a completion stops.
const MAX_STOPS: usize = 64;

/// Checks a filter's decision. Notes are cut to so many bytes.
pub(super) fn decision(
    decision: filter::Decision,
    note_bytes: usize,
) -> Result<FilterDecision, String> {
    Ok(FilterDecision {
        drop_reason: decision.drop_reason.map(reason).transpose()?,
        note: decision.note.map(|note| cut(note, note_bytes)),
        score: decision.score.filter(|score| score.is_finite()),
    })
}

/// Checks what a validator says.
pub(super) fn validation(
    outcome: validator::Outcome,
    note_bytes: usize,
) -> Result<Validation, String> {
    let note = |note: Option<String>| note.map(|note| cut(note, note_bytes));
    Ok(match outcome {
        validator::Outcome::Accept => Validation::Accept,
        validator::Outcome::Correct(correction) if correction.output.trim().is_empty() => {
            return Err("gave an empty answer as a correction".to_string());
        }
        validator::Outcome::Correct(correction) if correction.output.len() > MAX_ANSWER_BYTES => {
            return Err(format!(
                "gave an answer of {} bytes as a correction; at most {MAX_ANSWER_BYTES} are taken",
                correction.output.len()
            ));
        }
        validator::Outcome::Correct(correction) => Validation::Correct {
            output: correction.output,
            note: note(correction.note),
        },
        validator::Outcome::Drop(fault) => Validation::Drop {
            reason: reason(fault.reason)?,
            note: note(fault.note),
            score: fault.score.filter(|score| score.is_finite()),
        },
    })
}

/// Checks a score.
pub(super) fn score(scored: scorer::Scored, note_bytes: usize) -> Result<PluginScore, String> {
    Ok(PluginScore {
        value: scored.value.filter(|value| value.is_finite()),
        note: scored.note.map(|note| cut(note, note_bytes)),
    })
}

/// Checks a prompt.
pub(super) fn rendered(rendered: template::Rendered) -> Result<RenderedPrompt, String> {
    let prompt = match rendered.prompt {
        template::Prompt::Text(text) if text.trim().is_empty() => {
            return Err("gave an empty prompt".to_string());
        }
        template::Prompt::Text(text) => Prompt::Text(text),
        template::Prompt::Chat(messages) if messages.is_empty() => {
            return Err("gave a conversation without a turn".to_string());
        }
        template::Prompt::Chat(messages) => {
            Prompt::Chat(messages.into_iter().map(message).collect())
        }
    };
    if rendered.stop.len() > MAX_STOPS {
        return Err(format!(
            "gave {} texts to stop at; at most {MAX_STOPS} are taken",
            rendered.stop.len()
        ));
    }
    if rendered.stop.iter().any(String::is_empty) {
        return Err("gave an empty text to stop at".to_string());
    }
    Ok(RenderedPrompt {
        prompt,
        stop: rendered.stop,
    })
}

/// Checks the items of a completion. Empty ones are left out; a kind that is not known is no kind.
pub(super) fn items(items: Vec<template::Item>) -> Result<Vec<TemplateItem>, String> {
    let item = |item: template::Item| TemplateItem {
        instruction: item.instruction.trim().to_string(),
        task_type: TaskType::from_name(&item.task_type),
        topic: (!item.topic.is_empty()).then_some(item.topic),
    };
    if items.len() > MAX_ITEMS {
        return Err(format!(
            "gave {} items of one completion; at most {MAX_ITEMS} are taken",
            items.len()
        ));
    }
    let mut lengths = items.iter().map(|item| item.instruction.len());
    if let Some(length) = lengths.find(|length| *length > MAX_INSTRUCTION_BYTES) {
        return Err(format!(
            "gave an instruction of {length} bytes; at most {MAX_INSTRUCTION_BYTES} are taken"
        ));
    }
    let items = items.into_iter().map(item);
    Ok(items.filter(|item| !item.instruction.is_empty()).collect())
}

fn message(message: template::Message) -> Message {
    Message {
        role: match message.role {
            template::Role::System => Role::System,
            template::Role::User => Role::User,
            template::Role::Assistant => Role::Assistant,
        },
        content: message.content,
    }
}

fn reason(reason: String) -> Result<String, String> {
    if is_reason_code(&reason) {
        return Ok(reason);
    }
    let shown: String = reason.chars().take(MAX_SHOWN_CHARS).collect();
    Err(format!(
        "gave {shown:?}, which is no reason code in snake case of at most {MAX_REASON_BYTES} bytes"
    ))
}

/// Tells whether a text is a reason code; `kept` is the host's own word.
fn is_reason_code(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= MAX_REASON_BYTES
        && text.chars().all(good)
        && text != "kept"
}

/// Cuts a text to so many bytes, between characters, with `…` where something was cut.
fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reason: &str, score: Option<f64>) -> validator::Outcome {
        validator::Outcome::Drop(validator::Fault {
            reason: reason.to_string(),
            note: Some("abcdef".to_string()),
            score,
        })
    }

    #[test]
    fn reasons_are_codes() {
        for good in ["a", "bad_form", "x2", &"a".repeat(64)] {
            let made = filter::Decision {
                drop_reason: Some(good.to_string()),
                note: None,
                score: None,
            };
            assert_eq!(
                decision(made, 9).unwrap().drop_reason.as_deref(),
                Some(good)
            );
            assert!(validation(fault(good, None), 9).is_ok());
        }
        for bad in [
            "",
            "Bad",
            "bad form",
            "_bad",
            "2x",
            "坏",
            "kept",
            "bad-form",
            &"a".repeat(65),
        ] {
            assert!(reason(bad.to_string()).is_err(), "{bad:?}");
            assert!(validation(fault(bad, None), 9).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("abcdef".into(), 6), "abcdef");
        assert_eq!(cut("abcdefg".into(), 6), "abc…");
        assert_eq!(cut("汉字汉字".into(), 9), "汉字…");
        assert_eq!(cut("汉字汉字".into(), 8), "汉…");
    }

    #[test]
    fn numbers_are_finite() {
        let value = |value| {
            let scored = scorer::Scored { value, note: None };
            score(scored, 9).unwrap().value
        };
        assert_eq!(value(Some(f64::NAN)), None);
        assert_eq!(value(Some(f64::INFINITY)), None);
        assert_eq!(value(Some(0.5)), Some(0.5));
        let dropped = validation(fault("bad", Some(f64::NAN)), 4).unwrap();
        assert!(
            matches!(&dropped, Validation::Drop { note: Some(note), score: None, .. } if note == "a…"),
            "{dropped:?}"
        );
    }

    #[test]
    fn corrections_prompts_and_stops_say_something() {
        let corrected = |output: &str| {
            let output = output.to_string();
            let correction = validator::Correction { output, note: None };
            validation(validator::Outcome::Correct(correction), 9)
        };
        assert!(corrected(" \n").is_err());
        assert!(corrected("x").is_ok());
        let written = |prompt: template::Prompt, stop: &[&str]| {
            let stop = stop.iter().map(ToString::to_string).collect();
            rendered(template::Rendered { prompt, stop })
        };
        assert!(written(template::Prompt::Text(" ".into()), &[]).is_err());
        assert!(written(template::Prompt::Chat(Vec::new()), &[]).is_err());
        assert!(written(template::Prompt::Text("x".into()), &[""]).is_err());
        assert!(written(template::Prompt::Text("x".into()), &["\n"]).is_ok());
    }

    #[test]
    fn items_are_texts_of_known_kinds() {
        let item = |instruction: &str, task_type: &str| template::Item {
            instruction: instruction.to_string(),
            task_type: task_type.to_string(),
            topic: String::new(),
        };
        let read = items(vec![
            item(" Add. ", "code"),
            item(" ", ""),
            item("画", "painting"),
        ]);
        let kinds: Vec<_> = read
            .unwrap()
            .into_iter()
            .map(|i| (i.instruction, i.task_type))
            .collect();
        let expect = [
            ("Add.".to_string(), Some(TaskType::Code)),
            ("画".to_string(), None),
        ];
        assert_eq!(kinds, expect);
    }

    #[test]
    fn a_correction_has_a_longest_length() {
        let correct = |bytes: usize| {
            let correction = validator::Correction {
                output: "a".repeat(bytes),
                note: None,
            };
            validation(validator::Outcome::Correct(correction), 100)
        };
        assert!(correct(MAX_ANSWER_BYTES).is_ok());
        assert_eq!(
            correct(MAX_ANSWER_BYTES + 1),
            Err("gave an answer of 262145 bytes as a correction; at most 262144 are taken".into())
        );
    }

    #[test]
    fn items_of_a_completion_have_a_longest_length() {
        let read = |bytes: usize| {
            let instructions = ["short".to_string(), "字".repeat(bytes / 3)];
            let made = instructions.map(|instruction| template::Item {
                instruction,
                task_type: String::new(),
                topic: String::new(),
            });
            items(made.into()).map(|items| items.len())
        };
        assert_eq!(read(MAX_INSTRUCTION_BYTES), Ok(2));
        assert_eq!(
            read(MAX_INSTRUCTION_BYTES + 2),
            Err("gave an instruction of 65538 bytes; at most 65536 are taken".into())
        );
    }
}
