//! The fast operations on the CPU.
//!
//! One file per family; `gemm/` holds the matrix products. What is plain Rust
//! is compiled for each instruction set by `simd::for_each_tier!` and gives
//! the same bits on all that have fused multiply-adds; the kernels of `gemm/`
//! and the registers of `vector` use intrinsics.
//! `pool` and `split` share out work so that the bytes of a result do not
//! depend on the number of threads.

mod activation;
mod adamw;
mod attention;
mod cross_entropy;
mod dropout;
mod elementwise;
mod gemm;
mod math;
mod norm;
mod pool;
mod rope;
mod rows;
mod scratch;
mod simd;
mod split;
mod vector;

use std::sync::Arc;

pub(crate) use self::gemm::compressed::Compressed;
#[cfg(target_arch = "x86_64")]
pub(crate) use self::gemm::products_in_amx_registers;
pub(crate) use self::pool::ThreadPool;
use crate::backend::{
    AdamWTensors, AttentionBackward, Backend, FirstFactor, LogitGradient, NormBackward,
    PackedWeight, Product, Qkv, RowOutcome, Storage,
};
use crate::error::{Error, Result};
use crate::host::{HostMemory, MemoryUse};
use crate::ops::{AdamW, AttentionConfig, Dropout, GeluKind, Packing, RowKey, Sequence, Weight};
use crate::{CpuOptions, DType, Tensor, Tier};

/// The CPU as a device.
pub(crate) struct Cpu {
    tier: Tier,
    pool: ThreadPool,
    memory: Arc<HostMemory>,
}

impl Cpu {
    pub(crate) fn new(options: &CpuOptions) -> Result<Self> {
        let best = Tier::best();
        let tier = options.tier.unwrap_or(best);
        if tier > best {
            return Err(Error::TierUnavailable {
                requested: tier,
                best,
            });
        }
        let pool = ThreadPool::new("Device::cpu_with", "options.threads", options.threads)?;
        Ok(Self {
            tier,
            pool,
            memory: HostMemory::with_limit(options.memory_limit),
        })
    }

    fn out_of_memory(&self, bytes: usize) -> Error {
        Error::OutOfMemory {
            device: self.name(),
            bytes,
        }
    }

    /// Memory for a packed weight.
    fn weight_memory(&self, bytes: usize) -> Result<Storage> {
        let buffer = self.memory.allocate_lasting(bytes);
        buffer
            .map(Storage::Host)
            .ok_or_else(|| self.out_of_memory(bytes))
    }
}

impl Backend for Cpu {
    fn name(&self) -> String {
        let threads = self.pool.threads();
        format!(
            "cpu ({}, {threads} thread{})",
            self.tier,
            if threads == 1 { "" } else { "s" }
        )
    }

    fn has_bf16_products(&self) -> bool {
        self.tier.has_bf16_products()
    }

    fn memory_use(&self) -> MemoryUse {
        self.memory.usage()
    }

    fn reset_peak_memory(&self) {
        self.memory.reset_peak();
    }

    fn release_cached_memory(&self) {
        self.memory.release_cached();
    }

    fn allocate(&self, bytes: usize) -> Result<Storage> {
        let buffer = self.memory.allocate(bytes);
        buffer
            .map(Storage::Host)
            .ok_or_else(|| self.out_of_memory(bytes))
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, packing: Packing) -> usize {
        gemm::packed_bytes(out, input, dtype, packing)
    }

    fn pack(&self, weight: &Tensor, packing: Packing) -> Result<PackedWeight> {
        gemm::pack(self, weight, packing)
    }

    fn matmul_workspace(&self, first: FirstFactor) -> usize {
        gemm::workspace_bytes(first)
    }

    fn matmul(&self, product: &Product<'_>, workspace: Option<&mut Storage>, out: &mut Tensor) {
        gemm::matmul(self, product, workspace, out);
    }

    fn embedding_forward(&self, table: Weight<'_>, ids: &[u32], y: &mut Tensor) {
        rows::embedding_forward(self, table, ids, y);
    }

    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) {
        rows::scatter(self, d_y, ids, d_table, true);
    }

    fn gather_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor) {
        rows::gather(self, x, rows, y);
    }

    fn scatter_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool) {
        rows::scatter(self, x, rows, y, accumulate);
    }

    fn rms_norm_forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        y: &mut Tensor,
        rstd: &mut Tensor,
    ) {
        norm::rms_forward(self, x, weight, eps, y, rstd);
    }

    fn rms_norm_backward(&self, args: NormBackward<'_>) {
        norm::rms_backward(self, args);
    }

    fn layer_norm_forward(
        &self,
        x: &Tensor,
        affine: (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        statistics: (&mut Tensor, &mut Tensor),
    ) {
        norm::layer_forward(self, x, affine, eps, y, statistics);
    }

    fn layer_norm_backward(&self, args: NormBackward<'_>) {
        norm::layer_backward(self, args);
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor) {
        rope::rotate(self, x, cos, sin, inverse, y);
    }

    fn attention_forward(
        &self,
        qkv: Qkv<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
        out: &mut Tensor,
        logsumexp: Option<&mut Tensor>,
    ) {
        attention::forward(self, qkv, sequences, config, out, logsumexp);
    }

    fn attention_backward(
        &self,
        args: AttentionBackward<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
    ) {
        attention::backward(self, args, sequences, config);
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
        activation::swiglu_forward(self, gate, up, y);
    }

    fn swiglu_backward(
        &self,
        d_y: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        d_gate: &mut Tensor,
        d_up: &mut Tensor,
    ) {
        activation::swiglu_backward(self, d_y, gate, up, d_gate, d_up);
    }

    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
        activation::gelu_forward(self, x, kind, y);
    }

    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
        activation::gelu_backward(self, d_y, x, kind, d_x);
    }

    fn add_assign(&self, y: &mut Tensor, x: &Tensor) {
        elementwise::add_assign(self, y, x);
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        elementwise::scale(self, x, factor);
    }

    fn cast(&self, x: &Tensor, y: &mut Tensor) {
        elementwise::cast(self, x, y);
    }

    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
        let sum = match squares {
            true => elementwise::sum_of_squares,
            false => elementwise::sum,
        };
        tensors.iter().map(|x| sum(self, x)).collect()
    }

    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>> {
        rows::argmax(x)
    }

    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
        dropout::dropout(self, x, rows, dropout, y);
    }

    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    ) {
        let scale = gradient.as_ref().map(|gradient| gradient.scale);
        cross_entropy::cross_entropy(self, logits, targets, outcome, scale);
        if let Some(narrow) = gradient.and_then(|gradient| gradient.narrow) {
            self.cast(logits, narrow);
        }
    }

    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW) {
        adamw::adamw(self, tensors, step);
    }
}
