//! The operations on an NVIDIA GPU.
//!
//! Libraries are loaded when a device is made, so one program serves machines
//! with and without CUDA. Products are cuBLASLt's (`products`), all else are the
//! kernels in `kernels/`, which NVRTC compiles at first use (`kernels.rs`).
//!
//! One stream, in order: an operation returns when it has been asked for, not
//! when it is done. Only reading a tensor waits. Nothing adds in an order that
//! chance decides, so two runs give the same bytes; but the library chooses its
//! kernels by the size of a product, so here, unlike on the CPU, a row's last
//! bits may depend on how many rows are beside it.
//!
//! What goes wrong once a device is made (a driver that gives up, a fault of a
//! kernel) is a panic that names the operation.

mod attention;
mod kernels;
mod memory;
mod open;
mod products;
mod uploads;

use std::fmt::Display;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, result};

use self::kernels::{Args, Instance, Kernel, Kernels, Source, pair};
pub(crate) use self::memory::CudaBuffer;
use self::memory::DeviceHeap;
pub use self::open::{CudaOptions, DeviceMemory, Gpu, gpus};
use self::products::{Library, weight_address};
use self::uploads::{RING_BYTES, Uploads};
use crate::backend::{
    AdamWTensors, AttentionBackward, Backend, FirstFactor, LogitGradient, NormBackward,
    PackedWeight, Product, Qkv, RowOutcome, Storage,
};
use crate::error::{Error, Result};
use crate::host::MemoryUse;
use crate::ops::{
    AdamW, AdamWFactors, AdamWUpdate, AttentionConfig, Dropout, GeluKind, Packing, RowKey,
    Sequence, Weight,
};
use crate::{DType, Tensor};

/// Memory for operations' own use.
pub(super) const SCRATCH_BYTES: usize = 64 << 20;
/// Host memory through which tensors come and go.
const STAGING_BYTES: usize = 8 << 20;
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
        let unavailable = |reason: &dyn Display| {
            open::unavailable(
                &format!("cuda:{}", options.ordinal),
                &reason.to_string(),
                "nvidia-smi says what else runs on the GPU; write device: cpu to go without it",
            )
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
        kernels
            .prepare(Source::Elementwise)
            .map_err(|e| unavailable(&e))?;
        let library = Library::new().map_err(|e| unavailable(&e))?;
        let own = DeviceHeap::new(Arc::clone(&context), None);
        let buffer = |bytes: usize| {
            own.allocate(bytes).ok_or_else(|| Error::OutOfMemory {
                device: gpu.to_string(),
                bytes,
            })
        };
        let (workspace, scratch, ring) = (
            buffer(products::WORKSPACE_BYTES)?,
            buffer(SCRATCH_BYTES)?,
            buffer(RING_BYTES)?,
        );
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
            staging: Mutex::default(),
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

    /// A kernel of `elementwise.cu` over `elements` elements, four to a thread.
    fn each(&self, kernel: impl Into<Instance>, elements: usize, args: Args) {
        let blocks = elements.div_ceil(4 * THREADS as usize);
        let most = self.gpu.multiprocessors * 32;
        self.launch(kernel, [blocks.min(most) as u32, 1, 1], THREADS, 0, args);
    }
}

fn elementwise(name: &'static str) -> Kernel {
    let source = Source::Elementwise;
    Kernel { source, name }
}

/// How many neighbours a thread takes of rows of this width, and how many threads
/// a row has.
fn row_shape(width: usize) -> (u8, u32) {
    let neighbours: u8 = if width.is_multiple_of(4) { 4 } else { 1 };
    let pieces = width.div_ceil(usize::from(neighbours)).clamp(1, 256);
    (neighbours, pieces.next_multiple_of(32) as u32)
}

/// The rows of a result that something is scattered to, each with its sources in
/// order, as lists for `rows.cu`.
fn scatter_lists(rows: &[u32]) -> [Vec<u32>; 3] {
    let mut sources: Vec<u32> = (0..rows.len() as u32).collect();
    sources.sort_by_key(|&source| rows[source as usize]);
    let (mut targets, mut starts) = (Vec::new(), Vec::new());
    for (place, &source) in sources.iter().enumerate() {
        let target = rows[source as usize];
        if targets.last() != Some(&target) {
            targets.push(target);
            starts.push(place as u32);
        }
    }
    starts.push(rows.len() as u32);
    [targets, starts, sources]
}

