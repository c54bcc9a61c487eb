//! What a pass looks up on the device: where tokens are written, what they see, and how far they are turned. It is laid
//! out once a pass and serves all layers.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::cache::DeviceCache;
use crate::models::config::ModelConfig;
use crate::models::family::Window;
use crate::runtime::forward::{Batch, Segment, rotate};

/// Positions whose queries attend together: those of one sequence from a multiple of this on.
const QUERIES: usize = 8;
/// Blocks of queries in one call of attention, where their positions are few.
const BLOCKS: usize = 16;
/// Positions that a call gathers at most, over all its blocks; one block alone may have more.
const GATHERED: usize = 1 << 15;
/// Positions that a block sees are filled up to a power of two, at least this.
const LEAST_SEEN: usize = 128;

/// One pass.
pub(super) struct Plan {
    pub(super) tokens: usize,
    /// Rows of the pool, `[tokens, kv_heads * head_dim]`, the same for all elements of a token.
    pub(super) slots: Tensor,
    /// Where the batch has virtual tokens: for every token its row among the batch's and, after them, those of a prefix.
    prefixed: Option<Tensor>,
    /// What layers without a window see, where the model has such layers.
    full: Option<Sight>,
    /// What layers with one see.
    windowed: Option<Sight>,
}

/// What the layers of one kind see.
pub(super) struct Sight {
    pub(super) calls: Vec<Call>,
    /// Each token's heads among the calls' results, `[rows * heads]`.
    pub(super) results: Tensor,
    /// `[rows, head_dim / 2]`.
    pub(super) cosines: Tensor,
    pub(super) sines: Tensor,
}

/// Blocks that attend in one call.
pub(super) struct Call {
    pub(super) blocks: usize,
    /// Positions that each block gathers.
    pub(super) seen: usize,
    /// `[blocks * heads * QUERIES]`, by block, head and query: rows of `[rows * heads, head_dim]`.
    pub(super) queries: Tensor,
    /// `[blocks * kv_heads * seen]`, by block, head and position: rows of a layer's keys or values as `[.., head_dim]`.
    pub(super) keys: Tensor,
    /// `[blocks, 1, QUERIES, seen]` f32: zero where a query sees a position, minus infinity where not.
    pub(super) mask: Tensor,
}

/// Tokens of one sequence at positions from `base + offset` on, below `base + QUERIES`.
#[derive(Clone, Copy)]
struct Block {
    cache: usize,
    /// A multiple of [`QUERIES`].
    base: usize,
    offset: usize,
    /// The first token's index in the batch.
    token: usize,
    count: usize,
}

impl Plan {
    /// Lays out a batch of at least one token, filled up to `rows`.
    pub(super) fn new(
        config: &ModelConfig,
        batch: &Batch,
        caches: &[&DeviceCache],
        rows: usize,
        device: &Device,
    ) -> Result<Self> {
        let tokens = batch.ids.len();
        let mut slots = vec![0u32; tokens];
        let mut positions = vec![0; rows];
        for segment in &batch.segments {
            for offset in 0..segment.count {
                let (token, position) = (segment.first + offset, segment.position + offset);
                slots[token] = caches[segment.cache].row(position);
                positions[token] = position;
            }
        }
        let virtual_row = |id: &u32| (*id as usize).checked_sub(config.vocab_size);
        let rows_of_tokens = (0..).zip(&batch.ids);
        let rows_of_tokens =
            rows_of_tokens.map(|(token, id)| virtual_row(id).map_or(token, |row| tokens + row));
        let rows_of_tokens: Vec<u32> = rows_of_tokens.map(|row| row as u32).collect();
        let has_virtual = batch.ids.iter().any(|id| virtual_row(id).is_some());
        let prefixed = has_virtual.then(|| Tensor::from_vec(rows_of_tokens, tokens, device));
        let width = config.kv_heads * config.head_dim;
        let slots = Tensor::from_vec(slots, (tokens, 1), device)?;
        let sight = |window| Sight::new(config, window, batch, caches, &positions, device);
        let has_full = (0..config.layers).any(|layer| config.window_of(layer).is_none());
        Ok(Self {
            tokens,
            slots: slots.broadcast_as((tokens, width))?.contiguous()?,
            prefixed: prefixed.transpose()?,
            full: has_full.then(|| sight(None)).transpose()?,
            windowed: config
                .variant
                .window
                .as_ref()
                .map(|window| sight(Some(window)))
                .transpose()?,
        })
    }

    /// Puts a prefix's rows in the place of virtual tokens' (`[tokens, width]`), where there are both.
    pub(super) fn with_prefix(&self, rows: &Tensor, prefix: Option<&Tensor>) -> Result<Tensor> {
        let (Some(prefixed), Some(prefix)) = (&self.prefixed, prefix) else {
            return Ok(rows.clone());
        };
        let prefix = prefix.reshape(((), rows.dim(1)?))?;
        Tensor::cat(&[rows, &prefix], 0)?.index_select(prefixed, 0)
    }

    /// Shows what a layer sees.
    pub(super) fn sight(&self, config: &ModelConfig, layer: usize) -> &Sight {
        let sight = match config.window_of(layer) {
            Some(_) => &self.windowed,
            None => &self.full,
        };
        sight.as_ref().expect("laid out for every kind of layer")
    }
}

