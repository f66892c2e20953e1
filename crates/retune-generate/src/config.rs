//! `generation_config.json`: how a model's makers would have it sampled.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::sampling::Sampling;

/// The fields that mean something here; what is missing has Hugging Face's default.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    /// Some files have 50.0, or −1 for all.
    top_k: Option<f64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    no_repeat_ngram_size: Option<usize>,
    min_new_tokens: Option<usize>,
    max_new_tokens: Option<usize>,
}

impl Sampling {
    /// The defaults of the model in `folder`; Hugging Face's where its
    /// `generation_config.json` says nothing.
    ///
    /// # Errors
    /// `File` if that file is there and cannot be read.
    pub fn of_model(folder: &Path) -> Result<Self> {
        Self::default().over_model(folder)
    }

    /// The defaults of the model in `folder`; these where its `generation_config.json` says
    /// nothing.
    ///
    /// # Errors
    /// As [`Sampling::of_model`].
    pub fn over_model(&self, folder: &Path) -> Result<Self> {
        let default = self.clone();
        let path = folder.join("generation_config.json");
        let problem = |problem: String| Error::File {
            path: path.clone(),
            problem,
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(default);
            }
            Err(error) => return Err(problem(format!("cannot be read: {error}"))),
        };
        let record: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text)
            .map_err(|error| problem(format!("is no JSON object: {error}")))?;
        let found: GenerationConfig = serde_json::from_value(record.into())
            .map_err(|error| problem(format!("is no generation configuration: {error}")))?;
        let sampling = Self {
            do_sample: found.do_sample.unwrap_or(default.do_sample),
            temperature: found.temperature.unwrap_or(default.temperature),
            top_k: found.top_k.map_or(default.top_k, |k| k.max(0.0) as usize),
            top_p: found.top_p.unwrap_or(default.top_p),
            min_p: found.min_p.unwrap_or(default.min_p),
            repetition_penalty: found
                .repetition_penalty
                .unwrap_or(default.repetition_penalty),
            no_repeat_ngram_size: found
                .no_repeat_ngram_size
                .unwrap_or(default.no_repeat_ngram_size),
            min_new_tokens: found.min_new_tokens.unwrap_or(default.min_new_tokens),
            max_new_tokens: found.max_new_tokens.unwrap_or(default.max_new_tokens),
            ..default
        };
        sampling
            .check_values()
            .map_err(|error| problem(format!("makes no sense: {error}")))?;
        Ok(sampling)
    }
}
