//! Every operation as a textbook would write it: scalar loops over f32, one
//! line of maths after the other, no thought of speed.
//!
//! This is what the fast operations are held against, and the place to read
//! first. Elements are widened to f32 on reading and rounded on writing.

mod activation;
mod attention;
mod loss;
mod matmul;
mod norm;
mod optimizer;
mod rope;
mod rows;

use std::sync::Arc;

use half::bf16;

use crate::backend::{
    AdamWTensors, AttentionBackward, Backend, FirstFactor, LogitGradient, NormBackward,
    PackedWeight, Product, Qkv, RowOutcome, Storage,
};
use crate::error::{Error, Result};
use crate::host::{HostMemory, MemoryUse};
use crate::ops::{
    AdamW, AttentionConfig, Dropout, FrozenWeight, GeluKind, Packing, RowKey, Sequence, Weight,
};
use crate::random::unit;
use crate::tensor::with_element;
use crate::{DType, Element, Tensor};

/// The plain operations as a device.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    memory: Arc<HostMemory>,
}

/// Rounds `values` to the type of `tensor` and writes them.
fn write(tensor: &mut Tensor, values: &[f32]) {
    with_element!(tensor.dtype(), E => {
        for (to, from) in tensor.as_mut_slice::<E>().iter_mut().zip(values) {
            *to = <E as Element>::from_f32(*from);
        }
    });
}

/// A frozen weight's rows. The reference keeps them as they came.
fn frozen_rows(weight: &FrozenWeight) -> Vec<f32> {
    let len = weight.out_features() * weight.in_features();
    let storage = weight
        .packed()
        .rows
        .as_ref()
        .expect("the reference keeps rows");
    match weight.dtype() {
        DType::F32 => storage.host().slice::<f32>(len).to_vec(),
        DType::BF16 => storage
            .host()
            .slice::<bf16>(len)
            .iter()
            .map(|v| v.to_f32())
            .collect(),
    }
}

/// `[out, in]`, row by row.
fn weight_rows(weight: Weight<'_>) -> Vec<f32> {
    match weight {
        Weight::Dense(tensor) => tensor.to_f32_vec(),
        Weight::Frozen(weight) => frozen_rows(weight),
    }
}

impl Backend for Reference {
    fn name(&self) -> String {
        "reference".into()
    }

    fn has_bf16_products(&self) -> bool {
        false
    }

    fn memory_use(&self) -> MemoryUse {
        self.memory.usage()
    }

    fn reset_peak_memory(&self) {
        self.memory.reset_peak();
    }

    fn release_cached_memory(&self) {
        self.memory.release_cached();
    }

    fn allocate(&self, bytes: usize) -> Result<Storage> {
        let buffer = self.memory.allocate(bytes);
        buffer.map(Storage::Host).ok_or_else(|| Error::OutOfMemory {
            device: self.name(),
            bytes,
        })
    }

    fn packed_bytes(&self, out: usize, input: usize, dtype: DType, _packing: Packing) -> usize {
        out.saturating_mul(input).saturating_mul(dtype.size())
    }

    fn pack(&self, weight: &Tensor, _packing: Packing) -> Result<PackedWeight> {
        let mut storage = self.allocate(weight.size_in_bytes())?;
        with_element!(weight.dtype(), E => {
            let values = weight.as_slice::<E>();
            storage.host_mut().slice_mut(values.len()).copy_from_slice(values);
        });
        Ok(PackedWeight {
            rows: Some(storage),
            ..PackedWeight::default()
        })
    }

    fn matmul_workspace(&self, _first: FirstFactor) -> usize {
        0
    }

    fn matmul(&self, product: &Product<'_>, _workspace: Option<&mut Storage>, out: &mut Tensor) {
        matmul::matmul(product, out);
    }

    fn embedding_forward(&self, table: Weight<'_>, ids: &[u32], y: &mut Tensor) {
        let width = y.rows_by_width().1;
        write(y, &rows::gather(&weight_rows(table), ids, width));
    }

    fn embedding_backward(&self, d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) {
        self.scatter_rows(d_y, ids, d_table, true);
    }

    fn gather_rows(&self, x: &Tensor, ids: &[u32], y: &mut Tensor) {
        write(y, &rows::gather(&x.to_f32_vec(), ids, x.rows_by_width().1));
    }

    fn scatter_rows(&self, x: &Tensor, ids: &[u32], y: &mut Tensor, accumulate: bool) {
        let mut values = y.to_f32_vec();
        rows::scatter(
            &x.to_f32_vec(),
            ids,
            x.rows_by_width().1,
            accumulate,
            &mut values,
        );
        write(y, &values);
    }

