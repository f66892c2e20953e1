//! Elementary functions without branches, so that loops over them become
//! vector code. Their errors are held by the tests below.

use super::simd::multiply_add;
use super::vector::Vector;

pub(super) const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts; products of the first with small integers are exact.
pub(super) const LN_2_HIGH: f32 = 0.693_359_4;
pub(super) const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting this rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// Minimax polynomial of (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2, the highest power
/// first (Cephes).
pub(super) const EXP_COEFFICIENTS: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// The same to 5.4e-6 of eʳ, for results that are rounded to bf16 (fitted here,
/// with equal weights to relative errors).
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) const EXP_SHORT: [f32; 3] = [4.127_773_3e-2, 1.675_351_7e-1, 5.000_511_4e-1];

/// `eˣ` to 2 units in the last place; 0 below −87.3, where the result would be
/// no normal number, and infinity from 88.4 on.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let fma = multiply_add::<FUSED>;
    // Comparisons are written so that NaN passes.
    let bounded = if x > 89.0 { 89.0 } else { x };
    let shifted = fma(bounded, LOG2_E, ROUND);
    let exponent = shifted - ROUND;
    let r = fma(exponent, -LN_2_HIGH, bounded);
    let r = fma(exponent, -LN_2_LOW, r);
    // In pairs of coefficients: these loops wait for the latency of the chain.
    let [c5, c4, c3, c2, c1, c0] = EXP_COEFFICIENTS;
    let square = r * r;
    let high = fma(c5, r, c4);
    let middle = fma(c3, r, c2);
    let low = fma(c1, r, c0);
    let p = fma(fma(high, square, middle), square, low);
    let mantissa = fma(p, square, r) + 1.0;
    // The low bits of `shifted` are those of the integer; moved up, they are
    // the exponent of a power of two.
    const BIAS: u32 = 127u32.wrapping_sub(ROUND.to_bits()) << 23;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(BIAS));
    if x < -87.336_54 {
        0.0
    } else {
        mantissa * power
    }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(super) fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    one / (one + x.exp_of_negative())
}

/// `x · sigmoid(x)`.
#[inline(always)]
pub(super) fn silu<V: Vector>(x: V) -> V {
    x / (V::splat(1.0) + x.exp_of_negative())
}

/// The normal distribution's `Φ(x)` and its density, both to 3e-7 absolutely, or to 3e-6
/// where results are rounded to bf16.
///
/// `Φ(x) = 1 − φ(x)·(b₁t + … + b₅t⁵)` with `t = 1 / (1 + 0.2316419·x)` has an
/// error of 7.5e-8 for `x ≥ 0` (Abramowitz & Stegun 26.2.17); it shares its
/// exponential with the density.
#[inline(always)]
pub(super) fn normal<V: Vector>(x: V) -> (V, V) {
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    let one = V::splat(1.0);
    let density = V::splat(FRAC_1_SQRT_TAU) * (V::splat(0.5) * x * x).exp_of_negative();
    let t = one / x.abs().mul_add(V::splat(0.231_641_9), one);
    let p = t.mul_add(V::splat(1.330_274_4), V::splat(-1.821_255_9));
    let p = p.mul_add(t, V::splat(1.781_477_9));
    let p = p.mul_add(t, V::splat(-0.356_563_78));
    let p = p.mul_add(t, V::splat(0.319_381_54));
    let upper = density * (p * t);
    (x.if_negative(upper, one - upper), density)
}

#[cfg(test)]
mod tests {
    use super::super::vector::{Formula, map};
    use super::*;
    use crate::{Tier, bf16};

    #[derive(Clone, Copy)]
    struct Exp;
    impl Formula<0, 1> for Exp {
        fn apply<V: Vector>(self, x: V, []: [V; 0]) -> [V; 1] {
            [(V::splat(0.0) - x).exp_of_negative()]
        }
    }

    #[derive(Clone, Copy)]
    struct Sigmoid;
    impl Formula<0, 1> for Sigmoid {
        fn apply<V: Vector>(self, x: V, []: [V; 0]) -> [V; 1] {
            [sigmoid(x)]
        }
    }

    #[derive(Clone, Copy)]
    struct Normal;
    impl Formula<0, 2> for Normal {
        fn apply<V: Vector>(self, x: V, []: [V; 0]) -> [V; 2] {
            let (cdf, density) = normal(x);
            [cdf, density]
        }
    }

