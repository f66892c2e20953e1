//! Working memory of one thread, kept from call to call.

use std::cell::RefCell;

use crate::dtype::Element;

/// One cache line, the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `len` elements of arbitrary (but initialised) contents
/// that start on a cache line.
pub(super) fn with<E: Element, R>(len: usize, body: impl FnOnce(&mut [E]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = (len * size_of::<E>()).div_ceil(size_of::<Line>());
    if lines.len() < needed {
        lines.resize(needed, Line([0; 64]));
    }
    // SAFETY: the lines are initialised, aligned and long enough, every bit
    // pattern is a value of an `Element`, and the borrow ends before `lines`
    // is touched again.
    let slice = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) };
    let result = body(slice);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}
