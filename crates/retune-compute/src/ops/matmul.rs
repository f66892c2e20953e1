//! Matrix products.
//!
//! Every element is `Σ_k a[m][k] · b[k][n]`, summed in one order that no
//! blocking, thread count or row count changes: `k` runs in blocks of 512;
//! a block is one chain of fused multiply-adds in f32 starting from zero; the
//! blocks are added in order. In bf16 the chain takes `k` in pairs, the odd
//! one first, which is what the `vdpbf16ps` instruction does. AMX has an order of its
//! own: it adds up 32 terms at a time, the odd ones and the even ones apart, and goes on
//! from block to block. Everywhere a row gives the same bytes alone and in any batch.

use super::check::Check;
use super::weight::Weight;
use crate::Tensor;
use crate::backend::{Factor, Product};
use crate::error::Result;

/// Values of `k` in one chain of fused multiply-adds: part of what a product
/// means.
pub(crate) const K_BLOCK: usize = 512;

/// A low-rank term `scale · u · b` that is added to a product in passing.
///
/// For LoRA forward: `u = x·Aᵀ` and `b` is B, transposed; for the gradient to
/// the inputs: `u = d_y·B` and `b` is A.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// `[M, r]`, of the element type of the product's factors.
    pub u: &'a Tensor,
    /// `[r, N]`, or `[N, r]` if `transposed`.
    pub b: Weight<'a>,
    /// Whether `b` is given as `[N, r]`.
    pub transposed: bool,
    /// The factor of the term, LoRA's `lora_alpha / r`.
    pub scale: f32,
    /// A factor for each row instead, `[M]`: rows may be of different adapters.
    pub row_scales: Option<&'a [f32]>,
}

/// What happens to a product before it is stored:
/// `out = [out +] scale · (A·B) [+ low_rank] [+ bias]`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    pub(crate) scale: f32,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) low_rank: Option<LowRank<'a>>,
    pub(crate) accumulate: bool,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            scale: 1.0,
            bias: None,
            low_rank: None,
            accumulate: false,
        }
    }
}

impl<'a> Epilogue<'a> {
    /// Multiplies the product by `scale`.
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Adds `bias` `[N]`, f32, to every row.
    pub fn bias(mut self, bias: Option<&'a Tensor>) -> Self {
        self.bias = bias;
        self
    }

    /// Adds a low-rank term.
    pub fn low_rank(mut self, term: Option<LowRank<'a>>) -> Self {
        self.low_rank = term;
        self
    }

    /// Adds to what `out` holds, instead of overwriting it.
    pub fn accumulate(mut self) -> Self {
        self.accumulate = true;
        self
    }
}

/// `out = epilogue(a · b)`.
///
/// # Shapes
/// `a`: `[M, K]`; `b`: `[K, N]`, both f32 or both bf16; `out`: `[M, N]`, f32 or
/// bf16. Further axes after the first count as one.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn matmul_nn(a: &Tensor, b: &Tensor, epilogue: Epilogue<'_>, out: &mut Tensor) -> Result<()> {
    product(
        "matmul_nn",
        a,
        false,
        Factor {
            weight: b.into(),
            transposed: false,
        },
        epilogue,
        out,
    )
}

/// `out = epilogue(a · bᵀ)`.
///
/// # Shapes
/// `a`: `[M, K]`; `b`: `[N, K]`, both f32 or both bf16; `out`: `[M, N]`.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn matmul_nt(a: &Tensor, b: &Tensor, epilogue: Epilogue<'_>, out: &mut Tensor) -> Result<()> {
    product(
        "matmul_nt",
        a,
        false,
        Factor {
            weight: b.into(),
            transposed: true,
        },
        epilogue,
        out,
    )
}

/// `out = epilogue(aᵀ · b)`: the product of a weight's gradient, with
/// `a = d_y`, `b = x` and `accumulate`. Takes a copy of `a` for a while, or of `b` where that
/// is narrow.
///
/// # Shapes
/// `a`: `[K, M]`; `b`: `[K, N]`, both f32 or both bf16; `out`: `[M, N]`.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn matmul_tn(a: &Tensor, b: &Tensor, epilogue: Epilogue<'_>, out: &mut Tensor) -> Result<()> {
    product(
        "matmul_tn",
        a,
        true,
        Factor {
            weight: b.into(),
            transposed: false,
        },
        epilogue,
        out,
    )
}

