//! Freed blocks of memory, kept for the next request of their size.

use std::collections::BTreeMap;

/// No system or device grants more bytes, and rounding up cannot overflow below it.
pub(crate) const LARGEST: usize = isize::MAX as usize / 2;

/// Freed blocks by their size in bytes.
#[derive(Debug)]
pub(crate) struct Recycled<B> {
    blocks: BTreeMap<usize, Vec<B>>,
    bytes: usize,
}

impl<B> Default for Recycled<B> {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl<B> Recycled<B> {
    /// The bytes of all.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn put(&mut self, bytes: usize, block: B) {
        self.bytes += bytes;
        self.blocks.entry(bytes).or_default().push(block);
    }

    /// A block of this size, or of one up to a quarter larger.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<B> {
        let (&size, blocks) = self.blocks.range_mut(bytes..=bytes + bytes / 4).next()?;
        let block = blocks.pop()?;
        if blocks.is_empty() {
            self.blocks.remove(&size);
        }
        self.bytes -= size;
        Some(block)
    }

    /// The largest block.
    pub(crate) fn take_largest(&mut self) -> Option<B> {
        let mut largest = self.blocks.last_entry()?;
        let block = largest.get_mut().pop();
        if block.is_some() {
            self.bytes -= largest.key();
        }
        if largest.get().is_empty() {
            largest.remove();
        }
        block
    }

    /// All blocks, which are here no longer.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = B> + use<B> {
        self.bytes = 0;
        std::mem::take(&mut self.blocks).into_values().flatten()
    }
}

/// Rounds a size up so that nearly equal sizes share blocks: to `alignment`
/// below a page, then to an eighth of the power of two below it.
pub(crate) fn size_class(bytes: usize, alignment: usize) -> usize {
    let step = if bytes <= 4096 {
        alignment
    } else {
        (1 << (bytes.ilog2() - 3)).max(alignment)
    };
    bytes.max(1).next_multiple_of(step)
}
