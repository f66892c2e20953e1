//! Handing disjoint rows of outputs to parallel tasks.

use std::marker::PhantomData;
use std::ops::Range;

use super::pool::ThreadPool;

/// A writable matrix whose rows parallel tasks share out among themselves.
pub(super) struct RowsMut<'a, T> {
    start: *mut T,
    rows: usize,
    width: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: elements are reached only through `cells` and `Parts::part`, whose
// callers promise that no two references overlap.
unsafe impl<T: Send> Sync for RowsMut<'_, T> {}
// SAFETY: it stands for a `&mut [T]`.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}

impl<'a, T> RowsMut<'a, T> {
    /// Views `values` as rows of `width` elements; of empty rows, there are as
    /// many as one likes.
    pub(super) fn new(values: &'a mut [T], width: usize) -> Self {
        let rows = values.len().checked_div(width).unwrap_or(usize::MAX);
        assert!(
            values.len().is_multiple_of(width),
            "not a whole number of rows"
        );
        Self {
            start: values.as_mut_ptr(),
            rows,
            width,
            owner: PhantomData,
        }
    }

    /// Elements `columns` of row `row`.
    ///
    /// # Safety
    /// No other reference to these elements lives as long as the result.
    #[allow(clippy::mut_from_ref, reason = "the caller promises uniqueness")]
    pub(super) unsafe fn cells(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.width);
        // SAFETY: inside the matrix, as just checked; unique by the caller's
        // promise.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.add(row * self.width + columns.start),
                columns.len(),
            )
        }
    }
}

/// A writable slice that parallel tasks share out in chunks of equal length,
/// the last one shorter.
pub(super) struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: chunks are reached only through `chunk`, whose caller promises that
// none is taken twice.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    pub(super) fn new(values: &'a mut [T], chunk: usize) -> Self {
        let len = values.len();
        Self {
            start: values.as_mut_ptr(),
            len,
            chunk,
            owner: PhantomData,
        }
    }

    /// Chunk `index`.
    ///
    /// # Safety
    /// No other reference to this chunk lives as long as the result.
    #[allow(clippy::mut_from_ref, reason = "the caller promises uniqueness")]
    pub(super) unsafe fn chunk(&self, index: usize) -> &mut [T] {
        let start = index * self.chunk;
        assert!(start <= self.len);
        let len = self.chunk.min(self.len - start);
        // SAFETY: inside the slice, as just checked; unique by the caller's
        // promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Outputs that can be cut by rows.
pub(super) trait Parts: Sync {
    /// What one task gets.
    type Part;

    /// The rows in `rows`.
    ///
    /// # Safety
    /// No other part of the same rows is alive.
    unsafe fn part(&self, rows: Range<usize>) -> Self::Part;
}

impl<'a, T: Send + 'a> Parts for RowsMut<'a, T> {
    type Part = &'a mut [T];

    unsafe fn part(&self, rows: Range<usize>) -> Self::Part {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        // SAFETY: inside the matrix, as just checked; unique by the caller's
        // promise, for as long as the matrix is borrowed.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.add(rows.start * self.width),
                rows.len() * self.width,
            )
        }
    }
}

impl<P: Parts> Parts for Option<P> {
    type Part = Option<P::Part>;

    unsafe fn part(&self, rows: Range<usize>) -> Self::Part {
        // SAFETY: passed on to the caller.
        self.as_ref().map(|parts| unsafe { parts.part(rows) })
    }
}

macro_rules! tuple_of_parts {
    ($($name:ident),*) => {
        impl<$($name: Parts),*> Parts for ($($name,)*) {
            type Part = ($($name::Part,)*);

            unsafe fn part(&self, rows: Range<usize>) -> Self::Part {
                #[allow(non_snake_case)]
                let ($($name,)*) = self;
                // SAFETY: passed on to the caller.
                unsafe { ($($name.part(rows.clone()),)*) }
            }
        }
    };
}
tuple_of_parts!(A, B);
tuple_of_parts!(A, B, C);
tuple_of_parts!(A, B, C, D);

impl ThreadPool {
    /// Calls `body(rows, part)` for consecutive blocks of `block` rows, with
    /// the block's part of each output.
    pub(super) fn for_rows<P: Parts>(
        &self,
        rows: usize,
        block: usize,
        outputs: P,
        body: impl Fn(Range<usize>, P::Part) + Sync,
    ) {
        let block = block.max(1);
        self.run(rows.div_ceil(block), |task| {
            let range = task * block..((task + 1) * block).min(rows);
            // SAFETY: each task has its own rows, and `outputs` is not used
            // otherwise until all tasks are done.
            let part = unsafe { outputs.part(range.clone()) };
            body(range, part);
        });
    }
}

/// How many rows of `width` elements make a task: enough work to be worth
/// handing out, few enough to share evenly.
pub(super) fn rows_per_task(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}
