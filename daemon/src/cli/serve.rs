//! `autodidact serve`

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Global, flag, output};
use crate::config::{self, Config, Setting};
use crate::serve::Daemon;
use crate::telemetry;

#[derive(Args)]
#[command(after_help = "\
Every flag is also a field of the configuration file and an environment variable:
--log-level is `level` in [log] and AUTODIDACT_LOG_LEVEL.
Flags stand above the environment, the environment above the file.

Examples:
  autodidact serve
  autodidact serve --data-dir ./data --tcp-address 127.0.0.1:7717
  autodidact serve --dump-config")]
pub(super) struct ServeArgs {
    /// The Unix socket [default: run/autodidact.sock in the data directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Listen on TCP too; off loopback a certificate is needed
    #[arg(long, value_name = "HOST:PORT")]
    tcp_address: Option<String>,
    /// The file with the token that TCP callers must show; made where it is missing
    #[arg(long, value_name = "FILE")]
    tcp_token_file: Option<PathBuf>,
    /// The certificate chain for TCP, in PEM
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Threads of the engine [default: one a core]
    #[arg(long)]
    threads: Option<String>,
    /// How to compute: exact (the f32 reference) or fast (quantised) [default: fast]
    #[arg(long)]
    compute: Option<String>,
    /// What generates: cpu, or cuda or cuda:N where it is built in [default: cpu]
    #[arg(long)]
    device: Option<String>,
    /// Watch a folder: its files become versions of the dataset; may be given several times
    #[arg(long, value_name = "DATASET=FOLDER")]
    inbox: Vec<String>,
    /// The log's level: error, warn, info, debug or trace, or directives [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The log's format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Print the configuration in force as TOML (or JSON with --json) and end
    #[arg(long)]
    dump_config: bool,
}

impl ServeArgs {
    fn settings(&self) -> Vec<Setting> {
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| path.to_string_lossy().into_owned())
        };
        let table = [
            ("socket", "--socket", path(&self.socket)),
            ("tcp.address", "--tcp-address", self.tcp_address.clone()),
            (
                "tcp.token_file",
                "--tcp-token-file",
                path(&self.tcp_token_file),
            ),
            (
                "tcp.tls_certificate",
                "--tls-certificate",
                path(&self.tls_certificate),
            ),
            ("tcp.tls_key", "--tls-key", path(&self.tls_key)),
            ("threads", "--threads", self.threads.clone()),
            ("compute", "--compute", self.compute.clone()),
            ("device", "--device", self.device.clone()),
            ("log.level", "--log-level", self.log_level.clone()),
            ("log.format", "--log-format", self.log_format.clone()),
        ];
        let given = table
            .into_iter()
            .filter_map(|(key, name, value)| Some(flag(key, name, value?)));
        given
            .chain(
                self.inbox
                    .iter()
                    .map(|pair| flag("inbox", "--inbox", pair.clone())),
            )
            .collect()
    }
}

/// Serves until a signal or a failure ends it.
pub(super) async fn run(args: ServeArgs, global: &Global) -> Result<(), Failure> {
    let mut settings = global.settings();
    settings.extend(args.settings());
    let config = Config::load(
        &settings,
        global.config.as_deref(),
        &config::process_variables(),
    )?;
    if args.dump_config {
        return if global.json {
            let value =
                serde_json::to_value(&config).map_err(|error| Failure::local(error.to_string()))?;
            output::json(&value)
        } else {
            output::text(&config.to_toml())
        };
    }
    telemetry::log_to_stderr(&config.log)?;
    let mut daemon = Daemon::start(config).await?;
    daemon.mind_signals();
    daemon.until_down().await?;
    Ok(())
}
