//! What a checkpoint remembers beside the parameters.

use std::path::Path;
use std::thread::JoinHandle;

use retune_model::Weights;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::ABOUT;
use super::manifest::{add_file, hex};
use crate::config::{Precision, TrainConfig};
use crate::data::Fingerprints;
use crate::error::{Error, Result};
use crate::fit::Fit;
use crate::log::LogPosition;
use crate::spike::Losses;
use crate::trainer::Progress;

/// `trainer_state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub progress: Progress,
    /// Losses of the last steps.
    #[serde(default)]
    pub losses: Losses,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// What was trained, and on what.
    pub origin: Origin,
    /// How steps were cut into batches, on which the last bits depend.
    pub fit: Fit,
    /// Where the logs stood.
    pub log: Option<LogPosition>,
    pub settings: TrainConfig,
}

/// What a run's numbers come from beside its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// SHA-256 of the base model: `config.json` and its weights.
    pub base_model_sha256: String,
    /// Of the adapter that training began with.
    pub adapter_sha256: Option<String>,
    /// Hashes of the data's bytes, the tokenizer, the chat template and how they
    /// are read.
    pub data_sha256: String,
    /// The same of the data that are validated on, if these are files of their own.
    pub validation_sha256: Option<String>,
    /// The same of general data that are mixed in.
    pub replay_sha256: Option<String>,
    /// The type of products' factors: f32 or bf16.
    pub precision: Precision,
}

impl Origin {
    /// Reads all of the model to hash it.
    ///
    /// # Errors
    /// `Model` or `File` if it cannot be read.
    pub(crate) fn of(
        config: &TrainConfig,
        fingerprints: Fingerprints,
        precision: Precision,
    ) -> Result<Self> {
        let [data_sha256, validation_sha256, replay_sha256] = fingerprints;
        Ok(Self {
            base_model_sha256: model_hash(&config.model)?,
            adapter_sha256: config.adapter.as_deref().map(adapter_hash).transpose()?,
            data_sha256: data_sha256.unwrap_or_default(),
            validation_sha256,
            replay_sha256,
            precision,
        })
    }

    /// Whether an adapter belongs to this base model, as far as its `retune.json` says.
    ///
    /// # Errors
    /// `Data` if it was trained on another.
    pub(crate) fn check_base_of(&self, adapter: &Path) -> Result<()> {
        check_base(adapter, || Ok(self.base_model_sha256.clone()))
    }

    /// Which of the two are not the same, in words.
    pub(super) fn differences(&self, now: &Self) -> Vec<&'static str> {
        let parts = [
            (
                self.base_model_sha256 == now.base_model_sha256,
                "the base model has other contents",
            ),
            (
                self.adapter_sha256 == now.adapter_sha256,
                "the adapter that training began with has other contents",
            ),
            (
                self.data_sha256 == now.data_sha256,
                "the data, the tokenizer or the chat template has other contents",
            ),
            (
                self.validation_sha256 == now.validation_sha256,
                "validation_data has other contents",
            ),
            (
                self.replay_sha256 == now.replay_sha256,
                "replay_data has other contents",
            ),
            (
                self.precision == now.precision,
                "precision auto means another type on this machine; name it",
            ),
        ];
        let other = parts.into_iter().filter(|(same, _)| !same);
        other.map(|(_, problem)| problem).collect()
    }
}

/// The origin of a run that may still be on its way: of a large model, hashing takes longer
/// than opening it.
#[derive(Debug, Default)]
pub(crate) struct LateOrigin {
    known: Option<Origin>,
    coming: Option<JoinHandle<Result<Origin>>>,
}

impl LateOrigin {
    /// Begins to find it, beside what else is done.
    pub(crate) fn begin(&mut self, find: impl FnOnce() -> Result<Origin> + Send + 'static) {
        if self.known.is_none() && self.coming.is_none() {
            self.coming = Some(std::thread::spawn(find));
        }
    }

    /// The origin, when it is found; `find` does so if that was not begun.
    ///
    /// # Errors
    /// Those of finding it.
    pub(crate) fn get(&mut self, find: impl FnOnce() -> Result<Origin>) -> Result<&Origin> {
        let found = match (self.known.take(), self.coming.take()) {
            (Some(known), _) => known,
            (None, Some(coming)) => {
                let found = coming.join();
                found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
            }
            (None, None) => find()?,
        };
        Ok(self.known.insert(found))
    }
}

impl From<Origin> for LateOrigin {
    fn from(known: Origin) -> Self {
        Self {
            known: Some(known),
            coming: None,
        }
    }
}

/// Whether an adapter was trained on the base model in the folder `model`, as far as its
/// `retune.json` says. Reads all of the model.
///
/// # Errors
/// `Data` if it was trained on another; `Model` or `File` if files cannot be read.
pub fn check_adapter_base(adapter: &Path, model: &Path) -> Result<()> {
    check_base(adapter, || model_hash(model))
}

/// Whether an adapter says which base model it was trained on. PEFT's do not.
///
/// # Errors
/// `File` if its `retune.json` is damaged.
pub(crate) fn records_base(adapter: &Path) -> Result<bool> {
    Ok(about(adapter)?["origin"]["base_model_sha256"].is_string())
}

/// What retune wrote beside an adapter; null if there is nothing.
fn about(adapter: &Path) -> Result<Json> {
    let path = adapter.join(ABOUT);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(Json::Null);
    };
    serde_json::from_str(&text).map_err(|error| Error::File {
        path,
        problem: format!("is damaged: {error}"),
    })
}

fn check_base(adapter: &Path, hash: impl FnOnce() -> Result<String>) -> Result<()> {
    let about = about(adapter)?;
    match about["origin"]["base_model_sha256"].as_str() {
        Some(base) if base != hash()? => Err(Error::Data {
            problem: format!(
                "{} was trained on another base model, {}, whose SHA-256 is {base}\nhint: name that one as model; if this one is the same with another layout of its files, delete {ABOUT} from the adapter's folder",
                adapter.display(),
                about["base_model"].as_str().unwrap_or_default()
            ),
        }),
        _ => Ok(()),
    }
}

fn model_hash(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    add_file(&mut hash, &folder.join("config.json"))?;
    for file in Weights::open(folder)?.files() {
        add_file(&mut hash, file)?;
    }
    Ok(hex(&hash.finalize()))
}

fn adapter_hash(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        add_file(&mut hash, &folder.join(name))?;
    }
    Ok(hex(&hash.finalize()))
}
