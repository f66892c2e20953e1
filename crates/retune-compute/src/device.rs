//! Devices: where tensors live and operations run.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use crate::backend::Backend;
use crate::cpu::Cpu;
use crate::cuda::{Cuda, CudaOptions, DeviceMemory, Gpu, gpus};
use crate::error::{Error, Result};
use crate::host::MemoryUse;
use crate::profile::{Profile, Profiled};
use crate::reference::Reference;

/// A set of instructions that the fast operations of a CPU are written for.
///
/// Tiers are ordered: a processor that can run one can run all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Plain Rust, for any processor.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// [`Tier::Avx512`] with AVX512-BF16.
    Avx512Bf16,
    /// [`Tier::Avx512Bf16`] with AMX-BF16, where the system lets programs use it.
    AmxBf16,
}

impl Tier {
    /// Every tier, slowest first.
    pub const ALL: [Self; 5] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::AmxBf16,
    ];

    /// The fastest tier that this processor can run.
    pub fn best() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx512 && is_x86_feature_detected!("avx512bf16") {
                return match amx::is_granted() {
                    true => Self::AmxBf16,
                    false => Self::Avx512Bf16,
                };
            }
            if avx512 {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The tiers that this processor can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::best();
        Self::ALL.into_iter().filter(move |tier| *tier <= best)
    }

    /// Whether there are instructions for products of bf16.
    pub fn has_bf16_products(self) -> bool {
        self >= Self::Avx512Bf16
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::AmxBf16 => "amx-bf16",
        })
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.to_string() == name)
            .ok_or_else(|| Error::InvalidArgument {
                op: "Tier::from_str",
                argument: "name",
                expected: "one of portable, avx2, avx512, avx512-bf16, amx-bf16".into(),
                found: name.into(),
            })
    }
}

/// How to set up a CPU device; the default is what is best for speed.
#[derive(Debug, Clone, Default)]
pub struct CpuOptions {
    /// Threads that share the work of one operation. Default: one per core.
    pub threads: Option<usize>,
    /// The instructions to use. Default: the best that the processor has.
    pub tier: Option<Tier>,
    /// Bytes that tensors and weights may take, buffers kept for reuse
    /// included; more is `OutOfMemory`. Working memory of the threads comes on
    /// top. Default: no limit.
    pub memory_limit: Option<usize>,
}

