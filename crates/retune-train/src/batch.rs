//! An optimizer step's samples, packed for the model.

use retune_compute::ops::{RowKey, Segments};
use retune_data::{Labelled, PackedBatch, pack, shared_prefix};
use retune_model::Batch;

use crate::error::Result;

/// The sample to which the rows of a shared prefix belong, whose dropout is
/// that of the step and not of one sample.
const PREFIX: u32 = u32::MAX;

/// One sample of a step: its number, and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Tells samples apart, and its dropout from that of others.
    pub number: u32,
    /// Tokens and labels.
    pub tokens: Labelled,
}

/// A step's samples in batches of at most `max_tokens` tokens.
///
/// Dropout of a row depends on its sample and position, or for what all
/// samples begin with on its position, so not on how samples share batches.
///
/// # Errors
/// Those of `Segments`, which packing excludes.
pub fn batches(samples: &[Numbered], max_tokens: usize) -> Result<Vec<Batch>> {
    let tokens: Vec<Labelled> = samples.iter().map(|sample| sample.tokens.clone()).collect();
    let prefix = shared_prefix(&tokens);
    let packed = pack(&tokens, max_tokens).into_iter();
    packed
        .map(|packed| batch(samples, packed, prefix))
        .collect()
}

fn batch(samples: &[Numbered], packed: PackedBatch, prefix: usize) -> Result<Batch> {
    let segments = match packed.shared_prefix {
        true => Segments::with_shared_prefix(&packed.offsets)?,
        false => Segments::new(&packed.offsets)?,
    };
    let positions = segments.positions();
    let mut row_keys = Vec::with_capacity(positions.len());
    for (index, range) in segments.ranges().enumerate() {
        let member = index.checked_sub(usize::from(packed.shared_prefix));
        let number = member.map_or(PREFIX, |member| samples[packed.samples[member]].number);
        row_keys.extend(positions[range].iter().map(|&position| RowKey {
            sample: if (position as usize) < prefix {
                PREFIX
            } else {
                number
            },
            position,
        }));
    }
    Ok(Batch {
        input_ids: packed.input_ids,
        segments,
        rows: packed.rows,
        targets: packed.targets,
        row_keys,
    })
}
