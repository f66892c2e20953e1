//! The gated MLP.

use retune_compute::ops::{swiglu_backward, swiglu_forward};
use retune_compute::{DType, Tensor};

use super::linear::{InputGradient, LinearSaved};
use super::{Linear, Pass};
use crate::error::Result;
use crate::parameter::Parameter;

/// `y += down_proj(silu(gate_proj(x)) · up_proj(x))`.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
    pub(crate) intermediate_size: usize,
}

/// What the backward pass wants beside the input.
#[derive(Debug)]
pub(crate) struct MlpSaved {
    gate: Tensor,
    up: Tensor,
    activated: Tensor,
    linears: [LinearSaved; 3],
}

impl Mlp {
    /// Adds to the residual stream `y`.
    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass<'_>, y: &mut Tensor) -> Result<MlpSaved> {
        let mut gate = pass.rows(x, self.intermediate_size, pass.dtype)?;
        let mut up = pass.rows(x, self.intermediate_size, pass.dtype)?;
        let gate_saved = self.gate_proj.forward(x, pass, false, &mut gate)?;
        let up_saved = self.up_proj.forward(x, pass, false, &mut up)?;
        let activated = swiglu_forward(&gate, &up, pass.dtype)?;
        let down_saved = self.down_proj.forward(&activated, pass, true, y)?;
        Ok(MlpSaved {
            gate,
            up,
            activated,
            linears: [gate_saved, up_saved, down_saved],
        })
    }

    /// The gradient of the input, f32. `d_y` is of the type of products.
    pub(crate) fn backward(
        &mut self,
        d_y: &Tensor,
        x: &Tensor,
        saved: &MlpSaved,
        pass: &Pass<'_>,
    ) -> Result<Tensor> {
        let [gate, up, down] = &saved.linears;
        let dtype = self.down_proj.gradient_dtype(pass);
        let mut d_activated = pass.rows(x, self.intermediate_size, dtype)?;
        let whole = InputGradient::Whole(&mut d_activated);
        self.down_proj
            .backward(d_y, &saved.activated, down, pass, whole)?;
        let d_activated = pass.for_products(d_activated)?;
        let (d_gate, d_up) = swiglu_backward(&d_activated, &saved.gate, &saved.up, pass.dtype)?;
        let mut d_x = pass.rows(x, x.shape()[1], DType::F32)?;
        let whole = InputGradient::Whole(&mut d_x);
        self.gate_proj.backward(&d_gate, x, gate, pass, whole)?;
        let added = InputGradient::Added(&mut d_x);
        self.up_proj.backward(&d_up, x, up, pass, added)?;
        Ok(d_x)
    }

    pub(crate) fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let gate = self.gate_proj.parameters();
        gate.chain(self.up_proj.parameters())
            .chain(self.down_proj.parameters())
    }
}
