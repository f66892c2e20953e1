//! Host memory for tensors: aligned, always initialised, recycled.
//!
//! A training step makes and drops the same sizes again and again. Fresh
//! memory costs a page fault for every 4 KiB, which is as dear as a tenth of
//! the product that fills it, so freed buffers are kept for the next request
//! of their size class.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dtype::Element;

/// Buffers start on a cache line, which is also the width of the widest vector.
const ALIGNMENT: usize = 64;
/// Buffers from this size on start on a huge page and ask for huge pages.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that a device holds, as counted by its allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of living tensors and packed weights.
    pub in_use: usize,
    /// The largest `in_use` since the device was made or the peak was reset.
    pub peak: usize,
    /// Bytes of freed buffers that are kept for reuse.
    pub cached: usize,
}

#[derive(Debug, Default)]
struct State {
    usage: MemoryUse,
    limit: Option<usize>,
    free: BTreeMap<usize, Vec<Block>>,
}

/// The allocator of one host device.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    state: Mutex<State>,
}

#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block owns its memory and holds nothing that belongs to a thread.
unsafe impl Send for Block {}

impl Block {
    fn layout(bytes: usize) -> Option<Layout> {
        let alignment = if bytes >= HUGE_PAGE {
            HUGE_PAGE
        } else {
            ALIGNMENT
        };
        Layout::from_size_align(bytes, alignment).ok()
    }

    fn allocate(bytes: usize) -> Option<Self> {
        let layout = Self::layout(bytes)?;
        // SAFETY: size classes are never zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        advise_huge_pages(start, bytes);
        Some(Self { start, bytes })
    }

    fn release(self) {
        let layout = Self::layout(self.bytes).expect("the layout was valid at allocation");
        // SAFETY: `start` came from `alloc_zeroed` with this layout, and `self`
        // is consumed, so it is freed once.
        unsafe { dealloc(self.start.as_ptr(), layout) }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    if bytes >= HUGE_PAGE {
        // SAFETY: the range was just allocated, and this advice does not
        // change its contents. A refusal leaves ordinary pages.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise_huge_pages(_start: NonNull<u8>, _bytes: usize) {}

/// Rounds a size up so that nearly equal sizes share buffers: to cache lines
/// below a page, then to an eighth of the power of two below it.
fn size_class(bytes: usize) -> usize {
    let step = if bytes <= 4096 {
        ALIGNMENT
    } else {
        1 << (bytes.ilog2() - 3)
    };
    bytes.max(1).next_multiple_of(step)
}

impl HostMemory {
    pub(crate) fn with_limit(limit: Option<usize>) -> Arc<Self> {
        let memory = Self::default();
        memory.lock().limit = limit;
        Arc::new(memory)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counters stay consistent even if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn usage(&self) -> MemoryUse {
        self.lock().usage
    }

    pub(crate) fn reset_peak(&self) {
        let mut state = self.lock();
        state.usage.peak = state.usage.in_use;
    }

    pub(crate) fn release_cached(&self) {
        self.lock().release_cached();
    }

    /// A buffer of at least `bytes`, its contents initialised but arbitrary.
    /// `None` if the system or the limit refuses.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Option<HostBuffer> {
        // No allocation may exceed this, and larger sizes would overflow below.
        if bytes > isize::MAX as usize / 2 {
            return None;
        }
        let class = size_class(bytes);
        let mut state = self.lock();
        let recycled = state.free.get_mut(&class).and_then(Vec::pop);
        let block = match recycled {
            Some(block) => {
                state.usage.cached -= class;
                block
            }
            None => {
                if state.over_limit(class) {
                    state.release_cached();
                    if state.over_limit(class) {
                        return None;
                    }
                }
                match Block::allocate(class) {
                    Some(block) => block,
                    None => {
                        state.release_cached();
                        Block::allocate(class)?
                    }
                }
            }
        };
        state.usage.in_use += class;
        state.usage.peak = state.usage.peak.max(state.usage.in_use);
        Some(HostBuffer {
            block: Some(block),
            memory: Arc::clone(self),
        })
    }
}

impl State {
    fn over_limit(&self, more: usize) -> bool {
        self.limit
            .is_some_and(|limit| self.usage.in_use + self.usage.cached + more > limit)
    }

    fn release_cached(&mut self) {
        for block in std::mem::take(&mut self.free).into_values().flatten() {
            block.release();
        }
        self.usage.cached = 0;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release_cached();
    }
}

/// Owned host memory that goes back to its [`HostMemory`] when dropped.
#[derive(Debug)]
pub(crate) struct HostBuffer {
    // `None` only while dropping.
    block: Option<Block>,
    memory: Arc<HostMemory>,
}

// SAFETY: shared references give out only shared slices.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    fn block(&self) -> &Block {
        self.block.as_ref().expect("a living buffer has its block")
    }

    /// The first `len` elements.
    pub(crate) fn slice<E: Element>(&self, len: usize) -> &[E] {
        let block = self.block();
        assert!(
            len * size_of::<E>() <= block.bytes,
            "slice past the end of its buffer"
        );
        // SAFETY: the block is aligned to 64 bytes, initialised, long enough,
        // and every bit pattern is a value of an `Element`.
        unsafe { std::slice::from_raw_parts(block.start.as_ptr().cast(), len) }
    }

    /// The first `len` elements, writable.
    pub(crate) fn slice_mut<E: Element>(&mut self, len: usize) -> &mut [E] {
        let block = self.block();
        assert!(
            len * size_of::<E>() <= block.bytes,
            "slice past the end of its buffer"
        );
        // SAFETY: as in `slice`; `&mut self` makes the borrow unique.
        unsafe { std::slice::from_raw_parts_mut(block.start.as_ptr().cast(), len) }
    }

    /// The first `len` bytes.
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        let block = self.block();
        assert!(len <= block.bytes, "slice past the end of its buffer");
        // SAFETY: the block is initialised and long enough.
        unsafe { std::slice::from_raw_parts(block.start.as_ptr(), len) }
    }

