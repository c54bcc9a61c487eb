//! A plugin at its place in a workflow: with what it is asked, and what becomes of its failures.

use std::borrow::Cow;
use std::sync::Arc;

use autodidact_domain::capability::PluginServices;
use autodidact_domain::plugin::PluginStanding;
use autodidact_domain::workflow::{OnPluginError, PluginTerms};
use autodidact_domain::{
    Digest, Granted, ModelRef, PluginCall, PluginKind, PluginRun, PluginSummary, RuleRef,
};
use serde_json::Value;

use super::pin::{granted, wrong_grant};
use super::services::Services;
use crate::error::FlowError;
use crate::journaled::Run;

/// The reason of what a plugin failed on.
pub(crate) const PLUGIN_ERROR: &str = "plugin_error";

/// A plugin that a workflow is bound to, at its place.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) plugin: PluginSummary,
    /// As what it is asked.
    kind: PluginKind,
    config: Value,
    on_error: OnPluginError,
    terms: PluginTerms,
    granted: Granted,
}

impl Bound {
    pub(crate) fn new(
        plugin: PluginSummary,
        kind: PluginKind,
        config: &Value,
        on_error: OnPluginError,
        terms: &PluginTerms,
    ) -> Self {
        Self {
            granted: granted(&plugin, terms),
            plugin,
            kind,
            config: config.clone(),
            on_error,
            terms: terms.clone(),
        }
    }

