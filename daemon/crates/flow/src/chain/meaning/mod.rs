//! Instructions as vectors: near duplicates in meaning, by a threshold that the seeds calibrate for each embedder.

mod frame;
mod vectors;

use std::collections::BTreeMap;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{Calibration, EmbeddingSpec};
use autodidact_domain::{EmbedderRef, ExampleId, Language, Verdict};
use autodidact_text::{Match, VectorIndex, cosine};

use super::ChainRecord;
use crate::error::FlowError;
use crate::journaled::Run;
use vectors::VectorMaker;

/// The name that the rule has in calibrations and verdicts.
const RULE: &str = "embedding";
/// Seeds of a language whose pairs are compared: their number grows with the square.
const MAX_SEEDS: usize = 1000;
/// The fewest seeds whose pairs say something.
const MIN_SEEDS: usize = 8;
/// The threshold of an encoder without seeds.
const DEFAULT_THRESHOLD: f64 = 0.9;
/// That of a generator, whose vectors are seen without what all have in common.
const DEFAULT_STATE_THRESHOLD: f64 = 0.65;
/// The likeness of all but one in a thousand pairs of seeds: people wrote them to be different, and a few are near each other.
const QUANTILE: f64 = 0.999;
/// How far the threshold lies between that likeness and 1. Of 0.25, a third, 0.4 and a half, measured on pairs that people labelled
/// (`tests/labelled/embedding_duplicate.*.jsonl`), a third finds the most that say the same for the fewest that do not.
const BETWEEN: f64 = 1.0 / 3.0;

/// The kept instructions as vectors, by language.
#[derive(Clone)]
pub(super) struct Meanings {
    spec: EmbeddingSpec,
    spaces: BTreeMap<Language, Space>,
    /// What was kept and has no vector yet.
    pending: Vec<(Language, ExampleId, String)>,
}

/// The vectors of one embedder.
#[derive(Clone)]
struct Space {
    maker: VectorMaker,
    calibration: Calibration,
    index: VectorIndex,
    kept: Vec<(ExampleId, String)>,
}

/// A record's vector, and what it was compared with already.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) vector: Vec<f32>,
    nearest: Option<Match>,
    /// How many there were when it was compared.
    compared: usize,
}

impl Meaning {
    /// A vector that was compared with nothing.
    #[cfg(test)]
    pub(super) fn of(vector: Vec<f32>) -> Self {
        Self {
            vector,
            nearest: None,
            compared: 0,
        }
    }
}

