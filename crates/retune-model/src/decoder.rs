//! A decoder: embedding, blocks, a last norm, the head.

use std::sync::Arc;

use retune_compute::ops::{
    Epilogue, HeadGradients, HeadLoss, RmsNormOutput, RopeAngles, RopeConfig, RowKey, Scored,
    Segments, argmax_rows, embedding_backward, embedding_forward, gather_rows,
    head_cross_entropy_backward, head_cross_entropy_forward, linear_forward,
};
use retune_compute::{DType, Device, Tensor};

use crate::adapter::{Adapter, RowAdapters};
use crate::cache::{CachePlan, KvCache, NextTokens};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::layers::{Block, BlockSaved, Matrix, Pass, RmsNorm};
use crate::parameter::Parameter;

/// Rows whose logits are in memory at a time: as few as keep the device busy.
pub fn chunk_rows(device: &Device) -> usize {
    if device.is_cuda() { 1024 } else { 128 }
}

/// Sequences that go through a model together, packed end to end.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The tokens, `[T]`.
    pub input_ids: Vec<u32>,
    /// Which of them belong together.
    pub segments: Segments,
    /// The scored rows, `[R]`.
    pub rows: Vec<u32>,
    /// The token that should follow each, `[R]`.
    pub targets: Vec<u32>,
    /// Which token of which sample each row is, `[T]`, for dropout.
    pub row_keys: Vec<RowKey>,
}

impl Batch {
    /// A batch to score and not to train on, which needs no keys for dropout. With
    /// `shared_prefix` the first of the segments that begin at `offsets` is the
    /// beginning of all others.
    ///
    /// # Errors
    /// Those of the compute core: offsets that do not rise from 0.
    pub fn scoring(
        input_ids: Vec<u32>,
        (offsets, shared_prefix): (&[usize], bool),
        (rows, targets): (Vec<u32>, Vec<u32>),
    ) -> Result<Self> {
        let segments = match shared_prefix {
            true => Segments::with_shared_prefix(offsets)?,
            false => Segments::new(offsets)?,
        };
        Ok(Self {
            input_ids,
            segments,
            rows,
            targets,
            row_keys: Vec::new(),
        })
    }
}

/// What is kept of a forward pass for the backward one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// All that the layers save.
    Keep,
    /// The input of each block; the rest is computed again.
    Recompute,
}

/// A causal language model.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: ModelConfig,
    pub(crate) dtype: DType,
    pub(crate) embed_tokens: Matrix,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    /// None where the head is the embedding.
    pub(crate) lm_head: Option<Matrix>,
}

/// A block's input, and what it saved where that is kept.
struct Kept {
    x: Tensor,
    saved: Option<BlockSaved>,
}

