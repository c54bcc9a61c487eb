//! Puts the stages of a workflow in order, round by round.

use std::sync::Arc;

use autodidact_domain::figures::JudgeReport;
use autodidact_domain::journal::StageName;
use autodidact_domain::plan::RoundPlan;
use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::{Calibration, GenerateSpec, ModelRole, TrainSpec};
use autodidact_domain::{
    DatasetName, DatasetSummary, Digest, Example, ModelRef, PortResult, WorkflowSummary,
};

use crate::chain::{Chain, ChainRecord};
use crate::contamination::Contamination;
use crate::diversity;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::report::{RoundOutcome, RunOutcome, reason_name, stage_name};
use crate::shown::look_at_seeds;
use crate::stages::adapt::{self, Known};
use crate::stages::evaluate::{self, Evaluation};
use crate::stages::generate::{self, Candidate, Generation, PromptPool};
use crate::stages::promote::{Compared, Promotion};
use crate::stages::respond::{Answerer, LabelShares};
use crate::stages::train::{self, Trained};
use crate::stages::{PROMPT_TOO_LONG, filter, language_of, promote, respond, review, validate};

/// Records read from the store at once.
const PAGE: usize = 1000;
/// Records of a dataset that go through a chain at once, where nothing is generated.
const DATASET_WAVE: usize = 64;

/// Runs a workflow to its end, replaying what the journal has.
pub(crate) fn run_workflow(mut run: Run) -> Result<(), FlowError> {
    let human = read_dataset(&run.ports, run.workflow.pinned.seeds.as_ref())?;
    let held_out = read_dataset(&run.ports, run.workflow.pinned.held_out.as_ref())?;
    let eval_dataset = read_dataset(&run.ports, run.workflow.pinned.eval_dataset.as_ref())?;
    run.contamination = Contamination::new(run.spec().contamination(), &held_out).map(Arc::new);
    let mut outcome = RunOutcome::default();
    let shown = look_at_seeds(&run, &human, &mut outcome)?;
    let mut chains = Chains::build(&mut run, [&human, &shown])?;
    outcome.calibrations.clone_from(&chains.calibrations);
    let first_plan = generate::first_plan(run.spec(), &shown);
    let mut plan = first_plan.clone();
    let mut incumbent = evaluate_base(&mut run, &human, &held_out)?;
    outcome.add_evaluation(&run, incumbent.as_ref(), &held_out);
    outcome.judge = judge_agreement(&mut run)?;
    for round in 1..=run.spec().rounds {
        // An adapter with a head of labels continues no texts.
        let trains_head = |train: &TrainSpec| train.options.task_type.has_head();
        let has_head = run.spec().stages.train.as_ref().is_some_and(trains_head);
        let generator = ModelRef {
            model: run.spec().model.clone(),
            adapter: outcome.adapter.clone().filter(|_| !has_head),
        };
        let kept = make_examples(
            &mut run,
            round,
            &generator,
            [&human, &shown],
            &outcome.kept,
            &plan,
            &mut chains,
        )?;
        let kept = review_round(&mut run, round, kept, &mut chains)?;
        outcome.dataset = write_dataset(&run, round, &outcome.kept, &kept)?.or(outcome.dataset);
        let mut done = RoundOutcome::new(round, &kept, run.spec());
        let (language, seed) = (run.spec().languages[0], run.spec().seed);
        done.diversity = diversity::of_instructions(&kept, language, seed);
        let pools = [&human, &kept[..], &outcome.kept];
        if let Some(trained) = train_round(&mut run, round, pools, &eval_dataset, &mut done)? {
            let candidate = ModelRef {
                model: run.spec().model.clone(),
                adapter: Some(trained.adapter.clone()),
            };
            let evaluation = evaluate_round(&mut run, round, &candidate, &held_out)?;
            let promotion = decide(
                &mut run,
                round,
                incumbent.as_ref(),
                evaluation.as_ref(),
                &trained,
                [&kept, &shown],
            )?;
            outcome.add_evaluation(&run, evaluation.as_ref(), &held_out);
            if promotion.promoted {
                outcome.adapter = Some(trained.adapter.clone());
                outcome.adapter_digest = Some(trained.adapter_digest);
                incumbent = evaluation.or(incumbent);
            }
            done.trained = Some(trained);
            done.promotion = Some(promotion);
        }
        if let (Some(spec), Some(evaluation)) = (run.spec().stages.adapt, &incumbent) {
            let known = Known {
                first: &first_plan,
                current: &plan,
                evaluation,
                held_out: &held_out,
                human: &human,
            };
            let adapted = adapt::adapt(&mut run, round, &spec, &known)?;
            plan = adapted.plan.clone();
            done.adapted = Some(adapted);
        }
        outcome.kept.extend(kept);
        outcome.rounds.push(done);
        crate::report::write(&run, &outcome, &held_out, false)?;
    }
    crate::report::write(&run, &outcome, &held_out, true)
}

