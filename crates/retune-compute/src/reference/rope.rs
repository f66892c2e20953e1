//! Rotary position embedding.

/// Turns each pair `(x[d], x[d + D/2])` of every head by its token's angle;
/// `inverse` turns back.
pub(super) fn rotate(
    x: &[f32],
    (cos, sin): (&[f32], &[f32]),
    [tokens, heads, dim]: [usize; 3],
    inverse: bool,
) -> Vec<f32> {
    let pairs = dim / 2;
    let mut y = vec![0.0; x.len()];
    for token in 0..tokens {
        for head in 0..heads {
            for pair in 0..pairs {
                let low = (token * heads + head) * dim + pair;
                let high = low + pairs;
                let cos = cos[token * pairs + pair];
                let sin = sin[token * pairs + pair] * if inverse { -1.0 } else { 1.0 };
                y[low] = x[low] * cos - x[high] * sin;
                y[high] = x[high] * cos + x[low] * sin;
            }
        }
    }
    y
}
