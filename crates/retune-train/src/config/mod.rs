//! What a run is told: one flat table of settings, with the names of Hugging
//! Face and PEFT.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What of the model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinetuningType {
    /// Low-rank terms beside frozen weights.
    Lora,
    /// All weights.
    Full,
}

/// How the rate falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerType {
    /// In a straight line to `min_lr`.
    Linear,
    /// Along half a cosine to `min_lr`.
    Cosine,
    /// Not at all.
    Constant,
}

/// A choice that may be left to retune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// As memory asks for.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The type of products' factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// `bf16` where the processor multiplies it, else `f32`.
    Auto,
    /// Everything in f32.
    F32,
    /// Weights and products in bf16, sums in f32.
    Bf16,
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The model's folder, in Hugging Face's layout
    #[serde(alias = "model_name_or_path")]
    pub model: PathBuf,
    /// Data files, or folders of them
    #[serde(alias = "dataset")]
    pub data: Vec<PathBuf>,
    /// Where checkpoints and logs are written
    pub output_dir: PathBuf,

    /// What is trained: lora or full
    pub finetuning_type: FinetuningType,
    /// LoRA: the rank of the added terms
    pub r: usize,
    /// LoRA: the added terms are scaled by this over r
    pub lora_alpha: f32,
    /// LoRA: the share of inputs that each added term leaves out
    pub lora_dropout: f32,
    /// LoRA: scale by lora_alpha over the square root of r instead
    pub use_rslora: bool,
    /// LoRA: the linear layers that get a term, by name, or all-linear
    pub target_modules: Vec<String>,
    /// LoRA: a PEFT adapter to start from, whose r, lora_alpha and target_modules apply
    pub adapter: Option<PathBuf>,
    /// Full: tensors that are not trained, such as embed_tokens or model.layers.0.*
    pub freeze: Vec<String>,

    /// The files' format [default: by their names]
    pub format: Option<String>,
    /// The files' encoding, such as gb18030 [default: by their bytes]
    pub encoding: Option<String>,
    /// The files' layout, such as alpaca or sharegpt [default: by their columns]
    pub layout: Option<String>,
    /// Which of the files' columns is what, such as instruction: question
    pub columns: BTreeMap<String, String>,
    /// What one sample of a plain text is: line, paragraph or file
    pub sample_by: String,
    /// Leave out rows that cannot be used, and list them
    pub skip_bad_rows: bool,
    /// A chat template to use instead of the model's own
    pub chat_template: Option<PathBuf>,
    /// The system prompt of conversations that have none
    pub system: Option<String>,
    /// What is learned from: all-answers, last-answer or whole-text
    pub train_on: String,
    /// The most tokens that a sample may have
    #[serde(alias = "cutoff_len", alias = "max_seq_length")]
    pub max_length: usize,
    /// What is done with longer conversations: drop, truncate-prompt, truncate-answer or error
    pub over_long: String,

    /// The share of samples that is kept back to validate on; duplicates stay on one side
    #[serde(alias = "val_size")]
    pub validation_split: f64,
    /// Files to validate on, instead of a share of the data
    pub validation_data: Vec<PathBuf>,
    /// Optimizer steps between validations
    pub eval_steps: u64,
    /// Prompts that are answered at each validation
    pub sample_prompts: Vec<String>,
    /// The most tokens of such an answer
    pub sample_max_new_tokens: usize,
    /// Validations without a better loss after which training stops
    pub early_stopping_patience: Option<u32>,
    /// How much lower a loss must be to count as better
    pub early_stopping_threshold: f64,

    /// General data of which some is mixed into every step, against forgetting
    pub replay_data: Vec<PathBuf>,
    /// The share of each step's samples that comes from replay_data
    pub replay_ratio: f64,

    /// How often the data is gone through
    pub num_train_epochs: f64,
    /// Optimizer steps, instead of num_train_epochs
    pub max_steps: Option<u64>,
    /// Samples that go through the model at a time
    pub per_device_train_batch_size: usize,
    /// Batches of an optimizer step
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate
    pub learning_rate: f64,
    /// How the rate falls after its warm-up: linear, cosine or constant
    pub lr_scheduler_type: SchedulerType,
    /// The share of all steps in which the rate rises
    pub warmup_ratio: f64,
    /// Steps in which the rate rises, instead of warmup_ratio
    pub warmup_steps: Option<u64>,
    /// The rate at the end
    pub min_lr: f64,
    /// Rates of their own, by tensor name, such as lora_B: 1e-3
    pub learning_rates: BTreeMap<String, f64>,
    /// What the rate of a layer is to that of the layer above it
    pub layerwise_lr_decay: f64,
    /// AdamW: how far weights are pulled to zero
    pub weight_decay: f64,
    /// AdamW: the decay of the mean gradient
    pub adam_beta1: f64,
    /// AdamW: the decay of the mean square
    pub adam_beta2: f64,
    /// AdamW: what is added to the root of the mean square
    pub adam_epsilon: f64,
    /// The norm that all gradients together are scaled down to; 0 for no limit
    pub max_grad_norm: f64,
    /// What decides everything random
    pub seed: u64,

    /// Where to compute: auto, cpu, cuda or mps
    pub device: String,
    /// Threads [default: the machine's cores]
    pub threads: Option<usize>,
    /// The type of products' factors: auto, f32 or bf16
    pub precision: Precision,
    /// Compute activations again instead of keeping them: auto, on or off
    pub gradient_checkpointing: Switch,
    /// The most memory to use, such as 8GB [default: what is free]
    pub memory: Option<String>,

    /// Optimizer steps between lines of the log
    pub logging_steps: u64,
    /// Log histograms of gradients
    pub logging_histograms: bool,
    /// Optimizer steps between checkpoints
    pub save_steps: u64,
    /// How many checkpoints are kept, besides the best one
    pub save_total_limit: Option<usize>,
}

impl Default for TrainConfig {
    /// The tutorial's settings, where it has one.
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            data: Vec::new(),
            output_dir: PathBuf::from("output"),
            finetuning_type: FinetuningType::Lora,
            r: 8,
            lora_alpha: 32.0,
            lora_dropout: 0.1,
            use_rslora: false,
            target_modules: vec!["all-linear".to_owned()],
            adapter: None,
            freeze: Vec::new(),
            format: None,
            encoding: None,
            layout: None,
            columns: BTreeMap::new(),
            sample_by: "line".to_owned(),
            skip_bad_rows: false,
            chat_template: None,
            system: None,
            train_on: "all-answers".to_owned(),
            max_length: 384,
            over_long: "drop".to_owned(),
            validation_split: 0.05,
            validation_data: Vec::new(),
            eval_steps: 100,
            sample_prompts: Vec::new(),
            sample_max_new_tokens: 48,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            replay_data: Vec::new(),
            replay_ratio: 0.0,
            num_train_epochs: 3.0,
            max_steps: None,
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 2,
            learning_rate: 1e-4,
            lr_scheduler_type: SchedulerType::Linear,
            warmup_ratio: 0.1,
            warmup_steps: None,
            min_lr: 1e-6,
            learning_rates: BTreeMap::new(),
            layerwise_lr_decay: 1.0,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            seed: 42,
            device: "auto".to_owned(),
            threads: None,
            precision: Precision::Auto,
            gradient_checkpointing: Switch::Auto,
            memory: None,
            logging_steps: 10,
            logging_histograms: false,
            save_steps: 100,
            save_total_limit: Some(3),
        }
    }
}
