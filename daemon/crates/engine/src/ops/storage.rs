//! Reading candle tensors as slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor};
use half::bf16;

/// Reads a contiguous f32 storage as a slice.
///
/// # Errors
/// When it is of another type or not contiguous.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        return Err(Error::msg("a fused operation takes f32 tensors only"));
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => Err(Error::msg(format!(
            "a fused operation takes contiguous tensors only, not {layout:?}"
        ))),
    }
}

/// A tensor on the CPU, held for reading.
pub(crate) struct Reading<'a> {
    /// A lock's guard, of a type that candle does not name.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    layout: &'a Layout,
}

impl<'a> Reading<'a> {
    /// Begins to read a tensor.
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self {
            storage: Box::new(storage),
            layout,
        }
    }

    /// Shows the elements of a bf16 tensor, row-major.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub(crate) fn bf16_slice(&self) -> Result<&[bf16]> {
        match (&**self.storage, self.layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::BF16(data)), Some((start, end))) => Ok(&data[start..end]),
            _ => Err(Error::msg(
                "a rounded matrix is bf16, contiguous and on the CPU",
            )),
        }
    }

    /// Shows the elements, row-major.
    ///
    /// # Errors
    /// When the tensor is elsewhere, of another type or not contiguous.
    pub(crate) fn slice(&self) -> Result<&[f32]> {
        match &**self.storage {
            Storage::Cpu(storage) => slice(storage, self.layout),
            _ => Err(Error::msg(
                "a fused operation takes tensors on the CPU only",
            )),
        }
    }
}
