//! The operations on an NVIDIA GPU.
//!
//! Libraries are loaded when a device is made, so one program serves machines
//! with and without CUDA. Products are cuBLASLt's (`products`), all else are the
//! kernels in `kernels/`, which NVRTC compiles at first use (`kernels.rs`).
//!
//! One stream, in order: an operation returns when it has been asked for, not
//! when it is done. Only reading a tensor waits, and giving memory back. Nothing
//! adds in an order that chance decides, so two runs give the same bytes; but the
//! library chooses its kernels by the size of a product, so here, unlike on the
//! CPU, a row's last bits may depend on how many rows are beside it.
//!
//! What goes wrong once a device is made (a driver that gives up, a fault of a
//! kernel) is a panic that names the operation.

mod attention;
mod elementwise;
mod kernels;
mod loss;
mod memory;
mod norm;
mod open;
mod products;
mod rows;
mod transfer;
mod uploads;

use std::fmt::Display;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, result};

use self::kernels::{Args, Instance, Kernels, Source};
pub(crate) use self::memory::CudaBuffer;
use self::memory::DeviceHeap;
pub use self::open::{CudaOptions, DeviceMemory, Gpu, gpus};
use self::products::{Library, weight_address};
use self::transfer::Staging;
use self::uploads::{RING_BYTES, Uploads};
use crate::backend::{
    AdamWTensors, AttentionBackward, Backend, FirstFactor, LogitGradient, NormBackward,
    PackedWeight, Product, Qkv, RowOutcome, Storage,
};
use crate::error::{Error, Result};
use crate::host::MemoryUse;
use crate::ops::{
    AdamW, AdamWUpdate, AttentionConfig, Dropout, GeluKind, Packing, RowKey, Sequence, Weight,
};
use crate::{DType, Tensor};

/// Memory for operations' own use.
pub(super) const SCRATCH_BYTES: usize = 64 << 20;
/// Threads of a block, where nothing else decides.
const THREADS: u32 = 256;

/// One GPU.
pub(crate) struct Cuda {
    gpu: Gpu,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: Kernels,
    library: Library,
    heap: Arc<DeviceHeap>,
    workspace: CudaBuffer,
    scratch: CudaBuffer,
    turn: Mutex<()>,
    uploads: Mutex<Uploads>,
    staging: Mutex<Staging>,
}

impl Cuda {
    pub(crate) fn new(options: &CudaOptions) -> Result<Self> {
        let (context, gpu) = open::open(options.ordinal)?;
        let refused = |reason: &dyn Display, hint: &str| {
            open::unavailable(
                &format!("cuda:{}", options.ordinal),
                &reason.to_string(),
                hint,
            )
        };
        let unavailable = |reason: &dyn Display| {
            let hint = "nvidia-smi says what else runs on the GPU; --device cpu goes without it";
            refused(reason, hint)
        };
        // SAFETY: all work of a device goes through one stream, so no events are
        // needed between streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| unavailable(&e))?;
        let kernels = Kernels::new(
            Arc::clone(&context),
            gpu.compute_capability,
            options.cache.clone(),
        );
        // The first is compiled now, so that a compiler that does not work is an
        // error of opening the device.
        kernels.prepare(Source::Elementwise).map_err(|e| {
            let hint = "the driver may be older than the libraries: nvidia-smi shows the CUDA version that it goes up to";
            refused(&e, hint)
        })?;
        let library = Library::new().map_err(|e| unavailable(&e))?;
        let own = DeviceHeap::new(Arc::clone(&context), None);
        let buffer = |bytes: usize| {
            own.allocate(bytes).ok_or_else(|| {
                let free = gpu.memory.free >> 20;
                unavailable(&format!(
                    "there is no room for what operations work in, {} MiB of {free} MiB that were free",
                    bytes >> 20
                ))
            })
        };
        let (workspace, scratch, ring) = (
            buffer(products::WORKSPACE_BYTES)?,
            buffer(SCRATCH_BYTES)?,
            buffer(RING_BYTES)?,
        );
        let staging = Staging::new().map_err(|e| unavailable(&e))?;
        Ok(Self {
            heap: DeviceHeap::new(Arc::clone(&context), options.memory_limit),
            gpu,
            context,
            stream,
            kernels,
            library,
            workspace,
            scratch,
            turn: Mutex::default(),
            uploads: Mutex::new(Uploads::new(ring)),
            staging: Mutex::new(staging),
        })
    }

