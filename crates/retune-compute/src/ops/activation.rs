//! The activations between a feed-forward block's products.

use super::check::Check;
use crate::error::Result;
use crate::{DType, Tensor};

/// Which GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GeluKind {
    /// `x · Φ(x)` with the normal distribution's Φ; `gelu` at Hugging Face.
    Exact,
    /// The tanh approximation; `gelu_new`, `gelu_pytorch_tanh`.
    Tanh,
}

/// `y = silu(gate) · up`, with `silu(x) = x / (1 + e⁻ˣ)`.
///
/// # Shapes
/// `gate`, `up`: any, equal, of one element type; returned `y`: the same shape,
/// of type `dtype`.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
/// # Reference
/// Shazeer 2020, arXiv:2002.05202
pub fn swiglu_forward(gate: &Tensor, up: &Tensor, dtype: DType) -> Result<Tensor> {
    let check = Check::new("swiglu_forward");
    check_like(check, "up", up, gate)?;
    check.dtype("up", up, gate.dtype())?;
    let mut y = Tensor::empty(gate.device(), gate.shape(), dtype)?;
    gate.device().backend().swiglu_forward(gate, up, &mut y);
    Ok(y)
}

/// The gradients `(d_gate, d_up)` of [`swiglu_forward`].
///
/// # Shapes
/// `d_y`, `gate`, `up`: equal, `gate` and `up` of one element type; returned:
/// the same shape, of type `dtype`.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn swiglu_backward(
    d_y: &Tensor,
    gate: &Tensor,
    up: &Tensor,
    dtype: DType,
) -> Result<(Tensor, Tensor)> {
    let check = Check::new("swiglu_backward");
    check_like(check, "up", up, gate)?;
    check.dtype("up", up, gate.dtype())?;
    check_like(check, "d_y", d_y, gate)?;
    let mut d_gate = Tensor::empty(gate.device(), gate.shape(), dtype)?;
    let mut d_up = Tensor::empty(gate.device(), gate.shape(), dtype)?;
    gate.device()
        .backend()
        .swiglu_backward(d_y, gate, up, &mut d_gate, &mut d_up);
    Ok((d_gate, d_up))
}

/// `y = gelu(x)`.
///
/// # Shapes
/// `x`: any; returned `y`: the same shape, of type `dtype`.
/// # Errors
/// `OutOfMemory`.
/// # Reference
/// Hendrycks & Gimpel 2016, arXiv:1606.08415
pub fn gelu_forward(x: &Tensor, kind: GeluKind, dtype: DType) -> Result<Tensor> {
    let mut y = Tensor::empty(x.device(), x.shape(), dtype)?;
    x.device().backend().gelu_forward(x, kind, &mut y);
    Ok(y)
}

/// The gradient `d_x` of [`gelu_forward`].
///
/// # Shapes
/// `d_y`, `x`: equal; returned: the same shape, of type `dtype`.
/// # Errors
/// `ShapeMismatch`, `DeviceMismatch`.
pub fn gelu_backward(d_y: &Tensor, x: &Tensor, kind: GeluKind, dtype: DType) -> Result<Tensor> {
    check_like(Check::new("gelu_backward"), "d_y", d_y, x)?;
    let mut d_x = Tensor::empty(x.device(), x.shape(), dtype)?;
    x.device().backend().gelu_backward(d_y, x, kind, &mut d_x);
    Ok(d_x)
}

fn check_like(check: Check, name: &'static str, tensor: &Tensor, like: &Tensor) -> Result<()> {
    check.device(name, tensor.device(), like.device())?;
    check.shape(name, tensor, like.shape())
}
