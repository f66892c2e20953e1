//! Rotary position embedding.

use super::Cpu;
use super::simd::for_each_tier;
use super::split::{RowsMut, rows_per_task};
use crate::Tensor;
use crate::dtype::Element;
use crate::tensor::with_element;

pub(super) fn rotate(
    cpu: &Cpu,
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    inverse: bool,
    y: &mut Tensor,
) {
    let (tokens, width) = x.rows_by_width();
    let pairs = cos.rows_by_width().1;
    if width == 0 {
        return;
    }
    let (cos, sin) = (cos.as_slice::<f32>(), sin.as_slice::<f32>());
    let direction = if inverse { -1.0 } else { 1.0 };
    with_element!(x.dtype(), X => with_element!(y.dtype(), Y => {
        let x = x.as_slice::<X>();
        let y = RowsMut::new(y.as_mut_slice::<Y>(), width);
        cpu.pool.for_rows(tokens, rows_per_task(width), y, |rows, y| {
            for (y, token) in y.chunks_exact_mut(width).zip(rows) {
                let angles = token * pairs..(token + 1) * pairs;
                let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
                rotate_token(cpu.tier, &x[token * width..][..width], cos, sin, direction, y);
            }
        });
    }));
}

for_each_tier! {
    fn rotate_token<X: Element, Y: Element>(x: &[X], cos: &[f32], sin: &[f32], direction: f32, y: &mut [Y]) {
        let pairs = cos.len();
        for (x, y) in x.chunks_exact(2 * pairs).zip(y.chunks_exact_mut(2 * pairs)) {
            let (x_low, x_high) = x.split_at(pairs);
            let (y_low, y_high) = y.split_at_mut(pairs);
            let inputs = x_low.iter().zip(x_high).zip(cos).zip(sin);
            for ((low, high), (((x_low, x_high), cos), sin)) in y_low.iter_mut().zip(y_high).zip(inputs) {
                let (x_low, x_high, sin) = (x_low.to_f32(), x_high.to_f32(), sin * direction);
                *low = Y::from_f32(x_low * cos - x_high * sin);
                *high = Y::from_f32(x_high * cos + x_low * sin);
            }
        }
    }
}
