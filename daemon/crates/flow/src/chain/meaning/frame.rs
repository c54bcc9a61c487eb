//! What all vectors of a model have in common, taken out of them.

use autodidact_domain::embedding::normalized;

/// The directions that are taken out, at most.
const DIRECTIONS: usize = 5;
/// Vectors that one direction is learnt from, at least: fewer would make noise of it.
const VECTORS_A_DIRECTION: usize = 20;
/// The fewest vectors whose mean says something.
const MIN_VECTORS: usize = 8;
/// Vectors of length 1 that differ by less are the same, but for rounding.
const SAME: f64 = 1e-6;
/// Steps of the orthogonal iteration.
const STEPS: usize = 30;

/// The mean of a model's vectors and the directions in which they differ most: both tell of form rather than of meaning (Mu and
/// Viswanath 2018, "All-but-the-Top").
#[derive(Clone, Debug)]
pub(super) struct Frame {
    mean: Vec<f64>,
    /// Orthonormal.
    directions: Vec<Vec<f64>>,
}

impl Frame {
    /// Learns it; none of fewer than 8 vectors.
    pub(super) fn of(vectors: &[Vec<f32>]) -> Option<Self> {
        let width = vectors.first()?.len();
        if vectors.len() < MIN_VECTORS {
            return None;
        }
        let mut mean = vec![0.0; width];
        for vector in vectors {
            add(&mut mean, 1.0 / vectors.len() as f64, &wide(vector));
        }
        let centred = |vector: &Vec<f32>| {
            let mut own = wide(vector);
            add(&mut own, -1.0, &mean);
            own
        };
        let centred: Vec<Vec<f64>> = vectors.iter().map(centred).collect();
        let directions = leading(
            &centred,
            DIRECTIONS.min(vectors.len() / VECTORS_A_DIRECTION),
        );
        Some(Self { mean, directions })
    }

    /// Shows a vector without what all have in common, of length 1.
    pub(super) fn seen(&self, vector: &[f32]) -> Vec<f32> {
        let mut own = wide(vector);
        add(&mut own, -1.0, &self.mean);
        for direction in &self.directions {
            let share = dot(&own, direction);
            add(&mut own, -share, direction);
        }
        normalized(own.iter().map(|x| *x as f32).collect())
    }
}

/// Finds the directions in which rows spread most, by orthogonal iteration from some of the rows.
fn leading(rows: &[Vec<f64>], count: usize) -> Vec<Vec<f64>> {
    let begin = (0..count).map(|i| rows[i * rows.len() / count].clone());
    let mut directions = orthonormal(begin.collect());
    for _ in 0..STEPS {
        let turned = directions.iter().map(|direction| {
            let mut sum = vec![0.0; direction.len()];
            for row in rows {
                add(&mut sum, dot(row, direction), row);
            }
            sum
        });
        directions = orthonormal(turned.collect());
    }
    directions
}

/// Makes vectors orthonormal one after the other (Gram and Schmidt); leaves out what the earlier ones hold already.
fn orthonormal(vectors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(vectors.len());
    for mut vector in vectors {
        let before = dot(&vector, &vector).sqrt();
        if before < SAME {
            continue;
        }
        for other in &done {
            let share = dot(&vector, other);
            add(&mut vector, -share, other);
        }
        let length = dot(&vector, &vector).sqrt();
        if length > before * 1e-9 {
            vector.iter_mut().for_each(|x| *x /= length);
            done.push(vector);
        }
    }
    done
}

fn wide(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|x| f64::from(*x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], times: f64, other: &[f64]) {
    to.iter_mut().zip(other).for_each(|(x, y)| *x += times * y);
}

#[cfg(test)]
mod tests {
    use autodidact_domain::random::Random;

    use super::*;

    /// Vectors that share a mean, spread widely in one direction, and differ by little in the others.
    fn drawn(count: usize) -> Vec<Vec<f32>> {
        let mut random = Random::at(1, &["frame"]);
        let mut number = || random.next_f64() as f32 - 0.5;
        let row = |_| {
            let mut row: Vec<f32> = (0..12).map(|_| number()).collect();
            row[0] += 7.0;
            row[3] *= 40.0;
            row
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn what_all_have_in_common_is_gone() {
        let vectors = drawn(40);
        let frame = Frame::of(&vectors).unwrap();
        assert_eq!(frame.directions.len(), 2);
        assert!(
            frame.directions[0][3].abs() > 0.99,
            "{:?}",
            frame.directions
        );
        let seen: Vec<Vec<f32>> = vectors.iter().map(|vector| frame.seen(vector)).collect();
        for vector in &seen {
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5);
            for direction in &frame.directions {
                assert!(dot(&wide(vector), direction).abs() < 1e-5);
            }
        }
        let mean: f32 = seen.iter().map(|vector| vector[0]).sum::<f32>() / 40.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }

    #[test]
    fn few_vectors_give_a_mean_or_nothing() {
        assert!(Frame::of(&drawn(7)).is_none());
        assert!(Frame::of(&[]).is_none());
        assert_eq!(Frame::of(&drawn(8)).unwrap().directions.len(), 0);
        // Vectors that do not differ have no direction.
        let same = vec![vec![1.0f32; 4]; 60];
        let frame = Frame::of(&same).unwrap();
        assert_eq!(frame.directions.len(), 0);
        assert!(frame.seen(&same[0]).iter().all(|x| x.abs() < 0.01));
    }
}
