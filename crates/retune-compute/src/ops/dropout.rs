//! Dropout whose mask is computed from what a value is, not where it lies.

use super::check::Check;
use crate::Tensor;
use crate::error::Result;
use crate::random::RandomKey;

/// Which numbers a dropout mask is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The probability of dropping an element, in `[0, 1)`.
    pub probability: f32,
    /// Tells this dropout from every other: the run's seed and the layer.
    pub key: RandomKey,
    /// The optimizer step.
    pub step: u32,
}

/// Which token a row is, so that its mask does not depend on how samples were
/// packed or split into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// The sample's number in the data set.
    pub sample: u32,
    /// The token's position in the sample.
    pub position: u32,
}

/// `y = x · mask / (1 − probability)`. The backward pass is the same call on
/// the gradient: the mask is drawn again, not stored.
///
/// # Shapes
/// `x`: `[T, …]`; `rows`: `[T]`; returned `y`: like `x` in shape and type.
/// # Errors
/// `InvalidArgument` if the probability is not in `[0, 1)`; `ShapeMismatch` if
/// `rows` is not `[T]`.
/// # Reference
/// Srivastava et al. 2014, JMLR 15:1929
pub fn dropout(x: &Tensor, rows: &[RowKey], dropout: &Dropout) -> Result<Tensor> {
    let check = Check::new("dropout");
    let (count, _) = check.first_axis("x", x)?;
    check.length("rows", rows.len(), count)?;
    check.number(
        "probability",
        dropout.probability,
        |p| (0.0..1.0).contains(&p),
        "a probability of at least 0 and below 1",
    )?;
    let mut y = Tensor::empty(x.device(), x.shape(), x.dtype())?;
    x.device().backend().dropout(x, rows, dropout, &mut y);
    Ok(y)
}
