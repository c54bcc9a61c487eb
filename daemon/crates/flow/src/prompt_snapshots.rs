//! Shows every change of what models are asked: the prompts of all stages in both languages must equal `tests/prompts/LANGUAGE.txt`.
//!
//! After a wanted change: `UPDATE_PROMPTS=1 cargo test -p autodidact-flow prompt_snapshots`, and read the difference. Another prompt
//! is another run: what a workflow made before cannot be made again with it.

use std::fmt::Write;
use std::path::Path;

use autodidact_domain::plan::PromptStyle;
use autodidact_domain::{Body, Example, Language, Prompt, TaskType};

use crate::prompts;
use crate::spec::{TEMPLATES, builtin_template};
use crate::stages::generate::{Kind, harder_request, lay_out};

/// Human examples with all that prompts show of one.
fn examples(language: Language) -> Vec<Example> {
    let example = |task_type, topic: &str, texts: (&str, &str, &str)| {
        let (instruction, input, output) = texts;
        let mut example = Example::human(Body::instruction(instruction, input, output));
        example.language = Some(language);
        example.task_type = Some(task_type);
        example.topic = Some(topic.to_string());
        example
    };
    language.pick(
        vec![
            example(
                TaskType::QuestionAnswering,
                "science",
                (
                    "Which gas do plants take from the air?",
                    "",
                    "Carbon dioxide.",
                ),
            ),
            example(
                TaskType::Classification,
                "travel",
                (
                    "Is the review positive or negative?",
                    "The room smelled of smoke.",
                    "negative",
                ),
            ),
        ],
        vec![
            example(
                TaskType::QuestionAnswering,
                "科学",
                ("植物从空气中吸收哪种气体？", "", "二氧化碳。"),
            ),
            example(
                TaskType::Classification,
                "旅行",
                ("这条评论是好评还是差评？", "房间里一股烟味。", "差评"),
            ),
        ],
    )
}

/// Lays out every prompt that there is, with its name.
fn all(language: Language) -> Vec<(String, Prompt)> {
    let human = examples(language);
    let shown: Vec<&Example> = human.iter().collect();
    let kind = Kind {
        task_type: Some(TaskType::Translation),
        topic: Some(language.pick("music", "音乐")),
    };
    let instruction = language.pick(
        "Say how urgent\nthe request is.",
        "说说这个请求\n有多紧急。",
    );
    let (input, output) = language.pick(("It burns!", "high"), ("着火了！", "高"));
    let mut prompts = Vec::new();
    for (name, _) in TEMPLATES {
        let template = builtin_template(name).expect("the table names it");
        let text = template.of(language).expect("it has both languages");
        for (asked, what) in [(None, ""), (Some(kind), ", of a kind")] {
            let prompt = lay_out(template.style, text, language, &shown, asked);
            prompts.push((format!("generate: template {name}{what}"), prompt));
        }
    }
    for style in [PromptStyle::Continue, PromptStyle::Chat] {
        let prompt = harder_request(style, language, instruction);
        prompts.push((format!("generate: a harder version, {style:?}"), prompt));
    }
    let turns = human[..1]
        .iter()
        .flat_map(|example| example.body.to_messages());
    let classifications = &shown[1..];
    let others = [
        (
            "respond: whether it is a classification",
            prompts::classification_request(language, instruction),
        ),
        (
            "respond: the labels of a classification",
            prompts::label_list_request(language, instruction),
        ),
        (
            "respond: a label",
            prompts::label_request(language, classifications, instruction),
        ),
        (
            "respond: an input that has a label",
            prompts::labelled_input_request(language, classifications, instruction, output),
        ),
        (
            "respond: an input, or that none is needed",
            prompts::input_request(language, &shown, instruction),
        ),
        (
            "respond, and validate: consistency: an answer",
            prompts::answer_request(Vec::new(), instruction, input),
        ),
        (
            "respond, and validate: consistency: an answer, after an example",
            prompts::answer_request(turns.collect(), instruction, input),
        ),
        (
            "filter: what an instruction's vector is made of, by a generator",
            prompts::keyword_request(language, instruction),
        ),
        (
            "filter: a mark of an instruction",
            prompts::instruction_mark_request(language, instruction),
        ),
        (
            "validate and evaluate: a mark of an answer",
            prompts::example_mark_request(language, instruction, input, output),
        ),
    ];
    let others = others.into_iter();
    prompts.extend(others.map(|(name, prompt)| (name.to_string(), prompt)));
    prompts
}

fn shown(language: Language) -> String {
    let mut text = String::new();
    for (name, prompt) in all(language) {
        writeln!(text, "######## {name}").expect("a string takes all");
        match prompt {
            Prompt::Text(prompt) => writeln!(text, "{prompt}¶"),
            Prompt::Chat(turns) => turns
                .iter()
                .try_for_each(|turn| writeln!(text, "[{}]\n{}¶", turn.role.as_str(), turn.content)),
        }
        .expect("a string takes all");
        text.push('\n');
    }
    text
}

#[test]
fn prompts_are_the_committed_ones() {
    for language in [Language::En, Language::Zh] {
        let path = format!("tests/prompts/{language}.txt");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let found = shown(language);
        if std::env::var_os("UPDATE_PROMPTS").is_some() {
            std::fs::write(&path, &found).expect("the folder is there");
        }
        let committed = std::fs::read_to_string(&path).expect("the prompts are committed");
        for (number, (found, expected)) in found.lines().zip(committed.lines()).enumerate() {
            assert_eq!(found, expected, "{language}.txt, line {}", number + 1);
        }
        assert_eq!(
            found.len(),
            committed.len(),
            "lines were added or removed at the end"
        );
    }
}

/// What stands in one language says nothing in the other.
#[test]
fn no_prompt_mixes_the_languages() {
    let is_han = |c: char| ('\u{4E00}'..='\u{9FFF}').contains(&c);
    assert!(!shown(Language::En).contains(is_han));
    for (name, prompt) in all(Language::Zh) {
        let text = prompts::show_prompt(&prompt);
        assert!(text.contains(is_han), "{name}: {text}");
        let words = ["Instruction", "Input", "Task", "Label", "Answer"];
        assert!(
            !words.iter().any(|word| text.contains(word)),
            "{name}: {text}"
        );
    }
}
