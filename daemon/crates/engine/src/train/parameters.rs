//! The trained numbers, as steps read them and the optimizer changes them.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, Error, InplaceOp2, Layout, Result, Tensor, Var};

use crate::ops::storage::slice;

/// The trainable numbers of each slice, on the processor.
///
/// Steps on the processor read them where they stand and the optimizer changes them there: with `full` a copy a step would take as
/// much memory as the model, and half a second.
pub(crate) struct Parameters(Vec<Var>);

impl Parameters {
    /// Takes the numbers of each slice.
    ///
    /// # Errors
    /// When candle takes no tensor of this size.
    pub(crate) fn new(slices: Vec<Vec<f32>>) -> Result<Self> {
        let variables = slices.into_iter().map(|values| {
            let count = values.len();
            Var::from_vec(values, count, &Device::Cpu)
        });
        Ok(Self(variables.collect::<Result<_>>()?))
    }

    /// Shows the slices, `[numbers]` each.
    pub(crate) fn slices(&self) -> &[Var] {
        &self.0
    }

    /// Shows the slices on a device: on the processor these, elsewhere copies.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub(crate) fn on(&self, device: &Device) -> Result<Vec<Var>> {
        let variables = self.0.iter();
        match device {
            Device::Cpu => Ok(variables.cloned().collect()),
            device => variables
                .map(|variable| Var::from_tensor(&variable.as_detached_tensor().to_device(device)?))
                .collect(),
        }
    }

    /// Gives the numbers back; each slice goes as it is read.
    ///
    /// # Errors
    /// As candle's.
    pub(crate) fn into_values(self) -> Result<Vec<Vec<f32>>> {
        let read = |variable: Var| variable.to_vec1();
        self.0.into_iter().map(read).collect()
    }
}

/// Changes a tensor of f32 on the processor where it stands, reading another of as many elements.
///
/// # Errors
/// When one of them is elsewhere, of another type or not contiguous.
pub(crate) fn change(
    tensor: &Tensor,
    by: &Tensor,
    change: impl FnMut(&mut [f32], &[f32]),
) -> Result<()> {
    struct Change<F>(RefCell<F>);

    impl<F: FnMut(&mut [f32], &[f32])> InplaceOp2 for Change<F> {
        fn name(&self) -> &'static str {
            "change"
        }

        fn cpu_fwd(
            &self,
            numbers: &mut CpuStorage,
            layout: &Layout,
            by: &CpuStorage,
            by_layout: &Layout,
        ) -> Result<()> {
            let by = slice(by, by_layout)?;
            let (CpuStorage::F32(numbers), Some((start, end))) =
                (numbers, layout.contiguous_offsets())
            else {
                return Err(Error::msg("contiguous f32 alone is changed in place"));
            };
            (self.0.borrow_mut())(&mut numbers[start..end], by);
            Ok(())
        }
    }

    tensor.inplace_op2(by, &Change(RefCell::new(change)))
}