/// Measures the judge of held-out answers against people, where there is one.
fn judge_agreement(run: &mut Run) -> Result<Option<JudgeReport>, FlowError> {
    let evaluate = run.spec().stages.evaluate.clone();
    let judge = evaluate.and_then(|stage| stage.judge);
    judge
        .map(|judge| evaluate::agreement(run, &judge))
        .transpose()
}

/// Finds the model for a role: the one named for it, or the workflow's own with its latest adapter.
fn model_for(run: &Run, role: ModelRole, generator: &ModelRef) -> ModelRef {
    match run.spec().model_of(role) {
        Some(name) if *name != generator.model => ModelRef {
            model: name.clone(),
            adapter: None,
        },
        _ => generator.clone(),
    }
}

/// The two chains, which remember over rounds what was kept, and what lays some of it before people.
struct Chains {
    filter: Option<Chain>,
    validate: Option<Chain>,
    /// The bounds that the seeds gave.
    calibrations: Vec<Calibration>,
    desk: review::Desk,
}

impl Chains {
    fn build(run: &mut Run, [human, shown]: [&[Example]; 2]) -> Result<Self, FlowError> {
        let stages = run.spec().stages.clone();
        let plugins = run.workflow.pinned.plugins.clone();
        let filter = stages.filter.as_ref();
        let mut filter = filter
            .map(|stage| Chain::for_filter(&stage.chain, &plugins, &run.spec().languages))
            .transpose()?;
        // Candidates are held to the held-out tasks whether a workflow filters or not.
        if filter.is_none() && stages.generate.is_some() && run.contamination.is_some() {
            filter = Some(Chain::for_filter(&[], &plugins, &run.spec().languages)?);
        }
        let mut calibrations = Vec::new();
        if let Some(chain) = filter.as_mut() {
            let default = run.spec().languages[0];
            let seeds = human.iter().map(|seed| filter::seed_record(seed, default));
            let seeds: Vec<ChainRecord> = seeds.collect();
            if chain.wants_calibration() {
                calibrations = filter::calibrate(run, chain, &seeds)?;
            }
            // Where the dataset itself is filtered, its records must not count as their own duplicates.
            if stages.generate.is_some() {
                seeds.iter().for_each(|seed| chain.remember(seed));
            }
        }
        let validate = stages.validate.as_ref();
        let validate = validate
            .map(|stage| Chain::for_validate(&stage.chain, &plugins, &run.spec().languages))
            .transpose()?
            .map(|chain| chain.showing(shown));
        Ok(Self {
            filter,
            validate,
            calibrations,
            desk: review::Desk::default(),
        })
    }
}

