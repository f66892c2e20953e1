//! What a run is told: one flat table of settings, with the names of Hugging
//! Face and PEFT.
//!
//! [`TrainConfig`] is the one source of truth. Its JSON schema is derived from
//! it, and from the schema come the options of the command line, the checks of
//! each value ([`TrainConfig::load`]) and the file that is printed
//! ([`TrainConfig::to_yaml`]).

mod arguments;
mod check;
mod choices;
mod defaults;
mod field;
mod foreign;
mod given;
mod load;
mod memory;
mod names;
mod overruled;
mod paths;
mod print;
mod rules;
mod schema;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use retune_compute::DeviceChoice;
use retune_data::layout::Layout;
use retune_data::source::{Format, SampleBy};
use retune_data::{Learn, OverLong};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use choices::{
    DEVICES, FinetuningType, OnNonfinite, Precision, SchedulerType, Switch, device_choice,
};
pub use field::{Field, Kind, fields};
pub use foreign::{PassedOver, foreign_names};
pub use load::{Override, Purpose};
pub use memory::MemorySize;
pub use names::ALIASES;
pub use schema::json_schema;

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The model's folder, in Hugging Face's layout
    pub model: PathBuf,
    /// Data files, or folders of them
    #[schemars(schema_with = "schema::one_or_many")]
    pub data: Vec<PathBuf>,
    /// Where checkpoints and logs are written
    pub output_dir: PathBuf,

    /// What is trained: lora or full
    pub finetuning_type: FinetuningType,
    /// LoRA: the rank of the added terms
    #[schemars(range(min = 1))]
    pub r: usize,
    /// LoRA: the added terms are scaled by this over r
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lora_alpha: f64,
    /// LoRA: the share of inputs that each added term leaves out
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub lora_dropout: f64,
    /// LoRA: scale by lora_alpha over the square root of r instead
    pub use_rslora: bool,
    /// LoRA: the linear layers that get a term, by name, or all-linear
    #[schemars(schema_with = "schema::one_or_many")]
    pub target_modules: Vec<String>,
    /// LoRA: a PEFT adapter to start from, whose r, lora_alpha and target_modules apply
    pub adapter: Option<PathBuf>,
    /// Full: tensors that are not trained, such as embed_tokens or model.layers.0.*
    #[schemars(schema_with = "schema::one_or_many")]
    pub freeze: Vec<String>,

    /// The files' format [default: by their names]
    #[serde(with = "choices::named_option")]
    #[schemars(schema_with = "choices::named_option::schema::<Format>")]
    pub format: Option<Format>,
    /// The files' encoding, such as gb18030 [default: by their bytes]
    pub encoding: Option<String>,
    /// The files' layout, such as alpaca or sharegpt [default: by their columns]
    #[serde(with = "choices::named_option")]
    #[schemars(schema_with = "choices::named_option::schema::<Layout>")]
    pub layout: Option<Layout>,
    /// Which of the files' columns is what, such as instruction: question
    pub columns: BTreeMap<String, String>,
    /// What one sample of a plain text is: line, paragraph or document
    #[serde(with = "choices::named")]
    #[schemars(schema_with = "choices::named::schema::<SampleBy>")]
    pub sample_by: SampleBy,
    /// Leave out rows that cannot be used, and list them
    pub skip_bad_rows: bool,
    /// A chat template to use instead of the model's own
    pub chat_template: Option<PathBuf>,
    /// The system prompt of conversations that have none
    pub system: Option<String>,
    /// What is learned from: all-answers, last-answer or whole-text
    #[serde(with = "choices::named")]
    #[schemars(schema_with = "choices::named::schema::<Learn>")]
    pub train_on: Learn,
    /// The most tokens that a sample may have
    #[schemars(range(min = 2, max = 16_777_216))]
    pub max_length: usize,
    /// What is done with longer conversations: drop, truncate-prompt, truncate-answer or error
    #[serde(with = "choices::named")]
    #[schemars(schema_with = "choices::named::schema::<OverLong>")]
    pub over_long: OverLong,

    /// The share of samples that is kept back to validate on; duplicates stay on one side
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub validation_split: f64,
    /// Files to validate on, instead of a share of the data
    #[schemars(schema_with = "schema::one_or_many")]
    pub validation_data: Vec<PathBuf>,
    /// Optimizer steps between validations
    #[schemars(range(min = 1))]
    pub eval_steps: u64,
    /// Prompts that are answered at each validation
    #[schemars(schema_with = "schema::one_or_many")]
    pub sample_prompts: Vec<String>,
    /// The most tokens of such an answer
    #[schemars(range(min = 1))]
    pub sample_max_new_tokens: usize,
    /// When training is done, have the best checkpoint and its base answer validation_data, and compare them
    pub do_predict: bool,
    /// Validations after which training stops if the loss has not fallen below its lowest
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub early_stopping_patience: Option<u32>,
    /// By how much the loss has to fall below its lowest for training to go on
    #[schemars(range(min = 0.0))]
    pub early_stopping_threshold: f64,

    /// General data of which some is mixed into every step, against forgetting
    #[schemars(schema_with = "schema::one_or_many")]
    pub replay_data: Vec<PathBuf>,
    /// The share of each step's samples that comes from replay_data
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub replay_ratio: f64,

    /// How often the data is gone through
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub num_train_epochs: f64,
    /// Optimizer steps, instead of num_train_epochs
    #[schemars(range(min = 1))]
    pub max_steps: Option<u64>,
    /// Samples of a step; how many go through the model at a time follows from the memory
    #[schemars(range(min = 1))]
    pub per_device_train_batch_size: usize,
    /// What per_device_train_batch_size is multiplied by for a step
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// How the rate falls after its warm-up: linear, cosine or constant
    pub lr_scheduler_type: SchedulerType,
    /// The share of all steps in which the rate rises
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub warmup_ratio: f64,
    /// Steps in which the rate rises, instead of warmup_ratio
    pub warmup_steps: Option<u64>,
    /// The rate at the end
    #[schemars(range(min = 0.0))]
    pub min_lr: f64,
    /// Rates of their own, by tensor name, such as lora_B: 1e-3; the longest name counts
    #[schemars(schema_with = "schema::rates")]
    pub learning_rates: BTreeMap<String, f64>,
    /// What the rate of a layer is to that of the layer above it
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub layerwise_lr_decay: f64,
    /// AdamW: how far weights are pulled to zero
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// AdamW: the decay of the mean gradient
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub adam_beta1: f64,
    /// AdamW: the decay of the mean square
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub adam_beta2: f64,
    /// AdamW: what is added to the root of the mean square
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub adam_epsilon: f64,
    /// The norm that all gradients together are scaled down to; 0 for no limit
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// What is done about a step whose loss or gradient is not finite: stop or skip
    pub on_nonfinite: OnNonfinite,
    /// What decides everything random
    pub seed: u64,
    /// Go through the data in the order of its files, in every epoch
    pub disable_shuffling: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N, an NVIDIA GPU
    #[serde(with = "choices::device")]
    #[schemars(schema_with = "choices::device::schema")]
    pub device: DeviceChoice,
    /// Threads [default: the machine's cores]
    #[schemars(range(min = 1))]
    pub threads: Option<usize>,
    /// The type of products' factors: auto, f32 or bf16
    pub precision: Precision,
    /// Compute activations again instead of keeping them: auto, on or off
    #[schemars(schema_with = "schema::switch")]
    pub gradient_checkpointing: Switch,
    /// The most memory to use, such as 8GB [default: what is free]
    pub memory: Option<MemorySize>,

    /// Optimizer steps between lines of the log
    #[schemars(range(min = 1))]
    pub logging_steps: u64,
    /// Log histograms of gradients
    pub logging_histograms: bool,
    /// Optimizer steps between checkpoints
    #[schemars(range(min = 1))]
    pub save_steps: u64,
    /// How many checkpoints are kept, the last and the best in any case; 0 for all
    pub save_total_limit: usize,
}
