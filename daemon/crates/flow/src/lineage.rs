//! The lineage of a record: read from the journal and the pinned data, like everything a report says.

use std::collections::{BTreeMap, BTreeSet};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::lineage::{
    Descendants, PromptExample, RecordLineage, RecordStanding, TrainingUse,
};
use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::ModelRole;
use autodidact_domain::{
    DatasetName, DatasetSummary, Decision, Digest, Example, ExampleId, ModelRef, PortError,
    PortResult, WorkflowName, WorkflowSummary,
};

use crate::journaled::given;
use crate::prompts::flatten;
use crate::report::{each_verdict, shorten};
use crate::run::{dataset_identity, read_dataset};
use crate::stages::generate::{Candidate, Wave, instruction_id};
use crate::stages::respond::to_example;
use crate::stages::train::result_id;

/// The most characters of a text that stands beside the record itself.
const SHOWN_CHARACTERS: usize = 2000;
/// Ids that a message about an ambiguous one names.
const NAMED_RECORDS: usize = 5;

/// Finds everything that is known of a record of a workflow, by its id or the beginning of it.
///
/// # Errors
/// [`PortError::NotFound`] where no record has the id, [`PortError::Invalid`] where it is none or several records' begins so, or a
/// port's failure.
pub fn of_record(
    ports: &Ports,
    workflow: &WorkflowName,
    record: &str,
) -> PortResult<RecordLineage> {
    let history = History::read(ports, ports.workflows.get(workflow)?)?;
    let asked = history.find(ports, record)?;
    let subject = history.subject(asked);
    let decided = Decided::read(ports, workflow, &subject)?;
    let example = subject.example(&history, &decided);
    let mut training = uses(&history.workflow, &decided)?;
    for other in ports.workflows.list()? {
        if other.spec.name != *workflow && has_trained(ports, &other)? {
            let decided = Decided::read(ports, &other.spec.name, &subject)?;
            training.extend(uses(&other, &decided)?);
        }
    }
    let seeds = example.as_ref().map(|example| &example.lineage.seeds);
    let prompt = seeds.into_iter().flatten();
    let text = match (&example, decided.verdicts.first()) {
        (None, Some(verdict)) => verdict.text.clone(),
        _ => String::new(),
    };
    Ok(RecordLineage {
        record: example.as_ref().map_or(asked, |example| example.id),
        standing: history.standing(&subject, &decided),
        prompt: prompt.map(|id| history.prompt_example(*id)).collect(),
        descendants: history.descendants(&subject.ids),
        ids: subject.ids,
        example,
        text,
        verdicts: decided.verdicts,
        training,
    })
}