impl Decoder {
    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The type of products' factors.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        self.norm.weight.value().device()
    }

    fn pass<'a>(
        &self,
        segments: &'a Segments,
        dropout: Option<(u32, &'a [RowKey])>,
    ) -> Result<Pass<'a>> {
        let rope: &RopeConfig = &self.config.rope;
        let device = self.device();
        Ok(Pass {
            segments,
            angles: RopeAngles::new(device, rope, &segments.positions())?,
            dtype: self.dtype,
            dropout,
            adapters: None,
        })
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(embedding_forward(
            self.embed_tokens.weight(),
            ids,
            DType::F32,
        )?)
    }

    /// The rows behind the last norm, `[T, C]`.
    fn hidden(
        &self,
        ids: &[u32],
        segments: &Segments,
        adapter: Option<&Arc<Adapter>>,
    ) -> Result<Tensor> {
        let adapters = RowAdapters::one(adapter);
        let pass = Pass {
            adapters: adapters.as_ref(),
            ..self.pass(segments, None)?
        };
        let mut x = self.embed(ids)?;
        for block in &self.blocks {
            x = block.forward(&x, &pass)?.0;
        }
        Ok(self.norm.forward(&x, self.dtype)?.y)
    }

    fn head(&self) -> &Matrix {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// The token with the largest of each row of logits `[rows, V]`, the first of equal
    /// ones; `None` where a logit is not finite. On a GPU, logits stay there.
    ///
    /// # Errors
    /// `ShapeMismatch`.
    pub fn largest(&self, logits: &Tensor) -> Result<Vec<Option<u32>>> {
        Ok(argmax_rows(logits)?)
    }

    /// The logits of rows behind the last norm, `[rows, V]`, f32, from `[rows, C]`.
    ///
    /// # Errors
    /// `ShapeMismatch`; no memory.
    pub fn logits_of(&self, hidden: &Tensor) -> Result<Tensor> {
        let shape = [hidden.shape()[0], self.config.vocab_size];
        let mut logits = Tensor::empty(hidden.device(), &shape, DType::F32)?;
        let epilogue = Epilogue::default();
        linear_forward(hidden, self.head().weight(), epilogue, &mut logits)?;
        Ok(logits)
    }

    /// The logits of every token, `[T, V]`, f32.
    ///
    /// # Errors
    /// Those of the compute core: an id beyond the vocabulary, no memory.
    pub fn logits(&self, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        let hidden = self.hidden(ids, segments, None)?;
        self.logits_of(&hidden)
    }

    /// The logits of the last token of each segment, `[S, V]`, f32, with `adapter`
    /// beside frozen weights.
    ///
    /// # Errors
    /// As `logits`; `IndexOutOfRange` if a segment is empty.
    pub fn last_logits(
        &self,
        ids: &[u32],
        segments: &Segments,
        adapter: Option<&Arc<Adapter>>,
    ) -> Result<Tensor> {
        let hidden = self.hidden(ids, segments, adapter)?;
        // An empty segment has no last token, nor any row.
        let rows = segments.ranges().map(|range| match range.is_empty() {
            true => u32::MAX,
            false => range.end as u32 - 1,
        });
        let last = gather_rows(&hidden, &rows.collect::<Vec<u32>>())?;
        self.logits_of(&last)
    }

    /// The logits behind the last new token of each sequence, `[S, V]`, f32. What
    /// came before is read from `cache`, and the new tokens are added to it. The
    /// same bytes as [`Decoder::last_logits`] gives for the whole sequences.
    ///
    /// # Errors
    /// As `logits`; then the sequences are not to be used any more.
    ///
    /// # Panics
    /// If a sequence has no room for its new tokens, or none are given for it.
    pub fn next_logits(&self, next: &mut [NextTokens<'_>], cache: &mut KvCache) -> Result<Tensor> {
        let mut end = 0;
        let ends = next.iter().map(|next| {
            end += next.ids.len() as u32;
            end.wrapping_sub(1)
        });
        let rows: Vec<u32> = ends.collect();
        self.logits_of(&self.next_hidden(next, &rows, cache)?)
    }

    /// What is behind the last norm for some of the new tokens of all sequences,
    /// `[rows, C]`, in the type of products; `rows` are their numbers. Else as
    /// [`Decoder::next_logits`].
    ///
    /// # Errors
    /// As `next_logits`; `IndexOutOfRange` if there is no such row.
    ///
    /// # Panics
    /// As `next_logits`.
    pub fn next_hidden(
        &self,
        next: &mut [NextTokens<'_>],
        rows: &[u32],
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let mut offsets = vec![0];
        let mut ids = Vec::new();
        for NextTokens { ids: new, .. } in next.iter() {
            assert!(!new.is_empty(), "a sequence goes on by at least one token");
            ids.extend_from_slice(new);
            offsets.push(ids.len());
        }
        let adapters = cache.adapters.rows(next)?;
        let plan = CachePlan::new(next);
        let segments = Segments::new(&offsets)?;
        let device = self.device();
        let pass = Pass {
            segments: &segments,
            angles: RopeAngles::new(device, &self.config.rope, &plan.positions)?,
            dtype: self.dtype,
            dropout: None,
            adapters: adapters.as_ref(),
        };
        let mut x = self.embed(&ids)?;
        for (block, cache) in self.blocks.iter().zip(&mut cache.layers) {
            block.forward_cached(&mut x, &pass, cache, &plan)?;
        }
        let all = rows.len() == ids.len() && rows.iter().copied().eq(0..ids.len() as u32);
        let rows = match all {
            true => x,
            false => gather_rows(&x, rows)?,
        };
        Ok(self.norm.forward(&rows, self.dtype)?.y)
    }

    /// The cross-entropy of the scored rows, without dropout, with `adapter` beside
    /// frozen weights.
    ///
    /// # Errors
    /// As `logits`.
    pub fn loss(&self, batch: &Batch, adapter: Option<&Arc<Adapter>>) -> Result<HeadLoss> {
        let hidden = self.hidden(&batch.input_ids, &batch.segments, adapter)?;
        let scored = scored(batch, hidden.device());
        Ok(head_cross_entropy_forward(
            &hidden,
            self.head().weight(),
            scored,
        )?)
    }

    /// The cross-entropy of the scored rows; the gradients of `share` times their
    /// sum are added to those of all parameters. `share` is one over the scored
    /// rows of the whole optimizer step, `step` its number.
    ///
    /// # Errors
    /// As `logits`.
    pub fn loss_and_backward(
        &mut self,
        batch: &Batch,
        share: f32,
        step: u32,
        activations: Activations,
    ) -> Result<HeadLoss> {
        let pass = self.pass(&batch.segments, Some((step, &batch.row_keys)))?;
        let mut kept = Vec::with_capacity(self.blocks.len());
        let mut x = self.embed(&batch.input_ids)?;
        for block in &self.blocks {
            let (y, saved) = block.forward(&x, &pass)?;
            let saved = (activations == Activations::Keep).then_some(saved);
            kept.push(Kept { x, saved });
            x = y;
        }
        let last = self.norm.forward(&x, self.dtype)?;
        let (loss, d_last) = self.head_backward(&last, batch, share)?;
        let mut d_x = Tensor::zeros(x.device(), x.shape(), DType::F32)?;
        self.norm.backward(&d_last, &x, &last.rstd, &mut d_x)?;
        drop((x, last, d_last));
        let lowest = self.lowest_trained();
        for (layer, block) in self.blocks.iter_mut().enumerate().rev() {
            let Some(Kept { x, saved }) = kept.pop().filter(|_| lowest <= Some(layer)) else {
                break;
            };
            let saved = match saved {
                Some(saved) => saved,
                None => block.forward(&x, &pass)?.1,
            };
            block.backward(&x, saved, &pass, &mut d_x, lowest < Some(layer))?;
        }
        if let Matrix::Trained(Parameter { grad, .. }) = &mut self.embed_tokens {
            embedding_backward(&d_x, &batch.input_ids, grad)?;
        }
        Ok(loss)
    }

    /// The lowest block in which something is trained; None if gradients go down
    /// to the embedding.
    fn lowest_trained(&mut self) -> Option<usize> {
        if self.embed_tokens.parameter().is_some() {
            return None;
        }
        let trained = |block: &mut Block| block.parameters().next().is_some();
        let lowest = self.blocks.iter_mut().position(trained);
        Some(lowest.unwrap_or(self.blocks.len()))
    }

    /// Loss, and the gradient of the rows behind the last norm, f32.
    fn head_backward(
        &mut self,
        last: &RmsNormOutput,
        batch: &Batch,
        share: f32,
    ) -> Result<(HeadLoss, Tensor)> {
        let mut d_last = Tensor::zeros(last.y.device(), last.y.shape(), DType::F32)?;
        let head = self.lm_head.as_mut().unwrap_or(&mut self.embed_tokens);
        let scored = scored(batch, last.y.device());
        let loss = match head {
            Matrix::Frozen(weight) => {
                let wanted = HeadGradients {
                    d_hidden: Some(&mut d_last),
                    d_weight: None,
                };
                head_cross_entropy_backward(&last.y, &*weight, scored, share, wanted)?
            }
            Matrix::Trained(parameter) => {
                let (weight, grad) = parameter.for_products_and_grad();
                let wanted = HeadGradients {
                    d_hidden: Some(&mut d_last),
                    d_weight: Some(grad),
                };
                head_cross_entropy_backward(&last.y, weight, scored, share, wanted)?
            }
        };
        Ok((loss, d_last))
    }

    /// All that is trained, in the order of the layers.
    pub fn parameters(&mut self) -> Vec<&mut Parameter> {
        let mut parameters: Vec<&mut Parameter> = Vec::new();
        parameters.extend(self.embed_tokens.parameter());
        parameters.extend(self.blocks.iter_mut().flat_map(Block::parameters));
        parameters.extend(self.norm.weight.parameter());
        parameters.extend(self.lm_head.as_mut().and_then(Matrix::parameter));
        parameters
    }
}

fn scored<'a>(batch: &'a Batch, device: &Device) -> Scored<'a> {
    Scored {
        rows: &batch.rows,
        targets: &batch.targets,
        chunk_rows: chunk_rows(device),
    }
}

/// The token with the largest of the logits `[V]`; the first of equal ones.
pub fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best as u32
}
