//! One block of a decoder.

use retune_compute::Tensor;
use retune_compute::ops::cast;

use super::attention::AttentionSaved;
use super::mlp::MlpSaved;
use super::{Attention, Mlp, Pass, RmsNorm};
use crate::cache::{CachePlan, LayerCache};
use crate::error::Result;
use crate::parameter::Parameter;

/// `h = x + attention(norm(x))`, `y = h + mlp(norm(h))`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) input_layernorm: RmsNorm,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: RmsNorm,
    pub(crate) mlp: Mlp,
}

/// What the backward pass wants beside the input.
#[derive(Debug)]
pub(crate) struct BlockSaved {
    input: Tensor,
    input_rstd: Tensor,
    attention: AttentionSaved,
    after_attention: Tensor,
    post: Tensor,
    post_rstd: Tensor,
    mlp: MlpSaved,
}

impl Block {
    /// The residual stream behind the block, f32.
    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<(Tensor, BlockSaved)> {
        let input = self.input_layernorm.forward(x, pass.dtype)?;
        let mut after_attention = x.try_clone()?;
        let attention = self
            .self_attn
            .forward(&input.y, pass, &mut after_attention)?;
        let norm = &self.post_attention_layernorm;
        let post = norm.forward(&after_attention, pass.dtype)?;
        let mut y = after_attention.try_clone()?;
        let mlp = self.mlp.forward(&post.y, pass, &mut y)?;
        let saved = BlockSaved {
            input: input.y,
            input_rstd: input.rstd,
            attention,
            after_attention,
            post: post.y,
            post_rstd: post.rstd,
            mlp,
        };
        Ok((y, saved))
    }

    /// The same for new rows of sequences whose earlier ones are in `cache`; `x`
    /// becomes the residual stream behind the block.
    pub(crate) fn forward_cached(
        &self,
        x: &mut Tensor,
        pass: &Pass<'_>,
        cache: &mut LayerCache,
        plan: &CachePlan,
    ) -> Result<()> {
        let input = self.input_layernorm.forward(x, pass.dtype)?;
        self.self_attn
            .forward_cached(&input.y, pass, cache, plan, x)?;
        let post = self.post_attention_layernorm.forward(x, pass.dtype)?;
        self.mlp.forward(&post.y, pass, x)?;
        Ok(())
    }

    /// `d_x` holds the gradient of the block's output and gets that of its
    /// input `x`, if `input_wanted`.
    pub(crate) fn backward(
        &mut self,
        x: &Tensor,
        saved: BlockSaved,
        pass: &Pass<'_>,
        d_x: &mut Tensor,
        input_wanted: bool,
    ) -> Result<()> {
        let d_y = cast(d_x, pass.dtype)?;
        let d_post = self.mlp.backward(&d_y, &saved.post, &saved.mlp, pass)?;
        let norm = &mut self.post_attention_layernorm;
        norm.backward(&d_post, &saved.after_attention, &saved.post_rstd, d_x)?;
        let d_h = cast(d_x, pass.dtype)?;
        // The norm's own weight may be trained where nothing below is.
        let wanted = input_wanted || self.input_layernorm.weight.parameter().is_some();
        let attention = &mut self.self_attn;
        let d_input = attention.backward(&d_h, &saved.input, saved.attention, pass, wanted)?;
        match d_input {
            Some(d_input) => self
                .input_layernorm
                .backward(&d_input, x, &saved.input_rstd, d_x),
            None => Ok(()),
        }
    }

    pub(crate) fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let first = self.input_layernorm.weight.parameter();
        let second = self.post_attention_layernorm.weight.parameter();
        first
            .into_iter()
            .chain(self.self_attn.parameters())
            .chain(second)
            .chain(self.mlp.parameters())
    }
}
