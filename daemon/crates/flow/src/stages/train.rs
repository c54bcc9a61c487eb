//! train: human, generated and replayed examples in, an adapter out, a checkpoint every few optimizer steps.

use autodidact_domain::journal::StageName;
use autodidact_domain::random::Random;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::TrainSpec;
use autodidact_domain::{
    Checkpoint, CheckpointId, Digest, Event, EventBody, Example, Message, ModelRef, Role,
    TrainRequest, TrainSegment, Verdict, WorkflowSpec,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::preflight;

/// What a round trains on.
pub(crate) struct Mixed {
    pub(crate) examples: Vec<Example>,
    pub(crate) human: u64,
    pub(crate) generated: u64,
    pub(crate) replayed: u64,
}

impl Mixed {
    pub(crate) fn conversations(&self) -> Vec<Vec<Message>> {
        let examples = self.examples.iter();
        examples.map(|example| example.body.to_messages()).collect()
    }
}

/// What a round's training gave.
#[derive(Clone, Debug)]
pub(crate) struct Trained {
    pub(crate) adapter: CheckpointId,
    pub(crate) adapter_digest: Digest,
    pub(crate) losses: Vec<f64>,
}

/// Mixes the stated shares of each pool. Only answered examples can be trained on.
pub(crate) fn mix(
    spec: &WorkflowSpec,
    round: u32,
    human: &[Example],
    generated: &[Example],
    earlier: &[Example],
) -> Mixed {
    let mix = spec.mix;
    let draw = |name: &str, pool: &[Example], share: f64| -> Vec<Example> {
        let answered: Vec<&Example> = pool.iter().filter(|e| e.body.is_answered()).collect();
        let count = (answered.len() as f64 * share).round() as usize;
        let mut random = Random::at(spec.seed, &["mix", &round.to_string(), name]);
        let mut chosen = random.sample(answered.len(), count);
        chosen.sort_unstable();
        chosen.into_iter().map(|i| answered[i].clone()).collect()
    };
    let human = draw("human", human, mix.human);
    let generated = draw("generated", generated, mix.generated);
    let replayed = draw("replay", earlier, mix.replay);
    Mixed {
        human: human.len() as u64,
        generated: generated.len() as u64,
        replayed: replayed.len() as u64,
        examples: [human, generated, replayed].concat(),
    }
}

/// A segment's result in the journal; its tensors are in the checkpoint store.
#[derive(Serialize, Deserialize)]
struct Segment {
    checkpoint: CheckpointId,
    adapter_digest: Digest,
    step: u32,
    total_steps: u32,
    losses: Vec<f64>,
    tokens: u64,
}

/// Trains the round's adapter from the base, segment by segment.
pub(crate) fn train(
    run: &mut Run,
    round: u32,
    spec: &TrainSpec,
    mixed: &Mixed,
) -> Result<Trained, FlowError> {
    if mixed.examples.is_empty() {
        return Err(FlowError::Stopped(
            "there is nothing to train on: the mix of human, generated and replayed examples is empty".to_string(),
        ));
    }
    let conversations = mixed.conversations();
    let mut is_checked = false;
    let mut losses = Vec::new();
    let mut previous: Option<CheckpointId> = None;
    // The last checkpoint stays in memory; after a restart it is read from the store.
    let mut last: Option<Checkpoint> = None;
    loop {
        let replayed = run.will_replay(round, StageName::Train);
        if !replayed && !is_checked {
            preflight::check(run, round, spec, &conversations)?;
            is_checked = true;
        }
        let segment: Segment = run.step(round, StageName::Train, |run, _| {
            let resume = match (&previous, last.take()) {
                (_, Some(checkpoint)) => Some(checkpoint),
                (Some(id), None) => Some(run.ports.checkpoints.load(id)?),
                (None, None) => None,
            };
            let trained = run_segment(run, round, spec, &conversations, resume)?;
            let segment = save(run, round, &trained)?;
            if trained.step >= trained.total_steps {
                tell_truncated(run, round, spec, &trained, conversations.len())?;
            }
            let mut outcome = Outcome::new(segment);
            outcome.verdicts = judge_refused(mixed, &trained, &conversations);
            outcome.out = u64::from(trained.step == trained.total_steps);
            last = Some(trained.checkpoint);
            Ok(outcome)
        })?;
        if replayed {
            last = None;
        }
        run.progress(
            round,
            StageName::Train,
            u64::from(segment.step),
            u64::from(segment.total_steps),
        );
        losses.extend(&segment.losses);
        if let Some(previous) = previous.filter(|id| *id != segment.checkpoint) {
            run.ports.checkpoints.delete(&previous)?;
        }
        if segment.step >= segment.total_steps {
            run.finish_stage(round, StageName::Train)?;
            return Ok(Trained {
                adapter: segment.checkpoint,
                adapter_digest: segment.adapter_digest,
                losses,
            });
        }
        previous = Some(segment.checkpoint);
    }
}

fn run_segment(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    conversations: &[Vec<Message>],
    resume: Option<Checkpoint>,
) -> Result<TrainSegment, FlowError> {
    let request = TrainRequest {
        model: ModelRef {
            model: run.spec().model.clone(),
            adapter: spec.init_adapter.clone(),
        },
        options: spec.options.clone(),
        examples: conversations.to_vec(),
        seed: preflight::train_seed(run.spec(), round),
        resume,
        steps: spec.options.checkpoint_steps,
    };
    let (events, name) = (&run.ports.events, &run.spec().name);
    Ok(run
        .ports
        .engine
        .train(request, &run.interrupt, &mut |progress| {
            events.tell(Some(name), EventBody::Training { round, progress });
            run.progress(
                round,
                StageName::Train,
                u64::from(progress.step),
                u64::from(progress.total_steps),
            );
        })?)
}

/// Saves a segment's checkpoint under a name that round and step decide. The last one keeps the adapter alone.
fn save(run: &Run, round: u32, trained: &TrainSegment) -> Result<Segment, FlowError> {
    let finished = trained.step >= trained.total_steps;
    let name = &run.spec().name;
    let id = if finished {
        format!("{name}.round-{round}")
    } else {
        format!("{name}.round-{round}.step-{}", trained.step)
    };
    let id = CheckpointId::new(id).map_err(|error| FlowError::Stopped(error.to_string()))?;
    let mut checkpoint = trained.checkpoint.clone();
    if finished {
        checkpoint.optimizer.clear();
    }
    let summary = run.ports.checkpoints.save(&id, &checkpoint)?;
    let _: Event = run.ports.events.publish(
        Some(name),
        EventBody::CheckpointSaved {
            id: id.to_string(),
            step: trained.step,
        },
    )?;
    Ok(Segment {
        checkpoint: id,
        adapter_digest: summary.adapter_digest,
        step: trained.step,
        total_steps: trained.total_steps,
        losses: trained.losses.clone(),
        tokens: trained.tokens,
    })
}

/// Tells of examples that were cut, which the run learnt a part of alone.
fn tell_truncated(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    trained: &TrainSegment,
    given: usize,
) -> Result<(), FlowError> {
    let cut = trained.truncated;
    let context = run.workflow.pinned.model.context_length;
    let length = context.min(u64::from(spec.options.max_length));
    if cut == 0 {
        return Ok(());
    }
    let message = run.spec().languages[0].pick(
        format!("round {round}: {cut} of {given} examples were cut at max_length = {length} tokens; `autodidact dataset preview` shows where"),
        format!("第 {round} 轮：{given} 条样本中有 {cut} 条在 max_length = {length} 个词元处被截断；`autodidact dataset preview` 可查看位置"),
    );
    let warning = EventBody::Warning { message };
    run.ports.events.publish(Some(&run.spec().name), warning)?;
    Ok(())
}

/// Judges the mix once, with the segment that ends the run: an example is trained on, or refused for want of an answer.
fn judge_refused(
    mixed: &Mixed,
    trained: &TrainSegment,
    conversations: &[Vec<Message>],
) -> Vec<Judged> {
    if trained.step < trained.total_steps {
        return Vec::new();
    }
    let refused: std::collections::BTreeSet<u32> = trained.refused.iter().copied().collect();
    mixed
        .examples
        .iter()
        .zip(conversations)
        .enumerate()
        .map(|(i, (example, messages))| {
            let answered = messages
                .iter()
                .any(|message| message.role == Role::Assistant);
            let verdict = if answered && !refused.contains(&(i as u32)) {
                Verdict::keep("train")
            } else {
                let note = Some("no answer token within max_length".to_string());
                Verdict::drop(
                    "train",
                    "no_label_token",
                    Evidence {
                        note,
                        ..Evidence::default()
                    },
                )
            };
            Judged {
                record: example.id,
                text: example.body.instruction_text().to_string(),
                verdict,
            }
        })
        .collect()
}
