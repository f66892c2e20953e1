//! Compiling one body of plain Rust for several instruction sets.

/// Defines a function whose body is compiled once for each tier and chosen at
/// run time: `fn name(tier, …)`. The body is ordinary Rust that loops over
/// slices; each compilation turns those loops into its own vector code.
///
/// In the body, the constant `FUSED` says whether the processor has fused
/// multiply-adds (where it has not, `f32::mul_add` is a slow call). Rust never
/// fuses or reorders floating-point operations on its own, so tiers differ
/// only where a body asks for `FUSED`. Functions that a body calls must be
/// `#[inline(always)]`, or they are compiled without the tier's instructions.
macro_rules! for_each_tier {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$($generic:ident : $bound:path),+>)? (
            $($argument:ident : $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name $(<$($generic: $bound),+>)? (
            tier: $crate::Tier, $($argument: $type),*
        ) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<const FUSED: bool $($(, $generic: $bound)+)?> ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                body::<true $($(, $generic)+)?>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                body::<true $($(, $generic)+)?>($($argument),*)
            }

            debug_assert!(tier <= $crate::Tier::best(), "instructions that the processor lacks");
            match tier {
                // SAFETY: a device gets only tiers that its processor can run.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx512 | $crate::Tier::Avx512Bf16 | $crate::Tier::AmxBf16 => unsafe {
                    avx512($($argument),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx2 => unsafe { avx2($($argument),*) },
                _ => body::<{ $crate::cpu::simd::PORTABLE_IS_FUSED } $($(, $generic)+)?>($($argument),*),
            }
        }
    )*};
}
pub(super) use for_each_tier;

/// Whether every processor of this architecture has fused multiply-adds.
pub(super) const PORTABLE_IS_FUSED: bool =
    cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a · b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Lanes of the sums below: two AVX-512 registers of f32.
pub(super) const LANES: usize = 32;

/// The sum of partial sums, pairwise.
#[inline(always)]
pub(super) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ term(a[i])`: running sums in lanes, added pairwise at the end.
#[inline(always)]
pub(super) fn sum_of<A: Copy>(a: &[A], term: impl Fn(A) -> f32) -> f32 {
    sum_of_pairs(a, a, |a, _| term(a))
}

/// `Σ term(a[i], b[i])`, as [`sum_of`].
#[inline(always)]
pub(super) fn sum_of_pairs<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for ((sum, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += term(*a, *b);
    }
    sum_lanes(lanes)
}

/// `Σ term(a[i], b[i], c[i])`, as [`sum_of`].
#[inline(always)]
pub(super) fn sum_of_triples<A: Copy, B: Copy, C: Copy>(
    a: &[A],
    b: &[B],
    c: &[C],
    term: impl Fn(A, B, C) -> f32,
) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let (c_chunks, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a_chunks.iter().zip(b_chunks).zip(c_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane], c[lane]);
        }
    }
    for (((sum, a), b), c) in lanes.iter_mut().zip(a_rest).zip(b_rest).zip(c_rest) {
        *sum += term(*a, *b, *c);
    }
    sum_lanes(lanes)
}
