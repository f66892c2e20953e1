//! What a run is told where the user says nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use retune_compute::DeviceChoice;
use retune_data::source::SampleBy;
use retune_data::{Encoder, Learn, OverLong};

use super::{FinetuningType, OnNonfinite, Precision, SchedulerType, Switch, TrainConfig};

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
            sample_by: SampleBy::Line,
            skip_bad_rows: false,
            chat_template: None,
            system: None,
            train_on: Learn::AllAnswers,
            max_length: Encoder::DEFAULT_MAX_LENGTH,
            over_long: OverLong::Drop,
            validation_split: 0.05,
            validation_data: Vec::new(),
            eval_steps: 100,
            sample_prompts: Vec::new(),
            sample_max_new_tokens: 48,
            do_predict: false,
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
            on_nonfinite: OnNonfinite::Stop,
            seed: 42,
            disable_shuffling: false,
            device: DeviceChoice::Auto,
            threads: None,
            precision: Precision::Auto,
            gradient_checkpointing: Switch::Auto,
            memory: None,
            logging_steps: 10,
            logging_histograms: false,
            save_steps: 100,
            save_total_limit: 3,
        }
    }
}
