//! The wall clock and the process's memory, as the machine tells them.

use std::time::{SystemTime, UNIX_EPOCH};

use autodidact_domain::ports::Clock;

/// Reads the real clock and `/proc/self/status`.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn peak_rss_mb(&self) -> u64 {
        read_status(PEAK_RSS)
    }

    fn rss_mb(&self) -> u64 {
        read_status(RSS)
    }
}

/// The lines of `/proc/self/status` that tell of memory (proc_pid_status(5)).
const PEAK_RSS: &str = "VmHWM:";
const RSS: &str = "VmRSS:";

fn read_status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    memory_mb(&status, line).unwrap_or(0)
}

/// Reads a line such as `VmHWM:   123456 kB` and rounds up to MiB.
fn memory_mb(status: &str, line: &str) -> Option<u64> {
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_rounded_up() {
        let status = "Name:\tx\nVmHWM:\t    2049 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(memory_mb(status, PEAK_RSS), Some(3));
        assert_eq!(memory_mb(status, RSS), Some(1));
        assert_eq!(memory_mb("Name:\tx\n", RSS), None);
        let held = SystemClock.rss_mb();
        assert!(held > 0 && held <= SystemClock.peak_rss_mb());
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }
}
