//! Keys and values that were computed already, for generation token by token.

mod blocks;

use std::sync::Arc;

use retune_compute::Tensor;
use retune_compute::ops::{CachedSequence, gather_rows, scatter_rows};

use self::blocks::Blocks;
use crate::adapter::{Adapter, AdapterStack};
use crate::decoder::Decoder;
use crate::error::Result;

/// Tokens of a block. With this many, attention over the cache has the same bytes
/// as over whole sequences.
const BLOCK: usize = 64;

/// The keys and values of sequences that go on, in blocks that they take turns at.
/// Whole blocks of sequences that have ended are kept as long as there is room, for others
/// that begin in the same way.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    /// The adapters of the last pass: the next one most often has the same.
    pub(crate) adapters: AdapterStack,
    blocks: Blocks,
}

/// One layer's keys and values, `[blocks, 64, KV, D]`.
#[derive(Debug)]
pub(crate) struct LayerCache {
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
}

/// The place of one sequence in a cache.
#[derive(Debug)]
pub struct CachedTokens {
    blocks: Vec<u32>,
    length: usize,
}

/// The next tokens of a sequence.
#[derive(Debug)]
pub struct NextTokens<'a> {
    /// At least one.
    pub ids: &'a [u32],
    /// Where the sequence stands; has room for them.
    pub sequence: &'a mut CachedTokens,
    /// The adapter that they go through, which is the same for all tokens of a
    /// sequence; those of other sequences may be others.
    pub adapter: Option<Arc<Adapter>>,
}

impl KvCache {
    /// Tokens of a block. A sequence takes whole ones.
    pub const BLOCK: usize = BLOCK;

    /// A cache with room for `tokens` tokens of `model`, rounded up to blocks. Of the
    /// machine's own memory, what is not written is not taken.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(model: &Decoder, tokens: usize) -> Result<Self> {
        let config = model.config();
        let blocks = tokens.div_ceil(BLOCK).max(1);
        let shape = [blocks, BLOCK, config.num_key_value_heads, config.head_dim];
        let device = model.device();
        let empty = || Tensor::empty(device, &shape, model.dtype());
        let layers = (0..config.num_hidden_layers).map(|_| {
            Ok(LayerCache {
                k: empty()?,
                v: empty()?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            adapters: AdapterStack::default(),
            blocks: Blocks::new(blocks),
        })
    }

    /// Bytes that a cache of `tokens` tokens of `model` takes at most.
    pub fn bytes(model: &Decoder, tokens: usize) -> u64 {
        let config = model.config();
        let numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
        let tokens = tokens.next_multiple_of(BLOCK);
        (numbers * model.dtype().size() * tokens) as u64
    }

    /// Tokens for which there is room.
    pub fn free_tokens(&self) -> usize {
        self.blocks.available() * BLOCK
    }

    /// A place for a sequence that will have at most `tokens` tokens; none if there is
    /// no room.
    pub fn reserve(&mut self, tokens: usize) -> Option<CachedTokens> {
        Some(CachedTokens {
            blocks: self.blocks.take(tokens.div_ceil(BLOCK))?,
            length: 0,
        })
    }

    /// A place for a sequence that begins with `ids`, goes through `adapter` and will have
    /// at most `tokens` tokens. What is kept of such a beginning is there already, but for
    /// the last of `ids`.
    pub fn reserve_for(
        &mut self,
        ids: &[u32],
        adapter: Option<&Adapter>,
        tokens: usize,
    ) -> Option<CachedTokens> {
        let shared = self.blocks.find(ids, adapter.map(Adapter::number));
        let length = shared.len() * BLOCK;
        self.with_shared(shared, length, tokens)
    }

    /// Keeps the whole blocks of `place`, which holds `ids` as `adapter` computes them, for
    /// sequences that begin in the same way.
    ///
    /// # Panics
    /// If it holds fewer tokens.
    pub fn keep(&mut self, place: &CachedTokens, ids: &[u32], adapter: Option<&Adapter>) {
        assert!(ids.len() <= place.length, "what is kept is computed");
        let number = adapter.map(Adapter::number);
        self.blocks.keep(&place.blocks, ids, number);
    }

    /// Another place that begins with what is at `from`, for a sequence of at most `tokens`
    /// tokens; none if there is no room. Both have the whole blocks.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn fork(&mut self, from: &CachedTokens, tokens: usize) -> Result<Option<CachedTokens>> {
        let whole = from.length / BLOCK;
        let shared = from.blocks[..whole].to_vec();
        let Some(mut place) = self.with_shared(shared, whole * BLOCK, tokens.max(from.length))
        else {
            return Ok(None);
        };
        match self.copy_rest(from, &mut place) {
            Ok(()) => Ok(Some(place)),
            Err(error) => {
                self.release(place);
                Err(error)
            }
        }
    }

