//! Long runs of tokens that texts share.

use std::collections::HashMap;

use autodidact_text::{is_cjk, tokenize};

/// Finds texts that share a run of so many tokens with another: n-gram overlap as GPT-3 was checked by (Brown et al. 2020,
/// appendix C), with a length of its own for texts in Chinese characters, of which each is a token.
pub(super) struct RunIndex {
    words: Runs,
    characters: Runs,
    /// Only tokens of the indexed texts have numbers; any other one ends a run.
    numbers: HashMap<String, u32>,
    texts: usize,
}

/// The runs of one length, each with the first text that has it.
struct Runs {
    length: usize,
    first: HashMap<Vec<u32>, usize>,
}

impl RunIndex {
    pub(super) fn new(words: usize, characters: usize) -> Self {
        let runs = |length| Runs {
            length,
            first: HashMap::new(),
        };
        Self {
            words: runs(words),
            characters: runs(characters),
            numbers: HashMap::new(),
            texts: 0,
        }
    }

    /// Adds a text; the script of most of its tokens decides the length.
    pub(super) fn add(&mut self, text: &str) {
        let tokens = tokenize(text);
        let characters = tokens.iter().filter(|token| token.starts_with(is_cjk));
        let runs = match characters.count() * 2 > tokens.len() {
            true => &mut self.characters,
            false => &mut self.words,
        };
        let mut numbered = Vec::with_capacity(tokens.len());
        for token in tokens {
            let next = u32::try_from(self.numbers.len()).expect("fewer than 2^32 tokens");
            numbered.push(*self.numbers.entry(token).or_insert(next));
        }
        for run in numbered.windows(runs.length) {
            runs.first.entry(run.to_vec()).or_insert(self.texts);
        }
        self.texts += 1;
    }

    /// Finds the first text that a text shares a run with, and the run.
    pub(super) fn find(&self, text: &str) -> Option<(usize, String)> {
        let tokens = tokenize(text);
        let numbered: Vec<Option<u32>> = tokens
            .iter()
            .map(|token| self.numbers.get(token).copied())
            .collect();
        [&self.words, &self.characters]
            .into_iter()
            .find_map(|runs| {
                let starts = 0..(numbered.len() + 1).saturating_sub(runs.length);
                starts.into_iter().find_map(|start| {
                    let range = start..start + runs.length;
                    let run: Option<Vec<u32>> = numbered[range.clone()].iter().copied().collect();
                    let place = runs.first.get(&run?)?;
                    Some((*place, join(&tokens[range])))
                })
            })
    }
}

fn join(tokens: &[String]) -> String {
    autodidact_domain::example::join_words(tokens)
}
