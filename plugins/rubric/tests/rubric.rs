//! What a model is asked, and what its marks come to, in English and Chinese.

use autodidact_plugin::Record;
use rubric::rubric::{Criterion, Rubric};

fn criterion(name: &str, en: &str, zh: &str, weight: f64) -> Criterion {
    Criterion {
        name: name.to_string(),
        en: en.to_string(),
        zh: zh.to_string(),
        weight,
    }
}

fn record<'a>(language: &'a str, instruction: &'a str, output: &'a str) -> Record<'a> {
    Record {
        language,
        instruction,
        output,
        ..Record::default()
    }
}

#[test]
fn questions_are_in_the_language_of_the_record() {
    let rubric = Rubric::of(Vec::new(), Vec::new()).unwrap();
    let questions = rubric.questions(&record("en", "Name a river.", ""));
    assert_eq!(
        questions[0],
        "Task: Name a river.\n\nIs it clear what this task asks for, so that two people would do the same?\n1 means not at all, 5 means fully. Answer with one digit from 1 to 5."
    );
    assert_eq!(questions.len(), 2);
    let answered = Record {
        input: "上海",
        ..record("zh", "写一句话。", "上海是一座城市。")
    };
    let questions = rubric.questions(&answered);
    assert_eq!(questions.len(), 3);
    assert_eq!(
        questions[1],
        "任务：写一句话。\n\n输入：上海\n\n回答：上海是一座城市。\n\n回答的内容是否正确？\n1 分表示完全不符合，5 分表示完全符合。请只回答 1 到 5 的一个数字。"
    );
}

#[test]
fn a_criterion_without_words_in_a_language_is_asked_in_the_other() {
    let own = vec![
        criterion("short", "Is it short?", "", 1.0),
        criterion("polite", "", "礼貌吗？", 3.0),
    ];
    let rubric = Rubric::of(own, Vec::new()).unwrap();
    for language in ["en", "zh", "fr"] {
        let questions = rubric.questions(&record(language, "Say hello.", ""));
        assert!(questions[0].contains("Is it short?"), "{language}");
        assert!(questions[1].contains("礼貌吗？"), "{language}");
    }
}

#[test]
fn a_score_is_the_weighted_mean_of_the_marks_and_says_them() {
    let own = vec![
        criterion("short", "Is it short?", "", 1.0),
        criterion("polite", "Is it polite?", "", 3.0),
    ];
    let rubric = Rubric::of(own, Vec::new()).unwrap();
    let record = record("en", "Say hello.", "");
    let settle = |marks: &[&str]| {
        let marks: Vec<String> = marks.iter().map(ToString::to_string).collect();
        rubric.settle(&record, &marks)
    };
    let score = settle(&["1", " 5"]);
    assert_eq!(score.value, Some(4.0));
    assert_eq!(score.note.as_deref(), Some("short 1, polite 5"));
    assert_eq!(settle(&["6", "5"]).value, None);
    assert_eq!(settle(&["1"]).value, None);
}

#[test]
fn what_is_wrong_with_a_criterion_is_said() {
    let wrong = |criterion| Rubric::of(vec![criterion], Vec::new()).unwrap_err();
    assert!(wrong(criterion(" ", "Why?", "", 1.0)).contains("no name"));
    assert!(wrong(criterion("why", "", " ", 1.0)).contains("why asks nothing"));
    assert!(wrong(criterion("why", "Why?", "", 0.0)).contains("above 0"));
    assert!(wrong(criterion("why", "Why?", "", f64::NAN)).contains("above 0"));
    let many = vec![criterion("why", "Why?", "", 1.0); 9];
    assert!(
        Rubric::of(Vec::new(), many)
            .unwrap_err()
            .contains("at most 8")
    );
}

#[test]
fn without_a_host_there_is_no_score_and_it_says_why() {
    use autodidact_plugin::Scorer;
    let rubric = Rubric::of(Vec::new(), Vec::new()).unwrap();
    let score = rubric.score(&record("en", "Say hello.", ""));
    assert_eq!(score.value, None);
    assert!(score.note.unwrap().contains("there is no model"));
}
