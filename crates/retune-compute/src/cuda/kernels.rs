//! Kernels: compiled by NVRTC when first asked for, kept in a folder, launched.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{self, CudaContext, CudaFunction, CudaModule, CudaStream, result, sys};
use cudarc::nvrtc::{self, Ptx};

use crate::DType;

/// Text that stands before each source.
const COMMON: &str = include_str!("kernels/element.cuh");
/// A block may have this much shared memory without asking for more.
const SHARED_BYTES: u32 = 48 << 10;

/// A file of kernels, compiled as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Elementwise,
    Norm,
    Rows,
    Products,
    Loss,
    /// For heads of up to so many elements.
    Attention {
        head_dim: u32,
    },
}

impl Source {
    /// Every source; attention for the head sizes that checks compile.
    #[cfg(test)]
    fn all() -> impl Iterator<Item = Self> {
        let heads = [64, 128, 256].map(|head_dim| Self::Attention { head_dim });
        let others = [
            Self::Elementwise,
            Self::Norm,
            Self::Rows,
            Self::Products,
            Self::Loss,
        ];
        others.into_iter().chain(heads)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Elementwise => "elementwise",
            Self::Norm => "norm",
            Self::Rows => "rows",
            Self::Products => "products",
            Self::Loss => "loss",
            Self::Attention { .. } => "attention",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Elementwise => include_str!("kernels/elementwise.cu"),
            Self::Norm => include_str!("kernels/norm.cu"),
            Self::Rows => include_str!("kernels/rows.cu"),
            Self::Products => include_str!("kernels/products.cu"),
            Self::Loss => include_str!("kernels/loss.cu"),
            Self::Attention { .. } => include_str!("kernels/attention.cu"),
        }
    }

    /// A function of this source.
    pub(super) fn kernel(self, name: &'static str) -> Kernel {
        Kernel { source: self, name }
    }

    fn options(self, target: &str) -> Vec<String> {
        let mut options = vec![
            format!("--gpu-architecture={target}"),
            "--std=c++17".to_owned(),
        ];
        if let Self::Attention { head_dim } = self {
            options.push(format!("-DHEAD_DIM={head_dim}"));
        }
        options
    }
}

/// A function of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    pub(super) source: Source,
    pub(super) name: &'static str,
}

/// One of the instances of a kernel that is a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    kernel: Kernel,
    types: [Option<DType>; 3],
    number: Option<u8>,
}

impl From<Kernel> for Instance {
    fn from(kernel: Kernel) -> Self {
        Self {
            kernel,
            types: [None; 3],
            number: None,
        }
    }
}

impl Kernel {
    /// The instance for these element types, as they stand in its name.
    pub(super) fn of<const N: usize>(self, types: [DType; N]) -> Instance {
        let mut instance = Instance::from(self);
        for (slot, dtype) in instance.types.iter_mut().zip(types) {
            *slot = Some(dtype);
        }
        instance
    }
}

impl Instance {
    /// The instance with this number at the end of its name.
    pub(super) fn with(self, number: u8) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    fn name(&self) -> String {
        let mut name = self.kernel.name.to_owned();
        for dtype in self.types.iter().flatten() {
            name.push_str(&format!("_{dtype}"));
        }
        if let Some(number) = self.number {
            name.push_str(&format!("_{number}"));
        }
        name
    }
}

/// The arguments of a launch, by value.
#[derive(Debug, Default)]
pub(super) struct Args {
    /// Each on a boundary of eight bytes.
    words: Vec<u64>,
    /// Where each starts.
    starts: Vec<usize>,
}

impl Args {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn push(mut self, words: &[u64]) -> Self {
        self.starts.push(self.words.len());
        self.words.extend_from_slice(words);
        self
    }

    pub(super) fn address(self, address: u64) -> Self {
        self.push(&[address])
    }

    pub(super) fn long(self, value: usize) -> Self {
        self.push(&[value as u64])
    }

    /// A number of 32 bits.
    pub(super) fn int(self, value: i32) -> Self {
        self.word(value as u32)
    }

    pub(super) fn word(self, value: u32) -> Self {
        // The kernel reads the first bytes.
        let bytes = value.to_ne_bytes();
        let mut wide = [0; 8];
        wide[..4].copy_from_slice(&bytes);
        self.push(&[u64::from_ne_bytes(wide)])
    }

    pub(super) fn float(self, value: f32) -> Self {
        self.word(value.to_bits())
    }

    /// A struct of the kernel's, as the words that it is made of.
    pub(super) fn structure(self, words: &[u64]) -> Self {
        self.push(words)
    }
}