/// Page-locked memory of the host.
#[derive(Default)]
struct Staging {
    start: Option<PageLocked>,
}

struct PageLocked(*mut u8);

// SAFETY: plain memory, owned by the mutex that it lies behind.
unsafe impl Send for PageLocked {}

impl Staging {
    /// The staging memory, page-locked on first use.
    ///
    /// The device has to be bound.
    fn bytes(&mut self, cuda: &Cuda) -> &mut [u8] {
        let start = self.start.get_or_insert_with(|| {
            // SAFETY: the context is bound. It is kept as long as the device is.
            let start = unsafe { result::malloc_host(STAGING_BYTES, 0) };
            let start: *mut u8 = cuda.sure("page-locked memory", start).cast();
            // SAFETY: just allocated, with this length.
            unsafe { start.write_bytes(0, STAGING_BYTES) };
            PageLocked(start)
        });
        // SAFETY: allocated with this length, initialised, and only reachable
        // through the mutex around `self`.
        unsafe { std::slice::from_raw_parts_mut(start.0, STAGING_BYTES) }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let staging = self.staging.get_mut();
        let staging = staging.unwrap_or_else(PoisonError::into_inner);
        if self.context.bind_to_thread().is_ok() {
            let _ = self.stream.synchronize();
            if let Some(PageLocked(start)) = staging.start.take() {
                // SAFETY: from `malloc_host`, and nothing uses it any more.
                let _ = unsafe { result::free_host(start.cast()) };
            }
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
        self.bind();
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = staging.bytes(self);
        let mut from = storage.cuda();
        for bytes in bytes.chunks_mut(STAGING_BYTES) {
            let staged = &mut staging[..bytes.len()];
            // SAFETY: the storage is as long as all chunks together.
            let copied =
                unsafe { result::memcpy_dtoh_async(staged, from, self.stream.cu_stream()) };
            self.sure("reading a tensor", copied);
            self.sure("an operation", self.stream.synchronize());
            bytes.copy_from_slice(staged);
            from += bytes.len() as u64;
        }
    }

    fn write(&self, storage: &mut Storage, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bind();
        // SAFETY: the storage is as long as the bytes. From memory that may be paged,
        // the copy has left them when the call returns; nothing waits for the device.
        let copied =
            unsafe { result::memcpy_htod_async(storage.cuda(), bytes, self.stream.cu_stream()) };
        self.sure("writing a tensor", copied);
    }

    fn fill_from(
        &self,
        storage: &mut Storage,
        bytes: usize,
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        self.bind();
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = staging.bytes(self);
        let mut to = storage.cuda();
        let mut left = bytes;
        while left > 0 {
            let staged = &mut staging[..left.min(STAGING_BYTES)];
            reader.read_exact(staged)?;
            // SAFETY: the storage is as long as all chunks together.
            let copied = unsafe { result::memcpy_htod_async(to, staged, self.stream.cu_stream()) };
            self.sure("writing a tensor", copied);
            // The staging memory is written again next.
            self.sure("an operation", self.stream.synchronize());
            to += staged.len() as u64;
            left -= staged.len();
        }
        Ok(())
    }

    fn copy(&self, from: &Storage, to: &mut Storage, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.bind();
        // SAFETY: both are that long, and two storages do not overlap.
        let copied = unsafe {
            result::memcpy_dtod_async(to.cuda(), from.cuda(), bytes, self.stream.cu_stream())
        };
        self.sure("copying a tensor", copied);
    }

    fn fill_zero(&self, storage: &mut Storage, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.bind();
        // SAFETY: the storage is that long.
        let filled =
            unsafe { result::memset_d8_async(storage.cuda(), 0, bytes, self.stream.cu_stream()) };
        self.sure("zeroing a tensor", filled);
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, _packing: Packing) -> usize {
        out.saturating_mul(input).saturating_mul(dtype.size())
    }

    fn pack(&self, weight: &Tensor, _packing: Packing) -> Result<PackedWeight> {
        let mut rows = self.allocate(weight.size_in_bytes())?;
        self.copy(weight.storage(), &mut rows, weight.size_in_bytes());
        Ok(PackedWeight {
            rows: Some(rows),
            forward: None,
            backward: None,
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
        self.gather(weight_address(self, table), table.dtype(), ids, y);
    }

    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) {
        self.scatter_rows(d_y, ids, d_table, true);
    }

    fn gather_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor) {
        let _turn = self.turn();
        self.gather(self.address(x), x.dtype(), rows, y);
    }

    fn scatter_rows(&self, x: &Tensor, rows: &[u32], y: &mut Tensor, accumulate: bool) {
        let _turn = self.turn();
        let width = y.rows_by_width().1;
        if rows.is_empty() || width == 0 {
            return;
        }
        let lists = scatter_lists(rows);
        let mut words = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        lists.iter().for_each(|list| words.extend_from_slice(list));
        let [targets, starts, _] = lists.map(|list| list.len());
        let start = self.upload(&words);
        let list = |before: usize| start + (before * size_of::<u32>()) as u64;
        let (neighbours, threads) = row_shape(width);
        let args = Args::new()
            .address(self.address(x))
            .address(list(0))
            .address(list(targets))
            .address(list(targets + starts))
            .address(self.address(y))
            .long(width)
            .int(i32::from(accumulate));
        let kernel = rows_kernel("scatter").of([x.dtype(), y.dtype()]);
        let grid = [targets as u32, 1, 1];
        self.launch(kernel.with(neighbours), grid, threads, 0, args);
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
        let width = weight.len();
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(weight))
            .float(eps)
            .address(self.address(y))
            .address(self.address(rstd))
            .long(width);
        let kernel = norm_kernel("rms_forward").of([x.dtype(), y.dtype()]);
        self.each_row(kernel, rstd.len(), width, args);
    }

