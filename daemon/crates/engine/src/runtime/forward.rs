//! The forward pass over a batch of tokens, each at its own position of its own sequence.
//!
//! Decoding and prefill are the same: a sequence brings one token or many. A token's result does not depend on what else
//! the batch holds.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use super::attention::{Attention, Scratch};
use super::branch::After;
use super::cache::{KvCache, SharedCache};
use super::decoder::{Decoder, DecoderLayer, Linear};
use super::team::Team;
use super::updates::{LayerUpdates, OwnUpdates, Part, PrefixRows, apply_updates, scale_inputs};
use crate::EngineError;
use crate::kernels::{QuantizedRows, SharedMut, Write, gelu_mul, rms_norm, silu_mul};
use crate::methods::{Part as LayerPart, Target};
use crate::models::config::{MAX_HEAD, ModelConfig};
use crate::models::family::Activation;

/// Tokens of a pass: enough to reuse each weight well, little enough that activations stay in the cache.
pub(crate) const MAX_BATCH_TOKENS: usize = 128;
/// Rows of logits computed at once.
const LOGIT_ROWS: usize = 32;
/// Fewer tokens than this are not worth waking the team for work on single rows.
const ROWS_WORTH_SHARING: usize = 8;
/// Tokens of a task of prefill attention.
const ATTENTION_TOKENS: usize = 16;

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The sequence's index among the caches.
    pub(crate) cache: usize,
    /// The first token's index in the batch.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// The first token's position in the sequence.
    pub(crate) position: usize,
}

/// What one pass computes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) segments: Vec<Segment>,
    /// Tokens whose logits are wanted.
    pub(crate) wanted: Vec<usize>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.segments.clear();
        self.wanted.clear();
    }

    /// Adds tokens of a sequence; tells the first one's index.
    pub(crate) fn push(&mut self, cache: usize, ids: &[u32], position: usize) -> usize {
        let first = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.segments.push(Segment {
            cache,
            first,
            count: ids.len(),
            position,
        });
        first
    }
}

/// Activations, allocated once for the biggest batch.
#[derive(Default)]
pub(crate) struct Buffers {
    residual: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    gate_up: Vec<f32>,
    activated: Vec<f32>,
    quantized: QuantizedRows,
    /// What attention or the feed-forward part gave, before its own norm.
    branch: Vec<f32>,
    rotations: Rotations,
    logits: Vec<f32>,
}

impl Buffers {
    /// Keeps the states that another runner gave, as [`Decoder::hidden_states`] does.
    pub(super) fn keep_states(&mut self, states: Vec<f32>) -> &[f32] {
        self.normed = states;
        &self.normed
    }

    /// Tells what the biggest batch takes.
    pub(crate) fn bytes_needed(config: &ModelConfig) -> usize {
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        let qkv = (heads + 2 * kv_heads) * config.head_dim;
        let feed_forward = config.intermediate_size;
        // Residual stream, normed rows and branch; what attention gives; gate, up and their product; the widest row in bytes.
        let widths = [
            3 * config.hidden_size,
            qkv,
            heads * config.head_dim,
            3 * feed_forward,
            feed_forward.max(config.hidden_size) / size_of::<f32>(),
            2 * config.head_dim,
        ];
        let rows = MAX_BATCH_TOKENS * widths.iter().sum::<usize>();
        (rows + LOGIT_ROWS * config.vocab_size) * size_of::<f32>()
    }
}

/// Each token's cosines and sines, `[tokens][cos half, sin half]`.
#[derive(Default)]
struct Rotations {
    global: Vec<f32>,
    /// Those of layers with a window, where they differ.
    local: Option<Vec<f32>>,
}

/// One pass: what it works with.
pub(super) struct Pass<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) team: &'a Team,
    batch: &'a Batch,
    caches: Vec<SharedCache>,
    /// Position and cache of each token.
    places: Vec<(usize, usize)>,
}

impl Decoder {
    /// Runs a batch, fills the caches, and hands out the wanted tokens' logits: `sink(i, rows)` gets rows of
    /// `[vocab_size]` for the wanted tokens from number i on.
    pub(crate) fn forward(
        &self,
        team: &Team,
        batch: &Batch,
        caches: &mut [&mut KvCache],
        updates: Option<&OwnUpdates>,
        buffers: &mut Buffers,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.run_layers(team, batch, caches, updates, buffers)?
            .logits(buffers, sink);
        Ok(())
    }

