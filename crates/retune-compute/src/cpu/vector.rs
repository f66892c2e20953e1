//! One number or a register full of them, so that the formula of an operation
//! is written once.
//!
//! Loops over [`Scalar`] become vector code wherever they are compiled
//! ([`super::simd`]); for AVX-512 there is a type of its own, because its
//! instructions for exponents and for rounding to bf16 halve the work of an
//! exponential.

use std::ops::{Add, Div, Mul, Sub};

use super::math;
use super::simd::{PORTABLE_IS_FUSED, multiply_add};
use crate::Tier;
use crate::dtype::Element;

/// f32 arithmetic on one number or on many side by side.
pub(super) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn splat(value: f32) -> Self;
    /// `self · b + c`, rounded once where the processor can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `e⁻ˣ` to 2 units in the last place, or to 6e-6 of itself where results
    /// are rounded to bf16; results below the smallest normal number may be 0.
    fn exp_of_negative(self) -> Self;
    fn abs(self) -> Self;
    /// `then` where `self` is negative, else `otherwise`.
    fn if_negative(self, then: Self, otherwise: Self) -> Self;
}

/// A formula over elements that stand at the same place: one, and `N` more,
/// give `M` results.
pub(super) trait Formula<const N: usize, const M: usize>: Copy {
    fn apply<V: Vector>(self, first: V, more: [V; N]) -> [V; M];
}

/// Applies `formula` to all elements of slices of equal length.
pub(super) fn map<A: Element, B: Element, Y: Element, const N: usize, const M: usize>(
    tier: Tier,
    formula: impl Formula<N, M>,
    first: &[A],
    more: [&[B]; N],
    results: [&mut [Y]; M],
) {
    match tier {
        // SAFETY: a device gets only tiers that its processor can run.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 | Tier::AmxBf16 => unsafe {
            x86::map_avx512_bf16(formula, first, more, results)
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { x86::map_avx512(formula, first, more, results) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { x86::map_avx2(formula, first, more, results) },
        _ => map_scalars::<PORTABLE_IS_FUSED, _, _, _, N, M>(formula, first, more, results),
    }
}

#[inline(always)]
fn map_scalars<
    const FUSED: bool,
    A: Element,
    B: Element,
    Y: Element,
    const N: usize,
    const M: usize,
>(
    formula: impl Formula<N, M>,
    first: &[A],
    more: [&[B]; N],
    results: [&mut [Y]; M],
) {
    let mut results = results;
    let len = first.len();
    for slice in &more {
        assert_eq!(slice.len(), len, "slices of equal length");
    }
    for slice in &results {
        assert_eq!(slice.len(), len, "slices of equal length");
    }
    for (index, first) in first.iter().enumerate() {
        let mut loaded = [Scalar::<FUSED>(0.0); N];
        for (value, slice) in loaded.iter_mut().zip(&more) {
            value.0 = slice[index].to_f32();
        }
        let values = formula.apply(Scalar::<FUSED>(first.to_f32()), loaded);
        for (slice, value) in results.iter_mut().zip(values) {
            slice[index] = Y::from_f32(value.0);
        }
    }
}

/// One number. `FUSED` is as in [`super::simd`].
#[derive(Clone, Copy)]
struct Scalar<const FUSED: bool>(f32);

macro_rules! operators {
    ($type:ident<const $parameter:ident: bool>: $($trait:ident $method:ident |$a:ident, $b:ident| $result:expr;)*) => {
        $(impl<const $parameter: bool> $trait for $type<$parameter> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                Self($result)
            }
        })*
    };
}

operators! { Scalar<const FUSED: bool>:
    Add add |a, b| a + b;
    Sub sub |a, b| a - b;
    Mul mul |a, b| a * b;
    Div div |a, b| a / b;
}

