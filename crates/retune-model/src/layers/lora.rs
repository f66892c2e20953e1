//! LoRA: a low-rank term beside a weight.

use retune_compute::ops::{
    Dropout, Epilogue, LowRank, add_assign, dropout, matmul_nn, matmul_nt, matmul_tn,
};
use retune_compute::{DType, RandomKey, Tensor};

use super::Pass;
use crate::error::Result;
use crate::parameter::Parameter;

/// `y += scale · (dropout(x)·Aᵀ)·Bᵀ`.
///
/// # Reference
/// Hu et al. 2021, arXiv:2106.09685
#[derive(Debug)]
pub(crate) struct Lora {
    /// `[r, in_features]`.
    pub(crate) a: Parameter,
    /// `[out_features, r]`.
    pub(crate) b: Parameter,
    /// `lora_alpha / r`, or over its square root.
    pub(crate) scale: f32,
    /// `lora_dropout`.
    pub(crate) dropout: f32,
    /// Tells this layer's dropout from others'.
    pub(crate) key: RandomKey,
}

/// What the backward pass wants.
#[derive(Debug)]
pub(crate) struct LoraSaved {
    /// `dropout(x)·Aᵀ`, `[T, r]`.
    u: Tensor,
}

impl Lora {
    /// The dropout of this layer in a pass, if there is any.
    fn mask(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Option<Tensor>> {
        let Some((step, rows)) = pass.dropout.filter(|_| self.dropout > 0.0) else {
            return Ok(None);
        };
        let config = Dropout {
            probability: self.dropout,
            key: self.key,
            step,
        };
        Ok(Some(dropout(x, rows, &config)?))
    }

    /// Whether inputs are masked in this pass.
    pub(crate) fn drops(&self, pass: &Pass<'_>) -> bool {
        pass.dropout.is_some() && self.dropout > 0.0
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<LoraSaved> {
        let masked = self.mask(x, pass)?;
        let x = masked.as_ref().unwrap_or(x);
        let mut u = pass.rows(x, self.a.value.shape()[0], pass.dtype)?;
        matmul_nt(x, self.a.for_products(), Epilogue::default(), &mut u)?;
        Ok(LoraSaved { u })
    }

    /// The term that the forward product adds.
    pub(crate) fn term<'a>(&'a self, saved: &'a LoraSaved) -> LowRank<'a> {
        LowRank {
            u: &saved.u,
            b: self.b.for_products().into(),
            transposed: true,
            scale: self.scale,
            row_scales: None,
        }
    }

    /// Adds to the gradients of A and B. Returned is `d_y·B`, `[T, r]`.
    pub(crate) fn backward(
        &mut self,
        d_y: &Tensor,
        x: &Tensor,
        saved: &LoraSaved,
        pass: &Pass<'_>,
    ) -> Result<Tensor> {
        let mut g = pass.rows(x, self.a.value.shape()[0], pass.dtype)?;
        matmul_nn(d_y, self.b.for_products(), Epilogue::default(), &mut g)?;
        let scaled = || Epilogue::default().scale(self.scale).accumulate();
        let masked = self.mask(x, pass)?;
        matmul_tn(&g, masked.as_ref().unwrap_or(x), scaled(), &mut self.a.grad)?;
        matmul_tn(d_y, &saved.u, scaled(), &mut self.b.grad)?;
        Ok(g)
    }

    /// The term that the product for the input's gradient adds, unless dropout
    /// stands between.
    pub(crate) fn input_term<'a>(&'a self, g: &'a Tensor, pass: &Pass<'_>) -> Option<LowRank<'a>> {
        (!self.drops(pass)).then(|| LowRank {
            u: g,
            b: self.a.for_products().into(),
            transposed: false,
            scale: self.scale,
            row_scales: None,
        })
    }

    /// The same through dropout, added to `d_x`.
    pub(crate) fn add_masked(&self, g: &Tensor, pass: &Pass<'_>, d_x: &mut Tensor) -> Result<()> {
        let mut term = Tensor::empty(d_x.device(), d_x.shape(), DType::F32)?;
        let scaled = Epilogue::default().scale(self.scale);
        matmul_nn(g, self.a.for_products(), scaled, &mut term)?;
        if let Some(masked) = self.mask(&term, pass)? {
            add_assign(d_x, &masked)?;
        }
        Ok(())
    }
}