    /// What a call of the driver or the library gave.
    ///
    /// # Panics
    /// If it failed.
    fn sure<T, E: Display>(&self, what: &str, result: std::result::Result<T, E>) -> T {
        result.unwrap_or_else(|e| panic!("{what} failed on {}: {e}", self.gpu))
    }

    /// Operations of several threads go one after the other: between what one of them
    /// uploads or works out in scratch memory and the launch that reads it, no other
    /// may come.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the device that of the calling thread.
    fn bind(&self) {
        self.sure("the device", self.context.bind_to_thread());
    }

    /// The device address of a tensor's first element.
    fn address(&self, tensor: &Tensor) -> u64 {
        tensor.storage().cuda()
    }

    /// Puts words on the device for the launches that follow; the same words again
    /// cost nothing.
    fn upload(&self, words: &[u32]) -> u64 {
        self.bind();
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = size_of_val(words);
        let address = if bytes <= RING_BYTES {
            let place = uploads.place(words);
            if !place.is_new {
                return place.address;
            }
            place.address
        } else {
            let buffer = self.heap.allocate(bytes).unwrap_or_else(|| {
                panic!(
                    "{} cannot allocate {bytes} bytes for a list of numbers",
                    self.gpu
                )
            });
            let address = buffer.address();
            uploads.hold(buffer);
            address
        };
        // SAFETY: the place is as long as the words. From memory that may be
        // paged, the copy has left the words when the call returns.
        let copied = unsafe { result::memcpy_htod_async(address, words, self.stream.cu_stream()) };
        self.sure("copying a list of numbers", copied);
        address
    }

    /// Device memory for one operation's own use, valid until the next call.
    fn scratch(&self, bytes: usize) -> u64 {
        assert!(bytes <= SCRATCH_BYTES, "{bytes} bytes of scratch memory");
        self.scratch.address()
    }

    fn launch(
        &self,
        kernel: impl Into<Instance>,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        args: Args,
    ) {
        let kernel = kernel.into();
        let launched = self
            .kernels
            .launch(&self.stream, kernel, grid, threads, shared_bytes, args);
        if let Err(e) = launched {
            panic!("{kernel:?} failed on {}: {e}", self.gpu);
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let staging = self.staging.get_mut();
        let staging = staging.unwrap_or_else(PoisonError::into_inner);
        if self.context.bind_to_thread().is_ok() {
            let _ = self.stream.synchronize();
            staging.release();
        }
    }
}

impl Backend for Cuda {
    fn name(&self) -> String {
        self.gpu.to_string()
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.gpu)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        let (free, total) = self.sure("the device", self.context.mem_get_info());
        // What is kept for reuse is free to whoever asks here.
        let free = free + self.heap.usage().cached;
        Some(DeviceMemory {
            total: total as u64,
            free: free as u64,
        })
    }

    fn has_bf16_products(&self) -> bool {
        true
    }

    fn synchronize(&self) {
        self.bind();
        self.sure("an operation", self.stream.synchronize());
    }

    fn memory_use(&self) -> MemoryUse {
        self.heap.usage()
    }

    fn reset_peak_memory(&self) {
        self.heap.reset_peak();
    }

    fn release_cached_memory(&self) {
        self.heap.release_cached();
    }

    fn allocate(&self, bytes: usize) -> Result<Storage> {
        let buffer = self.heap.allocate(bytes);
        buffer.map(Storage::Cuda).ok_or_else(|| Error::OutOfMemory {
            device: self.name(),
            bytes,
        })
    }

    fn read(&self, storage: &Storage, bytes: &mut [u8]) {
        transfer::read(self, storage, bytes);
    }

    fn write(&self, storage: &mut Storage, bytes: &[u8]) {
        transfer::write(self, storage, bytes);
    }

    fn fill_from(
        &self,
        storage: &mut Storage,
        bytes: usize,
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        transfer::fill_from(self, storage, bytes, reader)
    }

    fn copy(&self, from: &Storage, to: &mut Storage, bytes: usize) {
        transfer::copy(self, from, to, bytes);
    }

    fn fill_zero(&self, storage: &mut Storage, bytes: usize) {
        transfer::fill_zero(self, storage, bytes);
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, _packing: Packing) -> usize {
        out.saturating_mul(input).saturating_mul(dtype.size())
    }

