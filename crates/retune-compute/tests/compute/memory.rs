//! Tensors, their memory, and devices.

use retune_compute::{CpuOptions, DType, Device, Error, Tensor, Tier, bf16};

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
