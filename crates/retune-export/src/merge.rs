//! A model's weights in a file of their own, with an adapter merged: `W + scale · B·A`.

use std::collections::BTreeMap;
use std::path::Path;

use retune_compute::ops::{Epilogue, cast, matmul_nn};
use retune_compute::{DType, Device, Tensor};
use retune_model::{Durability, LoraConfig, Weights, write_tensors};

use crate::error::{Error, Result};

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Weights to which a term was added, and whose values changed by it.
    pub changed: Vec<String>,
    /// Weights with a term that did not change a value after rounding.
    pub unchanged: Vec<String>,
    /// The type of the file's tensors.
    pub dtype: DType,
}

/// An adapter, and which of a model's weights its terms belong to.
struct Lora {
    config: LoraConfig,
    weights: Weights,
    terms: BTreeMap<String, Term>,
}

impl Lora {
    fn open(folder: &Path, base: &Weights) -> Result<Self> {
        let config = LoraConfig::open(folder)?;
        let weights = Weights::open_adapter(folder)?;
        let terms = terms(base, &weights)?;
        Ok(Self {
            config,
            weights,
            terms,
        })
    }
}

/// A low-rank term of the adapter.
struct Term {
    a: String,
    b: String,
}

/// Writes `model.safetensors` into `out`, which is there: the tensors of the model in
/// `base`, with the terms of the adapter in the folder `adapter` added, if there is one. Sums are f32;
/// values are rounded to `dtype`, or if that is none to what the base has. No more than
/// one weight is in memory at a time.
///
/// # Errors
/// `Adapter` if it does not fit the model; `Model` if files cannot be read or written;
/// `Compute` if memory runs out.
pub fn merge(
    base: &Path,
    adapter: Option<&Path>,
    out: &Path,
    dtype: Option<DType>,
    device: &Device,
) -> Result<Merged> {
    let weights = Weights::open(base)?;
    let adapter = adapter
        .map(|folder| Lora::open(folder, &weights))
        .transpose()?;
    let dtype = dtype.unwrap_or(weights.dtype());
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let shape = |name: &str| weights.shape(name).unwrap_or_default().to_vec();
    let shapes: BTreeMap<String, Vec<usize>> = names
        .into_iter()
        .map(|name| (name.clone(), shape(&name)))
        .collect();
    let mut merged = Merged {
        changed: Vec::new(),
        unchanged: Vec::new(),
        dtype,
    };
    let path = out.join("model.safetensors");
    write_tensors(&path, dtype, &shapes, Durability::Synced, |name| {
        let term = adapter
            .as_ref()
            .and_then(|lora| Some((lora, lora.terms.get(name)?)));
        let Some((lora, term)) = term else {
            return Ok(weights.tensor(device, name, dtype)?.to_bytes());
        };
        let before = weights.tensor(device, name, DType::F32)?;
        let mut value = before.try_clone()?;
        let a = lora.weights.tensor(device, &term.a, DType::F32)?;
        let b = lora.weights.tensor(device, &term.b, DType::F32)?;
        let scaled = Epilogue::default().scale(lora.config.scale()).accumulate();
        matmul_nn(&b, &a, scaled, &mut value)?;
        let (bytes, old) = (rounded(&value, dtype)?, rounded(&before, dtype)?);
        match bytes == old {
            true => merged.unchanged.push(name.to_owned()),
            false => merged.changed.push(name.to_owned()),
        }
        Ok(bytes)
    })?;
    Ok(merged)
}

fn rounded(value: &Tensor, dtype: DType) -> retune_model::Result<Vec<u8>> {
    Ok(match dtype {
        DType::F32 => value.to_bytes(),
        DType::BF16 => cast(value, dtype)?.to_bytes(),
    })
}

/// The terms by the weight that each belongs to.
fn terms(weights: &Weights, lora: &Weights) -> Result<BTreeMap<String, Term>> {
    let mut terms = BTreeMap::new();
    let mut problems = Vec::new();
    for name in lora.names() {
        let inner = name.strip_prefix("base_model.model.").unwrap_or(name);
        let Some(layer) = inner.strip_suffix(".lora_A.weight") else {
            if !inner.ends_with(".lora_B.weight") {
                problems.push(format!("{name} is no part of a LoRA term"));
            }
            continue;
        };
        let term = Term {
            a: name.to_owned(),
            b: name.replace(".lora_A.", ".lora_B."),
        };
        let weight = format!("{layer}.weight");
        let shapes = [
            weights.shape(&weight),
            lora.shape(&term.a),
            lora.shape(&term.b),
        ];
        match shapes {
            [
                Some(&[out, input]),
                Some(&[rank, a_in]),
                Some(&[b_out, b_rank]),
            ] if (out, input, rank) == (b_out, a_in, b_rank) => {
                terms.insert(weight, term);
            }
            [None, ..] => problems.push(format!("{name}: the model has no {weight}")),
            [.., None] => problems.push(format!("{} is missing", term.b)),
            [Some(weight), Some(a), Some(b)] => problems.push(format!(
                "{layer}: the weight has {weight:?}, A {a:?}, B {b:?}"
            )),
            [_, None, _] => {}
        }
    }
    if terms.is_empty() && problems.is_empty() {
        problems.push("it has no LoRA term".to_owned());
    }
    match problems.is_empty() {
        true => Ok(terms),
        false => Err(Error::Adapter { problems }),
    }
}
