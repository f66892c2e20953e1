//! The checks that every operation makes before it touches anything.

use super::weight::Weight;
use crate::error::{Error, Result};
use crate::{DType, Device, Tensor};

/// The checks of one call, all naming the operation `op`.
#[derive(Clone, Copy)]
pub(super) struct Check {
    op: &'static str,
}

impl Check {
    pub(super) fn new(op: &'static str) -> Self {
        Self { op }
    }

    pub(super) fn device(
        self,
        argument: &'static str,
        found: &Device,
        first: &Device,
    ) -> Result<()> {
        if found == first {
            return Ok(());
        }
        Err(Error::DeviceMismatch {
            op: self.op,
            argument,
            expected: first.name(),
            found: found.name(),
        })
    }

    /// All of `others` live where `first` does.
    pub(super) fn devices(self, first: &Tensor, others: &[(&'static str, &Tensor)]) -> Result<()> {
        others.iter().try_for_each(|(argument, tensor)| {
            self.device(argument, tensor.device(), first.device())
        })
    }

    pub(super) fn dtype(
        self,
        argument: &'static str,
        tensor: &Tensor,
        expected: DType,
    ) -> Result<()> {
        if tensor.dtype() == expected {
            return Ok(());
        }
        Err(Error::DTypeMismatch {
            op: self.op,
            argument,
            expected: expected.to_string(),
            found: tensor.dtype(),
        })
    }

    pub(super) fn shape(
        self,
        argument: &'static str,
        tensor: &Tensor,
        expected: &[usize],
    ) -> Result<()> {
        if tensor.shape() == expected {
            return Ok(());
        }
        Err(self.wrong_shape(argument, tensor, format!("{expected:?}")))
    }

    pub(super) fn wrong_shape(
        self,
        argument: &'static str,
        tensor: &Tensor,
        expected: String,
    ) -> Error {
        Error::ShapeMismatch {
            op: self.op,
            argument,
            expected,
            found: tensor.shape().to_vec(),
        }
    }

    /// A list that stands for one value per row.
    pub(super) fn length(
        self,
        argument: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            op: self.op,
            argument,
            expected: format!("[{expected}]"),
            found: vec![found],
        })
    }

    /// `[rows…, width]` seen as a matrix over the last axis.
    pub(super) fn last_axis(
        self,
        argument: &'static str,
        tensor: &Tensor,
    ) -> Result<(usize, usize)> {
        match tensor.shape().split_last() {
            Some((&width, _)) if width > 0 => Ok((tensor.len() / width, width)),
            _ => Err(self.wrong_shape(argument, tensor, "[…, C] with C > 0".into())),
        }
    }

    /// `[rows, …]` seen as a matrix over the first axis.
    pub(super) fn first_axis(
        self,
        argument: &'static str,
        tensor: &Tensor,
    ) -> Result<(usize, usize)> {
        if tensor.shape().len() < 2 {
            return Err(self.wrong_shape(
                argument,
                tensor,
                "[rows, …] with two axes or more".into(),
            ));
        }
        Ok(tensor.rows_by_width())
    }

    /// The extents of a weight, `axes` in words.
    pub(super) fn weight(
        self,
        argument: &'static str,
        weight: Weight<'_>,
        axes: &str,
    ) -> Result<[usize; 2]> {
        match weight {
            Weight::Frozen(weight) => Ok([weight.out_features(), weight.in_features()]),
            Weight::Dense(tensor) => <[usize; 2]>::try_from(tensor.shape())
                .map_err(|_| self.wrong_shape(argument, tensor, axes.into())),
        }
    }

    pub(super) fn weight_shape(
        self,
        argument: &'static str,
        weight: Weight<'_>,
        expected: [usize; 2],
    ) -> Result<()> {
        match weight {
            Weight::Dense(tensor) => self.shape(argument, tensor, &expected),
            Weight::Frozen(weight) => {
                let found = [weight.out_features(), weight.in_features()];
                if found == expected {
                    return Ok(());
                }
                Err(Error::ShapeMismatch {
                    op: self.op,
                    argument,
                    expected: format!("{expected:?}"),
                    found: found.to_vec(),
                })
            }
        }
    }

    pub(super) fn weight_dtype(
        self,
        argument: &'static str,
        weight: Weight<'_>,
        expected: DType,
    ) -> Result<()> {
        match weight.dtype() == expected {
            true => Ok(()),
            false => Err(Error::DTypeMismatch {
                op: self.op,
                argument,
                expected: expected.to_string(),
                found: weight.dtype(),
            }),
        }
    }

    pub(super) fn heads(self, argument: &'static str, tensor: &Tensor) -> Result<[usize; 3]> {
        <[usize; 3]>::try_from(tensor.shape())
            .map_err(|_| self.wrong_shape(argument, tensor, "[T, H, D]".into()))
    }

    pub(super) fn indices(
        self,
        argument: &'static str,
        indices: &[u32],
        limit: usize,
    ) -> Result<()> {
        match indices.iter().position(|&index| index as usize >= limit) {
            None => Ok(()),
            Some(position) => Err(Error::IndexOutOfRange {
                op: self.op,
                argument,
                position,
                found: indices[position] as usize,
                limit,
            }),
        }
    }

    pub(super) fn invalid(
        self,
        argument: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Error {
        Error::InvalidArgument {
            op: self.op,
            argument,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// A finite number that `accept` takes.
    pub(super) fn number(
        self,
        argument: &'static str,
        value: f32,
        accept: impl Fn(f32) -> bool,
        expected: &str,
    ) -> Result<()> {
        if value.is_finite() && accept(value) {
            return Ok(());
        }
        Err(self.invalid(argument, value, expected))
    }
}
