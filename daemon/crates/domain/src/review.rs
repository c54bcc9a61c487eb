//! The human spot-check: which examples are laid before people, what they said, and what a round waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::journal::StageName;
use crate::{Body, Example, ExampleId, Role, Verdict};

/// How a round's kept examples are laid before people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewSpec {
    /// How many of them.
    pub sample: SampleSize,
    /// Which of them.
    pub by: SampleOrder,
    /// What training waits for; without a gate nothing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<ReviewGate>,
}

/// How many of a round's examples are sampled; written as one number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub enum SampleSize {
    /// So many, or all where there are fewer.
    Count(u32),
    /// This share of them, above 0 and below 1, rounded up.
    Share(f64),
}

impl SampleSize {
    /// Tells how many of so many are sampled.
    pub fn of(self, examples: u64) -> u64 {
        match self {
            Self::Count(count) => u64::from(count).min(examples),
            Self::Share(share) => (examples as f64 * share).ceil() as u64,
        }
    }
}

impl From<f64> for SampleSize {
    /// Reads a number below 1 as a share, and others as a count.
    fn from(number: f64) -> Self {
        match number {
            share if share < 1.0 => Self::Share(share),
            count => Self::Count(count as u32),
        }
    }
}

impl From<SampleSize> for f64 {
    fn from(size: SampleSize) -> Self {
        match size {
            SampleSize::Count(count) => Self::from(count),
            SampleSize::Share(share) => share,
        }
    }
}

/// Which of a round's examples are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleOrder {
    /// Each as likely as any other.
    Random,
    /// Those that passed their marks by the least margin; at random where nothing gave marks.
    Doubtful,
}

/// What training waits for: so large a share of valid examples, so surely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewGate {
    /// The least share of valid examples, 0 to 1.
    pub share: f64,
    /// How surely the share is at least that: the confidence of the one-sided lower bound, 0.5 to 0.9999.
    pub confidence: f64,
}

impl Default for ReviewGate {
    fn default() -> Self {
        Self {
            share: 0.8,
            confidence: 0.95,
        }
    }
}

/// An example that lies before people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewItem {
    /// The example as the stages before kept it.
    pub example: Example,
    /// Why it was sampled.
    pub why: SampledFor,
    /// What the stages before said of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<PassedVerdict>,
}

/// Why an example was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampledFor {
    /// It was drawn.
    Random,
    /// Its marks are this little above the least that passes.
    Doubtful {
        /// The least of the margins over its marks.
        margin: f64,
    },
}

/// A stage's verdict on an example that it kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedVerdict {
    /// The stage.
    pub stage: StageName,
    /// What it said.
    pub verdict: Verdict,
}

/// A person's decision on one example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewDecision {
    /// The example, by the id that it was laid out with.
    pub record: ExampleId,
    /// What was decided.
    pub ruling: Ruling,
    /// Who decided.
    pub reviewer: String,
    /// Why; empty where nothing was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

impl ReviewDecision {
    /// Tells whether it says the same, whenever that was.
    pub fn says_what(&self, other: &Self) -> bool {
        let said = |decision: &Self| Self {
            time_ms: 0,
            ..decision.clone()
        };
        said(self) == said(other)
    }
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ruling {
    /// It is valid as it is.
    Accept,
    /// It is not, and goes no further.
    Reject,
    /// It is not, and this goes on in its place.
    Edit {
        /// What it should have said.
        body: Body,
    },
}

/// The review of one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReviewRound {
    /// How many different examples the round kept; none while it still makes them.
    pub examples: Option<u64>,
    /// What lies before people, in the order it was laid out.
    pub items: Vec<ReviewItem>,
    /// Every decision in the order they were made, those that later ones replaced among them.
    pub decisions: Vec<ReviewDecision>,
    /// How many of the decisions the stage has used; none while it has not. Later ones change nothing.
    pub settled: Option<u64>,
}

impl ReviewRound {
    /// Shows the decisions that count: each example's last one, of those that were made before the stage used them.
    pub fn in_force(&self) -> BTreeMap<ExampleId, &ReviewDecision> {
        let counted = self.settled.unwrap_or(u64::MAX);
        let counted = usize::try_from(counted).unwrap_or(usize::MAX);
        let decisions = self.decisions.iter().take(counted);
        decisions
            .map(|decision| (decision.record, decision))
            .collect()
    }
}

/// What a person changes of an example; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// What to do; of a conversation its first question, of a text the text.
    pub instruction: Option<String>,
    /// What to do it to; empty takes it away.
    pub input: Option<String>,
    /// The answer; of a conversation its last, of a labelled text the label, of a sentence its tags with blanks between.
    pub output: Option<String>,
}

