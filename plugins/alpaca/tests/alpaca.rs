//! Prompts in both languages, and lists as models write them.

use alpaca::{Alpaca, Config, Demands};
use autodidact_plugin::{Completion, Example, Finish, Plugin, Prompt, Request, Template};

fn request(language: &str, task_type: &str, topic: &str) -> Request {
    let example = |instruction: &str| Example {
        instruction: instruction.to_string(),
        input: String::new(),
        output: String::new(),
        task_type: String::new(),
        topic: String::new(),
    };
    Request {
        language: language.to_string(),
        examples: vec![example("Name a\nriver."), example("写一首诗。")],
        task_type: task_type.to_string(),
        topic: topic.to_string(),
        count: 8,
        seed: 1,
    }
}

fn prompt(config: Config, request: &Request) -> String {
    let rendered = Alpaca::new(config).unwrap().render(request).unwrap();
    match rendered.prompt {
        Prompt::Chat(turns) => turns[0].content.clone(),
        Prompt::Text(text) => panic!("{text}"),
    }
}

#[test]
fn a_prompt_says_what_is_wanted_in_the_language_that_is_wanted() {
    let english = prompt(
        Config::default(),
        &request("en", "question_answering", "food"),
    );
    assert!(english.starts_with("Make up 8 new tasks"), "{english}");
    assert!(english.contains("- be of this kind: question answering, food.\n"));
    assert!(
        english.contains("\n1. Name a river.\n2. 写一首诗。\n"),
        "{english}"
    );
    assert!(english.ends_with("goes on from 3, a task on each line, and write nothing else."));

    let config = Config {
        demands: Demands {
            zh: vec!["提到一种动物。".to_string()],
            ..Demands::default()
        },
        count: 5,
    };
    let chinese = prompt(config, &request("zh", "", ""));
    assert!(chinese.starts_with("请为一个只会读写文字的助手设计 5 个新任务。"));
    assert!(
        chinese.contains("- 是真有人需要完成的事。\n- 提到一种动物。\n\n"),
        "{chinese}"
    );
    assert!(!chinese.contains("属于这一类"));
}

#[test]
fn another_language_and_an_empty_demand_are_refused() {
    let render = |language| {
        Alpaca::new(Config::default())
            .unwrap()
            .render(&request(language, "", ""))
    };
    let error = render("fr").err().unwrap();
    assert_eq!(
        error,
        "there are no words for \"fr\"; there are for en and zh"
    );
    let config = Config {
        demands: Demands {
            en: vec![" ".to_string()],
            ..Demands::default()
        },
        count: 0,
    };
    assert!(Alpaca::new(config).is_err());
    let many = Config {
        count: 101,
        ..Config::default()
    };
    assert!(Alpaca::new(many).is_err());
}

#[test]
fn lists_are_read_in_either_script() {
    let check = |text: &str, finish: Finish, expect: &[&str]| {
        let completion = Completion {
            request: request("en", "", ""),
            text: text.to_string(),
            finish,
        };
        let items = Alpaca::new(Config::default()).unwrap().parse(&completion);
        let found: Vec<String> = items.unwrap().into_iter().map(|i| i.instruction).collect();
        assert_eq!(found, expect, "{text:?}");
    };
    check(
        "Sure, here they are:\n\n3. Name a lake.\n4) Add 3.5 and 2.\n\nDo you want more?",
        Finish::Stop,
        &["Name a lake.", "Add 3.5 and 2."],
    );
    check(
        "３．写一个故事。\n（4）算一算：\n3.5 加 2\n5、造句",
        Finish::Stop,
        &["写一个故事。", "算一算：\n3.5 加 2", "造句"],
    );
    check(
        "**3.** Name a lake.\n4. Explain why the",
        Finish::Length,
        &["Name a lake."],
    );
    check(
        "3. Name a lake.\n4. Say hi!",
        Finish::Length,
        &["Name a lake.", "Say hi!"],
    );
    check("I cannot do that.", Finish::Stop, &[]);
    check("3. \n1234. x", Finish::Stop, &["1234. x"]);
    check("3. \n\n4.", Finish::Stop, &[]);
}
