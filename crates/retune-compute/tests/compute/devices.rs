//! The devices that every test runs over.

use std::sync::LazyLock;

use retune_compute::{CpuOptions, CudaOptions, DType, Device, Element, Tensor, Tier, bf16};

/// One CPU device per tier that this processor has, each with three threads, and a
/// GPU where there is one.
pub(crate) static FAST: LazyLock<Vec<Device>> = LazyLock::new(|| {
    let gpu = Device::cuda(&CudaOptions {
        cache: Some(std::env::temp_dir().join("retune-kernels")),
        ..CudaOptions::default()
    });
    if let Err(error) = &gpu {
        // As `scripts/check-gpu` has it.
        assert!(std::env::var_os("RETUNE_REQUIRE_GPU").is_none(), "{error}");
        println!("without a GPU: {error}");
    }
    let tiers = Tier::available().map(|tier| cpu(tier, 3));
    tiers.chain(gpu.ok()).collect()
});

/// The plain operations.
pub(crate) static REFERENCE: LazyLock<Device> = LazyLock::new(Device::reference);

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Device> {
    std::iter::once(&*REFERENCE).chain(FAST.iter())
}

pub(crate) fn cpu(tier: Tier, threads: usize) -> Device {
    let options = CpuOptions {
        threads: Some(threads),
        tier: Some(tier),
        memory_limit: None,
    };
    Device::cpu_with(&options).expect("the tier is available")
}

/// A tensor of `dtype` with `values`, rounded.
pub(crate) fn tensor(device: &Device, shape: &[usize], values: &[f32], dtype: DType) -> Tensor {
    match dtype {
        DType::F32 => Tensor::from_slice(device, shape, values),
        DType::BF16 => {
            let rounded: Vec<bf16> = values
                .iter()
                .map(|v| <bf16 as Element>::from_f32(*v))
                .collect();
            Tensor::from_slice(device, shape, &rounded)
        }
    }
    .expect("values fit the shape")
}