/// A linear layer: `y = epilogue(x · Wᵀ)`.
///
/// # Shapes
/// `x`: `[T, in]` of the weight's element type; `weight`: `[out, in]`; `y`:
/// `[T, out]`, f32 or bf16.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn linear_forward<'a>(
    x: &Tensor,
    weight: impl Into<Weight<'a>>,
    epilogue: Epilogue<'_>,
    y: &mut Tensor,
) -> Result<()> {
    product(
        "linear_forward",
        x,
        false,
        Factor {
            weight: weight.into(),
            transposed: true,
        },
        epilogue,
        y,
    )
}

/// The gradient of a linear layer to its inputs: `d_x = epilogue(d_y · W)`.
///
/// # Shapes
/// `d_y`: `[T, out]` of the weight's element type; `weight`: `[out, in]`; `d_x`:
/// `[T, in]`, f32 or bf16.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn linear_backward<'a>(
    d_y: &Tensor,
    weight: impl Into<Weight<'a>>,
    epilogue: Epilogue<'_>,
    d_x: &mut Tensor,
) -> Result<()> {
    product(
        "linear_backward",
        d_y,
        false,
        Factor {
            weight: weight.into(),
            transposed: false,
        },
        epilogue,
        d_x,
    )
}

fn product(
    op: &'static str,
    a: &Tensor,
    a_transposed: bool,
    b: Factor<'_>,
    epilogue: Epilogue<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let check = Check::new(op);
    let (a_name, b_name, out_name) = match op {
        "linear_forward" => ("x", "weight", "y"),
        "linear_backward" => ("d_y", "weight", "d_x"),
        _ => ("a", "b", "out"),
    };
    check.device(b_name, b.weight.device(), a.device())?;
    let (a_rows, a_width) = check.first_axis(a_name, a)?;
    let (m, k) = if a_transposed {
        (a_width, a_rows)
    } else {
        (a_rows, a_width)
    };
    let [b_rows, b_width] = match b.weight {
        Weight::Dense(tensor) if b_name == "b" => check.first_axis(b_name, tensor)?.into(),
        weight => check.weight(b_name, weight, "[out_features, in_features]")?,
    };
    let (b_k, n) = if b.transposed {
        (b_width, b_rows)
    } else {
        (b_rows, b_width)
    };
    if b_k != k {
        let axis = if a_transposed {
            format!("[{b_k}, M]")
        } else {
            format!("[M, {b_k}]")
        };
        return Err(check.wrong_shape(a_name, a, format!("{axis} to fit `{b_name}`")));
    }
    check.dtype(a_name, a, b.weight.dtype())?;
    check.device(out_name, out.device(), a.device())?;
    if check.first_axis(out_name, out)? != (m, n) {
        return Err(check.wrong_shape(out_name, out, format!("[{m}, {n}]")));
    }
    check_epilogue(check, a, (m, n), &epilogue)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let product = Product {
        a,
        a_transposed,
        b,
        m,
        k,
        n,
        epilogue,
    };
    let backend = a.device().backend();
    let (first, low_rank) = product.first_factors();
    let bytes = low_rank
        .map_or(0, |first| backend.matmul_workspace(first))
        .saturating_add(backend.matmul_workspace(first));
    let mut workspace = match bytes {
        0 => None,
        _ => Some(backend.allocate(bytes)?),
    };
    backend.matmul(&product, workspace.as_mut(), out);
    Ok(())
}

fn check_epilogue(
    check: Check,
    a: &Tensor,
    (m, n): (usize, usize),
    epilogue: &Epilogue<'_>,
) -> Result<()> {
    if let Some(bias) = epilogue.bias {
        check.device("bias", bias.device(), a.device())?;
        check.dtype("bias", bias, crate::DType::F32)?;
        check.shape("bias", bias, &[n])?;
    }
    if let Some(LowRank {
        u,
        b,
        transposed,
        row_scales,
        ..
    }) = epilogue.low_rank
    {
        if let Some(scales) = row_scales {
            check.length("low_rank.row_scales", scales.len(), m)?;
        }
        check.device("low_rank.u", u.device(), a.device())?;
        check.device("low_rank.b", b.device(), a.device())?;
        check.dtype("low_rank.u", u, a.dtype())?;
        check.weight_dtype("low_rank.b", b, a.dtype())?;
        let (rows, rank) = check.first_axis("low_rank.u", u)?;
        if rows != m {
            return Err(check.wrong_shape("low_rank.u", u, format!("[{m}, r]")));
        }
        let expected = if transposed { [n, rank] } else { [rank, n] };
        check.weight_shape("low_rank.b", b, expected)?;
    }
    Ok(())
}
