//! Host memory for tensors: aligned, always initialised, recycled.
//!
//! A training step makes and drops the same sizes again and again. Fresh
//! memory costs a page fault for every 4 KiB, which is as dear as a tenth of
//! the product that fills it, so freed buffers are kept for the next request
//! of their size class. Buffers of middle size, such as the smaller weights of
//! a model, share chunks of huge pages: read once from memory, they come a
//! sixth faster than from pages of 4 KiB.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dtype::Element;

/// Buffers start on a cache line, which is also the width of the widest vector.
const ALIGNMENT: usize = 64;
/// Buffers from this size on start on a huge page and ask for huge pages.
const HUGE_PAGE: usize = 2 << 20;
/// Buffers from this size on, up to [`HUGE_PAGE`], are cut from chunks. Smaller
/// ones stay apart, where a memory checker sees their ends.
const SMALLEST_IN_CHUNK: usize = 64 << 10;
const CHUNK: usize = 4 * HUGE_PAGE;
/// No system grants more, and rounding up cannot overflow below it.
const LARGEST: usize = isize::MAX as usize / 2;

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
    /// Freed blocks by size.
    free: BTreeMap<usize, Vec<Block>>,
    /// Chunks by address; the one that blocks are cut from is `open`.
    chunks: BTreeMap<usize, Chunk>,
    open: Option<usize>,
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
    /// The address of the chunk that it was cut from.
    chunk: Option<usize>,
}

/// Memory that blocks are cut from, front to back. It is freed when all of its
/// blocks are.
#[derive(Debug)]
struct Chunk {
    memory: Block,
    used: usize,
    blocks: usize,
}

// SAFETY: a block owns its memory and holds nothing that belongs to a thread.
unsafe impl Send for Block {}

impl Block {
    fn allocate(bytes: usize) -> Option<Self> {
        let start = if bytes >= HUGE_PAGE {
            pages::map(bytes)?
        } else {
            let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
            // SAFETY: size classes are never zero.
            NonNull::new(unsafe { alloc_zeroed(layout) })?
        };
        Some(Self {
            start,
            bytes,
            chunk: None,
        })
    }

