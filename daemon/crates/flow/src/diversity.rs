//! How varied texts are, each figure with its 95% interval.
//!
//! Intervals are by the delete-one jackknife: resampling with replacement, as a bootstrap does, puts copies beside their originals,
//! and copies are just what these figures count.

use std::collections::{BTreeMap, HashMap};

use autodidact_domain::figures::DiversityReport;
use autodidact_domain::random::Random;
use autodidact_domain::report::Interval;
use autodidact_domain::{Example, Language, TaskType};
use autodidact_text::{distinct_n, first_verb, rouge_l, token_entropy, tokenize};

use crate::stages::language_of;
use crate::statistics::{jackknife_interval, mean};

/// Texts that are compared with each other for the nearest of each; of more, so many are drawn, so that figures of rounds of
/// different sizes can be compared and are told in seconds.
const COMPARED: usize = 500;
/// Draws of equally many texts that a comparison of two sets takes the mean of.
const DRAWS: usize = 20;

/// Figures with their intervals, by name.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) values: BTreeMap<String, f64>,
    pub(crate) intervals: BTreeMap<String, Interval>,
}

impl Figures {
    fn put(&mut self, name: &str, value: f64, without_one: &[f64], most: f64) {
        let interval = jackknife_interval(value, without_one);
        let interval = Interval {
            low: interval.low.clamp(0.0, most),
            high: interval.high.clamp(0.0, most),
        };
        self.values.insert(name.to_string(), value);
        self.intervals.insert(name.to_string(), interval);
    }
}

/// Measures texts of one language. One alone has no neighbour, and its figures have no intervals.
pub(crate) fn of_texts(texts: &[&str], seed: u64) -> Figures {
    let mut figures = Figures::default();
    if let [text] = texts {
        let alone = [
            ("distinct_1", distinct_n(&[text], 1)),
            ("distinct_2", distinct_n(&[text], 2)),
            ("token_entropy", token_entropy(&[text])),
        ];
        figures.values = alone.map(|(name, value)| (name.to_string(), value)).into();
    }
    if texts.len() < 2 {
        return figures;
    }
    let tokens: Vec<Vec<String>> = texts.iter().map(|text| tokenize(text)).collect();
    for (name, n) in [("distinct_1", 1), ("distinct_2", 2)] {
        let without_one = distinct_without_one(&tokens, n);
        figures.put(name, distinct_n(texts, n), &without_one, 1.0);
    }
    let words = tokens
        .iter()
        .map(|tokens| tokens.iter().map(String::as_str).collect());
    let words: Vec<Vec<&str>> = words.collect();
    let without_one = entropies_without_one(&words);
    figures.put(
        "token_entropy",
        token_entropy(texts),
        &without_one,
        f64::MAX,
    );
    let (nearest, without_one) = nearest_similarity(&tokens, seed);
    figures.put("nearest_similarity", nearest, &without_one, 1.0);
    figures
}

/// Measures the instructions of examples, and what kinds of tasks they are, by language.
pub(crate) fn of_instructions(
    examples: &[Example],
    default: Language,
    seed: u64,
) -> Vec<DiversityReport> {
    let mut groups: BTreeMap<Language, Vec<&Example>> = BTreeMap::new();
    for example in examples {
        let language = language_of(example, default);
        groups.entry(language).or_default().push(example);
    }
    let report = |(language, examples): (Language, Vec<&Example>)| {
        let texts: Vec<_> = examples.iter().map(|e| e.body.instruction_text()).collect();
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let mut figures = of_texts(&texts, seed);
        // What an entropy in bits a token says of instructions, distinct-n says more plainly.
        figures.values.remove("token_entropy");
        figures.intervals.remove("token_entropy");
        let types = examples
            .iter()
            .filter_map(|e| e.task_type.map(TaskType::name));
        let topics = examples.iter().filter_map(|e| e.topic.as_deref());
        let verbs = texts.iter().filter_map(|text| first_verb(text, language));
        let verbs: Vec<String> = verbs.collect();
        for (name, kinds) in [
            ("task_type_entropy", types.collect::<Vec<&str>>()),
            ("topic_entropy", topics.collect()),
            ("verb_entropy", verbs.iter().map(String::as_str).collect()),
        ] {
            if kinds.len() >= 2 {
                let kinds: Vec<Vec<&str>> = kinds.into_iter().map(|kind| vec![kind]).collect();
                let value = entropy(&counts(&kinds));
                figures.put(name, value, &entropies_without_one(&kinds), f64::MAX);
            }
        }
        DiversityReport {
            language: language.code().to_string(),
            n: examples.len() as u64,
            figures: figures.values,
            intervals: figures.intervals,
        }
    };
    groups.into_iter().map(report).collect()
}

