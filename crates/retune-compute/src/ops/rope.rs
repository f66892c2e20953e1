//! Rotary position embedding and its scalings, as Hugging Face defines them.

use std::f32::consts::PI;

use super::attention::MAX_HEAD_DIM;
use super::check::Check;
use crate::error::Result;
use crate::tensor::host_vec;
use crate::{DType, Device, Tensor};

/// How frequencies are stretched for contexts longer than the trained one;
/// `rope_scaling` in a model's `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// How much longer the context is.
        factor: f32,
    },
    /// Llama 3's: low frequencies divided, high ones kept, smooth between.
    Llama3 {
        /// How much longer the context is.
        factor: f32,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// The trained context, in tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// How much longer the context is.
        factor: f32,
        /// The trained context, in tokens.
        original_max_position_embeddings: usize,
        /// Turns over the trained context from which frequencies are kept; 32.
        beta_fast: f32,
        /// Turns over the trained context below which they are divided; 1.
        beta_slow: f32,
        /// Factor of cos and sin; `None` computes `0.1 · ln(factor) + 1`.
        attention_factor: Option<f32>,
        /// Whether the bounds of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

/// The rotation of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// The head size `D`, even.
    pub head_dim: usize,
    /// The base of the frequencies, `rope_theta`.
    pub rope_theta: f32,
    /// The scaling.
    pub scaling: RopeScaling,
}

impl RopeConfig {
    fn check(&self) -> Result<()> {
        let check = Check::new("RopeConfig");
        let positive = "a number above 0";
        let dim = self.head_dim;
        if dim == 0 || !dim.is_multiple_of(2) || dim > MAX_HEAD_DIM {
            let expected = format!("an even number from 2 to {MAX_HEAD_DIM}");
            return Err(check.invalid("head_dim", dim, expected));
        }
        check.number(
            "rope_theta",
            self.rope_theta,
            |v| v > 1.0,
            "a number above 1",
        )?;
        let context = |tokens: usize| {
            if tokens == 0 {
                return Err(check.invalid("original_max_position_embeddings", 0, "at least 1"));
            }
            Ok(())
        };
        match self.scaling {
            RopeScaling::Default => Ok(()),
            RopeScaling::Linear { factor } => check.number("factor", factor, |v| v > 0.0, positive),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                check.number("factor", factor, |v| v > 0.0, positive)?;
                check.number("low_freq_factor", low_freq_factor, |v| v > 0.0, positive)?;
                check.number(
                    "high_freq_factor",
                    high_freq_factor,
                    |v| v > low_freq_factor,
                    "a number above low_freq_factor",
                )?;
                context(original_max_position_embeddings)
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate: _,
            } => {
                check.number("factor", factor, |v| v > 0.0, positive)?;
                check.number("beta_slow", beta_slow, |v| v > 0.0, positive)?;
                check.number(
                    "beta_fast",
                    beta_fast,
                    |v| v > beta_slow,
                    "a number above beta_slow",
                )?;
                if let Some(value) = attention_factor {
                    check.number("attention_factor", value, |v| v > 0.0, positive)?;
                }
                context(original_max_position_embeddings)
            }
        }
    }

    /// The frequency of each pair of dimensions, `[D / 2]`, in radians per
    /// token, and the factor of cos and sin. In the precision in which Hugging
    /// Face computes them (f32, YaRN's bounds f64), so that far positions get
    /// the same angles.
    ///
    /// # Errors
    /// `InvalidArgument` if a number of the configuration is out of range.
    pub fn inverse_frequencies(&self) -> Result<(Vec<f32>, f32)> {
        self.check()?;
        let (frequencies, factor) = self.scaled_frequencies();
        if frequencies.iter().all(|f| f.is_finite()) {
            return Ok((frequencies, factor));
        }
        let expected = "numbers whose frequencies are within f32";
        Err(Check::new("RopeConfig").invalid("scaling", format!("{:?}", self.scaling), expected))
    }

    fn scaled_frequencies(&self) -> (Vec<f32>, f32) {
        let dim = self.head_dim as f32;
        let powers =
            (0..self.head_dim / 2).map(|pair| self.rope_theta.powf(2.0 * pair as f32 / dim));
        let default = powers.clone().map(|power| 1.0 / power);
        match self.scaling {
            RopeScaling::Default => (default.collect(), 1.0),
            RopeScaling::Linear { factor } => (default.map(|f| f / factor).collect(), 1.0),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let original = original_max_position_embeddings as f32;
                let scaled = default.map(|frequency| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength < original / high_freq_factor {
                        frequency
                    } else if wavelength > original / low_freq_factor {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low_freq_factor)
                            / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                });
                (scaled.collect(), 1.0)
            }
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate,
            } => {
                // The dimension whose wave turns `turns` times over the
                // trained context.
                let dimension = |turns: f32| {
                    let wave = f64::from(turns) * std::f64::consts::TAU;
                    let turned = (original_max_position_embeddings as f64 / wave).ln();
                    let per_dimension = 2.0 * f64::from(self.rope_theta).ln();
                    self.head_dim as f64 * turned / per_dimension
                };
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                low = low.max(0.0);
                high = high.min(self.head_dim as f64 - 1.0);
                if low == high {
                    high += 0.001;
                }
                let (low, width) = (low as f32, (high - low) as f32);
                let scaled = powers.enumerate().map(|(pair, power)| {
                    let ramp = ((pair as f32 - low) / width).clamp(0.0, 1.0);
                    let kept = 1.0 - ramp;
                    1.0 / (factor * power) * (1.0 - kept) + 1.0 / power * kept
                });
                let computed = if factor <= 1.0 {
                    1.0
                } else {
                    0.1 * factor.ln() + 1.0
                };
                (scaled.collect(), attention_factor.unwrap_or(computed))
            }
        }
    }
}

