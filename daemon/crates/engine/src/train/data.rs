//! Examples as tokens, and the batches that each step of a run sees.

use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::random::Random;
use autodidact_domain::{Body, Digest, TrainOptions};

use crate::EngineError;
use crate::methods::{Plan, VirtualTokens};
use crate::ops::cross_entropy::Targets;
use crate::ops::sequences::Sequences;
use crate::tokenizer::Span;

/// What is learnt of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// For each token, whether it is part of a response (its end-of-turn token included), and so is predicted.
    Responses(Vec<bool>),
    /// The number of the label that the state of the last token has.
    Text(u32),
    /// For each token, the number of the label that its state has.
    Tokens(Vec<Option<u32>>),
}

/// An example as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedExample {
    /// The tokens.
    pub ids: Vec<u32>,
    /// What is learnt of them.
    pub labels: Labels,
}

impl EncodedExample {
    /// Makes one whose responses are told by token.
    pub fn of_responses(ids: Vec<u32>, is_response: Vec<bool>) -> Self {
        let labels = Labels::Responses(is_response);
        Self { ids, labels }
    }

    /// Joins the spans of a conversation.
    pub(crate) fn of_spans(spans: Vec<Span>) -> Self {
        let (mut ids, mut is_response) = (Vec::new(), Vec::new());
        for span in spans {
            is_response.resize(is_response.len() + span.ids.len(), span.is_response);
            ids.extend(span.ids);
        }
        Self::of_responses(ids, is_response)
    }

    /// Cuts it after `max_length` tokens; counts the tokens that are gone. A text's label is that of what is left.
    pub(crate) fn cut(&mut self, max_length: usize) -> usize {
        let cut = self.ids.len().saturating_sub(max_length);
        self.ids.truncate(max_length);
        match &mut self.labels {
            Labels::Responses(flags) => flags.truncate(max_length),
            Labels::Text(_) => {}
            Labels::Tokens(classes) => classes.truncate(max_length),
        }
        cut
    }

    /// Counts the tokens that are computed: those before the last that is predicted, or up to the last that has a label.
    pub(crate) fn computed_tokens(&self) -> usize {
        match &self.labels {
            Labels::Responses(flags) => {
                let last = flags.iter().rposition(|is_response| *is_response);
                last.unwrap_or(0).max(1)
            }
            Labels::Text(_) => self.ids.len(),
            Labels::Tokens(classes) => {
                let last = classes.iter().rposition(Option::is_some);
                last.map_or(1, |last| last + 1)
            }
        }
    }

    /// Tells by position which tokens carry loss. The first token follows nothing, so nothing predicts it.
    pub(crate) fn carries_loss(&self) -> Vec<bool> {
        let positions = 0..self.ids.len();
        let carries = |position: usize| match &self.labels {
            Labels::Responses(flags) => flags[position] && position > 0,
            Labels::Text(_) => position + 1 == self.ids.len(),
            Labels::Tokens(classes) => classes[position].is_some(),
        };
        positions.map(carries).collect()
    }

    /// Lists what is to be given by which of the computed tokens: the next token, or a label.
    fn targets(&self, is_first_predicted: bool) -> Vec<(isize, u32)> {
        match &self.labels {
            Labels::Responses(flags) => {
                let predicted = (0..self.ids.len()).skip(usize::from(!is_first_predicted));
                let predicted = predicted.filter(|position| flags[*position]);
                predicted
                    .map(|position| (position as isize - 1, self.ids[position]))
                    .collect()
            }
            Labels::Text(class) => vec![(self.ids.len() as isize - 1, *class)],
            Labels::Tokens(classes) => {
                let classes = (0..).zip(classes);
                classes
                    .filter_map(|(position, class)| Some((position, (*class)?)))
                    .collect()
            }
        }
    }
}

/// The examples of a run, in dataset order, and what was left out of them.
pub(crate) struct TrainingData {
    examples: Vec<EncodedExample>,
    /// Where they stand among what was given.
    positions: Vec<u32>,
    /// Examples that were cut at the greatest length.
    pub(crate) truncated: u32,
    /// Where those stand that nothing would be learnt of.
    pub(crate) refused: Vec<u32>,
    /// Of every token and its part in the loss.
    pub(crate) digest: Digest,
}

