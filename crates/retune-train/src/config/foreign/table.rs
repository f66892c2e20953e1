//! Which settings of other programs are known, and what becomes of each.

/// Settings without effect if they have one of the `words`, or whatever they have.
pub(super) struct Idle {
    pub(super) names: &'static [&'static str],
    pub(super) words: &'static [&'static str],
    pub(super) reason: &'static str,
}

const ANY: &[&str] = &[];

pub(super) const IDLE: &[Idle] = &[
    Idle {
        names: &[
            "report_to",
            "logging_dir",
            "logging_first_step",
            "plot_loss",
            "run_name",
            "use_swanlab",
            "swanlab_project",
            "wandb_project",
            "wandb_entity",
            "wandb_name",
            "wandb_run_id",
            "wandb_watch",
            "wandb_log_model",
            "disable_tqdm",
            "include_num_input_tokens_seen",
            "include_tokens_per_second",
        ],
        words: ANY,
        reason: "logs are files in output_dir, TensorBoard's among them",
    },
    Idle {
        names: &[
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_prefetch_factor",
            "preprocessing_num_workers",
            "preprocessing_batch_size",
            "dataset_num_proc",
            "dataset_processes",
        ],
        words: ANY,
        reason: "threads: N says how many cores are used",
    },
    Idle {
        names: &["overwrite_cache", "dataset_prepared_path", "tokenized_path"],
        words: ANY,
        reason: "tokenised data are known again by their contents, and made anew where those changed",
    },
    Idle {
        names: &["packing", "neat_packing", "sample_packing"],
        words: ANY,
        reason: "samples are always packed, and do not see each other; per_device_train_batch_size counts samples, not packed sequences",
    },
    Idle {
        names: &["group_by_length"],
        words: ANY,
        reason: "a step's samples are drawn at random; there is no padding to spare",
    },
    Idle {
        names: &[
            "eval_sample_packing",
            "pad_to_sequence_len",
            "pad_to_multiple_of",
            "dataloader_drop_last",
        ],
        words: ANY,
        reason: "there is no padding",
    },
    Idle {
        names: &[
            "flash_attn",
            "flash_attention",
            "sdp_attention",
            "xformers_attention",
            "eager_attention",
            "attn_implementation",
            "enable_liger_kernel",
            "use_liger_kernel",
            "use_unsloth",
            "tf32",
        ],
        words: ANY,
        reason: "the fastest exact way to compute it is taken",
    },
    Idle {
        names: &["trust_remote_code"],
        words: ANY,
        reason: "no code of a model's folder is ever run",
    },
    Idle {
        names: &[
            "model_type",
            "tokenizer_type",
            "use_fast_tokenizer",
            "is_llama_derived_model",
        ],
        words: ANY,
        reason: "the model's folder says what it is",
    },
    Idle {
        names: &["template"],
        words: ANY,
        reason: "the model's own chat template is used, which may write prompts otherwise; chat_template: FILE is another",
    },
    Idle {
        names: &[
            "per_device_eval_batch_size",
            "eval_batch_size",
            "eval_accumulation_steps",
        ],
        words: ANY,
        reason: "how many samples are validated on at a time follows from the memory",
    },
    Idle {
        names: &[
            "load_best_model_at_end",
            "metric_for_best_model",
            "greater_is_better",
        ],
        words: ANY,
        reason: "the best and the last checkpoint are always kept",
    },
    Idle {
        names: &["save_only_model", "save_safetensors"],
        words: ANY,
        reason: "checkpoints are safetensors with what is needed to go on, and save_total_limit says how many stay",
    },
    Idle {
        names: &["overwrite_output_dir"],
        words: ANY,
        reason: "every run has a folder of its own, and --resume goes on with one",
    },
    Idle {
        names: &["ddp_timeout", "ddp_find_unused_parameters", "local_rank"],
        words: ANY,
        reason: "a run is one process",
    },
    Idle {
        names: &["data_seed"],
        words: ANY,
        reason: "everything random is drawn from seed",
    },
    Idle {
        names: &["peft_type", "task_type"],
        words: ANY,
        reason: "the adapter is written in PEFT's format with it",
    },
    Idle {
        names: &["strict", "remove_unused_columns"],
        words: ANY,
        reason: "all settings are checked, and of data the columns are taken that are needed",
    },
    Idle {
        names: &["do_train"],
        words: &["true"],
        reason: "retune train trains",
    },
    Idle {
        names: &["loss_watchdog_threshold", "loss_watchdog_patience"],
        words: ANY,
        reason: "a run ends by itself where its loss is not finite; early_stopping_patience ends others",
    },
    Idle {
        names: &["do_eval"],
        words: ANY,
        reason: "validation_split or validation_data switch validation on",
    },
    Idle {
        names: &["optim", "optimizer"],
        words: &[
            "adamw",
            "adamw_torch",
            "adamw_torch_fused",
            "adamw_hf",
            "adamw_8bit",
            "adamw_bnb_8bit",
            "paged_adamw_8bit",
            "paged_adamw_32bit",
        ],
        reason: "AdamW is the optimizer, with moments in f32",
    },
    Idle {
        names: &[
            "eval_strategy",
            "evaluation_strategy",
            "save_strategy",
            "logging_strategy",
        ],
        words: &["steps"],
        reason: "eval_steps, save_steps and logging_steps say how often",
    },
    Idle {
        names: &["stage"],
        words: &["sft"],
        reason: "answers are learned unless train_on says otherwise",
    },
    Idle {
        names: &["bias"],
        words: &["none"],
        reason: "LoRA trains no biases",
    },
];