    /// A place that begins with `blocks`, which others may have as well and which hold `length` tokens.
    fn with_shared(
        &mut self,
        mut blocks: Vec<u32>,
        length: usize,
        tokens: usize,
    ) -> Option<CachedTokens> {
        // They are used from here on, so that none of them is taken.
        self.blocks.share(&blocks);
        let more = tokens.div_ceil(BLOCK).saturating_sub(blocks.len());
        match self.blocks.take(more) {
            Some(own) => blocks.extend(own),
            None => {
                self.blocks.release(&blocks);
                return None;
            }
        }
        Some(CachedTokens { blocks, length })
    }

    /// Copies what `from` holds beyond what `to` does.
    fn copy_rest(&mut self, from: &CachedTokens, to: &mut CachedTokens) -> Result<()> {
        if to.length == from.length {
            return Ok(());
        }
        let rows = |place: &CachedTokens| -> Vec<u32> {
            let positions = to.length..from.length;
            positions.map(|position| place.row(position)).collect()
        };
        let (from_rows, to_rows) = (rows(from), rows(to));
        for LayerCache { k, v } in &mut self.layers {
            for cache in [k, v] {
                with_rows(cache, |cache| {
                    let copied = gather_rows(cache, &from_rows)?;
                    scatter_rows(&copied, &to_rows, cache)
                })?;
            }
        }
        to.length = from.length;
        Ok(())
    }

    /// Gives a place back.
    pub fn release(&mut self, sequence: CachedTokens) {
        self.blocks.release(&sequence.blocks);
    }
}

impl CachedTokens {
    /// Tokens that are in the cache.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Tokens that it has room for.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// The row of a cache where the token `position` stands.
    fn row(&self, position: usize) -> u32 {
        let block = self.blocks[position / BLOCK] as usize;
        (block * BLOCK + position % BLOCK) as u32
    }
}

/// Where the new rows of a pass stand in a cache.
#[derive(Debug)]
pub(crate) struct CachePlan {
    pub(crate) sequences: Vec<CachedSequence>,
    pub(crate) positions: Vec<u32>,
    /// The row of the cache for each new row.
    rows: Vec<u32>,
}

impl CachePlan {
    /// Counts the new tokens as being there.
    ///
    /// # Panics
    /// If a sequence has no room for its new tokens.
    pub(crate) fn new(next: &mut [NextTokens<'_>]) -> Self {
        let mut plan = Self {
            sequences: Vec::with_capacity(next.len()),
            positions: Vec::new(),
            rows: Vec::new(),
        };
        for NextTokens { ids, sequence, .. } in next {
            let first = sequence.length;
            sequence.length += ids.len();
            assert!(
                sequence.length <= sequence.capacity(),
                "the place that was reserved is full"
            );
            for position in first..sequence.length {
                plan.positions.push(position as u32);
                plan.rows.push(sequence.row(position));
            }
            plan.sequences.push(CachedSequence {
                queries: ids.len(),
                length: sequence.length,
                blocks: sequence.blocks.clone(),
            });
        }
        plan
    }
}

impl LayerCache {
    /// Writes the keys and values of new rows, `[T, KV, D]`.
    pub(crate) fn append(&mut self, k: &Tensor, v: &Tensor, plan: &CachePlan) -> Result<()> {
        for (cache, new) in [(&mut self.k, k), (&mut self.v, v)] {
            with_rows(cache, |cache| scatter_rows(new, &plan.rows, cache))?;
        }
        Ok(())
    }
}

/// Does something to the rows of a cache, `[blocks · 64, KV, D]`.
fn with_rows(
    cache: &mut Tensor,
    change: impl FnOnce(&mut Tensor) -> retune_compute::Result<()>,
) -> Result<()> {
    let blocks = cache.shape().to_vec();
    cache.set_shape(&[blocks[0] * blocks[1], blocks[2], blocks[3]])?;
    let changed = change(cache);
    cache.set_shape(&blocks)?;
    Ok(changed?)
}
