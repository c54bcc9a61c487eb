//! Which records say what one before them says: the same words, or nearly.

use std::collections::HashMap;

use autodidact_domain::example::join_input;
use autodidact_domain::{Body, Example, Interrupt};
use autodidact_text::{NearDuplicateIndex, normalize, rouge_l, tokenize};

use crate::cli::Failure;

/// Why a record is a duplicate; the codes are those of a workflow's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicate {
    /// The same words, whatever their case, width and punctuation at the ends.
    Exact,
    /// A ROUGE-L above the threshold.
    Near,
}

impl Duplicate {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Exact => "exact_duplicate",
            Self::Near => "near_duplicate",
        }
    }
}

/// A record that is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) kind: Duplicate,
    /// The place of the kept record that it repeats, counted from 0: the nearest, and of equally near ones the first.
    pub(super) nearest: usize,
    /// ROUGE-L of the two.
    pub(super) score: f64,
}

/// What is compared of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compared {
    /// All that is asked: an instruction with its input, the first user turn, or the text
    Question,
    /// The instruction alone, as a workflow's chain has it
    Instruction,
}

impl Compared {
    /// Shows what is compared.
    pub(super) fn text(self, example: &Example) -> String {
        match (&example.body, self) {
            (
                Body::Instruction {
                    instruction, input, ..
                },
                Self::Question,
            ) => join_input(instruction, input.as_deref()),
            (body, _) => body.instruction_text().into_owned(),
        }
    }
}

/// Holds every text against those kept before it; nothing for one that is kept. At a threshold of 1 only exact duplicates are found.
pub(super) fn find(
    texts: &[String],
    threshold: f64,
    interrupt: &Interrupt,
) -> Result<Vec<Option<Found>>, Failure> {
    let mut index = NearDuplicateIndex::new(threshold);
    // The places of kept texts: by what they say, and by their number in the index.
    let mut said: HashMap<String, usize> = HashMap::new();
    let mut kept = Vec::new();
    let mut all = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        if place % 1024 == 0 && interrupt.is_raised() {
            return Err(Failure::interrupted(""));
        }
        let normal = normalize(text);
        let found = match said.get(&normal) {
            Some(&nearest) => Some(Found {
                kind: Duplicate::Exact,
                nearest,
                score: rouge_l(&tokenize(&texts[nearest]), &tokenize(text)),
            }),
            None => index.nearest(text).map(|found| Found {
                kind: Duplicate::Near,
                nearest: kept[found.id],
                score: found.score,
            }),
        };
        if found.is_none() {
            said.insert(normal, place);
            index.add(text);
            kept.push(place);
        }
        all.push(found);
    }
    Ok(all)
}

/// Reads a threshold from the command line.
pub(super) fn threshold(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[&str], threshold: f64) -> Vec<Option<(Duplicate, usize, f64)>> {
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        let found = find(&texts, threshold, &Interrupt::new());
        let found = found.map_err(|failure| failure.message().to_string());
        let show = |found: Found| (found.kind, found.nearest, found.score);
        found
            .unwrap()
            .into_iter()
            .map(|found| found.map(show))
            .collect()
    }

    #[test]
    fn a_record_is_held_against_those_kept_before_it() {
        use Duplicate::{Exact, Near};
        let texts = [
            "Name three rivers of Europe.",
            "写一首关于秋天的诗。",
            "name  three rivers of EUROPE",
            "Name three rivers of Asia.",
            "写一首关于冬天的诗",
            "Name three lakes of Asia.",
        ];
        let expect = [
            None,
            None,
            Some((Exact, 0, 1.0)),
            Some((Near, 0, 0.8)),
            Some((Near, 1, 8.0 / 9.0)),
            // Near the fourth, which is not kept; not near enough to the first.
            None,
        ];
        for (found, expect) in found(&texts, 0.7).into_iter().zip(expect) {
            match (found, expect) {
                (
                    Some((kind, nearest, score)),
                    Some((expect_kind, expect_nearest, expect_score)),
                ) => {
                    assert_eq!((kind, nearest), (expect_kind, expect_nearest));
                    assert!((score - expect_score).abs() < 1e-12, "{score}");
                }
                (found, expect) => assert_eq!(found, expect),
            }
        }
        let exact = found(&texts, 1.0);
        assert_eq!(exact.iter().flatten().count(), 1);
    }

    #[test]
    fn an_instruction_counts_with_its_input_or_alone() {
        let example = Example::human(Body::instruction("Translate.", "river", "河"));
        assert_eq!(Compared::Question.text(&example), "Translate.\n\nriver");
        assert_eq!(Compared::Instruction.text(&example), "Translate.");
        let text = Example::human(Body::Text {
            text: "A text.".into(),
        });
        assert_eq!(Compared::Question.text(&text), "A text.");
    }
}