/// Two numbers of 32 bits as they lie beside one another in a struct.
pub(super) fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// The compiled kernels of one device.
pub(super) struct Kernels {
    context: Arc<CudaContext>,
    /// `sm_90` and the like.
    target: String,
    folder: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<Source, Arc<CudaModule>>,
    functions: HashMap<Instance, Function>,
}

#[derive(Clone)]
struct Function {
    function: CudaFunction,
    /// The shared memory that it may have.
    shared_bytes: u32,
}

impl Kernels {
    /// Those of a device of compute capability `major.minor`; `folder` is where
    /// they are kept once compiled.
    pub(super) fn new(
        context: Arc<CudaContext>,
        (major, minor): (i32, i32),
        folder: Option<PathBuf>,
    ) -> Self {
        Self {
            context,
            target: target(major * 10 + minor),
            folder,
            loaded: Mutex::default(),
        }
    }

    /// Has a source ready, compiling it if need be.
    pub(super) fn prepare(&self, source: Source) -> Result<(), String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.module(&mut loaded, source).map(|_| ())
    }

    pub(super) fn launch(
        &self,
        stream: &CudaStream,
        kernel: Instance,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        mut args: Args,
    ) -> Result<(), String> {
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self.function(kernel, shared_bytes)?;
        let words = args.words.as_mut_ptr();
        let starts = args.starts.iter();
        let mut pointers: Vec<*mut c_void> = starts
            .map(|&start| words.wrapping_add(start).cast())
            .collect();
        self.context.bind_to_thread().map_err(|e| e.to_string())?;
        // SAFETY: the pointers lead into `args`, which outlives the call; that
        // the arguments are those of the kernel and its memory is there, the
        // callers in this module see to.
        unsafe {
            result::launch_kernel(
                function.cu_function(),
                (grid[0], grid[1], grid[2]),
                (threads, 1, 1),
                shared_bytes,
                stream.cu_stream(),
                &mut pointers,
            )
        }
        .map_err(|e| e.to_string())
    }

    fn function(&self, kernel: Instance, shared_bytes: u32) -> Result<CudaFunction, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.functions.get(&kernel)
            && known.shared_bytes >= shared_bytes
        {
            return Ok(known.function.clone());
        }
        let module = self.module(&mut loaded, kernel.kernel.source)?;
        let name = kernel.name();
        let fault = |e: driver::DriverError| format!("{name}: {e}");
        let function = module.load_function(&name).map_err(fault)?;
        if shared_bytes > SHARED_BYTES {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function
                .set_attribute(most, shared_bytes as i32)
                .map_err(fault)?;
        }
        loaded.functions.insert(
            kernel,
            Function {
                function: function.clone(),
                shared_bytes: shared_bytes.max(SHARED_BYTES),
            },
        );
        Ok(function)
    }

    fn module(&self, loaded: &mut Loaded, source: Source) -> Result<Arc<CudaModule>, String> {
        if let Some(module) = loaded.modules.get(&source) {
            return Ok(Arc::clone(module));
        }
        let file = self.folder.as_ref().map(|folder| {
            let mut hasher = DefaultHasher::new();
            (
                COMMON,
                source.text(),
                source.options(&self.target),
                version(),
            )
                .hash(&mut hasher);
            let name = format!(
                "{}-{}-{:016x}.cubin",
                source.name(),
                self.target,
                hasher.finish()
            );
            folder.join(name)
        });
        let load = |image: Vec<u8>| self.context.load_module(Ptx::from_binary(image));
        // One that is damaged or of another driver is compiled again.
        let kept = file.as_ref().and_then(|file| kept(file));
        let module = match kept.map(load) {
            Some(Ok(module)) => module,
            _ => {
                let image = compile(source, &self.target)?;
                if let Some(file) = &file {
                    keep(file, &image);
                }
                load(image).map_err(|e| format!("{}: {e}", source.name()))?
            }
        };
        loaded.modules.insert(source, Arc::clone(&module));
        Ok(module)
    }
}

/// A compiled source as it was kept, if it is whole: the driver reads as far as the
/// image itself says.
fn kept(file: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(file).ok()?;
    let (seal, image) = bytes.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*seal) == fingerprint(image)).then(|| image.to_vec())
}

