//! Which blocks of a cache are whose, and which hold beginnings that may come again.

use std::collections::{BTreeSet, HashMap};

use super::BLOCK;

/// What stands in a block: its tokens, and all that comes before them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Beginning {
    /// The block before, by the number of its beginning; 0 for none.
    after: u64,
    /// The adapter that computed it.
    adapter: Option<u64>,
    tokens: Box<[u32]>,
}

/// A beginning that is kept.
#[derive(Debug)]
struct Kept {
    /// What later blocks name it by. Numbers are never used again, so that a beginning
    /// whose former block is gone is found by nobody.
    number: u64,
    beginning: Beginning,
    used: u64,
}

/// The blocks of a cache: free, in use by sequences, or kept though nobody uses them.
#[derive(Debug)]
pub(super) struct Blocks {
    free: Vec<u32>,
    /// How many sequences use each.
    users: Vec<u32>,
    kept: HashMap<u32, Kept>,
    found: HashMap<Beginning, u32>,
    /// Kept blocks that nobody uses, by their last use.
    idle: BTreeSet<(u64, u32)>,
    clock: u64,
    numbers: u64,
}

impl Blocks {
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: (0..count as u32).rev().collect(),
            users: vec![0; count],
            kept: HashMap::new(),
            found: HashMap::new(),
            idle: BTreeSet::new(),
            clock: 0,
            numbers: 0,
        }
    }

    /// Blocks that can be had.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// `count` blocks that nobody else uses; those kept longest go first.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        if count > self.available() {
            return None;
        }
        while self.free.len() < count {
            let (_, block) = self.idle.pop_first()?;
            self.forget(block);
            self.free.push(block);
        }
        let taken = self.free.split_off(self.free.len() - count);
        for block in &taken {
            self.users[*block as usize] = 1;
        }
        Some(taken)
    }

    /// Has one more sequence use `blocks`.
    pub(super) fn share(&mut self, blocks: &[u32]) {
        for block in blocks {
            self.users[*block as usize] += 1;
            if let Some(kept) = self.kept.get(block) {
                self.idle.remove(&(kept.used, *block));
            }
        }
    }

    /// Has one sequence less use `blocks`, which stand in its order.
    pub(super) fn release(&mut self, blocks: &[u32]) {
        // The first is found without the last, but not the other way round: it goes last.
        for block in blocks.iter().rev() {
            self.users[*block as usize] -= 1;
            if self.users[*block as usize] > 0 {
                continue;
            }
            self.clock += 1;
            match self.kept.get_mut(block) {
                Some(kept) => {
                    kept.used = self.clock;
                    self.idle.insert((kept.used, *block));
                }
                None => self.free.push(*block),
            }
        }
    }

    /// The blocks that hold a beginning of `ids`, as long as there are whole ones. The
    /// last token is never in them.
    pub(super) fn find(&self, ids: &[u32], adapter: Option<u64>) -> Vec<u32> {
        let mut blocks = Vec::new();
        let mut after = 0;
        let most = ids.len().saturating_sub(1);
        for tokens in ids[..most].chunks_exact(BLOCK) {
            let beginning = Beginning {
                after,
                adapter,
                tokens: tokens.into(),
            };
            let Some(block) = self.found.get(&beginning) else {
                break;
            };
            blocks.push(*block);
            after = self.kept[block].number;
        }
        blocks
    }

    /// Keeps what `blocks` hold of `ids`, for sequences that begin in the same way.
    pub(super) fn keep(&mut self, blocks: &[u32], ids: &[u32], adapter: Option<u64>) {
        let mut after = 0;
        for (tokens, block) in ids.chunks_exact(BLOCK).zip(blocks) {
            let beginning = Beginning {
                after,
                adapter,
                tokens: tokens.into(),
            };
            // Another block may have it already.
            if let Some(other) = self.found.get(&beginning) {
                after = self.kept[other].number;
                continue;
            }
            // It may be kept already, behind a block that is gone.
            self.forget(*block);
            self.numbers += 1;
            after = self.numbers;
            self.found.insert(beginning.clone(), *block);
            let kept = Kept {
                number: self.numbers,
                beginning,
                used: self.clock,
            };
            self.kept.insert(*block, kept);
        }
    }

    fn forget(&mut self, block: u32) {
        if let Some(kept) = self.kept.remove(&block) {
            self.found.remove(&kept.beginning);
        }
    }
}
