//! Element types of stored tensors, and their conversion to f32.
//!
//! Block formats: <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>.

use candle_core::Device;
use candle_core::quantized::{GgmlDType, ggml_file};

use crate::EngineError;

/// Elements in a block of the plain quantised formats.
pub(crate) const BLOCK: usize = 32;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the names people know from the files")]
pub(crate) enum ElementType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// An affine block: element i is `d * q[i] + m`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AffineBlock {
    pub(crate) q: [u8; BLOCK],
    pub(crate) d: f32,
    pub(crate) m: f32,
}

impl ElementType {
    pub(crate) const SUPPORTED: &'static str =
        "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K or Q6_K";

    /// Reads a GGUF type code.
    pub(crate) fn from_gguf(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2_K,
            11 => Self::Q3_K,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// Tells the GGUF type code.
    pub(crate) fn gguf_code(self) -> u32 {
        let code = (0..=30).find(|code| Self::from_gguf(*code) == Some(self));
        code.expect("every type has a code")
    }

    /// Names a GGUF type code that is not read (llama.cpp, `ggml.h`, `ggml_type`).
    pub(crate) fn name_of_unread(code: u32) -> String {
        let name = match code {
            9 => "Q8_1",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            24..=27 => "integers",
            28 => "F64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            _ => return format!("element type {code}"),
        };
        format!("element type {code} ({name})")
    }

    /// Reads a safetensors type name.
    pub(crate) fn from_safetensors(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            _ => return None,
        })
    }

    pub(super) fn candle(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::BF16 => GgmlDType::BF16,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q2_K => GgmlDType::Q2K,
            Self::Q3_K => GgmlDType::Q3K,
            Self::Q4_K => GgmlDType::Q4K,
            Self::Q5_K => GgmlDType::Q5K,
            Self::Q6_K => GgmlDType::Q6K,
        }
    }

    /// Tells how many elements are stored together; rows are whole numbers of these.
    pub(crate) fn block_elements(self) -> usize {
        self.candle().block_size()
    }

    /// Tells the bytes of one block.
    pub(crate) fn block_bytes(self) -> usize {
        self.candle().type_size()
    }

    /// Tells a tensor's bytes; `sizes` has the innermost dimension first. None on overflow, emptiness or a cut block.
    pub(crate) fn byte_size(self, sizes: &[u64]) -> Option<u64> {
        let block = self.block_elements() as u64;
        let elements = sizes
            .iter()
            .try_fold(1u64, |product, size| product.checked_mul(*size))?;
        if elements == 0 || elements > 1 << 42 || sizes.first()? % block != 0 {
            return None;
        }
        (elements / block).checked_mul(self.block_bytes() as u64)
    }

    /// Converts whole blocks to f32.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] when candle refuses the block format.
    ///
    /// # Panics
    /// When `bytes` is not exactly `out.len()` elements.
    pub(crate) fn to_f32(self, bytes: &[u8], out: &mut [f32]) -> Result<(), EngineError> {
        assert_eq!(
            bytes.len(),
            out.len() / self.block_elements() * self.block_bytes(),
            "whole blocks"
        );
        match self {
            Self::F32 => {
                for (x, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *x = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
            Self::F16 => {
                for (x, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]));
                }
            }
            Self::BF16 => {
                for (x, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
                }
            }
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => {
                for (x, bytes) in out
                    .chunks_exact_mut(BLOCK)
                    .zip(bytes.chunks_exact(self.block_bytes()))
                {
                    self.simple_block_to_f32(bytes, x);
                }
            }
            _ => {
                let tensor = ggml_file::qtensor_from_ggml(
                    self.candle(),
                    bytes,
                    vec![out.len()],
                    &Device::Cpu,
                )?;
                out.copy_from_slice(&tensor.dequantize(&Device::Cpu)?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }

    /// As ggml dequantises: `(q - 8) * d`, `q * d + m`, `q * d`.
    fn simple_block_to_f32(self, bytes: &[u8], out: &mut [f32]) {
        let block = self
            .affine_block(bytes)
            .expect("Q4_0, Q4_1 and Q8_0 are affine");
        for (x, q) in out.iter_mut().zip(block.q) {
            *x = match self {
                Self::Q4_0 => f32::from(i16::from(q) - 8) * block.d,
                Self::Q4_1 => f32::from(q) * block.d + block.m,
                _ => f32::from(i16::from(q) - 128) * block.d,
            };
        }
    }

    /// Tells whether this format is blocks of 32 that are affine in unsigned bytes as they are.
    pub(crate) fn is_affine(self) -> bool {
        matches!(
            self,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Q4_K
        )
    }

    /// Tells how many bits the numbers of its affine blocks have at most.
    pub(crate) fn affine_bits(self) -> u32 {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4_K => 4,
            Self::Q5_0 | Self::Q5_1 => 5,
            _ => 8,
        }
    }

    /// Reads the affine blocks of one stored block, in order; none of a format that is not affine as it is.
    pub(crate) fn each_affine_block(self, bytes: &[u8], sink: &mut dyn FnMut(&AffineBlock)) {
        if self == Self::Q4_K {
            (0..8).for_each(|part| sink(&q4_k_part(bytes, part)));
        } else if let Some(block) = self.affine_block(bytes) {
            sink(&block);
        }
    }

    /// Reads a block of a format whose stored blocks are affine blocks; none for others.
    fn affine_block(self, bytes: &[u8]) -> Option<AffineBlock> {
        let half = |at: usize| f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let fifth_bits = |q: [u8; BLOCK], high: &[u8]| {
            let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
            let mut q = q;
            for (i, q) in q.iter_mut().enumerate() {
                *q |= ((high >> i & 1) as u8) << 4;
            }
            q
        };
        Some(match self {
            Self::Q4_0 => AffineBlock {
                q: nibbles(&bytes[2..18]),
                d: half(0),
                m: -8.0 * half(0),
            },
            Self::Q4_1 => AffineBlock {
                q: nibbles(&bytes[4..20]),
                d: half(0),
                m: half(2),
            },
            Self::Q5_0 => AffineBlock {
                q: fifth_bits(nibbles(&bytes[6..22]), &bytes[2..6]),
                d: half(0),
                m: -16.0 * half(0),
            },
            Self::Q5_1 => AffineBlock {
                q: fifth_bits(nibbles(&bytes[8..24]), &bytes[4..8]),
                d: half(0),
                m: half(2),
            },
            Self::Q8_0 => {
                let mut q = [0u8; BLOCK];
                for (q, byte) in q.iter_mut().zip(&bytes[2..34]) {
                    *q = byte.wrapping_add(128);
                }
                AffineBlock {
                    q,
                    d: half(0),
                    m: -128.0 * half(0),
                }
            }
            _ => return None,
        })
    }
}