    fn rms_norm_backward(&self, args: NormBackward<'_>) {
        let _turn = self.turn();
        self.norm_backward(args);
    }

    fn layer_norm_forward(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        (mean, rstd): (&mut Tensor, &mut Tensor),
    ) {
        let _turn = self.turn();
        let width = weight.len();
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(weight))
            .address(self.address(bias))
            .float(eps)
            .address(self.address(y))
            .address(self.address(mean))
            .address(self.address(rstd))
            .long(width);
        let kernel = norm_kernel("layer_forward").of([x.dtype(), y.dtype()]);
        self.each_row(kernel, rstd.len(), width, args);
    }

    fn layer_norm_backward(&self, args: NormBackward<'_>) {
        let _turn = self.turn();
        self.norm_backward(args);
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor) {
        let _turn = self.turn();
        let &[tokens, heads, dim] = x.shape() else {
            unreachable!("checked: [T, H, D]")
        };
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(cos))
            .address(self.address(sin))
            .address(self.address(y))
            .long(tokens)
            .int(heads as i32)
            .int((dim / 2) as i32)
            .float(if inverse { -1.0 } else { 1.0 });
        let kernel = elementwise("rope").of([x.dtype(), y.dtype()]);
        // A thread for each pair.
        self.each(kernel, 2 * x.len(), args);
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
        let args = Args::new()
            .address(self.address(gate))
            .address(self.address(up))
            .address(self.address(y))
            .long(y.len());
        let kernel = elementwise("swiglu_forward").of([gate.dtype(), y.dtype()]);
        self.each(kernel, y.len(), args);
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
        let args = Args::new()
            .address(self.address(d_y))
            .address(self.address(gate))
            .address(self.address(up))
            .address(self.address(d_gate))
            .address(self.address(d_up))
            .long(d_y.len());
        let types = [d_y.dtype(), gate.dtype(), d_gate.dtype()];
        self.each(elementwise("swiglu_backward").of(types), d_y.len(), args);
    }

    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
        let _turn = self.turn();
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(y))
            .int(i32::from(kind == GeluKind::Tanh))
            .long(x.len());
        let kernel = elementwise("gelu_forward").of([x.dtype(), y.dtype()]);
        self.each(kernel, x.len(), args);
    }

    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
        let _turn = self.turn();
        let args = Args::new()
            .address(self.address(d_y))
            .address(self.address(x))
            .address(self.address(d_x))
            .int(i32::from(kind == GeluKind::Tanh))
            .long(x.len());
        let types = [d_y.dtype(), x.dtype(), d_x.dtype()];
        self.each(elementwise("gelu_backward").of(types), x.len(), args);
    }

    fn add_assign(&self, y: &mut Tensor, x: &Tensor) {
        let _turn = self.turn();
        let args = Args::new()
            .address(self.address(y))
            .address(self.address(x))
            .long(x.len());
        self.each(elementwise("add_assign").of([x.dtype()]), x.len(), args);
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        let _turn = self.turn();
        let args = Args::new()
            .address(self.address(x))
            .float(factor)
            .long(x.len());
        self.each(elementwise("scale").of([x.dtype()]), x.len(), args);
    }

    fn cast(&self, x: &Tensor, y: &mut Tensor) {
        let _turn = self.turn();
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(y))
            .long(x.len());
        let kernel = elementwise("cast").of([x.dtype(), y.dtype()]);
        self.each(kernel, x.len(), args);
    }

    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
        let _turn = self.turn();
        let mut sums = vec![0.0; tensors.len()];
        for dtype in [DType::F32, DType::BF16] {
            let of_type = |tensor: &&Tensor| tensor.dtype() == dtype && !tensor.is_empty();
            let places: Vec<usize> = (0..tensors.len())
                .filter(|&i| of_type(&tensors[i]))
                .collect();
            for places in places.chunks(TENSORS_AT_ONCE) {
                let tensors: Vec<&Tensor> = places.iter().map(|&i| tensors[i]).collect();
                for (&place, sum) in places.iter().zip(self.sums_of(&tensors, dtype, squares)) {
                    sums[place] = sum;
                }
            }
        }
        sums
    }

    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>> {
        let _turn = self.turn();
        let (rows, width) = x.rows_by_width();
        if rows == 0 || width == 0 {
            return vec![None; rows];
        }
        let found = self.scratch(rows * size_of::<i32>());
        let args = Args::new()
            .address(self.address(x))
            .address(found)
            .long(width);
        let kernel = Kernel {
            source: Source::Loss,
            name: "argmax",
        };
        let threads = width.clamp(32, 1024).next_multiple_of(32) as u32;
        let grid = [rows as u32, 1, 1];
        self.launch(kernel.of([x.dtype()]), grid, threads, 0, args);
        let mut columns = vec![0i32; rows];
        // SAFETY: the kernel has written as many numbers; the call waits for them.
        let copied =
            unsafe { result::memcpy_dtoh_async(&mut columns, found, self.stream.cu_stream()) };
        self.sure("reading columns", copied);
        self.sure("an operation", self.stream.synchronize());
        columns
            .into_iter()
            .map(|column| u32::try_from(column).ok())
            .collect()
    }

    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
        let _turn = self.turn();
        if x.is_empty() {
            return;
        }
        let width = x.rows_by_width().1;
        let keys: Vec<u32> = rows
            .iter()
            .flat_map(|row| [row.sample, row.position])
            .collect();
        let [low, high] = dropout.key.words();
        let args = Args::new()
            .address(self.address(x))
            .address(self.address(y))
            .address(self.upload(&keys))
            .long(rows.len())
            .long(width)
            .float(dropout.probability)
            .word(low)
            .word(high)
            .word(dropout.step);
        self.each(elementwise("dropout").of([x.dtype()]), x.len(), args);
    }

    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    ) {
        let _turn = self.turn();
        let (rows, vocabulary) = logits.rows_by_width();
        let behind =
            |tensor: &Tensor| self.address(tensor) + (outcome.first * DType::F32.size()) as u64;
        let scale = gradient.as_ref().map(|gradient| gradient.scale);
        let narrow = gradient.and_then(|gradient| gradient.narrow);
        let args = Args::new()
            .address(self.address(logits))
            .address(self.upload(targets))
            .address(behind(outcome.losses))
            .address(behind(outcome.correct))
            .int(i32::from(scale.is_some()))
            .float(scale.unwrap_or(0.0))
            .address(narrow.map_or(0, |narrow| self.address(narrow)))
            .long(vocabulary);
        let kernel = Kernel {
            source: Source::Loss,
            name: "cross_entropy",
        };
        let threads = vocabulary.div_ceil(4).clamp(32, 1024).next_multiple_of(32);
        self.launch(kernel, [rows as u32, 1, 1], threads as u32, 0, args);
    }

    fn adamw_all(&self, updates: &mut [AdamWUpdate<'_>]) {
        const MOST_BLOCKS: usize = 512;
        let _turn = self.turn();
        let address = |copy: &Option<&mut Tensor>, dtype: DType| match copy {
            Some(copy) if copy.dtype() == dtype => self.address(copy),
            _ => 0,
        };
        for updates in updates.chunks(TENSORS_AT_ONCE) {
            let mut table = Vec::with_capacity(24 * updates.len());
            for update in updates {
                let words = [
                    self.address(update.param),
                    self.address(update.grad),
                    self.address(update.exp_avg),
                    self.address(update.exp_avg_sq),
                    address(&update.copy, DType::F32),
                    address(&update.copy, DType::BF16),
                    update.param.len() as u64,
                ];
                let factors = adamw_words(&update.step.factors());
                table.extend(words.into_iter().chain(factors).flat_map(halves));
            }
            let longest = updates.iter().map(|update| update.param.len()).max();
            let blocks = longest.unwrap_or(0).div_ceil(4 * THREADS as usize);
            let args = Args::new().address(self.upload(&table));
            let grid = [blocks.min(MOST_BLOCKS) as u32, updates.len() as u32, 1];
            self.launch(elementwise("adamw_all"), grid, THREADS, 0, args);
        }
    }

    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW) {
        let _turn = self.turn();
        let AdamWTensors {
            param,
            grad,
            exp_avg,
            exp_avg_sq,
            copy,
        } = tensors;
        let copy_of = |dtype: DType| match &copy {
            Some(copy) if copy.dtype() == dtype => self.address(copy),
            _ => 0,
        };
        let [a, b, c, d, e] = adamw_words(&step.factors());
        let args = Args::new().structure(&[
            self.address(param),
            self.address(grad),
            self.address(exp_avg),
            self.address(exp_avg_sq),
            copy_of(DType::F32),
            copy_of(DType::BF16),
            param.len() as u64,
            a,
            b,
            c,
            d,
            e,
        ]);
        self.each(elementwise("adamw"), param.len(), args);
    }
}