fn fingerprint(image: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

/// Writes a compiled source where the next run finds it. A folder that cannot be
/// written costs a compilation each time, no more.
fn keep(file: &Path, image: &[u8]) {
    /// Devices of one process may keep the same source at once.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unfinished = file.with_extension(format!("{}-{number}.part", std::process::id()));
    let mut bytes = fingerprint(image).to_le_bytes().to_vec();
    bytes.extend_from_slice(image);
    let written = file
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&unfinished, bytes))
        .and_then(|()| std::fs::rename(&unfinished, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
}

/// NVRTC's version, where it is there.
pub(super) fn version() -> (c_int, c_int) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two numbers are written.
    let _ = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    (major, minor)
}

/// What to compile for: the device's own instructions, or those of the newest
/// older one that this NVRTC knows, as text that the driver compiles on.
fn target(capability: i32) -> String {
    let mut count = 0;
    // SAFETY: one number is written.
    let _ = unsafe { nvrtc::sys::nvrtcGetNumSupportedArchs(&mut count) };
    let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
    if !known.is_empty() {
        // SAFETY: as many numbers are written as were announced.
        let _ = unsafe { nvrtc::sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) };
    }
    if known.is_empty() || known.contains(&capability) {
        return format!("sm_{capability}");
    }
    let older = known.into_iter().filter(|known| *known < capability);
    format!("compute_{}", older.max().unwrap_or(capability))
}

/// Machine code for `sm_…`, PTX for `compute_…`.
fn compile(source: Source, target: &str) -> Result<Vec<u8>, String> {
    let fault = |e: nvrtc::result::NvrtcError| format!("NVRTC, {}: {e:?}", source.name());
    let text = CString::new(format!("{COMMON}\n{}", source.text())).expect("sources have no zeros");
    let name = CString::new(format!("{}.cu", source.name())).expect("names have no zeros");
    let program = nvrtc::result::create_program(&text, Some(&name)).map_err(fault)?;
    // SAFETY: the program is a living one until it is destroyed below, and sizes
    // are asked for before bytes.
    let compiled = unsafe {
        match nvrtc::result::compile_program(program, &source.options(target)) {
            Err(e) => {
                let log = nvrtc::result::get_program_log(program).unwrap_or_default();
                let log: Vec<u8> = log.into_iter().map(|byte| byte as u8).collect();
                let log = String::from_utf8_lossy(&log);
                Err(format!("{}\n{}", fault(e), log.trim_end_matches('\0')))
            }
            Ok(()) if target.starts_with("sm_") => machine_code(program).map_err(fault),
            Ok(()) => nvrtc::result::get_ptx(program)
                .map(|text| text.into_iter().map(|byte| byte as u8).collect())
                .map_err(fault),
        }
    };
    // SAFETY: created above, and not used any more.
    let _ = unsafe { nvrtc::result::destroy_program(program) };
    compiled
}

/// # Safety
/// `program` has been compiled for a real architecture.
unsafe fn machine_code(
    program: nvrtc::sys::nvrtcProgram,
) -> Result<Vec<u8>, nvrtc::result::NvrtcError> {
    let mut size = 0;
    // SAFETY: the caller's promise; one number is written.
    unsafe { nvrtc::sys::nvrtcGetCUBINSize(program, &mut size) }.result()?;
    let mut image = vec![0u8; size];
    // SAFETY: the caller's promise; as many bytes are written as were announced.
    unsafe { nvrtc::sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()) }.result()?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_taken_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("retune-kept-{}", std::process::id()));
        let file = folder.join("source.cubin");
        assert_eq!(kept(&file), None);
        keep(&file, b"an image");
        assert_eq!(kept(&file).as_deref(), Some(&b"an image"[..]));
        let whole = std::fs::read(&file).unwrap();
        for damaged in [&whole[..0], &whole[..5], &whole[..whole.len() - 1]] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(kept(&file), None, "{} bytes", damaged.len());
        }
        let files = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files, 1, "nothing unfinished is left");
    }

    /// Needs NVRTC, and no GPU.
    #[test]
    fn every_kernel_compiles_for_each_generation() {
        // SAFETY: looks for a library and lets it go.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            eprintln!(
                "skipped: there is no NVRTC (pip install nvidia-cuda-nvrtc, and LD_LIBRARY_PATH)"
            );
            return;
        }
        std::thread::scope(|scope| {
            for target in ["sm_80", "sm_90", "sm_120"] {
                scope.spawn(move || {
                    for source in Source::all() {
                        let image = compile(source, target);
                        let image = image.unwrap_or_else(|log| panic!("{target}: {log}"));
                        assert!(image.starts_with(b"\x7fELF"), "{target} {source:?}");
                    }
                });
            }
        });
    }
}
