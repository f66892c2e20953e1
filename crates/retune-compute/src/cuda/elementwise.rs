//! Element-wise arithmetic, activations, rotations, reductions and AdamW: the kernels of
//! `elementwise.cu`, which take tensors as flat.

use super::kernels::{Args, Instance, Source, pair};
use super::transfer::read_back;
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

/// One parameter's update as `elementwise.cu` has it.
fn update_words(cuda: &Cuda, tensors: &AdamWTensors<'_>, step: &AdamW) -> [u64; 12] {
    let copy = |dtype: DType| match &tensors.copy {
        Some(copy) if copy.dtype() == dtype => cuda.address(copy),
        _ => 0,
    };
    let AdamWFactors {
        beta1,
        one_minus_beta1,
        beta2,
        one_minus_beta2,
        keep,
        rate,
        root_correction,
        eps,
        grad_scale,
    } = step.factors();
    let pair = |first: f32, second: f32| pair(first.to_bits(), second.to_bits());
    [
        cuda.address(tensors.param),
        cuda.address(tensors.grad),
        cuda.address(tensors.exp_avg),
        cuda.address(tensors.exp_avg_sq),
        copy(DType::F32),
        copy(DType::BF16),
        tensors.param.len() as u64,
        pair(beta1, one_minus_beta1),
        pair(beta2, one_minus_beta2),
        pair(keep, rate),
        pair(root_correction, eps),
        pair(grad_scale, 0.0),
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
    for updates in updates.chunks_mut(TENSORS_AT_ONCE) {
        let longest = updates.iter().map(|update| update.param.len()).max();
        let blocks = longest.unwrap_or(0).div_ceil(4 * THREADS as usize);
        let grid = [blocks.min(MOST_BLOCKS) as u32, updates.len() as u32, 1];
        let words = updates.iter_mut().flat_map(|update| {
            let step = update.step;
            update_words(cuda, &update.tensors(), &step)
        });
        let table: Vec<u32> = words.flat_map(halves).collect();
        let args = Args::new().address(cuda.upload(&table));
        let kernel = Source::Elementwise.kernel("adamw_all");
        cuda.launch(kernel, grid, THREADS, 0, args);
    }
}

pub(super) fn adamw(cuda: &Cuda, tensors: AdamWTensors<'_>, step: &AdamW) {
    let elements = tensors.param.len();
    let args = Args::new().structure(&update_words(cuda, &tensors, step));
    each(cuda, Source::Elementwise.kernel("adamw"), elements, args);
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
    let sums: Vec<f64> = read_back(cuda, partial, tensors.len() * blocks);
    sums.chunks(blocks)
        .map(|blocks| blocks.iter().sum())
        .collect()
}
