//! Where the time of operations goes: a device that measures another one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::{
    AdamWTensors, AttentionBackward, Backend, FirstFactor, LogitGradient, NormBackward,
    PackedWeight, Product, Qkv, RowOutcome, Storage,
};
use crate::cuda::{DeviceMemory, Gpu};
use crate::error::Result;
use crate::host::MemoryUse;
use crate::ops::{
    AdamW, AdamWUpdate, AttentionConfig, Dropout, GeluKind, Packing, RowKey, Sequence, Weight,
};
use crate::{DType, Tensor};

/// What calls of one operation took in sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OpTime {
    /// How often it was called.
    pub calls: u64,
    /// How long all calls took.
    pub time: Duration,
    /// Multiplications and additions of matrix products and of attention; zero for
    /// operations that are bound by memory.
    pub flops: u64,
}

/// Times of operations by their names, as a profiled device gathers them.
pub type Profile = BTreeMap<&'static str, OpTime>;

/// Passes calls on to another backend, and measures them.
pub(crate) struct Profiled {
    inner: Arc<dyn Backend>,
    profile: Mutex<Profile>,
}

impl Profiled {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            profile: Mutex::default(),
        }
    }

    fn timed<R>(&self, op: &'static str, flops: usize, call: impl FnOnce(&dyn Backend) -> R) -> R {
        let start = Instant::now();
        let result = call(&*self.inner);
        self.inner.synchronize();
        let time = start.elapsed();
        let mut profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = profile.entry(op).or_default();
        entry.calls += 1;
        entry.time += time;
        entry.flops += flops as u64;
        result
    }
}

