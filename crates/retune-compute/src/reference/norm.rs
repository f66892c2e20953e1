//! RMS norm and layer norm.

use super::write;
use crate::Tensor;
use crate::backend::NormBackward;

/// `(y, rstd)`
pub(super) fn rms_forward(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let (mut y, mut rstd) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(width) {
        let mean_square = row.iter().map(|x| x * x).sum::<f32>() / width as f32;
        let r = 1.0 / (mean_square + eps).sqrt();
        y.extend(row.iter().zip(weight).map(|(x, w)| x * r * w));
        rstd.push(r);
    }
    (y, rstd)
}

/// With `n = x · rstd` and `y = n · weight`:
/// `d_weight = Σ_rows d_y · n`, `d_n = d_y · weight`,
/// `d_x = rstd · (d_n − n · mean(d_n · n))`.
pub(super) fn rms_backward(args: NormBackward<'_>) {
    let (d_y, x, weight) = (
        args.d_y.to_f32_vec(),
        args.x.to_f32_vec(),
        args.weight.to_f32_vec(),
    );
    let width = weight.len();
    let mut d_x = args.d_x.to_f32_vec();
    let mut d_weight = vec![0.0; width];
    for (row, r) in args.rstd.to_f32_vec().into_iter().enumerate() {
        let cells = row * width..(row + 1) * width;
        let n: Vec<f32> = x[cells.clone()].iter().map(|x| x * r).collect();
        let d_n: Vec<f32> = d_y[cells.clone()]
            .iter()
            .zip(&weight)
            .map(|(d, w)| d * w)
            .collect();
        let dot = d_n.iter().zip(&n).map(|(d, n)| d * n).sum::<f32>() / width as f32;
        for (i, cell) in cells.enumerate() {
            d_x[cell] += r * (d_n[i] - n[i] * dot);
            d_weight[i] += d_y[cell] * n[i];
        }
    }
    write(args.d_x, &d_x);
    add_to(args.d_weight, &d_weight);
}

/// `(y, mean, rstd)`
pub(super) fn layer_forward(
    x: &[f32],
    (weight, bias): (&[f32], &[f32]),
    eps: f32,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let (mut y, mut means, mut rstds) = (Vec::new(), Vec::new(), Vec::new());
    for row in x.chunks_exact(width) {
        let mean = row.iter().sum::<f32>() / width as f32;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
        let rstd = 1.0 / (variance + eps).sqrt();
        y.extend((0..width).map(|i| (row[i] - mean) * rstd * weight[i] + bias[i]));
        means.push(mean);
        rstds.push(rstd);
    }
    (y, means, rstds)
}

/// With `n = (x − mean) · rstd` and `y = n · weight + bias`:
/// `d_bias = Σ_rows d_y`, `d_weight = Σ_rows d_y · n`, `d_n = d_y · weight`,
/// `d_x = rstd · (d_n − mean(d_n) − n · mean(d_n · n))`.
pub(super) fn layer_backward(args: NormBackward<'_>) {
    let (d_y, x, weight) = (
        args.d_y.to_f32_vec(),
        args.x.to_f32_vec(),
        args.weight.to_f32_vec(),
    );
    let means = args.mean.expect("layer norm has means").to_f32_vec();
    let width = weight.len();
    let mut d_x = args.d_x.to_f32_vec();
    let (mut d_weight, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
    for (row, rstd) in args.rstd.to_f32_vec().into_iter().enumerate() {
        let cells = row * width..(row + 1) * width;
        let n: Vec<f32> = x[cells.clone()]
            .iter()
            .map(|x| (x - means[row]) * rstd)
            .collect();
        let d_n: Vec<f32> = d_y[cells.clone()]
            .iter()
            .zip(&weight)
            .map(|(d, w)| d * w)
            .collect();
        let mean = d_n.iter().sum::<f32>() / width as f32;
        let dot = d_n.iter().zip(&n).map(|(d, n)| d * n).sum::<f32>() / width as f32;
        for (i, cell) in cells.enumerate() {
            d_x[cell] += rstd * (d_n[i] - mean - n[i] * dot);
            d_weight[i] += d_y[cell] * n[i];
            d_bias[i] += d_y[cell];
        }
    }
    write(args.d_x, &d_x);
    add_to(args.d_weight, &d_weight);
    add_to(args.d_bias, &d_bias);
}

fn add_to(gradient: Option<&mut Tensor>, more: &[f32]) {
    if let Some(gradient) = gradient {
        let sums: Vec<f32> = gradient
            .to_f32_vec()
            .iter()
            .zip(more)
            .map(|(a, b)| a + b)
            .collect();
        write(gradient, &sums);
    }
}
