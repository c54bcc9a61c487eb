//! An index that finds the nearest of many vectors by their cosine, exactly.

use std::num::NonZeroUsize;

use gemm::Parallelism;

use crate::Match;

/// Vectors that are compared at once, and vectors of the index that they meet at once: 256 times 2048 products take 2 MiB.
const ASKED_AT_ONCE: usize = 256;
const MET_AT_ONCE: usize = 2048;

/// Finds near duplicates by cosine: exactly those, with exactly the scores, that comparing with every vector would find.
///
/// Matrix products in f32 find what may be near; what they say is off by at most `dimension * f32::EPSILON` for vectors of length 1
/// (Higham 2002, section 3.1), and whatever comes that close is computed again in f64, in one order. So a decision does not depend
/// on the vectors beside it, on threads, or on the machine's instructions.
#[derive(Clone, Debug)]
pub struct VectorIndex {
    threshold: f64,
    dimension: usize,
    vectors: Vec<f32>,
}

impl VectorIndex {
    /// Makes an empty index that reports vectors with a cosine above `threshold`.
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            dimension: 0,
            vectors: Vec::new(),
        }
    }

    /// Tells the threshold.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Counts the vectors.
    pub fn len(&self) -> usize {
        self.vectors.len() / self.dimension.max(1)
    }

    /// Tells whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Adds a vector of length 1 and gives its number, counted from 0.
    ///
    /// # Panics
    /// When it has another dimension than those before it, or none.
    pub fn add(&mut self, vector: &[f32]) -> usize {
        if self.dimension == 0 {
            self.dimension = vector.len();
        }
        assert!(!vector.is_empty(), "a vector of no dimension");
        assert_eq!(vector.len(), self.dimension, "a vector's dimension");
        self.vectors.extend_from_slice(vector);
        self.len() - 1
    }

    /// Shows a vector by its number.
    pub fn vector(&self, id: usize) -> Option<&[f32]> {
        self.vectors
            .get(id * self.dimension..(id + 1) * self.dimension)
    }

    /// Finds the nearest vector above the threshold; the lowest number among equals.
    pub fn nearest(&self, vector: &[f32]) -> Option<Match> {
        self.nearest_of(&[vector]).pop().flatten()
    }

    /// Finds the nearest of the vectors from number `from` on.
    pub fn nearest_from(&self, vector: &[f32], from: usize) -> Option<Match> {
        let later = (from..self.len()).filter_map(|id| Some((id, self.vector(id)?)));
        let mut best: Option<Match> = None;
        for (id, other) in later {
            let score = cosine(vector, other);
            if score > best.map_or(self.threshold, |best| best.score) {
                best = Some(Match { id, score });
            }
        }
        best
    }

    /// Finds the nearest vector above the threshold of each, on all threads.
    ///
    /// # Panics
    /// When one has another dimension than those of the index.
    pub fn nearest_of(&self, vectors: &[&[f32]]) -> Vec<Option<Match>> {
        self.nearest_above(vectors, self.threshold)
    }

    /// Finds the nearest vector of each, however far it is.
    ///
    /// # Panics
    /// When one has another dimension than those of the index.
    pub fn closest_of(&self, vectors: &[&[f32]]) -> Vec<Option<Match>> {
        self.nearest_above(vectors, f64::NEG_INFINITY)
    }

    fn nearest_above(&self, vectors: &[&[f32]], threshold: f64) -> Vec<Option<Match>> {
        if self.is_empty() {
            return vec![None; vectors.len()];
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = vectors.len().div_ceil(threads).clamp(1, ASKED_AT_ONCE);
        let parts: Vec<&[&[f32]]> = vectors.chunks(share).collect();
        if parts.len() == 1 {
            return self.nearest_of_part(vectors, threshold);
        }
        let mut found: Vec<Vec<Option<Match>>> = vec![Vec::new(); parts.len()];
        let next = std::sync::atomic::AtomicUsize::new(0);
        let done = std::sync::Mutex::new(&mut found);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(parts.len()) {
                scope.spawn(|| {
                    loop {
                        let part = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(asked) = parts.get(part) else {
                            return;
                        };
                        let matches = self.nearest_of_part(asked, threshold);
                        let mut done = done
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        done[part] = matches;
                    }
                });
            }
        });
        found.into_iter().flatten().collect()
    }

    fn nearest_of_part(&self, vectors: &[&[f32]], threshold: f64) -> Vec<Option<Match>> {
        let asked = vectors.concat();
        assert_eq!(
            asked.len(),
            vectors.len() * self.dimension,
            "the vectors' dimension"
        );
        let slack = (self.dimension as f32 * f32::EPSILON).max(1e-6);
        let mut best: Vec<Option<Match>> = vec![None; vectors.len()];
        let mut products = vec![0.0f32; vectors.len() * MET_AT_ONCE];
        for (block, met) in self
            .vectors
            .chunks(MET_AT_ONCE * self.dimension)
            .enumerate()
        {
            let count = met.len() / self.dimension;
            multiply(
                &mut products,
                &asked,
                met,
                vectors.len(),
                count,
                self.dimension,
            );
            for (place, row) in products.chunks(count).take(vectors.len()).enumerate() {
                let bound =
                    |best: &Option<Match>| best.map_or(threshold, |best| best.score) as f32 - slack;
                let mut least = bound(&best[place]);
                for (column, product) in row.iter().enumerate() {
                    if *product <= least {
                        continue;
                    }
                    let id = block * MET_AT_ONCE + column;
                    let other = &met[column * self.dimension..(column + 1) * self.dimension];
                    let score = cosine(vectors[place], other);
                    if score > best[place].map_or(threshold, |best| best.score) {
                        best[place] = Some(Match { id, score });
                        least = bound(&best[place]);
                    }
                }
            }
        }
        best
    }
}

