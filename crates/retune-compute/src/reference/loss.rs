//! Softmax cross-entropy.

use crate::backend::RowOutcome;

/// `loss = ln Σ exp(logit) − logit[target]`,
/// `d_logit = grad_scale · (softmax − one-hot)`.
pub(super) fn cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    outcome: RowOutcome<'_>,
    grad_scale: Option<f32>,
) {
    let Some(vocabulary) = logits.len().checked_div(targets.len()) else {
        return;
    };
    let losses = outcome.losses.as_mut_slice::<f32>();
    let correct = outcome.correct.as_mut_slice::<f32>();
    for (index, row) in logits.chunks_exact_mut(vocabulary).enumerate() {
        let target = targets[index] as usize;
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row.iter().map(|logit| (logit - max).exp()).sum();
        losses[outcome.first + index] = sum.ln() + max - row[target];
        let argmax = row.iter().position(|&logit| logit == max);
        correct[outcome.first + index] = if argmax == Some(target) { 1.0 } else { 0.0 };
        if let Some(grad_scale) = grad_scale {
            for (id, logit) in row.iter_mut().enumerate() {
                let one_hot = if id == target { 1.0 } else { 0.0 };
                *logit = grad_scale * ((*logit - max).exp() / sum - one_hot);
            }
        }
    }
}