    fn pack(&self, weight: &Tensor, _packing: Packing) -> Result<PackedWeight> {
        let mut rows = self.allocate(weight.size_in_bytes())?;
        self.copy(weight.storage(), &mut rows, weight.size_in_bytes());
        Ok(PackedWeight {
            rows: Some(rows),
            ..PackedWeight::default()
        })
    }

    fn matmul_workspace(&self, _first: FirstFactor) -> usize {
        0
    }

    fn matmul(&self, product: &Product<'_>, _workspace: Option<&mut Storage>, out: &mut Tensor) {
        let _turn = self.turn();
        products::matmul(self, product, out);
    }

    fn embedding_forward(&self, table: Weight<'_>, ids: &[u32], y: &mut Tensor) {
        let _turn = self.turn();
        rows::gather(self, weight_address(self, table), table.dtype(), ids, y);
    }

    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) {
        self.scatter_rows(d_y, ids, d_table, true);
    }

    fn gather_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor) {
        let _turn = self.turn();
        rows::gather(self, self.address(x), x.dtype(), rows, y);
    }

    fn scatter_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool) {
        let _turn = self.turn();
        rows::scatter_rows(self, x, rows, y, accumulate);
    }

    fn rms_norm_forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        y: &mut Tensor,
        rstd: &mut Tensor,
    ) {
        let _turn = self.turn();
        norm::rms_norm_forward(self, x, weight, eps, y, rstd);
    }

    fn rms_norm_backward(&self, args: NormBackward<'_>) {
        let _turn = self.turn();
        norm::backward(self, args);
    }

    fn layer_norm_forward(
        &self,
        x: &Tensor,
        affine: (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        statistics: (&mut Tensor, &mut Tensor),
    ) {
        let _turn = self.turn();
        norm::layer_norm_forward(self, x, affine, eps, y, statistics);
    }

    fn layer_norm_backward(&self, args: NormBackward<'_>) {
        let _turn = self.turn();
        norm::backward(self, args);
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor) {
        let _turn = self.turn();
        elementwise::rope(self, x, cos, sin, inverse, y);
    }

    fn attention_forward(
        &self,
        qkv: Qkv<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
        out: &mut Tensor,
        logsumexp: Option<&mut Tensor>,
    ) {
        let _turn = self.turn();
        attention::forward(self, qkv, sequences, config, out, logsumexp);
    }

    fn attention_backward(
        &self,
        args: AttentionBackward<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
    ) {
        let _turn = self.turn();
        attention::backward(self, args, sequences, config);
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
        let _turn = self.turn();
        elementwise::swiglu_forward(self, gate, up, y);
    }

    fn swiglu_backward(
        &self,
        d_y: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        d_gate: &mut Tensor,
        d_up: &mut Tensor,
    ) {
        let _turn = self.turn();
        elementwise::swiglu_backward(self, d_y, gate, up, d_gate, d_up);
    }

    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
        let _turn = self.turn();
        elementwise::gelu_forward(self, x, kind, y);
    }

    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
        let _turn = self.turn();
        elementwise::gelu_backward(self, d_y, x, kind, d_x);
    }

    fn add_assign(&self, y: &mut Tensor, x: &Tensor) {
        let _turn = self.turn();
        elementwise::add_assign(self, y, x);
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        let _turn = self.turn();
        elementwise::scale(self, x, factor);
    }

    fn cast(&self, x: &Tensor, y: &mut Tensor) {
        let _turn = self.turn();
        elementwise::cast(self, x, y);
    }

    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
        let _turn = self.turn();
        elementwise::sums(self, tensors, squares)
    }

    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>> {
        let _turn = self.turn();
        loss::argmax_rows(self, x)
    }

    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
        let _turn = self.turn();
        elementwise::dropout(self, x, rows, dropout, y);
    }

    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    ) {
        let _turn = self.turn();
        loss::cross_entropy(self, logits, targets, outcome, gradient);
    }

    fn adamw_all(&self, updates: &mut [AdamWUpdate<'_>]) {
        let _turn = self.turn();
        elementwise::adamw_all(self, updates);
    }

    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW) {
        let _turn = self.turn();
        elementwise::adamw(self, tensors, step);
    }
}
