//! Randomness that depends on named coordinates alone, so that a resumed run draws what a straight one drew.

/// A small counter-free generator: SplitMix64 (Steele, Lea & Flood 2014), seeded from a BLAKE3 digest of its coordinates.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds a generator from a workflow seed and the coordinates of what is drawn, such as `["generate", "1", "17"]`.
    pub fn at(seed: u64, coordinates: &[&str]) -> Self {
        Self(derive_seed(seed, coordinates))
    }

    /// Seeds a generator directly.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Draws uniformly from [0, 1).
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws uniformly from 0..bound (Lemire's multiply-shift; the bias is below 2^-32 for bounds below 2^32).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a draw from nothing");
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Puts the items in a uniformly random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Draws `count` distinct indices below `bound`, or all of them where there are fewer, in random order.
    pub fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..bound).collect();
        self.shuffle(&mut indices);
        indices.truncate(count);
        indices
    }

    /// Draws `count` distinct items, or all of them where there are fewer, in random order.
    pub fn pick<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let indices = self.sample(items.len(), count);
        indices.into_iter().map(|i| items[i].clone()).collect()
    }

    /// Shows the state, for checkpoints.
    pub fn state(&self) -> u64 {
        self.0
    }
}

/// Derives a seed from a workflow seed and named coordinates.
pub fn derive_seed(seed: u64, coordinates: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for coordinate in coordinates {
        hasher.update(&(coordinate.len() as u64).to_le_bytes());
        hasher.update(coordinate.as_bytes());
    }
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_alone_decide() {
        let draw = |c: &[&str]| Random::at(7, c).next_u64();
        assert_eq!(draw(&["a", "b"]), draw(&["a", "b"]));
        assert_ne!(draw(&["a", "b"]), draw(&["ab", ""]));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::from_seed(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
