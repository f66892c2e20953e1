//! What the machine can do at most, measured: the yardstick of every figure of
//! speed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Tier;
use crate::cpu::ThreadPool;
use crate::error::{Error, Result};
use crate::host::{HostBuffer, HostMemory};

/// The measured limits of a CPU with a number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// The instructions that were measured.
    pub tier: Tier,
    /// Threads that worked at once.
    pub threads: usize,
    /// Billions of f32 operations a second (a multiply-add is two).
    pub f32_gflops: f64,
    /// The same for bf16 products; `None` if the processor has no instruction
    /// for them, and they run as f32.
    pub bf16_gflops: Option<f64>,
    /// Billions of bytes a second that all threads together read from memory.
    pub read_gb_per_s: f64,
}

impl Ceilings {
    /// The limit of products in bf16.
    pub fn product_gflops(&self) -> f64 {
        self.bf16_gflops.unwrap_or(self.f32_gflops)
    }
}

/// Bytes that each thread reads: much more than the caches hold.
const READ_BYTES: usize = 128 << 20;
/// Independent chains of multiply-adds, enough to hide their latency.
const CHAINS: usize = 20;

/// Measures with `threads` threads (default: one per core), each figure for
/// about `time`, and takes the best of several rounds.
///
/// # Errors
/// `InvalidArgument` if the system refuses the threads, `OutOfMemory` if it has
/// not 128 MiB to spare for each.
pub fn measure(threads: Option<usize>, time: Duration) -> Result<Ceilings> {
    let reader = MemoryReader::new(threads)?;
    let pool = &reader.pool;
    let threads = pool.threads();
    let tier = Tier::best();
    let flops = |work: fn(Tier, u64) -> u64| {
        let per_thread = |loops: u64| {
            let start = Instant::now();
            pool.run(threads, |_| {
                black_box(work(tier, loops));
            });
            let seconds = start.elapsed().as_secs_f64();
            (work(tier, 0) * loops * threads as u64) as f64 / seconds / 1e9
        };
        best_of(time, || per_thread(1_000_000))
    };
    Ok(Ceilings {
        tier,
        threads,
        f32_gflops: flops(f32_loop),
        bf16_gflops: tier.has_bf16_products().then(|| flops(bf16_loop)),
        read_gb_per_s: reader.gb_per_s(time),
    })
}

/// Reads a buffer much larger than the caches, again and again.
pub struct MemoryReader {
    pool: ThreadPool,
    buffer: HostBuffer,
}

impl MemoryReader {
    /// A reader with `threads` threads (default: one per core).
    ///
    /// # Errors
    /// As for [`measure`].
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let pool = ThreadPool::new("MemoryReader::new", "threads", threads)?;
        let threads = pool.threads();
        let bytes = threads.saturating_mul(READ_BYTES);
        // The memory that tensors get, huge pages and all.
        let refused = || Error::OutOfMemory {
            device: "cpu".to_owned(),
            bytes,
        };
        let memory = HostMemory::with_limit(None);
        let mut buffer = memory.allocate(bytes).ok_or_else(refused)?;
        buffer.bytes_mut(bytes).fill(1);
        Ok(Self { pool, buffer })
    }

    /// Billions of bytes a second that all threads together read: the best of
    /// rounds of about `time` in all.
    pub fn gb_per_s(&self, time: Duration) -> f64 {
        let len = self.pool.threads() * READ_BYTES;
        let words: &[f32] = self.buffer.slice(len / size_of::<f32>());
        let shares: Vec<&[f32]> = words.chunks(READ_BYTES / size_of::<f32>()).collect();
        best_of(time, || {
            let start = Instant::now();
            self.pool.run(shares.len(), |thread| {
                black_box(read_all(shares[thread]));
            });
            len as f64 / start.elapsed().as_secs_f64() / 1e9
        })
    }
}

fn best_of(time: Duration, mut round: impl FnMut() -> f64) -> f64 {
    let start = Instant::now();
    let mut best = round();
    while start.elapsed() < time {
        best = best.max(round());
    }
    best
}

/// Reads every word.
fn read_all(words: &[f32]) -> u32 {
    let mut lanes = [0u32; 128];
    for chunk in words.chunks_exact(128) {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane |= word.to_bits();
        }
    }
    lanes.iter().fold(0, |all, lane| all | lane)
}

/// Runs `loops` loops of independent f32 multiply-adds; with no loops, returns
/// the operations that one takes.
fn f32_loop(tier: Tier, loops: u64) -> u64 {
    match tier {
        // SAFETY: `tier` is the best that the processor can run.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 | Tier::Avx512Bf16 | Tier::AmxBf16 => unsafe { x86::f32_avx512(loops) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { x86::f32_avx2(loops) },
        _ => f32_portable(loops),
    }
}

/// The same for bf16, on a tier that has its products.
fn bf16_loop(tier: Tier, loops: u64) -> u64 {
    match tier {
        // SAFETY: `tier` is the best that the processor can run.
        #[cfg(target_arch = "x86_64")]
        Tier::AmxBf16 => unsafe { crate::cpu::products_in_amx_registers(loops) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 => unsafe { x86::bf16_avx512(loops) },
        _ => unreachable!("{tier} has no products of bf16, which took {loops} loops"),
    }
}

fn f32_portable(loops: u64) -> u64 {
    let factor = black_box(0.5f32);
    let mut sums = [[0.0f32; 4]; CHAINS];
    for _ in 0..loops {
        for sum in sums.as_flattened_mut() {
            *sum = *sum * factor + factor;
        }
    }
    black_box(sums);
    (2 * 4 * CHAINS) as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::CHAINS;

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_avx512(loops: u64) -> u64 {
        let factor = _mm512_set1_ps(black_box(0.5));
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..loops {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        (2 * 16 * CHAINS) as u64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_avx2(loops: u64) -> u64 {
        // Sixteen registers: twelve chains and the factor.
        let factor = _mm256_set1_ps(black_box(0.5));
        let mut sums = [_mm256_setzero_ps(); 12];
        for _ in 0..loops {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        2 * 8 * 12
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16_avx512(loops: u64) -> u64 {
        let ones = _mm512_set1_epi32(black_box(0x3f80_3f80));
        // SAFETY: any 512 bits are a `__m512bh`.
        let factor = unsafe { std::mem::transmute::<__m512i, __m512bh>(ones) };
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..loops {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        (2 * 32 * CHAINS) as u64
    }
}
