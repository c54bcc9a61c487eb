//! The plugins that a workflow is bound to, and what is said where one fails.

use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::{ChainRule, OnPluginError, PluginSpec};
use autodidact_domain::{PluginKind, PluginSummary, RuleRef, WorkflowSpec};

use crate::error::FlowError;
use crate::spec::{Fault, nearest_name};

/// The reason of what a plugin failed on.
pub(crate) const PLUGIN_ERROR: &str = "plugin_error";

/// A plugin that a workflow names.
struct Named<'a> {
    path: String,
    name: &'a str,
    config: &'a serde_json::Value,
    /// The link of a chain that it is; none where it stands for a template.
    link: Option<&'a PluginSpec>,
}

impl Named<'_> {
    /// Says what is wrong with a plugin at this place, where something is.
    fn misplaced(&self, plugin: &PluginSummary) -> Option<String> {
        let name = &plugin.name;
        let Some(link) = self.link else {
            let is_template = plugin.kinds.contains(&PluginKind::Template);
            return (!is_template).then(|| format!("plugin {name} is no template"));
        };
        let stage = match self.path.starts_with("stages.validate") {
            true => "validate",
            false => "filter",
        };
        let has_bounds = link.least.or(link.most).or(link.best).is_some();
        match kind_in_chain(plugin, stage, link.kind) {
            Err(wrong) => Some(wrong),
            Ok(kind) if has_bounds && kind != PluginKind::Scorer => Some(format!(
                "least, most and best are for scorers, and plugin {name} is asked as a {kind}"
            )),
            Ok(_) => None,
        }
    }
}

/// Finds the plugins that a workflow names, each once, and every fault of them; `line_of` finds the line of a name.
pub(crate) fn pin(
    ports: &Ports,
    spec: &WorkflowSpec,
    line_of: impl Fn(&str) -> u32,
) -> (Vec<PluginSummary>, Vec<Fault>) {
    let mut plugins: Vec<PluginSummary> = Vec::new();
    let mut faults = Vec::new();
    for named in named(spec) {
        let name = named.name;
        let fault = |path: &str, message: String, expected: String| Fault {
            line: line_of(name),
            path: path.to_string(),
            message,
            expected,
            found: format!("{name:?}"),
            nearest: None,
        };
        let Ok(plugin) = ports.plugins.get(name) else {
            let known = ports.plugins.list().unwrap_or_default();
            let known: Vec<String> = known.into_iter().map(|p| p.name.to_string()).collect();
            let message =
                format!("there is no plugin {name:?}; `autodidact plugin install` installs one");
            faults.push(Fault {
                nearest: nearest_name(name, known.iter().map(String::as_str)),
                ..fault(
                    &format!("{}.name", named.path),
                    message,
                    format!("one of {}", known.join(", ")),
                )
            });
            continue;
        };
        if !plugin.enabled {
            let message = format!(
                "plugin {name:?} is disabled; `autodidact plugin enable {name}` enables it"
            );
            faults.push(fault(&named.path, message, "an enabled plugin".into()));
            continue;
        }
        if let Some(wrong) = named.misplaced(&plugin) {
            let kinds: Vec<&str> = plugin.kinds.iter().map(|kind| kind.name()).collect();
            let expected = format!("a place for a {}", kinds.join(" or a "));
            faults.push(fault(&named.path, wrong, expected));
        }
        if let Err(error) = ports.plugins.check_config(plugin.digest, named.config) {
            let message = format!("plugin {name:?} refuses its configuration: {error}");
            faults.push(Fault {
                found: named.config.to_string(),
                ..fault(
                    &format!("{}.config", named.path),
                    message,
                    plugin.config_schema.clone(),
                )
            });
        }
        if plugins.iter().all(|known| known.digest != plugin.digest) {
            plugins.push(plugin);
        }
    }
    (plugins, faults)
}

fn named(spec: &WorkflowSpec) -> impl Iterator<Item = Named<'_>> {
    let links = spec.chain_rules().filter_map(|(path, rule)| match rule {
        ChainRule::Plugin(link) => Some(Named {
            path: format!("{path}.plugin"),
            name: &link.name,
            config: &link.config,
            link: Some(link),
        }),
        _ => None,
    });
    let template = spec.stages.generate.as_ref();
    let template = template.and_then(|generate| generate.template_plugin.as_ref());
    links.chain(template.map(|plugin| Named {
        path: "stages.generate.template_plugin".to_string(),
        name: &plugin.name,
        config: &plugin.config,
        link: None,
    }))
}

/// Finds the pinned plugin of a name.
pub(crate) fn find(plugins: &[PluginSummary], name: &str) -> Result<PluginSummary, FlowError> {
    plugins
        .iter()
        .find(|plugin| plugin.name.as_str() == name)
        .cloned()
        .ok_or_else(|| {
            FlowError::Stopped(format!(
                "plugin {name:?} was not there when the workflow was submitted"
            ))
        })
}

/// Finds as what a link of a stage's chain asks a plugin: as what the workflow says, or else as the first of these that it is.
///
/// # Errors
/// What to mend, where it is none that the link may ask.
pub(crate) fn kind_in_chain(
    plugin: &PluginSummary,
    stage: &str,
    wanted: Option<PluginKind>,
) -> Result<PluginKind, String> {
    let order = match stage {
        "validate" => [
            PluginKind::Validator,
            PluginKind::Filter,
            PluginKind::Scorer,
        ],
        _ => [
            PluginKind::Filter,
            PluginKind::Scorer,
            PluginKind::Validator,
        ],
    };
    let found = match wanted {
        Some(wanted) => plugin.kinds.contains(&wanted).then_some(wanted),
        None => order.into_iter().find(|kind| plugin.kinds.contains(kind)),
    };
    let kinds: Vec<&str> = plugin.kinds.iter().map(|kind| kind.name()).collect();
    found.ok_or_else(|| {
        format!(
            "plugin {} is a {}, and here a {} is wanted",
            plugin.name,
            kinds.join(" and a "),
            wanted.map_or("filter, validator or scorer", PluginKind::name)
        )
    })
}

/// Names a plugin in verdicts.
pub(crate) fn rule(plugin: &PluginSummary) -> RuleRef {
    RuleRef {
        name: plugin.name.to_string(),
        version: plugin.version.clone(),
        digest: Some(plugin.digest),
    }
}

/// Ends the workflow where it is to stop when a plugin fails.
pub(crate) fn stop_if_told(
    plugin: &PluginSummary,
    on_error: OnPluginError,
    error: &str,
) -> Result<(), FlowError> {
    match on_error {
        OnPluginError::Stop => Err(FlowError::Stopped(format!(
            "plugin {} {} failed: {error}",
            plugin.name, plugin.version
        ))),
        OnPluginError::Drop | OnPluginError::Keep => Ok(()),
    }
}

/// Refuses answers that are not as many as what was asked.
pub(crate) fn same_count(
    plugin: &PluginSummary,
    answers: usize,
    asked: usize,
) -> Result<(), FlowError> {
    match answers == asked {
        true => Ok(()),
        false => Err(FlowError::Stopped(format!(
            "plugin {} gave {answers} answers to {asked} questions",
            plugin.name
        ))),
    }
}
