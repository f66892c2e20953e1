//! The AdamW optimizer's step.

use super::check::Check;
use crate::backend::AdamWTensors;
use crate::error::Result;
use crate::{DType, Tensor};

/// The numbers of one AdamW step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the average of gradients.
    pub beta1: f32,
    /// Decay of the average of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// The gradient is multiplied by this first; clipping's factor, or 1.
    pub grad_scale: f32,
    /// The number of this step, the first being 1.
    pub step: u32,
}

impl AdamW {
    /// Beta 0.9 and 0.999, eps 1e-8, no decay, no clipping.
    pub fn new(learning_rate: f32, step: u32) -> Self {
        Self {
            learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            grad_scale: 1.0,
            step,
        }
    }

    /// `(learning_rate / (1 − beta1ᵗ), sqrt(1 − beta2ᵗ))`, computed in f64.
    pub(crate) fn bias_corrections(&self) -> (f32, f32) {
        let step = f64::from(self.step);
        let first = 1.0 - f64::from(self.beta1).powf(step);
        let second = 1.0 - f64::from(self.beta2).powf(step);
        ((f64::from(self.learning_rate) / first) as f32, second.sqrt() as f32)
    }
}

/// One AdamW step, in place. With `copy`, the new parameter is also written
/// there: the bf16 copy that products read, while `param` is the f32 master.
///
/// # Shapes
/// `param`, `grad`, `exp_avg`, `exp_avg_sq`: any, equal, f32; `copy`: the same
/// shape, f32 or bf16.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`; `InvalidArgument` if
/// the step is 0, a beta is not in `[0, 1)`, or another number is negative or
/// not finite.
/// # Reference
/// Loshchilov & Hutter 2019, arXiv:1711.05101
pub fn adamw_step(
    param: &mut Tensor,
    grad: &Tensor,
    exp_avg: &mut Tensor,
    exp_avg_sq: &mut Tensor,
    copy: Option<&mut Tensor>,
    step: &AdamW,
) -> Result<()> {
    let check = Check::new("adamw_step");
    for (name, tensor) in [
        ("param", &*param),
        ("grad", grad),
        ("exp_avg", &*exp_avg),
        ("exp_avg_sq", &*exp_avg_sq),
    ] {
        check.device(name, tensor.device(), param.device())?;
        check.dtype(name, tensor, DType::F32)?;
        check.shape(name, tensor, param.shape())?;
    }
    if let Some(copy) = copy.as_deref() {
        check.device("copy", copy.device(), param.device())?;
        check.shape("copy", copy, param.shape())?;
    }
    for (name, beta) in [("step.beta1", step.beta1), ("step.beta2", step.beta2)] {
        check.number(name, beta, |b| (0.0..1.0).contains(&b), "at least 0 and below 1")?;
    }
    for (name, value) in [
        ("step.learning_rate", step.learning_rate),
        ("step.eps", step.eps),
        ("step.weight_decay", step.weight_decay),
        ("step.grad_scale", step.grad_scale),
    ] {
        check.number(name, value, |v| v >= 0.0, "a number of at least 0")?;
    }
    if step.step == 0 {
        return Err(check.invalid("step.step", 0, "1 for the first step"));
    }
    let device = param.device().clone();
    device.backend().adamw(AdamWTensors { param, grad, exp_avg, exp_avg_sq, copy }, step);
    Ok(())
}
