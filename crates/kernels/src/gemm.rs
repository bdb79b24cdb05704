//! General matrix multiplication: `C = A·B` or `C = C + A·B`.
//!
//! The micro-kernels are those of the `gemm-f32` crate (AVX-512, AVX2 with FMA, NEON, portable; chosen at run
//! time). It was chosen over `matrixmultiply`, which has no AVX-512, by measuring this model's shapes: see
//! BENCHMARKS.md.

use gemm_common::Parallelism;

/// A read-only matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, row-major, without gaps.
    ///
    /// # Panics
    /// If the slice is shorter than `rows * columns`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// `[rows, columns]` with element (r, c) at `r * row_stride + c * column_stride`.
    ///
    /// # Panics
    /// If the last element is beyond the slice.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Self {
        assert!(data.len() >= extent(rows, columns, row_stride, column_stride), "matrix is larger than its slice");
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// The same elements, rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What happens to the values that are in C before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// They are overwritten, whatever they are (NaN too).
    Replace,
    /// They are added to.
    Add,
}

/// Smallest slice that holds such a matrix.
///
/// # Panics
/// If that is more than `usize::MAX` elements.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    let last_row = (rows - 1).checked_mul(row_stride);
    let last_column = (columns - 1).checked_mul(column_stride);
    let last = last_row.zip(last_column).and_then(|(row, column)| row.checked_add(column));
    last.and_then(|last| last.checked_add(1)).expect("matrix fits the address space")
}

/// Multiplies: `c` is `[a.rows, b.columns]` with `c_row_stride` elements from row to row.
///
/// Products are accumulated in `f32`; NaN and infinity follow IEEE 754. `k = 0` gives zeros (or leaves `c`, when adding).
///
/// # Panics
/// If the inner dimensions differ or `c` is too short or its rows overlap.
pub fn gemm(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], c_row_stride: usize, into: Into) {
    assert_eq!(a.columns, b.rows, "gemm: inner dimensions differ");
    assert!(c_row_stride >= b.columns, "gemm: rows of c overlap");
    assert!(c.len() >= extent(a.rows, b.columns, c_row_stride, 1), "gemm: c is too short");
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    let stride = |stride: usize| isize::try_from(stride).expect("a stride inside a slice fits isize");
    // SAFETY: every element that is read lies inside `a.data` and `b.data` (checked by `Matrix::strided`), every one
    // that is written inside `c` (checked above), and `c` is borrowed mutably, so that nothing aliases it.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            a.rows,
            b.columns,
            a.columns,
            c.as_mut_ptr(),
            1,
            stride(c_row_stride),
            into == Into::Add,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut x = seed;
        let next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((x >> 40) as f32) / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(n).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_f64(m in 0_usize..40, n in 0_usize..70, k in 0_usize..80, pad in 0_usize..5, add: bool, bt: bool) {
            let a = values(m * k, 1);
            let b = values(n * k, 2);
            let before = values(m * (n + pad), 3);
            let mut c = before.clone();
            let b_at = |p: usize, j: usize| if bt { b[j * k + p] } else { b[p * n + j] };
            let bm = if bt { Matrix::new(&b, n, k).transposed() } else { Matrix::new(&b, k, n) };
            gemm(Matrix::new(&a, m, k), bm, &mut c, n + pad, if add { Into::Add } else { Into::Replace });
            for i in 0..m {
                for j in 0..n + pad {
                    let at = i * (n + pad) + j;
                    if j >= n {
                        prop_assert_eq!(c[at], before[at], "padding is left alone");
                        continue;
                    }
                    let sum: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b_at(p, j))).sum();
                    let expected = sum + if add { f64::from(before[at]) } else { 0.0 };
                    prop_assert!((f64::from(c[at]) - expected).abs() < 1e-5, "({i},{j}): {} {expected}", c[at]);
                }
            }
        }
    }

    #[test]
    fn replaces_nan_and_passes_nan_on() {
        let mut c = [f32::NAN; 4];
        gemm(Matrix::new(&[1.0, 2.0], 2, 1), Matrix::new(&[3.0, 4.0], 1, 2), &mut c, 2, Into::Replace);
        assert_eq!(c, [3.0, 4.0, 6.0, 8.0]);
        gemm(Matrix::new(&[f32::NAN, 2.0], 2, 1), Matrix::new(&[3.0, 4.0], 1, 2), &mut c, 2, Into::Replace);
        assert!(c[0].is_nan() && c[1].is_nan());
        assert_eq!(c[2..], [6.0, 8.0]);
    }

    #[test]
    #[should_panic(expected = "matrix is larger than its slice")]
    fn a_matrix_beyond_its_slice_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3);
    }
}