    /// The first `len` bytes, writable.
    pub(crate) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        let block = self.block();
        assert!(len <= block.bytes, "slice past the end of its buffer");
        // SAFETY: as in `bytes`; every byte pattern is a value of an `Element`.
        unsafe { std::slice::from_raw_parts_mut(block.start.as_ptr(), len) }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let mut state = self.memory.lock();
            state.usage.in_use -= block.bytes;
            state.usage.cached += block.bytes;
            state.free.entry(block.bytes).or_default().push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_buffer_is_reused_and_counted() {
        let memory = HostMemory::with_limit(None);
        let first = memory.allocate(5000).unwrap();
        let address = first.bytes(1).as_ptr();
        let held = memory.usage().in_use;
        assert!(held >= 5000);
        drop(first);
        assert_eq!(
            memory.usage(),
            MemoryUse {
                in_use: 0,
                peak: held,
                cached: held
            }
        );
        let second = memory.allocate(4990).unwrap();
        assert_eq!(second.bytes(1).as_ptr(), address);
        assert_eq!(memory.usage().cached, 0);
    }

    #[test]
    fn the_limit_counts_cached_buffers_but_gives_them_up_first() {
        let memory = HostMemory::with_limit(Some(10_000));
        drop(memory.allocate(8_000).unwrap());
        let other = memory
            .allocate(4_000)
            .expect("the cached buffer makes room");
        assert!(memory.allocate(7_000).is_none());
        drop(other);
    }

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for bytes in (1..100_000).chain([1 << 30, (1 << 30) + 1]) {
            let class = size_class(bytes);
            assert!(class >= bytes);
            assert!(
                class - bytes <= (bytes / 8).max(ALIGNMENT - 1),
                "{bytes} → {class}"
            );
        }
    }

    #[test]
    fn an_impossible_size_is_refused() {
        assert!(HostMemory::with_limit(None).allocate(usize::MAX).is_none());
    }
}
