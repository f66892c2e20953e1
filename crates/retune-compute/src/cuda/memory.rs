//! Memory of a GPU: recycled, counted, limited.
//!
//! All work of a device goes through one stream, in order. So a buffer that is
//! dropped can be given out again at once: what reads it was asked for before
//! what will write it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, result, sys};

use crate::host::MemoryUse;
use crate::recycle::{LARGEST, Recycled, size_class};

/// What the widest vectors and the matrix library like best.
const ALIGNMENT: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Block {
    address: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    peak: usize,
    free: Recycled<Block>,
}

/// The allocator of one GPU.
#[derive(Debug)]
pub(super) struct DeviceHeap {
    context: Arc<CudaContext>,
    limit: Option<usize>,
    state: Mutex<State>,
}

impl DeviceHeap {
    pub(super) fn new(context: Arc<CudaContext>, limit: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            context,
            limit,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The counters stay consistent even if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usage(&self) -> MemoryUse {
        let state = self.lock();
        MemoryUse {
            in_use: state.in_use,
            peak: state.peak,
            cached: state.free.bytes(),
        }
    }

    pub(super) fn reset_peak(&self) {
        let mut state = self.lock();
        state.peak = state.in_use;
    }

    pub(super) fn release_cached(&self) {
        let mut state = self.lock();
        self.release(&mut state);
    }

    /// A buffer of at least `bytes`, its contents arbitrary. `None` if the
    /// driver or the limit refuses.
    pub(super) fn allocate(self: &Arc<Self>, bytes: usize) -> Option<CudaBuffer> {
        if bytes > LARGEST {
            return None;
        }
        let mut state = self.lock();
        let block = self.block(&mut state, size_class(bytes, ALIGNMENT))?;
        state.in_use += block.bytes;
        state.peak = state.peak.max(state.in_use);
        Some(CudaBuffer {
            block,
            heap: Arc::clone(self),
        })
    }

    fn block(&self, state: &mut State, bytes: usize) -> Option<Block> {
        if let Some(block) = state.free.take(bytes) {
            return Some(block);
        }
        // Steps differ in length, and giving memory back waits for the device: blocks
        // of all lengths stay, up to twice what is needed.
        let needed = state.in_use + bytes;
        let limit = self.limit.unwrap_or(usize::MAX);
        let allowed = state.peak.max(needed).saturating_mul(2).min(limit);
        while needed + state.free.bytes() > allowed
            && let Some(largest) = state.free.take_largest()
        {
            self.give_back(largest);
        }
        if needed > limit {
            return None;
        }
        self.fresh(bytes).or_else(|| {
            self.release(state);
            self.fresh(bytes)
        })
    }

    fn fresh(&self, bytes: usize) -> Option<Block> {
        self.context
            .bind_to_thread()
            .expect("the device was there when it was opened");
        // SAFETY: the context is bound; the memory is freed once, in `give_back`.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Some(Block { address, bytes }),
            Err(e) if e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => None,
            // A kernel before it went wrong, say: that is not for want of memory.
            Err(e) => panic!("allocating {bytes} bytes failed on the GPU: {e}"),
        }
    }

    /// Gives all freed blocks back to the driver.
    fn release(&self, state: &mut State) {
        state
            .free
            .take_all()
            .for_each(|block| self.give_back(block));
    }

    /// Gives a block back that no buffer has any more.
    fn give_back(&self, block: Block) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: from `malloc_sync`, once. The driver waits for work that still
            // uses it. A failure shows up in the next call.
            let _ = unsafe { result::free_sync(block.address) };
        }
    }
}

impl Drop for DeviceHeap {
    fn drop(&mut self) {
        self.release_cached();
    }
}

/// Owned memory of a GPU that goes back to its heap when dropped.
#[derive(Debug)]
pub(crate) struct CudaBuffer {
    block: Block,
    heap: Arc<DeviceHeap>,
}

impl CudaBuffer {
    /// Where it lies on the device.
    pub(crate) fn address(&self) -> u64 {
        self.block.address
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        let mut state = self.heap.lock();
        state.in_use -= self.block.bytes;
        state.free.put(self.block.bytes, self.block);
    }
}
