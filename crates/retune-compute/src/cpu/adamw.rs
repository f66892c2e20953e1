//! AdamW.

use super::Cpu;
use super::elementwise::cast_slice;
use super::simd::for_each_tier;
use super::split::{RowsMut, rows_per_task};
use crate::DType;
use crate::backend::AdamWTensors;
use crate::ops::{AdamW, AdamWFactors};
use crate::tensor::with_element;

pub(super) fn adamw(cpu: &Cpu, tensors: AdamWTensors<'_>, step: &AdamW) {
    let AdamWTensors {
        param,
        grad,
        exp_avg,
        exp_avg_sq,
        copy,
    } = tensors;
    let grad = grad.as_slice::<f32>();
    let factors = step.factors();
    let copy_type = copy.as_ref().map_or(DType::BF16, |copy| copy.dtype());
    with_element!(copy_type, C => {
        let outputs = (
            RowsMut::new(param.as_mut_slice::<f32>(), 1),
            RowsMut::new(exp_avg.as_mut_slice::<f32>(), 1),
            RowsMut::new(exp_avg_sq.as_mut_slice::<f32>(), 1),
            copy.map(|copy| RowsMut::new(copy.as_mut_slice::<C>(), 1)),
        );
        cpu.pool.for_rows(grad.len(), rows_per_task(1), outputs, |range, (param, m, v, copy)| {
            update(cpu.tier, &grad[range], &factors, param, m, v);
            if let Some(copy) = copy {
                cast_slice(cpu.tier, param, copy);
            }
        });
    });
}

for_each_tier! {
    fn update(grad: &[f32], f: &AdamWFactors, param: &mut [f32], exp_avg: &mut [f32], exp_avg_sq: &mut [f32]) {
        let state = exp_avg.iter_mut().zip(exp_avg_sq);
        for ((param, grad), (m, v)) in param.iter_mut().zip(grad).zip(state) {
            let grad = grad * f.grad_scale;
            *m = f.beta1 * *m + f.one_minus_beta1 * grad;
            *v = f.beta2 * *v + f.one_minus_beta2 * (grad * grad);
            let denominator = v.sqrt() / f.root_correction + f.eps;
            *param = *param * f.keep - f.rate * *m / denominator;
        }
    }
}