    /// Runs a batch and fills the caches; gives the wanted tokens' last hidden states, after the last norm: `[wanted,
    /// hidden_size]`.
    pub(crate) fn hidden_states<'a>(
        &self,
        team: &Team,
        batch: &Batch,
        caches: &mut [&mut KvCache],
        updates: Option<&OwnUpdates>,
        buffers: &'a mut Buffers,
    ) -> Result<&'a [f32], EngineError> {
        let pass = self.run_layers(team, batch, caches, updates, buffers)?;
        pass.norm_rows(&self.norm, &self.lm_head, &batch.wanted, buffers);
        Ok(&buffers.normed)
    }

    fn run_layers<'a>(
        &'a self,
        team: &'a Team,
        batch: &'a Batch,
        caches: &mut [&mut KvCache],
        updates: Option<&OwnUpdates>,
        buffers: &mut Buffers,
    ) -> Result<Pass<'a>, EngineError> {
        let tokens = batch.ids.len();
        let hidden = self.config.hidden_size;
        buffers.residual.resize(tokens * hidden, 0.0);
        for (id, row) in batch
            .ids
            .iter()
            .zip(buffers.residual.chunks_exact_mut(hidden))
        {
            match updates.and_then(|updates| updates.virtual_row(*id, &self.config)) {
                Some(virtual_row) => row.copy_from_slice(virtual_row),
                None => self.embed(*id, row)?,
            }
        }
        let mut places = vec![(0, 0); tokens];
        for segment in &batch.segments {
            for (offset, place) in places[segment.first..][..segment.count]
                .iter_mut()
                .enumerate()
            {
                *place = (segment.position + offset, segment.cache);
            }
        }
        let caches = caches.iter_mut().map(|cache| cache.share()).collect();
        let pass = Pass {
            decoder: self,
            team,
            batch,
            caches,
            places,
        };
        pass.fill_rotations(&mut buffers.rotations);
        let none = LayerUpdates::default();
        for (index, layer) in self.layers.iter().enumerate() {
            let updates = updates.map_or(&none, |updates| &updates.layers[index]);
            pass.attend(index, layer, updates, buffers);
            pass.feed_forward(layer, updates, buffers);
        }
        Ok(pass)
    }
}

