//! Good and bad form, English and Chinese.

use autodidact_plugin::{Filter, Plugin, Record};
use form::{CHECKS, Config, Form};

fn reason(config: Config, instruction: &str) -> Option<String> {
    let record = Record {
        instruction,
        ..Record::default()
    };
    let decision = Form::new(config).unwrap().decide(&record);
    decision.drop_reason().map(str::to_string)
}

fn check(instruction: &str, expected: Option<&str>) {
    assert_eq!(
        reason(Config::default(), instruction).as_deref(),
        expected,
        "{instruction:?}"
    );
}

#[test]
fn good_instructions_are_kept() {
    for good in [
        "Write a haiku about the first snow of winter.",
        "Which gas do plants take from the air to make sugar?",
        "\"To be or not to be\" is from which play?",
        "Complete the analogy: hand is to glove as foot is to ...",
        "Choose the right word: a) their b) there c) they're",
        "Predict the intent: 1) orders; 2) shipping; 3) other.",
        "3.5 liters is how many gallons?",
        "2024 was a leap year. Why?",
        "-5 + 3 = ?",
        ".NET or Java: which one would you learn first?",
        "iPhone or Android: name two differences.",
        "x + 2 = 5. Solve for x.",
        "Describe a 5\" screen in one sentence.",
        "Reply to this message kindly :)",
        "Explain what the user input is used for",
        "Given the following input: 3, 4, add the numbers.",
        "What does (a + b) * c mean?",
        "《史记》的作者是谁？",
        "“三顾茅庐”讲的是谁请谁出山？",
        "以“秋天的傍晚”为题作两行现代诗。",
        "python里怎么读取一个文件？",
        "求这组数的总和",
        "一句话介绍埃及",
        "把下面的句子改成「把」字句。",
        "解释（a+b)的含义。",
        "请回答下面的问题：中国的首都是哪里？",
        "三个和尚没水喝，说明了什么道理？",
        "😀 是什么意思？",
    ] {
        check(good, None);
    }
}

#[test]
fn what_only_looks_like_bad_form_is_kept() {
    for good in [
        "Format this JSON: {\"user\": {\"id\": {\"n\": 1}}}",
        "What does \\frac{{a}}{b} print in LaTeX?",
        "What does `{{ message }}` do in a Vue template?",
        "Vue 里的“{{ message }}”是什么意思？",
        "Rewrite xs |> List.map f as a plain call in F#.",
        "In F#, what does f <| x mean?",
        "三、四线城市的房价为什么下跌？",
        "七、八月去哪里旅游比较凉快？",
        "£20 is how many dollars at 1.25 dollars a pound?",
        "¥100 能买几本 25 元的书？",
        "#include <stdio.h> does what in C?",
        "@Override means what in Java?",
        "/etc/passwd holds what on Linux?",
        "<div> or <span>: which one breaks the line?",
        "npm install fails with EACCES. What can I do?",
        "git rebase or git merge: when would you use which?",
        "printf() prints nothing. Why?",
        "os.path.join does what?",
        "std::vector or std::list: which one is faster to iterate?",
        "Does the interval [0, 1) contain 1?",
        "区间（0，1]是否包含 0？",
        "用一句话回复：谢谢你:)",
        "用一句话回复“谢谢你：）”",
        "Reply to \"I lost my keys :(\" in one sentence.",
        "A 27” monitor or a 24” one and a 32” one: which suits a small desk?",
        "Is a 27” monitor too large for a small desk?",
        "Solve 3a = 12 for a",
        "Explain the difference between a and an",
    ] {
        check(good, None);
    }
}

#[test]
fn what_only_looks_like_good_form_is_dropped() {
    check(
        "Write to {{ user.name }} about it.",
        Some("template_marker"),
    );
    check("给{{姓名}}写一封信。", Some("template_marker"));
    check("Name a river.<|im_e", Some("template_marker"));
    check("Name a river.im_end|>", Some("template_marker"));
    check("任务一：写一首诗。", Some("template_marker"));
    check("（一）写一首诗。", Some("list_number"));
    check("●写一首诗。", Some("list_number"));
    check("#1 is a river", Some("starts_with_punctuation"));
    check("/ name a river", Some("starts_with_punctuation"));
    check("gives a list of rivers.", Some("starts_lower_case"));
    check(
        "Which set is [0, 1 in brackets?",
        Some("unbalanced_brackets"),
    );
    check(
        "Pick one: (red, green and blue]",
        Some("unbalanced_brackets"),
    );
    check("举一个例子：（水果", Some("unbalanced_brackets"));
    check(
        "“Summer of 1927” is a “good title.",
        Some("unbalanced_quotes"),
    );
    check("Write a story about a", Some("cut_sentence"));
    check("Compare its and the", Some("cut_sentence"));
}