/// Divides the distinct-2 of some texts by that of others, over equally many of each: the larger set gives the mean of several draws,
/// since distinct-n falls as texts are added. None where either has no pair of tokens.
pub(crate) fn distinct_ratio(texts: &[&str], others: &[&str], seed: u64) -> Option<f64> {
    let count = texts.len().min(others.len());
    let at_size = |texts: &[&str], name: &str| {
        if texts.len() == count {
            return distinct_n(texts, 2);
        }
        let draw = |draw: usize| {
            let mut random = Random::at(seed, &["distinct", name, &draw.to_string()]);
            distinct_n(&random.pick(texts, count), 2)
        };
        mean(&(0..DRAWS).map(draw).collect::<Vec<f64>>())
    };
    let (own, other) = (at_size(texts, "own"), at_size(others, "other"));
    (count > 0 && other > 0.0).then(|| own / other)
}

/// Computes distinct-n again and again, each time without one of the texts.
fn distinct_without_one(texts: &[Vec<String>], n: usize) -> Vec<f64> {
    // How many texts hold an n-gram, and the last that does: the only one, where it is one.
    let mut holders: HashMap<&[String], (usize, usize)> = HashMap::new();
    let mut total = 0;
    for (place, tokens) in texts.iter().enumerate() {
        for ngram in tokens.windows(n) {
            let holder = holders.entry(ngram).or_insert((0, usize::MAX));
            if holder.1 != place {
                *holder = (holder.0 + 1, place);
            }
            total += 1;
        }
    }
    let mut alone = vec![0usize; texts.len()];
    for (count, place) in holders.values() {
        if *count == 1 {
            alone[*place] += 1;
        }
    }
    let without = |(place, tokens): (usize, &Vec<String>)| {
        let left = total - tokens.windows(n).count();
        (holders.len() - alone[place]) as f64 / left.max(1) as f64
    };
    texts.iter().enumerate().map(without).collect()
}

fn counts<'a>(texts: &[Vec<&'a str>]) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for kind in texts.iter().flatten() {
        *counts.entry(*kind).or_default() += 1;
    }
    counts
}

/// Computes Shannon's entropy of counts, in bits.
fn entropy(counts: &BTreeMap<&str, u64>) -> f64 {
    let total: u64 = counts.values().sum();
    entropy_of_sum(
        counts
            .values()
            .map(|count| times_its_logarithm(*count))
            .sum(),
        total,
    )
}

/// log2 T - (the sum of c log2 c) / T, which is the entropy.
fn entropy_of_sum(sum: f64, total: u64) -> f64 {
    match total {
        0 => 0.0,
        total => ((total as f64).log2() - sum / total as f64).max(0.0),
    }
}

fn times_its_logarithm(count: u64) -> f64 {
    match count {
        0 => 0.0,
        count => count as f64 * (count as f64).log2(),
    }
}

/// Computes the entropy of all kinds together again and again, each time without one of the texts.
fn entropies_without_one(texts: &[Vec<&str>]) -> Vec<f64> {
    let all = counts(texts);
    let total: u64 = all.values().sum();
    let sum: f64 = all.values().map(|count| times_its_logarithm(*count)).sum();
    let without = |text: &Vec<&str>| {
        let own = counts(std::slice::from_ref(text));
        let changed = own
            .iter()
            .map(|(kind, n)| times_its_logarithm(all[kind] - n) - times_its_logarithm(all[kind]));
        let left = total - text.len() as u64;
        entropy_of_sum(sum + changed.sum::<f64>(), left)
    };
    texts.iter().map(without).collect()
}

