//! What a call may use besides its own time and memory: log, model and data files, where they are granted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autodidact_domain::capability::{LogLevel, PluginServices, ServiceError};
use autodidact_domain::shown::steers;
use autodidact_domain::{Capability, Granted, PortError};

use crate::sandbox::Failure;
use crate::ticker::thread_time;
use crate::{Limits, files};

/// The longest line of a log, in bytes; longer ones are cut.
const MAX_LINE_BYTES: usize = 1000;

/// What calls may use: granted once, for all calls of a run.
#[derive(Clone)]
pub(crate) struct Permit(Option<Arc<Permitted>>);

struct Permitted {
    granted: Granted,
    services: Arc<dyn PluginServices>,
    /// Where the granted files are.
    folder: PathBuf,
    log_lines: usize,
    wait: Duration,
}

impl Permit {
    /// Grants nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Grants what a person did; files lie in `folder` by their digests.
    pub(crate) fn of(
        granted: &Granted,
        services: Arc<dyn PluginServices>,
        folder: PathBuf,
        limits: &Limits,
    ) -> Self {
        Self(Some(Arc::new(Permitted {
            granted: granted.clone(),
            services,
            folder,
            log_lines: limits.log_lines,
            wait: Duration::from_millis(limits.wait_ms),
        })))
    }
}

/// What the present call uses.
#[derive(Default)]
pub(crate) struct Access {
    permitted: Option<Arc<Permitted>>,
    /// Waited in this call.
    waited: Duration,
    /// Of this thread's time.
    served: Duration,
    log_lines: usize,
    /// What ended the call from here.
    failure: Option<Failure>,
}

impl Access {
    /// Begins a call.
    pub(crate) fn begin(&mut self, permit: &Permit) {
        *self = Self {
            permitted: permit.0.clone(),
            ..Self::default()
        };
    }

    /// Ends the call; tells how long it waited. An instance that waits for its next batch keeps nothing of whoever was served.
    pub(crate) fn end(&mut self) -> Duration {
        if let Some(permitted) = self.permitted.take()
            && self.log_lines > permitted.log_lines
        {
            let more = self.log_lines - permitted.log_lines;
            let line = format!("{more} more lines in one call were left out");
            permitted.services.log(LogLevel::Warn, &line);
        }
        self.waited
    }

    /// Tells how much of the thread's time went into what others did for the call so far.
    pub(crate) fn served(&self) -> Duration {
        self.served
    }

    /// Ends the call, since whoever asked the plugin was told to stop.
    pub(crate) fn interrupt(&mut self) {
        self.failure = Some(Failure::Fatal(PortError::Interrupted));
    }

    /// Takes what ended the call from here.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Does something for which the plugin waits.
    ///
    /// # Errors
    /// A trap where the call has to end; a text inside where the plugin is told why not.
    pub(crate) fn wait<T>(
        &mut self,
        capability: Capability,
        work: impl FnOnce(&dyn PluginServices, Duration) -> Result<T, ServiceError>,
    ) -> wasmtime::Result<Result<T, String>> {
        let Some(permitted) = self.permitted.clone() else {
            return Ok(Err(
                "there is no model outside of judging records".to_string()
            ));
        };
        if !permitted.granted.has(capability) {
            permitted.services.refused();
            return Ok(Err(not_granted(capability)));
        }
        let (started, began) = (Instant::now(), thread_time());
        let left = permitted.wait.saturating_sub(self.waited);
        let result = match left {
            Duration::ZERO => Err(ServiceError::TooLong),
            left => work(permitted.services.as_ref(), left),
        };
        // One that is refused waited for nobody: a plugin that asks and asks spends its own time.
        if !matches!(result, Err(ServiceError::Refused(_))) {
            self.waited += started.elapsed();
            self.served += thread_time().saturating_sub(began);
        }
        let failure = match result {
            Ok(done) => return Ok(Ok(done)),
            Err(ServiceError::Refused(text)) => return Ok(Err(text)),
            Err(ServiceError::TooLong) => Failure::Overrun(format!(
                "waited longer than {} ms for the model (wait_s of [plugins.NAME])",
                permitted.wait.as_millis()
            )),
            Err(ServiceError::Port(error)) => Failure::Fatal(error),
        };
        self.failure = Some(failure);
        Err(wasmtime::Error::msg("ended by the host"))
    }

    /// Takes a line of the log.
    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        let Some(permitted) = &self.permitted else {
            return;
        };
        if !permitted.granted.has(Capability::Log) {
            return;
        }
        self.log_lines += 1;
        if self.log_lines <= permitted.log_lines {
            permitted.services.log(level, &one_line(message));
        }
    }

    /// Lists the files that may be read.
    pub(crate) fn files(&self) -> Vec<String> {
        let permitted = self.permitted.as_ref();
        let permitted = permitted.filter(|permitted| permitted.granted.has(Capability::Data));
        let names = permitted.map(|permitted| permitted.granted.files.keys().cloned().collect());
        names.unwrap_or_default()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As of [`Access::wait`].
    pub(crate) fn read(&mut self, name: &str) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let Some(permitted) = &self.permitted else {
            return Ok(Err(
                "there are no files outside of judging records".to_string()
            ));
        };
        if !permitted.granted.has(Capability::Data) {
            return self.refuse(not_granted(Capability::Data));
        }
        let Some(file) = permitted.granted.files.get(name) else {
            return self.refuse(format!("there is no file {:?}", one_line(name)));
        };
        match files::read_data(&permitted.folder, file.digest) {
            Ok(bytes) => {
                permitted.services.file_read();
                Ok(Ok(bytes))
            }
            Err(error) => {
                self.failure = Some(Failure::Fatal(error.into()));
                Err(wasmtime::Error::msg("ended by the host"))
            }
        }
    }

    /// Refuses what is asked for in a way that cannot be.
    pub(crate) fn refuse<T>(&self, wrong: String) -> wasmtime::Result<Result<T, String>> {
        if let Some(permitted) = &self.permitted {
            permitted.services.refused();
        }
        Ok(Err(wrong))
    }
}

fn not_granted(capability: Capability) -> String {
    format!("{capability} is not granted to this plugin")
}

/// Makes one line of a text, so that it cannot pass for several, or for commands to a terminal.
fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_LINE_BYTES);
    let shown = text[..end].chars();
    let shown = shown.map(|c| if steers(c) { ' ' } else { c });
    let cut = if end < text.len() { "…" } else { "" };
    shown.chain(cut.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_short() {
        assert_eq!(one_line("a\nb\u{1b}[31m\tc"), "a b [31m c");
        let long = one_line(&"字".repeat(1000));
        assert_eq!(long.chars().count(), 334);
        assert!(long.ends_with("字…"));
    }
}
