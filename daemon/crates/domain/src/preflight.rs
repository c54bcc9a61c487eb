//! What a training run takes, told before it starts, and what would make one fit that does not.

use serde::{Deserialize, Serialize};

use crate::Body;

/// What a run trains on, where it is known.
#[derive(Clone, Copy, Debug)]
pub struct TrainData<'a> {
    /// What is trained on, in dataset order.
    pub examples: &'a [Body],
    /// What evaluations during it measure, in their order.
    pub evaluated: &'a [Body],
    /// The seed of the run, which decides what comes together in a batch.
    pub seed: u64,
}

/// A part of a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedPart {
    /// What it is.
    pub name: String,
    /// How many bytes.
    pub bytes: u64,
}

/// Other options, with which a run takes less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relief {
    /// The options that change, each with its value: `batch_size 2`.
    pub changes: Vec<String>,
    /// What the run takes of memory then, in bytes.
    pub memory_bytes: u64,
}

/// What a run takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainNeed {
    /// The tokens of its largest batch; where the data is not known yet, the most that a batch can have.
    pub tokens_at_once: u64,
    /// Its optimizer steps, where the data is known.
    pub steps: Option<u64>,
    /// What its peak of memory is made of.
    pub memory: Vec<NeedPart>,
    /// The bytes of memory that there are for it; none where nobody knows.
    pub memory_available: Option<u64>,
    /// Where that bound comes from, when somebody set it.
    pub memory_bound: Option<String>,
    /// What would make it fit; empty where it fits, or nothing would.
    pub reliefs: Vec<Relief>,
    /// The least that it can be brought to by options, where it does not fit.
    pub least: Option<Relief>,
    /// The bytes of the adapter's tensors.
    pub adapter_bytes: u64,
    /// The bytes of the optimizer's tensors beside them in a checkpoint.
    pub optimizer_bytes: u64,
}

impl TrainNeed {
    /// Tells the peak of memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let sizes = self.memory.iter().map(|part| part.bytes);
        sizes.fold(0, u64::saturating_add)
    }

    /// Tells the bytes of a checkpoint.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.adapter_bytes.saturating_add(self.optimizer_bytes)
    }

    /// Says why there is no memory for it, with its parts and what would make it fit; none where there is.
    pub fn refusal(&self) -> Option<String> {
        let available = self.memory_available?;
        let needed = self.memory_bytes();
        if needed <= available {
            return None;
        }
        let parts = self.memory.iter().filter(|part| part.bytes > 0);
        let parts: Vec<String> = parts
            .map(|part| format!("{} of {}", mebibytes(part.bytes), part.name))
            .collect();
        let bound = self.memory_bound.as_ref();
        let bound = bound.map_or(String::new(), |bound| format!(" ({bound})"));
        Some(format!(
            "training on batches of up to {} tokens: memory: expected a need of at most the {} available{bound}, found {} ({}); {}",
            self.tokens_at_once,
            mebibytes(available),
            mebibytes(needed),
            parts.join(", "),
            self.advice()
        ))
    }

    fn advice(&self) -> String {
        let told = |relief: &Relief| {
            let changes = relief.changes.join(" and ");
            format!("{changes} ({})", mebibytes(relief.memory_bytes))
        };
        let reliefs: Vec<String> = self.reliefs.iter().map(told).collect();
        match (reliefs.as_slice(), &self.least) {
            ([], Some(least)) => format!(
                "no option makes it fit: the least is with {}; lower max_length, take a smaller model, or make more memory available",
                told(least)
            ),
            ([], None) => {
                "no option makes it fit: lower max_length, take a smaller model, or make more memory available"
                    .to_string()
            }
            (reliefs, _) => format!("it fits with {}", reliefs.join(", or with ")),
        }
    }
}

/// What the checkpoints of a run take on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskNeed {
    /// The bytes by which the store grows at most while the run is at work.
    pub bytes: u64,
    /// The bytes that are free for it, what always stays free not counted; none where nobody knows.
    pub available: Option<u64>,
}

