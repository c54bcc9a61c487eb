//! A vocabulary as the tree of bytes that llguidance searches.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use crate::models::config::ModelConfig;
use crate::tokenizer::Tokenizer;

/// The longest token that is offered, in bytes; the tree holds 1024 (toktrie, `PARENT_BITS`).
const MAX_TOKEN_BYTES: usize = 512;
/// The most nodes of the tree (toktrie: 22 bits for a subtree's size).
const MAX_NODES: usize = 1 << 22;

/// Makes the environment: each token's bytes, special tokens marked so that no text is taken for them, the ends of a turn.
///
/// It is not canonical in llguidance's sense: no tokens are forced, all that fit are offered.
pub(super) fn environment(tokenizer: &Tokenizer, config: &ModelConfig) -> Result<TokEnv, String> {
    let ids = 0..config.vocab_size as u32;
    let words: Vec<Vec<u8>> = ids.map(|id| word(tokenizer, config, id)).collect();
    let nodes = nodes(&words);
    if nodes >= MAX_NODES {
        return Err(format!(
            "constraints need a vocabulary of less than {MAX_NODES} distinct beginnings, this model's has {nodes}"
        ));
    }
    let in_vocabulary = |id: &u32| (*id as usize) < config.vocab_size;
    let ends: Vec<u32> = config
        .eos_ids
        .iter()
        .copied()
        .filter(in_vocabulary)
        .collect();
    let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(config.vocab_size as u32, first), &words);
    let trie = if ends.is_empty() {
        trie
    } else {
        trie.with_eos_tokens(&ends)
    };
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The bytes under which a token is found; none for those that are never offered.
fn word(tokenizer: &Tokenizer, config: &ModelConfig, id: u32) -> Vec<u8> {
    let piece = tokenizer.piece(id);
    if piece.is_empty() || piece.len() > MAX_TOKEN_BYTES {
        return Vec::new();
    }
    if tokenizer.is_special(id) || config.eos_ids.contains(&id) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], piece].concat();
    }
    // No text has this byte, and the tree takes it for the mark.
    if piece.contains(&TokTrie::SPECIAL_TOKEN_MARKER) {
        return Vec::new();
    }
    piece.to_vec()
}

/// Counts the distinct beginnings, equal words each for itself.
fn nodes(words: &[Vec<u8>]) -> usize {
    let mut sorted: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    let mut before: &[u8] = &[];
    let mut count = 1;
    for word in sorted {
        let common = word.iter().zip(before).take_while(|(a, b)| a == b).count();
        count += (word.len() - common).max(1);
        before = word;
    }
    count
}
