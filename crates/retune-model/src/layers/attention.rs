//! Attention with grouped heads, rotary positions, and norms of queries and
//! keys where an architecture has them.

use retune_compute::ops::{
    AttentionConfig, AttentionOutput, attention_backward, attention_cached, attention_forward,
    rope_backward, rope_forward,
};
use retune_compute::{DType, Tensor};

use super::linear::{InputGradient, LinearSaved};
use super::{Linear, Pass, RmsNorm};
use crate::cache::{CachePlan, LayerCache};
use crate::error::Result;
use crate::parameter::Parameter;

/// `y += o_proj(attention(q_proj(x), k_proj(x), v_proj(x)))`.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    /// Norms of each head's query and key.
    pub(crate) qk_norm: Option<[RmsNorm; 2]>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) config: AttentionConfig,
}

/// Queries or keys on their way: before their norm, and its statistic.
#[derive(Debug)]
struct Normed {
    x: Tensor,
    rstd: Tensor,
}

/// What the backward pass wants beside the input.
#[derive(Debug)]
pub(crate) struct AttentionSaved {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    output: AttentionOutput,
    normed: Option<[Normed; 2]>,
    linears: [LinearSaved; 4],
}

/// What attention is computed of, `[T, heads, D]` each.
struct Projected {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    normed: Option<[Normed; 2]>,
    linears: [LinearSaved; 3],
}

impl Attention {
    /// Adds to the residual stream `y`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        pass: &Pass<'_>,
        y: &mut Tensor,
    ) -> Result<AttentionSaved> {
        let tokens = x.shape()[0];
        let Projected {
            q,
            k,
            v,
            normed,
            linears: [q_saved, k_saved, v_saved],
        } = self.project(x, pass)?;
        let mut output = attention_forward(&q, &k, &v, pass.segments, &self.config)?;
        output.out = output.out.reshape(&[tokens, self.heads * self.head_dim])?;
        let o_saved = self.o_proj.forward(&output.out, pass, true, y)?;
        Ok(AttentionSaved {
            q,
            k,
            v,
            output,
            normed,
            linears: [q_saved, k_saved, v_saved, o_saved],
        })
    }

    /// The same for new rows of sequences whose earlier ones are in `cache`, which
    /// gets the new ones too.
    pub(crate) fn forward_cached(
        &self,
        x: &Tensor,
        pass: &Pass<'_>,
        cache: &mut LayerCache,
        plan: &CachePlan,
        y: &mut Tensor,
    ) -> Result<()> {
        let tokens = x.shape()[0];
        let Projected { q, k, v, .. } = self.project(x, pass)?;
        cache.append(&k, &v, plan)?;
        let out = attention_cached(&q, &cache.k, &cache.v, &plan.sequences, &self.config)?;
        let out = out.reshape(&[tokens, self.heads * self.head_dim])?;
        self.o_proj.forward(&out, pass, true, y)?;
        Ok(())
    }

    /// Queries, keys and values, at their positions.
    fn project(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Projected> {
        let tokens = x.shape()[0];
        let project = |linear: &Linear, heads: usize, dtype: DType| -> Result<_> {
            let mut out = pass.rows(x, heads * self.head_dim, dtype)?;
            let saved = linear.forward(x, pass, false, &mut out)?;
            Ok((out.reshape(&[tokens, heads, self.head_dim])?, saved))
        };
        let (q, q_saved) = project(&self.q_proj, self.heads, DType::F32)?;
        let (k, k_saved) = project(&self.k_proj, self.kv_heads, DType::F32)?;
        let (v, v_saved) = project(&self.v_proj, self.kv_heads, pass.dtype)?;
        let (q, k, normed) = match &self.qk_norm {
            None => (q, k, None),
            Some([q_norm, k_norm]) => {
                let (qn, kn) = (
                    q_norm.forward(&q, DType::F32)?,
                    k_norm.forward(&k, DType::F32)?,
                );
                let normed = [
                    Normed {
                        x: q,
                        rstd: qn.rstd,
                    },
                    Normed {
                        x: k,
                        rstd: kn.rstd,
                    },
                ];
                (qn.y, kn.y, Some(normed))
            }
        };
        let q = rope_forward(&q, &pass.angles, pass.dtype)?;
        let k = rope_forward(&k, &pass.angles, pass.dtype)?;
        Ok(Projected {
            q,
            k,
            v,
            normed,
            linears: [q_saved, k_saved, v_saved],
        })
    }

    /// The gradient of the input, f32, if `input_wanted`. `d_y` is of the type of
    /// products.
    pub(crate) fn backward(
        &mut self,
        d_y: &Tensor,
        x: &Tensor,
        saved: AttentionSaved,
        pass: &Pass<'_>,
        input_wanted: bool,
    ) -> Result<Option<Tensor>> {
        let AttentionSaved {
            q,
            k,
            v,
            mut output,
            normed,
            linears: [q_saved, k_saved, v_saved, o_saved],
        } = saved;
        let tokens = x.shape()[0];
        let by_head = [tokens, self.heads, self.head_dim];
        let dtype = self.o_proj.gradient_dtype(pass);
        let mut d_out = pass.rows(x, self.heads * self.head_dim, dtype)?;
        let whole = InputGradient::Whole(&mut d_out);
        self.o_proj
            .backward(d_y, &output.out, &o_saved, pass, whole)?;
        let d_out = pass.for_products(d_out)?.reshape(&by_head)?;
        output.out = output.out.reshape(&by_head)?;
        let (d_q, d_k, d_v) =
            attention_backward(&d_out, [&q, &k, &v], &output, pass.segments, &self.config)?;
        drop((q, k, v, output, d_out));
        let dtype = match &self.qk_norm {
            Some(_) => DType::F32,
            None => pass.dtype,
        };
        let mut d_q = rope_backward(&d_q, &pass.angles, dtype)?;
        let mut d_k = rope_backward(&d_k, &pass.angles, dtype)?;
        if let (Some([q_norm, k_norm]), Some([q, k])) = (&mut self.qk_norm, &normed) {
            for (norm, normed, d) in [(q_norm, q, &mut d_q), (k_norm, k, &mut d_k)] {
                let mut d_x = Tensor::zeros(x.device(), d.shape(), DType::F32)?;
                norm.backward(d, &normed.x, &normed.rstd, &mut d_x)?;
                *d = d_x;
            }
        }
        let mut d_x = match input_wanted {
            true => Some(pass.rows(x, x.shape()[1], DType::F32)?),
            false => None,
        };
        let mut is_first = true;
        for (linear, saved, d) in [
            (&mut self.q_proj, q_saved, d_q),
            (&mut self.k_proj, k_saved, d_k),
            (&mut self.v_proj, v_saved, d_v),
        ] {
            let width = d.len() / tokens.max(1);
            let d = pass.for_products(d)?.reshape(&[tokens, width])?;
            let wanted = match &mut d_x {
                None => InputGradient::Unwanted,
                Some(d_x) if is_first => InputGradient::Whole(d_x),
                Some(d_x) => InputGradient::Added(d_x),
            };
            is_first = false;
            linear.backward(&d, x, &saved, pass, wanted)?;
        }
        Ok(d_x)
    }

    pub(crate) fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let q = self.q_proj.parameters();
        let projections = q
            .chain(self.k_proj.parameters())
            .chain(self.v_proj.parameters())
            .chain(self.o_proj.parameters());
        let norms = self.qk_norm.iter_mut().flatten();
        projections.chain(norms.filter_map(|norm| norm.weight.parameter()))
    }
}
