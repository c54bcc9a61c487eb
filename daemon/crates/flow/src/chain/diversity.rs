//! Keeps the most diverse of what passed the rules before, under quotas by task type and topic.

use std::collections::BTreeMap;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{DiversityMethod, DiversitySpec};
use autodidact_domain::{ExampleId, Verdict};
use autodidact_text::cosine;

use super::ChainRecord;
use super::meaning::{Meaning, Meanings};

/// How many of each task type and topic are kept, by language.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    kept: usize,
    kinds: BTreeMap<String, usize>,
}

impl Kinds {
    pub(super) fn add(&mut self, record: &ChainRecord) {
        self.kept += 1;
        for kind in [task_type_of(record), topic_of(record)]
            .into_iter()
            .flatten()
        {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    fn of(&self, kind: &str) -> usize {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}

fn task_type_of(record: &ChainRecord) -> Option<String> {
    Some(format!("task type {}", record.task_type?.name()))
}

fn topic_of(record: &ChainRecord) -> Option<String> {
    Some(format!("topic {}", record.topic.as_ref()?))
}

/// Chooses among the records that passed; gives the drops of the others.
///
/// Facility location is maximised greedily, which comes within 1 - 1/e of the best choice (Nemhauser, Wolsey & Fisher 1978).
pub(super) fn choose<'a>(
    spec: &DiversitySpec,
    records: &[ChainRecord],
    passed: &[usize],
    vector_of: impl Fn(usize) -> Option<&'a Meaning>,
    meanings: Option<&Meanings>,
    kinds: &Kinds,
) -> Vec<(usize, Verdict)> {
    // One without a vector cannot be compared, and is not dropped for that.
    let pool: Vec<(usize, &Meaning)> = passed
        .iter()
        .filter_map(|i| Some((*i, vector_of(*i)?)))
        .collect();
    let Some(meanings) = meanings else {
        return Vec::new();
    };
    let shown: Vec<(&ChainRecord, &Meaning)> = pool
        .iter()
        .map(|(i, meaning)| (&records[*i], *meaning))
        .collect();
    let closest = meanings.closest(&shown);
    // How near each lies to what is kept or chosen, and to which of it.
    let mut nearest: Vec<Option<Near>> = closest
        .into_iter()
        .map(|found| {
            found.map(|(score, (id, text))| Near {
                score,
                id: *id,
                text: text.clone(),
            })
        })
        .collect();
    let alike = |a: usize, b: usize| {
        // Vectors of different languages may be of different embedders.
        match shown[a].0.language == shown[b].0.language {
            true => cosine(&shown[a].1.vector, &shown[b].1.vector),
            false => 0.0,
        }
    };
    let wanted = (pool.len() as f64 * spec.share).ceil() as usize;
    let mut counts = kinds.clone();
    let total = (kinds.kept + wanted) as f64;
    let full = |record: &ChainRecord, counts: &Kinds| {
        let limits = [
            (task_type_of(record), spec.max_task_type_share),
            (topic_of(record), spec.max_topic_share),
        ];
        limits.into_iter().find_map(|(kind, share)| {
            let kind = kind.filter(|_| share < 1.0)?;
            let most = (total * share).ceil() as usize;
            (counts.of(&kind) >= most).then(|| format!("{kind}: at most {most} of {total}"))
        })
    };
    let mut open: Vec<usize> = (0..pool.len()).collect();
    let mut drops: Vec<(usize, Verdict)> = Vec::new();
    let mut chosen = 0;
    while chosen < wanted && !open.is_empty() {
        let value = |place: &usize| match spec.method {
            DiversityMethod::FacilityLocation => (0..pool.len())
                .map(|other| {
                    let had = nearest[other]
                        .as_ref()
                        .map_or(0.0, |near| near.score.max(0.0));
                    (alike(other, *place) - had).max(0.0)
                })
                .sum::<f64>(),
            DiversityMethod::KCenter => nearest[*place]
                .as_ref()
                .map_or(f64::INFINITY, |near| -near.score),
        };
        // The first of equals.
        let best = open
            .iter()
            .rev()
            .max_by(|a, b| value(a).total_cmp(&value(b)));
        let Some(best) = best.copied() else { break };
        open.retain(|place| *place != best);
        let record = shown[best].0;
        if let Some(note) = full(record, &counts) {
            let evidence = Evidence {
                note: Some(note),
                ..Evidence::default()
            };
            drops.push((
                pool[best].0,
                Verdict::drop("diversity", "quota_full", evidence),
            ));
            continue;
        }
        chosen += 1;
        counts.add(record);
        for (other, near) in nearest
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != best)
        {
            let score = alike(other, best);
            if score > near.as_ref().map_or(f64::NEG_INFINITY, |near| near.score) {
                *near = Some(Near {
                    score,
                    id: record.id,
                    text: record.instruction.clone(),
                });
            }
        }
    }
    for place in open {
        let near = nearest[place].as_ref();
        let evidence = Evidence {
            nearest: near.map(|near| near.id),
            nearest_text: near.map(|near| near.text.clone()),
            score: near.map(|near| near.score),
            note: Some(format!("{chosen} of {} were chosen", pool.len())),
            ..Evidence::default()
        };
        drops.push((
            pool[place].0,
            Verdict::drop("diversity", "less_diverse", evidence),
        ));
    }
    drops
}

/// The nearest of what is kept or chosen.
struct Near {
    score: f64,
    id: ExampleId,
    text: String,
}

#[cfg(test)]
mod tests {
    use autodidact_domain::workflow::EmbeddingSpec;
    use autodidact_domain::{Body, Language, TaskType};

