//! Chunks of huge pages that small weights share.
//!
//! A weight of a few hundred KiB is read once from memory for every token, and
//! from huge pages it comes a sixth faster than from pages of 4 KiB; but it is
//! too small for a huge page of its own.

use std::collections::BTreeMap;
use std::ptr::NonNull;

use super::pages::{self, HUGE_PAGE};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 4 * HUGE_PAGE;

/// The chunks of one device. Ranges are cut from the first chunk with room, and
/// a chunk goes back to the system when all of it is free.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    by_address: BTreeMap<usize, Chunk>,
    free_bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    /// Free ranges, offset to length; neighbours are always joined.
    free: BTreeMap<usize, usize>,
}

// SAFETY: a chunk owns its memory and holds nothing that belongs to a thread.
unsafe impl Send for Chunk {}

impl Chunks {
    /// Bytes that are mapped and not handed out.
    pub(super) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// The number of chunks.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// `bytes` of initialised memory from a chunk that has them.
    pub(super) fn take(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let (chunk, offset) = self.by_address.values_mut().find_map(|chunk| {
            let fits = |(&offset, &len): (&usize, &usize)| (len >= bytes).then_some(offset);
            let offset = chunk.free.iter().find_map(fits)?;
            Some((chunk, offset))
        })?;
        let len = chunk.free.remove(&offset)?;
        if len > bytes {
            chunk.free.insert(offset + bytes, len - bytes);
        }
        self.free_bytes -= bytes;
        // SAFETY: the range lies in the chunk.
        Some(unsafe { chunk.start.add(offset) })
    }

    /// Maps one more chunk. `false` if the system refuses.
    pub(super) fn grow(&mut self) -> bool {
        let Some(start) = pages::map(CHUNK) else {
            return false;
        };
        let chunk = Chunk {
            start,
            free: BTreeMap::from([(0, CHUNK)]),
        };
        self.by_address.insert(start.as_ptr() as usize, chunk);
        self.free_bytes += CHUNK;
        true
    }

    /// Takes back what [`Chunks::take`] gave.
    pub(super) fn give_back(&mut self, start: NonNull<u8>, bytes: usize) {
        let address = start.as_ptr() as usize;
        let (&key, chunk) = self
            .by_address
            .range_mut(..=address)
            .next_back()
            .expect("a living range has its chunk");
        let (mut offset, mut len) = (address - key, bytes);
        if let Some(behind) = chunk.free.remove(&(offset + len)) {
            len += behind;
        }
        if let Some((&before, &before_len)) = chunk.free.range(..offset).next_back()
            && before + before_len == offset
        {
            (offset, len) = (before, before_len + len);
        }
        chunk.free.insert(offset, len);
        self.free_bytes += bytes;
        if len == CHUNK {
            self.free_bytes -= CHUNK;
            let chunk = self.by_address.remove(&key).expect("just found");
            // SAFETY: from `map` with this size, and nothing of it is in use.
            unsafe { pages::unmap(chunk.start, CHUNK) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_neighbours_join_and_a_free_chunk_is_unmapped() {
        let mut chunks = Chunks::default();
        assert!(chunks.take(1).is_none());
        assert!(chunks.grow());
        let quarter = CHUNK / 4;
        let parts: Vec<_> = (0..4).map(|_| chunks.take(quarter).unwrap()).collect();
        assert_eq!((chunks.free_bytes(), chunks.take(1)), (0, None));
        chunks.give_back(parts[1], quarter);
        chunks.give_back(parts[2], quarter);
        let both = chunks.take(2 * quarter).unwrap();
        assert_eq!(both, parts[1]);
        for (part, bytes) in [
            (parts[0], quarter),
            (both, 2 * quarter),
            (parts[3], quarter),
        ] {
            assert_eq!(chunks.len(), 1);
            chunks.give_back(part, bytes);
        }
        assert_eq!((chunks.len(), chunks.free_bytes()), (0, 0));
    }
}
