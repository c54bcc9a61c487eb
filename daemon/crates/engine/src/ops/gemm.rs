//! Matrix products on slices, by the `gemm` crate's kernels.
//!
//! They are called on one thread each, with the rows of the result shared out among tasks at places that follow from the
//! shapes and the number of threads alone.

use gemm::Parallelism;
use rayon::prelude::*;

/// Rows of a result that one task computes at most; enough to make packing the other matrix again for each task cheap.
const MAX_ROWS_PER_TASK: usize = 256;

/// A matrix in a slice, read-only.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Views a row-major slice as `[rows, columns]`.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Views rows that begin `row_stride` elements apart.
    ///
    /// # Panics
    /// When the slice is too short for that.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows > 0 && columns > 0,
            "an empty matrix [{rows}, {columns}]"
        );
        assert!(
            (rows - 1) * row_stride + columns <= data.len(),
            "[{rows}, {columns}] with rows {row_stride} apart passes {} elements",
            data.len()
        );
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// Tells the number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Tells the number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Swaps rows and columns without moving anything.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Views some of the rows.
    pub(crate) fn row_range(self, start: usize, count: usize) -> Self {
        assert!(
            start + count <= self.rows,
            "rows {start}..{} of {}",
            start + count,
            self.rows
        );
        Self {
            data: &self.data[start * self.row_stride..],
            rows: count,
            ..self
        }
    }
}

/// What happens to what stands in the result already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// It is overwritten.
    Replace,
    /// It is added to.
    Add,
}

/// Computes `result = factor * left * right` (or adds it) on this thread; `result` is row-major and contiguous.
///
/// # Panics
/// When the shapes do not fit one another.
pub(crate) fn multiply(
    result: &mut [f32],
    store: Store,
    factor: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(
        inner, right.rows,
        "[{rows}, {inner}] times [{}, {columns}]",
        right.rows
    );
    assert_eq!(
        result.len(),
        rows * columns,
        "the result of [{rows}, {inner}] times [{inner}, {columns}]"
    );
    #[expect(unsafe_code, reason = "the gemm crate takes raw pointers and strides")]
    // SAFETY: `Matrix::strided` checked that every element of `left` and `right` lies in its slice (a transposed view
    // or a range of rows reaches the same elements), `result` was checked above, and it cannot overlap the others
    // because it is borrowed mutably. f32 is one of the types gemm takes.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            result.as_mut_ptr(),
            1,
            columns as isize,
            store == Store::Add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Computes the same as [`multiply`] with the rows of the result shared out among the threads.
///
/// # Panics
/// When the shapes do not fit one another.
pub(crate) fn multiply_rows(
    result: &mut [f32],
    store: Store,
    factor: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert_eq!(
        result.len(),
        left.rows * right.columns,
        "the rows of a product"
    );
    let rows_per_task = rows_per_task(left.rows);
    result
        .par_chunks_mut(rows_per_task * right.columns)
        .enumerate()
        .for_each(|(task, part)| {
            let rows = left.row_range(task * rows_per_task, part.len() / right.columns);
            multiply(part, store, factor, rows, right);
        });
}

/// Splits rows evenly into as many tasks as there are threads, or a multiple of that.
pub(crate) fn rows_per_task(rows: usize) -> usize {
    let threads = rayon::current_num_threads();
    let rounds = rows.div_ceil(threads * MAX_ROWS_PER_TASK);
    rows.div_ceil(threads * rounds.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(left: &[f32], right: &[f32], rows: usize, inner: usize, columns: usize) -> Vec<f32> {
        let mut result = vec![0f32; rows * columns];
        for i in 0..rows {
            for j in 0..columns {
                result[i * columns + j] = (0..inner)
                    .map(|l| left[i * inner + l] * right[l * columns + j])
                    .sum();
            }
        }
        result
    }

    /// Small whole numbers, so that every order of summation is exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7 + seed * 3) % 11) as f32 - 5.0)
            .collect()
    }

    #[test]
    fn products_are_exact_in_every_layout() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 2), (70, 33, 17), (600, 8, 24)] {
            let (left, right) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let want = naive(&left, &right, rows, inner, columns);
            let (l, r) = (
                Matrix::new(&left, rows, inner),
                Matrix::new(&right, inner, columns),
            );
            let mut got = vec![f32::NAN; rows * columns];
            multiply_rows(&mut got, Store::Replace, 1.0, l, r);
            assert_eq!(got, want);
            multiply(&mut got, Store::Add, 2.0, l, r);
            assert_eq!(got, want.iter().map(|x| 3.0 * x).collect::<Vec<_>>());
            let turned: Vec<f32> = (0..rows * inner)
                .map(|i| left[(i % rows) * inner + i / rows])
                .collect();
            multiply(
                &mut got,
                Store::Replace,
                1.0,
                Matrix::new(&turned, inner, rows).transposed(),
                r,
            );
            assert_eq!(got, want);
        }
    }

    #[test]
    #[should_panic(expected = "passes")]
    fn a_short_slice_is_refused() {
        Matrix::strided(&[0.0; 10], 3, 4, 4);
    }
}
