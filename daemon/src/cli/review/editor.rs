//! An example in the user's own editor.

use std::io::Write;
use std::process::Command;

use autodidact_client::v1;
use v1::example::Body;

use crate::cli::Failure;

/// What an example's parts are called in the file, in their order.
const PARTS: [&str; 3] = ["instruction", "input", "output"];
const HELP: &str = "\
Change what is wrong below, save and close. The lines with dashes name the parts; leave them there.
Leaving everything as it is decides nothing.
";

/// Opens an example in the user's editor; gives what was changed.
pub(super) async fn change(example: &v1::Example) -> Result<v1::EditExample, Failure> {
    let before = read_parts(example);
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .filter_map(|name| std::env::var(name).ok());
    let editor = editor
        .map(|text| text.trim().to_string())
        .find(|text| !text.is_empty());
    let editor = editor.ok_or_else(|| {
        Failure::usage("neither VISUAL nor EDITOR names an editor: set one, or give --instruction, --input or --output")
    })?;
    let text = write_file(&before);
    let edited = tokio::task::spawn_blocking(move || run_editor(&editor, &text));
    let edited = edited
        .await
        .map_err(|error| Failure::local(format!("run the editor: {error}")))??;
    changes(&before, &read_file(&edited)?)
}

fn run_editor(editor: &str, text: &str) -> Result<String, Failure> {
    let failed = |what: &str| {
        let what = what.to_string();
        move |error: std::io::Error| Failure::local(format!("{what}: {error}"))
    };
    let mut file = tempfile::Builder::new()
        .prefix("autodidact-review-")
        .suffix(".txt")
        .tempfile()
        .map_err(failed("make a file to edit"))?;
    file.write_all(text.as_bytes())
        .map_err(failed("write the file to edit"))?;
    // An editor may come with options, as in `code --wait`.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or_default();
    let status = Command::new(program).args(words).arg(file.path()).status();
    let status = status.map_err(failed(&format!("run the editor {program}")))?;
    if !status.success() {
        return Err(Failure::local(format!(
            "the editor {program} ended with {status}; nothing was decided"
        )));
    }
    // Some editors write a new file in the old one's place.
    std::fs::read_to_string(file.path()).map_err(failed("read the edited file"))
}

/// What the parts of an example say; none where its form has no such part.
type Texts = [Option<String>; 3];

fn read_parts(example: &v1::Example) -> Texts {
    match &example.body {
        Some(Body::Instruction(it)) => [
            Some(it.instruction.clone()),
            Some(it.input.clone().unwrap_or_default()),
            Some(it.output.clone().unwrap_or_default()),
        ],
        Some(Body::Chat(chat)) => {
            let says = |role: v1::Role| move |message: &&v1::Message| message.role() == role;
            let mut messages = chat.messages.iter();
            let asked = messages.find(says(v1::Role::User));
            let answered = chat.messages.iter().rfind(says(v1::Role::Assistant));
            [asked, None, answered].map(|message| message.map(|m| m.content.clone()))
        }
        Some(Body::Text(text)) => [Some(text.clone()), None, None],
        Some(Body::Labelled(it)) => [Some(it.text.clone()), None, Some(it.label.clone())],
        Some(Body::Tagged(it)) => [None, None, Some(it.tags.join(" "))],
        None => [None, None, None],
    }
}

fn heading(name: &str) -> String {
    format!("----- {name} -----")
}

fn write_file(texts: &Texts) -> String {
    let mut file = format!("{HELP}\n");
    for (name, text) in PARTS.iter().zip(texts) {
        if let Some(text) = text {
            file.push_str(&format!("{}\n{text}\n", heading(name)));
        }
    }
    file
}

fn read_file(file: &str) -> Result<Texts, Failure> {
    let mut texts: Texts = [None, None, None];
    let mut at = None;
    for line in file.lines() {
        if let Some(part) = PARTS
            .iter()
            .position(|name| line.trim_end() == heading(name))
        {
            if texts[part].is_some() {
                let name = PARTS[part];
                return Err(Failure::local(format!(
                    "the part {name} stands there twice"
                )));
            }
            texts[part] = Some(String::new());
            at = Some(part);
        } else if let Some(text) = at.and_then(|part| texts[part].as_mut()) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(texts.map(|text| text.map(|text| text.trim_end_matches('\n').to_string())))
}

fn changes(before: &Texts, after: &Texts) -> Result<v1::EditExample, Failure> {
    let mut changed: Texts = [None, None, None];
    for part in 0..PARTS.len() {
        let (old, new) = (before[part].as_deref(), after[part].as_deref());
        // An editor adds or takes an empty line at the end.
        let same = old.map(str::trim_end) == new.map(str::trim_end);
        match (same, new) {
            (true, _) => {}
            (false, Some(new)) => changed[part] = Some(new.to_string()),
            (false, None) => {
                let heading = heading(PARTS[part]);
                return Err(Failure::local(format!(
                    "the line {heading:?} is gone; empty the part below it instead"
                )));
            }
        }
    }
    let [instruction, input, output] = changed;
    let edit = v1::EditExample {
        instruction,
        input,
        output,
    };
    match edit == v1::EditExample::default() {
        true => Err(Failure::local(
            "nothing was changed, so nothing was decided",
        )),
        false => Ok(edit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum() -> v1::Example {
        v1::Example {
            body: Some(Body::Instruction(v1::Instruction {
                instruction: "Add.".into(),
                input: Some("1\n\n2".into()),
                output: Some("----- a list -----\n4".into()),
            })),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_changed_in_the_file_is_changed_in_the_example() {
        let before = read_parts(&sum());
        let file = write_file(&before);
        assert_eq!(read_file(&file).ok(), Some(before.clone()));
        let edited = |old: &str, new: &str| {
            let file = file.replace(old, new);
            changes(&before, &read_file(&file).unwrap())
        };
        let expect = v1::EditExample {
            output: Some("----- a list -----\n3".into()),
            ..Default::default()
        };
        assert_eq!(edited("\n4\n", "\n3\n\n").unwrap(), expect);
        let without_input = edited("1\n\n2\n", "").unwrap();
        assert_eq!(without_input.input.as_deref(), Some(""));
        assert!(edited("4\n", "4").is_err(), "nothing was changed");
        assert!(
            edited("----- input -----\n", "").is_err(),
            "a heading is gone"
        );
        let twice = format!("{file}----- input -----\n3\n");
        assert!(read_file(&twice).is_err());
    }

    #[test]
    fn an_editor_is_run_on_the_file_with_its_options() {
        let text = write_file(&read_parts(&sum()));
        let edited = run_editor("sed -i s/Add/Sum/", &text).unwrap();
        let changed = changes(&read_parts(&sum()), &read_file(&edited).unwrap()).unwrap();
        assert_eq!(changed.instruction.as_deref(), Some("Sum."));
        assert!(run_editor("false", &text).is_err());
        assert!(run_editor("no-such-editor-here", &text).is_err());
    }
}
