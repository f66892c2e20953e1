//! RMS norm and layer norm.
//!
//! Statistics are f32, as in PyTorch: of values beyond 1e19 the squares overflow.

use super::check::Check;
use crate::backend::NormBackward;
use crate::error::Result;
use crate::{DType, Tensor};

/// What [`rms_norm_forward`] returns.
#[derive(Debug)]
pub struct RmsNormOutput {
    /// The normalised rows, shaped like `x`.
    pub y: Tensor,
    /// `1 / sqrt(mean(x²) + eps)` of each row, `[rows]`, f32; the backward
    /// pass wants it.
    pub rstd: Tensor,
}

/// What [`layer_norm_forward`] returns.
#[derive(Debug)]
pub struct LayerNormOutput {
    /// The normalised rows, shaped like `x`.
    pub y: Tensor,
    /// What the backward pass wants.
    pub saved: LayerNormSaved,
}

/// Row statistics of a layer norm.
#[derive(Debug)]
pub struct LayerNormSaved {
    /// Mean of each row, `[rows]`, f32.
    pub mean: Tensor,
    /// `1 / sqrt(var(x) + eps)` of each row, `[rows]`, f32.
    pub rstd: Tensor,
}

/// Gradients of a norm's parameters to add to; `None` where frozen.
#[derive(Debug, Default)]
pub struct NormGradients<'a> {
    /// `[C]`, f32.
    pub d_weight: Option<&'a mut Tensor>,
    /// `[C]`, f32; layer norm only.
    pub d_bias: Option<&'a mut Tensor>,
}

/// RMS norm over the last axis: `y = x / sqrt(mean(x²) + eps) · weight`.
///
/// # Shapes
/// `x`, returned `y`: `[…, C]`, f32 or bf16 each (`dtype` is that of `y`);
/// `weight`: `[C]`, f32; returned `rstd`: one f32 per row.
/// # Errors
/// `ShapeMismatch` if `weight` is not `[C]`; `InvalidArgument` if `eps` is
/// negative or not finite; `DTypeMismatch`, `DeviceMismatch`.
/// # Reference
/// Zhang & Sennrich 2019, arXiv:1910.07467
pub fn rms_norm_forward(
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    dtype: DType,
) -> Result<RmsNormOutput> {
    let check = Check::new("rms_norm_forward");
    let (rows, _) = check_norm(check, x, &[("weight", weight)])?;
    check.number("eps", eps, |eps| eps >= 0.0, "a number of at least 0")?;
    let mut y = Tensor::empty(x.device(), x.shape(), dtype)?;
    let mut rstd = Tensor::empty(x.device(), &[rows], DType::F32)?;
    x.device()
        .backend()
        .rms_norm_forward(x, weight, eps, &mut y, &mut rstd);
    Ok(RmsNormOutput { y, rstd })
}

/// The gradients of [`rms_norm_forward`], added to `d_x` and, where asked for,
/// to the weight's gradient.
///
/// # Shapes
/// `d_y`, `x`: `[…, C]`, f32 or bf16 each; `weight`: `[C]`, f32; `rstd`: one
/// f32 per row; `d_x`: like `x`, f32.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`; `InvalidArgument` if
/// `gradients.d_bias` is given.
pub fn rms_norm_backward(
    d_y: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    rstd: &Tensor,
    d_x: &mut Tensor,
    gradients: NormGradients<'_>,
) -> Result<()> {
    let check = Check::new("rms_norm_backward");
    if gradients.d_bias.is_some() {
        return Err(check.invalid("gradients.d_bias", "given", "none: RMS norm has no bias"));
    }
    check_norm_backward(check, d_y, x, weight, &[("rstd", rstd)], d_x, &gradients)?;
    x.device().backend().rms_norm_backward(NormBackward {
        d_y,
        x,
        weight,
        mean: None,
        rstd,
        d_x,
        d_weight: gradients.d_weight,
        d_bias: None,
    });
    Ok(())
}

