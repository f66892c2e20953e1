//! SwiGLU and GELU.

use super::Cpu;
use super::math::{normal, sigmoid};
use super::simd::for_each_tier;
use super::split::{RowsMut, rows_per_task};
use crate::Tensor;
use crate::dtype::Element;
use crate::ops::GeluKind;
use crate::tensor::with_element;

// tanh GELU is 0.5·x·(1 + tanh(u)) with u = √(2/π)·(x + 0.044715·x³), and
// 0.5·(1 + tanh(u)) = sigmoid(2u).
const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

pub(super) fn swiglu_forward(cpu: &Cpu, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
    with_element!(gate.dtype(), X => with_element!(y.dtype(), Y => {
        let (gate, up) = (gate.as_slice::<X>(), up.as_slice::<X>());
        let y = RowsMut::new(y.as_mut_slice::<Y>(), 1);
        cpu.pool.for_rows(gate.len(), rows_per_task(1), y, |range, y| {
            swiglu_forward_slice(cpu.tier, &gate[range.clone()], &up[range], y);
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
            swiglu_backward_slice(cpu.tier, &d_y[range], gate, up, d_gate, d_up);
        });
    })));
}

pub(super) fn gelu_forward(cpu: &Cpu, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<Y>(), 1);
        cpu.pool.for_rows(x.len(), rows_per_task(1), y, |range, y| match kind {
            GeluKind::Exact => gelu_exact_forward(cpu.tier, &x[range], y),
            GeluKind::Tanh => gelu_tanh_forward(cpu.tier, &x[range], y),
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
                GeluKind::Exact => gelu_exact_backward(cpu.tier, d_y, x, d_x),
                GeluKind::Tanh => gelu_tanh_backward(cpu.tier, d_y, x, d_x),
            }
        });
    })));
}

for_each_tier! {
    fn swiglu_forward_slice<X: Element, Y: Element>(gate: &[X], up: &[X], y: &mut [Y]) {
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            let gate = gate.to_f32();
            *y = Y::from_f32(gate * sigmoid::<FUSED>(gate) * up.to_f32());
        }
    }

    fn swiglu_backward_slice<G: Element, X: Element, D: Element>(
        d_y: &[G], gate: &[X], up: &[X], d_gate: &mut [D], d_up: &mut [D],
    ) {
        let inputs = d_y.iter().zip(gate).zip(up);
        for ((d_gate, d_up), ((d_y, gate), up)) in d_gate.iter_mut().zip(d_up).zip(inputs) {
            let (d_y, gate, up) = (d_y.to_f32(), gate.to_f32(), up.to_f32());
            let s = sigmoid::<FUSED>(gate);
            let silu = gate * s;
            *d_up = D::from_f32(d_y * silu);
            *d_gate = D::from_f32(d_y * up * (s + silu * (1.0 - s)));
        }
    }

    fn gelu_exact_forward<X: Element, Y: Element>(x: &[X], y: &mut [Y]) {
        for (y, x) in y.iter_mut().zip(x) {
            let x = x.to_f32();
            *y = Y::from_f32(x * normal::<FUSED>(x).0);
        }
    }

    fn gelu_exact_backward<G: Element, X: Element, D: Element>(d_y: &[G], x: &[X], d_x: &mut [D]) {
        for ((d_x, d_y), x) in d_x.iter_mut().zip(d_y).zip(x) {
            let x = x.to_f32();
            let (cdf, density) = normal::<FUSED>(x);
            *d_x = D::from_f32(d_y.to_f32() * (cdf + x * density));
        }
    }

    fn gelu_tanh_forward<X: Element, Y: Element>(x: &[X], y: &mut [Y]) {
        for (y, x) in y.iter_mut().zip(x) {
            let x = x.to_f32();
            let s = sigmoid::<FUSED>(TWO_SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
            *y = Y::from_f32(x * s);
        }
    }

    fn gelu_tanh_backward<G: Element, X: Element, D: Element>(d_y: &[G], x: &[X], d_x: &mut [D]) {
        for ((d_x, d_y), x) in d_x.iter_mut().zip(d_y).zip(x) {
            let x = x.to_f32();
            let s = sigmoid::<FUSED>(TWO_SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
            let inner = TWO_SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
            let slope = s + x * (s * (1.0 - s)) * inner;
            *d_x = D::from_f32(d_y.to_f32() * slope);
        }
    }
}