impl TrainingData {
    /// Encodes examples, cuts each at `max_length` tokens and leaves out those that have nothing to learn then.
    ///
    /// # Errors
    /// What `encode` gives; [`EngineError::Invalid`] when no example is left.
    pub(crate) fn encode(
        bodies: &[Body],
        encode: &dyn Fn(&Body) -> Result<EncodedExample, EngineError>,
        max_length: usize,
    ) -> Result<Self, EngineError> {
        let mut data = Self {
            examples: Vec::with_capacity(bodies.len()),
            positions: Vec::with_capacity(bodies.len()),
            truncated: 0,
            refused: Vec::new(),
            digest: Digest::of(&[]),
        };
        let mut first_labels = Vec::with_capacity(bodies.len());
        for (position, body) in (0..).zip(bodies) {
            let example = encode(body);
            let mut example = example.map_err(|error| error.of("example", position as usize))?;
            let carries_loss = example.carries_loss();
            first_labels.push(carries_loss.iter().position(|carries| *carries));
            if example.cut(max_length) > 0 {
                data.truncated += 1;
            }
            match example.carries_loss().contains(&true) {
                true => {
                    data.examples.push(example);
                    data.positions.push(position);
                }
                false => data.refused.push(position),
            }
        }
        if data.examples.is_empty() {
            return Err(nothing_left(&first_labels, max_length));
        }
        data.digest = digest_examples(&data.examples);
        Ok(data)
    }

    /// Counts the examples that are left.
    pub(crate) fn len(&self) -> usize {
        self.examples.len()
    }

    /// Counts the tokens of each that are computed.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        let examples = self.examples.iter();
        examples.map(EncodedExample::computed_tokens).collect()
    }

    /// Tells where an example stands among what was given.
    pub(crate) fn position(&self, index: usize) -> u32 {
        self.positions[index]
    }

    /// Picks examples into a batch.
    pub(crate) fn batch(&self, indices: &[usize], before: Before) -> PackedBatch {
        let examples = indices.iter().map(|index| &self.examples[*index]);
        PackedBatch::new(examples, before)
    }
}

/// Says why every example was refused: by the place of its first token that would carry loss, where it has one.
fn nothing_left(first_labels: &[Option<usize>], max_length: usize) -> EngineError {
    if first_labels.is_empty() {
        return EngineError::Invalid("no example is left: 0 were given".into());
    }
    let beyond: Vec<usize> = first_labels.iter().flatten().copied().collect();
    let unanswered = first_labels.len() - beyond.len();
    let mut reasons = Vec::new();
    if unanswered > 0 {
        reasons.push(format!("{unanswered} have no answer"));
    }
    if let Some(nearest) = beyond.iter().min() {
        reasons.push(format!(
            "{} begin to answer beyond max_length = {max_length} tokens, the nearest with token {}: raise max_length, or shorten what comes before",
            beyond.len(),
            nearest + 1
        ));
    }
    EngineError::Invalid(format!(
        "no example to train on: all {} were refused (no_label_token); {}",
        first_labels.len(),
        reasons.join(", ")
    ))
}

/// The examples of a run that is at work, encoded: its next stretch finds them here, and needs no second look at a large
/// dataset between two steps.
#[derive(Default)]
pub(crate) struct DataCache(Mutex<Vec<(Digest, Arc<TrainingData>)>>);

impl DataCache {
    /// What is trained on, and what is evaluated on.
    const KEPT: usize = 2;

    /// Finds examples encoded by the same options, or does it now; see [`TrainingData::encode`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn encode(
        &self,
        bodies: &[Body],
        options: &TrainOptions,
        encode: &dyn Fn(&Body) -> Result<EncodedExample, EngineError>,
        max_length: usize,
    ) -> Result<Arc<TrainingData>, EngineError> {
        let key = digest_bodies(bodies, options, max_length);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, data)) = kept.iter().find(|(of, _)| *of == key) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(TrainingData::encode(bodies, encode, max_length)?);
        if kept.len() >= Self::KEPT {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&data)));
        Ok(data)
    }

    /// Lets go of what a run that has ended needs no more.
    pub(crate) fn clear(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clear();
    }
}