impl<const FUSED: bool> Vector for Scalar<FUSED> {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(multiply_add::<FUSED>(self.0, b.0, c.0))
    }
    #[inline(always)]
    fn exp_of_negative(self) -> Self {
        Self(math::exp::<FUSED>(-self.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
    #[inline(always)]
    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        if self.0 < 0.0 { then } else { otherwise }
    }
}

/// Registers are made and used only in the body of `map_registers`, and that is
/// inlined only into functions whose callers promise AVX-512.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::{Add, Div, Mul, Sub};

    use std::f32::consts::LN_2;

    use super::super::math::{EXP_COEFFICIENTS, EXP_SHORT, LN_2_HIGH, LN_2_LOW, LOG2_E};
    use super::{Formula, Vector, map_scalars};
    use crate::dtype::{DType, Element};

    const LANES: usize = 16;

    macro_rules! map_with {
        ($name:ident, $features:literal, $body:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<
                A: Element,
                B: Element,
                Y: Element,
                const N: usize,
                const M: usize,
            >(
                formula: impl Formula<N, M>,
                first: &[A],
                more: [&[B]; N],
                results: [&mut [Y]; M],
            ) {
                $body(formula, first, more, results);
            }
        };
    }
    map_with!(map_avx2, "avx2,fma", map_scalars::<true, _, _, _, N, M>);
    map_with!(
        map_avx512,
        "avx512f,avx512bw,avx512vl",
        map_registers::<false, _, _, _, N, M>
    );
    map_with!(
        map_avx512_bf16,
        "avx512f,avx512bw,avx512vl,avx512bf16",
        map_registers::<true, _, _, _, N, M>
    );

    /// Called, and so inlined, only where AVX-512 is on, and AVX512-BF16 if
    /// `BF16` says so.
    #[inline(always)]
    fn map_registers<
        const BF16: bool,
        A: Element,
        B: Element,
        Y: Element,
        const N: usize,
        const M: usize,
    >(
        formula: impl Formula<N, M>,
        first: &[A],
        more: [&[B]; N],
        results: [&mut [Y]; M],
    ) {
        match Y::DTYPE {
            DType::F32 => {
                map_precisely::<BF16, false, _, _, _, N, M>(formula, first, more, results)
            }
            DType::BF16 => {
                map_precisely::<BF16, true, _, _, _, N, M>(formula, first, more, results)
            }
        }
    }

    /// `ROUNDED`: results are rounded to bf16.
    #[inline(always)]
    fn map_precisely<
        const BF16: bool,
        const ROUNDED: bool,
        A: Element,
        B: Element,
        Y: Element,
        const N: usize,
        const M: usize,
    >(
        formula: impl Formula<N, M>,
        first: &[A],
        more: [&[B]; N],
        results: [&mut [Y]; M],
    ) {
        let mut results = results;
        let (chunks, rest) = first.as_chunks::<LANES>();
        for (chunk, first) in chunks.iter().enumerate() {
            let start = chunk * LANES;
            let mut loaded = [Register::<ROUNDED>::splat(0.0); N];
            for (register, slice) in loaded.iter_mut().zip(&more) {
                *register = Register::load(slice[start..].first_chunk().expect("equally long"));
            }
            let values = formula.apply(Register::<ROUNDED>::load(first), loaded);
            for (result, value) in results.iter_mut().zip(values) {
                value.store::<BF16, _>(result[start..].first_chunk_mut().expect("equally long"));
            }
        }
        if rest.is_empty() {
            return;
        }
        // The last few elements, with zeros behind them.
        let start = chunks.len() * LANES;
        let mut loaded = [Register::<ROUNDED>::splat(0.0); N];
        for (register, slice) in loaded.iter_mut().zip(&more) {
            *register = Register::load(&padded(&slice[start..]));
        }
        let values = formula.apply(Register::<ROUNDED>::load(&padded(rest)), loaded);
        for (result, value) in results.iter_mut().zip(values) {
            let mut stored = [Y::default(); LANES];
            value.store::<BF16, _>(&mut stored);
            result[start..].copy_from_slice(&stored[..rest.len()]);
        }
    }

    fn padded<E: Element>(slice: &[E]) -> [E; LANES] {
        let mut padded = [E::default(); LANES];
        padded[..slice.len()].copy_from_slice(slice);
        padded
    }

    /// Sixteen numbers. `ROUNDED` is as in [`map_precisely`].
    #[derive(Clone, Copy)]
    struct Register<const ROUNDED: bool>(__m512);

    impl<const ROUNDED: bool> Register<ROUNDED> {
        #[inline(always)]
        fn load<E: Element>(elements: &[E; LANES]) -> Self {
            let start = elements.as_ptr();
            // SAFETY: `LANES` elements of type `E` begin at `start`, and the
            // processor has AVX-512, as the type demands.
            unsafe {
                Self(match E::DTYPE {
                    DType::F32 => _mm512_loadu_ps(start.cast()),
                    DType::BF16 => {
                        let upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256(start.cast()));
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(upper))
                    }
                })
            }
        }

        /// Rounds as [`Element::from_f32`] does, but that AVX512-BF16 makes
        /// zeros of numbers below the smallest normal one.
        #[inline(always)]
        fn store<const BF16: bool, E: Element>(self, elements: &mut [E; LANES]) {
            let start = elements.as_mut_ptr();
            // SAFETY: as for `load`.
            unsafe {
                match E::DTYPE {
                    DType::F32 => _mm512_storeu_ps(start.cast(), self.0),
                    DType::BF16 => _mm256_storeu_si256(start.cast(), self.to_bf16::<BF16>()),
                }
            }
        }

        #[inline(always)]
        fn to_bf16<const BF16: bool>(self) -> __m256i {
            // SAFETY: the processor has the instructions, as the module demands.
            unsafe {
                if BF16 {
                    return std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0));
                }
                let bits = _mm512_castps_si512(self.0);
                let is_odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let half = _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff));
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                let quiet = _mm512_set1_epi32(0x0040_0000);
                let rounded = _mm512_add_epi32(bits, half);
                let rounded = _mm512_mask_or_epi32(rounded, is_nan, bits, quiet);
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
            }
        }
    }

    operators! { Register<const ROUNDED: bool>:
        // SAFETY: the processor has AVX-512, as the module demands.
        Add add |a, b| unsafe { _mm512_add_ps(a, b) };
        // SAFETY: as above.
        Sub sub |a, b| unsafe { _mm512_sub_ps(a, b) };
        // SAFETY: as above.
        Mul mul |a, b| unsafe { _mm512_mul_ps(a, b) };
        // SAFETY: as above.
        Div div |a, b| unsafe { _mm512_div_ps(a, b) };
    }

    impl<const ROUNDED: bool> Vector for Register<ROUNDED> {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: the processor has AVX-512, as the module demands.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        fn exp_of_negative(self) -> Self {
            // Beyond these bounds the result is 0 or infinity. The second
            // operand is the result where one is NaN.
            // SAFETY: as above.
            let x = Self(unsafe {
                let x = _mm512_min_ps(_mm512_set1_ps(105.0), self.0);
                _mm512_max_ps(_mm512_set1_ps(-105.0), x)
            });
            // SAFETY: as above.
            let exponent = Self(unsafe {
                _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>((x * Self::splat(-LOG2_E)).0)
            });
            // What is left of −x.
            // SAFETY: as above.
            let less =
                |part| Self(unsafe { _mm512_fnmsub_ps(exponent.0, _mm512_set1_ps(part), x.0) });
            let one = Self::splat(1.0);
            let mantissa = if ROUNDED {
                let [c2, c1, c0] = EXP_SHORT.map(Self::splat);
                let r = less(LN_2);
                let square = r * r;
                let p = c2.mul_add(square, c1.mul_add(r, c0));
                p.mul_add(square, r + one)
            } else {
                let [c5, c4, c3, c2, c1, c0] = EXP_COEFFICIENTS.map(Self::splat);
                let r = exponent.mul_add(Self::splat(-LN_2_LOW), less(LN_2_HIGH));
                let square = r * r;
                let high = c5.mul_add(r, c4);
                let middle = c3.mul_add(r, c2);
                let low = c1.mul_add(r, c0);
                let p = high.mul_add(square, middle).mul_add(square, low);
                p.mul_add(square, r) + one
            };
            // SAFETY: as above.
            Self(unsafe { _mm512_scalef_ps(mantissa.0, exponent.0) })
        }
        #[inline(always)]
        fn abs(self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_abs_ps(self.0) })
        }
        #[inline(always)]
        fn if_negative(self, then: Self, otherwise: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe {
                let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps());
                _mm512_mask_blend_ps(negative, otherwise.0, then.0)
            })
        }
    }
}