/// Reads a whole version; nothing where there is none.
pub(crate) fn read_dataset(
    ports: &Ports,
    summary: Option<&DatasetSummary>,
) -> PortResult<Vec<Example>> {
    let Some(summary) = summary else {
        return Ok(Vec::new());
    };
    let mut examples = Vec::new();
    loop {
        let page =
            ports
                .datasets
                .records(&summary.name, summary.version, examples.len() as u64, PAGE)?;
        if page.is_empty() {
            return Ok(examples);
        }
        examples.extend(page);
    }
}

fn evaluate_base(
    run: &mut Run,
    human: &[Example],
    held_out: &[Example],
) -> Result<Option<Evaluation>, FlowError> {
    let evaluate = run.spec().stages.evaluate.as_ref();
    let steps = evaluate.map_or(0, |spec| held_out.len().div_ceil(spec.batch as usize));
    let last = steps.checked_sub(1);
    let adapter = match last.is_some_and(|last| !run.has_step(0, StageName::Evaluate, last)) {
        true => train::untrained(run, human)?,
        false => None,
    };
    let base = ModelRef {
        model: run.spec().model.clone(),
        adapter,
    };
    let evaluation = evaluate_round(run, 0, &base, held_out);
    // Whatever became of it: another start makes it again, the same.
    train::remove_untrained(run)?;
    evaluation
}

fn evaluate_round(
    run: &mut Run,
    round: u32,
    model: &ModelRef,
    held_out: &[Example],
) -> Result<Option<Evaluation>, FlowError> {
    let Some(spec) = run.spec().stages.evaluate.clone() else {
        return Ok(None);
    };
    evaluate::evaluate(run, round, &spec, model, held_out).map(Some)
}

/// Runs the record stages of a round: generated in waves until the target is kept, or once over the dataset.
fn make_examples(
    run: &mut Run,
    round: u32,
    generator: &ModelRef,
    [human, shown]: [&[Example]; 2],
    earlier: &[Example],
    plan: &RoundPlan,
    chains: &mut Chains,
) -> Result<Vec<Example>, FlowError> {
    let stages = run.spec().stages.clone();
    let kept = match &stages.generate {
        Some(spec) => {
            let generation = Generation {
                spec,
                template: &generate::template_of(spec, &run.spec().languages)?,
                plan,
                model: &model_for(run, ModelRole::Generator, generator),
                round,
            };
            generate_until_target(run, &generation, generator, shown, earlier, chains)?
        }
        None if round == 1
            && (stages.filter.is_some()
                || stages.respond.is_some()
                || stages.validate.is_some()) =>
        {
            judge_dataset(run, round, generator, [human, shown], chains)?
        }
        None => Vec::new(),
    };
    for (stage, present) in [
        (StageName::Generate, stages.generate.is_some()),
        (StageName::Filter, chains.filter.is_some()),
        (StageName::Respond, stages.respond.is_some()),
        (StageName::Validate, stages.validate.is_some()),
    ] {
        if present {
            run.finish_stage(round, stage)?;
        }
    }
    Ok(kept)
}