impl DiskNeed {
    /// Says why there is no room for it; none where there is.
    pub fn refusal(&self, need: &TrainNeed) -> Option<String> {
        let available = self.available?;
        (self.bytes > available).then(|| {
            format!(
                "disk: expected a need of at most the {} free, found {} for checkpoints of {} ({} of adapter, {} of optimizer); free some of the disk, or lower r or the number of target_modules",
                mebibytes(available),
                mebibytes(self.bytes),
                mebibytes(need.checkpoint_bytes()),
                mebibytes(need.adapter_bytes),
                mebibytes(need.optimizer_bytes),
            )
        })
    }
}

/// The checkpoints of a run: written one after the other with their optimizer, the older ones removed, and at last the adapter of one of
/// them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// The bytes of an adapter's tensors.
    pub adapter_bytes: u64,
    /// The bytes of its optimizer's.
    pub optimizer_bytes: u64,
    /// How many are written.
    pub written: u64,
    /// How many stay, beside one that is being written.
    pub kept: u64,
    /// How many of them are there already, of a run that goes on.
    pub held: u64,
}

/// What a train stage takes of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// What the run takes.
    pub need: TrainNeed,
    /// What its checkpoints take.
    pub disk: DiskNeed,
}

impl Preflight {
    /// Says why the run is not begun; none where it may be.
    pub fn refusal(&self) -> Option<String> {
        let of_disk = || self.disk.refusal(&self.need);
        self.need.refusal().or_else(of_disk)
    }
}

/// Writes a number of bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    let size = bytes as f64 / f64::from(1 << 20);
    match size < 10.0 {
        true => format!("{size:.1} MiB"),
        false => format!("{size:.0} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(available: Option<u64>) -> TrainNeed {
        let part = |name: &str, mib: u64| NeedPart {
            name: name.into(),
            bytes: mib << 20,
        };
        TrainNeed {
            tokens_at_once: 1024,
            memory: vec![
                part("weights in f32", 500),
                part("states", 780),
                part("none", 0),
            ],
            memory_available: available.map(|mib| mib << 20),
            adapter_bytes: 2 << 20,
            optimizer_bytes: 4 << 20,
            ..TrainNeed::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        for available in [None, Some(1280), Some(9000)] {
            assert_eq!(need(available).refusal(), None);
        }
        let relief = |changes: &[&str], mib: u64| Relief {
            changes: changes.iter().map(ToString::to_string).collect(),
            memory_bytes: mib << 20,
        };
        let told = |reliefs, least| {
            let need = TrainNeed {
                memory_bound: Some("limits.memory_mib is 1000".into()),
                reliefs,
                least,
                ..need(Some(1000))
            };
            need.refusal().expect("refused")
        };
        assert_eq!(
            told(
                vec![
                    relief(&["batch_size 2", "gradient_accumulation_steps 2"], 890),
                    relief(&["gradient_checkpointing true"], 640)
                ],
                None
            ),
            "training on batches of up to 1024 tokens: memory: expected a need of at most the 1000 MiB available (limits.memory_mib is 1000), \
             found 1280 MiB (500 MiB of weights in f32, 780 MiB of states); it fits with batch_size 2 and gradient_accumulation_steps 2 (890 MiB), \
             or with gradient_checkpointing true (640 MiB)"
        );
        let hopeless = told(Vec::new(), Some(relief(&["method qlora"], 1001)));
        assert!(
            hopeless.contains("no option makes it fit: the least is with method qlora (1001 MiB); lower max_length"),
            "{hopeless}"
        );
    }

    #[test]
    fn a_disk_that_will_fill_is_told_with_the_checkpoints_size() {
        let disk = |mib: u64| DiskNeed {
            bytes: 18 << 20,
            available: Some(mib << 20),
        };
        assert_eq!(disk(18).refusal(&need(None)), None);
        let told = disk(17).refusal(&need(None)).expect("refused");
        assert!(
            told.contains(
                "found 18 MiB for checkpoints of 6.0 MiB (2.0 MiB of adapter, 4.0 MiB of optimizer)"
            ),
            "{told}"
        );
    }
}
