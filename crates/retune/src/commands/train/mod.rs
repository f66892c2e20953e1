//! `retune train`: fine-tuning.

mod args;

use anyhow::Result;
use retune_train::TrainConfig;

use crate::outcome::input_fault;
pub(crate) use args::{TrainArgs, config};

/// Fine-tune a model on data files.
///
/// Settings come from a file in YAML or TOML, from options, or from both; options
/// go over the file. Their names are those of Hugging Face and PEFT, and the
/// defaults are enough for most:
///
///   retune train --model Qwen2.5-0.5B-Instruct --data dialogues.json
///
///   retune train lora.yaml learning_rate=5e-5 --output_dir second
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: TrainArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match config(&args.settings)? {
        Some(config) => run_training(&config),
        None => Ok(()),
    }
}

fn run_training(_config: &TrainConfig) -> Result<()> {
    Err(input_fault(
        "the settings are good, but training is not built yet",
    ))
}
