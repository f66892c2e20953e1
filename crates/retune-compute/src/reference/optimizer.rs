//! AdamW.

use super::write;
use crate::backend::AdamWTensors;
use crate::ops::AdamW;

pub(super) fn adamw(tensors: AdamWTensors<'_>, step: &AdamW) {
    let AdamWTensors {
        param,
        grad,
        exp_avg,
        exp_avg_sq,
        copy,
    } = tensors;
    let first_correction = 1.0 - step.beta1.powf(f64::from(step.step));
    let second_correction = 1.0 - step.beta2.powf(f64::from(step.step));
    let mut values = param.to_f32_vec();
    let mut m = exp_avg.to_f32_vec();
    let mut v = exp_avg_sq.to_f32_vec();
    for (i, grad) in grad.to_f32_vec().into_iter().enumerate() {
        let grad = f64::from(grad * step.grad_scale);
        m[i] = (step.beta1 * f64::from(m[i]) + (1.0 - step.beta1) * grad) as f32;
        v[i] = (step.beta2 * f64::from(v[i]) + (1.0 - step.beta2) * grad * grad) as f32;
        let mean = f64::from(m[i]) / first_correction;
        let root = (f64::from(v[i]) / second_correction).sqrt();
        let decayed = f64::from(values[i]) * (1.0 - step.learning_rate * step.weight_decay);
        values[i] = (decayed - step.learning_rate * mean / (root + step.eps)) as f32;
    }
    write(param, &values);
    write(exp_avg, &m);
    write(exp_avg_sq, &v);
    if let Some(copy) = copy {
        write(copy, &values);
    }
}
