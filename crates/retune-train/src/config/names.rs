//! Names that other programs have for settings.

use super::foreign;

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
    ("lora_model_dir", "adapter"),
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

/// The name of ours that `key` means, if it is one or another name of one.
pub(super) fn meaning(key: &str) -> Option<&'static super::Field> {
    let key = key.replace('-', "_");
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
    super::field::field(alias.map_or(&key, |(_, name)| *name))
}

/// What to say of a key that is no setting.
pub(super) fn advice(key: &str) -> Option<String> {
    let key = key.replace('-', "_").to_lowercase();
    if let Some(hint) = foreign::hint(&key) {
        return Some(hint);
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
