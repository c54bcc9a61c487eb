//! Numbers to stored elements, by the plain rounding of llama.cpp's reference quantisers (`ggml-quants.c`, `quantize_row_*_ref`).

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use half::f16;

use super::dequantize::ElementType;
use crate::EngineError;

impl ElementType {
    /// Stores numbers; of a block format whole blocks.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] when they are no whole blocks.
    pub(crate) fn store(self, numbers: &[f32]) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::F32 => Ok(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::F16 => {
                let halves = numbers.iter().map(|x| f16::from_f32(*x));
                Ok(halves.flat_map(f16::to_le_bytes).collect())
            }
            other => {
                let row = Tensor::from_slice(numbers, (1, numbers.len()), &Device::Cpu)?;
                let stored = QTensor::quantize(&row, other.candle())?;
                Ok(stored.data()?.into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the definitions say, computed in the plainest way.
    fn reference(element: ElementType, block: &[f32]) -> Vec<f32> {
        let half = |x: f32| f16::from_f32(x).to_f32();
        match element {
            ElementType::F32 => block.to_vec(),
            ElementType::F16 => block.iter().map(|x| half(*x)).collect(),
            ElementType::Q8_0 => {
                let d = block.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0;
                let level = |x: &f32| if d == 0.0 { 0.0 } else { (x / d).round() };
                block.iter().map(|x| level(x) * half(d)).collect()
            }
            ElementType::Q4_1 => {
                let least = block.iter().copied().fold(f32::INFINITY, f32::min);
                let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let d = (most - least) / 15.0;
                let level = |x: &f32| match d == 0.0 {
                    true => 0.0,
                    false => ((x - least) / d + 0.5).floor().min(15.0),
                };
                let number = |x: &f32| level(x) * half(d) + half(least);
                block.iter().map(number).collect()
            }
            other => panic!("{other:?} is not written"),
        }
    }

    #[test]
    fn numbers_are_rounded_as_the_reference_rounds_them() {
        let mut random = autodidact_domain::random::Random::from_seed(5);
        let mut numbers: Vec<f32> = (0..32 * 40)
            .map(|i| (random.next_f64() as f32 - 0.4) * 10f32.powi(i / 320 - 2))
            .collect();
        numbers.extend([0.0; 32]);
        numbers.extend([0.25; 32]);
        for element in [
            ElementType::F32,
            ElementType::F16,
            ElementType::Q8_0,
            ElementType::Q4_1,
        ] {
            let stored = element.store(&numbers).expect("whole blocks");
            let blocks = numbers.len() / element.block_elements();
            assert_eq!(stored.len(), blocks * element.block_bytes());
            let mut read = vec![0f32; numbers.len()];
            element.to_f32(&stored, &mut read).expect("its own bytes");
            let wanted: Vec<f32> = numbers
                .chunks(32)
                .flat_map(|block| reference(element, block))
                .collect();
            // A level may be the next one where a quotient lies on the border.
            let apart = read
                .iter()
                .zip(&wanted)
                .zip(&numbers)
                .filter(|((a, b), x)| (*a - *b).abs() > 1e-6 * x.abs().max(1e-3));
            assert!(apart.count() <= 3, "{element:?}");
        }
        assert!(ElementType::Q8_0.store(&numbers[..31]).is_err());
    }
}
