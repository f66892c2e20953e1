//! What attention does not see has no effect, not even an infinity or NaN.

use retune_compute::ops::*;
use retune_compute::{DType, Device, Tensor};

use crate::cases::Numbers;
use crate::devices::{all, tensor};

const TOKENS: usize = if cfg!(miri) { 9 } else { 150 };
const SPOILED: usize = TOKENS * 2 / 3;
const ROW: usize = 2 * 8;
const SPOILS: &[f32] = if cfg!(miri) {
    &[f32::NAN]
} else {
    &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
};

/// The output and the gradients `d_q`, `d_k`, `d_v`, with token `SPOILED` of
/// input number `which` made of `spoil`.
fn run(
    device: &Device,
    dtype: DType,
    window: Option<usize>,
    spoil: Option<(usize, f32)>,
) -> [Vec<f32>; 4] {
    let [q, k, v, d_out] = [0, 1, 2, 3].map(|which| {
        let numbers = Numbers::new(device, DType::F32, which as u64);
        let mut values = numbers.values(TOKENS * ROW);
        if let Some((spoiled, value)) = spoil
            && spoiled == which
        {
            values[SPOILED * ROW..(SPOILED + 1) * ROW].fill(value);
        }
        tensor(device, &[TOKENS, 2, 8], &values, dtype)
    });
    // The second segment is a short one.
    let segments = Segments::new(&[0, TOKENS - 2, TOKENS]).unwrap();
    let config = AttentionConfig::causal(8).with_sliding_window(window);
    let forward = attention_forward(&q, &k, &v, &segments, &config).unwrap();
    let (d_q, d_k, d_v) =
        attention_backward(&d_out, [&q, &k, &v], &forward, &segments, &config).unwrap();
    [&forward.out, &d_q, &d_k, &d_v].map(Tensor::to_f32_vec)
}

/// Rows of the clean run and of the spoiled one that must agree.
#[track_caller]
fn assert_rows(clean: &[f32], spoiled: &[f32], rows: std::ops::Range<usize>, what: &str) {
    let cells = rows.start * ROW..rows.end * ROW;
    assert_eq!(clean[cells.clone()], spoiled[cells], "{what}");
}

#[test]
fn what_is_hidden_has_no_effect() {
    for device in all() {
        for dtype in [DType::F32, DType::BF16] {
            for window in [None, Some(5)] {
                let clean = run(device, dtype, window, None);
                for &spoil in SPOILS {
                    for which in 0..4 {
                        let spoiled = run(device, dtype, window, Some((which, spoil)));
                        let name = device.name();
                        let what = format!("input {which} is {spoil}, {dtype}, {window:?}, {name}");
                        let [out, d_q, ..] = [0, 1, 2, 3].map(|i| (&clean[i], &spoiled[i]));
                        // Queries before the spoiled token do not see it, nor
                        // do those of another segment or beyond the window.
                        let later = SPOILED + window.unwrap_or(TOKENS);
                        for rows in [0..SPOILED, later.min(TOKENS - 2)..TOKENS] {
                            for (clean, spoiled) in [out, d_q] {
                                assert_rows(clean, spoiled, rows.clone(), &what);
                            }
                        }
                        // Keys behind it are seen by later queries only; a
                        // spoiled key or value reaches those, a query does not.
                        let first = if which == 0 || which == 3 {
                            SPOILED + 1
                        } else {
                            TOKENS - 2
                        };
                        for i in [2, 3] {
                            assert_rows(&clean[i], &spoiled[i], first..TOKENS, &what);
                        }
                        // And what is seen is not hidden.
                        let seen = &spoiled[if which == 3 { 1 } else { 0 }][SPOILED * ROW..][..ROW];
                        assert!(seen.iter().any(|v| !v.is_finite()), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_a_cache_beyond_its_sequence_have_no_effect() {
    const BLOCKS: usize = 3;
    const BLOCK: usize = 64;
    let length = BLOCK + 7;
    for device in all() {
        for dtype in [DType::F32, DType::BF16] {
            let run = |beyond: f32| {
                let numbers = Numbers::new(device, dtype, 3);
                let q = numbers.tensor(&[9, 2, 8]);
                let cache = |seed| {
                    let numbers = Numbers::new(device, dtype, seed);
                    let mut values = numbers.values(BLOCKS * BLOCK * ROW);
                    values[(BLOCK + 7) * ROW..].fill(beyond);
                    tensor(device, &[BLOCKS, BLOCK, 2, 8], &values, dtype)
                };
                let sequence = CachedSequence {
                    queries: 9,
                    length,
                    blocks: vec![0, 1],
                };
                let config = AttentionConfig::causal(8);
                attention_cached(&q, &cache(1), &cache(2), &[sequence], &config)
                    .unwrap()
                    .to_bytes()
            };
            assert!(run(0.0) == run(f32::NAN), "{dtype}, {}", device.name());
        }
    }
}
