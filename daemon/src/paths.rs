//! Where things are kept unless somebody says otherwise.

use std::path::PathBuf;

/// Reads an environment variable that is set and not empty.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the process's own environment; empty variables count as unset.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Names the data directory of `serve` and of every client.
pub(crate) fn default_data_dir(environment: Environment<'_>) -> PathBuf {
    data_home(environment).join("default")
}

/// Names the data directory of the quickstart, which leaves the daemon's own alone.
pub(crate) fn quickstart_data_dir(environment: Environment<'_>) -> PathBuf {
    data_home(environment).join("quickstart")
}

/// Names the folder that fetched models are kept in, shared by all data directories.
pub(crate) fn cache_dir(environment: Environment<'_>) -> PathBuf {
    environment("AUTODIDACT_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            environment("XDG_CACHE_HOME")
                .map_or_else(|| home(environment).join(".cache"), PathBuf::from)
                .join("autodidact")
        })
}

/// The XDG base directory specification's data folder, with ours in it.
fn data_home(environment: Environment<'_>) -> PathBuf {
    environment("XDG_DATA_HOME")
        .map_or_else(|| home(environment).join(".local/share"), PathBuf::from)
        .join("autodidact")
}

fn home(environment: Environment<'_>) -> PathBuf {
    environment("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_variable_comes_before_the_common_one_and_home_comes_last() {
        let check = |set: &[(&str, &str)], expect: &str| {
            let environment = |name: &str| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| v.to_string())
            };
            assert_eq!(cache_dir(&environment), PathBuf::from(expect));
        };
        check(
            &[
                ("AUTODIDACT_CACHE", "/a"),
                ("XDG_CACHE_HOME", "/b"),
                ("HOME", "/c"),
            ],
            "/a",
        );
        check(&[("XDG_CACHE_HOME", "/b"), ("HOME", "/c")], "/b/autodidact");
        check(&[("HOME", "/c")], "/c/.cache/autodidact");
    }
}