/// A product by what it is to a layer.
fn product_name(product: &Product<'_>) -> &'static str {
    let frozen = matches!(product.b.weight, Weight::Frozen(_));
    match (product.a_transposed, product.b.transposed) {
        (false, true) if frozen => "linear_forward",
        (false, false) if frozen => "linear_backward",
        (false, true) => "matmul_nt",
        (false, false) => "matmul_nn",
        (true, _) => "matmul_tn",
    }
}

fn product_flops(product: &Product<'_>) -> usize {
    let rank = product
        .epilogue
        .low_rank
        .map_or(0, |term| term.u.rows_by_width().1);
    2 * product.m * product.n * (product.k + rank)
}

/// Of the two products of attention's forward pass, over the keys that each row
/// sees.
fn attention_flops(q: &Tensor, sequences: &[Sequence], config: &AttentionConfig) -> usize {
    let seen = sequences.iter().flat_map(|sequence| {
        let last = sequence.keys.last();
        let keys = last.map_or(0, |span| span.position + span.len);
        let rows = 0..sequence.queries.len();
        rows.map(move |row| {
            let visible = config.visible(sequence.position + row);
            visible.end.min(keys).saturating_sub(visible.start)
        })
    });
    4 * seen.sum::<usize>() * q.rows_by_width().1
}

impl Backend for Profiled {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn profile(&self) -> Option<&Mutex<Profile>> {
        Some(&self.profile)
    }

    fn gpu(&self) -> Option<&Gpu> {
        self.inner.gpu()
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        self.inner.device_memory()
    }

    fn has_bf16_products(&self) -> bool {
        self.inner.has_bf16_products()
    }

    fn synchronize(&self) {
        self.inner.synchronize();
    }

    fn memory_use(&self) -> MemoryUse {
        self.inner.memory_use()
    }

    fn reset_peak_memory(&self) {
        self.inner.reset_peak_memory();
    }

    fn release_cached_memory(&self) {
        self.inner.release_cached_memory();
    }

    fn allocate(&self, bytes: usize) -> Result<Storage> {
        self.timed("allocate", 0, |inner| inner.allocate(bytes))
    }

    fn read(&self, storage: &Storage, bytes: &mut [u8]) {
        self.timed("read", 0, |inner| inner.read(storage, bytes));
    }

    fn write(&self, storage: &mut Storage, bytes: &[u8]) {
        self.timed("write", 0, |inner| inner.write(storage, bytes));
    }

    fn fill_from(
        &self,
        storage: &mut Storage,
        bytes: usize,
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        self.timed("fill_from", 0, |inner| {
            inner.fill_from(storage, bytes, reader)
        })
    }

    fn copy(&self, from: &Storage, to: &mut Storage, bytes: usize) {
        self.timed("copy", 0, |inner| inner.copy(from, to, bytes));
    }

    fn fill_zero(&self, storage: &mut Storage, bytes: usize) {
        self.timed("fill_zero", 0, |inner| inner.fill_zero(storage, bytes));
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, packing: Packing) -> usize {
        self.inner.packed_bytes(out, input, dtype, packing)
    }

    fn pack(&self, weight: &Tensor, packing: Packing) -> Result<PackedWeight> {
        self.timed("pack", 0, |inner| inner.pack(weight, packing))
    }

    fn matmul_workspace(&self, first: FirstFactor) -> usize {
        self.inner.matmul_workspace(first)
    }

    fn matmul(&self, product: &Product<'_>, workspace: Option<&mut Storage>, out: &mut Tensor) {
        let (name, flops) = (product_name(product), product_flops(product));
        self.timed(name, flops, |inner| inner.matmul(product, workspace, out));
    }

    fn embedding_forward(&self, table: Weight<'_>, ids: &[u32], y: &mut Tensor) {
        self.timed("embedding_forward", 0, |inner| {
            inner.embedding_forward(table, ids, y);
        });
    }

    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) {
        self.timed("embedding_backward", 0, |inner| {
            inner.embedding_backward(d_y, ids, d_table);
        });
    }

    fn gather_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor) {
        self.timed("gather_rows", 0, |inner| inner.gather_rows(x, rows, y));
    }

    fn scatter_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool) {
        self.timed("scatter_rows", 0, |inner| {
            inner.scatter_rows(x, rows, y, accumulate);
        });
    }

    fn rms_norm_forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        y: &mut Tensor,
        rstd: &mut Tensor,
    ) {
        self.timed("rms_norm_forward", 0, |inner| {
            inner.rms_norm_forward(x, weight, eps, y, rstd);
        });
    }

    fn rms_norm_backward(&self, args: NormBackward<'_>) {
        self.timed("rms_norm_backward", 0, |inner| {
            inner.rms_norm_backward(args)
        });
    }

    fn layer_norm_forward(
        &self,
        x: &Tensor,
        affine: (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        statistics: (&mut Tensor, &mut Tensor),
    ) {
        self.timed("layer_norm_forward", 0, |inner| {
            inner.layer_norm_forward(x, affine, eps, y, statistics);
        });
    }

    fn layer_norm_backward(&self, args: NormBackward<'_>) {
        self.timed("layer_norm_backward", 0, |inner| {
            inner.layer_norm_backward(args);
        });
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor) {
        self.timed("rope", 0, |inner| inner.rope(x, cos, sin, inverse, y));
    }

    fn attention_forward(
        &self,
        qkv: Qkv<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
        out: &mut Tensor,
        logsumexp: Option<&mut Tensor>,
    ) {
        let flops = attention_flops(qkv.q, sequences, config);
        self.timed("attention_forward", flops, |inner| {
            inner.attention_forward(qkv, sequences, config, out, logsumexp);
        });
    }

    fn attention_backward(
        &self,
        args: AttentionBackward<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
    ) {
        // Four products; the scores, computed again, are not counted.
        let flops = 2 * attention_flops(args.qkv.q, sequences, config);
        self.timed("attention_backward", flops, |inner| {
            inner.attention_backward(args, sequences, config);
        });
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
        self.timed("swiglu_forward", 0, |inner| {
            inner.swiglu_forward(gate, up, y)
        });
    }

    fn swiglu_backward(
        &self,
        d_y: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        d_gate: &mut Tensor,
        d_up: &mut Tensor,
    ) {
        self.timed("swiglu_backward", 0, |inner| {
            inner.swiglu_backward(d_y, gate, up, d_gate, d_up);
        });
    }

    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
        self.timed("gelu_forward", 0, |inner| inner.gelu_forward(x, kind, y));
    }

    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
        self.timed("gelu_backward", 0, |inner| {
            inner.gelu_backward(d_y, x, kind, d_x);
        });
    }

    fn add_assign(&self, y: &mut Tensor, x: &Tensor) {
        self.timed("add_assign", 0, |inner| inner.add_assign(y, x));
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        self.timed("scale", 0, |inner| inner.scale(x, factor));
    }

    fn cast(&self, x: &Tensor, y: &mut Tensor) {
        self.timed("cast", 0, |inner| inner.cast(x, y));
    }

    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
        let name = if squares { "sum_of_squares" } else { "sum" };
        self.timed(name, 0, |inner| inner.sums(tensors, squares))
    }

    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>> {
        self.timed("argmax_rows", 0, |inner| inner.argmax_rows(x))
    }

    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
        self.timed("dropout", 0, |inner| inner.dropout(x, rows, dropout, y));
    }

    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    ) {
        self.timed("cross_entropy", 0, |inner| {
            inner.cross_entropy(logits, targets, outcome, gradient);
        });
    }

    fn adamw_all(&self, updates: &mut [AdamWUpdate<'_>]) {
        self.timed("adamw", 0, |inner| inner.adamw_all(updates));
    }

    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW) {
        self.timed("adamw", 0, |inner| inner.adamw(tensors, step));
    }
}
