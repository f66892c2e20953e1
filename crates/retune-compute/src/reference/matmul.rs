//! `out = [out +] scale · (A·B) [+ low_rank] [+ bias]`.

use super::{weight_rows, write};
use crate::backend::Product;
use crate::ops::{K_BLOCK, LowRank, Weight};
use crate::{DType, Tensor};

/// A matrix of f32 that may have to be read transposed.
struct Matrix {
    values: Vec<f32>,
    width: usize,
    transposed: bool,
}

impl Matrix {
    fn new(weight: Weight<'_>, rows: usize, transposed: bool) -> Self {
        let values = weight_rows(weight);
        let width = values.len().checked_div(rows).unwrap_or(0);
        Self {
            values,
            width,
            transposed,
        }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        let (row, column) = if self.transposed {
            (column, row)
        } else {
            (row, column)
        };
        self.values[row * self.width + column]
    }
}

pub(super) fn matmul(product: &Product<'_>, out: &mut Tensor) {
    let &Product {
        m,
        k,
        n,
        ref epilogue,
        ..
    } = product;
    let dtype = product.a.dtype();
    let a = Matrix::new(
        product.a.into(),
        product.a.rows_by_width().0,
        product.a_transposed,
    );
    let b_rows = if product.b.transposed { n } else { k };
    let b = Matrix::new(product.b.weight, b_rows, product.b.transposed);
    let low_rank = epilogue.low_rank.map(
        |LowRank {
             u,
             b,
             transposed,
             scale,
             row_scales,
         }| {
            let rank = u.rows_by_width().1;
            let u = Matrix::new(u.into(), m, false);
            let b = Matrix::new(b, if transposed { n } else { rank }, transposed);
            (rank, u, b, move |row: usize| {
                row_scales.map_or(scale, |scales| scales[row])
            })
        },
    );
    let bias = epilogue.bias.map(Tensor::to_f32_vec);
    let mut values = out.to_f32_vec();
    for row in 0..m {
        for column in 0..n {
            let mut value = epilogue.scale * dot(dtype, k, |k| (a.at(row, k), b.at(k, column)));
            if let Some((rank, u, b, scale)) = &low_rank {
                value += scale(row) * dot(dtype, *rank, |r| (u.at(row, r), b.at(r, column)));
            }
            if let Some(bias) = &bias {
                value += bias[column];
            }
            let out = &mut values[row * n + column];
            *out = if epilogue.accumulate {
                *out + value
            } else {
                value
            };
        }
    }
    write(out, &values);
}

/// `Σ_k a·b`, in the order that defines a product: blocks of [`K_BLOCK`], each
/// a chain of fused multiply-adds from zero, added up in order.
fn dot(dtype: DType, len: usize, factors: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut total = 0.0;
    for start in (0..len).step_by(K_BLOCK) {
        let end = (start + K_BLOCK).min(len);
        let mut sum = 0.0f32;
        match dtype {
            DType::F32 => {
                for k in start..end {
                    let (a, b) = factors(k);
                    sum = a.mul_add(b, sum);
                }
            }
            DType::BF16 => {
                for even in (start..end).step_by(2) {
                    if even + 1 < end {
                        sum = bf16_multiply_add(sum, factors(even + 1));
                    }
                    sum = bf16_multiply_add(sum, factors(even));
                }
            }
        }
        total = if start == 0 { sum } else { total + sum };
    }
    total
}

/// One half of `vdpbf16ps`: a fused multiply-add that takes denormal numbers
/// for zero and gives zero instead of them.
fn bf16_multiply_add(sum: f32, (a, b): (f32, f32)) -> f32 {
    flush(flush(a).mul_add(flush(b), flush(sum)))
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0f32.copysign(x)
    } else {
        x
    }
}