fn digest_examples(examples: &[EncodedExample]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for example in examples {
        hasher.update(&(example.ids.len() as u64).to_le_bytes());
        match &example.labels {
            Labels::Responses(flags) => {
                for (id, is_response) in example.ids.iter().zip(flags) {
                    hasher.update(&id.to_le_bytes());
                    hasher.update(&[u8::from(*is_response)]);
                }
            }
            Labels::Text(_) | Labels::Tokens(_) => {
                for id in &example.ids {
                    hasher.update(&id.to_le_bytes());
                }
                for (place, class) in example.targets(false) {
                    hasher.update(&(place as u64).to_le_bytes());
                    hasher.update(&class.to_le_bytes());
                }
            }
        }
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

fn digest_bodies(bodies: &[Body], options: &TrainOptions, max_length: usize) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{options:?} {max_length} ").as_bytes());
    for body in bodies {
        let json = body.canonical_json();
        hasher.update(&(json.len() as u64).to_le_bytes());
        hasher.update(json.as_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Which examples each step sees.
pub(crate) struct Order {
    seed: u64,
    examples: usize,
    batch_size: usize,
    /// Of every example, where those of like lengths come together.
    lengths: Option<Vec<usize>>,
}

impl Order {
    /// The most batches among whose examples lengths are grouped, and the least groups that an epoch has (transformers,
    /// `get_length_grouped_indices`).
    const GROUPED_BATCHES: usize = 50;
    const LEAST_GROUPS: usize = 4;

    /// Orders a number of examples in batches; the last batch of an epoch may be smaller.
    pub(crate) fn new(seed: u64, examples: usize, batch_size: usize) -> Self {
        Self {
            seed,
            examples,
            batch_size,
            lengths: None,
        }
    }

    /// Orders examples by a run's options.
    pub(crate) fn of(options: &TrainOptions, seed: u64, lengths: &[usize]) -> Self {
        let accumulated = options.gradient_accumulation_steps as usize;
        let batch_size = (options.batch_size as usize).saturating_mul(accumulated);
        Self {
            lengths: options.group_by_length.then(|| lengths.to_vec()),
            ..Self::new(seed, lengths.len(), batch_size.max(1))
        }
    }

    /// Counts the steps of an epoch.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.examples.div_ceil(self.batch_size)
    }

    /// Lists the examples of an epoch (from 0) as they come. Every epoch has an order of its own, drawn from the seed.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.examples).collect();
        let epoch = epoch.to_string();
        Random::at(self.seed, &["order", &epoch]).shuffle(&mut order);
        let Some(lengths) = &self.lengths else {
            return order;
        };
        // Within groups of some batches the longest come first; then the batches of all groups are shuffled, so that no run ends
        // on short ones alone.
        let most = self.examples / (self.batch_size * Self::LEAST_GROUPS);
        let group = most.clamp(1, Self::GROUPED_BATCHES) * self.batch_size;
        for group in order.chunks_mut(group) {
            group.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
        }
        let whole = self.examples / self.batch_size * self.batch_size;
        let (batches, rest) = order.split_at(whole);
        let mut batches: Vec<&[usize]> = batches.chunks(self.batch_size).collect();
        Random::at(self.seed, &["batches", &epoch]).shuffle(&mut batches);
        // The last one, where it is smaller, stays the last.
        batches.push(rest);
        batches.concat()
    }

    /// Lists the examples of a step (from 0) of the run.
    pub(crate) fn batch(&self, step: usize) -> Vec<usize> {
        let (epoch, batch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        self.epoch(epoch)
            .chunks(self.batch_size)
            .nth(batch)
            .unwrap_or_default()
            .to_vec()
    }
}

/// What stands before every sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// How many rows, whose tokens count from the end of the vocabulary on.
    pub(crate) tokens: usize,
    pub(crate) vocab_size: usize,
    /// Whether the last of them predicts the first token, as in prompt tuning.
    pub(crate) predicts: bool,
}

impl Before {
    /// Tells what a plan puts there.
    pub(crate) fn of(plan: &Plan, vocab_size: usize) -> Self {
        let tokens = plan.outside().virtual_tokens();
        Self {
            tokens: plan.virtual_tokens(),
            vocab_size,
            predicts: matches!(tokens, Some(VirtualTokens::Prompt { .. })),
        }
    }
}

/// The sequences of a batch, one after another.
pub(crate) struct PackedBatch {
    /// The tokens that are computed; virtual ones count from the end of the vocabulary on.
    pub(crate) ids: Vec<u32>,
    /// Where the sequences lie.
    pub(crate) sequences: Sequences,
    /// What carries loss.
    pub(crate) targets: Targets,
}

impl PackedBatch {
    /// Lays out sequences. What follows the last token that something is learnt by is left out, since nothing depends on it.
    pub(crate) fn new<'a>(
        examples: impl IntoIterator<Item = &'a EncodedExample>,
        before: Before,
    ) -> Self {
        let (mut ids, mut lengths, mut targets) = (Vec::new(), Vec::new(), Targets::default());
        let virtual_ids = (before.vocab_size..).map(|id| id as u32);
        for example in examples {
            let start = (ids.len() + before.tokens) as isize;
            for (place, target) in example.targets(before.predicts) {
                targets.rows.push((start + place) as u32);
                targets.tokens.push(target);
            }
            let length = example.computed_tokens();
            ids.extend(virtual_ids.clone().take(before.tokens));
            ids.extend(&example.ids[..length]);
            lengths.push(before.tokens + length);
        }
        Self {
            ids,
            sequences: Sequences::new(lengths),
            targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ids: &[u32], responses: &[usize]) -> EncodedExample {
        let is_response = (0..ids.len()).map(|i| responses.contains(&i)).collect();
        EncodedExample::of_responses(ids.to_vec(), is_response)
    }

    #[test]
    fn long_examples_are_cut_and_those_without_a_response_left_out() {
        let encode = |body: &Body| {
            let length = body.instruction_text().len();
            Ok(example(&vec![7; length], &[0, length.saturating_sub(2)]))
        };
        let conversation = |length: usize| Body::instruction(&"x".repeat(length), "", "");
        let data = TrainingData::encode(
            &[
                conversation(4),
                conversation(6),
                conversation(9),
                conversation(1),
            ],
            &encode,
            6,
        );
        let data = data.expect("two are left");
        // 9 is cut before its response; 1 has a response only where nothing predicts it.
        assert_eq!(
            (data.len(), data.truncated, &data.refused[..]),
            (2, 1, &[2, 3][..])
        );
        assert_eq!((data.position(0), data.position(1)), (0, 1));
        let none = TrainingData::encode(&[conversation(9)], &encode, 6)
            .err()
            .expect("refused")
            .to_string();
        for part in [
            "all 1 were refused (no_label_token)",
            "1 begin to answer beyond max_length = 6 tokens, the nearest with token 8",
        ] {
            assert!(none.contains(part), "{part:?} is missing in {none}");
        }
        let unanswered = TrainingData::encode(&[conversation(9), conversation(1)], &encode, 6);
        let told = unanswered.err().expect("refused").to_string();
        assert!(told.contains("1 have no answer, 1 begin"), "{told}");
    }

    #[test]
    fn a_run_is_encoded_once() {
        let (cache, calls) = (DataCache::default(), std::cell::Cell::new(0));
        let encode = |_: &Body| {
            calls.set(calls.get() + 1);
            Ok(example(&[1, 2, 3], &[2]))
        };
        let told = |text: &str| vec![Body::instruction("x", "", text)];
        let of = |text: &str, length| {
            let options = TrainOptions::default();
            let data = cache.encode(&told(text), &options, &encode, length);
            let data = data.expect("encodes");
            (data.digest, calls.get())
        };
        let first = of("a", 9);
        assert_eq!(of("b", 9).1, 2);
        assert_eq!((of("a", 9), of("b", 9).1), ((first.0, 2), 2));
        // Another length is other data, and the oldest goes.
        assert_eq!((of("a", 8).1, of("b", 9).1, of("a", 9).1), (3, 3, 4));
        cache.clear();
        assert_eq!(of("a", 9).1, 5);
    }

    #[test]
    fn targets_are_the_tokens_after_their_rows_and_nothing_useless_is_computed() {
        let batch = PackedBatch::new(
            &[example(&[1, 2, 3, 4, 5], &[2, 3]), example(&[6, 7], &[1])],
            Before::default(),
        );
        assert_eq!(batch.ids, [1, 2, 3, 6]);
        assert_eq!(batch.sequences, Sequences::new([3, 1]));
        assert_eq!(
            (batch.targets.rows, batch.targets.tokens),
            (vec![1, 2, 3], vec![3, 4, 7])
        );
    }

    #[test]
    fn examples_of_like_lengths_come_together_where_that_is_asked_for() {
        let lengths: Vec<usize> = (0..203).map(|i| 1 + i * 37 % 100).collect();
        let options = TrainOptions {
            batch_size: 2,
            gradient_accumulation_steps: 2,
            group_by_length: true,
            ..TrainOptions::default()
        };
        let spread = |order: &Order| -> usize {
            let epoch = order.epoch(1);
            let spreads = epoch.chunks(4).map(|batch| {
                let lengths = batch.iter().map(|index| lengths[*index]);
                lengths.clone().max().unwrap_or(0) - lengths.min().unwrap_or(0)
            });
            spreads.sum()
        };
        let grouped = Order::of(&options, 3, &lengths);
        let plain = Order::new(3, lengths.len(), 4);
        assert!(spread(&grouped) * 4 < spread(&plain));
        assert_ne!(grouped.epoch(0), grouped.epoch(1));
        let mut all = grouped.epoch(1);
        assert_eq!(all, Order::of(&options, 3, &lengths).epoch(1));
        all.sort_unstable();
        assert_eq!(all, (0..203).collect::<Vec<_>>());
    }

    #[test]
    fn every_epoch_sees_every_example_once_in_an_order_of_its_own() {
        let order = Order::new(5, 10, 4);
        assert_eq!(order.steps_per_epoch(), 3);
        let epoch = |first: usize| {
            (first..first + 3)
                .flat_map(|step| order.batch(step))
                .collect::<Vec<_>>()
        };
        let (first, second) = (epoch(0), epoch(3));
        assert_ne!(first, second);
        assert_eq!(order.batch(2).len(), 2);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
    }
}