/// Computes the mean ROUGE-L F of every text with the one most like it, and the same without each of them.
fn nearest_similarity(texts: &[Vec<String>], seed: u64) -> (f64, Vec<f64>) {
    let mut places = Random::at(seed, &["nearest"]).sample(texts.len(), COMPARED);
    places.sort_unstable();
    // The best of each with its place, and the second best for when that one is left out.
    let mut best = vec![(0.0f64, usize::MAX, 0.0f64); places.len()];
    for i in 0..places.len() {
        for j in 0..i {
            let score = rouge_l(&texts[places[i]], &texts[places[j]]);
            for (at, other) in [(i, j), (j, i)] {
                let (first, place, second) = best[at];
                best[at] = match score > first || place == usize::MAX {
                    true => (score, other, first),
                    false => (first, place, second.max(score)),
                };
            }
        }
    }
    let value = mean(&best.iter().map(|best| best.0).collect::<Vec<f64>>());
    let without = |left_out: usize| {
        let others = best.iter().enumerate().filter(|(at, _)| *at != left_out);
        let others = others.map(|(_, (first, place, second))| match *place == left_out {
            true => *second,
            false => *first,
        });
        mean(&others.collect::<Vec<f64>>())
    };
    (value, (0..best.len()).map(without).collect())
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    const TEXTS: [&str; 6] = [
        "Write a poem about the sea.",
        "Write a song about the sea.",
        "Name two rivers of France.",
        "写一首关于大海的诗。",
        "写一首关于高山的诗。",
        "a",
    ];

    #[test]
    fn what_is_left_without_a_text_is_what_the_others_have() {
        let tokens: Vec<Vec<String>> = TEXTS.iter().map(|text| tokenize(text)).collect();
        let words: Vec<Vec<&str>> = tokens
            .iter()
            .map(|tokens| tokens.iter().map(String::as_str).collect())
            .collect();
        let without = |place: usize| {
            let mut others = TEXTS.to_vec();
            others.remove(place);
            others
        };
        let entropies = entropies_without_one(&words);
        assert!((self::entropy(&counts(&words)) - token_entropy(&TEXTS)).abs() < 1e-9);
        for (place, entropy) in entropies.iter().enumerate() {
            let others = without(place);
            for n in [1, 2] {
                let found = distinct_without_one(&tokens, n)[place];
                assert!(
                    (found - distinct_n(&others, n)).abs() < 1e-12,
                    "{place} {n}"
                );
            }
            assert!((entropy - token_entropy(&others)).abs() < 1e-9, "{place}");
            let others: Vec<Vec<String>> = others.iter().map(|text| tokenize(text)).collect();
            let (expect, _) = nearest_similarity(&others, 1);
            let found = nearest_similarity(&tokens, 1).1[place];
            assert!((found - expect).abs() < 1e-12, "{place}: {found} {expect}");
        }
    }

    #[test]
    fn every_figure_lies_in_its_interval() {
        let figures = of_texts(&TEXTS, 3);
        let names: Vec<&String> = figures.values.keys().collect();
        let expect = [
            "distinct_1",
            "distinct_2",
            "nearest_similarity",
            "token_entropy",
        ];
        assert_eq!(names, expect);
        for (name, value) in &figures.values {
            let Interval { low, high } = figures.intervals[name];
            assert!(
                low < *value && *value < high,
                "{name}: {low} {value} {high}"
            );
        }
        let alone = of_texts(&TEXTS[..1], 3);
        assert_eq!((alone.values.len(), alone.intervals.len()), (3, 0));
    }

    #[test]
    fn the_interval_of_a_share_holds_the_truth_as_often_as_it_says() {
        // Two kinds, equally likely: an entropy of almost one bit, measured on 60 draws.
        let (mut held, runs) = (0, 200);
        for run in 0..runs {
            let mut random = Random::from_seed(run);
            let kinds: Vec<Vec<&str>> = (0..60)
                .map(|_| vec![["a", "b", "b", "b"][random.below(4)]])
                .collect();
            let interval =
                jackknife_interval(entropy(&counts(&kinds)), &entropies_without_one(&kinds));
            held += i32::from(interval.low <= 0.811_278 && 0.811_278 <= interval.high);
        }
        assert!((180..=198).contains(&held), "{held} of {runs}");
    }

    #[test]
    fn instructions_are_measured_by_language_and_kinds_where_they_are_told() {
        let example = |(i, text): (usize, &&str)| Example {
            task_type: (i < 4).then_some([TaskType::Writing, TaskType::Code][i % 2]),
            ..Example::human(Body::instruction(text, "", "b"))
        };
        let examples: Vec<Example> = TEXTS.iter().enumerate().map(example).collect();
        let found = of_instructions(&examples, Language::En, 1);
        let counts: Vec<(&str, u64)> = found.iter().map(|f| (f.language.as_str(), f.n)).collect();
        assert_eq!(counts, [("en", 4), ("zh", 2)]);
        // Two of writing and one of code have 0.918 bits; one told type of Chinese says nothing, and no topic is told.
        assert!((found[0].figures["task_type_entropy"] - 0.918_296).abs() < 1e-6);
        assert!(!found[1].figures.contains_key("task_type_entropy"));
        assert!(!found[0].figures.contains_key("topic_entropy"));
        assert!(found[1].figures["nearest_similarity"] > 0.7);
    }

    #[test]
    fn sets_are_compared_at_equal_sizes() {
        let different: Vec<String> = (0..40).map(|i| format!("a{i} b{i} c{i}")).collect();
        let different: Vec<&str> = different.iter().map(String::as_str).collect();
        assert_eq!(distinct_ratio(&different, &different[..5], 1), Some(1.0));
        let same = vec!["one two three"; 5];
        let ratio = distinct_ratio(&same, &different, 1).expect("both have pairs");
        assert!((ratio - 0.2).abs() < 1e-12, "{ratio}");
        assert_eq!(distinct_ratio(&[], &different, 1), None);
        assert_eq!(distinct_ratio(&different, &["a"], 1), None);
    }
}