/// Which device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceChoice {
    /// A GPU if there is one with all that it takes, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, by the number that its driver has for it.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device. `refused` is called with what keeps a GPU that is there from being
    /// taken, where the choice was left open.
    ///
    /// # Errors
    /// `DeviceUnavailable` if a GPU was asked for that is not there, or a library is
    /// missing; those of [`Device::cpu_with`].
    pub fn open(
        self,
        cpu: &CpuOptions,
        cuda: &CudaOptions,
        refused: impl FnOnce(&Error),
    ) -> Result<Device> {
        match self {
            Self::Cpu => Device::cpu_with(cpu),
            Self::Auto => Device::cuda(cuda).or_else(|error| {
                if gpus().is_ok_and(|gpus| !gpus.is_empty()) {
                    refused(&error);
                }
                Device::cpu_with(cpu)
            }),
            Self::Cuda(ordinal) => Device::cuda(&CudaOptions {
                ordinal,
                ..cuda.clone()
            }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(0) => f.pad("cuda"),
            Self::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let ordinal = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        match name.split_once(':') {
            None if name == "auto" => Some(Self::Auto),
            None if name == "cpu" => Some(Self::Cpu),
            None if name == "cuda" => Some(Self::Cuda(0)),
            Some(("cuda", digits)) => ordinal(digits).map(Self::Cuda),
            _ => None,
        }
        .ok_or_else(|| Error::InvalidArgument {
            op: "DeviceChoice::from_str",
            argument: "name",
            expected: "auto, cpu, cuda or cuda:N".into(),
            found: name.into(),
        })
    }
}

/// Where tensors live and operations run. Cloning gives another handle to
/// the same device.
#[derive(Clone)]
pub struct Device {
    backend: Arc<dyn Backend>,
}

impl Device {
    /// The CPU with its fastest instructions and one thread per core.
    ///
    /// # Panics
    /// If the system refuses the threads; [`Device::cpu_with`] says so as an
    /// error.
    pub fn cpu() -> Self {
        Self::cpu_with(&CpuOptions::default()).expect("the default options fit every CPU")
    }

    /// The CPU, set up by `options`. Results have the same bytes for any
    /// number of threads.
    ///
    /// # Errors
    /// `TierUnavailable` if the processor lacks the instructions of
    /// `options.tier`; `InvalidArgument` if `options.threads` is 0, more than
    /// 1024, or more than the system grants.
    pub fn cpu_with(options: &CpuOptions) -> Result<Self> {
        Ok(Self {
            backend: Arc::new(Cpu::new(options)?),
        })
    }

    /// An NVIDIA GPU, whose driver and libraries are loaded now.
    ///
    /// # Errors
    /// `DeviceUnavailable` if there is no such GPU, or the driver, cuBLASLt or NVRTC
    /// is missing; `OutOfMemory` if it has no room for what operations work in.
    pub fn cuda(options: &CudaOptions) -> Result<Self> {
        Ok(Self {
            backend: Arc::new(Cuda::new(options)?),
        })
    }

    /// The GPU, if the device is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.backend.gpu()
    }

    /// Whether the device is a GPU.
    pub fn is_cuda(&self) -> bool {
        self.gpu().is_some()
    }

    /// Bytes of the device's own memory at present; `None` for devices in host
    /// memory.
    pub fn device_memory(&self) -> Option<DeviceMemory> {
        self.backend.device_memory()
    }

    /// Whether products of bf16 are the fast ones here.
    pub fn has_bf16_products(&self) -> bool {
        self.backend.has_bf16_products()
    }

    /// Waits until all that was asked for is done. A GPU's operations return before.
    pub fn synchronize(&self) {
        self.backend.synchronize();
    }

    /// The plain scalar operations that every other implementation is held
    /// against. Slow, and written to be read.
    pub fn reference() -> Self {
        Self {
            backend: Arc::new(Reference::default()),
        }
    }

    /// The same device, which measures how long its operations take. Tensors
    /// made on it are not on the device as it was before.
    pub fn profiled(&self) -> Self {
        Self {
            backend: Arc::new(Profiled::new(Arc::clone(&self.backend))),
        }
    }

    /// What operations took since the last call; empty for a device that does
    /// not measure.
    pub fn take_profile(&self) -> Profile {
        let Some(profile) = self.backend.profile() else {
            return Profile::new();
        };
        let mut profile = profile.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *profile)
    }

    /// What the device is, in words.
    pub fn name(&self) -> String {
        self.backend.name()
    }

    /// Bytes that the device's tensors take.
    pub fn memory(&self) -> MemoryUse {
        self.backend.memory_use()
    }

    /// Starts a new measurement of [`MemoryUse::peak`].
    pub fn reset_peak_memory(&self) {
        self.backend.reset_peak_memory();
    }

    /// Gives buffers that are kept for reuse back to the system.
    pub fn release_cached_memory(&self) {
        self.backend.release_cached_memory();
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.name())
    }
}

/// AMX, whose registers a program has to ask the system for.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod amx {
    /// Whether the processor has AMX-BF16, and the system lets this program use it.
    #[cfg(target_os = "linux")]
    pub(super) fn is_granted() -> bool {
        use std::sync::LazyLock;

        /// Intel's number for the state of tile registers, and Linux's for asking.
        const TILE_DATA: libc::c_long = 18;
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        static GRANTED: LazyLock<bool> = LazyLock::new(|| {
            #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
            // SAFETY: every x86-64 processor with AVX-512 has this leaf.
            let features = unsafe { std::arch::x86_64::__cpuid_count(7, 0) }.edx;
            features & AMX_BF16 != 0
                && features & AMX_TILE != 0
                // SAFETY: a request that the system grants or refuses; it changes
                // nothing else.
                && unsafe {
                    libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0
                }
        });
        *GRANTED
    }

    /// Other systems have other ways to ask, which are not known here.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_granted() -> bool {
        false
    }
}
