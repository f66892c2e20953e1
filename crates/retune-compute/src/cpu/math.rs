//! Elementary functions without branches, so that loops over them become
//! vector code. Their errors are held by the tests below.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts; products of the first with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting this rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// `eˣ` to 2 units in the last place; 0 below −87.3 and infinity above 88.7.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons, unlike `clamp`, compile to one instruction each and keep NaN.
    let clamped = if x > 88.8 { 88.8 } else { x };
    let clamped = if clamped < -87.4 { -87.4 } else { clamped };
    let shifted = clamped * LOG2_E + ROUND;
    let exponent = shifted - ROUND;
    let r = clamped - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    // Minimax polynomial of (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2 (Cephes).
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * (r * r) + r + 1.0;
    // 2^exponent in two factors, since 2^128 is no f32. The low bits of
    // `shifted` are those of the integer.
    let integer = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = integer >> 1;
    let power = |e: i32| f32::from_bits((e.wrapping_add(127) as u32) << 23);
    let result = mantissa * power(half) * power(integer - half);
    let result = if x > 88.722_84 { f32::INFINITY } else { result };
    let result = if x < -87.336_55 { 0.0 } else { result };
    if x.is_nan() { x } else { result }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x`, to 3e-7 absolutely and relatively.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let small = {
        // Minimax polynomial of (tanh x − x) / x³ for |x| < 0.625 (Cephes).
        let z = x * x;
        let mut p = -5.704_988_7e-3;
        p = p * z + 2.063_908_9e-2;
        p = p * z - 5.373_971_5e-2;
        p = p * z + 1.333_144_2e-1;
        p = p * z - 3.333_328_2e-1;
        p * z * x + x
    };
    let large = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    let result = if magnitude < 0.625 { small } else { large };
    if x.is_nan() { x } else { result }
}

/// The normal distribution's `Φ(x)`, to 3e-7 absolutely.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The normal distribution's density.
#[inline(always)]
pub(super) fn normal_pdf(x: f32) -> f32 {
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    FRAC_1_SQRT_TAU * exp(-0.5 * x * x)
}

/// The error function, to 3e-7 absolutely (Abramowitz & Stegun 7.1.26 has too
/// few digits for f32; this is 7.1.28, `1 − (1 + a₁x + … + a₆x⁶)⁻¹⁶`, for large
/// arguments, and the Maclaurin series for small ones).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let mut q = 4.306_38e-5f32;
    q = q * a + 2.765_672e-4;
    q = q * a + 1.520_143e-4;
    q = q * a + 9.270_527_2e-3;
    q = q * a + 4.228_201_2e-2;
    q = q * a + 7.052_308e-2;
    q = q * a + 1.0;
    let q2 = q * q;
    let q4 = q2 * q2;
    let q8 = q4 * q4;
    let large = (1.0 - 1.0 / (q8 * q8)).copysign(x);
    let z = x * x;
    const FRAC_2_SQRT_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI;
    let mut p = -1.0 / 1320.0;
    p = p * z + 1.0 / 216.0;
    p = p * z - 1.0 / 42.0;
    p = p * z + 1.0 / 10.0;
    p = p * z - 1.0 / 3.0;
    let small = FRAC_2_SQRT_PI * (p * z * x + x);
    let result = if a < 0.5 { small } else { large };
    if x.is_nan() { x } else { result }
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
        let relative = |x: f32| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
        let error = worst(grid(-87.3, 88.7), relative);
        assert!(error < 2.4e-7, "{error:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_and_sigmoid_are_accurate_over_all_sizes() {
        let tanh_error =
            worst(grid(-12.0, 12.0), |x| (f64::from(tanh(x)) - f64::from(x).tanh()).abs());
        assert!(tanh_error < 3e-7, "{tanh_error:e}");
        let sigmoid_error = worst(grid(-80.0, 80.0), |x| {
            (f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs()
        });
        assert!(sigmoid_error < 3e-7, "{sigmoid_error:e}");
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(1e9), tanh(-1e9)), (1.0, -1.0));
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
            let error = (f64::from(normal_cdf(x)) - expected).abs();
            assert!(error < 3.5e-7, "Φ({x}): {error:e}");
        }
        let density = f64::from(normal_pdf(1.25));
        assert!((density - 0.182_649_085_4).abs() < 1e-7);
    }
}
