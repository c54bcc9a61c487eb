//! Which dropped records a report shows.

use std::collections::BTreeMap;

use autodidact_domain::example::join_input;
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::Journal;
use autodidact_domain::random::Random;
use autodidact_domain::report::{DroppedExample, DroppedExamples};
use autodidact_domain::{Body, Decision, PortResult, WorkflowName};

/// Records shown of a stage and reason.
const SHOWN_RECORDS: usize = 3;
/// The most characters of a text that are shown.
const SHOWN_CHARACTERS: usize = 300;
/// Verdicts read from the journal at once.
const PAGE: usize = 1000;

/// Reads every verdict of a workflow in the order they were made.
pub(crate) fn each_verdict(
    journal: &dyn Journal,
    workflow: &WorkflowName,
    mut see: impl FnMut(RecordedVerdict),
) -> PortResult<()> {
    let mut position = 0;
    loop {
        let page = journal.verdicts(workflow, position, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        position += page.len() as u64;
        page.into_iter().for_each(&mut see);
    }
}

/// Draws some dropped records of each stage and reason, each as likely as any other. An adapter that was not promoted is no record.
pub(super) fn dropped_examples(
    journal: &dyn Journal,
    workflow: &WorkflowName,
    seed: u64,
) -> PortResult<Vec<DroppedExamples>> {
    let mut drawn: BTreeMap<(StageName, String), Drawn> = BTreeMap::new();
    each_verdict(journal, workflow, |recorded| {
        let dropped = recorded.verdict.decision == Decision::Drop;
        if dropped && recorded.stage != StageName::Promote {
            let group = (recorded.stage, recorded.verdict.reason.clone());
            let group = drawn.entry(group).or_insert_with_key(|(stage, reason)| {
                Drawn::new(Random::at(seed, &["dropped", stage.name(), reason]))
            });
            group.see(recorded);
        }
    })?;
    let shown = drawn.into_iter().map(|((stage, reason), group)| {
        let mut examples = group.held;
        // In the order they were dropped, whatever the draw put first.
        examples.sort_by_key(|(position, _)| *position);
        DroppedExamples {
            stage: stage.name().to_string(),
            reason,
            count: group.seen,
            examples: examples
                .into_iter()
                .map(|(_, record)| shown(record))
                .collect(),
        }
    });
    Ok(shown.collect())
}

/// A draw from a stream whose length nobody knows (Vitter 1985, algorithm R).
struct Drawn {
    random: Random,
    seen: u64,
    held: Vec<(u64, RecordedVerdict)>,
}

impl Drawn {
    fn new(random: Random) -> Self {
        Self {
            random,
            seen: 0,
            held: Vec::new(),
        }
    }

    fn see(&mut self, recorded: RecordedVerdict) {
        let position = self.seen;
        self.seen += 1;
        if self.held.len() < SHOWN_RECORDS {
            self.held.push((position, recorded));
            return;
        }
        let bound = usize::try_from(self.seen).unwrap_or(usize::MAX);
        let place = self.random.below(bound);
        if let Some(held) = self.held.get_mut(place) {
            *held = (position, recorded);
        }
    }
}

fn shown(recorded: RecordedVerdict) -> DroppedExample {
    let RecordedVerdict {
        round,
        record,
        text,
        verdict,
        ..
    } = recorded;
    let evidence = verdict.evidence;
    DroppedExample {
        record,
        round,
        text: shorten(&readable(&text), SHOWN_CHARACTERS),
        rule: shorten(&verdict.rule.name, SHOWN_CHARACTERS),
        nearest: evidence
            .nearest_text
            .map(|text| shorten(&text, SHOWN_CHARACTERS)),
        score: evidence.score,
        note: evidence.note.map(|note| shorten(&note, SHOWN_CHARACTERS)),
    }
}

/// Shows a record as people read it: some stages journal the whole body, as JSON.
fn readable(text: &str) -> String {
    let Ok(body) = serde_json::from_str::<Body>(text) else {
        return text.to_string();
    };
    let asked = join_input(&body.instruction_text(), Some(body.input_text()));
    match body.output_text().trim() {
        "" => asked,
        answer if asked.trim() == answer => asked,
        answer => format!("{asked}\n→ {answer}"),
    }
}

/// Cuts a text to so many characters.
pub(crate) fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::{Digest, Evidence, Verdict};

    use super::*;

    fn dropped(number: u64) -> RecordedVerdict {
        RecordedVerdict {
            round: 1,
            stage: StageName::Filter,
            record: Digest::of(&number.to_le_bytes()),
            text: number.to_string(),
            verdict: Verdict::drop("rules", "too_short", Evidence::default()),
        }
    }

    #[test]
    fn a_draw_takes_all_of_few_and_any_of_many() {
        let draw = |count: u64, seed: u64| -> Vec<u64> {
            let mut drawn = Drawn::new(Random::from_seed(seed));
            (0..count).for_each(|number| drawn.see(dropped(number)));
            assert_eq!(drawn.seen, count);
            drawn.held.iter().map(|(position, _)| *position).collect()
        };
        assert_eq!(draw(2, 1), [0, 1]);
        assert_eq!(draw(100, 1), draw(100, 1), "the seed decides");
        let mut hits = [0; 10];
        for seed in 0..2000 {
            for place in draw(10, seed) {
                hits[place as usize] += 1;
            }
        }
        // 600 each are expected; five standard deviations are about 100.
        assert!(
            hits.iter().all(|hits| (500..700).contains(hits)),
            "{hits:?}"
        );
    }

    #[test]
    fn records_are_shown_as_people_read_them() {
        let check = |text: &str, expect: &str| assert_eq!(readable(text), expect);
        check("Just a text.", "Just a text.");
        check("{\"no\": \"body\"}", "{\"no\": \"body\"}");
        check(
            &Body::instruction("Add.", "1 1", "2").canonical_json(),
            "Add.\n\n1 1\n→ 2",
        );
        let text = Body::Text {
            text: "一段话。".into(),
        };
        check(&text.canonical_json(), "一段话。");
        assert_eq!(shorten("一二三四", 3), "一二三…");
        assert_eq!(shorten("一二三", 3), "一二三");
    }
}
