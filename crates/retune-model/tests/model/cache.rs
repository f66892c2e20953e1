//! Generation token by token, from cached keys and values.

use retune_compute::ops::Segments;
use retune_compute::{DType, Device};
use retune_model::{CachedTokens, Decoder, KvCache, NextTokens, Tuning};

use crate::goldens::{CASES, lora, open};

fn ids(count: u32, seed: u32) -> Vec<u32> {
    (0..count).map(|at| (at * 37 + seed * 11) % 250).collect()
}

/// The bytes of the logits behind all of `ids`, computed at once.
fn whole(model: &Decoder, ids: &[u32]) -> Vec<u8> {
    let segments = Segments::single(ids.len());
    model.last_logits(ids, &segments).unwrap().to_bytes()
}

fn next(model: &Decoder, cache: &mut KvCache, place: &mut CachedTokens, ids: &[u32]) -> Vec<u8> {
    let next = NextTokens {
        ids,
        sequence: place,
    };
    model.next_logits(&mut [next], cache).unwrap().to_bytes()
}

#[test]
fn cached_and_uncached_logits_have_the_same_bytes() {
    let device = Device::cpu();
    for case in CASES {
        for (dtype, tuning) in [(DType::F32, lora(case)), (DType::BF16, Tuning::Frozen)] {
            let model = open(case, &device, dtype, tuning);
            let ids = ids(150, 1);
            let mut cache = KvCache::new(&model, 256).unwrap();
            let mut place = cache.reserve(ids.len()).unwrap();
            // A prompt in two parts, over the edge of a block; then token by token.
            next(&model, &mut cache, &mut place, &ids[..70]);
            let found = next(&model, &mut cache, &mut place, &ids[70..126]);
            assert_eq!(found, whole(&model, &ids[..126]), "{case}");
            for end in 127..=ids.len() {
                let found = next(&model, &mut cache, &mut place, &ids[end - 1..end]);
                assert_eq!(found, whole(&model, &ids[..end]), "{case} {end}");
            }
            assert_eq!(place.len(), ids.len());
        }
    }
}

#[test]
fn sequences_in_a_batch_do_not_touch_one_another() {
    let device = Device::cpu();
    let case = CASES[0];
    let model = open(case, &device, DType::BF16, lora(case));
    let all: Vec<Vec<u32>> = (0..5).map(|seed| ids(20 + 31 * seed, seed)).collect();
    let mut cache = KvCache::new(&model, 1024).unwrap();
    // Places that were used before hold other keys.
    let mut used = cache.reserve(1024).unwrap();
    next(&model, &mut cache, &mut used, &ids(500, 9));
    cache.release(used);
    let mut places: Vec<CachedTokens> = all
        .iter()
        .map(|ids| cache.reserve(ids.len()).unwrap())
        .collect();
    for cut in [0, 1] {
        let mut batch: Vec<NextTokens<'_>> = all
            .iter()
            .zip(&mut places)
            .map(|(ids, sequence)| NextTokens {
                // All but the last token; then that.
                ids: match cut {
                    0 => &ids[..ids.len() - 1],
                    _ => &ids[ids.len() - 1..],
                },
                sequence,
            })
            .collect();
        let logits = model
            .next_logits(&mut batch, &mut cache)
            .unwrap()
            .to_bytes();
        for (found, ids) in logits.chunks_exact(logits.len() / all.len()).zip(&all) {
            let end = ids.len() - 1 + cut;
            assert_eq!(found, whole(&model, &ids[..end]), "{} tokens", ids.len());
        }
    }
}

#[test]
fn places_are_given_back_and_a_full_cache_has_none() {
    let model = open(CASES[0], &Device::cpu(), DType::F32, Tuning::Frozen);
    let mut cache = KvCache::new(&model, 200).unwrap();
    assert_eq!(cache.free_tokens(), 256);
    let first = cache.reserve(65).unwrap();
    assert_eq!((first.capacity(), cache.free_tokens()), (128, 128));
    assert!(cache.reserve(129).is_none());
    let second = cache.reserve(128).unwrap();
    assert!(cache.reserve(1).is_none());
    cache.release(first);
    cache.release(second);
    assert_eq!(cache.free_tokens(), 256);
}
