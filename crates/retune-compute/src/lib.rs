//! The compute core of retune: tensors on a device, and the dozen coarse
//! operations that fine-tuning a language model needs, each forward and
//! backward.
//!
//! There is no tape: a layer calls an operation's forward function, keeps what
//! the backward one wants, and calls that. Gradients of parameters accumulate.
//!
//! ```
//! use retune_compute::{DType, Device, Tensor, ops};
//!
//! let device = Device::cpu();
//! let x = Tensor::from_slice(&device, &[2, 2], &[3.0f32, 4.0, 0.0, 2.0])?;
//! let weight = Tensor::from_slice(&device, &[2], &[1.0f32, 1.0])?;
//! let normed = ops::rms_norm_forward(&x, &weight, 0.0, DType::F32)?;
//! let rms = 12.5f32.sqrt();
//! assert!((normed.y.to_f32_vec()[0] - 3.0 / rms).abs() < 1e-6);
//! # Ok::<(), retune_compute::Error>(())
//! ```
//!
//! Rooms: [`ops`] is what callers use; it checks arguments and calls the
//! device's backend. `reference` holds the operations as a textbook would write
//! them; `cpu` the fast ones; `cuda` those of an NVIDIA GPU.

mod backend;
pub mod ceiling;
mod cpu;
mod cuda;
mod device;
mod dtype;
mod error;
mod host;
pub mod ops;
mod profile;
mod random;
mod recycle;
mod reference;
mod tensor;

pub use half::bf16;

pub use cuda::{CudaOptions, DeviceMemory, Gpu, gpus};
pub use device::{CpuOptions, Device, DeviceChoice, Tier};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use host::MemoryUse;
pub use profile::{OpTime, Profile};
pub use random::{RandomKey, random_normal, random_uniform};
pub use tensor::Tensor;
