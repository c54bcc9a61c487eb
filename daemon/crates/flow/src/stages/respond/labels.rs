//! Which labels are asked for: those of a set take turns, so that no label has more of what is kept than another.

use std::collections::BTreeMap;

use autodidact_domain::plan::PromptStyle;
use autodidact_domain::{Constraint, Example, FinishReason, GenerateRequest, Sampling, TaskType};
use autodidact_text::normalize;

use super::{Asker, Place};
use crate::error::FlowError;
use crate::instruction::label_set;
use crate::prompts;
use crate::stages::generate::parse_items;

/// The most tokens of a list of labels.
const MAX_LIST_TOKENS: u32 = 64;

/// How often each label stands in what was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LabelShares(BTreeMap<String, u64>);

impl LabelShares {
    /// Counts the labels of classifications.
    pub(crate) fn of(examples: &[Example]) -> Self {
        let mut shares = Self::default();
        shares.add(examples);
        shares
    }

    pub(super) fn add(&mut self, examples: &[Example]) {
        let classifications = examples
            .iter()
            .filter(|example| example.task_type == Some(TaskType::Classification));
        for example in classifications {
            self.count(&example.body.output_text());
        }
    }

    fn count(&mut self, label: &str) {
        *self.0.entry(normalize(label)).or_default() += 1;
    }

    fn share(&self, label: &str) -> u64 {
        self.0.get(&normalize(label)).copied().unwrap_or(0)
    }

    /// Takes the next labels of a set, and counts them: the rarest first, each once before any comes again. Equally rare ones begin
    /// with another one at every place.
    pub(super) fn take_turns(&mut self, set: &[String], count: usize, place: usize) -> Vec<String> {
        let mut taken: Vec<String> = Vec::with_capacity(count);
        while taken.len() < count && !set.is_empty() {
            let mut order: Vec<usize> = (0..set.len()).map(|i| (i + place) % set.len()).collect();
            order.sort_by_key(|i| self.share(&set[*i]));
            let left = count - taken.len();
            for i in order.into_iter().take(left) {
                self.count(&set[i]);
                taken.push(set[i].clone());
            }
        }
        taken
    }
}

/// Finds the labels of each instruction: those that the workflow holds answers to, those that it names itself, or those that the
/// model lists; none where there are not two.
pub(super) fn sets(
    asker: &mut Asker<'_>,
    places: &[Place<'_>],
) -> Result<Vec<Vec<String>>, FlowError> {
    if let Some(Constraint::Choices(choices)) = asker.constraint()?
        && choices.len() > 1
    {
        return Ok(vec![choices; places.len()]);
    }
    let mut sets: Vec<Option<Vec<String>>> = places
        .iter()
        .map(|place| label_set(&place.candidate.instruction))
        .collect();
    let unknown: Vec<usize> = (0..sets.len()).filter(|i| sets[*i].is_none()).collect();
    let asked = unknown.iter().map(|i| list_request(places[*i])).collect();
    for (i, completion) in unknown.into_iter().zip(asker.generate(asked)?) {
        sets[i] = parse_label_list(&completion.text, completion.finish);
    }
    Ok(sets.into_iter().map(Option::unwrap_or_default).collect())
}

/// The likeliest list is taken: it is no place for chance.
fn list_request(place: Place<'_>) -> GenerateRequest {
    let candidate = place.candidate;
    GenerateRequest::new(
        prompts::label_list_request(candidate.language, &candidate.instruction),
        Sampling {
            max_tokens: MAX_LIST_TOKENS,
            stop: prompts::paragraph_stops(),
            ..Sampling::default()
        },
    )
}

/// The most labels that a list is read for; a longer one has run on.
const MOST_LABELS: usize = 12;
/// The longest label, in tokens.
const LONGEST_LABEL: usize = 8;

/// Reads a list of labels, each once; none where there are not two short ones.
fn parse_label_list(text: &str, finish: FinishReason) -> Option<Vec<String>> {
    let (mut labels, mut seen) = (Vec::new(), Vec::new());
    for item in parse_items(text, finish, PromptStyle::Continue) {
        let label = item.instruction.lines().next().unwrap_or_default();
        let label = label
            .trim()
            .trim_end_matches(['.', '。', ',', '，', ';', '；']);
        let normal = autodidact_text::normalize(label);
        if normal.is_empty() || autodidact_text::count_tokens(label) > LONGEST_LABEL {
            return None;
        }
        if !seen.contains(&normal) {
            seen.push(normal);
            labels.push(label.to_string());
        }
    }
    (2..=MOST_LABELS).contains(&labels.len()).then_some(labels)
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    fn set(labels: &[&str]) -> Vec<String> {
        labels.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn labels_take_turns_and_the_rarest_comes_first() {
        let two = set(&["positive", "negative"]);
        let mut shares = LabelShares::default();
        let taken: Vec<String> = (0..6)
            .flat_map(|place| shares.take_turns(&two, 1, place))
            .collect();
        assert_eq!(taken.iter().filter(|label| *label == "positive").count(), 3);
        assert_eq!(shares.take_turns(&two, 5, 0).len(), 5);
        let labelled = |output: &str, task_type| {
            let mut example = Example::human(Body::instruction("Is it?", "It is.", output));
            example.task_type = task_type;
            example
        };
        // What was kept of one label is made up for by the others; what is no classification does not count.
        let classification = Some(TaskType::Classification);
        let mut kept = vec![labelled("Positive.", classification); 3];
        kept.extend(vec![labelled("neutral", None); 9]);
        kept.push(labelled("negative", classification));
        let mut shares = LabelShares::of(&kept);
        let three = set(&["positive", "neutral", "negative"]);
        let taken: Vec<String> = (0..5)
            .flat_map(|place| shares.take_turns(&three, 1, place))
            .collect();
        assert_eq!(taken.iter().filter(|label| *label == "positive").count(), 0);
        assert_eq!(taken.iter().filter(|label| *label == "neutral").count(), 3);
        assert!(shares.take_turns(&[], 2, 0).is_empty());
        // Instances of one instruction have different labels as long as there are some.
        let mut shares = LabelShares::of(&kept);
        let mut all = shares.take_turns(&three, 3, 1);
        all.sort();
        assert_eq!(all, ["negative", "neutral", "positive"]);
    }

    #[test]
    fn label_lists_need_two_short_labels() {
        let check = |text: &str, expect: Option<&[&str]>| {
            let found = parse_label_list(text, FinishReason::Stop);
            let expect = expect.map(|labels| labels.iter().map(ToString::to_string).collect());
            assert_eq!(found, expect, "{text:?}");
        };
        check(" spam\n2. not spam\n", Some(&["spam", "not spam"]));
        check(" 好评\n2、差评。\n3. 好评", Some(&["好评", "差评"]));
        check(" yes", None);
        check(" yes\n2. Yes.", None);
        check(" <noinput>", None);
        check(" one two three four five six seven eight nine\n2. b", None);
    }
}