#[test]
fn leftovers_of_templates_are_dropped() {
    for bad in [
        "Input: 3, 4",
        "Add the numbers. Input: 3, 4",
        "Translate.\nOutput: hello",
        "**Instruction:** write a poem",
        "Task 3: Name a river.",
        "Name a river. <noinput>",
        "Noinput",
        "Name a river.<|im_end|>",
        "### Name a river",
        "Write about {{topic}}.",
        "输入：你好",
        "翻译成英文。输入：你好",
        "任务 2：写一首诗",
        "写一首诗。答案：床前明月光",
        "写一首诗<无输入>",
    ] {
        check(bad, Some("template_marker"));
    }
}

#[test]
fn leftovers_of_lists_are_dropped() {
    for bad in [
        "3. Name a river.",
        "12) Name a river.",
        "1.Name a river.",
        "(4) Name a river.",
        "- Name a river.",
        "• Name a river.",
        "b) Name a river.",
        "② 写一首诗。",
        "3、写一首诗。",
        "１．写一首诗。",
        "一、写一首诗。",
        "十二、写一首诗。",
        "What is the longest river? 12. Name a lake.",
        "写一首诗。2. 写一个故事。",
    ] {
        check(bad, Some("list_number"));
    }
}

#[test]
fn fragments_are_dropped() {
    check("", Some("empty_instruction"));
    check(" \n　", Some("empty_instruction"));
    check(", and then sum it up.", Some("starts_with_punctuation"));
    check("? Name a river.", Some("starts_with_punctuation"));
    check("，然后写一首诗。", Some("starts_with_punctuation"));
    check("。", Some("starts_with_punctuation"));
    check("…and so on", Some("starts_with_punctuation"));
    check("and explain why it is so.", Some("starts_lower_case"));
    check("a list of rivers.", Some("starts_lower_case"));
    check("Name a river.\nName a lake.", Some("several_lines"));
    check("写一首诗。\n\n写一个故事。", Some("several_lines"));
}

#[test]
fn lost_partners_are_dropped() {
    check(
        "List three colours (red, blue.",
        Some("unbalanced_brackets"),
    );
    check(
        "List three colours red, blue).",
        Some("unbalanced_brackets"),
    );
    check("列举三种颜色（红、蓝。", Some("unbalanced_brackets"));
    check("《史记的作者是谁？", Some("unbalanced_brackets"));
    check("Who said \"I came, I saw?", Some("unbalanced_quotes"));
    check("解释“画蛇添足的意思。", Some("unbalanced_quotes"));
    check("解释「画蛇添足的意思。", Some("unbalanced_quotes"));
    check("What does `len do?", Some("unbalanced_quotes"));
}

#[test]
fn cut_ends_are_dropped() {
    check("Translate this sentence:", Some("ends_with_colon"));
    check("把下面的句子翻译成英文：", Some("ends_with_colon"));
    check("Compare the sea and the", Some("cut_sentence"));
    check("Name a river,", Some("cut_sentence"));
    check("写一首关于春天、", Some("cut_sentence"));
    check("写一首诗，", Some("cut_sentence"));
    check("写一首诗或者", Some("cut_sentence"));
    check("写一首诗——", Some("cut_sentence"));
}

#[test]
fn configuration_is_obeyed_and_checked() {
    let disabled = |code: &str| Config {
        disabled: vec![code.to_string()],
        ..Config::default()
    };
    assert_eq!(
        reason(disabled("ends_with_colon"), "Translate this sentence:"),
        None
    );
    assert_eq!(
        reason(
            Config {
                max_lines: 2,
                ..Config::default()
            },
            "One line.\nAnother line."
        ),
        None
    );
    assert!(
        Form::new(disabled("end_with_colon"))
            .err()
            .unwrap()
            .contains("ends_with_colon")
    );
    assert!(
        Form::new(Config {
            max_lines: 0,
            ..Config::default()
        })
        .is_err()
    );
}

#[test]
fn the_schema_names_every_check() {
    for check in &CHECKS {
        assert!(
            Form::CONFIG_SCHEMA.contains(&format!("{:?}", check.code)),
            "{}",
            check.code
        );
    }
}
