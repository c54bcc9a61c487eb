//! The arithmetic of generation: each kernel is written once and compiled for AVX-512 with VNNI, AVX2 with FMA, and any
//! processor.
//!
//! INVARIANT: every output is a sum in an order that its own row and column alone decide. So a row's result is bitwise
//! the same whatever rows are beside it and however the work is cut up.

mod encoder_rows;
mod exact;
mod fast;
pub(crate) mod lanes;
mod quantized_rows;
mod rows;

pub(crate) use encoder_rows::{add_bias, add_layer_norm, bias_gelu};
pub(crate) use exact::{ExactMatrix, Tile, multiply_one_tile, round_to_f16};
pub(crate) use fast::{FastMatrix, WeightBits};
pub(crate) use quantized_rows::QuantizedRows;
pub(crate) use rows::{gelu_mul, log_sum_exp, rms_norm, silu_mul, softmax};

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Scalar,
}

impl Isa {
    /// Picks the best this processor has.
    pub(crate) fn detect() -> Self {
        Self::all()
            .into_iter()
            .find(|isa| isa.is_supported())
            .unwrap_or(Self::Scalar)
    }

    /// Lists all, the best first.
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return vec![Self::Avx512, Self::Avx2, Self::Scalar];
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Scalar]
    }

    pub(crate) fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && Self::Avx2.is_supported()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Self::Scalar => true,
        }
    }
}

/// How a product meets what its place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It takes the place.
    Store,
    /// It is added, as one rounding of old value plus whole product.
    Add,
}

/// Compiles a generic kernel for every instruction set and makes the function that picks one.
macro_rules! dispatch {
    ($(#[$attribute:meta])* unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$attribute])*
        unsafe fn $name(isa: crate::kernels::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: the caller of the dispatching function keeps the kernel's contract.
                unsafe { $kernel::<crate::kernels::lanes::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $kernel::<crate::kernels::lanes::Avx2>($($arg),*) }
            }
            // SAFETY: an `Isa` other than `Scalar` is only made after asking the processor, and the rest is the caller's contract.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    crate::kernels::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    crate::kernels::Isa::Avx2 => avx2($($arg),*),
                    crate::kernels::Isa::Scalar => $kernel::<crate::kernels::lanes::Scalar>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;

/// A span of memory that tasks of a team write to at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T> {
    start: *mut T,
    length: usize,
}

#[expect(
    unsafe_code,
    reason = "tasks of one team write disjoint parts of one buffer"
)]
mod shared {
    use super::SharedMut;

    // SAFETY: access goes through `slice`, whose contract demands disjointness.
    unsafe impl<T: Send> Send for SharedMut<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for SharedMut<T> {}

    impl<T> SharedMut<T> {
        pub(crate) fn new(items: &mut [T]) -> Self {
            Self {
                start: items.as_mut_ptr(),
                length: items.len(),
            }
        }

        /// Shows a part.
        ///
        /// # Safety
        /// The buffer is alive and nothing else reads or writes the part meanwhile.
        ///
        /// # Panics
        /// When the part reaches beyond the buffer.
        #[expect(clippy::mut_from_ref, reason = "the contract makes the parts disjoint")]
        pub(crate) unsafe fn slice(&self, from: usize, count: usize) -> &mut [T] {
            assert!(
                from.checked_add(count)
                    .is_some_and(|end| end <= self.length),
                "part within buffer"
            );
            // SAFETY: within bounds by the check, exclusive by the contract.
            unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) }
        }

        pub(crate) fn as_ptr(&self) -> *mut T {
            self.start
        }

        pub(crate) fn len(&self) -> usize {
            self.length
        }
    }
}

/// Sixteen f32 on a cache line of their own, so that vector loads never straddle two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; lanes::LANES]);
