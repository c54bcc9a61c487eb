//! Reads the chains of filter and validate: one function a rule, each with its defaults.

use autodidact_domain::workflow::{
    ChainRule, Check, ChecksSpec, ConsistencySpec, DifficultySpec, DiversityMethod, DiversitySpec,
    EmbeddingSpec, MARKS, PerplexitySpec, RulesSpec, ScoreSpec, TextRule,
};

use super::plugin;
use super::reader::{Fields, Node};

/// Which stage a chain stands in; duplicates are a matter of instructions alone.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Filter,
    Validate,
}

impl Place {
    fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Filter => &[
                "exact",
                "rouge_l",
                "rules",
                "embedding",
                "perplexity",
                "score",
                "diversity",
                "plugin",
            ],
            Self::Validate => &[
                "rules",
                "checks",
                "difficulty",
                "consistency",
                "score",
                "plugin",
            ],
        }
    }
}

pub(super) fn read_chain(node: Node<'_>, path: &str, place: Place) -> Vec<ChainRule> {
    let mut fields = node.mapping(path);
    let chain_path = fields.path("chain");
    let known = format!(
        "a list of rules, run in the order given: {}",
        place.rules().join(", ")
    );
    fields.ask("chain", &known, None);
    let items = fields
        .take("chain")
        .map(|chain| chain.items(&chain_path))
        .unwrap_or_default();
    fields.finish();
    items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| {
            let path = format!("{chain_path}[{i}]");
            let link = read_link(*item, &path, place);
            if link.is_none() {
                item.note_unread(path);
            }
            link
        })
        .collect()
}

/// Reads a link: a bare word (`exact`) or a mapping of one word to its options (`rouge_l: {threshold: 0.7}`).
fn read_link(node: Node<'_>, path: &str, place: Place) -> Option<ChainRule> {
    let known = place.rules();
    let (word, options) = node.link(path)?;
    if !known.contains(&word.as_str()) {
        node.fault_name(path, "rule", &word, known);
        return None;
    }
    let path = format!("{path}.{word}");
    let rule = match word.as_str() {
        "exact" => {
            if let Some(options) = options {
                options.mapping(&path).finish();
            }
            ChainRule::Exact
        }
        "rouge_l" => {
            let Some(node) = options else {
                return Some(ChainRule::RougeL { threshold: 0.7 });
            };
            let mut fields = node.mapping(&path);
            let threshold = fields.number("threshold", 0.0..=1.0, 0.7);
            fields.finish();
            ChainRule::RougeL { threshold }
        }
        "rules" => ChainRule::Rules(
            options
                .map(|node| read_rules(node, &path, place))
                .unwrap_or_default(),
        ),
        "score" => ChainRule::Score(read_score(options, &path)),
        "checks" => ChainRule::Checks(
            options
                .map(|node| read_checks(node, &path))
                .unwrap_or_default(),
        ),
        "consistency" => ChainRule::Consistency(
            options
                .map(|node| read_consistency(node, &path))
                .unwrap_or_default(),
        ),
        "embedding" => ChainRule::Embedding(
            options
                .map(|node| read_embedding(node, &path))
                .unwrap_or_default(),
        ),
        "perplexity" => ChainRule::Perplexity(
            options
                .map(|node| read_perplexity(node, &path))
                .unwrap_or_default(),
        ),
        "difficulty" => ChainRule::Difficulty(
            options
                .map(|node| read_difficulty(node, &path))
                .unwrap_or_default(),
        ),
        "diversity" => ChainRule::Diversity(
            options
                .map(|node| read_diversity(node, &path))
                .unwrap_or_default(),
        ),
        _ => return plugin::read_link(node, options, &path).map(ChainRule::Plugin),
    };
    Some(rule)
}

fn read_rules(node: Node<'_>, path: &str, place: Place) -> RulesSpec {
    let mut fields = node.mapping(path);
    let default = RulesSpec::default();
    let spec = RulesSpec {
        min_tokens_en: fields.small("min_tokens_en", 0..=10_000, default.min_tokens_en),
        max_tokens_en: fields.small("max_tokens_en", 1..=10_000, default.max_tokens_en),
        min_tokens_zh: fields.small("min_tokens_zh", 0..=10_000, default.min_tokens_zh),
        max_tokens_zh: fields.small("max_tokens_zh", 1..=10_000, default.max_tokens_zh),
        blocked_words: fields.texts("blocked_words").unwrap_or_default(),
        sensitive_words: read_words(&mut fields, "sensitive_words"),
        except: read_except(&mut fields, place),
    };
    fields.finish();
    spec
}

