//! Frozen weights: packed once for the products that they serve.

use super::check::Check;
use crate::backend::PackedWeight;
use crate::error::Result;
use crate::{DType, Device, Tensor};

/// How a frozen weight is kept. All choices give the same numbers; they trade
/// memory for speed. [`FrozenWeight::packed_bytes`] tells what each costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// As in the weight file. Both products repack it tile by tile as they
    /// go, which costs little from about a hundred rows on.
    Rows,
    /// Packed for the forward product; the gradient to the inputs repacks
    /// tiles. The choice for inference, and for training when memory is short.
    Forward,
    /// Packed for the forward product in three quarters of the bytes, without loss, where
    /// that is possible: weights in bf16 whose exponents lie close together, as those of
    /// trained models do, on processors with AVX-512. Else as `Forward`. With few rows, whose
    /// products are bound by reading weights, it is the fastest. The choice for generation.
    Compressed,
    /// Packed twice, once for each product. The choice for training.
    Both,
}

/// A weight `[out_features, in_features]` as a layer holds it.
#[derive(Debug, Clone, Copy)]
pub enum Weight<'a> {
    /// A plain tensor, as weights are that change from step to step; products
    /// pack it as they go.
    Dense(&'a Tensor),
    /// A weight that was packed once.
    Frozen(&'a FrozenWeight),
}

impl<'a> From<&'a Tensor> for Weight<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Dense(tensor)
    }
}

impl<'a> From<&'a FrozenWeight> for Weight<'a> {
    fn from(weight: &'a FrozenWeight) -> Self {
        Self::Frozen(weight)
    }
}

impl<'a> Weight<'a> {
    /// The device that holds the weight.
    pub fn device(self) -> &'a Device {
        match self {
            Self::Dense(tensor) => tensor.device(),
            Self::Frozen(weight) => weight.device(),
        }
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Self::Dense(tensor) => tensor.dtype(),
            Self::Frozen(weight) => weight.dtype(),
        }
    }
}

/// A weight `[out_features, in_features]` that is not trained.
#[derive(Debug)]
pub struct FrozenWeight {
    out_features: usize,
    in_features: usize,
    dtype: DType,
    packing: Packing,
    device: Device,
    packed: PackedWeight,
}

impl FrozenWeight {
    /// Packs `weight`, which may be dropped afterwards.
    ///
    /// # Shapes
    /// `weight`: `[out_features, in_features]`, f32 or bf16.
    /// # Errors
    /// `ShapeMismatch` if `weight` is not a matrix; `OutOfMemory`.
    pub fn new(weight: &Tensor, packing: Packing) -> Result<Self> {
        let check = Check::new("FrozenWeight::new");
        let &[out_features, in_features] = weight.shape() else {
            return Err(check.wrong_shape("weight", weight, "[out_features, in_features]".into()));
        };
        Ok(Self {
            out_features,
            in_features,
            dtype: weight.dtype(),
            packing,
            device: weight.device().clone(),
            packed: weight.device().backend().pack(weight, packing)?,
        })
    }

    /// Bytes that a weight of this shape takes on `device` under `packing`; of
    /// [`Packing::Compressed`], which depends on the weight, the most that it could be.
    pub fn packed_bytes(
        device: &Device,
        [out_features, in_features]: [usize; 2],
        dtype: DType,
        packing: Packing,
    ) -> usize {
        device
            .backend()
            .packed_bytes(out_features, in_features, dtype, packing)
    }

    /// The number of outputs.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The number of inputs.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How the weight is kept.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The device that holds the weight.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn packed(&self) -> &PackedWeight {
        &self.packed
    }
}
