//! The language-model head and its loss, fused so that the matrix of tokens ×
//! vocabulary never exists.

use super::check::Check;
use super::matmul::Epilogue;
use super::weight::Weight;
use crate::backend::{Factor, FirstFactor, LogitGradient, Product, RowOutcome, Storage};
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
    /// How many rows have their logits in memory at a time; 128 is a good value.
    /// Losses and the gradient of the hidden states do not depend on it; the
    /// gradient of the head is a sum over the chunks, and so rounds with them.
    pub chunk_rows: usize,
}

impl Scored<'_> {
    /// Bytes that [`head_cross_entropy_backward`] takes for a while, with a head
    /// of `[V, C]` and both gradients wanted, but for rounding.
    pub fn chunk_bytes(&self, [vocabulary, width]: [usize; 2], dtype: DType) -> usize {
        let rows = self.chunk_rows.min(self.rows.len());
        let f32 = DType::F32.size();
        let narrow = if dtype == DType::F32 { 0 } else { dtype.size() };
        // Logits, their gradient, and its transposed copy.
        let logits = vocabulary.saturating_mul(f32 + narrow + dtype.size());
        let hidden = width.saturating_mul(f32 + dtype.size());
        rows.saturating_mul(logits.saturating_add(hidden))
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
    let vocabulary = check(Check::new(op), hidden, head, scored, backward.as_ref())?;
    let device = hidden.device();
    let backend = device.backend();
    let count = scored.rows.len();
    let mut losses = Tensor::empty(device, &[count], DType::F32)?;
    let mut correct = Tensor::empty(device, &[count], DType::F32)?;
    // Everything that can fail comes first: a gradient is written whole or not.
    let mut space = Workspace::new(hidden, vocabulary, &scored, backward.as_ref())?;
    let width = hidden.rows_by_width().1;
    for first in (0..count).step_by(scored.chunk_rows) {
        let chunk = first..(first + scored.chunk_rows).min(count);
        let rows = &scored.rows[chunk.clone()];
        let targets = &scored.targets[chunk];
        let Workspace {
            x,
            logits,
            d_logits,
            d_x,
            products,
        } = space.for_rows(rows.len());
        let count = rows.len();
        backend.gather_rows(hidden, rows, x);
        let shape = [count, width, vocabulary];
        let forward = product((x, false), (head, true), shape);
        backend.matmul(&forward, products.as_mut(), logits);
        let outcome = RowOutcome {
            first,
            losses: &mut losses,
            correct: &mut correct,
        };
        let gradient = backward.as_ref().map(|(scale, _)| LogitGradient {
            scale: *scale,
            narrow: d_logits.as_mut(),
        });
        backend.cross_entropy(logits, targets, outcome, gradient);
        let Some((_, gradients)) = &mut backward else {
            continue;
        };
        let d_logits = d_logits.as_ref().unwrap_or(logits);
        if let Some(d_weight) = gradients.d_weight.as_deref_mut() {
            let shape = [vocabulary, count, width];
            let mut product = product((d_logits, true), ((&*x).into(), false), shape);
            product.epilogue = Epilogue::default().accumulate();
            backend.matmul(&product, products.as_mut(), d_weight);
        }
        if let (Some(d_hidden), Some(d_x)) = (gradients.d_hidden.as_deref_mut(), d_x) {
            let shape = [count, vocabulary, width];
            let product = product((d_logits, false), (head, false), shape);
            backend.matmul(&product, products.as_mut(), d_x);
            backend.scatter_rows(d_x, rows, d_hidden, true);
        }
    }
    Ok(HeadLoss { losses, correct })
}

/// A product `[m, k] · [k, n]` of two factors that may be stored transposed.
fn product<'a>(
    (a, a_transposed): (&'a Tensor, bool),
    (weight, transposed): (Weight<'a>, bool),
    [m, k, n]: [usize; 3],
) -> Product<'a> {
    Product {
        a,
        a_transposed,
        b: Factor { weight, transposed },
        m,
        k,
        n,
        epilogue: Epilogue::default(),
    }
}

/// The tensors that one chunk of rows is worked on in.
struct Workspace {
    /// `[chunk, C]`.
    x: Tensor,
    /// `[chunk, V]`, f32.
    logits: Tensor,
    /// `[chunk, V]`, where the gradient is narrower than the logits.
    d_logits: Option<Tensor>,
    /// `[chunk, C]`, f32, where the gradient of the hidden states is wanted.
    d_x: Option<Tensor>,
    /// What the products work in, one after the other.
    products: Option<Storage>,
}

impl Workspace {
    fn new(
        hidden: &Tensor,
        vocabulary: usize,
        scored: &Scored<'_>,
        backward: Option<&(f32, HeadGradients<'_>)>,
    ) -> Result<Self> {
        let (device, dtype) = (hidden.device(), hidden.dtype());
        let width = hidden.rows_by_width().1;
        let rows = scored.chunk_rows.min(scored.rows.len());
        let tensor = |width, dtype| Tensor::empty(device, &[rows, width], dtype);
        let d_hidden = backward.is_some_and(|(_, wanted)| wanted.d_hidden.is_some());
        let first = |m, k, transposed| {
            device.backend().matmul_workspace(FirstFactor {
                dtype,
                m,
                k,
                transposed,
                flippable: None,
            })
        };
        let forward = first(rows, width, false);
        let bytes = match backward {
            None => forward,
            Some((_, wanted)) => {
                let hidden = match wanted.d_hidden {
                    Some(_) => first(rows, vocabulary, false),
                    None => 0,
                };
                let weight = match wanted.d_weight {
                    Some(_) => first(vocabulary, rows, true),
                    None => 0,
                };
                forward.max(hidden).max(weight)
            }
        };
        Ok(Self {
            x: tensor(width, dtype)?,
            logits: tensor(vocabulary, DType::F32)?,
            d_logits: match backward {
                Some(_) if dtype != DType::F32 => Some(tensor(vocabulary, dtype)?),
                _ => None,
            },
            d_x: if d_hidden {
                Some(tensor(width, DType::F32)?)
            } else {
                None
            },
            products: match bytes {
                0 => None,
                _ => Some(device.backend().allocate(bytes)?),
            },
        })
    }

    /// The same for the `rows` rows of the next chunk, which is never larger.
    fn for_rows(&mut self, rows: usize) -> &mut Self {
        self.x.truncate_rows(rows);
        self.logits.truncate_rows(rows);
        for tensor in self.d_logits.iter_mut().chain(&mut self.d_x) {
            tensor.truncate_rows(rows);
        }
        self
    }
}

fn check(
    check: Check,
    hidden: &Tensor,
    head: Weight<'_>,
    scored: Scored<'_>,
    backward: Option<&(f32, HeadGradients<'_>)>,
) -> Result<usize> {
    let [vocabulary, width] = check.weight("head", head, "[V, C]")?;
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
    if let Some((grad_scale, gradients)) = backward {
        check.number("grad_scale", *grad_scale, |_| true, "a finite number")?;
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