/// Tells whether a workflow has come to the end of a training run.
fn has_trained(ports: &Ports, workflow: &WorkflowSummary) -> PortResult<bool> {
    let spec = &workflow.spec;
    if spec.stages.train.is_none() {
        return Ok(false);
    }
    for round in 0..=spec.rounds {
        let counts = ports
            .journal
            .verdict_counts(&spec.name, round, StageName::Train)?;
        if counts != (0, 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All records of a workflow, as far as it has come.
struct History {
    workflow: WorkflowSummary,
    seeds: Vec<Example>,
    held_out: Vec<Example>,
    /// Instructions, each with the round it was read in.
    candidates: Vec<(u32, Candidate)>,
    /// Examples as they were when they had been answered.
    answered: Vec<Example>,
    /// What passed every stage, of the rounds that have ended.
    kept: Vec<Example>,
}

impl History {
    fn read(ports: &Ports, workflow: WorkflowSummary) -> PortResult<Self> {
        let name = &workflow.spec.name;
        let steps = ports.journal.steps(name)?;
        let generated = given::<Wave>(&steps, StageName::Generate);
        let candidates = generated.into_iter().flat_map(|(round, wave)| {
            wave.candidates
                .into_iter()
                .map(move |candidate| (round, candidate))
        });
        let answered = given::<Vec<Example>>(&steps, StageName::Respond);
        Ok(Self {
            seeds: read_what_is_left(ports, workflow.pinned.seeds.as_ref())?,
            held_out: read_what_is_left(ports, workflow.pinned.held_out.as_ref())?,
            candidates: candidates.collect(),
            answered: answered.into_iter().flat_map(|(_, made)| made).collect(),
            kept: kept(ports, &workflow)?,
            workflow,
        })
    }

    /// Lists the examples from those that were decided on last to those that people wrote.
    fn examples(&self) -> impl Iterator<Item = &Example> {
        let made = self.kept.iter().chain(&self.answered);
        made.chain(&self.seeds).chain(&self.held_out)
    }

    /// Finds the one record whose id begins so.
    fn find(&self, ports: &Ports, record: &str) -> PortResult<ExampleId> {
        let prefix = record.trim().to_ascii_lowercase();
        let is_hexadecimal = prefix.chars().all(|c| c.is_ascii_hexdigit());
        if prefix.is_empty() || prefix.len() > 64 || !is_hexadecimal {
            return Err(PortError::Invalid(format!(
                "record: expected an id or the beginning of one, up to 64 hexadecimal digits, found {:?}; `autodidact workflow verdicts {} --json` lists records",
                shorten(record, 80),
                self.workflow.spec.name
            )));
        }
        let mut found = BTreeSet::new();
        let mut see = |id: ExampleId| {
            if begins_with(&id, &prefix) {
                found.insert(id);
            }
        };
        self.examples().for_each(|example| see(example.id));
        let instructions = self.candidates.iter();
        instructions.for_each(|(_, candidate)| see(instruction_id(&candidate.instruction)));
        each_verdict(
            &*ports.journal,
            &self.workflow.spec.name,
            |recorded| match recorded.stage {
                // What it decides on is an adapter.
                StageName::Promote => {}
                _ => see(recorded.record),
            },
        )?;
        let mut ids = found.iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(*id),
            (None, _) => Err(PortError::NotFound {
                what: "record",
                name: shorten(record, 80),
                nearest: None,
            }),
            _ => {
                let named: Vec<String> = found
                    .iter()
                    .take(NAMED_RECORDS)
                    .map(Digest::short)
                    .collect();
                let more = match found.len().saturating_sub(NAMED_RECORDS) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                Err(PortError::Invalid(format!(
                    "record: the ids of {} records begin with {prefix:?}: {}{more}; give more digits",
                    found.len(),
                    named.join(", ")
                )))
            }
        }
    }

    /// Finds what an id stands for, and the other ids that it goes by.
    fn subject(&self, asked: ExampleId) -> Subject {
        // What was corrected or written over goes on as what it became.
        let mut kept = self.kept.iter();
        let became = kept.find(|kept| kept.id == asked || earlier_ids(kept).contains(&asked));
        if let Some(example) =
            became.or_else(|| self.examples().find(|example| example.id == asked))
        {
            return self.example_subject(example);
        }
        let mut candidates = self.candidates.iter();
        let candidate =
            candidates.find(|(_, candidate)| instruction_id(&candidate.instruction) == asked);
        let Some((round, candidate)) = candidate else {
            return Subject {
                ids: vec![asked],
                record: Record::Completion,
            };
        };
        let made = self.kept.iter().chain(&self.answered);
        let of_it = made.filter(|made| instruction_id(&made.body.instruction_text()) == asked);
        let of_it: BTreeMap<ExampleId, &Example> = of_it.map(|made| (made.id, made)).collect();
        let mut examples = of_it.values();
        match (examples.next(), examples.next()) {
            (Some(example), None) => self.example_subject(example),
            _ => Subject {
                ids: [asked].into_iter().chain(of_it.keys().copied()).collect(),
                record: Record::Instruction(*round, candidate.clone()),
            },
        }
    }

    fn example_subject(&self, example: &Example) -> Subject {
        let mut ids = vec![example.id];
        ids.extend(earlier_ids(example));
        // Where nothing is generated the records themselves are filtered. Elsewhere a seed's instruction is judged only where a
        // model has written it once more, and that is no decision on the seed.
        let is_judged =
            example.lineage.round.is_some() || self.workflow.spec.stages.generate.is_none();
        let instruction = instruction_id(&example.body.instruction_text());
        if is_judged && instruction != example.id {
            ids.push(instruction);
        }
        Subject {
            ids,
            record: Record::Example(Box::new(example.clone())),
        }
    }

    fn prompt_example(&self, id: ExampleId) -> PromptExample {
        let found = self.examples().find(|example| example.id == id);
        PromptExample {
            id,
            text: found.map(|e| shorten(&e.body.instruction_text(), SHOWN_CHARACTERS)),
            origin: found.map(|example| example.lineage.origin),
        }
    }

    fn descendants(&self, ids: &[ExampleId]) -> Descendants {
        let comes_of_it = |seeds: &[ExampleId]| seeds.iter().any(|seed| ids.contains(seed));
        let candidates = self.candidates.iter();
        let candidates = candidates.filter(|(_, candidate)| comes_of_it(&candidate.seeds));
        let kept = self.kept.iter();
        let kept = kept.filter(|example| comes_of_it(&example.lineage.seeds));
        Descendants {
            candidates: candidates.count() as u64,
            kept: kept.count() as u64,
        }
    }

    fn standing(&self, subject: &Subject, decided: &Decided) -> RecordStanding {
        let is_among = |examples: &[Example]| {
            let mut ids = examples.iter().map(|example| example.id);
            ids.any(|id| subject.ids.contains(&id))
        };
        let is_dropped = decided.verdicts.iter().any(|recorded| {
            recorded.stage < StageName::Train && recorded.verdict.decision == Decision::Drop
        });
        match () {
            () if is_among(&self.kept) => RecordStanding::Kept,
            () if is_dropped => RecordStanding::Dropped,
            () if is_among(&self.seeds) => RecordStanding::Seed,
            () if is_among(&self.held_out) => RecordStanding::HeldOut,
            () => RecordStanding::Open,
        }
    }
}

/// Lists the ids that an example went by before a person wrote it over and before validation corrected it.
fn earlier_ids(example: &Example) -> Vec<ExampleId> {
    let uncorrected = example.uncorrected().map(|body| body.id());
    let edited = example.lineage.edited_from.into_iter();
    edited.chain(uncorrected).collect()
}

/// What is asked about.
struct Subject {
    /// The ids that it goes by in verdicts, its own first.
    ids: Vec<ExampleId>,
    record: Record,
}

enum Record {
    Example(Box<Example>),
    /// It was never answered, or in several ways.
    Instruction(u32, Candidate),
    /// What a model wrote, of which verdicts alone are left.
    Completion,
}

impl Subject {
    /// Shows the record with who wrote it.
    fn example(&self, history: &History, decided: &Decided) -> Option<Example> {
        match &self.record {
            Record::Example(example) => Some(Example::clone(example)),
            Record::Completion => None,
            Record::Instruction(round, candidate) => {
                let writer = writer(&history.workflow, *round, &decided.promoted);
                Some(to_example(*round, &writer, candidate, "", ""))
            }
        }
    }

    /// Tells whether a completion is the one, or one of those, that the record was read from.
    fn is_read_from(&self, recorded: &RecordedVerdict) -> bool {
        let (round, instruction) = match &self.record {
            Record::Completion => return false,
            Record::Instruction(round, candidate) => (Some(*round), candidate.instruction.clone()),
            Record::Example(example) => (
                example.lineage.round,
                example.body.instruction_text().into_owned(),
            ),
        };
        recorded.stage == StageName::Generate
            && Some(recorded.round) == round
            && flatten(&recorded.text).contains(&flatten(&instruction))
    }
}

/// What the journal of a workflow has on a record.
struct Decided {
    verdicts: Vec<RecordedVerdict>,
    /// Whether a round's adapter became the generator, of the rounds where that was a question.
    promoted: BTreeMap<u32, bool>,
}

impl Decided {
    fn read(ports: &Ports, workflow: &WorkflowName, subject: &Subject) -> PortResult<Self> {
        let mut decided = Self {
            verdicts: Vec::new(),
            promoted: BTreeMap::new(),
        };
        each_verdict(&*ports.journal, workflow, |mut recorded| {
            if recorded.stage == StageName::Promote {
                let is_promoted = recorded.verdict.decision == Decision::Keep;
                decided.promoted.insert(recorded.round, is_promoted);
            } else if subject.ids.contains(&recorded.record) || subject.is_read_from(&recorded) {
                recorded.text = shorten(&recorded.text, SHOWN_CHARACTERS);
                decided.verdicts.push(recorded);
            }
        })?;
        Ok(decided)
    }
}

/// Reads off the train stage's verdicts which runs had the record in their mix.
fn uses(workflow: &WorkflowSummary, decided: &Decided) -> PortResult<Vec<TrainingUse>> {
    let spec = &workflow.spec;
    let in_a_mix = decided.verdicts.iter();
    let in_a_mix = in_a_mix.filter(|recorded| recorded.stage == StageName::Train);
    let uses = in_a_mix.map(|recorded| {
        let RecordedVerdict { round, verdict, .. } = recorded;
        let is_left_out = verdict.decision == Decision::Drop;
        let promoted = decided.promoted.get(round).copied();
        Ok(TrainingUse {
            workflow: spec.name.clone(),
            round: *round,
            adapter: result_id(&spec.name, *round)
                .map_err(|error| PortError::Internal(error.to_string()))?,
            left_out: is_left_out.then(|| verdict.reason.clone()),
            // Without the stage every adapter is taken.
            promoted: promoted.or(spec.stages.promote.is_none().then_some(true)),
        })
    });
    uses.collect()
}

/// Names the model that wrote a round's instructions, with the adapter that was in force then.
fn writer(workflow: &WorkflowSummary, round: u32, promoted: &BTreeMap<u32, bool>) -> ModelRef {
    let spec = &workflow.spec;
    let named = spec.model_of(ModelRole::Generator);
    if let Some(model) = named.filter(|model| **model != spec.model) {
        return ModelRef {
            model: model.clone(),
            adapter: None,
        };
    }
    let train = spec.stages.train.as_ref();
    let trains_generator = train.is_some_and(|train| !train.options.task_type.has_head());
    let first = match train.is_some_and(|train| train.seeds_first) {
        true => 0,
        false => 1,
    };
    let in_force = (first..round).rev().find(|earlier| {
        let promoted = promoted.get(earlier).copied();
        trains_generator && promoted.unwrap_or(spec.stages.promote.is_none())
    });
    ModelRef {
        model: spec.model.clone(),
        adapter: in_force.and_then(|round| result_id(&spec.name, round).ok()),
    }
}

/// Reads what a workflow has kept: the version that its latest round wrote.
fn kept(ports: &Ports, workflow: &WorkflowSummary) -> PortResult<Vec<Example>> {
    let Ok(name) = DatasetName::new(workflow.spec.name.as_str()) else {
        return Ok(Vec::new());
    };
    for round in (1..=workflow.spec.rounds).rev() {
        let identity = dataset_identity(workflow, round);
        let found = match ports.datasets.by_source_digest(&name, identity) {
            Err(PortError::NotFound { .. }) => None,
            found => found?,
        };
        if found.is_some() {
            return read_what_is_left(ports, found.as_ref());
        }
    }
    Ok(Vec::new())
}

/// Reads a dataset's version; nothing where somebody has deleted it since.
fn read_what_is_left(ports: &Ports, version: Option<&DatasetSummary>) -> PortResult<Vec<Example>> {
    match read_dataset(ports, version) {
        Err(PortError::NotFound { .. }) => Ok(Vec::new()),
        read => read,
    }
}

/// Tells whether an id begins with such hexadecimal digits, in lower case.
fn begins_with(id: &ExampleId, prefix: &str) -> bool {
    let digit = |place: usize| {
        let byte = id.as_bytes()[place / 2];
        let half = if place.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 15
        };
        char::from_digit(u32::from(half), 16)
    };
    let mut digits = prefix.chars().enumerate();
    digits.all(|(place, expected)| place < 64 && digit(place) == Some(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_its_own_digits_alone() {
        let id = Digest::of(b"one");
        let text = id.to_string();
        for length in 0..=64 {
            assert!(begins_with(&id, &text[..length]));
        }
        let last = if text.ends_with('0') { '1' } else { '0' };
        assert!(!begins_with(&id, &format!("{}{last}", &text[..63])));
        assert!(!begins_with(&id, &format!("{text}0")));
    }
}
