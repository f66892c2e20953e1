//! Lists of numbers on their way to kernels: token ids, rows, boundaries.

use super::memory::CudaBuffer;

/// Bytes of the ring.
pub(super) const RING_BYTES: usize = 16 << 20;
/// Lists start on multiples of this.
const ALIGNMENT: usize = 256;
/// How many of the last lists are remembered.
const REMEMBERED: usize = 64;

/// What was put on the device last. The layers of a model ask for the same lists
/// one after the other.
#[derive(Debug)]
pub(super) struct Uploads {
    ring: CudaBuffer,
    next: usize,
    lists: Vec<List>,
    /// Lists that are longer than the ring, the last few.
    long: Vec<CudaBuffer>,
}

#[derive(Debug)]
struct List {
    words: Vec<u32>,
    start: usize,
}

/// Where a list is, and whether it still has to be copied there.
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) is_new: bool,
}

impl Uploads {
    pub(super) fn new(ring: CudaBuffer) -> Self {
        Self {
            ring,
            next: 0,
            lists: Vec::new(),
            long: Vec::new(),
        }
    }

    /// The place of a list that fits into the ring. What lay there before has been
    /// read by then: copies and kernels go through one stream, in order.
    pub(super) fn place(&mut self, words: &[u32]) -> Place {
        if let Some(list) = self.lists.iter().find(|list| list.words == words) {
            return Place {
                address: self.ring.address() + list.start as u64,
                is_new: false,
            };
        }
        let bytes = size_of_val(words).next_multiple_of(ALIGNMENT);
        debug_assert!(bytes <= RING_BYTES, "the caller has looked at the length");
        if self.next + bytes > RING_BYTES {
            self.next = 0;
        }
        let (start, end) = (self.next, self.next + bytes);
        self.next = end;
        // Those that are overwritten, and the oldest.
        self.lists.retain(|list| {
            let list_end = list.start + size_of_val(&list.words[..]);
            list_end <= start || list.start >= end
        });
        if self.lists.len() >= REMEMBERED {
            self.lists.remove(0);
        }
        self.lists.push(List {
            words: words.to_vec(),
            start,
        });
        Place {
            address: self.ring.address() + start as u64,
            is_new: true,
        }
    }

    /// Keeps the memory of a list that is longer than the ring until the next but one.
    pub(super) fn hold(&mut self, buffer: CudaBuffer) {
        if self.long.len() >= 2 {
            self.long.remove(0);
        }
        self.long.push(buffer);
    }
}
