//! Writes big files forward, telling how far it is and stopping when it is asked to.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use autodidact_domain::Interrupt;
use autodidact_domain::exchange::ModelFile;

use crate::EngineError;

const BUFFER_BYTES: usize = 1 << 20;

/// The folder that is written to, and who listens.
pub(super) struct Output<'a> {
    folder: &'a Path,
    interrupt: &'a Interrupt,
    /// Hears (bytes written, bytes in all) and may use the device.
    progress: &'a mut dyn FnMut(u64, u64),
    done: u64,
    total: u64,
    files: Vec<ModelFile>,
    open: Option<(PathBuf, BufWriter<File>)>,
}

impl<'a> Output<'a> {
    /// Begins to write into a folder.
    pub(super) fn new(
        folder: &'a Path,
        interrupt: &'a Interrupt,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Self {
        Self {
            folder,
            interrupt,
            progress,
            done: 0,
            total: 0,
            files: Vec::new(),
            open: None,
        }
    }

    /// Tells how many bytes of weights there will be.
    pub(super) fn expect(&mut self, total: u64) {
        self.total = total;
    }

    /// Begins a file; the one before must have been ended.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), EngineError> {
        let path = self.folder.join(name);
        let file = File::create(&path).map_err(|error| EngineError::io(&path, "create", error))?;
        self.files.push(ModelFile {
            name: name.to_string(),
            size: 0,
        });
        self.open = Some((path, BufWriter::with_capacity(BUFFER_BYTES, file)));
        Ok(())
    }

    /// Writes on.
    ///
    /// # Errors
    /// [`EngineError::Io`] when the disk does not take it, [`EngineError::Interrupted`].
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        if self.interrupt.is_raised() {
            return Err(EngineError::Interrupted);
        }
        let (path, file) = self.open.as_mut().expect("a file was begun");
        file.write_all(bytes)
            .map_err(|error| EngineError::io(path, "write", error))?;
        let last = self.files.last_mut().expect("as above");
        last.size += bytes.len() as u64;
        self.done += bytes.len() as u64;
        (self.progress)(self.done.min(self.total), self.total);
        Ok(())
    }

    /// Ends a file.
    pub(super) fn end(&mut self) -> Result<(), EngineError> {
        let (path, file) = self.open.take().expect("a file was begun");
        let io = |error: std::io::Error| EngineError::io(&path, "write", error);
        file.into_inner().map_err(|error| io(error.into_error()))?;
        Ok(())
    }

    /// Writes a small file whole.
    pub(super) fn small(&mut self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        self.begin(name)?;
        self.put(bytes)?;
        self.end()
    }

    /// Lists what was written.
    pub(super) fn finish(self) -> Vec<ModelFile> {
        self.files
    }
}
