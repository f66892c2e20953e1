//! Layers: `forward(x) -> (y, saved)`, `backward(d_y, saved) -> d_x`.
//!
//! Products take factors of one type, f32 or bf16 (`dtype`); the residual
//! stream, its gradient and all gradients of parameters are f32.

mod attention;
mod block;
mod linear;
mod lora;
mod mlp;
mod norm;

use retune_compute::ops::{RopeAngles, RowKey, Segments, cast};
use retune_compute::{DType, Tensor};

use crate::adapter::RowAdapters;
use crate::error::Result;

pub(crate) use attention::Attention;
pub(crate) use block::{Block, BlockSaved};
pub(crate) use linear::{Linear, Matrix};
pub(crate) use lora::Lora;
pub(crate) use mlp::Mlp;
pub(crate) use norm::RmsNorm;

/// What the layers of one pass have in common.
pub(crate) struct Pass<'a> {
    pub(crate) segments: &'a Segments,
    pub(crate) angles: RopeAngles,
    /// The type of products' factors.
    pub(crate) dtype: DType,
    /// Where dropout is on: the optimizer step, and which token each row is.
    pub(crate) dropout: Option<(u32, &'a [RowKey])>,
    /// Adapters beside frozen weights, in place of LoRA that is trained.
    pub(crate) adapters: Option<&'a RowAdapters>,
}

impl Pass<'_> {
    /// A tensor for `width` numbers of each token.
    pub(crate) fn rows(&self, like: &Tensor, width: usize, dtype: DType) -> Result<Tensor> {
        Ok(Tensor::empty(
            like.device(),
            &[like.shape()[0], width],
            dtype,
        )?)
    }

    /// A tensor as products take it.
    fn for_products(&self, x: Tensor) -> Result<Tensor> {
        match x.dtype() == self.dtype {
            true => Ok(x),
            false => Ok(cast(&x, self.dtype)?),
        }
    }
}
