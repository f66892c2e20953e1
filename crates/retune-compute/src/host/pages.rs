//! Memory by the page, on huge pages where the system lends them.

pub(super) use self::system::{map, unmap};

/// What blocks of whole pages are aligned to.
pub(super) const HUGE_PAGE: usize = 2 << 20;

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use std::ptr::{NonNull, null_mut};

    use super::HUGE_PAGE;

    /// `bytes` of zeros that start on a huge page.
    ///
    /// The advice has to come before the first touch, which an allocator that
    /// clears its memory would be.
    pub(in crate::host) fn map(bytes: usize) -> Option<NonNull<u8>> {
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
    pub(in crate::host) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller owns the mapping.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes.next_multiple_of(4096)) };
    }
}

/// Elsewhere, the allocator's memory.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    use super::super::ALIGNMENT;

    pub(in crate::host) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
        // SAFETY: huge buffers are not empty.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// `start` is from [`map`] with the same `bytes`, and nothing uses it.
    pub(in crate::host) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).expect("valid at allocation");
        // SAFETY: the caller owns the memory, which has this layout.
        unsafe { dealloc(start.as_ptr(), layout) };
    }
}