/// Tensors that one launch sums up, or updates.
const TENSORS_AT_ONCE: usize = 4096;

fn rows_kernel(name: &'static str) -> Kernel {
    let source = Source::Rows;
    Kernel { source, name }
}

fn norm_kernel(name: &'static str) -> Kernel {
    let source = Source::Norm;
    Kernel { source, name }
}

/// A word of 64 bits as it lies in memory.
fn halves(word: u64) -> [u32; 2] {
    let bytes = word.to_ne_bytes();
    let (halves, _) = bytes.as_chunks::<4>();
    [u32::from_ne_bytes(halves[0]), u32::from_ne_bytes(halves[1])]
}

/// The factors as `elementwise.cu` has them: nine numbers of 32 bits.
fn adamw_words(factors: &AdamWFactors) -> [u64; 5] {
    let bits = f32::to_bits;
    [
        pair(bits(factors.beta1), bits(factors.one_minus_beta1)),
        pair(bits(factors.beta2), bits(factors.one_minus_beta2)),
        pair(bits(factors.keep), bits(factors.rate)),
        pair(bits(factors.root_correction), bits(factors.eps)),
        pair(bits(factors.grad_scale), 0),
    ]
}

impl Cuda {
    /// `y[i] = table[rows[i]]`.
    fn gather(&self, table: u64, dtype: DType, rows: &[u32], y: &mut Tensor) {
        let width = y.rows_by_width().1;
        if rows.is_empty() || width == 0 {
            return;
        }
        let (neighbours, threads) = row_shape(width);
        let args = Args::new()
            .address(table)
            .address(self.upload(rows))
            .address(self.address(y))
            .long(width);
        let kernel = rows_kernel("gather").of([dtype, y.dtype()]);
        let grid = [rows.len() as u32, 1, 1];
        self.launch(kernel.with(neighbours), grid, threads, 0, args);
    }