/// A setting with a value that are ours under other names: key and word, setting and value.
pub(super) const SAME: &[(&str, &str, &str, &str)] = &[
    ("bf16", "true", "precision", "bf16"),
    ("bf16", "auto", "precision", "auto"),
    ("bf16", "false", "precision", "f32"),
    ("pure_bf16", "true", "precision", "bf16"),
    ("stage", "pt", "train_on", "whole-text"),
    ("train_on_inputs", "true", "train_on", "whole-text"),
    ("train_on_prompt", "true", "train_on", "whole-text"),
    ("mask_history", "true", "train_on", "last-answer"),
    ("lora_target_linear", "true", "target_modules", "all-linear"),
    ("adapter", "lora", "finetuning_type", "lora"),
    (
        "lr_scheduler_type",
        "constant_with_warmup",
        "lr_scheduler_type",
        "constant",
    ),
    (
        "lr_scheduler",
        "constant_with_warmup",
        "lr_scheduler_type",
        "constant",
    ),
];

/// Settings of several names in one text, with commas between them, as LLaMA-Factory has them.
pub(super) const LISTS: &[&str] = &[
    "dataset",
    "eval_dataset",
    "lora_target",
    "lora_target_modules",
    "target_modules",
];

/// Axolotl's types of data, with our names of their layouts.
pub(super) const LAYOUTS: &[(&str, &str)] = &[
    ("alpaca", "alpaca"),
    ("sharegpt", "sharegpt"),
    ("chat_template", "messages"),
    ("completion", "text"),
];

/// What cannot be switched off.
pub(super) const ALWAYS_ON: &[&str] = &[
    "do_train",
    "eval_strategy",
    "evaluation_strategy",
    "save_strategy",
    "logging_strategy",
    "stage",
];

const NO_QUANTISATION: &str =
    "leave it out; weights are not quantised. precision: bf16 halves them";
const NOT_ALL: &str =
    "leave it out; LoRA trains its own terms alone. finetuning_type: full trains all";
const ONE_PROCESS: &str = "leave it out; a run is one process";
const SHORTER: &str =
    "leave it out; a shorter file is a smaller trial, and max_steps ends a run early";
const ONLY_STEPS: &str =
    "leave it out; eval_steps, save_steps and logging_steps say how often, and always count";
const FILES: &str = "write data: FILE, or several, and layout and columns if need be; names of datasets are not looked up";
const NO_UPLOAD: &str = "leave it out; nothing is uploaded";
const PREPARED: &str = "leave it out; the tokenizer of the model's folder is used as it is";

/// Settings that are refused unless they are empty or stand above, each with what to write.
pub(super) const ABSENT: &[(&str, &str)] = &[
    (
        "fp16",
        "write precision: bf16 or precision: f32; float16 is not computed in",
    ),
    ("bf16", "write precision: bf16"),
    ("pure_bf16", "write precision: bf16"),
    (
        "batch_size",
        "write per_device_train_batch_size and gradient_accumulation_steps",
    ),
    (
        "do_train",
        "leave it out; retune eval and retune generate do not train",
    ),
    ("optim", "leave it out; AdamW is the optimizer"),
    ("optimizer", "leave it out; AdamW is the optimizer"),
    (
        "stage",
        "leave it out for fine-tuning (sft); for pre-training (pt) write train_on: whole-text",
    ),
    ("eval_strategy", ONLY_STEPS),
    ("evaluation_strategy", ONLY_STEPS),
    ("save_strategy", ONLY_STEPS),
    ("logging_strategy", ONLY_STEPS),
    (
        "evals_per_epoch",
        "write eval_steps, which counts optimizer steps",
    ),
    (
        "saves_per_epoch",
        "write save_steps, which counts optimizer steps",
    ),
    ("dataset_dir", "leave it out; write paths of files in data"),
    ("dataset_info", FILES),
    ("datasets", FILES),
    ("test_datasets", "write validation_data: FILE, or several"),
    ("dataset_text_field", "write columns: {text: NAME}"),
    (
        "train_on_inputs",
        "write train_on: whole-text for true, train_on: all-answers for false",
    ),
    (
        "train_on_prompt",
        "write train_on: whole-text for true, train_on: all-answers for false",
    ),
    ("mask_history", "write train_on: last-answer"),
    ("lora_target_linear", "write target_modules: all-linear"),
    ("load_in_8bit", NO_QUANTISATION),
    ("load_in_4bit", NO_QUANTISATION),
    ("quantization_bit", NO_QUANTISATION),
    ("quantization_method", NO_QUANTISATION),
    (
        "use_dora",
        "leave it out; there is LoRA, with use_rslora if you like",
    ),
    ("bias", "leave it out; LoRA trains no biases"),
    ("modules_to_save", NOT_ALL),
    ("lora_modules_to_save", NOT_ALL),
    ("additional_target", NOT_ALL),
    ("deepspeed", ONE_PROCESS),
    ("fsdp", ONE_PROCESS),
    ("fsdp_config", ONE_PROCESS),
    ("max_samples", SHORTER),
    ("max_train_samples", SHORTER),
    (
        "resume_from_checkpoint",
        "write retune train --resume, or --resume FOLDER",
    ),
    (
        "auto_resume_from_checkpoints",
        "write retune train --resume",
    ),
    (
        "lr_scheduler_kwargs",
        "write min_lr, the floor that the rate falls to",
    ),
    (
        "cosine_min_lr_ratio",
        "write min_lr, the floor that the rate falls to",
    ),
    (
        "neftune_noise_alpha",
        "leave it out; no noise is added to embeddings",
    ),
    ("push_to_hub", NO_UPLOAD),
    ("hub_model_id", NO_UPLOAD),
    ("hub_strategy", NO_UPLOAD),
    ("special_tokens", PREPARED),
    ("tokens", PREPARED),
    ("resize_vocab", PREPARED),
    (
        "debug",
        "leave it out; retune data inspect shows what is learned from each row",
    ),
];
