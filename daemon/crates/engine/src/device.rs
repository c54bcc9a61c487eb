//! Where generation computes: on this machine's processor with kernels of ours, or on a device of candle's.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};

use crate::EngineError;
use crate::engine::Compute;

/// Which device generates, scores, trains and gives hidden states. Encoders stay on the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// One of NVIDIA's GPUs, by its number; only in a build with the feature `cuda`.
    Cuda(usize),
}

impl DeviceChoice {
    /// Tells whether this build can compute there at all; whether the device is there shows when it is opened.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda(_) => cfg!(feature = "cuda"),
        }
    }

    /// Opens the device, and tries whether it computes; none is the processor with our own kernels.
    pub(crate) fn open(self, compute: Compute) -> Result<Option<Accelerator>, EngineError> {
        let Self::Cuda(number) = self else {
            return Ok(None);
        };
        let fault = |reason: String| EngineError::Device {
            device: self.to_string(),
            reason,
        };
        if !self.is_built_in() {
            return Err(fault(
                "this build has no CUDA: daemon/build-cuda.sh makes one that has, or use the device cpu"
                    .to_string(),
            ));
        }
        let weights = match compute {
            Compute::Exact => DType::F32,
            Compute::Fast => DType::BF16,
        };
        let device = open_cuda(number).map_err(|error| {
            fault(format!(
                "it cannot be opened ({}): see whether `nvidia-smi` lists it, or use the device cpu",
                without_backtrace(&error)
            ))
        })?;
        let accelerator = Accelerator {
            device,
            weights,
            name: self.to_string(),
        };
        accelerator.try_out().map_err(|error| {
            fault(format!(
                "it does not compute ({}): it must be a GPU that this build was made for (daemon/build-cuda.sh --compute-capability), of at least 8.0 for bf16",
                without_backtrace(&error)
            ))
        })?;
        Ok(Some(accelerator))
    }
}

/// Words an error of candle's, which shows a backtrace where RUST_BACKTRACE asks for one: of no use to who reads it here.
pub(crate) fn without_backtrace(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        other => other.to_string(),
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|text| {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                is_plain.then(|| text.parse::<u16>().ok()).flatten()
            }),
        };
        match number {
            Some(number) => Ok(Self::Cuda(usize::from(number))),
            None => Err(EngineError::Invalid(format!(
                "expected the device cpu, cuda or cuda:N, found {text:?}"
            ))),
        }
    }
}

/// An open device of candle's.
#[derive(Clone, Debug)]
pub(crate) struct Accelerator {
    pub(crate) device: Device,
    /// The number format of weights, keys and values.
    pub(crate) weights: DType,
    /// The device's name, as the user gives it.
    pub(crate) name: String,
}

impl Accelerator {
    /// Names number format and device, as reports and benches do.
    pub(crate) fn compute_name(&self) -> String {
        format!("{} on {}", self.weights.as_str(), self.name)
    }

    /// Multiplies two small matrices and looks at the result.
    fn try_out(&self) -> candle_core::Result<()> {
        let ones = candle_core::Tensor::ones((16, 16), DType::F32, &self.device)?;
        let ones = ones.to_dtype(self.weights)?;
        let sums = ones.matmul(&ones)?.to_dtype(DType::F32)?;
        match sums.flatten_all()?.to_vec1::<f32>()? {
            sums if sums.iter().all(|sum| *sum == 16.0) => Ok(()),
            sums => candle_core::bail!("16 ones add up to {}", sums[0]),
        }
    }
}

#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "one stream needs no events between streams")]
fn open_cuda(number: usize) -> candle_core::Result<Device> {
    // A stream of its own, not the calling thread's: a model may be used on another thread than the one that loaded it.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: everything on this device is made and used on that one stream, so its order is the order of the calls.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_number: usize) -> candle_core::Result<Device> {
    candle_core::bail!("built without the feature cuda")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        for (text, expect) in [
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:0", Some(DeviceChoice::Cuda(0))),
            ("cuda:7", Some(DeviceChoice::Cuda(7))),
            ("cuda:", None),
            ("cuda:+1", None),
            ("cuda:70000", None),
            ("CUDA", None),
            ("gpu", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().ok(), expect, "{text}");
            if let Some(choice) = expect {
                assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
            }
        }
    }

    #[test]
    fn what_the_build_lacks_is_refused() {
        assert!(DeviceChoice::Cpu.open(Compute::Fast).unwrap().is_none());
        if !cfg!(feature = "cuda") {
            let error = DeviceChoice::Cuda(1).open(Compute::Fast).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("cuda:1") && text.contains("build-cuda.sh"),
                "{text}"
            );
        }
    }
}
