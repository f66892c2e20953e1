//! AdamW.

use super::write;
use crate::backend::AdamWTensors;
use crate::ops::AdamW;

pub(super) fn adamw(tensors: AdamWTensors<'_>, step: &AdamW) {
    let AdamWTensors { param, grad, exp_avg, exp_avg_sq, copy } = tensors;
    let first_correction = 1.0 - step.beta1.powi(step.step as i32);
    let second_correction = 1.0 - step.beta2.powi(step.step as i32);
    let mut values = param.to_f32_vec();
    let mut m = exp_avg.to_f32_vec();
    let mut v = exp_avg_sq.to_f32_vec();
    for (i, grad) in grad.to_f32_vec().into_iter().enumerate() {
        let grad = grad * step.grad_scale;
        m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * grad;
        v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * grad * grad;
        let mean = m[i] / first_correction;
        let root = (v[i] / second_correction).sqrt();
        values[i] -= step.learning_rate * step.weight_decay * values[i];
        values[i] -= step.learning_rate * mean / (root + step.eps);
    }
    write(param, &values);
    write(exp_avg, &m);
    write(exp_avg_sq, &v);
    if let Some(copy) = copy {
        write(copy, &values);
    }
}
