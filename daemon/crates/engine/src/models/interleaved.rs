//! The order of a head's rows in GGUF, where families of Llama's kind interleave the halves that rotary embeddings turn together.

/// Undoes GGUF's interleaving: row `2 i + j` of a head goes to row `j * half + i`.
pub(crate) fn half_split_rows<T: Copy + Default>(data: &[T], rows: usize, heads: usize) -> Vec<T> {
    move_rows(data, rows, heads, |within, half| {
        (within % 2) * half + within / 2
    })
}

/// Interleaves as GGUF does; undoes [`half_split_rows`].
pub(crate) fn interleave_rows<T: Copy + Default>(data: &[T], rows: usize, heads: usize) -> Vec<T> {
    move_rows(data, rows, heads, |within, half| {
        (within % half) * 2 + within / half
    })
}

/// Moves every row within its head to where `to(row, half a head)` says.
fn move_rows<T: Copy + Default>(
    data: &[T],
    rows: usize,
    heads: usize,
    to: impl Fn(usize, usize) -> usize,
) -> Vec<T> {
    let (width, head_dim) = (data.len() / rows, rows / heads);
    let mut moved = vec![T::default(); data.len()];
    for (row, values) in data.chunks_exact(width).enumerate() {
        let (head, within) = (row / head_dim, row % head_dim);
        let row = head * head_dim + to(within, head_dim / 2);
        moved[row * width..][..width].copy_from_slice(values);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_in_half_split_order_and_back() {
        // One head of width 6: rows (0,0) (0,1) (1,0) (1,1) (2,0) (2,1) as (pair, side).
        let interleaved = [0, 10, 1, 11, 2, 12];
        let split = half_split_rows(&interleaved, 6, 1);
        assert_eq!(split, [0, 1, 2, 10, 11, 12]);
        assert_eq!(interleave_rows(&split, 6, 1), interleaved);
        // Two heads of width 4, rows of two numbers.
        let rows: Vec<u32> = (0..16).collect();
        let split = half_split_rows(&rows, 8, 2);
        assert_eq!(split[..8], [0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(interleave_rows(&split, 8, 2), rows);
    }
}