fn generate_until_target(
    run: &mut Run,
    generation: &Generation<'_>,
    generator: &ModelRef,
    human: &[Example],
    earlier: &[Example],
    chains: &mut Chains,
) -> Result<Vec<Example>, FlowError> {
    let (spec, round) = (generation.spec, generation.round);
    let mut kept: Vec<Example> = Vec::new();
    let (mut candidates_seen, mut answered) = (0u64, 0usize);
    let mut quotas: Vec<Option<usize>> = Vec::new();
    while (kept.len() as u32) < spec.target && (quotas.len() as u32) < spec.max_requests {
        let asked = quotas.len() as u32;
        let count = next_requests(spec, asked, kept.len());
        run.progress(
            round,
            StageName::Generate,
            u64::from(asked),
            expected_requests(spec, asked, kept.len()),
        );
        let generated = [earlier, &kept].concat();
        let pool = PromptPool {
            human,
            generated: &generated,
            kept: &kept,
        };
        let wave = generate::wave(run, generation, &pool, &quotas, count)?;
        quotas.extend(wave.quotas);
        let (asked, candidates) = (asked + count, wave.candidates);
        candidates_seen += candidates.len() as u64;
        let passed = filter_wave(run, round, chains, candidates, candidates_seen)?;
        let makers = (generator, human, LabelShares::of(&generated));
        let examples = respond_wave(run, round, makers, passed, &mut answered)?;
        let target = u64::from(spec.target);
        let valid = validate_wave(run, round, chains, examples, kept.len() as u64, target)?;
        chains.desk.lay_early(run, round, &valid, target)?;
        kept.extend(valid);
        run.progress(
            round,
            StageName::Generate,
            u64::from(asked),
            expected_requests(spec, asked, kept.len()),
        );
    }
    if kept.is_empty() {
        let asked = quotas.len() as u32;
        return Err(FlowError::Stopped(empty_round(run, round, asked)));
    }
    if (kept.len() as u32) < spec.target {
        let (count, target, asked) = (kept.len(), spec.target, quotas.len());
        let message = run.spec().languages[0].pick(
            format!("round {round} kept {count} of {target} examples within {asked} prompts (generate.max_requests); it goes on with these"),
            format!("第 {round} 轮在 {asked} 个提示（generate.max_requests）内保留了 {count} 条，目标 {target} 条；将用这些继续"),
        );
        run.warn(message)?;
    }
    Ok(kept)
}

/// Decides how many prompts the next wave sends: a batch, or fewer where the yield so far says that fewer will do.
fn next_requests(spec: &GenerateSpec, asked: u32, kept: usize) -> u32 {
    let left = spec.max_requests - asked;
    let missing = u64::from(spec.target).saturating_sub(kept as u64);
    let needed = match kept as u64 {
        0 => u64::from(spec.batch),
        kept => (missing * u64::from(asked)).div_ceil(kept),
    };
    let needed = u32::try_from(needed).unwrap_or(u32::MAX).max(1);
    needed.min(spec.batch).min(left)
}

/// Extrapolates how many prompts the target will take, from the yield so far.
fn expected_requests(spec: &GenerateSpec, asked: u32, kept: usize) -> u64 {
    let target = u64::from(spec.target);
    let kept = kept as u64;
    if kept >= target {
        return u64::from(asked);
    }
    let expected = match kept {
        0 => u64::from(asked + spec.batch),
        kept => u64::from(asked) * target.div_ceil(kept),
    };
    expected.clamp(u64::from(asked), u64::from(spec.max_requests))
}

/// Says why nothing was kept: the drop mix, and what to relax.
fn empty_round(run: &Run, round: u32, asked: u32) -> String {
    let language = run.spec().languages[0];
    let mut without_room = false;
    let mut text = language.pick(
        format!("round {round} kept nothing of {asked} prompts. Dropped:"),
        format!("第 {round} 轮的 {asked} 个提示没有留下任何样本。丢弃原因："),
    );
    for ((of, stage), report) in &run.totals.stages {
        if *of == round && report.dropped > 0 {
            let reasons: Vec<String> = report
                .reasons
                .iter()
                .map(|(code, count)| format!("{} {count}", reason_name(language, code)))
                .collect();
            let stage = stage_name(language, stage.name());
            text.push_str(&format!(" {stage}: {};", reasons.join(", ")));
            without_room |= report.reasons.contains_key(PROMPT_TOO_LONG);
        }
    }
    text.push_str(language.pick(
        " relax the rules that dropped most, or raise generate.temperature or generate.max_requests",
        " 请放宽丢弃最多的规则，或提高 generate.temperature 或 generate.max_requests",
    ));
    if without_room {
        text.push_str(language.pick(
            "; prompts too long for the model's context want shorter seeds, fewer of them (generate.human_examples) or a model with a longer context",
            "；提示超出模型上下文时，请缩短种子任务、减少其数目（generate.human_examples），或换用上下文更长的模型",
        ));
    }
    text
}

