//! Element-wise arithmetic and reductions.

use super::check::Check;
use crate::error::Result;
use crate::{DType, Tensor};

/// `y += x`: the residual connection.
///
/// # Shapes
/// `y`: any, f32; `x`: the same, f32 or bf16.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn add_assign(y: &mut Tensor, x: &Tensor) -> Result<()> {
    let check = Check::new("add_assign");
    check.device("x", x.device(), y.device())?;
    check.dtype("y", y, DType::F32)?;
    check.shape("x", x, y.shape())?;
    x.device().backend().add_assign(y, x);
    Ok(())
}

/// `x *= factor`, for a tensor of any shape.
pub fn scale(x: &mut Tensor, factor: f32) {
    let device = x.device().clone();
    device.backend().scale(x, factor);
}

/// The same values as another element type, rounded to nearest even.
///
/// # Shapes
/// `x`: any; returned: the same shape, of type `dtype`.
/// # Errors
/// `OutOfMemory`.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let mut y = Tensor::empty(x.device(), x.shape(), dtype)?;
    x.device().backend().cast(x, &mut y);
    Ok(y)
}

/// `Σ x`, summed in f64 in an order that is fixed by the length of `x`.
pub fn sum(x: &Tensor) -> f64 {
    x.device().backend().sums(&[x], false)[0]
}

/// `Σ x²`, summed like [`sum`]; adds up to a norm over several tensors.
pub fn sum_of_squares(x: &Tensor) -> f64 {
    x.device().backend().sums(&[x], true)[0]
}

/// The Euclidean norm over all elements of several tensors, as for clipping
/// gradients.
pub fn norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    let tensors: Vec<&Tensor> = tensors.into_iter().collect();
    // All of a device's in one call: a GPU then answers once.
    let of_device = tensors.chunk_by(|a, b| a.device() == b.device());
    let squares = of_device.flat_map(|some| some[0].device().backend().sums(some, true));
    squares.fold(0.0, |all, square| all + square).sqrt()
}
