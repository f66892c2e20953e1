//! The AdamW optimizer's step.

use super::check::Check;
use crate::backend::AdamWTensors;
use crate::error::Result;
use crate::{DType, Tensor};

/// The numbers of one AdamW step. In f64, since `1 − beta2` loses its digits
/// in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the average of gradients.
    pub beta1: f64,
    /// Decay of the average of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The gradient is multiplied by this first; clipping's factor, or 1.
    pub grad_scale: f32,
    /// The number of this step, the first being 1.
    pub step: u32,
}

impl AdamW {
    /// Beta 0.9 and 0.999, eps 1e-8, no decay, no clipping.
    pub fn new(learning_rate: f64, step: u32) -> Self {
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

    /// The factors of the update `param = keep · param − rate · m / (√v /
    /// root_correction + eps)`, rounded to f32 once.
    pub(crate) fn factors(&self) -> AdamWFactors {
        let first = 1.0 - self.beta1.powf(f64::from(self.step));
        let second = 1.0 - self.beta2.powf(f64::from(self.step));
        AdamWFactors {
            beta1: self.beta1 as f32,
            one_minus_beta1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            keep: (1.0 - self.learning_rate * self.weight_decay) as f32,
            rate: (self.learning_rate / first) as f32,
            root_correction: second.sqrt() as f32,
            eps: self.eps as f32,
            grad_scale: self.grad_scale,
        }
    }
}

/// What [`AdamW::factors`] computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWFactors {
    pub(crate) beta1: f32,
    pub(crate) one_minus_beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) one_minus_beta2: f32,
    pub(crate) keep: f32,
    pub(crate) rate: f32,
    pub(crate) root_correction: f32,
    pub(crate) eps: f32,
    pub(crate) grad_scale: f32,
}

/// One AdamW step, in place. With `copy`, the new parameter is also written
/// there: the bf16 copy that products read, while `param` is the f32 master.
///
/// # Shapes
/// `param`, `grad`, `exp_avg`, `exp_avg_sq`: any, equal, f32; `copy`: the same
/// shape, f32 or bf16.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`; `InvalidArgument` if
/// the step is 0, a beta is not in `[0, 1)`, `eps` is not above 0, or another
/// number is negative or not finite.
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
    check_step(
        Check::new("adamw_step"),
        param,
        grad,
        [&*exp_avg, &*exp_avg_sq],
        copy.as_deref(),
        step,
    )?;
    let device = param.device().clone();
    device.backend().adamw(
        AdamWTensors {
            param,
            grad,
            exp_avg,
            exp_avg_sq,
            copy,
        },
        step,
    );
    Ok(())
}

/// What [`adamw_steps`] does with one parameter; the tensors are those of
/// [`adamw_step`].
#[derive(Debug)]
pub struct AdamWUpdate<'a> {
    /// The parameter.
    pub param: &'a mut Tensor,
    /// Its gradient, zero afterwards.
    pub grad: &'a mut Tensor,
    /// The running mean of gradients.
    pub exp_avg: &'a mut Tensor,
    /// The running mean of their squares.
    pub exp_avg_sq: &'a mut Tensor,
    /// A copy of the parameter that is kept up to date.
    pub copy: Option<&'a mut Tensor>,
    /// Its step.
    pub step: AdamW,
}

impl AdamWUpdate<'_> {
    pub(crate) fn tensors(&mut self) -> AdamWTensors<'_> {
        AdamWTensors {
            param: self.param,
            grad: self.grad,
            exp_avg: self.exp_avg,
            exp_avg_sq: self.exp_avg_sq,
            copy: self.copy.as_deref_mut(),
        }
    }
}

/// [`adamw_step`] for several parameters, whose gradients are zeroed. A GPU does all of
/// one call at once.
///
/// # Errors
/// As for [`adamw_step`]; then none is changed.
pub fn adamw_steps(mut updates: Vec<AdamWUpdate<'_>>) -> Result<()> {
    let check = Check::new("adamw_steps");
    for update in &updates {
        let moments = [&*update.exp_avg, &*update.exp_avg_sq];
        let copy = update.copy.as_deref();
        check_step(
            check,
            update.param,
            update.grad,
            moments,
            copy,
            &update.step,
        )?;
    }
    // All of a device's in one call.
    let of_device = updates.chunk_by_mut(|a, b| a.param.device() == b.param.device());
    for updates in of_device {
        let device = updates[0].param.device().clone();
        device.backend().adamw_all(updates);
    }
    Ok(())
}

fn check_step(
    check: Check,
    param: &Tensor,
    grad: &Tensor,
    [exp_avg, exp_avg_sq]: [&Tensor; 2],
    copy: Option<&Tensor>,
    step: &AdamW,
) -> Result<()> {
    for (name, tensor) in [
        ("param", param),
        ("grad", grad),
        ("exp_avg", exp_avg),
        ("exp_avg_sq", exp_avg_sq),
    ] {
        check.device(name, tensor.device(), param.device())?;
        check.dtype(name, tensor, DType::F32)?;
        check.shape(name, tensor, param.shape())?;
    }
    if let Some(copy) = copy {
        check.device("copy", copy.device(), param.device())?;
        check.shape("copy", copy, param.shape())?;
    }
    for (name, beta) in [("step.beta1", step.beta1), ("step.beta2", step.beta2)] {
        if !(0.0..1.0).contains(&beta) {
            return Err(check.invalid(name, beta, "at least 0 and below 1"));
        }
    }
    for (name, value) in [
        ("step.learning_rate", step.learning_rate),
        ("step.weight_decay", step.weight_decay),
        ("step.grad_scale", f64::from(step.grad_scale)),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(check.invalid(name, value, "a finite number of at least 0"));
        }
    }
    if step.step == 0 {
        return Err(check.invalid("step.step", 0, "1 for the first step"));
    }
    // The update is computed in f32.
    let factors = step.factors();
    if !(factors.eps.is_finite() && factors.eps > 0.0) {
        return Err(check.invalid("step.eps", step.eps, "a number above 0 within f32"));
    }
    if !factors.rate.is_finite() {
        return Err(check.invalid(
            "step.learning_rate",
            step.learning_rate,
            "a number within f32",
        ));
    }
    if !factors.keep.is_finite() {
        let expected = "one whose product with the learning rate is within f32";
        return Err(check.invalid("step.weight_decay", step.weight_decay, expected));
    }
    Ok(())
}
