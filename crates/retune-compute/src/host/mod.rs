//! Host memory for tensors: aligned, always initialised, recycled.
//!
//! A training step makes and drops the same sizes again and again. Fresh
//! memory costs a page fault for every 4 KiB, which is as dear as a tenth of
//! the product that fills it, so freed buffers are kept for the next request
//! of their size class.
//!
//! Large buffers lie on huge pages (`pages`), and small weights share them
//! (`chunks`).

mod chunks;
mod pages;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::chunks::{CHUNK, Chunks};
use self::pages::HUGE_PAGE;
use crate::dtype::Element;
use crate::recycle::{self, LARGEST, Recycled};

/// Buffers start on a cache line, which is also the width of the widest vector.
const ALIGNMENT: usize = 64;
/// Weights from this size on, up to [`HUGE_PAGE`], are cut from chunks. For
/// smaller ones pages of 4 KiB are as good, and a memory checker sees where
/// they end.
const SMALLEST_IN_CHUNK: usize = 64 << 10;

/// One part in so many of the peak may be held beyond it. Attention and the MLP take turns
/// with buffers of other sizes: with nothing to spare, each would give the other's back.
const SLACK: usize = 128;

/// Bytes that a device holds, as counted by its allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of living tensors and packed weights.
    pub in_use: usize,
    /// The largest `in_use` since the device was made or the peak was reset.
    pub peak: usize,
    /// Bytes that are held but not in use: freed buffers that are kept for
    /// reuse, and gaps between packed weights.
    pub cached: usize,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    peak: usize,
    limit: Option<usize>,
    free: Recycled<Block>,
    chunks: Chunks,
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
    /// Whether it was cut from a chunk.
    of_chunk: bool,
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
            of_chunk: false,
        })
    }

    fn release(self) {
        debug_assert!(!self.of_chunk, "chunks take back their own");
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

fn size_class(bytes: usize) -> usize {
    recycle::size_class(bytes, ALIGNMENT)
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
        let state = self.lock();
        MemoryUse {
            in_use: state.in_use,
            peak: state.peak,
            cached: state.cached(),
        }
    }

    pub(crate) fn reset_peak(&self) {
        let mut state = self.lock();
        state.peak = state.in_use;
    }

    pub(crate) fn release_cached(&self) {
        self.lock().release_cached();
    }

    /// A buffer of at least `bytes`, its contents initialised but arbitrary.
    /// `None` if the system or the limit refuses.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Option<HostBuffer> {
        self.buffer(bytes, State::block)
    }

    /// The same for memory that is filled once and read often, like a packed
    /// weight.
    pub(crate) fn allocate_lasting(self: &Arc<Self>, bytes: usize) -> Option<HostBuffer> {
        self.buffer(bytes, State::lasting_block)
    }

    fn buffer(
        self: &Arc<Self>,
        bytes: usize,
        block: impl FnOnce(&mut State, usize) -> Option<Block>,
    ) -> Option<HostBuffer> {
        if bytes > LARGEST {
            return None;
        }
        let mut state = self.lock();
        let block = block(&mut state, size_class(bytes))?;
        state.in_use += block.bytes;
        state.peak = state.peak.max(state.in_use);
        Some(HostBuffer {
            block: Some(block),
            memory: Arc::clone(self),
        })
    }
}

impl State {
    fn cached(&self) -> usize {
        self.free.bytes() + self.chunks.free_bytes()
    }

    fn over_limit(&self, more: usize) -> bool {
        self.limit
            .is_some_and(|limit| self.in_use + self.cached() + more > limit)
    }

    fn block(&mut self, class: usize) -> Option<Block> {
        if let Some(block) = self.free.take(class) {
            return Some(block);
        }
        self.make_room(class);
        if self.over_limit(class) {
            self.release_cached();
            if self.over_limit(class) {
                return None;
            }
        }
        Block::allocate(class).or_else(|| {
            self.release_cached();
            Block::allocate(class)
        })
    }

