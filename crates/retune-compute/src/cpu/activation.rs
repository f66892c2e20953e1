//! SwiGLU and GELU.

use super::Cpu;
use super::math::{normal, sigmoid, silu};
use super::split::{RowsMut, rows_per_task};
use super::vector::{Formula, Vector, map};
use crate::Tensor;
use crate::ops::GeluKind;
use crate::tensor::with_element;

pub(super) fn swiglu_forward(cpu: &Cpu, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
    with_element!(gate.dtype(), X => with_element!(y.dtype(), Y => {
        let (gate, up) = (gate.as_slice::<X>(), up.as_slice::<X>());
        let y = RowsMut::new(y.as_mut_slice::<Y>(), 1);
        cpu.pool.for_rows(gate.len(), rows_per_task(1), y, |range, y| {
            map(cpu.tier, SwiGlu, &gate[range.clone()], [&up[range]], [y]);
        });
    }));
}

pub(super) fn swiglu_backward(
    cpu: &Cpu,
    d_y: &Tensor,
    gate: &Tensor,
    up: &Tensor,
    d_gate: &mut Tensor,
    d_up: &mut Tensor,
) {
    with_element!(d_y.dtype(), G => with_element!(gate.dtype(), X => with_element!(d_gate.dtype(), D => {
        let d_y = d_y.as_slice::<G>();
        let (gate, up) = (gate.as_slice::<X>(), up.as_slice::<X>());
        let outputs = (
            RowsMut::new(d_gate.as_mut_slice::<D>(), 1),
            RowsMut::new(d_up.as_mut_slice::<D>(), 1),
        );
        cpu.pool.for_rows(gate.len(), rows_per_task(1), outputs, |range, (d_gate, d_up)| {
            let (gate, up) = (&gate[range.clone()], &up[range.clone()]);
            map(cpu.tier, SwiGluBackward, &d_y[range], [gate, up], [d_gate, d_up]);
        });
    })));
}

pub(super) fn gelu_forward(cpu: &Cpu, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<Y>(), 1);
        cpu.pool.for_rows(x.len(), rows_per_task(1), y, |range, y| match kind {
            GeluKind::Exact => map::<X, X, _, _, _>(cpu.tier, GeluExact, &x[range], [], [y]),
            GeluKind::Tanh => map::<X, X, _, _, _>(cpu.tier, GeluTanh, &x[range], [], [y]),
        });
    }));
}

pub(super) fn gelu_backward(cpu: &Cpu, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
    with_element!(d_y.dtype(), G => with_element!(x.dtype(), X => with_element!(d_x.dtype(), D => {
        let (d_y, x) = (d_y.as_slice::<G>(), x.as_slice::<X>());
        let d_x = RowsMut::new(d_x.as_mut_slice::<D>(), 1);
        cpu.pool.for_rows(x.len(), rows_per_task(1), d_x, |range, d_x| {
            let (d_y, x) = (&d_y[range.clone()], &x[range]);
            match kind {
                GeluKind::Exact => map(cpu.tier, GeluExactBackward, d_y, [x], [d_x]),
                GeluKind::Tanh => map(cpu.tier, GeluTanhBackward, d_y, [x], [d_x]),
            }
        });
    })));
}

/// `silu(gate) · up`.
#[derive(Clone, Copy)]
struct SwiGlu;

impl Formula<1, 1> for SwiGlu {
    #[inline(always)]
    fn apply<V: Vector>(self, gate: V, [up]: [V; 1]) -> [V; 1] {
        [silu(gate) * up]
    }
}

/// `d_y`, `gate`, `up` to `d_gate`, `d_up`.
#[derive(Clone, Copy)]
struct SwiGluBackward;

impl Formula<2, 2> for SwiGluBackward {
    #[inline(always)]
    fn apply<V: Vector>(self, d_y: V, [gate, up]: [V; 2]) -> [V; 2] {
        let s = sigmoid(gate);
        let silu = gate * s;
        let slope = s + silu * (V::splat(1.0) - s);
        [d_y * up * slope, d_y * silu]
    }
}

#[derive(Clone, Copy)]
struct GeluExact;

impl Formula<0, 1> for GeluExact {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V, []: [V; 0]) -> [V; 1] {
        [x * normal(x).0]
    }
}

/// `d_y`, `x` to `d_x`.
#[derive(Clone, Copy)]
struct GeluExactBackward;

impl Formula<1, 1> for GeluExactBackward {
    #[inline(always)]
    fn apply<V: Vector>(self, d_y: V, [x]: [V; 1]) -> [V; 1] {
        let (cdf, density) = normal(x);
        [d_y * (cdf + x * density)]
    }
}

/// `0.5·x·(1 + tanh(u))` with `u = √(2/π)·(x + 0.044715·x³)`, by way of
/// `0.5·(1 + tanh(u)) = sigmoid(2u)`.
#[derive(Clone, Copy)]
struct GeluTanh;

const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

impl GeluTanh {
    /// `sigmoid(2u)`.
    #[inline(always)]
    fn gate<V: Vector>(x: V) -> V {
        sigmoid(V::splat(TWO_SQRT_2_OVER_PI) * (x + V::splat(CUBIC) * x * x * x))
    }
}

impl Formula<0, 1> for GeluTanh {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V, []: [V; 0]) -> [V; 1] {
        [x * Self::gate(x)]
    }
}

/// `d_y`, `x` to `d_x`.
#[derive(Clone, Copy)]
struct GeluTanhBackward;

impl Formula<1, 1> for GeluTanhBackward {
    #[inline(always)]
    fn apply<V: Vector>(self, d_y: V, [x]: [V; 1]) -> [V; 1] {
        let one = V::splat(1.0);
        let s = GeluTanh::gate(x);
        // From 16 on, `s` is 0 or 1, and the square could overflow.
        let x = (x.abs() - V::splat(16.0)).if_negative(x, V::splat(0.0));
        let d_inner = V::splat(TWO_SQRT_2_OVER_PI) * (one + V::splat(3.0 * CUBIC) * x * x);
        [d_y * (s + x * (s * (one - s)) * d_inner)]
    }
}
