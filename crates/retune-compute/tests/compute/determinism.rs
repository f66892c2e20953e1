//! Results do not depend on the number of threads, nor on their neighbours.

use proptest::prelude::*;
use retune_compute::ops::*;
use retune_compute::{DType, Tensor, Tier};

use crate::cases::{Numbers, any_case, at_most};
use crate::devices::{FAST, cpu};
use crate::products::any_shape;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_same_bytes_at_any_number_of_threads(case in any_case(), wide in any::<bool>(), seed: u64) {
        let dtype = if wide { DType::F32 } else { DType::BF16 };
        for tier in Tier::available() {
            let devices = [1, 2, 3, 8].map(|threads| cpu(tier, threads));
            let [expected, others @ ..] = devices.map(|device| {
                case.run(&device, dtype, seed).into_iter().map(|o| (o.name, o.tensor.to_bytes())).collect::<Vec<_>>()
            });
            for found in others {
                prop_assert_eq!(&found, &expected, "{}", tier);
            }
        }
    }

    #[test]
    fn products_have_the_same_bytes_at_any_number_of_threads(shape in any_shape(), seed: u64) {
        for tier in Tier::available() {
            let [expected, others @ ..] = [1, 2, 3, 8].map(|threads| {
                let values = shape.run(&cpu(tier, threads), seed);
                values.into_iter().map(|(_, values)| values.into_iter().map(f32::to_bits).collect()).collect::<Vec<Vec<u32>>>()
            });
            for found in others {
                prop_assert_eq!(&found, &expected, "{}", tier);
            }
        }
    }

    #[test]
    fn a_gpu_gives_the_same_bytes_again(case in any_case(), shape in any_shape(), seed: u64) {
        for device in FAST.iter().filter(|device| device.is_cuda()) {
            for dtype in [DType::F32, DType::BF16] {
                let run = || case.run(device, dtype, seed).into_iter().map(|o| (o.name, o.tensor.to_bytes())).collect::<Vec<_>>();
                prop_assert_eq!(run(), run(), "{:?} in {}", case, dtype);
            }
            prop_assert_eq!(shape.run(device, seed), shape.run(device, seed));
        }
    }

    /// A row of a product has the same bytes alone and in any batch. On a GPU the
    /// library chooses by the number of rows.
    #[test]
    fn rows_of_a_product_do_not_depend_on_one_another(
        rows in 2..at_most(40), k in 1..at_most(1200), n in 1..at_most(200), wide in any::<bool>(), seed: u64,
    ) {
        let dtype = if wide { DType::F32 } else { DType::BF16 };
        for device in FAST.iter().filter(|device| !device.is_cuda()) {
            let numbers = Numbers::new(device, dtype, seed);
            let x = numbers.tensor(&[rows, k]);
            let weight = FrozenWeight::new(&numbers.tensor(&[n, k]), Packing::Forward).unwrap();
            let mut together = Tensor::zeros(device, &[rows, n], DType::F32).unwrap();
            linear_forward(&x, &weight, Epilogue::default(), &mut together).unwrap();
            for row in [0, rows - 1] {
                let mut alone = Tensor::zeros(device, &[1, n], DType::F32).unwrap();
                let x = gather_rows(&x, &[row as u32]).unwrap();
                linear_forward(&x, &weight, Epilogue::default(), &mut alone).unwrap();
                let expected = &together.to_f32_vec()[row * n..(row + 1) * n];
                prop_assert_eq!(&alone.to_f32_vec()[..], expected, "row {} on {}", row, device.name());
            }
        }
    }

    /// Attention against a cache, whole or in chunks or one query at a time,
    /// gives the bytes of attention over the packed sequences.
    #[test]
    fn cached_attention_equals_packed_attention(
        lengths in proptest::collection::vec(1..if cfg!(miri) { 12 } else { 150usize }, 1..4),
        chunk in 1..80usize,
        window in proptest::option::of(1..90usize),
        group in 1..8usize,
        wide in any::<bool>(),
        seed: u64,
    ) {
        const DIM: usize = if cfg!(miri) { 4 } else { 32 };
        let dtype = if wide { DType::F32 } else { DType::BF16 };
        for device in FAST.iter() {
            let numbers = Numbers::new(device, dtype, seed);
            let offsets: Vec<usize> = std::iter::once(0)
                .chain(lengths.iter().scan(0, |end, len| { *end += len; Some(*end) }))
                .collect();
            let segments = Segments::new(&offsets).unwrap();
            let tokens = segments.tokens();
            let q = numbers.tensor(&[tokens, group, DIM]);
            let [k, v] = [(); 2].map(|()| numbers.tensor(&[tokens, 1, DIM]));
            let config = AttentionConfig::causal(DIM).with_sliding_window(window);
            let packed = attention_forward(&q, &k, &v, &segments, &config).unwrap();
            // Each sequence gets three blocks, handed out in turn.
            let count = lengths.len();
            let [mut k_cache, mut v_cache] =
                [(); 2].map(|()| numbers.tensor(&[3 * count * 64, 1, DIM]));
            let blocks = |sequence: usize| (0..3).map(|b| (b * count + sequence) as u32).collect::<Vec<_>>();
            for (sequence, range) in segments.ranges().enumerate() {
                let rows: Vec<u32> = range.clone().map(|row| row as u32).collect();
                let places: Vec<u32> = (0..range.len())
                    .map(|i| blocks(sequence)[i / 64] * 64 + (i % 64) as u32)
                    .collect();
                scatter_rows(&gather_rows(&k, &rows).unwrap(), &places, &mut k_cache).unwrap();
                scatter_rows(&gather_rows(&v, &rows).unwrap(), &places, &mut v_cache).unwrap();
            }
            let shape = [3 * count, 64, 1, DIM];
            let (k_cache, v_cache) = (k_cache.reshape(&shape).unwrap(), v_cache.reshape(&shape).unwrap());
            let longest = *lengths.iter().max().unwrap();
            for start in (0..longest).step_by(chunk) {
                let mut rows = Vec::new();
                let mut sequences = Vec::new();
                for (sequence, range) in segments.ranges().enumerate() {
                    let length = range.len().min(start + chunk);
                    let queries = length.saturating_sub(start);
                    let first = range.start + start;
                    rows.extend((first..first + queries).map(|row| row as u32));
                    sequences.push(CachedSequence {
                        queries,
                        length: length.max(queries),
                        blocks: blocks(sequence),
                    });
                }
                let q = gather_rows(&q, &rows).unwrap();
                let out = attention_cached(&q, &k_cache, &v_cache, &sequences, &config).unwrap();
                let expected = gather_rows(&packed.out, &rows).unwrap();
                prop_assert_eq!(out.to_bytes(), expected.to_bytes(), "from {} on {}", start, device.name());
            }
        }
    }
}

