//! Element-wise arithmetic, activations, rotations, reductions and AdamW: the kernels of
//! `elementwise.cu`, which take tensors as flat.

use cudarc::driver::result;

use super::kernels::{Args, Instance, Source, pair};
use super::{Cuda, THREADS};
use crate::backend::AdamWTensors;
use crate::ops::{AdamW, AdamWFactors, AdamWUpdate, Dropout, GeluKind, RowKey};
use crate::{DType, Tensor};

/// Tensors that one launch sums up, or updates.
const TENSORS_AT_ONCE: usize = 4096;

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

pub(super) fn rope(
    cuda: &Cuda,
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    inverse: bool,
    y: &mut Tensor,
) {
    let &[tokens, heads, dim] = x.shape() else {
        unreachable!("checked: [T, H, D]")
    };
    let args = Args::new()
        .address(cuda.address(x))
        .address(cuda.address(cos))
        .address(cuda.address(sin))
        .address(cuda.address(y))
        .long(tokens)
        .int(heads as i32)
        .int((dim / 2) as i32)
        .float(if inverse { -1.0 } else { 1.0 });
    let kernel = Source::Elementwise
        .kernel("rope")
        .of([x.dtype(), y.dtype()]);
    // A thread for each pair.
    each(cuda, kernel, 2 * x.len(), args);
}

pub(super) fn swiglu_forward(cuda: &Cuda, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
    let args = Args::new()
        .address(cuda.address(gate))
        .address(cuda.address(up))
        .address(cuda.address(y))
        .long(y.len());
    let kernel = Source::Elementwise
        .kernel("swiglu_forward")
        .of([gate.dtype(), y.dtype()]);
    each(cuda, kernel, y.len(), args);
}

pub(super) fn swiglu_backward(
    cuda: &Cuda,
    d_y: &Tensor,
    gate: &Tensor,
    up: &Tensor,
    d_gate: &mut Tensor,
    d_up: &mut Tensor,
) {
    let args = Args::new()
        .address(cuda.address(d_y))
        .address(cuda.address(gate))
        .address(cuda.address(up))
        .address(cuda.address(d_gate))
        .address(cuda.address(d_up))
        .long(d_y.len());
    let types = [d_y.dtype(), gate.dtype(), d_gate.dtype()];
    each(
        cuda,
        Source::Elementwise.kernel("swiglu_backward").of(types),
        d_y.len(),
        args,
    );
}

pub(super) fn gelu_forward(cuda: &Cuda, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
    let args = Args::new()
        .address(cuda.address(x))
        .address(cuda.address(y))
        .int(i32::from(kind == GeluKind::Tanh))
        .long(x.len());
    let kernel = Source::Elementwise
        .kernel("gelu_forward")
        .of([x.dtype(), y.dtype()]);
    each(cuda, kernel, x.len(), args);
}

pub(super) fn gelu_backward(
    cuda: &Cuda,
    d_y: &Tensor,
    x: &Tensor,
    kind: GeluKind,
    d_x: &mut Tensor,
) {
    let args = Args::new()
        .address(cuda.address(d_y))
        .address(cuda.address(x))
        .address(cuda.address(d_x))
        .int(i32::from(kind == GeluKind::Tanh))
        .long(x.len());
    let types = [d_y.dtype(), x.dtype(), d_x.dtype()];
    each(
        cuda,
        Source::Elementwise.kernel("gelu_backward").of(types),
        x.len(),
        args,
    );
}

pub(super) fn add_assign(cuda: &Cuda, y: &mut Tensor, x: &Tensor) {
    let args = Args::new()
        .address(cuda.address(y))
        .address(cuda.address(x))
        .long(x.len());
    each(
        cuda,
        Source::Elementwise.kernel("add_assign").of([x.dtype()]),
        x.len(),
        args,
    );
}

pub(super) fn scale(cuda: &Cuda, x: &mut Tensor, factor: f32) {
    let args = Args::new()
        .address(cuda.address(x))
        .float(factor)
        .long(x.len());
    each(
        cuda,
        Source::Elementwise.kernel("scale").of([x.dtype()]),
        x.len(),
        args,
    );
}

pub(super) fn cast(cuda: &Cuda, x: &Tensor, y: &mut Tensor) {
    let args = Args::new()
        .address(cuda.address(x))
        .address(cuda.address(y))
        .long(x.len());
    let kernel = Source::Elementwise
        .kernel("cast")
        .of([x.dtype(), y.dtype()]);
    each(cuda, kernel, x.len(), args);
}

pub(super) fn sums(cuda: &Cuda, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
    let mut sums = vec![0.0; tensors.len()];
    for dtype in [DType::F32, DType::BF16] {
        let of_type = |tensor: &&Tensor| tensor.dtype() == dtype && !tensor.is_empty();
        let places: Vec<usize> = (0..tensors.len())
            .filter(|&i| of_type(&tensors[i]))
            .collect();
        for places in places.chunks(TENSORS_AT_ONCE) {
            let tensors: Vec<&Tensor> = places.iter().map(|&i| tensors[i]).collect();
            for (&place, sum) in places.iter().zip(sums_of(cuda, &tensors, dtype, squares)) {
                sums[place] = sum;
            }
        }
    }
    sums
}

