//! What a plugin's imports come to.

use autodidact_domain::Capability;
use autodidact_domain::capability::LogLevel;
use wasmtime::component::{HasSelf, Linker};

use super::bindings::{data, log, model};
use super::{asked, text};
use crate::PluginError;
use crate::access::Access;
use crate::sandbox::State;

/// Puts the functions where components find them.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<(), PluginError> {
    type Own = HasSelf<Access>;
    let linked = log::add_to_linker::<State, Own>(linker, |state| &mut state.access)
        .and_then(|()| model::add_to_linker::<State, Own>(linker, |state| &mut state.access))
        .and_then(|()| data::add_to_linker::<State, Own>(linker, |state| &mut state.access))
        .and_then(|()| text::link(linker));
    linked.map_err(|error| PluginError::Runtime(error.to_string()))
}

impl log::Host for Access {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        Access::log(self, level, &message);
        Ok(())
    }
}

impl model::Host for Access {
    fn generate(
        &mut self,
        requests: Vec<model::Generation>,
    ) -> wasmtime::Result<Result<Vec<model::Completion>, String>> {
        let requests = match asked::generations(requests) {
            Ok(requests) => requests,
            Err(wrong) => return self.refuse(wrong),
        };
        let choices = asked::choices(&requests);
        let said = self.wait(Capability::Generate, |services, within| {
            services.generate(requests, within)
        })?;
        Ok(said.and_then(|said| asked::completions(said, &choices)))
    }

    fn embed(&mut self, texts: Vec<String>) -> wasmtime::Result<Result<Vec<Vec<f32>>, String>> {
        if let Err(wrong) = asked::bounded(texts.len()) {
            return self.refuse(wrong);
        }
        self.wait(Capability::Embed, |services, within| {
            services.embed(texts, within)
        })
    }

    fn score(
        &mut self,
        continuations: Vec<model::Continuation>,
    ) -> wasmtime::Result<Result<Vec<model::Likelihood>, String>> {
        let requests = match asked::continuations(continuations) {
            Ok(requests) => requests,
            Err(wrong) => return self.refuse(wrong),
        };
        let scored = self.wait(Capability::Score, |services, within| {
            services.score(requests, within)
        })?;
        Ok(scored.map(|losses| losses.into_iter().map(asked::likelihood).collect()))
    }
}

impl data::Host for Access {
    fn files(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Access::files(self))
    }

    fn read(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, String>> {
        Access::read(self, &name)
    }
}
