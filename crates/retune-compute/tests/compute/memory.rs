//! Tensors, their memory, and devices.

use retune_compute::ops::*;
use retune_compute::{CpuOptions, DType, Device, Error, Tensor, Tier, bf16};

use crate::cases::Numbers;
use crate::devices::cpu;

#[test]
fn values_survive_the_way_to_a_device_and_back() {
    let device = Device::cpu();
    let values = [1.5f32, -0.0, f32::MIN_POSITIVE, 3e38];
    let tensor = Tensor::from_slice(&device, &[2, 2], &values).unwrap();
    assert_eq!(tensor.to_f32_vec(), values);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(tensor.to_bytes(), bytes);
    let again = Tensor::from_bytes(&device, &[4], DType::F32, &bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    let there = again.to_device(&Device::reference()).unwrap();
    assert_eq!(there.to_bytes(), bytes);
    assert_eq!(there.reshape(&[2, 1, 2]).unwrap().shape(), [2, 1, 2]);
    let narrow = [bf16::from_f32(1.0), bf16::from_f32(-2.5)];
    let tensor = Tensor::from_slice(&device, &[2], &narrow).unwrap();
    assert_eq!(tensor.to_f32_vec(), [1.0, -2.5]);
}

#[test]
fn memory_is_counted_reused_and_limited() {
    let options = CpuOptions {
        memory_limit: Some(1 << 20),
        ..CpuOptions::default()
    };
    let device = Device::cpu_with(&options).unwrap();
    let tensor = Tensor::zeros(&device, &[1000, 100], DType::F32).unwrap();
    assert!(device.memory().in_use >= 400_000);
    let error = Tensor::zeros(&device, &[1000, 200], DType::F32).unwrap_err();
    assert!(
        matches!(error, Error::OutOfMemory { bytes: 800_000, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("hint:"), "{error}");
    drop(tensor);
    assert_eq!(device.memory().in_use, 0);
    assert!(device.memory().cached >= 400_000 && device.memory().peak >= 400_000);
    drop(Tensor::zeros(&device, &[1000, 200], DType::F32).unwrap());
    device.release_cached_memory();
    device.reset_peak_memory();
    assert_eq!((device.memory().cached, device.memory().peak), (0, 0));
    // A recycled buffer is arbitrary, a tensor of zeros is not.
    drop(Tensor::from_slice(&device, &[4], &[7.0f32; 4]).unwrap());
    assert_eq!(
        Tensor::zeros(&device, &[4], DType::F32)
            .unwrap()
            .to_f32_vec(),
        [0.0; 4]
    );
}

#[test]
#[cfg_attr(miri, ignore = "Miri itself stops where memory ends")]
fn sizes_beyond_all_memory_are_errors() {
    let device = Device::cpu();
    for shape in [
        vec![usize::MAX, 2],
        vec![usize::MAX / 8],
        vec![1 << 40, 1 << 10],
    ] {
        let error = Tensor::empty(&device, &shape, DType::F32).unwrap_err();
        assert!(
            matches!(error, Error::OutOfMemory { .. }),
            "{shape:?}: {error}"
        );
    }
}

#[test]
fn tiers_have_names_and_are_refused_where_they_cannot_run() {
    for tier in Tier::ALL {
        assert_eq!(tier.to_string().parse::<Tier>().unwrap(), tier);
        let options = CpuOptions {
            tier: Some(tier),
            threads: Some(1),
            memory_limit: None,
        };
        match Device::cpu_with(&options) {
            Ok(device) => assert!(device.name().contains(&tier.to_string())),
            Err(error) => assert_eq!(
                error,
                Error::TierUnavailable {
                    requested: tier,
                    best: Tier::best()
                }
            ),
        }
    }
    let error = "avx1024".parse::<Tier>().unwrap_err().to_string();
    assert!(
        error.contains("avx1024") && error.contains("avx512-bf16"),
        "{error}"
    );
}

/// With a T×T matrix, four times the length would need sixteen times the memory.
#[test]
#[cfg_attr(miri, ignore = "long sequences")]
fn attention_needs_memory_linear_in_the_length() {
    // Devices of its own: other tests allocate on the common ones.
    for device in Tier::available().map(|tier| cpu(tier, 3)) {
        let device = &device;
        let needed = |tokens: usize| {
            let numbers = Numbers::new(device, DType::F32, 7);
            let [q, k, v, d_out] = [(); 4].map(|()| numbers.tensor(&[tokens, 2, 16]));
            let segments = Segments::single(tokens);
            let config = AttentionConfig::causal(16);
            device.release_cached_memory();
            device.reset_peak_memory();
            let before = device.memory().in_use;
            let forward = attention_forward(&q, &k, &v, &segments, &config).unwrap();
            attention_backward(&d_out, [&q, &k, &v], &forward, &segments, &config).unwrap();
            device.memory().peak - before
        };
        let (short, long) = (needed(300), needed(1200));
        assert!(
            long <= 5 * short,
            "{short} and {long} bytes on {}",
            device.name()
        );
    }
}

/// Whatever the limit, gradients are added to whole or not at all.
#[test]
#[cfg_attr(miri, ignore = "many runs")]
fn a_head_that_runs_out_of_memory_leaves_its_gradients_alone() {
    const SHAPE: [usize; 3] = [37, 33, 401];
    let [tokens, width, vocabulary] = SHAPE;
    let mut outcomes = [0, 0];
    for dtype in [DType::F32, DType::BF16] {
        for limit in (0..900_000).step_by(9_000) {
            let options = CpuOptions {
                memory_limit: Some(limit),
                ..CpuOptions::default()
            };
            let device = Device::cpu_with(&options).unwrap();
            let tensor = |shape: [usize; 2], dtype| Tensor::zeros(&device, &shape, dtype);
            let (Ok(hidden), Ok(head), Ok(mut d_hidden), Ok(mut d_weight)) = (
                tensor([tokens, width], dtype),
                tensor([vocabulary, width], dtype),
                tensor([tokens, width], DType::F32),
                tensor([vocabulary, width], DType::F32),
            ) else {
                continue;
            };
            let rows: Vec<u32> = (0..tokens as u32).collect();
            let scored = Scored {
                rows: &rows,
                targets: &rows,
                chunk_rows: 15,
            };
            let wanted = HeadGradients {
                d_hidden: Some(&mut d_hidden),
                d_weight: Some(&mut d_weight),
            };
            let result = head_cross_entropy_backward(&hidden, &head, scored, 1.0, wanted);
            outcomes[usize::from(result.is_ok())] += 1;
            if result.is_err() {
                assert!(d_hidden.to_f32_vec().iter().all(|v| *v == 0.0), "{limit}");
                assert!(d_weight.to_f32_vec().iter().all(|v| *v == 0.0), "{limit}");
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

#[test]
#[cfg_attr(miri, ignore = "a large product")]
fn a_chunk_of_the_head_costs_what_it_says() {
    const SHAPE: [usize; 2] = [1000, 64];
    let [vocabulary, width] = SHAPE;
    let rows: Vec<u32> = (0..70).collect();
    for dtype in [DType::F32, DType::BF16] {
        let device = Device::cpu();
        let tensor = |shape: [usize; 2], dtype| Tensor::zeros(&device, &shape, dtype).unwrap();
        let (hidden, head) = (tensor([rows.len(), width], dtype), tensor(SHAPE, dtype));
        let mut d_hidden = tensor([rows.len(), width], DType::F32);
        let mut d_weight = tensor(SHAPE, DType::F32);
        let scored = Scored {
            rows: &rows,
            targets: &rows,
            chunk_rows: 32,
        };
        let said = scored.chunk_bytes(SHAPE, dtype);
        let before = device.memory().in_use;
        device.reset_peak_memory();
        let wanted = HeadGradients {
            d_hidden: Some(&mut d_hidden),
            d_weight: Some(&mut d_weight),
        };
        head_cross_entropy_backward(&hidden, &head, scored, 1.0, wanted).unwrap();
        let taken = device.memory().peak - before;
        assert!(
            taken >= said && taken <= said + said / 4,
            "{dtype}, {vocabulary}: {taken} taken, {said} said"
        );
    }
}