fn filter_wave(
    run: &mut Run,
    round: u32,
    chains: &mut Chains,
    candidates: Vec<Candidate>,
    seen: u64,
) -> Result<Vec<Candidate>, FlowError> {
    let Some(chain) = chains.filter.as_mut() else {
        return Ok(candidates);
    };
    let before = seen - candidates.len() as u64;
    run.progress(round, StageName::Filter, before, seen);
    let passed = filter::wave(run, round, chain, candidates)?;
    run.progress(round, StageName::Filter, seen, seen);
    Ok(passed)
}

fn respond_wave(
    run: &mut Run,
    round: u32,
    (generator, human, shares): (&ModelRef, &[Example], LabelShares),
    candidates: Vec<Candidate>,
    answered: &mut usize,
) -> Result<Vec<Example>, FlowError> {
    let Some(spec) = run.spec().stages.respond.clone() else {
        let maker = model_for(run, ModelRole::Generator, generator);
        return Ok(candidates
            .iter()
            .map(|candidate| bare_example(round, &maker, candidate))
            .collect());
    };
    let answerer = Answerer {
        spec: &spec,
        model: &model_for(run, ModelRole::Answerer, generator),
        human,
        shares,
    };
    let examples = respond::wave(run, round, answerer, &candidates, *answered)?;
    *answered += candidates.len();
    Ok(examples)
}

/// Makes an unanswered example, for workflows that only generate instructions.
fn bare_example(round: u32, generator: &ModelRef, candidate: &Candidate) -> Example {
    respond::to_example(round, generator, candidate, "", "")
}

fn validate_wave(
    run: &mut Run,
    round: u32,
    chains: &mut Chains,
    examples: Vec<Example>,
    kept_before: u64,
    target: u64,
) -> Result<Vec<Example>, FlowError> {
    let Some(chain) = chains.validate.as_mut() else {
        return Ok(examples);
    };
    run.progress(round, StageName::Validate, kept_before, target);
    let kept = validate::wave(run, round, chain, examples)?;
    run.progress(
        round,
        StageName::Validate,
        kept_before + kept.len() as u64,
        target,
    );
    Ok(kept)
}

/// Lets people look at what a round kept. The filter remembers what they wrote, so that no later round makes it again.
fn review_round(
    run: &mut Run,
    round: u32,
    kept: Vec<Example>,
    chains: &mut Chains,
) -> Result<Vec<Example>, FlowError> {
    let kept = review::review(run, round, &mut chains.desk, kept)?;
    let default = run.spec().languages[0];
    let edited = kept.iter().filter(|e| e.lineage.edited_from.is_some());
    if let Some(filter) = &mut chains.filter {
        edited.for_each(|e| filter.remember(&filter::seed_record(e, default)));
    }
    Ok(kept)
}

/// Filters, answers and validates the records of the seeds dataset itself.
fn judge_dataset(
    run: &mut Run,
    round: u32,
    generator: &ModelRef,
    [human, shown]: [&[Example]; 2],
    chains: &mut Chains,
) -> Result<Vec<Example>, FlowError> {
    let default = run.spec().languages[0];
    let mut kept = Vec::new();
    let (mut seen, mut answered) = (0u64, 0usize);
    for wave in human.chunks(DATASET_WAVE) {
        seen += wave.len() as u64;
        let passed = filter_records(run, round, chains, wave, seen)?;
        let (done, open): (Vec<Example>, Vec<Example>) = passed
            .into_iter()
            .partition(|example| !example.body.output_text().is_empty());
        let candidates = open
            .iter()
            .map(|example| Candidate {
                instruction: example.body.instruction_text().to_string(),
                language: language_of(example, default),
                seeds: Vec::new(),
                task_type: example.task_type,
                topic: example.topic.clone(),
                is_evolved: false,
            })
            .collect();
        let mut examples = done;
        if run.spec().stages.respond.is_some() {
            let makers = (generator, shown, LabelShares::of(&kept));
            examples.extend(respond_wave(run, round, makers, candidates, &mut answered)?);
        } else {
            examples.extend(open);
        }
        let total = human.len() as u64;
        let valid = validate_wave(run, round, chains, examples, kept.len() as u64, total)?;
        chains.desk.lay_early(run, round, &valid, total)?;
        kept.extend(valid);
    }
    Ok(kept)
}