    fn release(self) {
        debug_assert!(self.chunk.is_none(), "chunks are freed whole");
        if self.bytes >= HUGE_PAGE {
            // SAFETY: from `map` with this size, and `self` is consumed.
            unsafe { pages::unmap(self.start, self.bytes) };
        } else {
            let layout = Layout::from_size_align(self.bytes, ALIGNMENT)
                .expect("the layout was valid at allocation");
            // SAFETY: from `alloc_zeroed` with this layout, and `self` is
            // consumed.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

/// Memory by the page, on huge pages where the system lends them.
#[cfg(all(target_os = "linux", not(miri)))]
mod pages {
    use std::ptr::{NonNull, null_mut};

    use super::HUGE_PAGE;

    /// `bytes` of zeros that start on a huge page.
    ///
    /// The advice has to come before the first touch, which an allocator that
    /// clears its memory would be.
    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let bytes = bytes.next_multiple_of(4096);
        let mapped = bytes.checked_add(HUGE_PAGE)?;
        let (read_write, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping, where the system likes.
        let base = unsafe { libc::mmap(null_mut(), mapped, read_write, private, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base: *mut u8 = base.cast();
        let head = base.align_offset(HUGE_PAGE);
        // SAFETY: the parts before and behind the aligned range lie in the
        // mapping, and nothing uses them. A refusal of the advice leaves
        // ordinary pages.
        unsafe {
            let start = base.add(head);
            if head > 0 {
                libc::munmap(base.cast(), head);
            }
            libc::munmap(start.add(bytes).cast(), HUGE_PAGE - head);
            libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
            NonNull::new(start)
        }
    }

    /// # Safety
    /// `start` is from [`map`] with the same `bytes`, and nothing uses it.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller owns the mapping.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes.next_multiple_of(4096)) };
    }
}

/// Elsewhere, the allocator's memory.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod pages {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    use super::ALIGNMENT;

    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
        // SAFETY: huge buffers are not empty.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// `start` is from [`map`] with the same `bytes`, and nothing uses it.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).expect("valid at allocation");
        // SAFETY: the caller owns the memory, which has this layout.
        unsafe { dealloc(start.as_ptr(), layout) };
    }
}

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

/// Bytes that a buffer of `bytes` takes, as [`MemoryUse`] counts them.
pub(crate) fn held_bytes(bytes: usize) -> usize {
    if bytes > LARGEST {
        bytes
    } else {
        size_class(bytes)
    }
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
        if bytes > LARGEST {
            return None;
        }
        let class = size_class(bytes);
        let mut state = self.lock();
        let block = match state.take_cached(class) {
            Some(block) => block,
            None => {
                state.make_room(class);
                if state.over_limit(class) {
                    state.release_cached();
                    if state.over_limit(class) {
                        return None;
                    }
                }
                match state.new_block(class) {
                    Some(block) => block,
                    None => {
                        state.release_cached();
                        state.new_block(class)?
                    }
                }
            }
        };
        state.usage.in_use += block.bytes;
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

    /// A freed block of this size, or of one up to a quarter larger.
    fn take_cached(&mut self, class: usize) -> Option<Block> {
        let (&size, blocks) = self.free.range_mut(class..=class + class / 4).next()?;
        let block = blocks.pop()?;
        if blocks.is_empty() {
            self.free.remove(&size);
        }
        self.usage.cached -= size;
        Some(block)
    }

    /// Gives freed blocks back, the largest first, until what is held is again
    /// near what was needed at the peak. Steps differ in length; without this,
    /// blocks of every length would pile up.
    fn make_room(&mut self, class: usize) {
        let needed = self.usage.in_use + class;
        let allowed = self.usage.peak.max(needed) / 4 * 5;
        let sizes: Vec<usize> = self.free.keys().rev().copied().collect();
        for size in sizes {
            let Some(blocks) = self.free.get_mut(&size) else {
                continue;
            };
            // Blocks of chunks are freed with their chunk.
            while needed + self.usage.cached > allowed
                && let Some(block) = blocks.pop_if(|block| block.chunk.is_none())
            {
                self.usage.cached -= size;
                block.release();
            }
            if blocks.is_empty() {
                self.free.remove(&size);
            }
        }
    }

    fn new_block(&mut self, bytes: usize) -> Option<Block> {
        if !(SMALLEST_IN_CHUNK..HUGE_PAGE).contains(&bytes) {
            return Block::allocate(bytes);
        }
        let has_room = |chunk: &Chunk| CHUNK - chunk.used >= bytes;
        let key = match self.open {
            Some(key) if self.chunks.get(&key).is_some_and(has_room) => key,
            _ => {
                let memory = Block::allocate(CHUNK)?;
                let key = memory.start.as_ptr() as usize;
                let chunk = Chunk {
                    memory,
                    used: 0,
                    blocks: 0,
                };
                self.chunks.insert(key, chunk);
                self.open = Some(key);
                key
            }
        };
        let chunk = self.chunks.get_mut(&key)?;
        // SAFETY: the chunk has room for the block behind those it was cut
        // into; classes are multiples of the alignment.
        let start = unsafe { chunk.memory.start.add(chunk.used) };
        chunk.used += bytes;
        chunk.blocks += 1;
        Some(Block {
            start,
            bytes,
            chunk: Some(key),
        })
    }

    /// Gives freed memory back to the system, but for blocks whose chunk still
    /// has living ones.
    fn release_cached(&mut self) {
        let blocks: Vec<Block> = std::mem::take(&mut self.free)
            .into_values()
            .flatten()
            .collect();
        let mut freed: BTreeMap<usize, usize> = BTreeMap::new();
        for key in blocks.iter().filter_map(|block| block.chunk) {
            *freed.entry(key).or_default() += 1;
        }
        for block in blocks {
            match block.chunk {
                None => {
                    self.usage.cached -= block.bytes;
                    block.release();
                }
                Some(key) if freed.get(&key) == self.chunks.get(&key).map(|c| &c.blocks) => {
                    self.usage.cached -= block.bytes;
                }
                Some(_) => self.free.entry(block.bytes).or_default().push(block),
            }
        }
        for (key, freed) in freed {
            if self.chunks.get(&key).is_some_and(|c| c.blocks == freed)
                && let Some(chunk) = self.chunks.remove(&key)
            {
                chunk.memory.release();
            }
        }
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
    fn steps_of_many_lengths_do_not_pile_up() {
        let memory = HostMemory::with_limit(None);
        let mut held = 0;
        for step in 0..60usize {
            let tokens = 200 + step * 7919 % 300;
            let step: Vec<_> = (1..8)
                .map(|width| memory.allocate(tokens * width * 30_000))
                .collect();
            assert!(step.iter().all(Option::is_some));
            drop(step);
            held = held.max(memory.usage().cached);
        }
        let peak = memory.usage().peak;
        assert!(held <= peak + peak / 4, "{held} held, {peak} needed");
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
    fn buffers_of_a_chunk_are_apart_and_the_chunk_outlives_all_of_them() {
        let memory = HostMemory::with_limit(None);
        let chunks = || memory.lock().chunks.len();
        let mut buffers: Vec<HostBuffer> = (0..20)
            .map(|_| memory.allocate(1_000_000).expect("memory"))
            .collect();
        for (value, buffer) in buffers.iter_mut().enumerate() {
            buffer.bytes_mut(1_000_000).fill(value as u8);
        }
        for (value, buffer) in buffers.iter().enumerate() {
            let bytes = buffer.bytes(1_000_000);
            assert_eq!([bytes[0], bytes[999_999]], [value as u8; 2]);
        }
        assert_eq!(chunks(), 3);
        let last = buffers.pop();
        let held = memory.usage().in_use;
        drop(last);
        let one = memory.usage().cached;
        memory.release_cached();
        // The chunk of the last one lives on in others.
        assert_eq!((chunks(), memory.usage().cached), (3, one));
        drop(buffers);
        assert_eq!(memory.usage().cached, held);
        memory.release_cached();
        assert_eq!((chunks(), memory.usage().cached), (0, 0));
    }

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        let dense = if cfg!(miri) { 1_000 } else { 100_000 };
        for bytes in (1..dense).chain([1 << 30, (1 << 30) + 1]) {
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
