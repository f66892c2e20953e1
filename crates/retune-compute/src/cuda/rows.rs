//! Picking rows out of a tensor and putting them back: the kernels of `rows.cu`.

use super::Cuda;
use super::kernels::{Args, Source};
use crate::{DType, Tensor};

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

/// How many neighbours a thread takes of rows of this width, and how many threads
/// a row has.
pub(super) fn row_shape(width: usize) -> (u8, u32) {
    let neighbours: u8 = if width.is_multiple_of(4) { 4 } else { 1 };
    let pieces = width.div_ceil(usize::from(neighbours)).clamp(1, 256);
    (neighbours, pieces.next_multiple_of(32) as u32)
}

pub(super) fn scatter_rows(
    cuda: &Cuda,
    x: &Tensor,
    rows: &[u32],
    y: &mut Tensor,
    accumulate: bool,
) {
    let width = y.rows_by_width().1;
    if rows.is_empty() || width == 0 {
        return;
    }
    let lists = scatter_lists(rows);
    let mut words = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    lists.iter().for_each(|list| words.extend_from_slice(list));
    let [targets, starts, _] = lists.map(|list| list.len());
    let start = cuda.upload(&words);
    let list = |before: usize| start + (before * size_of::<u32>()) as u64;
    let (neighbours, threads) = row_shape(width);
    let args = Args::new()
        .address(cuda.address(x))
        .address(list(0))
        .address(list(targets))
        .address(list(targets + starts))
        .address(cuda.address(y))
        .long(width)
        .int(i32::from(accumulate));
    let kernel = Source::Rows.kernel("scatter").of([x.dtype(), y.dtype()]);
    let grid = [targets as u32, 1, 1];
    cuda.launch(kernel.with(neighbours), grid, threads, 0, args);
}

/// `y[i] = table[rows[i]]`.
pub(super) fn gather(cuda: &Cuda, table: u64, dtype: DType, rows: &[u32], y: &mut Tensor) {
    let width = y.rows_by_width().1;
    if rows.is_empty() || width == 0 {
        return;
    }
    let (neighbours, threads) = row_shape(width);
    let args = Args::new()
        .address(table)
        .address(cuda.upload(rows))
        .address(cuda.address(y))
        .long(width);
    let kernel = Source::Rows.kernel("gather").of([dtype, y.dtype()]);
    let grid = [rows.len() as u32, 1, 1];
    cuda.launch(kernel.with(neighbours), grid, threads, 0, args);
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