fn filter_records(
    run: &mut Run,
    round: u32,
    chains: &mut Chains,
    wave: &[Example],
    seen: u64,
) -> Result<Vec<Example>, FlowError> {
    let Some(chain) = chains.filter.as_mut() else {
        return Ok(wave.to_vec());
    };
    let before = seen - wave.len() as u64;
    run.progress(round, StageName::Filter, before, seen);
    let passed = filter::dataset_wave(run, round, chain, wave)?;
    run.progress(round, StageName::Filter, seen, seen);
    Ok(passed)
}

/// Tells a round's dataset version from all others, whoever looks for it.
pub(crate) fn dataset_identity(workflow: &WorkflowSummary, round: u32) -> Digest {
    let name = &workflow.spec.name;
    Digest::of(format!("{name}/{}/{round}", workflow.spec_digest).as_bytes())
}

/// Writes everything kept so far as a dataset version of the workflow's name. Doing it again finds the version there.
fn write_dataset(
    run: &Run,
    round: u32,
    earlier: &[Example],
    kept: &[Example],
) -> Result<Option<DatasetSummary>, FlowError> {
    if kept.is_empty() {
        return Ok(None);
    }
    let spec = run.spec();
    let name = DatasetName::new(spec.name.as_str())
        .map_err(|error| FlowError::Stopped(error.to_string()))?;
    let identity = dataset_identity(&run.workflow, round);
    if let Some(there) = run.ports.datasets.by_source_digest(&name, identity)? {
        return Ok(Some(there));
    }
    let source = format!("workflow {} round {round}", spec.name);
    Ok(Some(run.ports.datasets.put(
        &name,
        &[earlier, kept].concat(),
        &source,
        Some(identity),
    )?))
}

/// Trains on the mix of three pools: human examples, the round's own and those of earlier rounds.
fn train_round(
    run: &mut Run,
    round: u32,
    [human, kept, earlier]: [&[Example]; 3],
    eval_dataset: &[Example],
    done: &mut RoundOutcome,
) -> Result<Option<Trained>, FlowError> {
    let Some(spec) = run.workflow.pinned.train_of(run.spec()) else {
        return Ok(None);
    };
    let mut mixed = train::mix(run.spec(), round, human, kept, earlier);
    mixed.find_overlaps(run.contamination.as_deref());
    (done.human, done.generated, done.replayed) = (mixed.human, mixed.generated, mixed.replayed);
    train::train(run, round, &spec, &mixed, eval_dataset).map(Some)
}

/// Decides on the round's adapter. Without a promote stage every adapter is taken.
fn decide(
    run: &mut Run,
    round: u32,
    incumbent: Option<&Evaluation>,
    candidate: Option<&Evaluation>,
    trained: &Trained,
    [kept, seeds]: [&[Example]; 2],
) -> Result<Promotion, FlowError> {
    let spec = run.spec().stages.promote.clone();
    match (spec, incumbent, candidate) {
        (Some(spec), Some(incumbent), Some(candidate)) => {
            let compared = Compared {
                incumbent,
                candidate,
                kept,
                seeds,
            };
            promote::promote(run, round, &spec, &compared, trained)
        }
        _ => Ok(Promotion {
            promoted: true,
            reason: run.spec().languages[0]
                .pick(
                    "taken: the workflow has no promote stage",
                    "已采用：工作流没有 promote 阶段",
                )
                .to_string(),
        }),
    }
}
