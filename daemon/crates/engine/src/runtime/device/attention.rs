//! Attention of a pass's tokens over the pool, in f32 throughout.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::plan::{Call, Sight};
use crate::models::config::ModelConfig;

/// Attends with `queries` (`[rows, heads * head_dim]` f32, scaled) to the keys and values of one layer of the pool; gives
/// the mixed values in the queries' shape. Rows that are no tokens' get another's.
pub(super) fn attend(
    config: &ModelConfig,
    sight: &Sight,
    [keys, values]: &[Tensor; 2],
    queries: &Tensor,
) -> Result<Tensor> {
    let shape = queries.shape();
    let by_head = |tensor: &Tensor| tensor.reshape(((), config.head_dim));
    let (queries, keys, values) = (by_head(queries)?, by_head(keys)?, by_head(values)?);
    let call = |call| attend_once(config, call, &queries, &keys, &values);
    let mixed = sight.calls.iter().map(call).collect::<Result<Vec<_>>>()?;
    let mixed = match mixed.as_slice() {
        [one] => one.clone(),
        several => Tensor::cat(several, 0)?,
    };
    mixed.index_select(&sight.results, 0)?.reshape(shape)
}

/// Gives `[blocks * heads * QUERIES, head_dim]`.
fn attend_once(
    config: &ModelConfig,
    call: &Call,
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
) -> Result<Tensor> {
    let (blocks, seen, width) = (call.blocks, call.seen, config.head_dim);
    let batch = blocks * config.kv_heads;
    let queries = queries
        .index_select(&call.queries, 0)?
        .reshape((batch, (), width))?;
    let gather = |tensor: &Tensor| {
        let rows = tensor.index_select(&call.keys, 0)?.to_dtype(DType::F32)?;
        rows.reshape((batch, seen, width))
    };
    let scores = queries.matmul(&gather(keys)?.t()?)?;
    let by_query = scores.reshape((blocks, config.heads, (), seen))?;
    let weights = softmax_last_dim(&by_query.broadcast_add(&call.mask)?)?;
    let weights = weights.reshape((batch, (), seen))?;
    weights.matmul(&gather(values)?)?.reshape(((), width))
}
