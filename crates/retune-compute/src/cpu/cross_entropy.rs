//! Softmax cross-entropy over rows of logits.

use super::Cpu;
use super::math::exp;
use super::simd::{LANES, for_each_tier, sum_of};
use super::split::RowsMut;
use crate::Tensor;
use crate::backend::RowOutcome;

pub(super) fn cross_entropy(
    cpu: &Cpu,
    logits: &mut Tensor,
    targets: &[u32],
    outcome: RowOutcome<'_>,
    grad_scale: Option<f32>,
) {
    let (rows, vocabulary) = logits.rows_by_width();
    let range = outcome.first..outcome.first + rows;
    let outputs = (
        RowsMut::new(logits.as_mut_slice::<f32>(), vocabulary),
        RowsMut::new(&mut outcome.losses.as_mut_slice::<f32>()[range.clone()], 1),
        RowsMut::new(&mut outcome.correct.as_mut_slice::<f32>()[range], 1),
    );
    cpu.pool
        .for_rows(rows, 1, outputs, |row, (logits, loss, correct)| {
            let target = targets[row.start] as usize;
            let max = row_max(cpu.tier, logits);
            // The first of equal maxima, as argmax has it.
            let argmax = logits.iter().position(|&logit| logit == max);
            correct[0] = if argmax == Some(target) { 1.0 } else { 0.0 };
            let sum = row_exp_sum(cpu.tier, logits, max);
            loss[0] = sum.ln() - (logits[target] - max);
            if let Some(grad_scale) = grad_scale {
                row_gradient(cpu.tier, logits, max, grad_scale / sum);
                logits[target] -= grad_scale;
            }
        });
}

for_each_tier! {
    /// The largest logit; NaN if there is one.
    fn row_max(logits: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let mut nan = [false; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
                nan[lane] |= chunk[lane].is_nan();
            }
        }
        let max = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        if nan.contains(&true) || rest.iter().any(|x| x.is_nan()) { f32::NAN } else { max }
    }

    fn row_exp_sum(logits: &[f32], max: f32) -> f32 {
        sum_of(logits, |logit| exp::<FUSED>(logit - max))
    }

    fn row_gradient(logits: &mut [f32], max: f32, factor: f32) {
        for logit in logits {
            *logit = exp::<FUSED>(*logit - max) * factor;
        }
    }
}
