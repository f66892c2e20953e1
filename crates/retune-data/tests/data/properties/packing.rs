//! Packed batches hold what the samples hold, each once.

use proptest::prelude::*;
use retune_data::{Labelled, PackedBatch, epoch_order, epoch_steps, pack, shared_prefix};

/// Samples with a beginning that some share.
fn any_samples() -> impl Strategy<Value = Vec<Labelled>> {
    let body = proptest::collection::vec((0..3u32, any::<bool>()), 1..12);
    let sample = (0..6usize, body).prop_map(|(shared, body)| {
        let mut sample = Labelled {
            input_ids: (10..10 + shared as u32).collect(),
            scored: vec![false; shared],
        };
        for (id, scored) in body {
            sample.input_ids.push(id);
            sample.scored.push(scored && sample.scored.len() > 1);
        }
        // Each has a scored token, as those of the encoder.
        sample.input_ids.push(9);
        sample.scored.push(true);
        sample
    });
    proptest::collection::vec(sample, 1..9)
}

/// A sample, its inputs, and the positions with what they predict.
type Unpacked = (usize, Vec<u32>, Vec<(usize, u32)>);

/// The samples of a batch.
fn unpacked(batch: &PackedBatch) -> Vec<Unpacked> {
    let prefix = if batch.shared_prefix {
        batch.offsets[1]
    } else {
        0
    };
    let first = usize::from(batch.shared_prefix);
    let segments = batch.offsets[first..].windows(2);
    assert_eq!(segments.len(), batch.samples.len());
    let segment = |(range, sample): (&[usize], &usize)| {
        let inputs = [
            &batch.input_ids[..prefix],
            &batch.input_ids[range[0]..range[1]],
        ]
        .concat();
        let predicted = batch
            .rows
            .iter()
            .zip(&batch.targets)
            .filter_map(|(row, target)| {
                let row = *row as usize;
                (range[0]..range[1])
                    .contains(&row)
                    .then(|| (prefix + row - range[0], *target))
            });
        (*sample, inputs, predicted.collect())
    };
    segments.zip(&batch.samples).map(segment).collect()
}

proptest! {
    #[test]
    fn no_token_is_lost(samples in any_samples(), max_tokens in 1..40usize) {
        let prefix = shared_prefix(&samples);
        for sample in &samples {
            prop_assert_eq!(&sample.input_ids[..prefix], &samples[0].input_ids[..prefix]);
            prop_assert!(!sample.scored[..=prefix].iter().any(|scored| *scored), "the prefix predicts nothing");
        }
        let mut seen = vec![0; samples.len()];
        for batch in pack(&samples, max_tokens) {
            prop_assert!(batch.input_ids.len() <= max_tokens || batch.samples.len() == 1);
            prop_assert_eq!((batch.offsets[0], batch.offsets.last()), (0, Some(&batch.input_ids.len())));
            prop_assert!(!batch.shared_prefix || batch.offsets[1] == prefix);
            let mut targets = 0;
            for (index, inputs, predicted) in unpacked(&batch) {
                seen[index] += 1;
                let sample = &samples[index];
                let length = sample.input_ids.len() - 1;
                prop_assert_eq!(&inputs[..], &sample.input_ids[..length]);
                let expected: Vec<(usize, u32)> = (0..length)
                    .filter(|position| sample.scored[position + 1])
                    .map(|position| (position, sample.input_ids[position + 1]))
                    .collect();
                targets += expected.len();
                prop_assert_eq!(predicted, expected);
            }
            prop_assert_eq!((batch.rows.len(), batch.targets.len()), (targets, targets));
        }
        prop_assert!(seen.iter().all(|count| *count == 1), "{:?}", seen);
    }

    #[test]
    fn an_epoch_sees_each_sample_once(seed: u64, epoch in 0..50u64, count in 0..300u32, step in 0..40usize) {
        let order = epoch_order(seed, epoch, count);
        let steps = epoch_steps(seed, epoch, count, step);
        prop_assert_eq!(steps.concat(), order.clone());
        prop_assert!(steps.iter().rev().skip(1).all(|samples| samples.len() == step.max(1)));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
        prop_assert_eq!(&order, &epoch_order(seed, epoch, count));
        prop_assert!(count < 20 || order != epoch_order(seed, epoch + 1, count));
    }
}