    /// The results of `formula` at `points`, on every tier.
    fn on_all_tiers<const M: usize>(
        formula: impl Formula<0, M>,
        points: &[f32],
    ) -> Vec<[Vec<f32>; M]> {
        let on_tier = |tier| {
            let mut results = [(); M].map(|()| vec![0.0f32; points.len()]);
            let slices = results.each_mut().map(Vec::as_mut_slice);
            map::<f32, f32, f32, 0, M>(tier, formula, points, [], slices);
            results
        };
        Tier::available().map(on_tier).collect()
    }

    #[test]
    fn results_in_bf16_are_those_of_f32_but_for_their_rounding() {
        let points = [grid(-87.0, 87.0), vec![f32::INFINITY, f32::NEG_INFINITY]].concat();
        let exact = |x: &f32| [f64::from(*x).exp(), 1.0 / (1.0 + (-f64::from(*x)).exp())];
        for tier in Tier::available() {
            let mut found = [(); 2].map(|()| vec![bf16::ZERO; points.len()]);
            let [exp, sigmoid] = found.each_mut().map(Vec::as_mut_slice);
            map::<f32, f32, bf16, 0, 1>(tier, Exp, &points, [], [exp]);
            map::<f32, f32, bf16, 0, 1>(tier, Sigmoid, &points, [], [sigmoid]);
            for (index, x) in points.iter().enumerate() {
                for (found, exact) in found.each_ref().map(|all| all[index]).iter().zip(exact(x)) {
                    let found = found.to_f64();
                    // Half a unit of bf16's 8 bits, and what the formula is off; the smallest
                    // numbers of all may be 0.
                    let bound = exact * (0.5_f64.powi(8) + 2e-5) + 1.2e-38;
                    assert!(
                        (found - exact).abs() <= bound || found == exact,
                        "{tier:?} {x}: {found} {exact}"
                    );
                }
            }
            let mut nan = [bf16::ZERO];
            map::<f32, f32, bf16, 0, 1>(tier, Sigmoid, &[f32::NAN], [], [&mut nan]);
            assert!(nan[0].is_nan(), "{tier:?}");
        }
    }

    fn grid(low: f32, high: f32) -> Vec<f32> {
        let steps = if cfg!(miri) { 200 } else { 400_001 };
        let point = |i| low + (high - low) * i as f32 / steps as f32;
        (0..=steps).map(point).collect()
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let points = grid(-87.3, 88.3);
        for [found] in on_all_tiers(Exp, &points) {
            for (x, found) in points.iter().zip(found) {
                let error = (f64::from(found) / f64::from(*x).exp() - 1.0).abs();
                assert!(error < 2.4e-7, "exp({x}): {error:e}");
            }
        }
        let extremes = [0.0, f32::NEG_INFINITY, -200.0, f32::INFINITY, 1e9, f32::NAN];
        for [found] in on_all_tiers(Exp, &extremes) {
            assert_eq!(found[..5], [1.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY]);
            assert!(found[5].is_nan());
        }
    }

    #[test]
    fn sigmoid_is_accurate_over_all_sizes() {
        let points = grid(-80.0, 80.0);
        for [found] in on_all_tiers(Sigmoid, &points) {
            for (x, found) in points.iter().zip(found) {
                let expected = 1.0 / (1.0 + (-f64::from(*x)).exp());
                let error = (f64::from(found) - expected).abs();
                assert!(error < 3e-7, "sigmoid({x}): {error:e}");
            }
        }
        for [found] in on_all_tiers(Sigmoid, &[1e9, -1e9, f32::NAN]) {
            assert_eq!(found[..2], [1.0, 0.0]);
            assert!(found[2].is_nan());
        }
    }

    #[test]
    fn the_normal_distribution_matches_values_from_tables() {
        // Φ to ten digits (NIST DLMF 7.20).
        let points = [0.0, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0, -1.0, -2.5];
        let table = [
            0.5,
            0.617_911_422_2,
            0.758_036_347_8,
            0.841_344_746_1,
            0.933_192_798_7,
            0.977_249_868_1,
            0.998_650_102_0,
            0.158_655_253_9,
            0.006_209_665_3,
        ];
        for [cdf, density] in on_all_tiers(Normal, &points) {
            for (i, x) in points.iter().enumerate() {
                let error = (f64::from(cdf[i]) - table[i]).abs();
                assert!(error < 3.5e-7, "Φ({x}): {error:e}");
                let x = f64::from(*x);
                let expected = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
                let error = (f64::from(density[i]) - expected).abs();
                assert!(error < 1e-7, "φ({x}): {error:e}");
            }
        }
    }
}
