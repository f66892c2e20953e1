//! SwiGLU and GELU.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::ops::GeluKind;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn swiglu_forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    gate.iter()
        .zip(up)
        .map(|(&gate, up)| gate * sigmoid(gate) * up)
        .collect()
}

/// `silu'(x) = s + x·s·(1 − s)` with `s = sigmoid(x)`.
pub(super) fn swiglu_backward(d_y: &[f32], gate: &[f32], up: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut d_gate, mut d_up) = (Vec::new(), Vec::new());
    for ((d_y, &gate), up) in d_y.iter().zip(gate).zip(up) {
        let s = sigmoid(gate);
        d_gate.push(d_y * up * (s + gate * s * (1.0 - s)));
        d_up.push(d_y * gate * s);
    }
    (d_gate, d_up)
}

/// `erf(x)`: its Maclaurin series up to 3, where it is 1 to f32's precision
/// soon after; beyond, one minus its continued fraction.
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let mut term = x;
        let mut sum = x;
        for n in 1..80 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / PI.sqrt()
    } else {
        let a = x.abs();
        let mut fraction = a;
        for n in (1..60).rev() {
            fraction = a + f64::from(n) / 2.0 / fraction;
        }
        x.signum() * (1.0 - (-a * a).exp() / (PI.sqrt() * fraction))
    }
}

/// The argument of tanh in the approximation, and its derivative.
fn tanh_argument(x: f64) -> (f64, f64) {
    let factor = (2.0 / PI).sqrt();
    (
        factor * (x + 0.044715 * x.powi(3)),
        factor * (1.0 + 3.0 * 0.044715 * x * x),
    )
}

pub(super) fn gelu(x: f32, kind: GeluKind) -> f32 {
    let x = f64::from(x);
    let y = match kind {
        GeluKind::Exact => x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)),
        GeluKind::Tanh => 0.5 * x * (1.0 + tanh_argument(x).0.tanh()),
    };
    y as f32
}

/// `d gelu(x) / d x`
pub(super) fn gelu_slope(x: f32, kind: GeluKind) -> f32 {
    let x = f64::from(x);
    let slope = match kind {
        GeluKind::Exact => {
            let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
            0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
        }
        GeluKind::Tanh => {
            let (argument, inner) = tanh_argument(x);
            let t = argument.tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
        }
    };
    slope as f32
}
