//! Bottleneck adapters on a device.

use candle_core::{Device, Result, Tensor};

use super::forward::multiply;
use crate::methods::NonLinearity;
use crate::runtime::updates::BottleneckParts;

/// As [`BottleneckUpdate`](crate::runtime::updates::BottleneckUpdate), f32.
pub(crate) struct DeviceBottleneck {
    /// `[width, hidden]` and `[width]`.
    down: [Tensor; 2],
    /// `[hidden, width]` and `[hidden]`.
    up: [Tensor; 2],
    non_linearity: NonLinearity,
    reads_stream: bool,
}

impl DeviceBottleneck {
    /// Moves a bottleneck to the device.
    pub(crate) fn new(parts: &BottleneckParts<'_>, device: &Device) -> Result<Self> {
        let pair = |[matrix, bias]: [&[f32]; 2]| {
            let rows = bias.len();
            let shape = (rows, matrix.len() / rows);
            Ok::<_, candle_core::Error>([
                Tensor::from_slice(matrix, shape, device)?,
                Tensor::from_slice(bias, rows, device)?,
            ])
        };
        Ok(Self {
            down: pair(parts.down)?,
            up: pair(parts.up)?,
            non_linearity: parts.plan.non_linearity,
            reads_stream: parts.plan.reads_stream,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        let tensors = self.down.iter().chain(&self.up);
        tensors.map(super::bytes).sum()
    }

    /// Adds what the bottleneck makes to the residual stream `[rows, hidden]`, in which what the part gives is already.
    pub(super) fn add(&self, stream: &Tensor, given: &Tensor) -> Result<Tensor> {
        let z = if self.reads_stream { stream } else { given };
        let [down, down_bias] = &self.down;
        let inner = multiply(z, down)?.broadcast_add(down_bias)?;
        let inner = match self.non_linearity {
            NonLinearity::Relu => inner.relu()?,
            NonLinearity::Swish => inner.silu()?,
        };
        let [up, up_bias] = &self.up;
        stream + multiply(&inner, up)?.broadcast_add(up_bias)?
    }
}
