//! What memory the machine, the process's control group and the configuration leave to models.

use std::path::Path;

/// How much memory models may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimit {
    /// What the configuration sets, in bytes; it stands above what the machine says.
    configured: Option<u64>,
}

/// A bound that the system sets, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    total: u64,
    free: u64,
}

impl MemoryLimit {
    /// Takes `limits.memory_mib`.
    pub(crate) fn new(configured_mib: Option<u64>) -> Self {
        Self {
            configured: configured_mib.map(|mib| mib << 20),
        }
    }

    /// Tells how many bytes may be taken beside the `held` ones that models have; none where nobody knows.
    pub(crate) fn available(&self, held: u64) -> Option<u64> {
        match self.configured {
            Some(limit) => Some(limit.saturating_sub(held)),
            None => bounds().map(|bound| bound.free).min(),
        }
    }

    /// Tells how many bytes there may be in all; none where nobody knows.
    pub(crate) fn total(&self) -> Option<u64> {
        self.configured
            .or_else(|| bounds().map(|bound| bound.total).min())
    }

    /// Says where the bound comes from, when somebody set it.
    pub(crate) fn bound(&self) -> Option<String> {
        let limit = self.configured?;
        Some(format!("limits.memory_mib is {}", limit >> 20))
    }

    /// Adds to the message of work that does not fit where the bound comes from.
    pub(crate) fn explain(&self, message: String) -> String {
        match self.bound() {
            Some(bound) => format!("{message} ({bound})"),
            None => message,
        }
    }
}

/// Gives the system back what the allocator keeps of freed memory.
///
/// What it keeps counts as taken for whoever asks the system, and work that would fit is refused.
pub(crate) fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no safe interface")]
    // SAFETY: it takes no pointer, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lists what bounds this process: the machine's memory and its control groups.
fn bounds() -> impl Iterator<Item = Bound> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = of_machine(&read("/proc/meminfo"));
    let groups = of_groups(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    machine.into_iter().chain(groups)
}

/// Reads `MemTotal` and `MemAvailable` (proc_meminfo(5)).
fn of_machine(meminfo: &str) -> Option<Bound> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    };
    Some(Bound {
        total: field("MemTotal:")?,
        free: field("MemAvailable:")?,
    })
}

/// Names of a control group's files: version 2, and version 1's memory controller (cgroups(7)).
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// What of the usage is given back when it is needed: pages of files that nobody looked at lately.
    reclaimable: &'static str,
}

const VERSION_2: GroupFiles = GroupFiles {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file ",
};
const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

/// Reads the bounds of the groups that a process is in (`/proc/self/cgroup`) and of those above them.
fn of_groups(root: &Path, groups: &str) -> Vec<Bound> {
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (files, root) = match controllers {
            "" if number == "0" => (VERSION_2, root.to_path_buf()),
            list if list.split(',').any(|name| name == "memory") => {
                (VERSION_1, root.join("memory"))
            }
            _ => return None,
        };
        let folder = root.join(path.trim_start_matches('/'));
        let folders = folder
            .ancestors()
            .filter(|folder| folder.starts_with(&root));
        let bounds = folders.filter_map(|folder| of_group(folder, &files));
        Some(bounds.collect::<Vec<Bound>>())
    };
    groups.lines().filter_map(group).flatten().collect()
}

fn of_group(folder: &Path, files: &GroupFiles) -> Option<Bound> {
    /// Version 1 writes "no limit" as the greatest number of whole pages.
    const NO_LIMIT: u64 = 1 << 60;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let total = number(files.limit).filter(|limit| *limit < NO_LIMIT)?;
    let statistics = read("memory.stat").unwrap_or_default();
    let reclaimable = statistics
        .lines()
        .find_map(|line| line.strip_prefix(files.reclaimable)?.trim().parse().ok());
    let used = number(files.usage)?.saturating_sub(reclaimable.unwrap_or(0));
    Some(Bound {
        total,
        free: total.saturating_sub(used),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_figures_are_read() {
        let meminfo = "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        let expect = Bound {
            total: 2 << 20,
            free: 1 << 20,
        };
        assert_eq!(of_machine(meminfo), Some(expect));
        assert_eq!(of_machine("MemTotal: 5 kB\n"), None);
        let limit = MemoryLimit::new(None);
        assert!(limit.available(0) <= limit.total());
        #[cfg(target_os = "linux")]
        assert!(limit.available(0).is_some());
    }

    #[test]
    fn groups_bound_with_what_they_can_give_back() {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, files: [(&str, &str); 3]| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        let new = |limit: &'static str, usage: &'static str| {
            [
                ("memory.max", limit),
                ("memory.current", usage),
                ("memory.stat", "anon 5\ninactive_file 100\n"),
            ]
        };
        write("a", new("1000\n", "700\n"));
        write("a/b", new("max\n", "300\n"));
        let expect = Bound {
            total: 1000,
            free: 400,
        };
        assert_eq!(of_groups(root.path(), "0::/a/b\n"), [expect]);
        // Without a limit, and where the group's folder is not seen from inside.
        assert_eq!(of_groups(root.path(), "0::/c\n"), []);
        let old = |limit: &'static str| {
            [
                ("memory.limit_in_bytes", limit),
                ("memory.usage_in_bytes", "900"),
                ("memory.stat", "total_inactive_file 0"),
            ]
        };
        write("memory/d", old("800"));
        write("memory", old("9223372036854771712"));
        let full = Bound {
            total: 800,
            free: 0,
        };
        assert_eq!(of_groups(root.path(), "5:cpu:/x\n4:memory:/d\n"), [full]);
    }

    #[test]
    fn what_is_configured_stands_above_the_machine() {
        let limit = MemoryLimit::new(Some(3));
        assert_eq!(limit.total(), Some(3 << 20));
        assert_eq!(limit.available(1 << 20), Some(2 << 20));
        assert_eq!(limit.available(9 << 20), Some(0));
        assert!(
            limit
                .explain("no".into())
                .contains("limits.memory_mib is 3")
        );
    }
}
