//! The port that the loop and the services know.

use autodidact_domain::capability::GrantChange;
use autodidact_domain::plugin::{
    FilterDecision, PluginScore, PluginStanding, RenderedPrompt, TemplateCompletion, TemplateItem,
    TemplateRequest, Validation,
};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{
    Capability, Digest, PluginCall, PluginRecord, PluginRun, PluginSummary, PortResult,
};
use serde_json::Value;

use super::{PluginHost, Visitor, lock};
use crate::PluginError;
use crate::registry::{self, StoredComponent};
use crate::sandbox::Sandbox;

impl Plugins for PluginHost {
    fn install(&self, component: &[u8], builtin: bool) -> PortResult<PluginSummary> {
        Ok(self.install_component(component, builtin, &[])?.0)
    }

    fn install_granted(
        &self,
        component: &[u8],
        grant: &[Capability],
    ) -> PortResult<(PluginSummary, Option<PluginSummary>)> {
        Ok(self.install_component(component, false, grant)?)
    }

    fn visit(&self, component: &[u8]) -> PortResult<PluginSummary> {
        let digest = Digest::of(component);
        let _compiling = lock(&self.compiling);
        if let Some(visitor) = lock(&self.visitors).get_mut(&digest) {
            visitor.times += 1;
            return Ok(registry::visitor(digest, &visitor.stored));
        }
        let (loaded, stored) = self.examine(digest, component)?;
        let summary = registry::visitor(digest, &stored);
        let visitor = Visitor {
            loaded,
            stored,
            times: 1,
        };
        lock(&self.visitors).insert(digest, visitor);
        Ok(summary)
    }

    fn leave(&self, digest: Digest) {
        let mut visitors = lock(&self.visitors);
        if let Some(visitor) = visitors.get_mut(&digest) {
            visitor.times -= 1;
            if visitor.times == 0 {
                visitors.remove(&digest);
                drop(visitors);
                self.forget_old_visitors(digest);
            }
        }
    }

    fn list(&self) -> PortResult<Vec<PluginSummary>> {
        let registry = lock(&self.registry);
        let summaries = registry
            .plugins
            .keys()
            .map(|name| registry.summary(name.as_str()));
        Ok(summaries.collect::<Result<_, _>>()?)
    }

    fn get(&self, name: &str) -> PortResult<PluginSummary> {
        Ok(lock(&self.registry).summary(name)?)
    }

    fn set_enabled(&self, name: &str, enabled: bool) -> PortResult<PluginSummary> {
        self.change_plugin(name, |registry, summary| {
            registry
                .plugins
                .entry(summary.name.clone())
                .and_modify(|plugin| plugin.enabled = enabled);
            // Workflows may be bound to earlier components of the name.
            let of_name = |component: &&mut StoredComponent| component.name == summary.name;
            for component in registry.components.values_mut().filter(of_name) {
                if enabled && component.quarantine.take().is_some() {
                    component.excused = true;
                }
            }
            Ok(())
        })?;
        Ok(lock(&self.registry).summary(name)?)
    }

    fn remove(&self, name: &str) -> PortResult<()> {
        self.change_plugin(name, |registry, summary| {
            if summary.builtin {
                return Err(PluginError::Builtin(name.to_string()));
            }
            registry.plugins.remove(&summary.name);
            Ok(())
        })?;
        Ok(())
    }

    fn check_config(&self, digest: Digest, config: &Value) -> PortResult<()> {
        Ok(self.check_config_text(digest, config)?)
    }

    fn grant(&self, name: &str, change: &GrantChange) -> PortResult<PluginSummary> {
        Ok(self.change_grant(name, change)?)
    }

    fn quarantine(&self, digest: Digest, reason: &str) -> PortResult<()> {
        Ok(self.change_component(digest, |component| {
            component.quarantine = Some(reason.to_string());
        })?)
    }

    fn standing(&self, digest: Digest) -> PortResult<PluginStanding> {
        let registry = lock(&self.registry);
        match registry.components.get(&digest) {
            Some(component) => Ok(component.standing()),
            None if lock(&self.visitors).contains_key(&digest) => Ok(PluginStanding::Trusted),
            None => Err(PluginError::UnknownDigest(digest).into()),
        }
    }

    fn filter(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<FilterDecision>> {
        self.run(call, records, Sandbox::filter)
    }

    fn validate(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<Validation>> {
        self.run(call, records, Sandbox::validate)
    }

    fn score(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<PluginScore>> {
        self.run(call, records, Sandbox::score)
    }

    fn render(
        &self,
        call: &PluginCall<'_>,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginRun<RenderedPrompt>> {
        self.run(call, requests, Sandbox::render)
    }

    fn parse(
        &self,
        call: &PluginCall<'_>,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginRun<Vec<TemplateItem>>> {
        self.run(call, completions, Sandbox::parse)
    }
}