/// Reads words that have something to look for.
fn read_words(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let path = fields.path(name);
    fields.ask(name, "a list of words", None);
    let items = fields.take(name).map(|node| node.items(&path));
    let mut words = Vec::new();
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(word) = item.text(&path) else {
            continue;
        };
        if word.chars().any(char::is_alphanumeric) {
            words.push(word);
        } else {
            item.fault(
                &path,
                "nothing to look for",
                "a word with a letter or digit",
            );
        }
    }
    words
}

/// Reads which of a place's rules are not applied.
fn read_except(fields: &mut Fields<'_>, place: Place) -> Vec<TextRule> {
    let rules: &[TextRule] = match place {
        Place::Filter => &TextRule::OF_INSTRUCTIONS,
        Place::Validate => &TextRule::OF_INSTANCES,
    };
    read_codes(fields, rules, TextRule::code)
}

/// Reads which of some rules are not applied, by their codes.
fn read_codes<T: Copy>(
    fields: &mut Fields<'_>,
    rules: &[T],
    code_of: impl Fn(T) -> &'static str,
) -> Vec<T> {
    let known: Vec<&str> = rules.iter().map(|rule| code_of(*rule)).collect();
    let path = fields.path("except");
    let expected = format!(
        "a list of the rules that are not applied, of {}",
        known.join(", ")
    );
    fields.ask("except", &expected, None);
    let items = fields.take("except").map(|node| node.items(&path));
    let mut except = Vec::new();
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(code) = item.text(&path) else {
            continue;
        };
        match rules.iter().find(|rule| code_of(**rule) == code) {
            Some(rule) => except.push(*rule),
            None => item.fault_name(&path, "rule", &code, &known),
        }
    }
    except
}

fn read_checks(node: Node<'_>, path: &str) -> ChecksSpec {
    let mut fields = node.mapping(path);
    let spec = ChecksSpec {
        correct: fields.flag("correct", ChecksSpec::default().correct),
        except: read_codes(&mut fields, &Check::ALL, Check::code),
    };
    fields.finish();
    spec
}

fn read_consistency(node: Node<'_>, path: &str) -> ConsistencySpec {
    let mut fields = node.mapping(path);
    let default = ConsistencySpec::default();
    let spec = ConsistencySpec {
        samples: fields.small("samples", 1..=64, default.samples),
        temperature: fields.number("temperature", 0.0..=5.0, default.temperature.into()) as f32,
        least: fields.number("least", 0.0..=1.0, default.least),
        agreement_rouge_l: fields.number("agreement_rouge_l", 0.0..=1.0, default.agreement_rouge_l),
        correct: fields.flag("correct", default.correct),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_score(options: Option<Node<'_>>, path: &str) -> ScoreSpec {
    let default = ScoreSpec {
        least: 3,
        model: None,
    };
    let Some(options) = options else {
        return default;
    };
    let mut fields = options.mapping(path);
    let spec = ScoreSpec {
        least: fields.small("least", MARKS, default.least),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_embedding(node: Node<'_>, path: &str) -> EmbeddingSpec {
    let mut fields = node.mapping(path);
    let spec = EmbeddingSpec {
        threshold: fields.optional_number("threshold", 0.0..=1.0),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_perplexity(node: Node<'_>, path: &str) -> PerplexitySpec {
    let mut fields = node.mapping(path);
    let spec = PerplexitySpec {
        most: fields.optional_number("most", 1.0..=1e9),
        model: fields.parsed("model"),
    };
    fields.finish();
    spec
}

fn read_difficulty(node: Node<'_>, path: &str) -> DifficultySpec {
    let mut fields = node.mapping(path);
    let spec = DifficultySpec {
        least: fields.number("least", 0.0..=10.0, 0.0),
        most: fields.optional_number("most", 0.0..=10.0),
        model: fields.parsed("model"),
    };
    fields.finish();
    if spec.most.is_some_and(|most| spec.least > most) {
        node.fault(
            path,
            "least is above most",
            "bounds that some answer can keep",
        );
    }
    spec
}

fn read_diversity(node: Node<'_>, path: &str) -> DiversitySpec {
    let mut fields = node.mapping(path);
    let default = DiversitySpec::default();
    let method = fields.choice(
        "method",
        &["facility_location", "k_center"],
        "facility_location",
    );
    let spec = DiversitySpec {
        method: match method.as_str() {
            "k_center" => DiversityMethod::KCenter,
            _ => DiversityMethod::FacilityLocation,
        },
        share: fields.number("share", 0.01..=1.0, default.share),
        max_task_type_share: fields.number(
            "max_task_type_share",
            0.05..=1.0,
            default.max_task_type_share,
        ),
        max_topic_share: fields.number("max_topic_share", 0.05..=1.0, default.max_topic_share),
    };
    fields.finish();
    spec
}
