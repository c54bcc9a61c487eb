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
        field_mb("VmHWM:")
    }
}

impl SystemClock {
    /// Tells the memory that this process holds now, in MiB.
    pub(crate) fn rss_mb(&self) -> u64 {
        field_mb("VmRSS:")
    }
}

fn field_mb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mebibytes(&status, field).unwrap_or(0)
}

/// Reads a line such as `VmHWM:   123456 kB` (proc_pid_status(5)) and rounds up to MiB.
fn mebibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_and_rounded_up() {
        let status = "Name:\tx\nVmHWM:\t    2049 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(mebibytes(status, "VmHWM:"), Some(3));
        assert_eq!(mebibytes(status, "VmRSS:"), Some(1));
        assert_eq!(mebibytes("Name:\tx\n", "VmHWM:"), None);
        assert!(SystemClock.rss_mb() > 0);
        assert!(SystemClock.peak_rss_mb() > 0);
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }
}