/// The cosines and sines of one step's tokens, computed once and used by
/// every layer.
#[derive(Debug)]
pub struct RopeAngles {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl RopeAngles {
    /// The angles of tokens at `positions`, `[T]`.
    ///
    /// # Errors
    /// `InvalidArgument` if a number of the configuration is out of range;
    /// `OutOfMemory`.
    pub fn new(device: &Device, config: &RopeConfig, positions: &[u32]) -> Result<Self> {
        let (frequencies, factor) = config.inverse_frequencies()?;
        let angles = || {
            positions
                .iter()
                .flat_map(|&position| frequencies.iter().map(move |f| position as f32 * f))
        };
        let shape = [positions.len(), frequencies.len()];
        let len = shape[0].saturating_mul(shape[1]);
        let mut cos: Vec<f32> = host_vec(device, len)?;
        cos.extend(angles().map(|angle| angle.cos() * factor));
        let mut sin: Vec<f32> = host_vec(device, len)?;
        sin.extend(angles().map(|angle| angle.sin() * factor));
        Ok(Self {
            cos: Tensor::from_slice(device, &shape, &cos)?,
            sin: Tensor::from_slice(device, &shape, &sin)?,
        })
    }

    /// Cosines, `[T, D / 2]`, f32.
    pub fn cos(&self) -> &Tensor {
        &self.cos
    }

    /// Sines, `[T, D / 2]`, f32.
    pub fn sin(&self) -> &Tensor {
        &self.sin
    }
}

/// Rotates each pair `(x[d], x[d + D/2])` by its token's angle:
/// `y[d] = x[d]·cos − x[d + D/2]·sin`, `y[d + D/2] = x[d + D/2]·cos + x[d]·sin`.
///
/// # Shapes
/// `x`: `[T, H, D]`, f32 or bf16; returned `y`: the same shape, of type `dtype`.
/// # Errors
/// `ShapeMismatch` if the angles are not those of `T` tokens with head size
/// `D`; `DeviceMismatch`.
/// # Reference
/// Su et al. 2021, arXiv:2104.09864
pub fn rope_forward(x: &Tensor, angles: &RopeAngles, dtype: DType) -> Result<Tensor> {
    rotate("rope_forward", "x", x, angles, false, dtype)
}

/// The gradient `d_x` of [`rope_forward`]: the rotation the other way.
///
/// # Shapes
/// `d_y`: `[T, H, D]`, f32 or bf16; returned: the same shape, of type `dtype`.
/// # Errors
/// As for [`rope_forward`].
pub fn rope_backward(d_y: &Tensor, angles: &RopeAngles, dtype: DType) -> Result<Tensor> {
    rotate("rope_backward", "d_y", d_y, angles, true, dtype)
}

fn rotate(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    angles: &RopeAngles,
    inverse: bool,
    dtype: DType,
) -> Result<Tensor> {
    let check = Check::new(op);
    let [tokens, _, head_dim] = check.heads(argument, x)?;
    check.device("angles", angles.cos.device(), x.device())?;
    if head_dim % 2 != 0 || angles.cos.shape() != [tokens, head_dim / 2] {
        let [rows, pairs] = [angles.cos.shape()[0], angles.cos.shape()[1]];
        let expected = format!("[{rows}, H, {}] to fit `angles`", 2 * pairs);
        return Err(check.wrong_shape(argument, x, expected));
    }
    let mut y = Tensor::empty(x.device(), x.shape(), dtype)?;
    x.device()
        .backend()
        .rope(x, &angles.cos, &angles.sin, inverse, &mut y);
    Ok(y)
}
