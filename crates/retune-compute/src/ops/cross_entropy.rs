//! The language-model head and its loss, fused so that the matrix of tokens ×
//! vocabulary never exists.

use super::check::Check;
use super::elementwise::cast;
use super::matmul::{Epilogue, linear_backward, linear_forward, matmul_tn};
use super::rows::{gather_rows, scatter_add_rows};
use super::weight::Weight;
use crate::backend::RowOutcome;
use crate::error::Result;
use crate::{DType, Tensor};

/// The outcome of each scored row.
#[derive(Debug)]
pub struct HeadLoss {
    /// The cross-entropy `−ln p(target)` of each scored row, `[R]`, f32.
    pub losses: Tensor,
    /// 1 where the target has the largest logit, else 0, `[R]`, f32.
    pub correct: Tensor,
}

/// Gradients to add to; `None` where not wanted.
#[derive(Debug, Default)]
pub struct HeadGradients<'a> {
    /// Of the hidden states, `[T, C]`, f32; only scored rows are touched.
    pub d_hidden: Option<&'a mut Tensor>,
    /// Of the head's weight, `[V, C]`, f32.
    pub d_weight: Option<&'a mut Tensor>,
}

/// Which hidden states are scored, and on what.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Rows of the hidden states, `[R]`.
    pub rows: &'a [u32],
    /// The token that should follow each, `[R]`.
    pub targets: &'a [u32],
    /// How many rows have their logits in memory at a time. Changes speed and
    /// memory, never the numbers; 128 is a good value.
    pub chunk_rows: usize,
}

impl Scored<'_> {
    /// Bytes that one chunk takes while it is worked on.
    pub fn chunk_bytes(&self, vocabulary: usize, dtype: DType) -> usize {
        let gradient = if dtype == DType::F32 { 0 } else { dtype.size() };
        self.chunk_rows.min(self.rows.len()) * vocabulary * (DType::F32.size() + gradient)
    }
}

/// The loss of each scored row: `logits = hidden[row] · headᵀ`, then softmax
/// cross-entropy with the row's target.
///
/// # Shapes
/// `hidden`: `[T, C]`; `head`: `[V, C]` of the same element type.
/// # Errors
/// `IndexOutOfRange` if a row is not below `T` or a target not below `V`;
/// `InvalidArgument` if `chunk_rows` is 0; `ShapeMismatch`, `DTypeMismatch`,
/// `DeviceMismatch`.
pub fn head_cross_entropy_forward<'a>(
    hidden: &Tensor,
    head: impl Into<Weight<'a>>,
    scored: Scored<'_>,
) -> Result<HeadLoss> {
    run(
        "head_cross_entropy_forward",
        hidden,
        head.into(),
        scored,
        None,
    )
}

/// The same losses, and the gradients of `grad_scale · Σ losses`, in one pass
/// over the chunks: the logits are computed once. For a mean, `grad_scale` is
/// one over the number of scored rows of the whole optimizer step.
///
/// # Shapes
/// `hidden`: `[T, C]`; `head`: `[V, C]` of the same element type.
/// # Errors
/// As for [`head_cross_entropy_forward`].
pub fn head_cross_entropy_backward<'a>(
    hidden: &Tensor,
    head: impl Into<Weight<'a>>,
    scored: Scored<'_>,
    grad_scale: f32,
    gradients: HeadGradients<'_>,
) -> Result<HeadLoss> {
    run(
        "head_cross_entropy_backward",
        hidden,
        head.into(),
        scored,
        Some((grad_scale, gradients)),
    )
}

fn run(
    op: &'static str,
    hidden: &Tensor,
    head: Weight<'_>,
    scored: Scored<'_>,
    mut backward: Option<(f32, HeadGradients<'_>)>,
) -> Result<HeadLoss> {
    let vocabulary = check(
        Check::new(op),
        hidden,
        head,
        scored,
        backward.as_ref().map(|(_, g)| g),
    )?;
    let device = hidden.device();
    let count = scored.rows.len();
    let mut losses = Tensor::empty(device, &[count], DType::F32)?;
    let mut correct = Tensor::empty(device, &[count], DType::F32)?;
    for first in (0..count).step_by(scored.chunk_rows) {
        let chunk = first..(first + scored.chunk_rows).min(count);
        let rows = &scored.rows[chunk.clone()];
        let targets = &scored.targets[chunk];
        let x = gather_rows(hidden, rows)?;
        let mut logits = Tensor::empty(device, &[rows.len(), vocabulary], DType::F32)?;
        linear_forward(&x, head, Epilogue::default(), &mut logits)?;
        let outcome = RowOutcome {
            first,
            losses: &mut losses,
            correct: &mut correct,
        };
        let Some((grad_scale, gradients)) = &mut backward else {
            device
                .backend()
                .cross_entropy(&mut logits, targets, outcome, None);
            continue;
        };
        device
            .backend()
            .cross_entropy(&mut logits, targets, outcome, Some(*grad_scale));
        let d_logits = match hidden.dtype() {
            DType::F32 => logits,
            narrow => cast(&logits, narrow)?,
        };
        if let Some(d_hidden) = gradients.d_hidden.as_deref_mut() {
            let mut d_x = Tensor::empty(device, x.shape(), DType::F32)?;
            linear_backward(&d_logits, head, Epilogue::default(), &mut d_x)?;
            scatter_add_rows(&d_x, rows, d_hidden)?;
        }
        if let Some(d_weight) = gradients.d_weight.as_deref_mut() {
            matmul_tn(&d_logits, &x, Epilogue::default().accumulate(), d_weight)?;
        }
    }
    Ok(HeadLoss { losses, correct })
}

fn check(
    check: Check,
    hidden: &Tensor,
    head: Weight<'_>,
    scored: Scored<'_>,
    gradients: Option<&HeadGradients<'_>>,
) -> Result<usize> {
    let [vocabulary, width] = check.weight("head", head)?;
    check.device("head", head.device(), hidden.device())?;
    check.dtype("hidden", hidden, head.dtype())?;
    let &[tokens, hidden_width] = hidden.shape() else {
        return Err(check.wrong_shape("hidden", hidden, format!("[T, {width}]")));
    };
    if hidden_width != width {
        return Err(check.wrong_shape("hidden", hidden, format!("[T, {width}] to fit `head`")));
    }
    if scored.chunk_rows == 0 {
        return Err(check.invalid("scored.chunk_rows", 0, "at least 1"));
    }
    check.length("scored.targets", scored.targets.len(), scored.rows.len())?;
    check.indices("scored.rows", scored.rows, tokens)?;
    check.indices("scored.targets", scored.targets, vocabulary)?;
    if let Some(gradients) = gradients {
        let wanted = [
            (
                "gradients.d_hidden",
                gradients.d_hidden.as_deref(),
                [tokens, width],
            ),
            (
                "gradients.d_weight",
                gradients.d_weight.as_deref(),
                [vocabulary, width],
            ),
        ];
        for (name, gradient, shape) in wanted {
            if let Some(gradient) = gradient {
                check.device(name, gradient.device(), hidden.device())?;
                check.dtype(name, gradient, DType::F32)?;
                check.shape(name, gradient, &shape)?;
            }
        }
    }
    Ok(vocabulary)
}
