//! The seam between operations and the hardware that runs them.
//!
//! The functions in [`crate::ops`] check their arguments and allocate their
//! results, then call one method here. A new kind of device implements this
//! trait, adds its memory to [`Storage`] and a constructor to
//! [`crate::Device`]; layers above do not change.
//!
//! Methods may rely on what the `ops` functions have checked: shapes, types,
//! devices, index ranges and offsets all fit.

use std::io::{self, Read};
use std::sync::Mutex;

use crate::cuda::{CudaBuffer, DeviceMemory, Gpu};
use crate::error::Result;
use crate::host::{HostBuffer, MemoryUse};
use crate::ops::{
    AdamW, AdamWUpdate, AttentionConfig, Dropout, Epilogue, GeluKind, Packing, RowKey, Sequence,
    Weight,
};
use crate::profile::Profile;
use crate::{DType, Tensor};

/// The memory of one tensor.
///
/// A tensor looks into it only by way of its device's backend.
#[derive(Debug)]
pub(crate) enum Storage {
    /// Memory that the CPU addresses.
    Host(HostBuffer),
    /// Memory of an NVIDIA GPU.
    Cuda(CudaBuffer),
}

impl Storage {
    pub(crate) fn host(&self) -> &HostBuffer {
        match self {
            Self::Host(buffer) => buffer,
            Self::Cuda(_) => unreachable!("memory of a GPU was read as the host's"),
        }
    }

    pub(crate) fn host_mut(&mut self) -> &mut HostBuffer {
        match self {
            Self::Host(buffer) => buffer,
            Self::Cuda(_) => unreachable!("memory of a GPU was written as the host's"),
        }
    }

    /// Where it lies in the memory of a GPU.
    pub(crate) fn cuda(&self) -> u64 {
        match self {
            Self::Cuda(buffer) => buffer.address(),
            Self::Host(_) => unreachable!("memory of the host was given to a GPU"),
        }
    }
}

/// The second factor of a product, read as a `[K, N]` matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor<'a> {
    /// `[K, N]`, or `[N, K]` if `transposed`.
    pub(crate) weight: Weight<'a>,
    pub(crate) transposed: bool,
}

/// A product `A · B` of `[M, K]` and `[K, N]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    /// `[M, K]`, or `[K, M]` if `a_transposed`.
    pub(crate) a: &'a Tensor,
    pub(crate) a_transposed: bool,
    pub(crate) b: Factor<'a>,
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) epilogue: Epilogue<'a>,
}

impl Product<'_> {
    /// The first factors that are read: the product's, and its low-rank
    /// term's.
    pub(crate) fn first_factors(&self) -> (FirstFactor, Option<FirstFactor>) {
        let dtype = self.a.dtype();
        let plain = self.epilogue.bias.is_none() && self.epilogue.low_rank.is_none();
        let dense = matches!(self.b.weight, Weight::Dense(_)) && !self.b.transposed;
        let own = FirstFactor {
            dtype,
            m: self.m,
            k: self.k,
            transposed: self.a_transposed,
            flippable: (self.a_transposed && dense && plain).then_some(self.n),
        };
        let low_rank = self.epilogue.low_rank.map(|term| FirstFactor {
            k: term.u.rows_by_width().1,
            transposed: false,
            flippable: None,
            ..own
        });
        (own, low_rank)
    }
}

/// The form of a product's first factor, `[m, k]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstFactor {
    pub(crate) dtype: DType,
    pub(crate) m: usize,
    pub(crate) k: usize,
    /// Whether it is stored as `[k, m]`.
    pub(crate) transposed: bool,
    /// Columns of the product, if the second factor might be transposed in its place: of
    /// `aᵀ·b` to which nothing is added but what `out` holds.
    pub(crate) flippable: Option<usize>,
}

/// The forms in which a backend keeps a frozen weight.
#[derive(Debug, Default)]
pub(crate) struct PackedWeight {
    pub(crate) compressed: Option<crate::cpu::Compressed>,
    pub(crate) rows: Option<Storage>,
    pub(crate) forward: Option<Storage>,
    pub(crate) backward: Option<Storage>,
}

/// The tensors that attention reads, `[rows, heads, head_dim]` each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Qkv<'a> {
    pub(crate) q: &'a Tensor,
    pub(crate) k: &'a Tensor,
    pub(crate) v: &'a Tensor,
}

/// What the backward pass of attention reads and writes.
pub(crate) struct AttentionBackward<'a> {
    pub(crate) qkv: Qkv<'a>,
    pub(crate) out: &'a Tensor,
    pub(crate) logsumexp: &'a Tensor,
    pub(crate) d_out: &'a Tensor,
    pub(crate) d_q: &'a mut Tensor,
    pub(crate) d_k: &'a mut Tensor,
    pub(crate) d_v: &'a mut Tensor,
}

/// What one AdamW step reads and writes; all f32 but `copy`.
pub(crate) struct AdamWTensors<'a> {
    pub(crate) param: &'a mut Tensor,
    pub(crate) grad: &'a Tensor,
    pub(crate) exp_avg: &'a mut Tensor,
    pub(crate) exp_avg_sq: &'a mut Tensor,
    pub(crate) copy: Option<&'a mut Tensor>,
}

