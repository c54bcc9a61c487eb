//! One pass over the tokens of some texts, laid one after the other.
//!
//! A task takes a block of rows through everything but attention, so that what it works on stays in the core's cache;
//! attention's tasks are one head of one text each.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use autodidact_domain::embedding::normalized;

use super::layers::{Dense, LayerNorm, WORDS};
use super::{LoadedEncoder, PASS_TOKENS, Pooling};
use crate::EngineError;
use crate::kernels::lanes::LANES;
use crate::kernels::{
    ExactMatrix, Isa, Line, SharedMut, Tile, Write, add_bias, add_layer_norm, bias_gelu,
    multiply_one_tile, softmax,
};

/// Rows of a task: twice what the matrix kernel keeps in registers.
const ROWS: usize = 32;
/// Queries whose scores are held at once.
const QUERIES: usize = 16;

/// What one pass computes, and what it has computed so far.
pub(super) struct Pass<'a> {
    encoder: &'a LoadedEncoder,
    ids: Vec<u32>,
    texts: Vec<Text>,
    /// The position of each token in its text.
    places: Vec<usize>,
}

/// The rows of one text.
#[derive(Clone, Copy)]
struct Text {
    first: usize,
    count: usize,
}

/// Activations of all rows.
struct Rows {
    /// `[tokens, hidden]`.
    residual: Vec<f32>,
    /// `[tokens, query, key and value]`.
    qkv: Vec<f32>,
    /// `[tokens, hidden]`: what the heads gave.
    mixed: Vec<f32>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(encoder: &'a LoadedEncoder) -> Self {
        Self {
            encoder,
            ids: Vec::new(),
            texts: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Tells whether a text fits beside those there.
    pub(super) fn has_room(&self, ids: &[u32]) -> bool {
        self.ids.len() + ids.len() <= PASS_TOKENS
    }

    /// Adds a text.
    pub(super) fn push(&mut self, ids: &[u32]) {
        self.texts.push(Text {
            first: self.ids.len(),
            count: ids.len(),
        });
        self.ids.extend_from_slice(ids);
        self.places.extend(0..ids.len());
    }

    /// Computes the texts' vectors, in the order they were added.
    pub(super) fn run(&self) -> Result<Vec<Vec<f32>>, EngineError> {
        let (tokens, hidden) = (self.ids.len(), self.encoder.config.hidden_size);
        let mut rows = Rows {
            residual: vec![0.0; tokens * hidden],
            qkv: vec![0.0; tokens * 3 * hidden],
            mixed: vec![0.0; tokens * hidden],
        };
        self.begin(&mut rows)?;
        for layer in 0..self.encoder.config.layers {
            self.attend(&mut rows);
            self.finish(layer, &mut rows);
        }
        let pool = |text: &Text| {
            let states = &rows.residual[text.first * hidden..][..text.count * hidden];
            normalized(pooled(self.encoder.pooling, states, hidden))
        };
        Ok(self.texts.iter().map(pool).collect())
    }

    fn isa(&self) -> Isa {
        self.encoder.team.isa()
    }

    /// Embeds the tokens and makes the first layer's queries, keys and values.
    fn begin(&self, rows: &mut Rows) -> Result<(), EngineError> {
        let (encoder, weights) = (self.encoder, &self.encoder.weights);
        let hidden = encoder.config.hidden_size;
        let (residual, qkv) = (
            SharedMut::new(&mut rows.residual),
            SharedMut::new(&mut rows.qkv),
        );
        let failure: Mutex<Option<EngineError>> = Mutex::new(None);
        encoder.team.run_ranges(self.ids.len(), ROWS, &|range| {
            // SAFETY: these rows belong to this task.
            let (block, qkv) = unsafe {
                (
                    residual.slice(range.start * hidden, range.len() * hidden),
                    qkv.slice(range.start * 3 * hidden, range.len() * 3 * hidden),
                )
            };
            for (row, token) in block.chunks_exact_mut(hidden).zip(range) {
                let id = self.ids[token] as usize;
                if let Err(error) = weights.files.read_row(WORDS, id, row) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
                let place = self.places[token] + encoder.config.first_position;
                let position = &weights.positions[place * hidden..][..hidden];
                self.norm(row, position, &weights.token_type, &weights.norm);
            }
            self.project(&weights.layers[0].qkv, block, qkv);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes the rows from the heads' results to the layer's end, and on to the next layer's queries, keys and values.
    fn finish(&self, layer: usize, rows: &mut Rows) {
        let encoder = self.encoder;
        let (hidden, width) = (encoder.config.hidden_size, encoder.config.intermediate_size);
        let next = encoder.weights.layers.get(layer + 1);
        let layer = &encoder.weights.layers[layer];
        let (residual, qkv) = (
            SharedMut::new(&mut rows.residual),
            SharedMut::new(&mut rows.qkv),
        );
        encoder.team.run_ranges(self.ids.len(), ROWS, &|range| {
            let mixed = &rows.mixed[range.start * hidden..range.end * hidden];
            // SAFETY: these rows belong to this task.
            let (block, qkv) = unsafe {
                (
                    residual.slice(range.start * hidden, range.len() * hidden),
                    qkv.slice(range.start * 3 * hidden, range.len() * 3 * hidden),
                )
            };
            SCRATCH.with_borrow_mut(|scratch| {
                let Scratch { branch, inner, .. } = scratch;
                branch.resize(range.len() * hidden, 0.0);
                inner.resize(range.len() * width, 0.0);
                let add_branch = |dense: &Dense, norm, branch: &[f32], block: &mut [f32]| {
                    for (row, branch) in block
                        .chunks_exact_mut(hidden)
                        .zip(branch.chunks_exact(hidden))
                    {
                        self.norm(row, branch, &dense.bias, norm);
                    }
                };
                product(self.isa(), &layer.attention_output.matrix, mixed, branch);
                add_branch(
                    &layer.attention_output,
                    &layer.attention_norm,
                    branch,
                    block,
                );
                product(self.isa(), &layer.intermediate.matrix, block, inner);
                for row in inner.chunks_exact_mut(width) {
                    bias_gelu(self.isa(), row, &layer.intermediate.bias);
                }
                product(self.isa(), &layer.output.matrix, inner, branch);
                add_branch(&layer.output, &layer.output_norm, branch, block);
            });
            if let Some(next) = next {
                self.project(&next.qkv, block, qkv);
            }
        });
    }

    fn norm(&self, row: &mut [f32], branch: &[f32], bias: &[f32], norm: &LayerNorm) {
        let epsilon = self.encoder.config.layer_norm_eps;
        let norm = (norm.weight.as_slice(), norm.bias.as_slice());
        add_layer_norm(self.isa(), row, branch, bias, norm, epsilon);
    }

    fn project(&self, dense: &Dense, block: &[f32], out: &mut [f32]) {
        product(self.isa(), &dense.matrix, block, out);
        for row in out.chunks_exact_mut(dense.bias.len()) {
            add_bias(self.isa(), row, &dense.bias);
        }
    }

    /// Attention of every text to itself (Vaswani et al. 2017).
    fn attend(&self, rows: &mut Rows) {
        let heads = self.encoder.config.heads;
        let (qkv, mixed) = (&rows.qkv, SharedMut::new(&mut rows.mixed));
        self.encoder.team.run(self.texts.len() * heads, &|task| {
            let text = self.texts[task / heads];
            SCRATCH.with_borrow_mut(|scratch| self.head(text, task % heads, qkv, &mixed, scratch));
        });
    }

    fn head(
        &self,
        text: Text,
        head: usize,
        qkv: &[f32],
        mixed: &SharedMut<f32>,
        scratch: &mut Scratch,
    ) {
        let config = &self.encoder.config;
        let (hidden, dim) = (config.hidden_size, config.head_dim());
        let scale = 1.0 / (dim as f32).sqrt();
        let stride = 3 * hidden;
        let (key_tiles, value_tiles) = (text.count.div_ceil(LANES), dim.div_ceil(LANES));
        let part = |row: usize, which: usize| {
            &qkv[(text.first + row) * stride + which * hidden + head * dim..][..dim]
        };
        scratch.pack(text.count, dim, &|row| (part(row, 1), part(row, 2)));
        let Scratch {
            keys,
            values,
            scores,
            heads,
            ..
        } = scratch;
        let width = key_tiles * LANES;
        scores.resize(QUERIES * width, 0.0);
        heads.resize(QUERIES * value_tiles * LANES, 0.0);
        for first in (0..text.count).step_by(QUERIES) {
            let rows = QUERIES.min(text.count - first);
            let queries = &qkv[(text.first + first) * stride + head * dim..];
            assert!(queries.len() >= (rows - 1) * stride + dim, "the queries");
            for tile in 0..key_tiles {
                // SAFETY: `queries` holds the rows by the check above, the tile has `dim` lines, and `scores` has room
                // for sixteen rows of `width`.
                unsafe {
                    multiply_one_tile(
                        self.isa(),
                        queries.as_ptr(),
                        stride,
                        Tile::of_lines(&keys[tile * dim..][..dim]),
                        dim,
                        rows,
                        scores[tile * LANES..].as_mut_ptr(),
                        width,
                    );
                }
            }
            for row in scores.chunks_exact_mut(width).take(rows) {
                softmax(self.isa(), row, 0..text.count, scale);
            }
            for tile in 0..value_tiles {
                // SAFETY: `scores` has the rows, as long as the text at least; the tile has a line for each token; `heads`
                // has room for sixteen rows.
                unsafe {
                    multiply_one_tile(
                        self.isa(),
                        scores.as_ptr(),
                        width,
                        Tile::of_lines(&values[tile * text.count..][..text.count]),
                        text.count,
                        rows,
                        heads[tile * LANES..].as_mut_ptr(),
                        value_tiles * LANES,
                    );
                }
            }
            for (row, states) in heads
                .chunks_exact(value_tiles * LANES)
                .take(rows)
                .enumerate()
            {
                let at = (text.first + first + row) * hidden + head * dim;
                // SAFETY: this task alone has this head of this text's rows.
                unsafe { mixed.slice(at, dim) }.copy_from_slice(&states[..dim]);
            }
        }
    }
}

/// Multiplies rows with a whole matrix.
fn product(isa: Isa, matrix: &ExactMatrix, x: &[f32], out: &mut [f32]) {
    let columns = matrix.rows();
    let out = SharedMut::new(out);
    // SAFETY: `out` is borrowed mutably, so that nothing else uses it.
    unsafe { matrix.multiply(isa, x, 0, matrix.tiles(), &out, columns, 0, Write::Store) }
}

fn pooled(pooling: Pooling, states: &[f32], hidden: usize) -> Vec<f32> {
    let mut rows = states.chunks_exact(hidden);
    let mut sum = rows.next().unwrap_or_default().to_vec();
    if pooling == Pooling::Cls {
        return sum;
    }
    let count = 1 + rows.len();
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sum.iter_mut().for_each(|sum| *sum /= count as f32);
    sum
}

/// A thread's room, kept from task to task.
#[derive(Default)]
struct Scratch {
    branch: Vec<f32>,
    inner: Vec<f32>,
    /// `[tokens / 16][dim][16]`.
    keys: Vec<Line>,
    /// `[dim / 16][tokens][16]`.
    values: Vec<Line>,
    scores: Vec<f32>,
    heads: Vec<f32>,
}

impl Scratch {
    /// Packs a head's keys and values, both by the row's number, as the product's tiles; the rest of the last tiles is 0.
    fn pack<'a>(
        &mut self,
        count: usize,
        dim: usize,
        parts: &dyn Fn(usize) -> (&'a [f32], &'a [f32]),
    ) {
        let zero = Line([0.0; LANES]);
        self.keys.clear();
        self.keys.resize(count.div_ceil(LANES) * dim, zero);
        self.values.clear();
        self.values.resize(dim.div_ceil(LANES) * count, zero);
        for row in 0..count {
            let (key, value) = parts(row);
            let tile = &mut self.keys[row / LANES * dim..][..dim];
            for (line, x) in tile.iter_mut().zip(key) {
                line.0[row % LANES] = *x;
            }
            for (tile, lanes) in value.chunks(LANES).enumerate() {
                self.values[tile * count + row].0[..lanes.len()].copy_from_slice(lanes);
            }
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}