    fn lasting_block(&mut self, class: usize) -> Option<Block> {
        if !(SMALLEST_IN_CHUNK..HUGE_PAGE).contains(&class) {
            return self.block(class);
        }
        let mut start = self.chunks.take(class);
        if start.is_none() && !self.over_limit(CHUNK) && self.chunks.grow() {
            start = self.chunks.take(class);
        }
        match start {
            Some(start) => Some(Block {
                start,
                bytes: class,
                of_chunk: true,
            }),
            // Where there is no room for a chunk, there may be for the weight.
            None => self.block(class),
        }
    }

    /// Gives freed blocks back, the largest first, until little more is held
    /// than was needed at the peak. Steps differ in length; without this,
    /// blocks of every length would pile up.
    fn make_room(&mut self, class: usize) {
        let needed = self.in_use + class;
        let limit = self.limit.unwrap_or(usize::MAX);
        let allowed = self.peak.max(needed) + self.peak / SLACK;
        let allowed = allowed.min(limit.saturating_sub(self.chunks.free_bytes()));
        while needed + self.free.bytes() > allowed
            && let Some(block) = self.free.take_largest()
        {
            block.release();
        }
    }

    /// Gives freed blocks back to the system.
    fn release_cached(&mut self) {
        self.free.take_all().for_each(Block::release);
    }

    fn take_back(&mut self, block: Block) {
        self.in_use -= block.bytes;
        if block.of_chunk {
            self.chunks.give_back(block.start, block.bytes);
        } else {
            self.free.put(block.bytes, block);
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
            self.memory.lock().take_back(block);
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
    fn parts_of_a_step_that_take_turns_keep_their_buffers() {
        let [small, large] = [200_000, 900_000].map(size_class);
        let (weights, both) = (size_class(100_000_000), 3 * (small + large));
        let tight = weights + both - 100_000;
        // Where a limit leaves no room for both parts, one buffer goes, and not all.
        for (limit, lost) in [(None, 0), (Some(weights + both), 0), (Some(tight), large)] {
            let memory = HostMemory::with_limit(limit);
            let held = memory.allocate(weights).expect("room for the weights");
            for layer in 0..3 {
                for bytes in [small, large] {
                    let buffers = [(); 3].map(|()| memory.allocate(bytes));
                    assert!(buffers.iter().all(Option::is_some));
                    drop(buffers);
                    let cached = memory.usage().cached;
                    assert!(layer == 0 || cached + lost >= both, "{limit:?}: {cached}");
                }
            }
            drop(held);
        }
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
    fn small_weights_share_chunks_and_lie_apart() {
        let memory = HostMemory::with_limit(None);
        let chunks = || memory.lock().chunks.len();
        let mut weights: Vec<HostBuffer> = (0..20)
            .map(|_| memory.allocate_lasting(1_000_000).expect("memory"))
            .collect();
        for (value, weight) in weights.iter_mut().enumerate() {
            weight.bytes_mut(1_000_000).fill(value as u8);
        }
        for (value, weight) in weights.iter().enumerate() {
            let bytes = weight.bytes(1_000_000);
            assert_eq!([bytes[0], bytes[999_999]], [value as u8; 2]);
        }
        let held = held_bytes(1_000_000);
        assert_eq!((chunks(), memory.usage().in_use), (3, 20 * held));
        assert_eq!(memory.usage().cached, 3 * CHUNK - 20 * held);
        // A gap serves the next weight, not a tensor.
        drop(weights.remove(3));
        let tensor = memory.allocate(1_000_000);
        weights.push(memory.allocate_lasting(900_000).expect("memory"));
        assert_eq!(chunks(), 3);
        drop(weights);
        assert_eq!((chunks(), memory.usage().cached), (0, 0));
        drop(tensor);
    }

    #[test]
    fn tensors_of_many_sizes_under_a_limit_are_never_refused_for_what_is_cached() {
        let limit = 6_000_000;
        let memory = HostMemory::with_limit(Some(limit));
        let kept = memory.allocate_lasting(70_000).expect("far from the limit");
        for step in 0..400usize {
            let bytes = 65_536 + step * 7919 % 1_900_000;
            let pair = [(); 2].map(|()| memory.allocate(bytes));
            assert!(pair.iter().all(Option::is_some), "{bytes}");
            let MemoryUse { in_use, cached, .. } = memory.usage();
            assert!(in_use + cached <= limit, "{in_use} + {cached}");
        }
        drop(kept);
        memory.release_cached();
        assert_eq!(memory.usage().cached, 0);
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
