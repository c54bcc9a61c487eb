//! Finds the plugins that a workflow names, and everything that is wrong with how it does.

use autodidact_domain::capability::{check_asked, listed};
use autodidact_domain::figures::WorkflowWarning;
use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::{ChainRule, PluginSpec, PluginTerms};
use autodidact_domain::{Capability, Granted, PluginKind, PluginSummary, WorkflowSpec};
use serde_json::Value;

use crate::error::FlowError;
use crate::spec::{Fault, nearest_name};

/// A plugin that a workflow names.
struct Named<'a> {
    path: String,
    name: &'a str,
    config: &'a Value,
    terms: &'a PluginTerms,
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

/// Finds the plugins that a workflow names, each once, and every fault of them
pub(crate) fn pin(ports: &Ports, spec: &WorkflowSpec) -> (Vec<PluginSummary>, Vec<Fault>) {
    let mut plugins: Vec<PluginSummary> = Vec::new();
    let mut faults = Vec::new();
    for named in named(spec) {
        let name = named.name;
        let fault = |path: &str, message: String, expected: String| Fault {
            path: path.to_string(),
            message,
            expected,
            found: format!("{name:?}"),
            ..Fault::default()
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
        if let Some(reason) = &plugin.quarantine {
            let message = format!(
                "plugin {name:?} is in quarantine: {reason}; install a mended version, or `autodidact plugin enable {name}` lets it go on"
            );
            faults.push(fault(&named.path, message, "a plugin that works".into()));
            continue;
        }
        if let Some(wrong) = named.misplaced(&plugin) {
            let kinds: Vec<&str> = plugin.kinds.iter().map(|kind| kind.name()).collect();
            let expected = format!("a place for a {}", kinds.join(" or a "));
            faults.push(fault(&named.path, wrong, expected));
        }
        if let Some((field, wrong, expected)) = wrong_grant(&plugin, named.terms) {
            faults.push(fault(&format!("{}.{field}", named.path), wrong, expected));
        }
        if let Err(error) = ports.plugins.check_config(plugin.digest, named.config) {
            let message = format!("plugin {name:?} refuses its configuration: {error}");
            let schema = serde_json::from_str(&plugin.config_schema).unwrap_or_default();
            faults.push(Fault {
                found: named.config.to_string(),
                nearest: misspelt(&schema, named.config),
                ..fault(
                    &format!("{}.config", named.path),
                    message,
                    expected_config(name, &schema),
                )
            });
        }
        if plugins.iter().all(|known| known.digest != plugin.digest) {
            plugins.push(plugin);
        }
    }
    (plugins, faults)
}

/// Says what a configuration may have, as its schema tells.
fn expected_config(name: &str, schema: &Value) -> String {
    let fields = schema["properties"].as_object();
    let fields: Vec<&str> = fields
        .into_iter()
        .flat_map(|f| f.keys())
        .map(String::as_str)
        .collect();
    let whole = format!("`autodidact plugin show {name}` shows its schema");
    match fields.as_slice() {
        [] => format!("a mapping that fits it: {whole}"),
        fields => format!("a mapping of {}: {whole}", fields.join(", ")),
    }
}

/// Finds the right name of the first field that a schema does not know, where one is near enough to be meant.
fn misspelt(schema: &Value, config: &Value) -> Option<String> {
    let known = schema["properties"].as_object()?;
    config
        .as_object()?
        .iter()
        .find_map(|(name, value)| match known.get(name) {
            Some(schema) => misspelt(schema, value),
            None => nearest_name(name, known.keys().map(String::as_str)),
        })
}

/// Warns of validators in the filter's chain, where records have no answers yet.
pub(crate) fn without_answers(
    spec: &WorkflowSpec,
    plugins: &[PluginSummary],
) -> Vec<WorkflowWarning> {
    let language = spec.languages[0];
    let warn = |named: Named<'_>| {
        let link = named
            .link
            .filter(|_| named.path.starts_with("stages.filter"))?;
        let plugin = find(plugins, named.name).ok()?;
        let kind = kind_in_chain(&plugin, "filter", link.kind).ok()?;
        (kind == PluginKind::Validator).then(|| WorkflowWarning {
            code: "validator_before_answers".to_string(),
            message: language.pick(
                format!(
                    "{}: plugin {} is a validator, and the filter's records have no answers yet: it sees empty ones, and may drop them all. Put it into stages.validate.chain, unless it judges instructions alone",
                    named.path, named.name
                ),
                format!(
                    "{}：插件 {} 是校验器，而 filter 阶段的记录还没有回答：它看到的回答是空的，可能全部丢弃。请把它放到 stages.validate.chain，除非它只看指令",
                    named.path, named.name
                ),
            ),
        })
    };
    named(spec).filter_map(warn).collect()
}

