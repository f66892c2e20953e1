//! How far numbers may be apart, and how far they were seen to be.
//!
//! All limits stand in this table. `cargo test -- --nocapture` with
//! `RETUNE_PRINT_ERRORS=1` prints each new largest error, to bring the column
//! `seen` up to date.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// One row of the table.
pub(crate) struct Tolerance {
    pub(crate) name: &'static str,
    /// The largest error that passes.
    limit: f64,
    /// The largest error seen on an x86-64 with all tiers, with
    /// `PROPTEST_CASES=2000` (2026-11).
    #[allow(dead_code, reason = "for the reader")]
    seen: f64,
    /// How the error is measured.
    measure: Measure,
    /// Elements below this size are compared absolutely: inputs are about 1,
    /// and what cancels to almost nothing, such as the gradient of a softmax
    /// over one key, has no relative precision.
    floor: f64,
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

enum Measure {
    /// Largest absolute error over largest absolute value.
    Max,
    /// ‖a − b‖ / ‖b‖.
    Norm,
}

macro_rules! tolerances {
    ($($name:ident: $measure:ident, $limit:literal, $seen:literal, $floor:literal, $reason:literal;)*) => {
        $(pub(crate) const $name: Tolerance = Tolerance {
            name: stringify!($name),
            limit: $limit,
            seen: $seen,
            measure: Measure::$measure,
            floor: $floor,
            reason: $reason,
        };)*
    };
}

tolerances! {
    // name: measure, limit, seen, floor, reason;
    EXACT: Max, 0.0, 0.0, 1e-6, "the same operations in the same order";
    GOLDEN_VALUE: Max, 1e-5, 2.5e-7, 1e-6, "numerics.md: f32 values against PyTorch";
    GOLDEN_GRADIENT: Norm, 1e-4, 3.4e-7, 1e-6, "numerics.md: f32 gradients against PyTorch";
    VALUE_F32: Max, 1e-5, 3.4e-6, 1e-2, "sums in another order, and our own exp";
    LOSS_F32: Max, 1e-5, 5.5e-7, 1.0, "a loss is a difference of logits, and as exact as they are";
    GRADIENT_F32: Norm, 1e-5, 5.4e-6, 0.1, "sums in another order, and our own exp";
    PRODUCT_F32: Max, 1e-5, 4.2e-7, 1e-2, "plain multiply and add where there is no fused one";
    VALUE_BF16: Max, 8e-3, 7.5e-3, 1e-2, "one step of bf16: a result on the edge rounds either way";
    PRODUCT_BF16_TWICE: Max, 1.6e-2, 0.0, 1e-2, "a GPU rounds the terms beside a product before it adds them";
    GRADIENT_BF16: Norm, 3e-2, 5.8e-3, 0.1, "numerics.md: attention rounds its weights to bf16";
    FINITE_DIFFERENCE: Max, 2e-2, 1.1e-2, 1e-6, "f32 cancels in the difference; a step has curvature";
}

static LARGEST: LazyLock<Mutex<HashMap<String, f64>>> = LazyLock::new(Mutex::default);

/// The error of `found` against `expected` under the measure.
fn error(measure: &Measure, floor: f64, found: &[f32], expected: &[f32]) -> f64 {
    let pairs = || {
        found
            .iter()
            .zip(expected)
            .map(|(a, b)| (f64::from(*a), f64::from(*b)))
    };
    match measure {
        Measure::Max => {
            let difference = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, nan_max);
            difference / pairs().map(|(_, b)| b.abs()).fold(floor, nan_max)
        }
        Measure::Norm => {
            let difference = pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let size = pairs().map(|(_, b)| b.powi(2)).sum::<f64>().sqrt();
            difference / nan_max(size, floor * (found.len() as f64).sqrt()).max(f64::MIN_POSITIVE)
        }
    }
}

/// The larger number; NaN if either is.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// Fails unless `found` is as close to `expected` as the table says.
#[track_caller]
pub(crate) fn assert_close(tolerance: &Tolerance, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths differ");
    let error = error(&tolerance.measure, tolerance.floor, found, expected);
    if std::env::var_os("RETUNE_PRINT_ERRORS").is_some() {
        let mut largest = LARGEST.lock().expect("no holder panics");
        let entry = largest.entry(tolerance.name.to_owned()).or_insert(-1.0);
        if error > *entry {
            *entry = error;
            println!("{}: {error:.2e} ({what})", tolerance.name);
        }
    }
    assert!(
        error <= tolerance.limit,
        "{what}: error {error:.3e} above {} = {:.0e}\nfound    {:?}\nexpected {:?}",
        tolerance.name,
        tolerance.limit,
        &found[..found.len().min(8)],
        &expected[..expected.len().min(8)],
    );
}

#[test]
fn a_single_wrong_value_or_nan_is_an_error() {
    let expected = [1.0, 2.0, -4.0];
    assert_eq!(
        error(&Measure::Max, 1e-6, &[1.0, 2.0, -3.0], &expected),
        0.25
    );
    assert!(error(&Measure::Max, 1e-6, &[1.0, f32::NAN, -4.0], &expected).is_nan());
    assert!(error(&Measure::Norm, 1e-6, &[1.0, f32::NAN, -4.0], &expected).is_nan());
    let failed = std::panic::catch_unwind(|| {
        assert_close(
            &GOLDEN_VALUE,
            "made for the test",
            &[f32::NAN, 2.0, -4.0],
            &expected,
        );
    });
    assert!(failed.is_err());
}
