//! Words as branches of their folded characters.

use std::collections::BTreeMap;

use crate::fold::Fold;

/// The most characters of a word, so that a text cannot make the search slow.
const MAX_CHARS: usize = 200;

/// Words that can be walked through a character at a time.
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The branches of all nodes, those of a node side by side in the order of their characters.
    branches: Vec<(char, u32)>,
}

/// A place among the words.
#[derive(Clone, Copy, Default)]
pub(super) struct Node {
    first: u32,
    count: u32,
    pub(super) end: Option<End>,
}

/// What ends at a node.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// The word; none for a phrase in which words are let stand.
    pub(super) word: Option<u32>,
    /// Whether a longer word may begin with it.
    pub(super) is_prefix: bool,
}

/// A trie to which words are being added.
pub(super) struct Growing(Vec<Bud>);

/// A node of it.
#[derive(Default)]
struct Bud {
    branches: BTreeMap<char, u32>,
    end: Option<End>,
}

impl Trie {
    pub(super) fn of(growing: Growing) -> Self {
        let mut trie = Self {
            nodes: Vec::with_capacity(growing.0.len()),
            branches: Vec::with_capacity(growing.0.len()),
        };
        for bud in growing.0 {
            trie.nodes.push(Node {
                first: trie.branches.len() as u32,
                count: bud.branches.len() as u32,
                end: bud.end,
            });
            trie.branches.extend(bud.branches);
        }
        trie
    }

    pub(super) fn root(&self) -> Node {
        self.nodes[0]
    }

    /// Follows a branch.
    pub(super) fn next(&self, node: Node, c: char) -> Option<Node> {
        let branches = &self.branches[node.first as usize..][..node.count as usize];
        let at = branches.binary_search_by_key(&c, |(label, _)| *label);
        at.ok().map(|at| self.nodes[branches[at].1 as usize])
    }
}

impl Growing {
    pub(super) fn new() -> Self {
        Self(vec![Bud::default()])
    }

    /// Adds a word as it is listed, or a phrase in which words are let stand.
    ///
    /// # Errors
    /// A text that says why it cannot be looked for.
    pub(super) fn add(
        &mut self,
        listed: &str,
        word: Option<u32>,
        plurals: bool,
    ) -> Result<(), String> {
        let (letters, is_prefix) = read(listed)?;
        let end = End { word, is_prefix };
        let known = self.grow(&letters);
        // A word with a star holds for the same without one, too.
        if known.is_none_or(|known| word.is_some() && !(known.word.is_some() && known.is_prefix)) {
            *known = Some(end);
        }
        if let Some(plural) = plural(&letters).filter(|_| plurals && !is_prefix) {
            // What is listed itself stays what it is.
            self.grow(&plural).get_or_insert(end);
        }
        Ok(())
    }

    /// Gives what ends where some letters do.
    fn grow(&mut self, letters: &[char]) -> &mut Option<End> {
        let mut at = 0;
        for letter in letters {
            let next = self.0.len() as u32;
            let branch = *self.0[at].branches.entry(*letter).or_insert(next);
            if branch == next {
                self.0.push(Bud::default());
            }
            at = branch as usize;
        }
        &mut self.0[at].end
    }

    /// Lists what words begin with, in order.
    pub(super) fn firsts(&self) -> impl Iterator<Item = char> {
        self.0[0].branches.keys().copied()
    }

    /// Lists the words of one character, in order.
    pub(super) fn singles(&self) -> impl Iterator<Item = char> {
        let branches = self.0[0].branches.iter();
        let singles = branches.filter(|(_, at)| self.0[**at as usize].end.is_some());
        singles.map(|(first, _)| *first)
    }

    /// Lists the first two characters of the others.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (char, char)> {
        self.0[0].branches.iter().flat_map(|(first, at)| {
            let seconds = self.0[*at as usize].branches.keys();
            seconds.map(|second| (*first, *second))
        })
    }
}

/// Reads a word as it is listed: its folded characters, and whether `*` ends it.
fn read(word: &str) -> Result<(Vec<char>, bool), String> {
    let (stem, is_prefix) = match word.trim().strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (word.trim(), false),
    };
    if stem.starts_with('*') {
        return Err(format!("{word:?}: a star may stand at the end only"));
    }
    let letters: Vec<char> = Fold::new(stem, 0).collect();
    match letters.len() {
        0 => Err(format!("{word:?}: there is nothing to look for")),
        1..=MAX_CHARS => Ok((letters, is_prefix)),
        length => Err(format!(
            "{:?}: {length} characters, at most {MAX_CHARS}",
            stem.chars().take(20).collect::<String>()
        )),
    }
}

/// Makes the plural of a word or phrase that ends in a letter from a to z.
fn plural(word: &[char]) -> Option<Vec<char>> {
    let last = word.last().filter(|c| c.is_ascii_lowercase())?;
    let before = word.len().checked_sub(2).map(|at| word[at]);
    let is_vowel = |c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u');
    let (keep, ending) = match (before, last) {
        (Some('s' | 'c'), 'h') | (_, 's' | 'x' | 'z') => (word.len(), "es"),
        (Some(before), 'y') if before.is_ascii_lowercase() && !is_vowel(before) => {
            (word.len() - 1, "ies")
        }
        _ => (word.len(), "s"),
    };
    let mut plural = word[..keep].to_vec();
    plural.extend(ending.chars());
    Some(plural)
}
