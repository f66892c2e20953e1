//! A tensor that is trained.

use retune_compute::{DType, Tensor, ops};

use crate::error::Result;

/// A trained tensor: its f32 values, their gradient, and, where products are in
/// bf16, a copy for them.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in the file that it is saved in.
    pub name: String,
    /// The values, f32.
    pub value: Tensor,
    /// The gradient, f32, to which backward passes add.
    pub grad: Tensor,
    /// The values in bf16, if products take them so.
    rounded: Option<Tensor>,
}

impl Parameter {
    /// A parameter with the values `value`, f32, whose products are in `dtype`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(name: String, value: Tensor, dtype: DType) -> Result<Self> {
        let grad = Tensor::zeros(value.device(), value.shape(), DType::F32)?;
        let rounded = match dtype {
            DType::F32 => None,
            DType::BF16 => Some(ops::cast(&value, dtype)?),
        };
        Ok(Self {
            name,
            value,
            grad,
            rounded,
        })
    }

    /// The values as products take them.
    pub fn for_products(&self) -> &Tensor {
        self.rounded.as_ref().unwrap_or(&self.value)
    }

    /// The parameter's part in [`ops::adamw_steps`], with its moments.
    pub fn update<'a>(
        &'a mut self,
        exp_avg: &'a mut Tensor,
        exp_avg_sq: &'a mut Tensor,
        step: ops::AdamW,
    ) -> ops::AdamWUpdate<'a> {
        ops::AdamWUpdate {
            param: &mut self.value,
            grad: &mut self.grad,
            exp_avg,
            exp_avg_sq,
            copy: self.rounded.as_mut(),
            step,
        }
    }

    /// What products read, and the gradient to add to.
    pub(crate) fn for_products_and_grad(&mut self) -> (&Tensor, &mut Tensor) {
        (self.rounded.as_ref().unwrap_or(&self.value), &mut self.grad)
    }
}

/// A vector that is frozen or trained, f32.
#[derive(Debug)]
pub(crate) enum Vector {
    Frozen(Tensor),
    Trained(Parameter),
}

impl Vector {
    pub(crate) fn value(&self) -> &Tensor {
        match self {
            Self::Frozen(tensor) => tensor,
            Self::Trained(parameter) => &parameter.value,
        }
    }

    pub(crate) fn parameter(&mut self) -> Option<&mut Parameter> {
        match self {
            Self::Frozen(_) => None,
            Self::Trained(parameter) => Some(parameter),
        }
    }
}