    fn rms_norm_forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        y: &mut Tensor,
        rstd: &mut Tensor,
    ) {
        let (values, statistics) = norm::rms_forward(&x.to_f32_vec(), &weight.to_f32_vec(), eps);
        write(y, &values);
        write(rstd, &statistics);
    }

    fn rms_norm_backward(&self, args: NormBackward<'_>) {
        norm::rms_backward(args);
    }

    fn layer_norm_forward(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        eps: f32,
        y: &mut Tensor,
        (mean, rstd): (&mut Tensor, &mut Tensor),
    ) {
        let affine = (&weight.to_f32_vec()[..], &bias.to_f32_vec()[..]);
        let (values, means, rstds) = norm::layer_forward(&x.to_f32_vec(), affine, eps);
        write(y, &values);
        write(mean, &means);
        write(rstd, &rstds);
    }

    fn layer_norm_backward(&self, args: NormBackward<'_>) {
        norm::layer_backward(args);
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool, y: &mut Tensor) {
        let angles = (&cos.to_f32_vec()[..], &sin.to_f32_vec()[..]);
        let &[tokens, heads, dim] = x.shape() else {
            unreachable!("checked: [T, H, D]")
        };
        write(
            y,
            &rope::rotate(&x.to_f32_vec(), angles, [tokens, heads, dim], inverse),
        );
    }

    fn attention_forward(
        &self,
        qkv: Qkv<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
        out: &mut Tensor,
        logsumexp: Option<&mut Tensor>,
    ) {
        let (values, statistics) = attention::forward(qkv, sequences, config);
        write(out, &values);
        if let Some(logsumexp) = logsumexp {
            write(logsumexp, &statistics);
        }
    }

    fn attention_backward(
        &self,
        args: AttentionBackward<'_>,
        sequences: &[Sequence],
        config: &AttentionConfig,
    ) {
        attention::backward(args, sequences, config);
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor, y: &mut Tensor) {
        write(
            y,
            &activation::swiglu_forward(&gate.to_f32_vec(), &up.to_f32_vec()),
        );
    }

    fn swiglu_backward(
        &self,
        d_y: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        d_gate: &mut Tensor,
        d_up: &mut Tensor,
    ) {
        let (gates, ups) =
            activation::swiglu_backward(&d_y.to_f32_vec(), &gate.to_f32_vec(), &up.to_f32_vec());
        write(d_gate, &gates);
        write(d_up, &ups);
    }

    fn gelu_forward(&self, x: &Tensor, kind: GeluKind, y: &mut Tensor) {
        let values: Vec<f32> = x
            .to_f32_vec()
            .iter()
            .map(|&x| activation::gelu(x, kind))
            .collect();
        write(y, &values);
    }

    fn gelu_backward(&self, d_y: &Tensor, x: &Tensor, kind: GeluKind, d_x: &mut Tensor) {
        let values: Vec<f32> = d_y
            .to_f32_vec()
            .iter()
            .zip(x.to_f32_vec())
            .map(|(d_y, x)| d_y * activation::gelu_slope(x, kind))
            .collect();
        write(d_x, &values);
    }

    fn add_assign(&self, y: &mut Tensor, x: &Tensor) {
        let sums: Vec<f32> = y
            .to_f32_vec()
            .iter()
            .zip(x.to_f32_vec())
            .map(|(y, x)| y + x)
            .collect();
        write(y, &sums);
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        let values: Vec<f32> = x.to_f32_vec().iter().map(|x| x * factor).collect();
        write(x, &values);
    }

    fn cast(&self, x: &Tensor, y: &mut Tensor) {
        write(y, &x.to_f32_vec());
    }

    fn sums(&self, tensors: &[&Tensor], squares: bool) -> Vec<f64> {
        let sum = |x: &&Tensor| {
            let values = x.to_f32_vec().into_iter().map(f64::from);
            values.fold(0.0, |all, x| all + if squares { x * x } else { x })
        };
        tensors.iter().map(sum).collect()
    }

    fn argmax_rows(&self, x: &Tensor) -> Vec<Option<u32>> {
        let (rows, width) = x.rows_by_width();
        let values = x.to_f32_vec();
        let row = |row: usize| rows::argmax(&values[row * width..(row + 1) * width]);
        (0..rows).map(row).collect()
    }

    fn dropout(&self, x: &Tensor, rows: &[RowKey], dropout: &Dropout, y: &mut Tensor) {
        let width = x.rows_by_width().1;
        let keep = 1.0 / (1.0 - dropout.probability);
        let mut values = x.to_f32_vec();
        for (index, value) in values.iter_mut().enumerate() {
            let (row, column) = (rows[index / width], index % width);
            let counter = [(column / 4) as u32, row.position, row.sample, dropout.step];
            let dropped = unit(dropout.key.block(counter)[column % 4]) < dropout.probability;
            *value *= if dropped { 0.0 } else { keep };
        }
        write(y, &values);
    }

    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        outcome: RowOutcome<'_>,
        gradient: Option<LogitGradient<'_>>,
    ) {
        let scale = gradient.as_ref().map(|gradient| gradient.scale);
        loss::cross_entropy(logits.as_mut_slice(), targets, outcome, scale);
        if let Some(narrow) = gradient.and_then(|gradient| gradient.narrow) {
            self.cast(logits, narrow);
        }
    }

    fn adamw(&self, tensors: AdamWTensors<'_>, step: &AdamW) {
        optimizer::adamw(tensors, step);
    }
}
