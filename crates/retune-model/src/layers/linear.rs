//! A linear layer: a weight that is frozen or trained, a bias, LoRA.

use retune_compute::ops::{
    Epilogue, FrozenWeight, Weight, linear_backward, linear_forward, matmul_tn,
};
use retune_compute::{DType, Tensor};

use super::lora::LoraSaved;
use super::{Lora, Pass};
use crate::adapter::AdapterTerm;
use crate::error::Result;
use crate::parameter::{Parameter, Vector};

/// A weight `[out_features, in_features]`.
#[derive(Debug)]
pub(crate) enum Matrix {
    Frozen(FrozenWeight),
    Trained(Parameter),
}

impl Matrix {
    pub(crate) fn weight(&self) -> Weight<'_> {
        match self {
            Self::Frozen(weight) => weight.into(),
            Self::Trained(parameter) => parameter.for_products().into(),
        }
    }

    pub(crate) fn parameter(&mut self) -> Option<&mut Parameter> {
        match self {
            Self::Frozen(_) => None,
            Self::Trained(parameter) => Some(parameter),
        }
    }
}

/// `y = x·Wᵀ + b`, with LoRA beside it where there is some.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Which of the model's linear layers this is, as [`crate::open::linears`] has them.
    pub(crate) number: usize,
    pub(crate) weight: Matrix,
    pub(crate) bias: Option<Vector>,
    pub(crate) lora: Option<Lora>,
}

/// Where the gradient of a layer's input goes.
pub(crate) enum InputGradient<'a> {
    /// Nowhere.
    Unwanted,
    /// It overwrites the tensor, which is of [`Linear::gradient_dtype`].
    Whole(&'a mut Tensor),
    /// It is added to the tensor, f32.
    Added(&'a mut Tensor),
}

/// What the backward pass wants beside the input.
#[derive(Debug)]
pub(crate) struct LinearSaved {
    lora: Option<LoraSaved>,
}

impl Linear {
    /// `y = …`, or `y += …` if `accumulate`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        pass: &Pass<'_>,
        accumulate: bool,
        y: &mut Tensor,
    ) -> Result<LinearSaved> {
        let lora = match &self.lora {
            Some(lora) => Some(lora.forward(x, pass)?),
            None => None,
        };
        let loaded = match pass.adapters {
            Some(adapters) => adapters.forward(self.number, x, pass)?,
            None => None,
        };
        let own = self.lora.as_ref().zip(lora.as_ref());
        let own = own.map(|(lora, saved)| lora.term(saved));
        let mut epilogue = Epilogue::default()
            .bias(self.bias.as_ref().map(Vector::value))
            .low_rank(loaded.as_ref().map(AdapterTerm::term).or(own));
        if accumulate {
            epilogue = epilogue.accumulate();
        }
        linear_forward(x, self.weight.weight(), epilogue, y)?;
        Ok(LinearSaved { lora })
    }

    /// Adds to the gradients of parameters, and gives that of the input if it is
    /// wanted. `d_y` and `x` are of the type of products.
    pub(crate) fn backward(
        &mut self,
        d_y: &Tensor,
        x: &Tensor,
        saved: &LinearSaved,
        pass: &Pass<'_>,
        d_x: InputGradient<'_>,
    ) -> Result<()> {
        let added = || Epilogue::default().accumulate();
        if let Matrix::Trained(Parameter { grad, .. }) = &mut self.weight {
            matmul_tn(d_y, x, added(), grad)?;
        }
        if let Some(Vector::Trained(Parameter { grad, .. })) = &mut self.bias {
            add_column_sums(d_y, grad)?;
        }
        let g = match (&mut self.lora, &saved.lora) {
            (Some(lora), Some(saved)) => Some(lora.backward(d_y, x, saved, pass)?),
            _ => None,
        };
        let (d_x, epilogue) = match d_x {
            InputGradient::Unwanted => return Ok(()),
            InputGradient::Whole(d_x) => (d_x, Epilogue::default()),
            InputGradient::Added(d_x) => (d_x, added()),
        };
        let lora = self.lora.as_ref().zip(g.as_ref());
        let term = lora.and_then(|(lora, g)| lora.input_term(g, pass));
        let masked = term.is_none();
        linear_backward(d_y, self.weight.weight(), epilogue.low_rank(term), d_x)?;
        if let (true, Some((lora, g))) = (masked, lora) {
            lora.add_masked(g, pass, d_x)?;
        }
        Ok(())
    }

    /// The element type in which [`InputGradient::Whole`] is given: that of products,
    /// or f32 where terms are added to it.
    pub(crate) fn gradient_dtype(&self, pass: &Pass<'_>) -> DType {
        match &self.lora {
            Some(lora) if lora.drops(pass) => DType::F32,
            _ => pass.dtype,
        }
    }

    pub(crate) fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let weight = self.weight.parameter();
        let bias = self.bias.as_mut().and_then(Vector::parameter);
        let lora = self.lora.as_mut().map(|lora| [&mut lora.a, &mut lora.b]);
        weight
            .into_iter()
            .chain(bias)
            .chain(lora.into_iter().flatten())
    }
}

/// `grad += Σ rows of d_y`, as a product with a column of ones.
fn add_column_sums(d_y: &Tensor, grad: &mut Tensor) -> Result<()> {
    let device = d_y.device();
    let (rows, width) = (d_y.shape()[0], grad.len());
    let ones = Tensor::from_slice(device, &[rows, 1], &vec![1.0f32; rows])?;
    let ones = retune_compute::ops::cast(&ones, d_y.dtype())?;
    let empty = Tensor::empty(device, &[0], DType::F32)?;
    let mut column = std::mem::replace(grad, empty).reshape(&[width, 1])?;
    let summed = matmul_tn(d_y, &ones, Epilogue::default().accumulate(), &mut column);
    *grad = column.reshape(&[width])?;
    Ok(summed?)
}