/// What a normalisation's backward pass reads and writes. `mean`, `d_bias`
/// are those of layer norm.
pub(crate) struct NormBackward<'a> {
    pub(crate) d_y: &'a Tensor,
    pub(crate) x: &'a Tensor,
    pub(crate) weight: &'a Tensor,
    pub(crate) mean: Option<&'a Tensor>,
    pub(crate) rstd: &'a Tensor,
    pub(crate) d_x: &'a mut Tensor,
    pub(crate) d_weight: Option<&'a mut Tensor>,
    pub(crate) d_bias: Option<&'a mut Tensor>,
}

/// Where [`Backend::cross_entropy`] writes about its rows: `losses` and
/// `correct` from the row `first` on.
pub(crate) struct RowOutcome<'a> {
    pub(crate) first: usize,
    pub(crate) losses: &'a mut Tensor,
    pub(crate) correct: &'a mut Tensor,
}

/// Where the gradient of logits goes: over the logits, or to `narrow`, which is
/// like them but for its element type.
pub(crate) struct LogitGradient<'a> {
    pub(crate) scale: f32,
    pub(crate) narrow: Option<&'a mut Tensor>,
}

/// One kind of device. The meaning of each method, with shapes, is that of
/// the function of the same name in [`crate::ops`].
pub(crate) trait Backend: Send + Sync {
    fn name(&self) -> String;

    /// Where a backend that measures operations gathers their times.
    fn profile(&self) -> Option<&Mutex<Profile>> {
        None
    }

    /// What the device is, where it is not the host.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }

    /// The bytes of its own memory, where it is not the host.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Whether products of bf16 are the fast ones.
    fn has_bf16_products(&self) -> bool;

    /// Waits for what was asked for so far.
    fn synchronize(&self) {}

    fn memory_use(&self) -> MemoryUse;
    fn reset_peak_memory(&self);
    fn release_cached_memory(&self);
    fn allocate(&self, bytes: usize) -> Result<Storage>;
    // What follows is for devices in host memory; others have their own.

    /// Copies the first bytes of `storage` to the host.
    fn read(&self, storage: &Storage, bytes: &mut [u8]) {
        bytes.copy_from_slice(storage.host().bytes(bytes.len()));
    }

    /// Copies `bytes` from the host to the start of `storage`.
    fn write(&self, storage: &mut Storage, bytes: &[u8]) {
        let target = storage.host_mut().bytes_mut(bytes.len());
        target.copy_from_slice(bytes);
    }

    /// Overwrites the first `bytes` bytes with the next of `reader`.
    fn fill_from(
        &self,
        storage: &mut Storage,
        bytes: usize,
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        reader.read_exact(storage.host_mut().bytes_mut(bytes))
    }

    /// Copies the first `bytes` bytes from one storage of this device to
    /// another.
    fn copy(&self, from: &Storage, to: &mut Storage, bytes: usize) {
        self.write(to, from.host().bytes(bytes));
    }

    /// Zeroes the first `bytes` bytes.
    fn fill_zero(&self, storage: &mut Storage, bytes: usize) {
        storage.host_mut().bytes_mut(bytes).fill(0);
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, packing: Packing) -> usize;
    fn pack(&self, weight: &Tensor, packing: Packing) -> Result<PackedWeight>;

    /// Bytes of working memory that a product wants for a first factor; 0 if none.
    fn matmul_workspace(&self, first: FirstFactor) -> usize;

    /// `workspace` has the bytes asked for, those of a low-rank term's first
    /// factor (not transposed) behind those of the product's own.
    fn matmul(&self, product: &Product<'_>, workspace: Option<&mut Storage>, out: &mut Tensor);

    fn embedding_forward(&self, table: Weight<'_>, ids: &[u32], y: &mut Tensor);
    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor);
    fn gather_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor);
    fn scatter_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool);

    fn rms_norm_forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        y: &mut Tensor,
        rstd: &mut Tensor,
    );
    fn rms_norm_backward(&self, args: NormBackward<'_>);
    fn layer_norm_forward(
        &self,
        x: &Tensor,
        affine: (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        statistics: (&mut Tensor, &mut Tensor),
    );
    fn layer_norm_backward(&self, args: NormBackward<'_>);

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor);

    fn attention_forward(
        &self,
        qkv: Qkv<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
        out: &mut Tensor,
        logsumexp: Option<&mut Tensor>,
    );
    fn attention_backward(
        &self,
        args: AttentionBackward<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
    );

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor, y: &mut Tensor);
    fn swiglu_backward(
        &self,
        d_y: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        d_gate: &mut Tensor,
        d_up: &mut Tensor,
    );
    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor);
    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor);

    fn add_assign(&self, y: &mut Tensor, x: &Tensor);
    fn scale(&self, x: &mut Tensor, factor: f32);
    fn cast(&self, x: &Tensor, y: &mut Tensor);
    /// The sums over all elements of each tensor, of their squares if so asked.
    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64>;
    /// The column of each row's first largest number; `None` for a row in which a
    /// number is not finite.
    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>>;
    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor);

    /// Rows of f32 logits to losses and hits, and to the gradient
    /// `scale · (softmax − one-hot)` if that is wanted; the logits are used up.
    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    );
    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW);

    /// The same for several, whose gradients are zeroed.
    fn adamw_all(&self, updates: &mut [AdamWUpdate<'_>]) {
        for update in updates {
            let step = update.step;
            self.adamw(update.tensors(), &step);
            update.grad.fill_zero();
        }
    }
}
