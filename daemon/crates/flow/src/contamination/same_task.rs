//! Records that ask the same: by their instruction and the input that it is about.

use std::collections::HashMap;

use autodidact_domain::example::join_input;
use autodidact_domain::{Body, Role};
use autodidact_text::{NearDuplicateIndex, normalize, rouge_l, tokenize};

/// What a record asks: an instruction, and the input that it is about where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskText {
    pub(crate) instruction: String,
    pub(crate) input: String,
}

impl TaskText {
    /// Reads it off a record: of a conversation what the user says, of other texts all of it.
    pub(crate) fn of(body: &Body) -> Self {
        let instruction = match body {
            Body::Chat { messages } => {
                let user = messages.iter().filter(|turn| turn.role == Role::User);
                let said: Vec<&str> = user.map(|turn| turn.content.as_str()).collect();
                said.join("\n")
            }
            other => other.instruction_text().into_owned(),
        };
        Self {
            instruction,
            input: body.input_text().to_string(),
        }
    }

    /// Shows instruction and input.
    pub(crate) fn whole(&self) -> String {
        join_input(&self.instruction, Some(&self.input))
    }

    /// Shows what sets it apart from other records of the same instruction.
    pub(crate) fn own(&self) -> &str {
        match self.input.is_empty() {
            true => &self.instruction,
            false => &self.input,
        }
    }
}

/// A task that asks the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    /// How many tasks were added before it.
    pub(crate) place: usize,
    /// ROUGE-L F of instruction and input; 1 where they are equal.
    pub(crate) score: f64,
}

/// Finds, among many tasks, one that asks the same as another: equal after normalisation, or instruction and input together above
/// a ROUGE-L threshold, and where both have an input the inputs alone too. One instruction on another input is another instance.
pub(crate) struct SameTasks {
    threshold: f64,
    equal: HashMap<String, usize>,
    wholes: NearDuplicateIndex,
    texts: Vec<String>,
    without_input: (NearDuplicateIndex, Vec<usize>),
    inputs: (NearDuplicateIndex, Vec<usize>),
}

impl SameTasks {
    pub(crate) fn new(threshold: f64) -> Self {
        let index = || NearDuplicateIndex::new(threshold);
        Self {
            threshold,
            equal: HashMap::new(),
            wholes: index(),
            texts: Vec::new(),
            without_input: (index(), Vec::new()),
            inputs: (index(), Vec::new()),
        }
    }

    /// Adds a task.
    pub(crate) fn add(&mut self, task: &TaskText) {
        let (place, whole) = (self.texts.len(), task.whole());
        let form = normalize(&whole);
        if !form.is_empty() {
            self.equal.entry(form).or_insert(place);
        }
        self.wholes.add(&whole);
        let (index, places) = match task.input.is_empty() {
            true => &mut self.without_input,
            false => &mut self.inputs,
        };
        index.add(task.own());
        places.push(place);
        self.texts.push(whole);
    }

    /// Finds the task most like another one, where one is the same; of equally like ones the first.
    pub(crate) fn nearest(&self, task: &TaskText) -> Option<Near> {
        let whole = task.whole();
        if let Some(place) = self.equal.get(&normalize(&whole)) {
            return Some(Near {
                place: *place,
                score: 1.0,
            });
        }
        if task.input.is_empty() {
            let found = self.wholes.nearest(&whole)?;
            return Some(Near {
                place: found.id,
                score: found.score,
            });
        }
        let (index, places) = &self.without_input;
        let mut best = index.nearest(&whole).map(|found| Near {
            place: places[found.id],
            score: found.score,
        });
        let (index, places) = &self.inputs;
        let tokens = tokenize(&whole);
        for found in index.all_near(&task.input) {
            let place = places[found.id];
            let score = rouge_l(&tokens, &tokenize(&self.texts[place]));
            let must_beat = best.map_or(self.threshold, |best| best.score);
            if score > must_beat {
                best = Some(Near { place, score });
            }
        }
        best
    }
}