impl Sight {
    fn new(
        config: &ModelConfig,
        window: Option<&Window>,
        batch: &Batch,
        caches: &[&DeviceCache],
        positions: &[usize],
        device: &Device,
    ) -> Result<Self> {
        let width = window.map_or(usize::MAX, |window| window.positions);
        // Blocks of one size attend together; the size follows from their positions alone.
        let mut by_size = BTreeMap::<usize, Vec<Block>>::new();
        for block in batch.segments.iter().flat_map(blocks_of) {
            let seen = block.base + QUERIES - block.begin(width);
            let seen = seen.next_power_of_two().max(LEAST_SEEN);
            by_size.entry(seen).or_default().push(block);
        }
        let mut results = vec![0; positions.len() * config.heads];
        let (mut calls, mut given) = (Vec::new(), 0);
        for (seen, blocks) in by_size {
            let count = (GATHERED / seen).clamp(1, BLOCKS);
            for blocks in blocks.chunks(count) {
                let mut tables = Tables::new(config, width, seen);
                for number in 0..count {
                    match blocks.get(number) {
                        Some(block) => {
                            tables.add(block, caches[block.cache]);
                            block.find_results(config, given + number, &mut results);
                        }
                        None => tables.add_empty(),
                    }
                }
                calls.push(tables.into_call(count, device)?);
                given += count;
            }
        }
        let half = config.head_dim / 2;
        let frequencies = config.rope_frequencies(window);
        let (mut cosines, mut sines) = (
            vec![0f32; positions.len() * half],
            vec![0f32; positions.len() * half],
        );
        for ((position, cosines), sines) in positions
            .iter()
            .zip(cosines.chunks_exact_mut(half))
            .zip(sines.chunks_exact_mut(half))
        {
            rotate(*position, &frequencies, cosines, sines);
        }
        let shape = (positions.len(), half);
        Ok(Self {
            calls,
            results: Tensor::new(results, device)?,
            cosines: Tensor::from_vec(cosines, shape, device)?,
            sines: Tensor::from_vec(sines, shape, device)?,
        })
    }
}

/// Cuts a segment where blocks begin.
fn blocks_of(segment: &Segment) -> impl Iterator<Item = Block> {
    let segment = *segment;
    let end = segment.position + segment.count;
    (segment.position / QUERIES..end.div_ceil(QUERIES)).map(move |number| {
        let base = number * QUERIES;
        let from = base.max(segment.position);
        Block {
            cache: segment.cache,
            base,
            offset: from - base,
            token: segment.first + from - segment.position,
            count: end.min(base + QUERIES) - from,
        }
    })
}

impl Block {
    /// The first position that is gathered: the first that a query at `base` sees.
    fn begin(&self, window: usize) -> usize {
        (self.base + 1).saturating_sub(window)
    }

    /// The position behind the last token's.
    fn end(&self) -> usize {
        self.base + self.offset + self.count
    }

    /// Tells the token of a query, where there is one.
    fn token_of(&self, query: usize) -> Option<usize> {
        let token = query.checked_sub(self.offset)?;
        (token < self.count).then(|| self.token + token)
    }

    /// Notes where the heads of these tokens stand among the results, as block `number` of all.
    fn find_results(&self, config: &ModelConfig, number: usize, results: &mut [u32]) {
        for index in 0..self.count {
            for head in 0..config.heads {
                let row = (number * config.heads + head) * QUERIES + self.offset + index;
                results[(self.token + index) * config.heads + head] = row as u32;
            }
        }
    }
}

/// A call's tables while they grow.
struct Tables<'a> {
    config: &'a ModelConfig,
    window: usize,
    seen: usize,
    queries: Vec<u32>,
    keys: Vec<u32>,
    mask: Vec<f32>,
}

impl<'a> Tables<'a> {
    fn new(config: &'a ModelConfig, window: usize, seen: usize) -> Self {
        Self {
            config,
            window,
            seen,
            queries: Vec::new(),
            keys: Vec::new(),
            mask: Vec::new(),
        }
    }

    fn add(&mut self, block: &Block, cache: &DeviceCache) {
        let (heads, kv_heads) = (self.config.heads, self.config.kv_heads as u32);
        for head in 0..heads {
            // Where there is no token, another's query stands; its result is nobody's.
            let token = |query| block.token_of(query).unwrap_or(block.token);
            let queries = (0..QUERIES).map(|query| (token(query) * heads + head) as u32);
            self.queries.extend(queries);
        }
        let begin = block.begin(self.window);
        let row = |position: usize| match position < block.end() {
            true => cache.row(position),
            false => 0,
        };
        let rows: Vec<u32> = (begin..begin + self.seen).map(row).collect();
        for head in 0..kv_heads {
            self.keys
                .extend(rows.iter().map(|row| row * kv_heads + head));
        }
        for query in 0..QUERIES {
            let at = block.base + query;
            let is_there = block.token_of(query).is_some();
            let hidden = |position: usize| {
                is_there && (position > at || position.saturating_add(self.window) <= at)
            };
            let mask = (begin..begin + self.seen).map(|position| match hidden(position) {
                true => f32::NEG_INFINITY,
                false => 0.0,
            });
            self.mask.extend(mask);
        }
    }

    /// Fills up with a block that sees zeros.
    fn add_empty(&mut self) {
        let (queries, keys) = (
            self.config.heads * QUERIES,
            self.config.kv_heads * self.seen,
        );
        self.queries.resize(self.queries.len() + queries, 0);
        self.keys.resize(self.keys.len() + keys, 0);
        self.mask.resize(self.mask.len() + QUERIES * self.seen, 0.0);
    }

    fn into_call(self, blocks: usize, device: &Device) -> Result<Call> {
        Ok(Call {
            blocks,
            seen: self.seen,
            queries: Tensor::new(self.queries, device)?,
            keys: Tensor::new(self.keys, device)?,
            mask: Tensor::from_vec(self.mask, (blocks, 1, QUERIES, self.seen), device)?,
        })
    }
}
