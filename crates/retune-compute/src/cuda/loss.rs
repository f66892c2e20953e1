//! Rows of logits: the kernels of `loss.cu`.

use super::Cuda;
use super::kernels::{Args, Source};
use super::transfer::read_back;
use crate::backend::{LogitGradient, RowOutcome};
use crate::{DType, Tensor};

pub(super) fn cross_entropy(
    cuda: &Cuda,
    logits: &mut Tensor,
    targets: &[u32],
    outcome: RowOutcome<'_>,
    gradient: Option<LogitGradient<'_>>,
) {
    let (rows, vocabulary) = logits.rows_by_width();
    let behind =
        |tensor: &Tensor| cuda.address(tensor) + (outcome.first * DType::F32.size()) as u64;
    let scale = gradient.as_ref().map(|gradient| gradient.scale);
    let narrow = gradient.and_then(|gradient| gradient.narrow);
    let args = Args::new()
        .address(cuda.address(logits))
        .address(cuda.upload(targets))
        .address(behind(outcome.losses))
        .address(behind(outcome.correct))
        .int(i32::from(scale.is_some()))
        .float(scale.unwrap_or(0.0))
        .address(narrow.map_or(0, |narrow| cuda.address(narrow)))
        .long(vocabulary);
    let kernel = Source::Loss.kernel("cross_entropy");
    let threads = vocabulary.div_ceil(4).clamp(32, 1024).next_multiple_of(32);
    cuda.launch(kernel, [rows as u32, 1, 1], threads as u32, 0, args);
}

pub(super) fn argmax_rows(cuda: &Cuda, x: &Tensor) -> Vec<Option<u32>> {
    let (rows, width) = x.rows_by_width();
    if rows == 0 || width == 0 {
        return vec![None; rows];
    }
    let found = cuda.scratch(rows * size_of::<i32>());
    let args = Args::new()
        .address(cuda.address(x))
        .address(found)
        .long(width);
    let kernel = Source::Loss.kernel("argmax");
    let threads = width.clamp(32, 1024).next_multiple_of(32) as u32;
    let grid = [rows as u32, 1, 1];
    cuda.launch(kernel.of([x.dtype()]), grid, threads, 0, args);
    let columns: Vec<i32> = read_back(cuda, found, rows);
    columns
        .into_iter()
        .map(|column| u32::try_from(column).ok())
        .collect()
}