impl Meanings {
    pub(super) fn new(spec: EmbeddingSpec) -> Self {
        Self {
            spec,
            spaces: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Chooses each language's embedder by the seeds, and measures how alike seeds are that people wrote to be different.
    pub(super) fn measure(
        &self,
        run: &Run,
        seeds: &[ChainRecord],
    ) -> Result<Vec<Calibration>, FlowError> {
        let mut calibrations = Vec::new();
        for language in &run.spec().languages {
            let texts = texts_of(seeds, *language);
            let mut maker = self.maker(run, *language, &texts)?;
            let vectors = maker.learn(run, texts)?;
            // Of a dataset that is filtered itself nobody knows yet which of its records say the same.
            let are_distinct = run.spec().stages.generate.is_some();
            let is_enough = are_distinct && vectors.len() >= MIN_SEEDS;
            let measured = is_enough.then(|| likeness(&vectors));
            let between = measured.map(|measured| measured + BETWEEN * (1.0 - measured));
            let default = match maker.embedder() {
                EmbedderRef::LastState(_) => DEFAULT_STATE_THRESHOLD,
                EmbedderRef::Encoder(_) | EmbedderRef::Generator(_) => DEFAULT_THRESHOLD,
            };
            calibrations.push(Calibration {
                rule: RULE.to_string(),
                language: *language,
                model: maker.embedder().model().clone(),
                bound: self.spec.threshold.or(between).unwrap_or(default),
                seeds: match self.spec.threshold {
                    None if measured.is_some() => vectors.len() as u64,
                    _ => 0,
                },
                measured,
            });
        }
        Ok(calibrations)
    }

    fn maker(
        &self,
        run: &Run,
        language: Language,
        texts: &[String],
    ) -> Result<VectorMaker, FlowError> {
        let Some(model) = &self.spec.model else {
            return VectorMaker::choose(run, language, texts);
        };
        let maker = VectorMaker::of(&run.ports.models.get(model)?, language);
        let embedder = maker.embedder();
        let engine = &run.ports.engine;
        let report = engine.embed_report(embedder, texts.to_vec(), &run.interrupt)?;
        report.check(embedder)?;
        Ok(maker)
    }

    /// Takes the thresholds that were measured, and learns again from the seeds what the vectors are seen in.
    pub(super) fn calibrate(
        &mut self,
        run: &Run,
        calibrations: &[Calibration],
        seeds: &[ChainRecord],
    ) -> Result<(), FlowError> {
        for calibration in calibrations.iter().filter(|own| own.rule == RULE) {
            let language = calibration.language;
            let mut maker = VectorMaker::of(&run.ports.models.get(&calibration.model)?, language);
            maker.learn(run, texts_of(seeds, language))?;
            self.spaces.insert(
                language,
                Space {
                    maker,
                    index: VectorIndex::new(calibration.bound),
                    calibration: calibration.clone(),
                    kept: Vec::new(),
                },
            );
        }
        Ok(())
    }

    /// Finds the space of a language; that of the workflow's first for one that it does not work in.
    fn space_of(&self, language: Language) -> Option<&Space> {
        let own = self.spaces.get(&language);
        own.or_else(|| self.spaces.values().next())
    }

    fn key_of(&self, language: Language) -> Option<Language> {
        match self.spaces.contains_key(&language) {
            true => Some(language),
            false => self.spaces.keys().next().copied(),
        }
    }

    /// Remembers what is kept, with its vector where that is known.
    pub(super) fn remember(&mut self, record: &ChainRecord, meaning: Option<&Meaning>) {
        let (id, text) = (record.id, record.instruction.clone());
        let space = self
            .key_of(record.language)
            .and_then(|key| self.spaces.get_mut(&key));
        match (meaning, space) {
            (Some(meaning), Some(space)) => space.add(id, text, &meaning.vector),
            _ => self.pending.push((record.language, id, text)),
        }
    }

    /// Makes the vectors of what was kept before they were needed: the seeds, and after a restart what was kept then.
    pub(super) fn catch_up(&mut self, run: &Run) -> Result<(), FlowError> {
        let pending = std::mem::take(&mut self.pending);
        for key in self.spaces.keys().copied().collect::<Vec<_>>() {
            let own: Vec<&(Language, ExampleId, String)> = pending
                .iter()
                .filter(|(language, ..)| self.key_of(*language) == Some(key))
                .collect();
            if own.is_empty() {
                continue;
            }
            let texts = own.iter().map(|(_, _, text)| text.clone()).collect();
            let Some(space) = self.spaces.get_mut(&key) else {
                continue;
            };
            let vectors = space.maker.vectors(run, texts)?;
            for ((_, id, text), vector) in own.into_iter().zip(&vectors) {
                space.add(*id, text.clone(), vector);
            }
        }
        Ok(())
    }

    /// Makes the vectors of the open records, and compares them with all that is kept.
    pub(super) fn ask(
        &self,
        run: &Run,
        records: &[ChainRecord],
        open: &[bool],
    ) -> Result<Vec<Option<Meaning>>, FlowError> {
        let mut meanings: Vec<Option<Meaning>> = vec![None; records.len()];
        for (key, space) in &self.spaces {
            let own: Vec<usize> = (0..records.len())
                .filter(|i| open[*i] && self.key_of(records[*i].language) == Some(*key))
                .collect();
            if own.is_empty() {
                continue;
            }
            let texts = own.iter().map(|i| records[*i].instruction.clone());
            let vectors = space.maker.vectors(run, texts.collect())?;
            let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            let nearest = space.index.nearest_of(&slices);
            for ((i, vector), nearest) in own.into_iter().zip(vectors).zip(nearest) {
                meanings[i] = Some(Meaning {
                    vector,
                    nearest,
                    compared: space.index.len(),
                });
            }
        }
        Ok(meanings)
    }

    /// Judges a record: by what it was compared with, and by what was kept since.
    pub(super) fn judge(&self, record: &ChainRecord, meaning: &Meaning) -> Option<Verdict> {
        let space = self.space_of(record.language)?;
        let later = space.index.nearest_from(&meaning.vector, meaning.compared);
        let nearest = match (meaning.nearest, later) {
            (Some(before), Some(later)) if later.score > before.score => later,
            (before, later) => before.or(later)?,
        };
        let (id, text) = &space.kept[nearest.id];
        let Calibration {
            model,
            bound,
            seeds,
            ..
        } = &space.calibration;
        let how = match seeds {
            0 => String::new(),
            seeds => format!(", calibrated on {seeds} seeds"),
        };
        Some(Verdict::drop(
            RULE,
            "embedding_duplicate",
            Evidence {
                nearest: Some(*id),
                nearest_text: Some(text.clone()),
                score: Some(nearest.score),
                note: Some(format!("above {bound:.3} by {model}{how}")),
                ..Evidence::default()
            },
        ))
    }

    /// Finds the nearest kept instruction of each record, however far.
    pub(super) fn closest<'a>(
        &'a self,
        records: &[(&ChainRecord, &Meaning)],
    ) -> Vec<Option<(f64, &'a (ExampleId, String))>> {
        let closest = |(record, meaning): &(&ChainRecord, &Meaning)| {
            let space = self.space_of(record.language)?;
            let found = space.index.closest_of(&[&meaning.vector]).pop().flatten()?;
            Some((found.score, space.kept.get(found.id)?))
        };
        records.iter().map(closest).collect()
    }
}

impl Space {
    fn add(&mut self, id: ExampleId, text: String, vector: &[f32]) {
        self.index.add(vector);
        self.kept.push((id, text));
    }
}

/// The seeds of a language that are measured.
fn texts_of(seeds: &[ChainRecord], language: Language) -> Vec<String> {
    let own = seeds.iter().filter(|seed| seed.language == language);
    let texts = own.take(MAX_SEEDS).map(|seed| seed.instruction.clone());
    texts.collect()
}

/// Finds the cosine that all but one in a thousand pairs stay under.
fn likeness(vectors: &[Vec<f32>]) -> f64 {
    let mut pairs: Vec<f64> = Vec::with_capacity(vectors.len() * (vectors.len() - 1) / 2);
    for (i, vector) in vectors.iter().enumerate() {
        pairs.extend(vectors[..i].iter().map(|other| cosine(vector, other)));
    }
    pairs.sort_unstable_by(f64::total_cmp);
    let place = ((pairs.len() as f64 * QUANTILE).ceil() as usize).saturating_sub(1);
    pairs.get(place).copied().unwrap_or(0.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeness_leaves_one_pair_in_a_thousand_out() {
        // Of 46 vectors 1035 pairs, two of them alike.
        let mut vectors: Vec<Vec<f32>> = (0..46)
            .map(|i| (0..46).map(|j| if i == j { 1.0 } else { 0.0 }).collect())
            .collect();
        vectors[1] = vectors[0].clone();
        assert_eq!(likeness(&vectors), 0.0);
        vectors[3] = vectors[2].clone();
        assert_eq!(likeness(&vectors), 1.0);
    }
}
