//! Whether a record is one of the held-out tasks, or has a long part of one: such a record is never shown, kept or trained on.

mod runs;
mod same_task;

use autodidact_domain::evaluation::ContaminationSpec;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::{Body, Example, ExampleId, Language, Verdict};
use autodidact_text::{NearDuplicateIndex, normalize};
use std::collections::HashMap;

use runs::RunIndex;
pub(crate) use same_task::{SameTasks, TaskText};

/// The reason of a drop.
pub(crate) const CONTAMINATED: &str = "contaminated";
/// Pairs that a message names; the rest is counted.
pub(crate) const NAMED_PAIRS: usize = 10;
/// Characters of a text that a message shows.
const SHOWN_CHARACTERS: usize = 40;

/// The held-out tasks, to be compared with.
pub(crate) struct Contamination {
    tasks: Vec<(ExampleId, String)>,
    same: SameTasks,
    runs: RunIndex,
    /// The tasks' instructions alone, for candidates that have no input yet, with equal ones once.
    instructions: NearDuplicateIndex,
    instruction_places: Vec<usize>,
    instructions_by_form: HashMap<String, usize>,
}

/// A held-out task that a record overlaps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Overlap {
    pub(crate) task: ExampleId,
    pub(crate) text: String,
    /// ROUGE-L F where it is near, 1 where it is equal; none where they share a run of tokens.
    pub(crate) score: Option<f64>,
    pub(crate) note: String,
}

impl Overlap {
    /// Makes the drop of a record that overlaps.
    pub(crate) fn verdict(self) -> Verdict {
        let evidence = Evidence {
            nearest: Some(self.task),
            nearest_text: Some(self.text),
            score: self.score,
            note: Some(self.note),
            ..Evidence::default()
        };
        Verdict::drop("contamination", CONTAMINATED, evidence)
    }
}

impl Contamination {
    /// Indexes the held-out tasks; none where there are none.
    pub(crate) fn new(spec: ContaminationSpec, held_out: &[Example]) -> Option<Self> {
        if held_out.is_empty() {
            return None;
        }
        let mut index = Self {
            tasks: Vec::with_capacity(held_out.len()),
            same: SameTasks::new(spec.rouge_l),
            runs: RunIndex::new(spec.ngram_en as usize, spec.ngram_zh as usize),
            instructions: NearDuplicateIndex::new(spec.rouge_l),
            instruction_places: Vec::new(),
            instructions_by_form: HashMap::new(),
        };
        for (place, task) in held_out.iter().enumerate() {
            let text = TaskText::of(&task.body);
            index.same.add(&text);
            index.runs.add(text.own());
            let form = normalize(&text.instruction);
            if !form.is_empty() && !index.instructions_by_form.contains_key(&form) {
                index.instructions.add(&text.instruction);
                index.instruction_places.push(place);
                index.instructions_by_form.insert(form, place);
            }
            index.tasks.push((task.id, text.whole()));
        }
        Some(index)
    }

    /// Finds the held-out task that a record with whatever input it has overlaps.
    pub(crate) fn of_record(&self, body: &Body) -> Option<Overlap> {
        let text = TaskText::of(body);
        if let Some(near) = self.same.nearest(&text) {
            return Some(self.near(near.place, near.score));
        }
        let (place, shared) = self.runs.find(text.own())?;
        let count = autodidact_text::count_tokens(&shared);
        Some(self.overlap(place, None, format!("{count} tokens in a row: {shared}")))
    }

    /// Finds the held-out task that an instruction which has no input yet overlaps: the task itself, or another instance of it.
    pub(crate) fn of_instruction(&self, instruction: &str) -> Option<Overlap> {
        if let Some(place) = self.instructions_by_form.get(&normalize(instruction)) {
            return Some(self.near(*place, 1.0));
        }
        if let Some(near) = self.instructions.nearest(instruction) {
            return Some(self.near(self.instruction_places[near.id], near.score));
        }
        self.of_record(&Body::instruction(instruction, "", ""))
    }

