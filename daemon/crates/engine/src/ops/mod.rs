//! Fused operations with their own backward, for training a decoder whose weights are frozen.
//!
//! Candle's autograd sees three operations only: a whole decoder layer ([`decoder_layer`]), the last norm
//! ([`rms_norm`]) and the output matrix with the loss ([`cross_entropy`]). Inside they are made of kernels on slices,
//! one file each, a forward and a backward beside one another. What that buys over an operation a tensor:
//! no gradient of a frozen weight, no copy of what the backward can make again, no zeroed gradient to add to,
//! and buffers that are used again rather than given back ([`buffers`]).
//!
//! Sequences of one batch lie one after another, so nothing is computed for padding ([`sequences`]).
//!
//! Each operation has a plain candle path too ([`plain`]), for devices that have no kernel of ours; tests hold both
//! equal and check every backward by finite differences.
//!
//! INVARIANT: results do not depend on how threads are scheduled. Work is split at places that follow from shapes
//! and the number of threads alone, and every sum is taken in one fixed order.

pub(crate) mod attention;
pub(crate) mod bottleneck;
pub(crate) mod buffers;
pub(crate) mod cross_entropy;
pub(crate) mod decoder_layer;
pub(crate) mod dropout;
mod fused_layer;
pub(crate) mod gated;
pub(crate) mod gemm;
pub(crate) mod linear;
pub(crate) mod pause;
pub(crate) mod plain;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod sequences;
pub(crate) mod storage;
pub(crate) mod vector;

#[cfg(test)]
pub(crate) mod testing;
