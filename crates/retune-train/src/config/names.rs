//! Names that other programs have for settings.

/// Other programs' names that mean exactly the same, each with ours.
pub const ALIASES: &[(&str, &str)] = &[
    ("model_name_or_path", "model"),
    ("base_model", "model"),
    ("dataset", "data"),
    ("train_file", "data"),
    ("eval_dataset", "validation_data"),
    ("validation_file", "validation_data"),
    ("lora_rank", "r"),
    ("lora_r", "r"),
    ("lora_target", "target_modules"),
    ("lora_target_modules", "target_modules"),
    ("adapter_name_or_path", "adapter"),
    ("cutoff_len", "max_length"),
    ("max_seq_length", "max_length"),
    ("sequence_len", "max_length"),
    ("default_system", "system"),
    ("val_size", "validation_split"),
    ("val_set_size", "validation_split"),
    ("num_epochs", "num_train_epochs"),
    ("micro_batch_size", "per_device_train_batch_size"),
    ("lr", "learning_rate"),
    ("lr_scheduler", "lr_scheduler_type"),
    ("column", "columns"),
];

const LOGS: &str = "leave it out; logs are files in output_dir";
const KEPT: &str = "leave it out; the best and the last checkpoint are always kept";
const PACKED: &str = "leave it out; samples are always packed, without padding between them";
const ADAPTER_FILE: &str = "leave it out; the adapter is written in PEFT's format with it";
const NO_QUANTISATION: &str =
    "leave it out; weights are not quantised. precision: bf16 halves them";
const ONE_PROCESS: &str = "leave it out; a run is one process";
const SHORTER: &str =
    "leave it out; a shorter file is a smaller trial, and max_steps ends a run early";
const OWN_FOLDER: &str =
    "leave it out; every run has a folder of its own, and --resume goes on with one";
const CACHED: &str = "leave it out; tokenised data are known again by their contents, and made anew where those changed";
const STEPS: &str =
    "leave it out; eval_steps, save_steps and logging_steps say how often, and always count";

/// Well-known names of Hugging Face, LLaMA-Factory and Axolotl that have no
/// place here, each with what to write instead.
pub const FOREIGN: &[(&str, &str)] = &[
    (
        "fp16",
        "write precision: bf16 or precision: f32; float16 is not computed in",
    ),
    ("bf16", "write precision: bf16"),
    ("pure_bf16", "write precision: bf16"),
    ("tf32", "write precision: bf16 or precision: f32"),
    (
        "batch_size",
        "write per_device_train_batch_size and gradient_accumulation_steps",
    ),
    (
        "per_device_eval_batch_size",
        "leave it out; how many samples are validated on at a time follows from the memory",
    ),
    ("optim", "leave it out; AdamW is the optimizer"),
    ("optimizer", "leave it out; AdamW is the optimizer"),
    ("report_to", LOGS),
    ("logging_dir", LOGS),
    ("plot_loss", LOGS),
    (
        "dataloader_num_workers",
        "leave it out; threads: N says how many cores are used",
    ),
    (
        "preprocessing_num_workers",
        "leave it out; threads: N says how many cores are used",
    ),
    (
        "stage",
        "leave it out for fine-tuning (sft); for pre-training (pt) write train_on: whole-text",
    ),
    ("do_train", "leave it out; retune train trains"),
    (
        "do_eval",
        "leave it out; validation_split or validation_data switch validation on",
    ),
    ("eval_strategy", STEPS),
    ("evaluation_strategy", STEPS),
    ("save_strategy", STEPS),
    ("logging_strategy", STEPS),
    ("load_best_model_at_end", KEPT),
    ("metric_for_best_model", KEPT),
    (
        "template",
        "leave it out; the model's own chat template is used, or chat_template: FILE",
    ),
    ("dataset_dir", "leave it out; write paths of files in data"),
    (
        "dataset_info",
        "leave it out; write paths of files in data, and layout and columns if need be",
    ),
    ("group_by_length", PACKED),
    ("packing", PACKED),
    ("sample_packing", PACKED),
    ("pad_to_sequence_len", PACKED),
    (
        "train_on_inputs",
        "write train_on: whole-text for true, train_on: all-answers for false",
    ),
    (
        "train_on_prompt",
        "write train_on: whole-text for true, train_on: all-answers for false",
    ),
    ("mask_history", "write train_on: last-answer"),
    (
        "trust_remote_code",
        "leave it out; no code of a model's folder is ever run",
    ),
    ("load_in_8bit", NO_QUANTISATION),
    ("load_in_4bit", NO_QUANTISATION),
    ("quantization_bit", NO_QUANTISATION),
    (
        "use_dora",
        "leave it out; there is LoRA, with use_rslora if you like",
    ),
    ("peft_type", ADAPTER_FILE),
    ("task_type", ADAPTER_FILE),
    ("bias", "leave it out; LoRA trains no biases"),
    (
        "modules_to_save",
        "leave it out; LoRA trains its own terms alone. finetuning_type: full trains all",
    ),
    (
        "additional_target",
        "leave it out; LoRA trains its own terms alone. finetuning_type: full trains all",
    ),
    ("deepspeed", ONE_PROCESS),
    ("fsdp", ONE_PROCESS),
    ("ddp_timeout", ONE_PROCESS),
    ("max_samples", SHORTER),
    ("max_train_samples", SHORTER),
    ("overwrite_output_dir", OWN_FOLDER),
    (
        "resume_from_checkpoint",
        "write retune train --resume, or --resume FOLDER",
    ),
    ("overwrite_cache", CACHED),
    (
        "data_seed",
        "write seed, which everything random is drawn from",
    ),
    (
        "save_only_model",
        "leave it out; checkpoints hold what is needed to go on, and save_total_limit says how many stay",
    ),
    (
        "lr_scheduler_kwargs",
        "write min_lr, the floor that the rate falls to",
    ),
    (
        "eval_accumulation_steps",
        "leave it out; how many samples are validated on at a time follows from the memory",
    ),
    (
        "flash_attn",
        "leave it out; attention never keeps its matrix",
    ),
    (
        "flash_attention",
        "leave it out; attention never keeps its matrix",
    ),
];

/// The name of ours that `key` means, if it is one or another name of one.
pub(super) fn meaning(key: &str) -> Option<&'static super::Field> {
    let key = key.replace('-', "_");
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
    super::field::field(alias.map_or(&key, |(_, name)| *name))
}

/// What to say of a key that is no setting.
pub(super) fn advice(key: &str) -> Option<String> {
    let key = key.replace('-', "_").to_lowercase();
    if let Some((_, hint)) = FOREIGN.iter().find(|(name, _)| *name == key) {
        return Some((*hint).to_owned());
    }
    let names = super::fields().iter().map(|field| field.name.as_str());
    let known: Vec<&str> = names
        .chain(ALIASES.iter().map(|(alias, _)| *alias))
        .collect();
    nearest(&key, known).map(|name| format!("did you mean {name}?"))
}

/// The name that differs least from `word`, if it is not another word altogether.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(word, name);
    let rated = names.into_iter().map(|name| (name, likeness(name)));
    let best = rated.max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.filter(|(_, likeness)| *likeness >= 0.6)
        .map(|(name, _)| name)
}