/// Reads sixteen bytes as the first half of a block in low nibbles and the second in high ones.
fn nibbles(packed: &[u8]) -> [u8; BLOCK] {
    let mut q = [0u8; BLOCK];
    for (i, byte) in packed.iter().enumerate() {
        q[i] = byte & 15;
        q[i + BLOCK / 2] = byte >> 4;
    }
    q
}

/// Reads one of the eight parts of a Q4_K block: `d * scale * q - d_min * minimum`, scale and minimum of six bits each.
fn q4_k_part(bytes: &[u8], part: usize) -> AffineBlock {
    let half = |at: usize| f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let packed = &bytes[4..16];
    let (scale, minimum) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        )
    };
    let mut q = [0u8; BLOCK];
    for (q, byte) in q.iter_mut().zip(&bytes[16 + part / 2 * BLOCK..]) {
        *q = if part.is_multiple_of(2) {
            byte & 15
        } else {
            byte >> 4
        };
    }
    AffineBlock {
        q,
        d: half(0) * f32::from(scale),
        m: -(half(2) * f32::from(minimum)),
    }
}

/// Quantises 32 values to the affine bytes between their least and greatest.
pub(crate) fn quantize_affine(values: &[f32]) -> AffineBlock {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (greatest - least) / 255.0;
    let scale = if d > 0.0 { 1.0 / d } else { 0.0 };
    let mut q = [0u8; BLOCK];
    for (q, x) in q.iter_mut().zip(values) {
        *q = ((x - least) * scale).round() as u8;
    }
    AffineBlock { q, d, m: least }
}