    /// Finds the version that is asked now: where the workflow follows new ones, the one in force, if it can stand in this place.
    ///
    /// # Errors
    /// [`FlowError::Held`] where it is in quarantine.
    pub(crate) fn now(&self, run: &Run) -> Result<Cow<'_, Self>, FlowError> {
        let now = match self.terms.follow {
            true => self.newest(run)?,
            false => Cow::Borrowed(self),
        };
        match run.ports.plugins.standing(now.plugin.digest)? {
            PluginStanding::Quarantined(reason) => Err(FlowError::Held(now.held(&reason))),
            PluginStanding::Trusted | PluginStanding::Excused => Ok(now),
        }
    }

    /// Finds the version in force, or, where that cannot stand in this place, the latest that did.
    fn newest(&self, run: &Run) -> Result<Cow<'_, Self>, FlowError> {
        let name = self.plugin.name.as_str();
        let bound = run.plugins.bound(&run.workflow.pinned.plugins);
        let mut earlier = bound.iter().rev().filter(|p| p.name == self.plugin.name);
        let before = earlier.find(|p| self.misfit(run, p).is_none());
        let before = before.unwrap_or(&self.plugin);
        let newest = match run.ports.plugins.get(name) {
            Ok(newest) if newest.digest != before.digest => newest,
            _ => return Ok(self.as_version(before)),
        };
        let wrong = match newest.enabled {
            true => self.misfit(run, &newest),
            false => Some("it is disabled".to_string()),
        };
        let (version, short) = (&newest.version, newest.digest.short());
        if run.plugins.is_news(name, newest.digest) {
            run.warn(match &wrong {
                None => format!("plugin {name} goes on as version {version} ({short})"),
                Some(wrong) => format!(
                    "plugin {name} stays version {}: version {version} ({short}) cannot stand in for it, since {wrong}",
                    before.version
                ),
            })?;
        }
        if wrong.is_some() {
            return Ok(self.as_version(before));
        }
        // Bound to it the workflow keeps it, whatever is installed next and however often it is cut off.
        let bound = run.plugins.bind(bound.clone(), newest.clone());
        let workflow = &run.spec().name;
        run.ports.workflows.set_plugins(workflow, bound)?;
        Ok(self.as_version(&newest))
    }

    /// Says why a version cannot stand in this place, where it cannot.
    fn misfit(&self, run: &Run, plugin: &PluginSummary) -> Option<String> {
        if !plugin.kinds.contains(&self.kind) {
            return Some(format!("it is no {}", self.kind));
        }
        let check = || run.ports.plugins.check_config(plugin.digest, &self.config);
        let config = Digest::of(self.config.to_string().as_bytes());
        match run.plugins.refusal(plugin.digest, config, check) {
            Some(error) => Some(format!("its configuration cannot be used: {error}")),
            // It may ask for less than is granted here, or for more.
            None => wrong_grant(plugin, &self.terms).map(|(_, wrong, _)| wrong),
        }
    }

    fn as_version(&self, plugin: &PluginSummary) -> Cow<'_, Self> {
        if plugin.digest == self.plugin.digest {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self::new(
            plugin.clone(),
            self.kind,
            &self.config,
            self.on_error,
            &self.terms,
        ))
    }

    /// Lays out with what it is asked.
    ///
    /// # Errors
    /// A port's failure.
    pub(crate) fn call<'a>(&'a self, run: &Run) -> Result<PluginCall<'a>, FlowError> {
        let name = self.plugin.name.as_str();
        // One that asks for nothing is served by nobody; one that was granted nothing has to be told so.
        let services = (!self.plugin.capabilities.is_empty()).then(|| {
            let model = self.terms.model.as_ref().unwrap_or(&run.spec().model);
            let model = ModelRef {
                model: model.clone(),
                adapter: None,
            };
            let services = Services::of_run(run, name, &self.granted, model);
            Arc::new(services) as Arc<dyn PluginServices>
        });
        // One that a person let go on is asked about every record, however often it fails.
        let max_failures = match run.ports.plugins.standing(self.plugin.digest)? {
            PluginStanding::Excused => usize::MAX,
            PluginStanding::Trusted | PluginStanding::Quarantined(_) => {
                self.terms.max_failures as usize
            }
        };
        Ok(PluginCall {
            digest: self.plugin.digest,
            config: &self.config,
            granted: &self.granted,
            services,
            max_failures,
            interrupt: Some(run.interrupt.clone()),
        })
    }

    /// Takes its answers, as many as were asked for.
    ///
    /// # Errors
    /// [`FlowError::Held`] where it failed too often: it is put into quarantine then, and none of the answers count.
    pub(crate) fn settle<T>(
        &self,
        run: &Run,
        asked: usize,
        said: PluginRun<T>,
    ) -> Result<Vec<Result<T, String>>, FlowError> {
        let plugin = &self.plugin;
        if said.answers.len() != asked {
            return Err(FlowError::Stopped(format!(
                "plugin {} gave {} answers to {asked} questions",
                plugin.name,
                said.answers.len()
            )));
        }
        let failures = said.answers.iter().filter(|answer| answer.is_err()).count() as u64;
        let count = run.plugins.failed(plugin.digest, failures);
        if failures > 0 {
            run.warn(format!(
                "plugin {} {} failed on {failures} of {asked}: {}",
                plugin.name,
                plugin.version,
                said.failures()
            ))?;
        }
        let is_too_much = said.gave_up || count >= u64::from(self.terms.max_failures);
        if failures == 0 || !is_too_much || self.on_error == OnPluginError::Stop {
            return Ok(said.answers);
        }
        if run.ports.plugins.standing(plugin.digest)? == PluginStanding::Excused {
            return Ok(said.answers);
        }
        let (most, why) = (self.terms.max_failures, said.failures());
        let reason = format!("it failed on {most} records: {why}");
        run.ports.plugins.quarantine(plugin.digest, &reason)?;
        Err(FlowError::Held(self.held(&reason)))
    }

    /// Says what a quarantine is for, and how to go on.
    fn held(&self, reason: &str) -> String {
        let (name, version) = (&self.plugin.name, &self.plugin.version);
        let how = match self.terms.follow {
            true => "install a mended version",
            false => "install a mended version and resume with `--new-plugins`",
        };
        format!(
            "plugin {name} {version} is in quarantine: {reason}. To go on, {how}, or let this one go on with `autodidact plugin enable {name}`"
        )
    }

    /// Names it in verdicts.
    pub(crate) fn rule(&self) -> RuleRef {
        let config = self.config.to_string();
        RuleRef {
            name: self.plugin.name.to_string(),
            version: self.plugin.version.clone(),
            digest: Some(self.plugin.digest),
            config_digest: Some(Digest::of(config.as_bytes())),
        }
    }

    /// Ends the workflow where it is to stop when a plugin fails; tells what becomes of the record otherwise.
    pub(crate) fn on_error(&self, error: &str) -> Result<OnPluginError, FlowError> {
        match self.on_error {
            OnPluginError::Stop => Err(FlowError::Stopped(format!(
                "plugin {} {} failed: {error}",
                self.plugin.name, self.plugin.version
            ))),
            on_error => Ok(on_error),
        }
    }
}