impl Edit {
    /// Writes the changed example.
    ///
    /// # Errors
    /// What cannot be changed so: an instruction or answer taken away, or a part that this form of example does not have.
    pub fn apply(&self, body: &Body) -> Result<Body, String> {
        let empty = |text: &Option<String>| text.as_ref().is_some_and(|t| t.trim().is_empty());
        if empty(&self.instruction) {
            return Err("instruction: nothing is left of it; reject the example instead".into());
        }
        if empty(&self.output) {
            return Err("output: nothing is left of it; reject the example instead".into());
        }
        let has_input = matches!(body, Body::Instruction { .. });
        if self.input.is_some() && !has_input {
            return Err("input: only instructions have one".into());
        }
        let or = |new: &Option<String>, old: &str| new.clone().unwrap_or_else(|| old.to_string());
        Ok(match body {
            Body::Instruction {
                instruction,
                input,
                output,
            } => Body::instruction(
                &or(&self.instruction, instruction),
                &or(&self.input, input.as_deref().unwrap_or_default()),
                &or(&self.output, output.as_deref().unwrap_or_default()),
            ),
            Body::Chat { messages } => {
                let mut messages = messages.clone();
                let first = messages.iter().position(|m| m.role == Role::User);
                let last = messages.iter().rposition(|m| m.role == Role::Assistant);
                for (new, at, what) in [
                    (&self.instruction, first, "instruction: nobody asks"),
                    (&self.output, last, "output: nobody answers"),
                ] {
                    if let Some(new) = new {
                        let at = at.ok_or(format!("{what} in this conversation"))?;
                        messages[at].content.clone_from(new);
                    }
                }
                Body::Chat { messages }
            }
            Body::Text { text } => match (&self.instruction, &self.output) {
                (Some(_), Some(_)) => {
                    return Err("output: a text has one part; change the instruction alone".into());
                }
                (new, other) => Body::Text {
                    text: or(if new.is_some() { new } else { other }, text),
                },
            },
            Body::Labelled { text, label } => Body::Labelled {
                text: or(&self.instruction, text),
                label: or(&self.output, label),
            },
            Body::Tagged { tokens, tags } => {
                if self.instruction.is_some() {
                    return Err("instruction: the words of a sentence stay; change its tags".into());
                }
                let new = self.output.as_ref().map(|tags| tags.split_whitespace());
                let tags = new.map_or(tags.clone(), |tags| tags.map(str::to_string).collect());
                if tags.len() != tokens.len() {
                    let (found, words) = (tags.len(), tokens.len());
                    return Err(format!("output: expected {words} tags, found {found}"));
                }
                Body::Tagged {
                    tokens: tokens.clone(),
                    tags,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Message};

    #[test]
    fn a_number_below_one_is_a_share() {
        let check = |json: &str, size: SampleSize, of_thirty: u64| {
            let read: SampleSize = serde_json::from_str(json).expect("a number");
            assert_eq!((read, read.of(30)), (size, of_thirty));
            let written = serde_json::to_string(&read).expect("a number");
            assert_eq!(
                serde_json::from_str::<SampleSize>(&written).ok(),
                Some(read)
            );
        };
        check("20.0", SampleSize::Count(20), 20);
        check("1", SampleSize::Count(1), 1);
        check("400", SampleSize::Count(400), 30);
        check("0.25", SampleSize::Share(0.25), 8);
        check("0.001", SampleSize::Share(0.001), 1);
    }

    #[test]
    fn the_last_decision_before_the_stage_used_them_counts() {
        let record = Digest::of(b"one");
        let decision = |ruling, time_ms| ReviewDecision {
            record,
            ruling,
            reviewer: "anna".into(),
            note: String::new(),
            time_ms,
        };
        let mut round = ReviewRound {
            decisions: vec![
                decision(Ruling::Accept, 1),
                decision(Ruling::Reject, 2),
                decision(Ruling::Accept, 3),
            ],
            ..ReviewRound::default()
        };
        assert_eq!(round.in_force()[&record].time_ms, 3);
        round.settled = Some(2);
        assert_eq!(round.in_force()[&record].ruling, Ruling::Reject);
        round.settled = Some(0);
        assert!(round.in_force().is_empty());
    }

    #[test]
    fn edits_change_what_they_name_and_leave_the_rest() {
        let edit = |instruction: Option<&str>, input: Option<&str>, output: Option<&str>| Edit {
            instruction: instruction.map(str::to_string),
            input: input.map(str::to_string),
            output: output.map(str::to_string),
        };
        let sum = Body::instruction("Add.", "1 1", "3");
        let check = |edit: Edit, body: &Body, expect: Body| {
            assert_eq!(edit.apply(body), Ok(expect));
        };
        let right = Body::instruction("Add.", "1 1", "2");
        check(edit(None, None, Some("2")), &sum, right);
        let without = Body::instruction("Add 1 and 2.", "", "3");
        check(edit(Some("Add 1 and 2."), Some(""), None), &sum, without);
        let chat = |answer: &str| Body::Chat {
            messages: vec![Message::user("Hi."), Message::assistant(answer)],
        };
        check(
            edit(None, None, Some("Hello.")),
            &chat("Bye."),
            chat("Hello."),
        );
        let tagged = |tags: &[&str]| Body::Tagged {
            tokens: vec!["in".into(), "Bern".into()],
            tags: tags.iter().map(ToString::to_string).collect(),
        };
        let place = tagged(&["O", "B-LOC"]);
        check(
            edit(None, None, Some("O B-LOC")),
            &tagged(&["O", "O"]),
            place.clone(),
        );
        for (refused, body) in [
            (edit(Some(" "), None, None), &sum),
            (edit(None, None, Some("")), &sum),
            (edit(None, Some("x"), None), &chat("a")),
            (edit(None, None, Some("O")), &place),
            (edit(Some("At Bern"), None, None), &place),
        ] {
            assert!(refused.apply(body).is_err(), "{refused:?}");
        }
    }
}