    fn near(&self, place: usize, score: f64) -> Overlap {
        let note = match score {
            1.0 => "equals a held-out task",
            _ => "near to a held-out task by ROUGE-L",
        };
        self.overlap(place, Some(score), note.to_string())
    }

    fn overlap(&self, place: usize, score: Option<f64>, note: String) -> Overlap {
        let (task, text) = &self.tasks[place];
        Overlap {
            task: *task,
            text: text.clone(),
            score,
            note,
        }
    }

    /// Pairs the records that overlap held-out tasks with those, in the order of the records.
    pub(crate) fn pairs<'a>(
        &'a self,
        records: &'a [Example],
    ) -> impl Iterator<Item = (&'a Example, Overlap)> {
        let found = move |record: &'a Example| Some((record, self.of_record(&record.body)?));
        records.iter().filter_map(found)
    }
}

/// Names a record and the held-out task that it overlaps, so that a person can find and remove one of them.
pub(crate) fn name_pair(language: Language, (record, overlap): &(&Example, Overlap)) -> String {
    let shown = |id: ExampleId, text: &str| {
        let line = crate::prompts::flatten(text);
        let cut: String = line.chars().take(SHOWN_CHARACTERS).collect();
        let end = match cut.len() < line.len() {
            true => "…",
            false => "",
        };
        format!("{} {:?}", id.short(), format!("{cut}{end}"))
    };
    let own = shown(record.id, &TaskText::of(&record.body).whole());
    let task = shown(overlap.task, &overlap.text);
    let how = match overlap.score {
        Some(score) => format!("ROUGE-L {score:.2}"),
        None => overlap.note.chars().take(SHOWN_CHARACTERS).collect(),
    };
    language.pick(
        format!("{own} is held-out task {task} ({how})"),
        format!("{own} 与留出任务 {task} 重叠（{how}）"),
    )
}

