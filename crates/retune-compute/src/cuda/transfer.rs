//! Tensors on their way between host and device.

use std::io::{self, Read};
use std::sync::PoisonError;

use cudarc::driver::{DriverError, result};

use super::Cuda;
use crate::backend::Storage;

/// Host memory through which tensors come and go.
const STAGING_BYTES: usize = 8 << 20;

/// Page-locked memory of the host.
pub(super) struct Staging {
    /// `None` once it is given back.
    start: Option<PageLocked>,
}

struct PageLocked(*mut u8);

// SAFETY: plain memory, owned by the mutex that it lies behind.
unsafe impl Send for PageLocked {}

impl Staging {
    /// The device has to be bound.
    pub(super) fn new() -> Result<Self, DriverError> {
        // SAFETY: the device is bound. The memory is freed once, in `release`.
        let start: *mut u8 = unsafe { result::malloc_host(STAGING_BYTES, 0) }?.cast();
        // SAFETY: just allocated, with this length.
        unsafe { start.write_bytes(0, STAGING_BYTES) };
        Ok(Self {
            start: Some(PageLocked(start)),
        })
    }

    fn bytes(&mut self) -> &mut [u8] {
        let start = self.start.as_ref().expect("given back with the device");
        // SAFETY: allocated with this length, initialised, and only reachable
        // through the mutex around `self`.
        unsafe { std::slice::from_raw_parts_mut(start.0, STAGING_BYTES) }
    }

    /// Gives the memory back. The device has to be bound, and nothing of it under way.
    pub(super) fn release(&mut self) {
        if let Some(PageLocked(start)) = self.start.take() {
            // SAFETY: from `malloc_host`, once, and nothing uses it any more.
            let _ = unsafe { result::free_host(start.cast()) };
        }
    }
}

/// Numbers that a kernel has written at `from`.
pub(super) fn read_back<T: Clone + Default>(cuda: &Cuda, from: u64, count: usize) -> Vec<T> {
    let mut numbers = vec![T::default(); count];
    cuda.bind();
    // SAFETY: the callers have as many numbers written there, of this type; the call
    // below waits for them.
    let copied = unsafe { result::memcpy_dtoh_async(&mut numbers, from, cuda.stream.cu_stream()) };
    cuda.sure("reading numbers", copied);
    cuda.sure("an operation", cuda.stream.synchronize());
    numbers
}

pub(super) fn read(cuda: &Cuda, storage: &Storage, bytes: &mut [u8]) {
    cuda.bind();
    let mut staging = cuda.staging.lock().unwrap_or_else(PoisonError::into_inner);
    let staging = staging.bytes();
    let mut from = storage.cuda();
    for bytes in bytes.chunks_mut(STAGING_BYTES) {
        let staged = &mut staging[..bytes.len()];
        // SAFETY: the storage is as long as all chunks together.
        let copied = unsafe { result::memcpy_dtoh_async(staged, from, cuda.stream.cu_stream()) };
        cuda.sure("reading a tensor", copied);
        cuda.sure("an operation", cuda.stream.synchronize());
        bytes.copy_from_slice(staged);
        from += bytes.len() as u64;
    }
}

pub(super) fn write(cuda: &Cuda, storage: &mut Storage, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    cuda.bind();
    // SAFETY: the storage is as long as the bytes. From memory that may be paged,
    // the copy has left them when the call returns; nothing waits for the device.
    let copied =
        unsafe { result::memcpy_htod_async(storage.cuda(), bytes, cuda.stream.cu_stream()) };
    cuda.sure("writing a tensor", copied);
}

pub(super) fn fill_from(
    cuda: &Cuda,
    storage: &mut Storage,
    bytes: usize,
    reader: &mut dyn Read,
) -> io::Result<()> {
    cuda.bind();
    let mut staging = cuda.staging.lock().unwrap_or_else(PoisonError::into_inner);
    let staging = staging.bytes();
    let mut to = storage.cuda();
    let mut left = bytes;
    while left > 0 {
        let staged = &mut staging[..left.min(STAGING_BYTES)];
        reader.read_exact(staged)?;
        // SAFETY: the storage is as long as all chunks together.
        let copied = unsafe { result::memcpy_htod_async(to, staged, cuda.stream.cu_stream()) };
        cuda.sure("writing a tensor", copied);
        // The staging memory is written again next.
        cuda.sure("an operation", cuda.stream.synchronize());
        to += staged.len() as u64;
        left -= staged.len();
    }
    Ok(())
}

pub(super) fn copy(cuda: &Cuda, from: &Storage, to: &mut Storage, bytes: usize) {
    if bytes == 0 {
        return;
    }
    cuda.bind();
    // SAFETY: both are that long, and two storages do not overlap.
    let copied = unsafe {
        result::memcpy_dtod_async(to.cuda(), from.cuda(), bytes, cuda.stream.cu_stream())
    };
    cuda.sure("copying a tensor", copied);
}

pub(super) fn fill_zero(cuda: &Cuda, storage: &mut Storage, bytes: usize) {
    if bytes == 0 {
        return;
    }
    cuda.bind();
    // SAFETY: the storage is that long.
    let filled =
        unsafe { result::memset_d8_async(storage.cuda(), 0, bytes, cuda.stream.cu_stream()) };
    cuda.sure("zeroing a tensor", filled);
}