/// The mask belongs to the sample and the position, not to the row.
#[test]
fn dropout_does_not_depend_on_packing() {
    for device in FAST.iter() {
        let numbers = Numbers::new(device, DType::F32, 5);
        let x = numbers.tensor(&[6, 50]);
        let keys: Vec<RowKey> = (0..6)
            .map(|row| RowKey {
                sample: row / 2,
                position: row % 2 + 10,
            })
            .collect();
        let key = retune_compute::RandomKey::new(1, 2);
        let settings = Dropout {
            probability: 0.5,
            key,
            step: 3,
        };
        let together = dropout(&x, &keys, &settings).unwrap();
        let order = [3u32, 0, 5];
        let some_keys: Vec<RowKey> = order.iter().map(|&row| keys[row as usize]).collect();
        let some = dropout(&gather_rows(&x, &order).unwrap(), &some_keys, &settings).unwrap();
        assert_eq!(
            some.to_bytes(),
            gather_rows(&together, &order).unwrap().to_bytes()
        );
        let kept = together.to_f32_vec().iter().filter(|v| **v != 0.0).count();
        assert!(
            (100..200).contains(&kept),
            "{kept} of 300 kept at probability one half"
        );
        let later = dropout(
            &x,
            &keys,
            &Dropout {
                step: 4,
                ..settings
            },
        )
        .unwrap();
        assert_ne!(later.to_bytes(), together.to_bytes());
    }
}