/// Layer norm over the last axis:
/// `y = (x − mean(x)) / sqrt(var(x) + eps) · weight + bias`.
///
/// # Shapes
/// `x`, returned `y`: `[…, C]`, f32 or bf16 each (`dtype` is that of `y`);
/// `weight`, `bias`: `[C]`, f32; returned statistics: one f32 per row.
/// # Errors
/// `ShapeMismatch` if `weight` or `bias` is not `[C]`; `InvalidArgument` if
/// `eps` is negative or not finite; `DTypeMismatch`, `DeviceMismatch`.
/// # Reference
/// Ba, Kiros & Hinton 2016, arXiv:1607.06450
pub fn layer_norm_forward(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
    dtype: DType,
) -> Result<LayerNormOutput> {
    let check = Check::new("layer_norm_forward");
    let (rows, _) = check_norm(check, x, &[("weight", weight), ("bias", bias)])?;
    check.number("eps", eps, |eps| eps >= 0.0, "a number of at least 0")?;
    let device = x.device();
    let mut y = Tensor::empty(device, x.shape(), dtype)?;
    let mut mean = Tensor::empty(device, &[rows], DType::F32)?;
    let mut rstd = Tensor::empty(device, &[rows], DType::F32)?;
    let statistics = (&mut mean, &mut rstd);
    device
        .backend()
        .layer_norm_forward(x, (weight, bias), eps, &mut y, statistics);
    Ok(LayerNormOutput {
        y,
        saved: LayerNormSaved { mean, rstd },
    })
}

/// The gradients of [`layer_norm_forward`], added to `d_x` and, where asked
/// for, to those of the parameters.
///
/// # Shapes
/// `d_y`, `x`: `[…, C]`, f32 or bf16 each; `weight`: `[C]`, f32; `saved`: one
/// f32 per row each; `d_x`: like `x`, f32.
/// # Errors
/// `ShapeMismatch`, `DTypeMismatch`, `DeviceMismatch`.
pub fn layer_norm_backward(
    d_y: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    saved: &LayerNormSaved,
    d_x: &mut Tensor,
    gradients: NormGradients<'_>,
) -> Result<()> {
    let check = Check::new("layer_norm_backward");
    let statistics = [("saved.mean", &saved.mean), ("saved.rstd", &saved.rstd)];
    check_norm_backward(check, d_y, x, weight, &statistics, d_x, &gradients)?;
    x.device().backend().layer_norm_backward(NormBackward {
        d_y,
        x,
        weight,
        mean: Some(&saved.mean),
        rstd: &saved.rstd,
        d_x,
        d_weight: gradients.d_weight,
        d_bias: gradients.d_bias,
    });
    Ok(())
}

fn check_norm(
    check: Check,
    x: &Tensor,
    parameters: &[(&'static str, &Tensor)],
) -> Result<(usize, usize)> {
    let (rows, width) = check.last_axis("x", x)?;
    check.devices(x, parameters)?;
    for &(name, parameter) in parameters {
        check.dtype(name, parameter, DType::F32)?;
        check.shape(name, parameter, &[width])?;
    }
    Ok((rows, width))
}

fn check_norm_backward(
    check: Check,
    d_y: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    statistics: &[(&'static str, &Tensor)],
    d_x: &Tensor,
    gradients: &NormGradients<'_>,
) -> Result<()> {
    let (rows, width) = check_norm(check, x, &[("weight", weight)])?;
    check.devices(x, &[("d_y", d_y), ("d_x", d_x)])?;
    check.devices(x, statistics)?;
    check.shape("d_y", d_y, x.shape())?;
    check.shape("d_x", d_x, x.shape())?;
    check.dtype("d_x", d_x, DType::F32)?;
    for &(name, statistic) in statistics {
        check.dtype(name, statistic, DType::F32)?;
        check.shape(name, statistic, &[rows])?;
    }
    let parameters = [
        ("gradients.d_weight", gradients.d_weight.as_deref()),
        ("gradients.d_bias", gradients.d_bias.as_deref()),
    ];
    for (name, gradient) in parameters {
        if let Some(gradient) = gradient {
            check.device(name, gradient.device(), x.device())?;
            check.dtype(name, gradient, DType::F32)?;
            check.shape(name, gradient, &[width])?;
        }
    }
    Ok(())
}
