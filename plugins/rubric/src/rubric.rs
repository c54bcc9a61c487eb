//! Criteria, how a model is asked about them, and what its marks come to.

use autodidact_plugin::{Record, Score};
use serde::Deserialize;

/// The marks that a model may give, the worst first.
pub const MARKS: [&str; 5] = ["1", "2", "3", "4", "5"];
/// The most criteria of a list: each is a question about every record.
const MAX_CRITERIA: usize = 8;

/// Something that a model is asked about a record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// What notes call it.
    pub name: String,
    /// The question in English, which stands for every language without one of its own.
    #[serde(default)]
    pub en: String,
    /// The question in Chinese.
    #[serde(default)]
    pub zh: String,
    /// How much it counts.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// What is asked about records without and with an answer.
#[derive(Clone, Debug)]
pub struct Rubric {
    instruction: Vec<Criterion>,
    answer: Vec<Criterion>,
}

impl Rubric {
    /// Makes a rubric; an empty list takes the criteria of this plugin.
    ///
    /// # Errors
    /// What to mend in a criterion.
    pub fn of(instruction: Vec<Criterion>, answer: Vec<Criterion>) -> Result<Self, String> {
        for (field, criteria) in [("instruction", &instruction), ("answer", &answer)] {
            if criteria.len() > MAX_CRITERIA {
                return Err(format!(
                    "{field} has {} criteria; at most {MAX_CRITERIA} are asked about",
                    criteria.len()
                ));
            }
            criteria.iter().try_for_each(|criterion| {
                check(criterion).map_err(|wrong| format!("{field}: {wrong}"))
            })?;
        }
        let or_own = |given: Vec<Criterion>, own: &[[&str; 3]]| match given.is_empty() {
            true => own.iter().copied().map(criterion).collect(),
            false => given,
        };
        Ok(Self {
            instruction: or_own(instruction, &INSTRUCTION),
            answer: or_own(answer, &ANSWER),
        })
    }

    /// Counts what is asked about a record.
    pub fn count(&self, record: &Record<'_>) -> usize {
        self.criteria(record).len()
    }

    /// Writes the questions about a record, in its language.
    pub fn questions(&self, record: &Record<'_>) -> Vec<String> {
        let criteria = self.criteria(record).iter();
        criteria
            .map(|criterion| question(record, criterion))
            .collect()
    }

    /// Settles a record's score: the weighted mean of its marks, which the note lists.
    pub fn settle(&self, record: &Record<'_>, marks: &[String]) -> Score {
        let criteria = self.criteria(record);
        let (mut sum, mut weights, mut told) = (0.0, 0.0, Vec::new());
        for (criterion, mark) in criteria.iter().zip(marks) {
            let Some(place) = MARKS.iter().position(|known| *known == mark.trim()) else {
                return Score::none(format!("{}: {mark:?} is no mark", criterion.name));
            };
            sum += criterion.weight * (place + 1) as f64;
            weights += criterion.weight;
            told.push(format!("{} {}", criterion.name, place + 1));
        }
        if marks.len() < criteria.len() {
            return Score::none(format!("{} of {} marks came", marks.len(), criteria.len()));
        }
        Score {
            value: Some(sum / weights),
            note: Some(told.join(", ")),
        }
    }

    fn criteria(&self, record: &Record<'_>) -> &[Criterion] {
        match record.output.trim().is_empty() {
            true => &self.instruction,
            false => &self.answer,
        }
    }
}

fn check(criterion: &Criterion) -> Result<(), String> {
    let name = &criterion.name;
    if name.trim().is_empty() {
        return Err("a criterion has no name".to_string());
    }
    if criterion.en.trim().is_empty() && criterion.zh.trim().is_empty() {
        return Err(format!("{name} asks nothing: give it en, zh or both"));
    }
    match criterion.weight.is_finite() && criterion.weight > 0.0 {
        true => Ok(()),
        false => Err(format!(
            "the weight of {name} is {}; it is above 0",
            criterion.weight
        )),
    }
}

/// Name, English, Chinese.
const INSTRUCTION: [[&str; 3]; 2] = [
    [
        "clear",
        "Is it clear what this task asks for, so that two people would do the same?",
        "这个任务的要求是否清楚，不同的人会有相同的理解？",
    ],
    [
        "feasible",
        "Can somebody who can only read and write text do this task with nothing but what stands here?",
        "只能读写文字的人，仅凭这里给出的内容，能否完成这个任务？",
    ],
];

/// Name, English, Chinese.
const ANSWER: [[&str; 3]; 3] = [
    [
        "on_task",
        "Does the answer do what the task asks for, all of it and nothing else?",
        "回答是否完成了任务的全部要求，且没有多余内容？",
    ],
    [
        "right",
        "Is what the answer says right?",
        "回答的内容是否正确？",
    ],
    [
        "well_written",
        "Is the answer well written, in the language of the task?",
        "回答的表达是否通顺，并使用了任务的语言？",
    ],
];

fn criterion([name, en, zh]: [&str; 3]) -> Criterion {
    Criterion {
        name: name.to_string(),
        en: en.to_string(),
        zh: zh.to_string(),
        weight: 1.0,
    }
}

fn question(record: &Record<'_>, criterion: &Criterion) -> String {
    let chinese = match record.language {
        "zh" => !criterion.zh.trim().is_empty(),
        _ => criterion.en.trim().is_empty(),
    };
    let (input, output) = (record.input.trim(), record.output.trim());
    let shown = |label: &str, text: &str| match text.is_empty() {
        true => String::new(),
        false => format!("{label}{text}\n\n"),
    };
    match chinese {
        true => format!(
            "{}{}{}{}\n1 分表示完全不符合，5 分表示完全符合。请只回答 1 到 5 的一个数字。",
            shown("任务：", record.instruction.trim()),
            shown("输入：", input),
            shown("回答：", output),
            criterion.zh.trim(),
        ),
        false => format!(
            "{}{}{}{}\n1 means not at all, 5 means fully. Answer with one digit from 1 to 5.",
            shown("Task: ", record.instruction.trim()),
            shown("Input: ", input),
            shown("Answer: ", output),
            criterion.en.trim(),
        ),
    }
}