    /// A kernel of `norm.cu`, a block for each row.
    fn each_row(&self, kernel: Instance, rows: usize, width: usize, args: Args) {
        let (neighbours, threads) = row_shape(width);
        self.launch(
            kernel.with(neighbours),
            [rows as u32, 1, 1],
            threads,
            0,
            args,
        );
    }

    fn norm_backward(&self, args: NormBackward<'_>) {
        const COLUMNS: usize = 128;
        const MOST_CHUNKS: usize = 128;
        let NormBackward {
            d_y,
            x,
            weight,
            mean,
            rstd,
            d_x,
            d_weight,
            d_bias,
        } = args;
        let (rows, width) = (rstd.len(), weight.len());
        let means = mean.map_or(0, |mean| self.address(mean));
        let types = [d_y.dtype(), x.dtype()];
        let arguments = Args::new()
            .address(self.address(d_y))
            .address(self.address(x))
            .address(self.address(weight))
            .address(means)
            .address(self.address(rstd))
            .address(self.address(d_x))
            .long(width);
        self.each_row(norm_kernel("backward").of(types), rows, width, arguments);
        if rows == 0 || (d_weight.is_none() && d_bias.is_none()) {
            return;
        }
        // Rows are summed in chunks, then the chunks; how many there are depends on
        // the sizes alone.
        let chunk_bytes = 2 * width * DType::F32.size();
        let most = (SCRATCH_BYTES / chunk_bytes).clamp(1, MOST_CHUNKS);
        let chunk = rows.div_ceil(most);
        let chunks = rows.div_ceil(chunk);
        let partial = self.scratch(chunks * chunk_bytes);
        let blocks = width.div_ceil(COLUMNS) as u32;
        let arguments = Args::new()
            .address(self.address(d_y))
            .address(self.address(x))
            .address(means)
            .address(self.address(rstd))
            .address(partial)
            .long(rows)
            .long(width)
            .long(chunk);
        let kernel = norm_kernel("columns").of(types);
        let grid = [blocks, chunks as u32, 1];
        self.launch(kernel, grid, COLUMNS as u32, 0, arguments);
        let address = |gradient: Option<&mut Tensor>| gradient.map_or(0, |g| self.address(g));
        let arguments = Args::new()
            .address(partial)
            .address(address(d_weight))
            .address(address(d_bias))
            .long(width)
            .int(chunks as i32);
        let kernel = norm_kernel("add_columns");
        self.launch(kernel, [blocks, 1, 1], COLUMNS as u32, 0, arguments);
    }