/// Names the first pairs and counts the rest.
pub(crate) fn name_pairs(language: Language, pairs: &[(&Example, Overlap)]) -> String {
    let named = pairs.iter().take(NAMED_PAIRS);
    let mut named: Vec<String> = named.map(|pair| name_pair(language, pair)).collect();
    if pairs.len() > NAMED_PAIRS {
        let rest = pairs.len() - NAMED_PAIRS;
        named.push(language.pick(format!("and {rest} more"), format!("另有 {rest} 对")));
    }
    named.join(language.pick("; ", "；"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_out(tasks: &[(&str, &str)]) -> Contamination {
        let example = |(instruction, input): &(&str, &str)| {
            Example::human(Body::instruction(instruction, input, "An answer."))
        };
        let tasks: Vec<Example> = tasks.iter().map(example).collect();
        Contamination::new(ContaminationSpec::default(), &tasks).expect("there are tasks")
    }

    const PASSAGE: &str =
        "The ferry to the northern islands leaves every morning at seven from the old stone pier.";
    const PASSAGE_ZH: &str =
        "每天清晨七点整，开往北部群岛的渡船都会准时从那座古老的石头码头缓缓驶出。";

    #[test]
    fn a_record_is_held_to_the_tasks_in_both_languages() {
        let held = held_out(&[
            ("Name three rivers that flow through Germany.", ""),
            ("说出三条流经德国的河流。", ""),
            ("Is the review good or bad?", "The soup was cold."),
            ("这条评论是好评还是差评？", "汤是凉的。"),
            ("Sum the notice up.", PASSAGE),
            ("概括这则通知。", PASSAGE_ZH),
        ]);
        let check = |instruction: &str, input: &str, expect: Option<&str>| {
            let found = held.of_record(&Body::instruction(instruction, input, "Whatever."));
            let found = found.map(|overlap| match overlap.score {
                None => "run",
                Some(1.0) => "equal",
                Some(_) => "near",
            });
            assert_eq!(found, expect, "{instruction} / {input}");
        };
        check(
            "Name three rivers that flow through Germany",
            "",
            Some("equal"),
        );
        check(
            "Name four rivers that flow through Germany.",
            "",
            Some("near"),
        );
        check("Name three mountains in the north of Spain.", "", None);
        check("“说出三条流经德国的河流”", "", Some("equal"));
        check("说出四条流经德国的河流。", "", Some("near"));
        check("写一首关于雪山的短诗。", "", None);
        // Another input makes another instance of a task, the same one does not.
        check(
            "Is the review good or bad?",
            "I loved every minute of it.",
            None,
        );
        check(
            "Is this review good or bad?",
            "The soup was cold.",
            Some("near"),
        );
        check("这条评论是好评还是差评？", "服务员很热情。", None);
        check("这条评论是好评或差评？", "汤是凉的。", Some("near"));
        // A long part of a task's text counts with any instruction around it.
        let part =
            |text: &str, characters: usize| text.chars().take(characters).collect::<String>();
        let thirteen = "ferry to the northern islands leaves every morning at seven from the old";
        check(
            "Write a story that begins so.",
            &format!("A {thirteen} port."),
            Some("run"),
        );
        let twelve = thirteen.trim_end_matches(" old");
        check(
            "Write a story that begins so.",
            &format!("A {twelve} new port."),
            None,
        );
        // Twenty-two characters with two commas among them are twenty tokens, nineteen are not enough.
        check(
            "请按这个开头写故事。",
            &format!("听说{}了", part(PASSAGE_ZH, 21)),
            Some("run"),
        );
        check(
            "请按这个开头写故事。",
            &format!("听说{}了", part(PASSAGE_ZH, 20)),
            None,
        );
    }

    #[test]
    fn an_instruction_without_its_input_is_another_instance_of_a_held_out_task() {
        let held = held_out(&[
            ("Find the main idea of the paragraph below.", PASSAGE),
            ("找出下面这段话的中心思想。", PASSAGE_ZH),
        ]);
        let is_dropped = |instruction: &str| held.of_instruction(instruction).is_some();
        for near in [
            "Find the main idea of the paragraph below!",
            "Find the main idea of the text below.",
            "找出下面这段话的中心思想",
            "找出下面这段文字的中心思想。",
        ] {
            assert!(is_dropped(near), "{near}");
        }
        assert!(!is_dropped("Write a letter to a friend who moved away."));
        assert!(!is_dropped("给搬走的朋友写一封信。"));
        let verdict = held.of_instruction("Find the main idea of the paragraph below!");
        let verdict = verdict.expect("equal").verdict();
        assert_eq!(verdict.reason, CONTAMINATED);
        assert_eq!(verdict.evidence.nearest, Some(held.tasks[0].0));
        assert_eq!(verdict.evidence.score, Some(1.0));
    }

    #[test]
    fn texts_without_any_token_and_threshold_one_are_compared_for_equality() {
        let spec = ContaminationSpec {
            rouge_l: 1.0,
            ..ContaminationSpec::default()
        };
        let task = |text: &str| Example::human(Body::instruction(text, "", "a"));
        let held = Contamination::new(spec, &[task("?!"), task("Add one and one.")]);
        let held = held.expect("there are tasks");
        let is_found = |text: &str| held.of_record(&task(text).body).is_some();
        assert!(is_found("？！") && is_found("add one and one"));
        assert!(!is_found("!!") && !is_found("Add one and two."));
        let messages = Vec::new();
        assert_eq!(held.of_record(&Body::Chat { messages }), None);
    }

    #[test]
    fn ten_pairs_are_named_and_the_rest_is_counted() {
        let texts: Vec<String> = (0..12).map(|i| format!("Task number {i} alone")).collect();
        let tasks: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_str(), "")).collect();
        let held = held_out(&tasks);
        let records: Vec<Example> = texts
            .iter()
            .map(|text| Example::human(Body::instruction(text, "", "b")))
            .collect();
        let pairs: Vec<_> = held.pairs(&records).collect();
        assert_eq!(pairs.len(), 12);
        for (language, rest) in [(Language::En, "and 2 more"), (Language::Zh, "另有 2 对")] {
            let named = name_pairs(language, &pairs);
            assert!(named.ends_with(rest), "{named}");
            assert!(named.contains("Task number 9 alone"), "{named}");
            assert!(!named.contains("Task number 10 alone"), "{named}");
        }
    }
}
