//! What a plugin may use.

use std::time::Duration;

/// Bounds on a component and on each call into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest component, in bytes; interpreters that carry a language with them reach 18 MB.
    pub component_bytes: usize,
    /// The most linear memory of an instance, all its memories together, in bytes.
    pub memory_bytes: usize,
    /// The most table elements of an instance, all its tables together.
    pub table_elements: usize,
    /// The most stack of a call, in bytes. The calling thread's own stack must have room for it.
    pub stack_bytes: usize,
    /// The time every call gets, in milliseconds.
    pub call_ms: u64,
    /// The time a call gets besides, for each record in its batch, in milliseconds.
    pub record_ms: u64,
    /// The records of a call.
    pub batch_records: usize,
    /// The most bytes that a call may give back.
    pub output_bytes: usize,
    /// The longest note, in bytes; longer ones are cut.
    pub note_bytes: usize,
    /// The lines of a call that its log takes.
    pub log_lines: usize,
    /// The longest that a call may wait for models, in milliseconds, besides its own time.
    pub wait_ms: u64,
    /// The largest file that a plugin is given to read, in bytes.
    pub data_bytes: usize,
    /// The longest configuration, as JSON, in bytes.
    pub config_bytes: usize,
    /// The most threads that share the batches of one run, each with an instance of its own.
    pub threads: usize,
}

impl Default for Limits {
    /// Good for plugins in any language: interpreters need tens of megabytes and some microseconds a record.
    /// The time is generous since the engine keeps every core busy meanwhile.
    fn default() -> Self {
        Self {
            component_bytes: 32 << 20,
            memory_bytes: 128 << 20,
            table_elements: 200_000,
            stack_bytes: 512 << 10,
            call_ms: 500,
            record_ms: 50,
            batch_records: 64,
            output_bytes: 4 << 20,
            note_bytes: 1000,
            log_lines: 100,
            wait_ms: 600_000,
            data_bytes: 3 << 20,
            config_bytes: 64 << 10,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Limits {
    /// Computes the time that a call with this many records gets.
    pub(crate) fn time(&self, records: usize) -> Duration {
        Duration::from_millis(self.call_ms + self.record_ms * records as u64)
    }
}