    /// The sums of tensors of one type, none of them empty.
    fn sums_of(&self, tensors: &[&Tensor], dtype: DType, squares: bool) -> Vec<f64> {
        const MOST_BLOCKS: usize = 64;
        const ELEMENTS: usize = 16 * 1024;
        let longest = tensors.iter().map(|tensor| tensor.len()).max().unwrap_or(0);
        let blocks = longest.div_ceil(ELEMENTS).clamp(1, MOST_BLOCKS);
        let table: Vec<u32> = tensors
            .iter()
            .flat_map(|tensor| [self.address(tensor), tensor.len() as u64])
            .flat_map(halves)
            .collect();
        let bytes = tensors.len() * blocks * size_of::<f64>();
        let partial = self.scratch(bytes);
        let args = Args::new()
            .address(self.upload(&table))
            .address(partial)
            .int(i32::from(squares));
        let grid = [blocks as u32, tensors.len() as u32, 1];
        self.launch(elementwise("sums").of([dtype]), grid, THREADS, 0, args);
        let mut sums = vec![0.0f64; tensors.len() * blocks];
        self.bind();
        // SAFETY: the kernel has written as many numbers; the call waits for them.
        let copied =
            unsafe { result::memcpy_dtoh_async(&mut sums, partial, self.stream.cu_stream()) };
        self.sure("reading sums", copied);
        self.sure("an operation", self.stream.synchronize());
        sums.chunks(blocks)
            .map(|blocks| blocks.iter().sum())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_go_to_one_place_keep_their_order() {
        let [targets, starts, sources] = scatter_lists(&[7, 2, 7, 0, 2, 7]);
        assert_eq!(targets, [0, 2, 7]);
        assert_eq!(starts, [0, 1, 3, 6]);
        assert_eq!(sources, [3, 1, 4, 0, 2, 5]);
    }
}
