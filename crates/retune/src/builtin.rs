//! The built-in base model: its files are part of the program. Where a command is told
//! `builtin`, they are laid into the user's cache folder, and that is opened like any other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Result;
use retune_generate::{Error, Source};
use retune_train::config::{ALIASES, Override};
use sha2::{Digest as _, Sha256};

use crate::outcome::input_fault;
use crate::output::cache_folder;

/// What the model is called instead of a folder. A folder of that name is `./builtin`.
pub(crate) const NAME: &str = "builtin";

const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../builtin/config.json")),
    (
        "generation_config.json",
        include_bytes!("../builtin/generation_config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../builtin/model.safetensors"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../builtin/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../builtin/tokenizer_config.json"),
    ),
];

/// The folder that `model` means: that of the built-in base if it is `builtin`, or where
/// that once lay in a cache and no longer does; else `model` itself.
pub(crate) fn resolve(model: &Path) -> Result<PathBuf> {
    match model.as_os_str() == NAME || is_lost(model) {
        true => in_cache(),
        false => Ok(model.to_path_buf()),
    }
}

/// [`Source::find`], with `builtin` for a folder or a base.
pub(crate) fn find(folder: &Path, base: Option<&Path>) -> Result<Source> {
    let folder = resolve(folder)?;
    let base = base.map(resolve).transpose()?;
    match Source::find(&folder, base.as_deref()) {
        Err(Error::NoBase { base, .. }) if base.as_os_str() == NAME || is_lost(&base) => {
            Ok(Source::find(&folder, Some(&in_cache()?))?)
        }
        Ok(source) if is_lost(&source.model) => Ok(Source {
            model: in_cache()?,
            ..source
        }),
        found => Ok(found?),
    }
}

/// `overrides` with the folder that the setting `model` means; it is now `model`.
pub(crate) fn resolved(overrides: &[Override], model: &Path) -> Result<Vec<Override>> {
    let folder = resolve(model)?;
    let mut overrides = overrides.to_vec();
    if folder != model {
        replace(&mut overrides, "model", &folder);
    }
    Ok(overrides)
}

/// Puts `folder` in the place of what `overrides` say of the setting `name`.
pub(crate) fn replace(overrides: &mut Vec<Override>, name: &'static str, folder: &Path) {
    overrides.retain(|given| {
        let given = given.name.replace('-', "_");
        given != name && !ALIASES.contains(&(&given, name))
    });
    overrides.push(Override {
        name: name.to_owned(),
        values: vec![folder.display().to_string()],
        option: format!("{name}="),
    });
}

/// How it is trained, where nothing else is said: so small a model is trained as a whole,
/// at a higher rate than larger ones bear.
const TRAINING: [(&str, &str); 8] = [
    ("finetuning_type", "full"),
    ("num_train_epochs", "4"),
    ("per_device_train_batch_size", "8"),
    ("gradient_accumulation_steps", "1"),
    ("learning_rate", "5e-4"),
    ("lr_scheduler_type", "cosine"),
    ("min_lr", "1e-5"),
    ("weight_decay", "0.1"),
];

/// The settings that hold for training `model` where they are not given: those of the
/// built-in base, or none beside the usual ones.
pub(crate) fn training_defaults(model: &Path) -> Vec<Override> {
    let own = TRAINING.map(|(name, value)| Override {
        name: name.to_owned(),
        values: vec![value.to_owned()],
        option: format!("the built-in base's {name}"),
    });
    match model.as_os_str() == NAME || is_of_a_cache(model) {
        true => own.to_vec(),
        false => Vec::new(),
    }
}

/// `model` as one reads it: `builtin` for its folder in the cache.
pub(crate) fn shown(model: &Path) -> String {
    match is_of_a_cache(model) {
        true => NAME.to_owned(),
        false => model.display().to_string(),
    }
}

/// Writes the model's files into `folder`, which is there.
pub(crate) fn write(folder: &Path) -> Result<()> {
    for (name, bytes) in FILES {
        let path = folder.join(name);
        fs::write(&path, bytes)
            .map_err(|error| input_fault(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}

/// Whether `model` is where this program's base lay in a cache, and is not there.
fn is_lost(model: &Path) -> bool {
    is_of_a_cache(model) && !is_whole(model)
}

/// Whether `model` has the name that this program's base has in a cache.
fn is_of_a_cache(model: &Path) -> bool {
    let name = model.file_name().and_then(|name| name.to_str());
    // The hash takes some milliseconds.
    name.is_some_and(|name| name.starts_with(NAME) && name == folder_name())
}

/// The model's folder in the cache, which is written if it is not there.
fn in_cache() -> Result<PathBuf> {
    let cache = cache_folder()?;
    let folder = cache.join(folder_name());
    if is_whole(&folder) {
        return Ok(folder);
    }
    // Written whole beside it: another process may be doing the same.
    let problem = |error: std::io::Error| {
        input_fault(format!(
            "the built-in model cannot be written to {}: {error}\nhint: name another cache folder with RETUNE_CACHE, or write the model with retune builtin FOLDER and name that",
            folder.display()
        ))
    };
    fs::create_dir_all(&cache).map_err(problem)?;
    let beside = tempfile::Builder::new()
        .prefix("builtin-")
        .tempdir_in(&cache)
        .map_err(problem)?;
    write(beside.path())?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(problem)?;
    }
    match fs::rename(beside.path(), &folder) {
        Err(_) if is_whole(&folder) => {}
        Err(error) => return Err(problem(error)),
        Ok(()) => drop(beside.keep()),
    }
    Ok(folder)
}

/// Whether the files in `folder` are the model's, byte by byte.
fn is_whole(folder: &Path) -> bool {
    FILES
        .iter()
        .all(|(name, bytes)| fs::read(folder.join(name)).is_ok_and(|found| found == *bytes))
}

/// The folder's name in a cache, which tells this program's base from those of others.
fn folder_name() -> &'static str {
    &FOLDER_NAME
}

static FOLDER_NAME: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, bytes) in FILES {
        hash.update(name);
        hash.update(bytes);
    }
    let digest = hash.finalize();
    let hex: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{NAME}-{hex}")
});
