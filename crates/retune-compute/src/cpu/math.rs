//! Elementary functions without branches, so that loops over them become
//! vector code. Their errors are held by the tests below.

use super::simd::multiply_add;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts; products of the first with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting this rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

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
    // Minimax polynomial of (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2 (Cephes).
    let p = fma(1.987_569_1e-4, r, 1.398_2e-3);
    let p = fma(p, r, 8.333_452e-3);
    let p = fma(p, r, 4.166_579_6e-2);
    let p = fma(p, r, 1.666_666_5e-1);
    let p = fma(p, r, 0.5);
    let mantissa = fma(p, r * r, r) + 1.0;
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
pub(super) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// The normal distribution's `Φ(x)` and its density, both to 3e-7 absolutely.
///
/// `Φ(x) = 1 − φ(x)·(b₁t + … + b₅t⁵)` with `t = 1 / (1 + 0.2316419·x)` has an
/// error of 7.5e-8 for `x ≥ 0` (Abramowitz & Stegun 26.2.17); it shares its
/// exponential with the density.
#[inline(always)]
pub(super) fn normal<const FUSED: bool>(x: f32) -> (f32, f32) {
    let fma = multiply_add::<FUSED>;
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    let magnitude = x.abs();
    let density = FRAC_1_SQRT_TAU * exp::<FUSED>(-0.5 * x * x);
    let t = 1.0 / fma(0.231_641_9, magnitude, 1.0);
    let p = fma(1.330_274_4, t, -1.821_255_9);
    let p = fma(p, t, 1.781_477_9);
    let p = fma(p, t, -0.356_563_78);
    let p = fma(p, t, 0.319_381_54);
    let upper = density * (p * t);
    let cdf = if x < 0.0 { upper } else { 1.0 - upper };
    (cdf, density)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(low: f32, high: f32) -> impl Iterator<Item = f32> {
        let steps = if cfg!(miri) { 200 } else { 400_000 };
        (0..=steps).map(move |i| low + (high - low) * i as f32 / steps as f32)
    }

    fn worst(points: impl Iterator<Item = f32>, error: impl Fn(f32) -> f64) -> f64 {
        points.map(error).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let relative = |x: f32| (f64::from(exp::<true>(x)) / f64::from(x).exp() - 1.0).abs();
        let error = worst(grid(-87.3, 88.3), relative);
        assert!(error < 2.4e-7, "{error:e}");
        let relative = |x: f32| (f64::from(exp::<false>(x)) / f64::from(x).exp() - 1.0).abs();
        let error = worst(grid(-87.3, 88.3), relative);
        assert!(error < 2.4e-7, "{error:e}");
        for exp in [exp::<true>, exp::<false>] {
            assert_eq!(exp(0.0), 1.0);
            assert_eq!(exp(f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(-200.0), 0.0);
            assert_eq!(exp(f32::INFINITY), f32::INFINITY);
            assert_eq!(exp(1e9), f32::INFINITY);
            assert!(exp(f32::NAN).is_nan());
        }
    }

    #[test]
    fn sigmoid_is_accurate_over_all_sizes() {
        let sigmoid_error = worst(grid(-80.0, 80.0), |x| {
            (f64::from(sigmoid::<true>(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs()
        });
        assert!(sigmoid_error < 3e-7, "{sigmoid_error:e}");
        assert!(sigmoid::<true>(f32::NAN).is_nan());
        assert_eq!((sigmoid::<true>(1e9), sigmoid::<true>(-1e9)), (1.0, 0.0));
    }

    #[test]
    fn the_normal_distribution_matches_values_from_tables() {
        // Φ at points, to ten digits (NIST DLMF 7.20).
        for (x, expected) in [
            (0.0, 0.5),
            (0.3, 0.617_911_422_2),
            (0.7, 0.758_036_347_8),
            (1.0, 0.841_344_746_1),
            (1.5, 0.933_192_798_7),
            (2.0, 0.977_249_868_1),
            (3.0, 0.998_650_102_0),
            (-1.0, 0.158_655_253_9),
            (-2.5, 0.006_209_665_3),
        ] {
            let error = (f64::from(normal::<true>(x).0) - expected).abs();
            assert!(error < 3.5e-7, "Φ({x}): {error:e}");
        }
        let density = f64::from(normal::<true>(1.25).1);
        assert!((density - 0.182_649_085_4).abs() < 1e-7);
    }
}
