//! Samples to steps and batches, packed end to end without padding.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::label::Labelled;

/// The order in which an epoch goes through `count` samples: a permutation that
/// depends on the seed and the epoch alone, each sample's place being a hash of
/// them.
pub fn epoch_order(seed: u64, epoch: u64, count: u32) -> Vec<u32> {
    let mut order: Vec<(u64, u32)> = (0..count)
        .map(|sample| (sample_key(seed, epoch, sample), sample))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, sample)| sample).collect()
}

fn sample_key(seed: u64, epoch: u64, sample: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&sample.to_le_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

/// The samples of each optimizer step of an epoch: `samples_per_step` (batch
/// size times accumulation) in the epoch's order, the last step with what is
/// left.
pub fn epoch_steps(seed: u64, epoch: u64, count: u32, samples_per_step: usize) -> Vec<Vec<u32>> {
    let order = epoch_order(seed, epoch, count);
    let steps = order.chunks(samples_per_step.max(1));
    steps.map(<[u32]>::to_vec).collect()
}

/// Samples that go through the model together, packed end to end.
///
/// A sample's last token is predicted but predicts nothing, so it is a target
/// and no input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    /// Which samples of the step these are, in the order of their segments.
    pub samples: Vec<usize>,
    /// The tokens, `[T]`.
    pub input_ids: Vec<u32>,
    /// Where segments begin, from 0, and `T` at the end. With a shared prefix,
    /// segment 0 is the beginning of all others.
    pub offsets: Vec<usize>,
    /// Whether segment 0 is a shared prefix.
    pub shared_prefix: bool,
    /// The scored rows: row `rows[i]` predicts `targets[i]`.
    pub rows: Vec<u32>,
    /// The tokens to predict.
    pub targets: Vec<u32>,
}

/// Packs a step's samples into as few batches of at most `max_tokens` tokens as
/// a best-fit search finds, the longest samples first. A sample of more tokens
/// has a batch of its own.
///
/// What is shared by all samples of the step, up to the first scored token,
/// stands once in each batch. Which samples share a batch has no effect on a
/// step's gradients but for rounding.
pub fn pack(samples: &[Labelled], max_tokens: usize) -> Vec<PackedBatch> {
    let prefix = shared_prefix(samples);
    let rest = |sample: usize| inputs(&samples[sample]).len() - prefix;
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|sample| std::cmp::Reverse(rest(*sample)));
    let mut bins: Vec<(usize, Vec<usize>)> = Vec::new();
    for sample in order {
        let need = rest(sample);
        let fitting = bins
            .iter_mut()
            .filter(|(used, _)| used + need <= max_tokens)
            .max_by_key(|(used, _)| *used);
        match fitting {
            Some((used, members)) => {
                *used += need;
                members.push(sample);
            }
            None => bins.push((prefix + need, vec![sample])),
        }
    }
    bins.into_iter()
        .map(|(_, mut members)| {
            members.sort_unstable();
            batch(samples, members, prefix)
        })
        .collect()
}

/// The inputs of a sample: all but its last token.
fn inputs(sample: &Labelled) -> &[u32] {
    &sample.input_ids[..sample.input_ids.len().saturating_sub(1)]
}

/// How many tokens at the beginning are the same in all samples, and predict
/// no scored token. None are shared by a single sample.
pub fn shared_prefix(samples: &[Labelled]) -> usize {
    let [first, others @ ..] = samples else {
        return 0;
    };
    if others.is_empty() {
        return 0;
    }
    let unscored = |sample: &Labelled| {
        let scored = sample.scored.iter().position(|scored| *scored);
        scored.unwrap_or(sample.scored.len()).saturating_sub(1)
    };
    let mut prefix = unscored(first).min(inputs(first).len());
    for other in others {
        let limit = prefix.min(unscored(other)).min(inputs(other).len());
        prefix = first.input_ids[..limit]
            .iter()
            .zip(&other.input_ids)
            .take_while(|(a, b)| a == b)
            .count();
    }
    prefix
}

fn batch(samples: &[Labelled], members: Vec<usize>, prefix: usize) -> PackedBatch {
    // With a single sample there is nothing to share.
    let prefix = if members.len() > 1 { prefix } else { 0 };
    let mut packed = PackedBatch {
        samples: members,
        input_ids: Vec::new(),
        offsets: vec![0],
        shared_prefix: prefix > 0,
        rows: Vec::new(),
        targets: Vec::new(),
    };
    if prefix > 0 {
        let first = &samples[packed.samples[0]];
        packed
            .input_ids
            .extend_from_slice(&first.input_ids[..prefix]);
        packed.offsets.push(prefix);
    }
    for index in 0..packed.samples.len() {
        let sample = &samples[packed.samples[index]];
        packed.add(sample, prefix..inputs(sample).len());
    }
    packed
}

impl PackedBatch {
    /// Adds a segment with the inputs of `sample` in `range`.
    fn add(&mut self, sample: &Labelled, range: Range<usize>) {
        let first_row = self.input_ids.len();
        self.input_ids
            .extend_from_slice(&sample.input_ids[range.clone()]);
        for position in range.clone() {
            if sample.scored[position + 1] {
                // A batch of 2³² tokens fits no memory.
                self.rows.push((first_row + position - range.start) as u32);
                self.targets.push(sample.input_ids[position + 1]);
            }
        }
        self.offsets.push(self.input_ids.len());
    }
}
