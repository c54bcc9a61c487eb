//! `autodidact dataset filter`: the records of a dataset that pass a chain of rules, as another dataset.

use autodidact_client::{Client, v1};
use clap::Args;

use crate::cli::workflow::{submit_text, watch};
use crate::cli::{Failure, Global};
use crate::quickstart::follow::Since;

/// The rules without `--rule`.
const DEFAULT_RULES: [&str; 3] = ["exact", "rouge_l", "rules"];

#[derive(Args)]
#[command(after_help = "\
It submits a workflow that has the filter stage alone, so every decision can be looked at: `autodidact workflow verdicts OUT`,
`autodidact workflow report OUT`. The records that pass are the dataset OUT.

Rules are those of a workflow's filter chain, in their order, each a name or a name with its options:
  exact, rouge_l, rules, embedding, perplexity, score, diversity, plugin
Without --rule they are exact, rouge_l, rules.

Examples:
  autodidact dataset filter my-data my-data-clean
  autodidact dataset filter my-data strict --rule exact --rule 'rouge_l: {threshold: 0.5}' --rule 'rules: {min_tokens_en: 6}'
  autodidact dataset filter my-data good --rule rules --rule 'score: {least: 4, model: judge}'")]
pub(in crate::cli) struct FilterArgs {
    /// The dataset
    dataset: String,
    /// The dataset that what passes becomes, and the workflow that decides
    out: String,
    /// A rule of the chain; may be given several times
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// The languages that records may be in
    #[arg(long, value_delimiter = ',', default_value = "en,zh")]
    languages: Vec<String>,
    /// The model of rules that ask one and name none [default: the first registered on this machine]
    #[arg(long)]
    model: Option<String>,
}

/// Submits the workflow, and follows it to its end.
pub(super) async fn run(client: &Client, args: FilterArgs, global: &Global) -> Result<(), Failure> {
    let model = match &args.model {
        Some(model) => model.clone(),
        None => first_model(client).await?,
    };
    let text = workflow_text(&args, &model);
    let workflow = submit_text(client, text, "the command line", global).await?;
    watch(client, &workflow.name, Since::Beginning, global).await
}

async fn first_model(client: &Client) -> Result<String, Failure> {
    let models = client
        .models()
        .list(v1::ListModelsRequest::default())
        .await?;
    let models = models.into_inner().models;
    let local = models
        .into_iter()
        .find(|model| !model.source.starts_with("remote:"));
    local.map(|model| model.name).ok_or_else(|| {
        Failure::refused(
            "MODEL_NOT_FOUND",
            "no model is registered, and every workflow names one; `autodidact model add` registers one, or --model names one",
        )
    })
}

/// Writes the workflow. JSON is YAML, so texts are written as JSON has them.
fn workflow_text(args: &FilterArgs, model: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let languages: Vec<String> = args
        .languages
        .iter()
        .map(|code| quoted(code.trim()))
        .collect();
    let mut text = format!(
        "name: {}\nlanguages: [{}]\nmodel: {}\nseeds: {}\nstages:\n  filter:\n    chain:\n",
        quoted(&args.out),
        languages.join(", "),
        quoted(model),
        quoted(&args.dataset)
    );
    let rules = args.rules.iter().map(String::as_str);
    let rules: Vec<&str> = match args.rules.is_empty() {
        true => DEFAULT_RULES.to_vec(),
        false => rules.collect(),
    };
    for rule in rules {
        // A rule on one line cannot end the list that it stands in.
        let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
        text += &format!("      - {rule}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use autodidact_domain::workflow::ChainRule;
    use autodidact_flow::spec::parse_workflow;

    use super::*;

    fn args(rules: &[&str]) -> FilterArgs {
        FilterArgs {
            dataset: "data".into(),
            out: "clean".into(),
            rules: rules.iter().map(|rule| rule.to_string()).collect(),
            languages: vec!["en".into(), " zh".into()],
            model: None,
        }
    }

    #[test]
    fn the_workflow_filters_and_does_nothing_else() {
        let spec = parse_workflow(&workflow_text(&args(&[]), "tiny")).unwrap();
        assert_eq!((spec.name.as_str(), spec.languages.len()), ("clean", 2));
        assert!(spec.stages.generate.is_none() && spec.stages.train.is_none());
        assert_eq!(spec.stages.filter.unwrap().chain.len(), 3);
        let given = args(&["exact", "rouge_l:\n  {threshold: 0.5}"]);
        let spec = parse_workflow(&workflow_text(&given, "tiny")).unwrap();
        let chain = spec.stages.filter.unwrap().chain;
        assert_eq!(chain[1], ChainRule::RougeL { threshold: 0.5 });
        assert!(parse_workflow(&workflow_text(&args(&["exakt"]), "tiny")).is_err());
    }
}
