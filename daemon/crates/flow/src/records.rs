//! The record stages of a round, from generated instructions to valid examples, wave by wave.

use autodidact_domain::journal::StageName;
use autodidact_domain::plan::RoundPlan;
use autodidact_domain::workflow::{Calibration, GenerateSpec, ModelRole};
use autodidact_domain::{Example, ModelRef};

use crate::chain::{Chain, ChainRecord};
use crate::error::FlowError;
use crate::journaled::Run;
use crate::report::{reason_name, stage_name};
use crate::stages::generate::{self, Candidate, Generation, PromptPool, Template};
use crate::stages::respond::{self, Answerer, LabelShares};
use crate::stages::{PROMPT_TOO_LONG, filter, review, validate};

/// Records of a dataset that go through a chain at once, where nothing is generated.
const DATASET_WAVE: usize = 64;
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
pub(crate) struct Chains {
    filter: Option<Chain>,
    validate: Option<Chain>,
    /// The bounds that the seeds gave.
    pub(crate) calibrations: Vec<Calibration>,
    desk: review::Desk,
}

impl Chains {
    pub(crate) fn build(run: &mut Run, [human, shown]: [&[Example]; 2]) -> Result<Self, FlowError> {
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
        let default = run.spec().languages[0];
        let mut calibrations = Vec::new();
        if let Some(chain) = filter.as_mut() {
            let seeds = human.iter().map(|seed| filter::seed_record(seed, default));
            let seeds: Vec<ChainRecord> = seeds.collect();
            if chain.wants_calibration() {
                calibrations = filter::calibrate(run, StageName::Filter, chain, &seeds)?;
            }
            // Where the dataset itself is filtered, its records must not count as their own duplicates.
            if stages.generate.is_some() {
                seeds.iter().for_each(|seed| chain.remember(seed));
            }
        }
        let validate = stages.validate.as_ref();
        let mut validate = validate
            .map(|stage| Chain::for_validate(&stage.chain, &plugins, &run.spec().languages))
            .transpose()?
            .map(|chain| chain.showing(shown));
        if let Some(chain) = validate.as_mut().filter(|chain| chain.wants_calibration()) {
            let seeds = human
                .iter()
                .map(|seed| ChainRecord::of_example(seed, default));
            let seeds: Vec<ChainRecord> = seeds.collect();
            calibrations.extend(filter::calibrate(run, StageName::Validate, chain, &seeds)?);
        }
        Ok(Self {
            filter,
            validate,
            calibrations,
            desk: review::Desk::default(),
        })
    }
}

/// Runs the record stages of a round: generated in waves until the target is kept, or once over the dataset.
pub(crate) fn make_examples(
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
                template: &Template::of(run, spec)?,
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
    while (quotas.len() as u32) < spec.max_requests {
        let languages = generate::missing(spec.target, &run.spec().languages, &kept);
        let missing: u32 = languages.iter().map(|(_, missing)| missing).sum();
        if missing == 0 {
            break;
        }
        let asked = quotas.len() as u32;
        let count = next_requests(spec, asked, kept.len(), missing);
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
            languages: languages
                .into_iter()
                .map(|(language, _)| language)
                .collect(),
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
    let missing = generate::missing(spec.target, &run.spec().languages, &kept);
    if !missing.is_empty() {
        let (count, target, asked) = (kept.len(), spec.target, quotas.len());
        let missing: Vec<String> = missing
            .iter()
            .map(|(language, missing)| format!("{} {missing}", language.code()))
            .collect();
        let missing = missing.join(", ");
        let message = run.spec().languages[0].pick(
            format!("round {round} kept {count} of {target} examples within {asked} prompts (generate.max_requests), missing {missing}; it goes on with these"),
            format!("第 {round} 轮在 {asked} 个提示（generate.max_requests）内保留了 {count} 条，目标 {target} 条，还缺 {missing}；将用这些继续"),
        );
        run.warn(message)?;
    }
    Ok(kept)
}

/// Decides how many prompts the next wave sends: a batch, or fewer where the yield so far says that fewer will do.
fn next_requests(spec: &GenerateSpec, asked: u32, kept: usize, missing: u32) -> u32 {
    let left = spec.max_requests - asked;
    let missing = u64::from(missing);
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
pub(crate) fn review_round(
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
            .map(|example| Candidate::of_example(example, default))
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
