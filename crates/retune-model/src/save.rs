//! Models and adapters to folders, as Hugging Face and PEFT have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use retune_compute::{DType, ops};
use serde_json::{Value as Json, json};

use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::lora_config::{LoraConfig, TargetModules};
use crate::open::shapes;
use crate::parameter::Parameter;
use crate::weights::Weights;
use crate::write::{Durability, write_json, write_tensors};

/// What of a model's folder says how it computes and is sampled.
pub const CONFIG_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Copies files of these names from one folder to another, as far as they are there.
///
/// # Errors
/// `File` if a file cannot be read or written.
pub fn copy_files<'a>(
    from: &Path,
    to: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    for name in names {
        let (source, target) = (from.join(name), to.join(name));
        if source.exists() {
            // Only the bytes: the model's files may be read-only.
            let copied = fs::read(&source).and_then(|bytes| fs::write(&target, bytes));
            copied.map_err(|error| Error::File {
                path: target,
                problem: format!("cannot be written: {error}"),
            })?;
        }
    }
    Ok(())
}

impl Decoder {
    /// Writes LoRA's values into `folder`, which is there, as PEFT does:
    /// `adapter_model.safetensors`, f32, and `adapter_config.json`.
    ///
    /// # Errors
    /// `Tensors` if there is no LoRA, or it has another rank than `config`;
    /// `File` if a file cannot be written.
    pub fn save_adapter(
        &mut self,
        folder: &Path,
        base_model_name_or_path: &str,
        config: &LoraConfig,
        durability: Durability,
    ) -> Result<()> {
        let path = folder.join("adapter_model.safetensors");
        let mut parameters = by_name(self);
        parameters.retain(|name, _| name.contains(".lora_"));
        check_rank(&path, &parameters, config)?;
        let layers: BTreeSet<&str> = parameters.keys().filter_map(|name| layer(name)).collect();
        let described = adapter_config(base_model_name_or_path, config, &layers);
        let shapes: BTreeMap<String, Vec<usize>> = parameters
            .iter()
            .map(|(name, parameter)| (name.clone(), parameter.value.shape().to_vec()))
            .collect();
        write_tensors(&path, DType::F32, &shapes, durability, |name| {
            Ok(parameters[name].value.to_bytes())
        })?;
        write_json(&folder.join("adapter_config.json"), &described, durability)
    }

    /// Writes `model.safetensors` of a Hugging Face folder into `folder`, which
    /// is there: what is trained with its values, all else from `source`, the
    /// files that the model was opened from. Values are rounded to the nearest
    /// `dtype`. The folder's other files are the caller's to copy.
    ///
    /// # Errors
    /// `Tensors` if something is trained that such a file has no place for, as
    /// LoRA is, or `source` does not hold the rest; `File` if a file cannot be
    /// read or written; `OutOfMemory`.
    pub fn save_model(
        &mut self,
        folder: &Path,
        dtype: DType,
        source: &Weights,
        durability: Durability,
    ) -> Result<()> {
        let path = folder.join("model.safetensors");
        let shapes = shapes(self.config());
        let device = self.device().clone();
        let parameters = by_name(self);
        let misplaced = parameters.keys().filter(|name| !shapes.contains_key(*name));
        let problems: Vec<String> = misplaced
            .map(|name| format!("{name} has no place in a model's file"))
            .collect();
        if !problems.is_empty() {
            return Err(Error::Tensors {
                path,
                problems,
                hint: None,
            });
        }
        let mut rest = shapes.clone();
        rest.retain(|name, _| !parameters.contains_key(name));
        source.check(&rest, |_| true)?;
        write_tensors(&path, dtype, &shapes, durability, |name| {
            let Some(parameter) = parameters.get(name) else {
                return Ok(source.tensor(&device, name, dtype)?.to_bytes());
            };
            Ok(match dtype {
                DType::F32 => parameter.value.to_bytes(),
                DType::BF16 => ops::cast(&parameter.value, dtype)?.to_bytes(),
            })
        })
    }
}

fn by_name(model: &mut Decoder) -> BTreeMap<String, &Parameter> {
    let parameters = model.parameters().into_iter();
    parameters
        .map(|parameter| (parameter.name.clone(), &*parameter))
        .collect()
}

/// A file that says another rank than its tensors have would load nowhere.
fn check_rank(
    path: &Path,
    parameters: &BTreeMap<String, &Parameter>,
    config: &LoraConfig,
) -> Result<()> {
    let ranks = parameters.iter().map(|(name, parameter)| {
        let axis = usize::from(name.contains(".lora_B."));
        (name, parameter.value.shape()[axis])
    });
    let mut problems: Vec<String> = ranks
        .filter(|(_, rank)| *rank != config.r)
        .map(|(name, rank)| format!("{name}: expected the rank {}, found {rank}", config.r))
        .collect();
    if parameters.is_empty() {
        problems.push("the model has no LoRA to save".to_owned());
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Tensors {
        path: path.to_path_buf(),
        problems,
        hint: None,
    })
}

/// The last part of the name of a parameter's layer: `q_proj`.
fn layer(parameter: &str) -> Option<&str> {
    let (layer, _) = parameter.split_once(".lora_")?;
    layer.rsplit('.').next()
}

/// `adapter_config.json`, with the fields that all of PEFT's versions know.
fn adapter_config(base: &str, config: &LoraConfig, layers: &BTreeSet<&str>) -> Json {
    let target_modules: BTreeSet<&str> = match &config.target_modules {
        TargetModules::Name(name) if name == "all-linear" => layers.clone(),
        // PEFT takes a text for a regular expression of whole names.
        TargetModules::Name(name) => [name.as_str()].into(),
        TargetModules::Names(names) => names.iter().map(String::as_str).collect(),
    };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": whole_if_it_is(config.lora_alpha),
        "lora_dropout": decimal(config.lora_dropout),
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": target_modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.use_rslora,
    })
}

/// The decimal number with which this f32 is written: 0.05, and not all digits
/// of the nearest f32.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// PEFT has `lora_alpha` as an integer.
fn whole_if_it_is(value: f32) -> Json {
    let whole = value.to_string().parse::<i64>();
    whole.map_or_else(|_| decimal(value).into(), Json::from)
}