impl Pass<'_> {
    pub(super) fn tokens(&self) -> usize {
        self.batch.ids.len()
    }

    /// Does `work` for each row, shared out when there are many.
    pub(super) fn each_row(&self, rows: usize, work: &(dyn Fn(usize) + Sync)) {
        if rows < ROWS_WORTH_SHARING {
            (0..rows).for_each(work);
        } else {
            let size = rows.div_ceil(self.team.threads() * 4);
            self.team
                .run_ranges(rows, size, &|range| range.for_each(work));
        }
    }

    /// Computes each token's cosines and sines.
    fn fill_rotations(&self, rotations: &mut Rotations) {
        let config = &self.decoder.config;
        let fill = |frequencies: &[f32], rotations: &mut Vec<f32>| {
            let half = frequencies.len();
            rotations.resize(self.tokens() * 2 * half, 0.0);
            for ((position, _), row) in self.places.iter().zip(rotations.chunks_exact_mut(2 * half))
            {
                let (cosines, sines) = row.split_at_mut(half);
                rotate(*position, frequencies, cosines, sines);
            }
        };
        fill(&config.rope_frequencies(None), &mut rotations.global);
        let window = config.variant.window.as_ref();
        if window.is_some_and(|window| window.rope_theta.is_some()) {
            let local = rotations.local.get_or_insert_default();
            fill(&config.rope_frequencies(window), local);
        } else {
            rotations.local = None;
        }
    }

    /// Norms rows of the residual and, where the matrix takes bytes, quantises them.
    fn norm_rows(&self, weight: &[f32], next: &Linear, rows: &[usize], buffers: &mut Buffers) {
        let hidden = self.decoder.config.hidden_size;
        let Buffers {
            residual,
            normed,
            quantized,
            ..
        } = buffers;
        normed.resize(rows.len() * hidden, 0.0);
        quantized.resize(rows.len(), hidden);
        let (normed, quantized) = (SharedMut::new(normed), quantized.share());
        self.each_row(rows.len(), &|row| {
            let x = &residual[rows[row] * hidden..][..hidden];
            // SAFETY: this row belongs to this task.
            unsafe {
                let out = normed.slice(row * hidden, hidden);
                rms_norm(
                    self.team.isa(),
                    x,
                    weight,
                    self.decoder.config.rms_norm_eps,
                    out,
                );
                if let Linear::Fast(_) = next {
                    quantized.quantize(self.team.isa(), row, out);
                }
            }
        });
    }

    fn attend(
        &self,
        index: usize,
        layer: &DecoderLayer,
        updates: &LayerUpdates,
        buffers: &mut Buffers,
    ) {
        let config = &self.decoder.config;
        let (tokens, hidden) = (self.tokens(), config.hidden_size);
        let (queries, keys) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let stride = queries + 2 * keys;
        let rows: Vec<usize> = (0..tokens).collect();
        self.norm_rows(&layer.input_norm, &layer.qkv, &rows, buffers);
        let Buffers {
            residual,
            normed,
            qkv,
            mixed,
            quantized,
            rotations,
            branch,
            ..
        } = buffers;
        qkv.resize(tokens * stride, 0.0);
        layer
            .qkv
            .multiply(self.team, normed, quantized, tokens, qkv, Write::Store);
        let part = |target, column, width| Part {
            update: updates.of(target),
            column,
            width,
        };
        let parts = [
            part(Target::Q, 0, queries),
            part(Target::K, queries, keys),
            part(Target::V, queries + keys, keys),
        ];
        apply_updates(self.team, &parts, normed, hidden, qkv, stride);
        let rotations = match (&rotations.local, config.window_of(index)) {
            (Some(local), Some(_)) => local,
            _ => &rotations.global,
        };
        self.rotate_and_store(index, layer, updates.prefix.as_ref(), qkv, rotations);

        mixed.resize(tokens * queries, 0.0);
        self.attend_all(index, qkv, stride, SharedMut::new(mixed));
        let update = updates.of(Target::O);
        scale_inputs(self.team, update, mixed, queries);
        if let Linear::Fast(_) = layer.o {
            quantized.resize(tokens, queries);
            let shared = quantized.share();
            self.each_row(tokens, &|row| {
                // SAFETY: this row belongs to this task.
                unsafe {
                    shared.quantize(self.team.isa(), row, &mixed[row * queries..][..queries])
                };
            });
        }
        let after = After {
            norm: layer.attention_norm.as_deref(),
            update,
            bottleneck: updates.bottleneck(LayerPart::Attention),
        };
        self.add_branch(&after, residual, branch, normed, &mut |out, write| {
            layer
                .o
                .multiply(self.team, mixed, quantized, tokens, out, write);
            let parts = [part(Target::O, 0, hidden)];
            apply_updates(self.team, &parts, mixed, queries, out, hidden);
        });
    }

    /// Turns queries and keys by their positions, and writes keys and values to the caches.
    ///
    /// Biases are added and heads normed before, where the family has such; the keys and values of virtual tokens are the prefix's,
    /// where there is one.
    fn rotate_and_store(
        &self,
        index: usize,
        layer: &DecoderLayer,
        prefix: Option<&PrefixRows>,
        qkv: &mut [f32],
        rotations: &[f32],
    ) {
        let config = &self.decoder.config;
        let head_dim = config.head_dim;
        let stride = (config.heads + 2 * config.kv_heads) * head_dim;
        let qkv = SharedMut::new(qkv);
        self.each_row(self.tokens(), &|token| {
            // SAFETY: this row belongs to this task, and so does this token's position in its cache.
            let row = unsafe { qkv.slice(token * stride, stride) };
            let (cosines, sines) = rotations[token * head_dim..][..head_dim].split_at(head_dim / 2);
            let turned = (config.heads + config.kv_heads) * head_dim;
            if let Some(bias) = &layer.qkv_bias {
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
            for (number, head) in row[..turned].chunks_exact_mut(head_dim).enumerate() {
                if let Some((queries, keys)) = &layer.head_norms {
                    let weight = if number < config.heads { queries } else { keys };
                    let mut copy = [0f32; MAX_HEAD];
                    let copy = &mut copy[..head_dim];
                    copy.copy_from_slice(head);
                    rms_norm(self.team.isa(), copy, weight, config.rms_norm_eps, head);
                }
                let (left, right) = head.split_at_mut(head_dim / 2);
                for ((a, b), (cosine, sine)) in
                    left.iter_mut().zip(right).zip(cosines.iter().zip(sines))
                {
                    (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                }
            }
            let width = config.kv_heads * head_dim;
            let (mut keys, mut values) = row[config.heads * head_dim..].split_at(width);
            let id = self.batch.ids[token] as usize;
            if let (Some(prefix), Some(at)) = (prefix, id.checked_sub(config.vocab_size)) {
                keys = &prefix.keys[at * width..][..width];
                values = &prefix.values[at * width..][..width];
            }
            let (position, cache) = self.places[token];
            for (head, (key, value)) in keys
                .chunks_exact(head_dim)
                .zip(values.chunks_exact(head_dim))
                .enumerate()
            {
                // SAFETY: as above.
                unsafe {
                    self.caches[cache].write(self.team.isa(), index, head, position, key, value)
                };
            }
        });
    }

    fn attend_all(&self, layer: usize, qkv: &[f32], stride: usize, out: SharedMut<f32>) {
        let config = &self.decoder.config;
        // One task: some tokens of one sequence under one key-value head. Late tokens see most, so they go first.
        let pieces = |segment: &Segment| {
            let segment = *segment;
            (0..segment.count)
                .step_by(ATTENTION_TOKENS)
                .map(move |offset| Segment {
                    first: segment.first + offset,
                    count: ATTENTION_TOKENS.min(segment.count - offset),
                    position: segment.position + offset,
                    ..segment
                })
        };
        let mut tasks: Vec<Segment> = self.batch.segments.iter().flat_map(pieces).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.count * (task.position + task.count)));
        self.team.run(tasks.len() * config.kv_heads, &|task| {
            let segment = tasks[task / config.kv_heads];
            let attention = Attention {
                isa: self.team.isa(),
                layer,
                head_dim: config.head_dim,
                scale: config.attention_scale(),
                window: config
                    .window_of(layer)
                    .map_or(usize::MAX, |window| window.positions),
                group: config.heads / config.kv_heads,
                cache: &self.caches[segment.cache],
                queries: qkv,
                query_stride: stride,
                out,
                out_stride: config.heads * config.head_dim,
            };
            SCRATCH.with_borrow_mut(|scratch| {
                // SAFETY: keys and values were written before this job; this task has this head of these tokens.
                unsafe {
                    attention.head(
                        task % config.kv_heads,
                        segment.first,
                        segment.count,
                        segment.position,
                        scratch,
                    )
                };
            });
        });
    }

    fn feed_forward(&self, layer: &DecoderLayer, updates: &LayerUpdates, buffers: &mut Buffers) {
        let config = &self.decoder.config;
        let (tokens, hidden, width) = (self.tokens(), config.hidden_size, config.intermediate_size);
        let rows: Vec<usize> = (0..tokens).collect();
        self.norm_rows(&layer.feed_forward_norm, &layer.gate_up, &rows, buffers);
        let Buffers {
            residual,
            normed,
            gate_up,
            activated,
            quantized,
            branch,
            ..
        } = buffers;
        gate_up.resize(tokens * 2 * width, 0.0);
        layer
            .gate_up
            .multiply(self.team, normed, quantized, tokens, gate_up, Write::Store);
        let part = |target, column, width| Part {
            update: updates.of(target),
            column,
            width,
        };
        let parts = [part(Target::Gate, 0, width), part(Target::Up, width, width)];
        apply_updates(self.team, &parts, normed, hidden, gate_up, 2 * width);

        activated.resize(tokens * width, 0.0);
        quantized.resize(tokens, width);
        let (shared, bytes) = (SharedMut::new(activated), quantized.share());
        let update = updates.of(Target::Down);
        let factors = update.and_then(|update| update.input_factors.as_deref());
        self.each_row(tokens, &|row| {
            let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
            // SAFETY: this row belongs to this task.
            unsafe {
                let out = shared.slice(row * width, width);
                match config.variant.activation {
                    Activation::Silu => silu_mul(self.team.isa(), gate, up, out),
                    Activation::GeluTanh => gelu_mul(self.team.isa(), gate, up, out),
                }
                if let Some(factors) = factors {
                    out.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
                }
                if let Linear::Fast(_) = layer.down {
                    bytes.quantize(self.team.isa(), row, out);
                }
            }
        });
        let after = After {
            norm: layer.output_norm.as_deref(),
            update,
            bottleneck: updates.bottleneck(LayerPart::FeedForward),
        };
        self.add_branch(&after, residual, branch, normed, &mut |out, write| {
            layer
                .down
                .multiply(self.team, activated, quantized, tokens, out, write);
            let parts = [part(Target::Down, 0, hidden)];
            apply_updates(self.team, &parts, activated, width, out, hidden);
        });
    }

    fn logits(&self, buffers: &mut Buffers, sink: &mut dyn FnMut(usize, &mut [f32])) {
        let vocabulary = self.decoder.config.vocab_size;
        for (chunk, rows) in self.batch.wanted.chunks(LOGIT_ROWS).enumerate() {
            self.norm_rows(&self.decoder.norm, &self.decoder.lm_head, rows, buffers);
            let Buffers {
                normed,
                logits,
                quantized,
                ..
            } = &mut *buffers;
            logits.resize(rows.len() * vocabulary, 0.0);
            self.decoder.lm_head.multiply(
                self.team,
                normed,
                quantized,
                rows.len(),
                logits,
                Write::Store,
            );
            sink(chunk * LOGIT_ROWS, logits);
        }
    }
}

/// Computes the cosines and sines of a position (Su et al. 2021). Angles are rounded to f32 as the reference's are.
pub(super) fn rotate(position: usize, frequencies: &[f32], cosines: &mut [f32], sines: &mut [f32]) {
    for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
        let angle = f64::from(position as f32 * frequency);
        (*cosine, *sine) = (angle.cos() as f32, angle.sin() as f32);
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}
