//! What is said of GPUs, and their memory.

use retune_compute::{CpuOptions, CudaOptions, DType, Device, DeviceChoice, Error, Tensor, gpus};

#[test]
fn choices_have_names() {
    for (name, choice) in [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::Cuda(0)),
        ("cuda:3", DeviceChoice::Cuda(3)),
    ] {
        assert_eq!(name.parse(), Ok(choice));
        assert_eq!(choice.to_string(), name);
    }
    assert_eq!("cuda:0".parse(), Ok(DeviceChoice::Cuda(0)));
    for name in [
        "",
        "gpu",
        "mps",
        "cuda:",
        "cuda:-1",
        "cuda:+1",
        "CUDA",
        "cpu:0",
        "cuda:99999999999999999999",
    ] {
        let error = name.parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(
            error.contains("expected auto, cpu, cuda or cuda:N"),
            "{error}"
        );
    }
}

/// Whether there is one or not, each way is said in words.
#[test]
fn a_gpu_that_is_not_there_is_named() {
    let missing = CudaOptions {
        ordinal: 4_000,
        ..CudaOptions::default()
    };
    let error = Device::cuda(&missing).unwrap_err();
    assert!(matches!(error, Error::DeviceUnavailable { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("cuda") && error.contains("hint: "),
        "{error}"
    );
    let mut refused = None;
    let automatic = DeviceChoice::Auto
        .open(&CpuOptions::default(), &missing, |error| {
            refused = Some(error.to_string())
        })
        .unwrap();
    assert!(!automatic.is_cuda() && automatic.device_memory().is_none());
    // Why one is not taken is told where there are some.
    let there = gpus().is_ok_and(|gpus| !gpus.is_empty());
    assert_eq!(refused.is_some(), there, "{refused:?}");
}

#[test]
fn memory_of_a_gpu_is_counted_reused_and_limited() {
    let options = CudaOptions {
        memory_limit: Some(1 << 20),
        ..CudaOptions::default()
    };
    let device = match Device::cuda(&options) {
        Ok(device) => device,
        Err(error) => {
            assert!(std::env::var_os("RETUNE_REQUIRE_GPU").is_none(), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
    };
    let tensor = Tensor::zeros(&device, &[1000, 100], DType::F32).unwrap();
    assert!(device.memory().in_use >= 400_000);
    let error = Tensor::zeros(&device, &[1000, 200], DType::F32).unwrap_err();
    assert!(
        matches!(error, Error::OutOfMemory { bytes: 800_000, .. }),
        "{error}"
    );
    drop(tensor);
    assert_eq!(device.memory().in_use, 0);
    assert!(device.memory().cached >= 400_000);
    drop(Tensor::zeros(&device, &[1000, 200], DType::F32).unwrap());
    device.release_cached_memory();
    assert_eq!(device.memory().cached, 0);
    let memory = device.device_memory().unwrap();
    assert!(memory.free <= memory.total && memory.free > 0);
    // More than passes through the staging memory at once, there and back.
    let device = Device::cuda(&CudaOptions::default()).unwrap();
    let values: Vec<f32> = (0..5_000_001).map(|i| i as f32).collect();
    let there = Tensor::from_slice(&device, &[values.len()], &values).unwrap();
    assert!(there.try_clone().unwrap().to_f32_vec() == values);
    assert!(there.to_device(&Device::cpu()).unwrap().to_f32_vec() == values);
}