pub(super) fn dropout(cuda: &Cuda, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
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
        .address(cuda.address(x))
        .address(cuda.address(y))
        .address(cuda.upload(&keys))
        .long(rows.len())
        .long(width)
        .float(dropout.probability)
        .word(low)
        .word(high)
        .word(dropout.step);
    each(
        cuda,
        Source::Elementwise.kernel("dropout").of([x.dtype()]),
        x.len(),
        args,
    );
}

pub(super) fn adamw_all(cuda: &Cuda, updates: &mut [AdamWUpdate<'_>]) {
    const MOST_BLOCKS: usize = 512;
    let address = |copy: &Option<&mut Tensor>, dtype: DType| match copy {
        Some(copy) if copy.dtype() == dtype => cuda.address(copy),
        _ => 0,
    };
    for updates in updates.chunks(TENSORS_AT_ONCE) {
        let mut table = Vec::with_capacity(24 * updates.len());
        for update in updates {
            let words = [
                cuda.address(update.param),
                cuda.address(update.grad),
                cuda.address(update.exp_avg),
                cuda.address(update.exp_avg_sq),
                address(&update.copy, DType::F32),
                address(&update.copy, DType::BF16),
                update.param.len() as u64,
            ];
            let factors = adamw_words(&update.step.factors());
            table.extend(words.into_iter().chain(factors).flat_map(halves));
        }
        let longest = updates.iter().map(|update| update.param.len()).max();
        let blocks = longest.unwrap_or(0).div_ceil(4 * THREADS as usize);
        let args = Args::new().address(cuda.upload(&table));
        let grid = [blocks.min(MOST_BLOCKS) as u32, updates.len() as u32, 1];
        cuda.launch(
            Source::Elementwise.kernel("adamw_all"),
            grid,
            THREADS,
            0,
            args,
        );
    }
}

pub(super) fn adamw(cuda: &Cuda, tensors: AdamWTensors<'_>, step: &AdamW) {
    let AdamWTensors {
        param,
        grad,
        exp_avg,
        exp_avg_sq,
        copy,
    } = tensors;
    let copy_of = |dtype: DType| match &copy {
        Some(copy) if copy.dtype() == dtype => cuda.address(copy),
        _ => 0,
    };
    let [a, b, c, d, e] = adamw_words(&step.factors());
    let args = Args::new().structure(&[
        cuda.address(param),
        cuda.address(grad),
        cuda.address(exp_avg),
        cuda.address(exp_avg_sq),
        copy_of(DType::F32),
        copy_of(DType::BF16),
        param.len() as u64,
        a,
        b,
        c,
        d,
        e,
    ]);
    each(cuda, Source::Elementwise.kernel("adamw"), param.len(), args);
}

/// A kernel of `elementwise.cu` over `elements` elements, four to a thread.
fn each(cuda: &Cuda, kernel: impl Into<Instance>, elements: usize, args: Args) {
    let blocks = elements.div_ceil(4 * THREADS as usize);
    let most = cuda.gpu.multiprocessors * 32;
    cuda.launch(kernel, [blocks.min(most) as u32, 1, 1], THREADS, 0, args);
}

/// The sums of tensors of one type, none of them empty.
fn sums_of(cuda: &Cuda, tensors: &[&Tensor], dtype: DType, squares: bool) -> Vec<f64> {
    const MOST_BLOCKS: usize = 64;
    const ELEMENTS: usize = 16 * 1024;
    let longest = tensors.iter().map(|tensor| tensor.len()).max().unwrap_or(0);
    let blocks = longest.div_ceil(ELEMENTS).clamp(1, MOST_BLOCKS);
    let table: Vec<u32> = tensors
        .iter()
        .flat_map(|tensor| [cuda.address(tensor), tensor.len() as u64])
        .flat_map(halves)
        .collect();
    let bytes = tensors.len() * blocks * size_of::<f64>();
    let partial = cuda.scratch(bytes);
    let args = Args::new()
        .address(cuda.upload(&table))
        .address(partial)
        .int(i32::from(squares));
    let grid = [blocks as u32, tensors.len() as u32, 1];
    cuda.launch(
        Source::Elementwise.kernel("sums").of([dtype]),
        grid,
        THREADS,
        0,
        args,
    );
    let mut sums = vec![0.0f64; tensors.len() * blocks];
    cuda.bind();
    // SAFETY: the kernel has written as many numbers; the call waits for them.
    let copied = unsafe { result::memcpy_dtoh_async(&mut sums, partial, cuda.stream.cu_stream()) };
    cuda.sure("reading sums", copied);
    cuda.sure("an operation", cuda.stream.synchronize());
    sums.chunks(blocks)
        .map(|blocks| blocks.iter().sum())
        .collect()
}
