//! The operations, each forward and backward.
//!
//! Common rules:
//! - `T` is tokens (of all packed sequences together), `C` the hidden size,
//!   `H` query heads, `KV` key/value heads, `D` the head size, `V` the
//!   vocabulary.
//! - Arguments are checked before anything is written, and a call that fails
//!   leaves its outputs as they were. Every function that makes or copies a
//!   tensor can fail with `OutOfMemory`, beside the errors that it lists.
//! - Statistics, gradients of parameters and sums are f32; activations and
//!   weights are f32 or bf16 as the caller chose them.
//! - Backward functions add (`+=`) to any gradient that they take as `&mut`;
//!   products, [`linear_backward`] among them, do so where their epilogue says
//!   [`Epilogue::accumulate`].
//! - No result depends on the number of threads. A row of a result does not
//!   depend on which other rows are in the call. The gradient of a parameter is
//!   a sum over rows, and so rounds with the rows that are in the call.

mod activation;
mod adamw;
mod attention;
mod check;
mod cross_entropy;
mod dropout;
mod elementwise;
mod embedding;
mod matmul;
mod norm;
mod rope;
mod rows;
mod segments;
mod weight;

pub use activation::{GeluKind, gelu_backward, gelu_forward, swiglu_backward, swiglu_forward};
pub use adamw::{AdamW, AdamWUpdate, adamw_step, adamw_steps};
pub use attention::{
    AttentionConfig, AttentionOutput, CachedSequence, attention_backward, attention_cached,
    attention_forward,
};
pub use cross_entropy::{
    HeadGradients, HeadLoss, Scored, head_cross_entropy_backward, head_cross_entropy_forward,
};
pub use dropout::{Dropout, RowKey, dropout};
pub use elementwise::{add_assign, cast, norm, scale, sum, sum_of_squares};
pub use embedding::{embedding_backward, embedding_forward};
pub use matmul::{
    Epilogue, LowRank, linear_backward, linear_forward, matmul_nn, matmul_nt, matmul_tn,
};
pub use norm::{
    LayerNormOutput, LayerNormSaved, NormGradients, RmsNormOutput, layer_norm_backward,
    layer_norm_forward, rms_norm_backward, rms_norm_forward,
};
pub use rope::{RopeAngles, RopeConfig, RopeScaling, rope_backward, rope_forward};
pub use rows::{argmax_rows, gather_rows, scatter_add_rows, scatter_rows};
pub use segments::Segments;
pub use weight::{FrozenWeight, Packing, Weight};

pub(crate) use adamw::AdamWFactors;
pub(crate) use matmul::K_BLOCK;
pub(crate) use segments::{KeySpan, Sequence};
