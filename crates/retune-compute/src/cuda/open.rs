//! Finding a GPU, and the libraries that it takes.

use std::path::PathBuf;
use std::sync::Arc;

use cudarc::driver::{CudaContext, result, sys};
use cudarc::{cublaslt, driver, nvrtc};

use super::kernels::version;
use crate::error::{Error, Result};

/// How to set up a CUDA device.
#[derive(Debug, Clone, Default)]
pub struct CudaOptions {
    /// Which of the GPUs, as the driver counts them.
    pub ordinal: usize,
    /// Bytes that tensors and weights may take, buffers kept for reuse included;
    /// more is `OutOfMemory`. Default: what the device has.
    pub memory_limit: Option<usize>,
    /// The folder where compiled kernels are kept for the next run. Default: they
    /// are compiled in each.
    pub cache: Option<PathBuf>,
}

/// Bytes of a device's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All of it.
    pub total: u64,
    /// What no program holds at present.
    pub free: u64,
}

/// What a GPU is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Which one, as the driver counts them.
    pub ordinal: usize,
    /// The vendor's name for it.
    pub name: String,
    /// Its generation: 8.0 for an A100, 9.0 for an H100.
    pub compute_capability: (i32, i32),
    /// How many multiprocessors it has.
    pub multiprocessors: usize,
    /// Its memory when it was looked at.
    pub memory: DeviceMemory,
}

impl std::fmt::Display for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.compute_capability;
        write!(
            f,
            "{} (cuda:{}, compute capability {major}.{minor}, {:.1} GiB)",
            self.name,
            self.ordinal,
            self.memory.total as f64 / f64::from(1 << 30)
        )
    }
}

/// The first generation with bf16 in its matrix units.
const LEAST_CAPABILITY: (i32, i32) = (8, 0);
/// The first CUDA whose libraries have all that is called.
const LEAST_CUDA: usize = 12;
const TOOLKIT: &str = "install the CUDA toolkit 12 or 13 (its packages of cuBLAS and NVRTC are enough), or point LD_LIBRARY_PATH (PATH on Windows) at the folders of the pip packages nvidia-cublas and nvidia-cuda-nvrtc, for CUDA 12 nvidia-cublas-cu12 and nvidia-cuda-nvrtc-cu12";

/// The GPUs of this machine, or why one of them cannot be looked at.
///
/// # Errors
/// `DeviceUnavailable` if there is no driver, or it does not start.
pub fn gpus() -> Result<Vec<Result<Gpu>>> {
    driver()?;
    let count = CudaContext::device_count().map_err(|e| {
        unavailable(
            "cuda",
            &e.to_string(),
            "nvidia-smi says what the driver sees",
        )
    })?;
    let look = |ordinal: usize| look(&context(ordinal)?, ordinal);
    Ok((0..usize::try_from(count).unwrap_or(0)).map(look).collect())
}

/// Has the driver loaded, or says what is missing.
fn driver() -> Result<()> {
    // SAFETY: looks for a library.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(unavailable(
            "cuda",
            &format!("{} is not there", library("libcuda.so.1", "nvcuda.dll")),
            "install NVIDIA's driver, or compute on the CPU: --device cpu",
        ));
    }
    result::init().map_err(|e| {
        unavailable(
            "cuda",
            &format!("the driver does not start ({e})"),
            "nvidia-smi says what it sees; in a container, the GPU has to be passed in",
        )
    })
}

fn context(ordinal: usize) -> Result<Arc<CudaContext>> {
    driver()?;
    let refused = |reason: &str| {
        let hint = "nvidia-smi lists the GPUs and what runs on them";
        unavailable(&format!("cuda:{ordinal}"), reason, hint)
    };
    let count = CudaContext::device_count().map_err(|e| refused(&e.to_string()))?;
    if ordinal >= usize::try_from(count).unwrap_or(0) {
        return Err(refused(&format!(
            "the driver sees {count} of them, counted from 0"
        )));
    }
    CudaContext::new(ordinal).map_err(|e| refused(&e.to_string()))
}

fn look(context: &Arc<CudaContext>, ordinal: usize) -> Result<Gpu> {
    let fault = |e: driver::DriverError| {
        unavailable(
            &format!("cuda:{ordinal}"),
            &e.to_string(),
            "nvidia-smi lists the GPUs and what runs on them",
        )
    };
    let (free, total) = context.mem_get_info().map_err(fault)?;
    let multiprocessors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    let multiprocessors = context.attribute(multiprocessors).map_err(fault)?;
    Ok(Gpu {
        ordinal,
        name: context.name().map_err(fault)?,
        compute_capability: context.compute_capability().map_err(fault)?,
        multiprocessors: usize::try_from(multiprocessors).unwrap_or(1),
        memory: DeviceMemory {
            total: total as u64,
            free: free as u64,
        },
    })
}

/// A GPU with all that its operations need.
pub(super) fn open(ordinal: usize) -> Result<(Arc<CudaContext>, Gpu)> {
    let context = context(ordinal)?;
    let gpu = look(&context, ordinal)?;
    let device = || format!("cuda:{ordinal} ({})", gpu.name);
    if gpu.compute_capability < LEAST_CAPABILITY {
        let (major, minor) = gpu.compute_capability;
        return Err(unavailable(
            &device(),
            &format!("its compute capability is {major}.{minor}, expected 8.0 or later"),
            "GPUs from 2020 on have it (A100, RTX 30); without one, --device cpu",
        ));
    }
    // SAFETY: each looks for a library, and asks one that is there for its version.
    let libraries = unsafe {
        let products =
            cublaslt::sys::is_culib_present().then(|| cublaslt::sys::cublasLtGetVersion() / 10_000);
        let compiler =
            nvrtc::sys::is_culib_present().then(|| usize::try_from(version().0).unwrap_or(0));
        [
            (products, library("libcublasLt.so", "cublasLt64_13.dll")),
            (compiler, library("libnvrtc.so", "nvrtc64_130_0.dll")),
        ]
    };
    for (version, name) in libraries {
        let reason = match version {
            None => format!("{name} is not there"),
            Some(version) if version < LEAST_CUDA => {
                format!("{name} is of CUDA {version}, expected {LEAST_CUDA} or later")
            }
            Some(_) => continue,
        };
        return Err(unavailable(&device(), &reason, TOOLKIT));
    }
    Ok((context, gpu))
}

fn library(linux: &'static str, windows: &'static str) -> &'static str {
    if cfg!(windows) { windows } else { linux }
}

pub(super) fn unavailable(device: &str, reason: &str, hint: &str) -> Error {
    Error::DeviceUnavailable {
        device: device.to_owned(),
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    }
}