/// Widens an IEEE 754 half.
pub(crate) fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10) & 31;
    let mantissa = u32::from(half) & 1023;
    match exponent {
        0 => {
            // Subnormal: the mantissa counts steps of 2^-24.
            let magnitude = mantissa as f32 * 2f32.powi(-24);
            f32::from_bits(sign | magnitude.to_bits())
        }
        31 => f32::from_bits(sign | 0x7F80_0000 | (mantissa << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (half, expect) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x0001, 5.960_464_5e-8),
            (0x7BFF, 65504.0),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(f16_to_f32(half), expect);
        }
        assert!(f16_to_f32(0x7E00).is_nan() && f16_to_f32(0xFC00) == f32::NEG_INFINITY);
    }

    #[test]
    fn simple_blocks_equal_candle() {
        let mut random = autodidact_domain::random::Random::from_seed(3);
        for element in [ElementType::Q4_0, ElementType::Q4_1, ElementType::Q8_0] {
            let mut bytes: Vec<u8> = (0..element.block_bytes() * 8)
                .map(|_| random.next_u64() as u8)
                .collect();
            for block in bytes.chunks_exact_mut(element.block_bytes()) {
                block[1] = 0x20 | (block[1] & 3); // keeps the scale finite
                if element == ElementType::Q4_1 {
                    block[3] = 0x30 | (block[3] & 0x83);
                }
            }
            let mut ours = vec![0f32; 8 * BLOCK];
            element.to_f32(&bytes, &mut ours).unwrap();
            let theirs = ggml_file::qtensor_from_ggml(
                element.candle(),
                &bytes,
                vec![ours.len()],
                &Device::Cpu,
            )
            .unwrap();
            assert_eq!(
                ours,
                theirs
                    .dequantize(&Device::Cpu)
                    .unwrap()
                    .to_vec1::<f32>()
                    .unwrap(),
                "{element:?}"
            );
        }
    }

    #[test]
    fn affine_blocks_say_what_candle_dequantises() {
        let mut random = autodidact_domain::random::Random::from_seed(4);
        let affine = [
            ElementType::Q4_0,
            ElementType::Q4_1,
            ElementType::Q5_0,
            ElementType::Q5_1,
            ElementType::Q8_0,
            ElementType::Q4_K,
        ];
        for element in affine {
            assert!(element.is_affine());
            let mut bytes: Vec<u8> = (0..element.block_bytes())
                .map(|_| random.next_u64() as u8)
                .collect();
            (bytes[1], bytes[3]) = (0x21, 0x2A); // keeps both scales finite, and the fifth bits mixed
            let count = element.block_elements();
            let mut theirs = vec![0f32; count];
            element.to_f32(&bytes, &mut theirs).unwrap();
            let mut ours = Vec::new();
            element.each_affine_block(&bytes, &mut |block| {
                assert!(
                    block
                        .q
                        .iter()
                        .all(|q| u32::from(*q) < 1 << element.affine_bits())
                );
                ours.extend(block.q.map(|q| block.d * f32::from(q) + block.m));
            });
            assert_eq!(ours.len(), count, "{element:?}");
            let size = theirs.iter().fold(0f32, |size, x| size.max(x.abs()));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(
                    (ours - theirs).abs() <= 1e-6 * size,
                    "{element:?}: {ours} and {theirs}"
                );
            }
        }
    }

    #[test]
    fn affine_quantisation_is_within_half_a_step() {
        let values: Vec<f32> = (0..BLOCK).map(|i| (i as f32 * 0.7).sin()).collect();
        let block = quantize_affine(&values);
        for (x, q) in values.iter().zip(block.q) {
            assert!((x - (block.d * f32::from(q) + block.m)).abs() <= block.d * 0.501);
        }
    }
}
