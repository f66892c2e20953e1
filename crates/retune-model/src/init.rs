//! A new model: a shape, and weights that are drawn at random.

use std::collections::BTreeMap;
use std::path::Path;

use retune_compute::{DType, Device, RandomKey, Tensor, bf16, ops, random_normal};
use serde_json::{Map, Value as Json};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::open::{WEIGHTS, shapes};
use crate::shape::problems;
use crate::write::{Durability, write_json, write_tensors};

/// A model beyond this is a slip of the finger.
const MAX_PARAMETERS: u64 = 1 << 40;

/// A model that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModel {
    fields: Map<String, Json>,
    config: ModelConfig,
    initializer_range: f32,
}

impl NewModel {
    /// A model with the `fields` of a `config.json`, for a tokenizer with `ids`.
    ///
    /// # Errors
    /// `Shape` with all that is wrong.
    pub fn new(fields: Map<String, Json>, ids: usize) -> Result<Self> {
        let mut problems = problems(&fields, ids);
        let config = match problems.is_empty() {
            true => parsed(&fields)
                .map_err(|problem| problems.push(problem))
                .ok(),
            false => None,
        };
        if let Some(config) = &config
            && config.num_parameters() > MAX_PARAMETERS
        {
            let found = config.num_parameters();
            problems.push(format!(
                "expected at most {MAX_PARAMETERS} parameters, found {found}"
            ));
        }
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                initializer_range: range(&fields),
                fields,
                config,
            }),
            _ => Err(Error::Shape { problems }),
        }
    }

    /// The shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Writes `model.safetensors`, `generation_config.json` and, when they are
    /// there, `config.json` into `folder`, which is there.
    ///
    /// Matrices are normal with a deviation of `initializer_range`, norms one,
    /// biases zero, as Hugging Face has them. The numbers depend on `seed`, the
    /// shape and the tensor alone; in bf16 they are those of f32, rounded.
    ///
    /// # Errors
    /// `File` if a file cannot be written; `OutOfMemory`.
    pub fn write(&self, folder: &Path, device: &Device, seed: u64, dtype: DType) -> Result<()> {
        let shapes = shapes(&self.config);
        let keys: BTreeMap<&str, RandomKey> = (WEIGHTS..)
            .zip(shapes.keys())
            .map(|(purpose, name)| (name.as_str(), RandomKey::new(seed, purpose)))
            .collect();
        let synced = Durability::Synced;
        write_tensors(
            &folder.join("model.safetensors"),
            dtype,
            &shapes,
            synced,
            |name| {
                let values = self.values(device, name, &shapes[name], keys[name], dtype)?;
                Ok(values.to_bytes())
            },
        )?;
        write_json(
            &folder.join("generation_config.json"),
            &self.generation_config(),
            synced,
        )?;
        let mut fields = self.fields.clone();
        // Newer `transformers` take the older name too.
        fields.remove("dtype");
        let name = match dtype {
            DType::F32 => "float32",
            DType::BF16 => "bfloat16",
        };
        fields.insert("torch_dtype".into(), name.into());
        fields.sort_keys();
        write_json(&folder.join("config.json"), &fields, synced)
    }

    fn values(
        &self,
        device: &Device,
        name: &str,
        shape: &[usize],
        key: RandomKey,
        dtype: DType,
    ) -> Result<Tensor> {
        let fixed = |value: f32| -> Result<Tensor> {
            let values = vec![value; shape.iter().product()];
            let values = Tensor::from_slice(device, shape, &values)?;
            Ok(ops::cast(&values, dtype)?)
        };
        if name.ends_with("norm.weight") {
            return fixed(1.0);
        }
        if name.ends_with(".bias") {
            return fixed(0.0);
        }
        let range = self.initializer_range;
        Ok(match dtype {
            DType::F32 => random_normal::<f32>(device, shape, key, 0.0, range)?,
            DType::BF16 => random_normal::<bf16>(device, shape, key, 0.0, range)?,
        })
    }

    /// Where generation begins and ends, as `config.json` says it too.
    fn generation_config(&self) -> Map<String, Json> {
        let names = ["bos_token_id", "eos_token_id", "pad_token_id"];
        let ids = names.iter().filter_map(|name| {
            let id = self.fields.get(*name).filter(|id| !id.is_null())?;
            Some(((*name).to_owned(), id.clone()))
        });
        std::iter::once(("_from_model_config".to_owned(), true.into()))
            .chain(ids)
            .collect()
    }
}

fn range(fields: &Map<String, Json>) -> f32 {
    let range = fields.get("initializer_range").and_then(Json::as_f64);
    range.unwrap_or(0.02) as f32
}

/// The fields as a model that is opened has them, or what it does not support.
fn parsed(fields: &Map<String, Json>) -> std::result::Result<ModelConfig, String> {
    let text = Json::Object(fields.clone()).to_string();
    ModelConfig::parse(&text, "config.json".into()).map_err(|error| match error {
        Error::Config { problem, .. } => problem,
        other => other.to_string(),
    })
}
