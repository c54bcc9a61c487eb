//! Tells when a file is finished: once its size and time of change have stayed the same for a while.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a file must stay the same.
pub(super) const QUIET: Duration = Duration::from_millis(1500);
/// How long after its writer closed it, or after it was renamed into place.
pub(super) const QUIET_AFTER_CLOSE: Duration = Duration::from_millis(300);
/// The most files that are kept in mind; a folder with more is taken in turns.
const MAX_TRACKED: usize = 100_000;

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its size in bytes.
    pub(super) size: u64,
    /// When it was last written.
    pub(super) modified: Option<SystemTime>,
    /// Size and time of the mapping file beside it, where one stands there: with another one the file is read anew.
    pub(super) mapping: Option<(u64, Option<SystemTime>)>,
}

/// What is known of each file.
#[derive(Debug, Default)]
pub(super) struct QuietFiles {
    files: HashMap<PathBuf, Tracked>,
}

#[derive(Debug)]
struct Tracked {
    look: Look,
    since: Instant,
    closed: bool,
    taken: bool,
}

impl QuietFiles {
    /// Notes that a writer closed the file, or that it was renamed into place.
    pub(super) fn closed(&mut self, path: &Path) {
        if let Some(tracked) = self.files.get_mut(path) {
            tracked.closed = true;
        }
    }

    /// Looks at a file again; answers true once when it is finished, and again after each later change.
    pub(super) fn is_finished(&mut self, path: &Path, look: Look, now: Instant) -> bool {
        if let Some(tracked) = self.files.get_mut(path) {
            if tracked.look != look {
                *tracked = Tracked {
                    look,
                    since: now,
                    closed: false,
                    taken: false,
                };
                return false;
            }
            let patience = if tracked.closed {
                QUIET_AFTER_CLOSE
            } else {
                QUIET
            };
            if tracked.taken || now.duration_since(tracked.since) < patience {
                return false;
            }
            tracked.taken = true;
            return true;
        }
        if self.files.len() < MAX_TRACKED {
            self.files.insert(
                path.to_path_buf(),
                Tracked {
                    look,
                    since: now,
                    closed: false,
                    taken: false,
                },
            );
        }
        false
    }

    /// Lets a finished file be taken again, because taking it failed for a passing reason.
    pub(super) fn retry(&mut self, path: &Path, now: Instant) {
        if let Some(tracked) = self.files.get_mut(path) {
            tracked.taken = false;
            tracked.since = now;
        }
    }

    /// Forgets the files that are gone.
    pub(super) fn keep_only(&mut self, present: &std::collections::HashSet<PathBuf>) {
        self.files.retain(|path, _| present.contains(path));
    }

    /// Tells whether a file is still being waited for.
    pub(super) fn any_waiting(&self) -> bool {
        self.files.values().any(|tracked| !tracked.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(size: u64) -> Look {
        Look {
            size,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(size)),
            mapping: None,
        }
    }

    #[test]
    fn a_file_that_grows_is_not_finished_and_a_quiet_one_is_taken_once() {
        let mut files = QuietFiles::default();
        let path = Path::new("/x");
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (ms, size) in [(0, 1), (1000, 2), (2000, 3), (3000, 3)] {
            assert!(!files.is_finished(path, look(size), at(ms)), "at {ms} ms");
        }
        assert!(files.is_finished(path, look(3), at(3500)));
        assert!(!files.is_finished(path, look(3), at(9000)), "once");
        assert!(!files.any_waiting());
        assert!(
            !files.is_finished(path, look(4), at(9500)),
            "changed: it waits anew"
        );
        assert!(files.any_waiting());
        assert!(files.is_finished(path, look(4), at(11_000)));
    }

    #[test]
    fn a_closed_file_waits_less_and_a_retry_waits_again() {
        let mut files = QuietFiles::default();
        let path = Path::new("/x");
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!files.is_finished(path, look(1), at(0)));
        files.closed(path);
        assert!(!files.is_finished(path, look(1), at(200)));
        assert!(files.is_finished(path, look(1), at(300)));
        files.retry(path, at(400));
        assert!(!files.is_finished(path, look(1), at(500)));
        assert!(files.is_finished(path, look(1), at(700)));
    }

    #[test]
    fn a_file_that_is_gone_is_forgotten() {
        let mut files = QuietFiles::default();
        let start = Instant::now();
        files.is_finished(Path::new("/x"), look(1), start);
        files.keep_only(&Default::default());
        assert!(
            !files.is_finished(Path::new("/x"), look(1), start + QUIET),
            "seen as new"
        );
    }
}
