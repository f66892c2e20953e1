//! Compiling one body of plain Rust for several instruction sets.

/// Defines a function whose body is compiled once for each tier and chosen at
/// run time: `fn name(tier, …)`. The body is ordinary Rust that loops over
/// slices; each compilation turns those loops into its own vector code.
///
/// Rust never fuses or reorders floating-point operations on its own, so
/// every tier computes the same bits. Functions that a body calls must be
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
            fn body $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                body($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                body($($argument),*)
            }

            match tier {
                // SAFETY: a device gets only tiers that its processor can run.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx512 | $crate::Tier::Avx512Bf16 => unsafe {
                    avx512($($argument),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx2 => unsafe { avx2($($argument),*) },
                _ => body($($argument),*),
            }
        }
    )*};
}
pub(super) use for_each_tier;

/// Lanes of the sums below: one AVX-512 register of f32.
pub(super) const LANES: usize = 16;

/// The sum of sixteen partial sums, pairwise.
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

/// `Σ term(i)` for `i < len`: sixteen running sums, added pairwise at the end.
#[inline(always)]
pub(super) fn sum_by_lanes(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    for index in whole..len {
        lanes[index - whole] += term(index);
    }
    sum_lanes(lanes)
}