fn named(spec: &WorkflowSpec) -> impl Iterator<Item = Named<'_>> {
    let links = spec.chain_rules().filter_map(|(path, rule)| match rule {
        ChainRule::Plugin(link) => Some(Named {
            path: format!("{path}.plugin"),
            name: &link.name,
            config: &link.config,
            terms: &link.terms,
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
        terms: &plugin.terms,
        link: None,
    }))
}

/// Settles what a plugin may use at a place of a workflow.
pub(super) fn granted(plugin: &PluginSummary, terms: &PluginTerms) -> Granted {
    let for_all = &plugin.granted;
    let capabilities = match terms.grant.is_empty() {
        true => &for_all.capabilities,
        false => &terms.grant,
    };
    let mut granted = Granted {
        capabilities: capabilities.clone(),
        max_tokens: terms.max_tokens.or(for_all.max_tokens),
        files: for_all.files.clone(),
    };
    granted.capabilities.sort();
    granted.capabilities.dedup();
    if !granted.has(Capability::Data) {
        granted.files.clear();
    }
    if !granted.has_model() {
        granted.max_tokens = None;
    }
    granted
}

/// Finds what is wrong with what a plugin may use: the field, why, and what to write.
pub(super) fn wrong_grant(
    plugin: &PluginSummary,
    terms: &PluginTerms,
) -> Option<(&'static str, String, String)> {
    let (name, asked) = (&plugin.name, &plugin.capabilities);
    let granted = granted(plugin, terms);
    if let Err(wrong) = check_asked(name, asked, &granted.capabilities) {
        return Some(("grant", wrong.to_string(), String::new()));
    }
    if granted.has(Capability::Data) && granted.files.is_empty() {
        return Some((
            "grant",
            format!("plugin {name} would have no file to read"),
            format!("files, by `autodidact plugin grant {name} data --file NAME=PATH`"),
        ));
    }
    // A log is never missed; what it asks for besides it does not do without, unless somebody says that it shall.
    let missing = asked
        .iter()
        .filter(|c| !granted.has(**c) && **c != Capability::Log);
    let missing: Vec<Capability> = missing.copied().collect();
    if !terms.allow_missing && !missing.is_empty() {
        let missing = listed(&missing);
        return Some((
            "grant",
            format!("plugin {name} asks for {missing}, which nobody granted"),
            format!(
                "grant: [{missing}] here, or `autodidact plugin grant {name} {}` for all workflows, or allow_missing: true to run it without",
                missing.replace(',', "")
            ),
        ));
    }
    None
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_field_is_told_at_any_depth() {
        let range = json!({"type": "object", "properties": {"least": {}, "most": {}}});
        let schema = json!({"properties": {"instruction": range, "output": range}});
        for (config, expected) in [
            (json!({"instruktion": {}}), Some("instruction")),
            (json!({"output": {"leest": 1}}), Some("least")),
            (json!({"output": {"most": 1}}), None),
            (json!({"zebra": 1}), None),
        ] {
            assert_eq!(misspelt(&schema, &config).as_deref(), expected, "{config}");
        }
        assert_eq!(
            expected_config("length", &schema),
            "a mapping of instruction, output: `autodidact plugin show length` shows its schema"
        );
    }
}