/// Computes the cosine of two vectors of length 1, in f64 and in the order of their elements.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// Computes `result[i, j]`, the product of row i of `left` and row j of `right`; the rows have `inner` elements.
fn multiply(
    result: &mut [f32],
    left: &[f32],
    right: &[f32],
    rows: usize,
    columns: usize,
    inner: usize,
) {
    assert!(
        left.len() == rows * inner
            && right.len() == columns * inner
            && result.len() >= rows * columns,
        "[{rows}, {inner}] times [{columns}, {inner}] in {} elements",
        result.len()
    );
    #[expect(unsafe_code, reason = "the gemm crate takes raw pointers and strides")]
    // SAFETY: the lengths were checked above against what the strides reach, and `result` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            result.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.as_ptr(),
            1,
            inner as isize,
            right.as_ptr(),
            inner as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::random::Random;

    use super::*;

    fn unit(random: &mut Random, dimension: usize) -> Vec<f32> {
        let drawn: Vec<f32> = (0..dimension)
            .map(|_| random.next_f64() as f32 - 0.5)
            .collect();
        normalized(drawn)
    }

    fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
        let length = cosine(&vector, &vector).sqrt() as f32;
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    /// Some vectors, a third of them near an earlier one.
    fn drawn(count: usize, dimension: usize) -> Vec<Vec<f32>> {
        let mut random = Random::from_seed(5);
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for i in 0..count {
            let mut vector = unit(&mut random, dimension);
            if i % 3 == 2 {
                let near = &vectors[random.below(i)];
                let weight = 0.6 * random.next_f64() as f32;
                let mixed = near.iter().zip(&vector).map(|(a, b)| a + weight * b);
                vector = normalized(mixed.collect());
            }
            vectors.push(vector);
        }
        vectors
    }

    #[test]
    fn finds_what_brute_force_finds() {
        let vectors = drawn(700, 24);
        for threshold in [0.3, 0.7, 0.9, 0.99] {
            let mut index = VectorIndex::new(threshold);
            let (met, asked) = vectors.split_at(400);
            met.iter().for_each(|vector| {
                index.add(vector);
            });
            let expected: Vec<Option<Match>> = asked
                .iter()
                .map(|vector| index.nearest_from(vector, 0))
                .collect();
            let asked: Vec<&[f32]> = asked.iter().map(Vec::as_slice).collect();
            assert_eq!(index.nearest_of(&asked), expected, "{threshold}");
            assert!(expected.iter().any(Option::is_some), "{threshold}");
            let closest = index.closest_of(&asked);
            let is_nearest = |(closest, nearest): (&Option<Match>, &Option<Match>)| {
                nearest.is_none() || closest == nearest
            };
            assert!(
                closest.iter().zip(&expected).all(is_nearest)
                    && closest.iter().all(Option::is_some)
            );
            // What stands beside it changes nothing.
            assert_eq!(index.nearest(asked[7]), expected[7]);
        }
    }

    #[test]
    fn the_first_of_equals_is_found_and_the_threshold_itself_is_not_above() {
        let mut index = VectorIndex::new(0.5);
        assert_eq!(index.nearest(&[1.0, 0.0]), None);
        for vector in [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]] {
            index.add(&vector);
        }
        assert_eq!(
            index.nearest(&[1.0, 0.0]),
            Some(Match { id: 1, score: 1.0 })
        );
        assert_eq!(
            index.nearest_from(&[1.0, 0.0], 2),
            Some(Match { id: 2, score: 1.0 })
        );
        let mut index = VectorIndex::new(1.0);
        index.add(&[1.0, 0.0]);
        assert_eq!(index.nearest(&[1.0, 0.0]), None);
    }
}
