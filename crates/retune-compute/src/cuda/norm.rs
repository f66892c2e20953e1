//! RMS norm and layer norm: the kernels of `norm.cu`.

use super::kernels::{Args, Instance, Source};
use super::rows::row_shape;
use super::{Cuda, SCRATCH_BYTES};
use crate::backend::NormBackward;
use crate::{DType, Tensor};

pub(super) fn rms_norm_forward(
    cuda: &Cuda,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    y: &mut Tensor,
    rstd: &mut Tensor,
) {
    let width = weight.len();
    let args = Args::new()
        .address(cuda.address(x))
        .address(cuda.address(weight))
        .float(eps)
        .address(cuda.address(y))
        .address(cuda.address(rstd))
        .long(width);
    let kernel = Source::Norm
        .kernel("rms_forward")
        .of([x.dtype(), y.dtype()]);
    each_row(cuda, kernel, rstd.len(), width, args);
}

pub(super) fn layer_norm_forward(
    cuda: &Cuda,
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    eps: f32,
    y: &mut Tensor,
    (mean, rstd): (&mut Tensor, &mut Tensor),
) {
    let width = weight.len();
    let args = Args::new()
        .address(cuda.address(x))
        .address(cuda.address(weight))
        .address(cuda.address(bias))
        .float(eps)
        .address(cuda.address(y))
        .address(cuda.address(mean))
        .address(cuda.address(rstd))
        .long(width);
    let kernel = Source::Norm
        .kernel("layer_forward")
        .of([x.dtype(), y.dtype()]);
    each_row(cuda, kernel, rstd.len(), width, args);
}

/// A kernel of `norm.cu`, a block for each row.
fn each_row(cuda: &Cuda, kernel: Instance, rows: usize, width: usize, args: Args) {
    let (neighbours, threads) = row_shape(width);
    cuda.launch(
        kernel.with(neighbours),
        [rows as u32, 1, 1],
        threads,
        0,
        args,
    );
}

pub(super) fn backward(cuda: &Cuda, args: NormBackward<'_>) {
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
    let means = mean.map_or(0, |mean| cuda.address(mean));
    let types = [d_y.dtype(), x.dtype()];
    let arguments = Args::new()
        .address(cuda.address(d_y))
        .address(cuda.address(x))
        .address(cuda.address(weight))
        .address(means)
        .address(cuda.address(rstd))
        .address(cuda.address(d_x))
        .long(width);
    each_row(
        cuda,
        Source::Norm.kernel("backward").of(types),
        rows,
        width,
        arguments,
    );
    if rows == 0 || (d_weight.is_none() && d_bias.is_none()) {
        return;
    }
    // Rows are summed in chunks, then the chunks; how many there are depends on
    // the sizes alone.
    let chunk_bytes = 2 * width * DType::F32.size();
    let most = (SCRATCH_BYTES / chunk_bytes).clamp(1, MOST_CHUNKS);
    let chunk = rows.div_ceil(most);
    let chunks = rows.div_ceil(chunk);
    let partial = cuda.scratch(chunks * chunk_bytes);
    let blocks = width.div_ceil(COLUMNS) as u32;
    let arguments = Args::new()
        .address(cuda.address(d_y))
        .address(cuda.address(x))
        .address(means)
        .address(cuda.address(rstd))
        .address(partial)
        .long(rows)
        .long(width)
        .long(chunk);
    let columns = Source::Norm.kernel("columns").of(types);
    let grid = [blocks, chunks as u32, 1];
    cuda.launch(columns, grid, COLUMNS as u32, 0, arguments);
    let address = |gradient: Option<&mut Tensor>| gradient.map_or(0, |g| cuda.address(g));
    let arguments = Args::new()
        .address(partial)
        .address(address(d_weight))
        .address(address(d_bias))
        .long(width)
        .int(chunks as i32);
    let kernel = Source::Norm.kernel("add_columns");
    cuda.launch(kernel, [blocks, 1, 1], COLUMNS as u32, 0, arguments);
}
