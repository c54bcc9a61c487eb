//! Finding and reaching the daemon.

use std::path::{Path, PathBuf};

use autodidact_client::{Client, Target};

use super::{Failure, Global};
use crate::config::{self, Config};
use crate::serve::Daemon;

/// Connects to the daemon that the flags, the environment and the configuration name.
///
/// # Errors
/// When the address or configuration is wrong, or nobody answers; the message says how to start a daemon.
pub(crate) async fn connect(global: &Global) -> Result<Client, Failure> {
    let target = match &global.address {
        Some(address) => explicit(address, global)?,
        None => {
            let config = Config::load(
                &global.settings(),
                global.config.as_deref(),
                &config::process_variables(),
            )?;
            Target::Unix(config.socket)
        }
    };
    Client::connect(&target)
        .await
        .map_err(|error| match (&target, &global.data_dir) {
            (Target::Unix(socket), data_dir) => {
                Failure::refused("UNAVAILABLE", no_daemon(socket, data_dir.as_deref()))
            }
            _ => error.into(),
        })
}

/// Whether a command brings a daemon of its own.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Starting {
    Never,
    WhereNoneRuns,
}

impl Starting {
    /// Reads a command's `--start`.
    pub(crate) fn of_flag(start: bool) -> Self {
        if start {
            Self::WhereNoneRuns
        } else {
            Self::Never
        }
    }
}

/// Connects and does the work; a daemon is started in this process where that is asked for and none runs, and stopped after
/// the work or when the user interrupts it.
///
/// # Errors
/// As [`connect`], what keeps a daemon from starting, and the work's own.
pub(crate) async fn with_client(
    global: &Global,
    starting: Starting,
    work: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match connect(global).await {
        Ok(client) => return work(&client).await,
        Err(_) if starting == Starting::WhereNoneRuns && global.address.is_none() => {}
        Err(failure) => return Err(failure),
    }
    let mut config = Config::load(
        &global.settings(),
        global.config.as_deref(),
        &config::process_variables(),
    )?;
    // A log between the words would be no talk.
    config.log.level = "warn".into();
    crate::telemetry::log_to_stderr(&config.log)?;
    let daemon = Daemon::start(config).await?;
    let client = connect(global).await?;
    let done = tokio::select! {
        done = work(&client) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted("")),
    };
    daemon.stop().await;
    done
}

fn no_daemon(socket: &Path, data_dir: Option<&Path>) -> String {
    let start = data_dir.map_or_else(String::new, |path| {
        format!(" --data-dir {}", path.display())
    });
    let what = if socket.exists() {
        "does not answer"
    } else {
        "is not there"
    };
    format!(
        "no daemon runs here: its socket {} {what}. Start one with `autodidact serve{start}`, or name a running one with --data-dir or --address",
        socket.display()
    )
}

/// Reads an address that was given.
fn explicit(address: &str, global: &Global) -> Result<Target, Failure> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(Target::Unix(PathBuf::from(path)));
    }
    if let Some(host) = address.strip_prefix("https://") {
        let authority = std::env::var_os("AUTODIDACT_TLS_AUTHORITY").map(PathBuf::from).ok_or_else(|| {
            Failure::local("an https address needs the certificate that signed the daemon's: set AUTODIDACT_TLS_AUTHORITY to its PEM file")
        })?;
        let authority_pem = std::fs::read(&authority)
            .map_err(|error| Failure::local(format!("read {}: {error}", authority.display())))?;
        return Ok(Target::Tls {
            address: host.trim_end_matches('/').to_string(),
            token: token(global)?,
            authority_pem,
        });
    }
    let host = address
        .strip_prefix("http://")
        .unwrap_or(address)
        .trim_end_matches('/');
    if !host.contains(':') || host.contains('/') {
        return Err(Failure::local(format!(
            "address {address:?} is not one: expected unix:PATH, http://HOST:PORT or https://HOST:PORT"
        )));
    }
    Ok(Target::Tcp {
        address: host.to_string(),
        token: token(global)?,
    })
}

fn token(global: &Global) -> Result<String, Failure> {
    let path = match &global.token_file {
        Some(path) => path.clone(),
        None => {
            let config = Config::load(
                &global.settings(),
                global.config.as_deref(),
                &config::process_variables(),
            )?;
            config
                .tcp
                .token_file
                .unwrap_or_else(|| config.data_dir.join("run").join("token"))
        }
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_string()),
        Err(error) => Err(Failure::local(format!(
            "read the bearer token in {}: {error}; name the daemon's token file with --token-file",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(token_file: Option<PathBuf>) -> Global {
        Global {
            data_dir: None,
            config: None,
            address: None,
            token_file,
            json: false,
        }
    }

    #[test]
    fn addresses_are_read_and_wrong_ones_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret\n").unwrap();
        let global = global(Some(file));
        assert!(
            matches!(explicit("unix:/a/b", &global), Ok(Target::Unix(path)) if path == Path::new("/a/b"))
        );
        for address in [
            "127.0.0.1:80",
            "http://127.0.0.1:80",
            "http://127.0.0.1:80/",
        ] {
            let target = explicit(address, &global).unwrap();
            assert!(
                matches!(target, Target::Tcp { address, token } if address == "127.0.0.1:80" && token == "secret")
            );
        }
        for address in ["", "localhost", "/path", "ftp://x:1/y"] {
            assert!(explicit(address, &global).is_err(), "{address:?}");
        }
    }

    #[test]
    fn the_way_to_start_a_daemon_is_told() {
        let text = no_daemon(Path::new("/x/run/autodidact.sock"), Some(Path::new("/x")));
        assert!(text.contains("`autodidact serve --data-dir /x`"), "{text}");
    }
}
