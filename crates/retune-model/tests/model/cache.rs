//! Generation token by token, from cached keys and values.

use std::path::Path;
use std::sync::Arc;

use retune_compute::ops::Segments;
use retune_compute::{DType, Device};
use retune_model::{Adapter, CachedTokens, Decoder, KvCache, NextTokens, Tuning};

use crate::goldens::{CASES, folder, lora, open};

fn ids(count: u32, seed: u32) -> Vec<u32> {
    (0..count).map(|at| (at * 37 + seed * 11) % 250).collect()
}

/// The bytes of the logits behind all of `ids`, computed at once.
fn whole(model: &Decoder, ids: &[u32]) -> Vec<u8> {
    let segments = Segments::single(ids.len());
    model.last_logits(ids, &segments, None).unwrap().to_bytes()
}

fn next(model: &Decoder, cache: &mut KvCache, place: &mut CachedTokens, ids: &[u32]) -> Vec<u8> {
    let next = NextTokens {
        ids,
        sequence: place,
        adapter: None,
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
                adapter: None,
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

#[test]
fn an_adapter_has_the_same_bytes_as_lora_that_is_trained_alone_and_in_company() {
    let device = Device::cpu();
    for case in CASES {
        for dtype in [DType::F32, DType::BF16] {
            let trained = open(case, &device, dtype, lora(case));
            let frozen = open(case, &device, dtype, Tuning::Frozen);
            let adapter = Adapter::open(&folder(case).join("adapter"), &frozen);
            let adapter = Some(Arc::new(adapter.unwrap()));
            let ids = ids(30, 1);
            let segments = Segments::single(ids.len());
            let expected = whole(&trained, &ids);
            assert_ne!(expected, whole(&frozen, &ids), "{case}");
            let found = frozen.last_logits(&ids, &segments, adapter.as_ref());
            assert_eq!(found.unwrap().to_bytes(), expected, "{case}");
            // Beside a sequence without one.
            let mut cache = KvCache::new(&frozen, 256).unwrap();
            let mut places = [cache.reserve(64).unwrap(), cache.reserve(64).unwrap()];
            let mut next: Vec<NextTokens<'_>> = places
                .iter_mut()
                .zip([None, adapter.clone()])
                .map(|(sequence, adapter)| NextTokens {
                    ids: &ids,
                    sequence,
                    adapter,
                })
                .collect();
            let logits = frozen.next_logits(&mut next, &mut cache).unwrap();
            let both = [whole(&frozen, &ids), expected].concat();
            assert_eq!(logits.to_bytes(), both, "{case}");
        }
    }
}

#[test]
fn an_adapter_of_another_base_or_rank_is_refused_with_what_differs() {
    let model = open(CASES[0], &Device::cpu(), DType::F32, Tuning::Frozen);
    let said = |path: &Path| Adapter::open(path, &model).unwrap_err().to_string();
    let other = said(&folder("llama-tiny").join("adapter"));
    assert!(
        other.contains("lora_A") && other.contains("made for another base model"),
        "{other}"
    );
    let copy = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = folder(CASES[0]).join("adapter").join(name);
        std::fs::copy(from, copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["r"] = 3.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let rank = said(copy.path());
    assert!(
        rank.contains("lora_A") && rank.contains("its r is 3, and the tensors have the rank 8"),
        "{rank}"
    );
    config["r"] = 8.into();
    config["target_modules"] = serde_json::json!(["q_proj"]);
    std::fs::write(&path, config.to_string()).unwrap();
    let surplus = said(copy.path());
    assert!(
        surplus.contains("has no place") && !surplus.contains("hint"),
        "{surplus}"
    );
    config["alpha_pattern"] = serde_json::json!({"q_proj": 2});
    std::fs::write(&path, config.to_string()).unwrap();
    assert!(said(copy.path()).contains("alpha_pattern is not supported"));
    for (field, value, problem) in [
        (
            "init_lora_weights",
            "pissa_niter_4",
            "init_lora_weights pissa_niter_4 is not supported",
        ),
        (
            "target_modules",
            ".*\\.(q|v)_proj",
            "is a regular expression",
        ),
    ] {
        config["alpha_pattern"] = serde_json::Value::Null;
        config["init_lora_weights"] = true.into();
        config[field] = value.into();
        std::fs::write(&path, config.to_string()).unwrap();
        let said = said(copy.path());
        assert!(said.contains(problem), "{said}");
    }
}

#[test]
fn beginnings_that_are_kept_are_not_computed_again_and_have_the_same_bytes() {
    let case = CASES[0];
    for dtype in [DType::F32, DType::BF16] {
        let model = open(case, &Device::cpu(), dtype, Tuning::Frozen);
        let adapter = Adapter::open(&folder(case).join("adapter"), &model).unwrap();
        let first = ids(150, 1);
        let mut cache = KvCache::new(&model, 512).unwrap();
        let mut place = cache.reserve_for(&first, None, 160).unwrap();
        assert_eq!(place.len(), 0);
        next(&model, &mut cache, &mut place, &first);
        cache.keep(&place, &first, None);
        // While it runs, and when it has ended.
        for _ in 0..2 {
            let mut second = first[..140].to_vec();
            second.extend([3, 1, 4]);
            let mut other = cache.reserve_for(&second, None, 200).unwrap();
            assert_eq!(other.len(), 128);
            let found = next(&model, &mut cache, &mut other, &second[128..]);
            assert_eq!(found, whole(&model, &second));
            cache.release(other);
            let nothing = cache.reserve(0).unwrap();
            cache.release(std::mem::replace(&mut place, nothing));
        }
        assert_eq!(cache.free_tokens(), 512);
        let length = |cache: &mut KvCache, ids: &[u32], adapter| {
            let place = cache.reserve_for(ids, adapter, ids.len()).unwrap();
            let length = place.len();
            cache.release(place);
            length
        };
        // The last token is computed in any case; another adapter has other keys.
        assert_eq!(length(&mut cache, &first[..128], None), 64);
        assert_eq!(length(&mut cache, &first[..129], None), 128);
        assert_eq!(length(&mut cache, &first, Some(&adapter)), 0);
        assert_eq!(length(&mut cache, &ids(150, 2), None), 0);
        // The same block behind another one is another block.
        let shifted = [&first[64..128], &first[64..128], &[1]].concat();
        assert_eq!(length(&mut cache, &shifted, None), 0);
        // Whoever needs the room gets it; the end of a beginning goes first.
        let all = cache.reserve(448).unwrap();
        cache.release(all);
        assert_eq!(length(&mut cache, &first, None), 64);
        let all = cache.reserve(512).unwrap();
        cache.release(all);
        assert_eq!(length(&mut cache, &first, None), 0);
    }
}

#[test]
fn forks_go_on_apart_from_where_they_part() {
    let model = open(CASES[0], &Device::cpu(), DType::F32, Tuning::Frozen);
    let prompt = ids(150, 1);
    let mut cache = KvCache::new(&model, 448).unwrap();
    let mut first = cache.reserve(200).unwrap();
    next(&model, &mut cache, &mut first, &prompt);
    // Two whole blocks are shared: 4 blocks and 2 more.
    let mut second = cache.fork(&first, 200).unwrap().expect("room");
    assert_eq!((second.len(), cache.free_tokens()), (150, 64));
    assert!(cache.fork(&first, 200).unwrap().is_none());
    assert_eq!(cache.free_tokens(), 64);
    let on = |own: u32| [&prompt[..], &ids(40, own)].concat();
    for at in 150..190 {
        for (own, place) in [(5, &mut first), (6, &mut second)] {
            let ids = on(own);
            let found = next(&model, &mut cache, place, &ids[at..=at]);
            assert_eq!(found, whole(&model, &ids[..=at]), "{own} {at}");
        }
    }
    cache.release(first);
    cache.release(second);
    assert_eq!(cache.free_tokens(), 448);
}
