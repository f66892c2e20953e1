//! RMS norm with a weight that is frozen or trained.

use retune_compute::ops::{NormGradients, RmsNormOutput, rms_norm_backward, rms_norm_forward};
use retune_compute::{DType, Tensor};

use crate::error::Result;
use crate::parameter::{Parameter, Vector};

/// RMS norm over the last axis.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    pub(crate) weight: Vector,
    pub(crate) eps: f32,
}

impl RmsNorm {
    pub(crate) fn forward(&self, x: &Tensor, dtype: DType) -> Result<RmsNormOutput> {
        Ok(rms_norm_forward(x, self.weight.value(), self.eps, dtype)?)
    }

    /// Adds to `d_x`, f32.
    pub(crate) fn backward(
        &mut self,
        d_y: &Tensor,
        x: &Tensor,
        rstd: &Tensor,
        d_x: &mut Tensor,
    ) -> Result<()> {
        let none = NormGradients {
            d_weight: None,
            d_bias: None,
        };
        match &mut self.weight {
            Vector::Frozen(weight) => rms_norm_backward(d_y, x, weight, rstd, d_x, none)?,
            Vector::Trained(Parameter { value, grad, .. }) => {
                let wanted = NormGradients {
                    d_weight: Some(grad),
                    ..none
                };
                rms_norm_backward(d_y, x, value, rstd, d_x, wanted)?;
            }
        }
        Ok(())
    }
}