    use super::*;

    fn record(text: &str, task_type: TaskType) -> ChainRecord {
        let id = Body::instruction(text, "", "").id();
        ChainRecord {
            task_type: Some(task_type),
            ..ChainRecord::instruction(id, text, Language::En)
        }
    }

    /// Ten records at these angles in degrees, of one task type but for the last.
    fn chosen(spec: &DiversitySpec, angles: &[f64], kinds: &Kinds) -> Vec<(usize, String)> {
        let records: Vec<ChainRecord> = (0..angles.len())
            .map(|i| match i + 1 == angles.len() {
                true => record(&format!("task {i}"), TaskType::Code),
                false => record(&format!("task {i}"), TaskType::Writing),
            })
            .collect();
        let vectors: Vec<Meaning> = angles
            .iter()
            .map(|angle| {
                Meaning::of(vec![
                    angle.to_radians().cos() as f32,
                    angle.to_radians().sin() as f32,
                ])
            })
            .collect();
        let meanings = Meanings::new(EmbeddingSpec::default());
        let passed: Vec<usize> = (0..angles.len()).collect();
        let drops = choose(
            spec,
            &records,
            &passed,
            |i| Some(&vectors[i]),
            Some(&meanings),
            kinds,
        );
        let mut drops: Vec<(usize, String)> = drops
            .into_iter()
            .map(|(i, verdict)| (i, verdict.reason))
            .collect();
        drops.sort();
        drops
    }

    fn spec(method: DiversityMethod, share: f64) -> DiversitySpec {
        DiversitySpec {
            method,
            share,
            max_task_type_share: 1.0,
            max_topic_share: 1.0,
        }
    }

    #[test]
    fn clusters_are_thinned_out_by_either_method() {
        // Two clusters and one that stands alone: three are wanted.
        let angles = [0.0, 2.0, 4.0, 40.0, 42.0, 85.0];
        for method in [DiversityMethod::FacilityLocation, DiversityMethod::KCenter] {
            let drops = chosen(&spec(method, 0.5), &angles, &Kinds::default());
            let kept: Vec<usize> = (0..6)
                .filter(|i| !drops.iter().any(|(dropped, _)| dropped == i))
                .collect();
            assert_eq!(kept.len(), 3, "{method:?}");
            assert!(kept.contains(&5), "{method:?} {kept:?}");
            assert_eq!(
                kept.iter().filter(|i| **i < 3).count(),
                1,
                "{method:?} {kept:?}"
            );
            assert!(drops.iter().all(|(_, reason)| reason == "less_diverse"));
        }
    }

    #[test]
    fn a_full_task_type_gives_its_place_to_another() {
        let limited = DiversitySpec {
            max_task_type_share: 0.5,
            ..spec(DiversityMethod::KCenter, 1.0)
        };
        let drops = chosen(&limited, &[0.0, 30.0, 60.0, 90.0], &Kinds::default());
        let full = drops
            .iter()
            .filter(|(_, reason)| reason == "quota_full")
            .count();
        assert_eq!((drops.len(), full), (1, 1), "{drops:?}");
        assert_ne!(drops[0].0, 3);
        // What is kept already counts.
        let mut kinds = Kinds::default();
        (0..2).for_each(|i| kinds.add(&record(&format!("kept {i}"), TaskType::Writing)));
        (0..4).for_each(|i| kinds.add(&record(&format!("other {i}"), TaskType::Code)));
        assert_eq!(chosen(&limited, &[0.0, 30.0, 60.0, 90.0], &kinds).len(), 0);
    }
}
