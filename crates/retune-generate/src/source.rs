//! What a folder holds: a model, an adapter, or a run with checkpoints.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// A model to talk to, with what it was trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder of the base model, or of a model that was trained as a whole.
    pub model: PathBuf,
    /// The adapter's folder.
    pub adapter: Option<PathBuf>,
    /// The folder that a model which was trained as a whole began as, by its record.
    pub trained_from: Option<PathBuf>,
    /// The system prompt of its training.
    pub system: Option<String>,
    /// The chat template of its training, where that is known.
    pub chat_template: Option<String>,
}

impl Source {
    /// What there is in `folder`: a model's folder, an adapter's (PEFT's or ours), or a
    /// run's, of which the best checkpoint is taken, or else the last; or what a run's
    /// file `best` or `last` names. `base` is the
    /// model that an adapter belongs to, if it is not where the adapter says.
    ///
    /// # Errors
    /// `File` if there is none of these, with what there is, or `base` is given for a
    /// model; `NoBase` if an adapter's base is not there.
    pub fn find(folder: &Path, base: Option<&Path>) -> Result<Self> {
        let problem = |problem: String| Error::File {
            path: folder.to_path_buf(),
            problem,
        };
        if let (Some(pointer), Some(run)) = (pointer(folder), folder.parent()) {
            return Self::of_run(run, &[pointer], base);
        }
        if !folder.is_dir() {
            let found = match folder.exists() {
                true => "is no folder",
                false => "is not there",
            };
            let hint = retune_data::model_hint(folder)
                .or_else(|| folder.parent().and_then(checkpoints))
                .unwrap_or_else(|| "name a model's, an adapter's or a run's folder".to_owned());
            return Err(problem(format!("{found}\nhint: {hint}")));
        }
        if folder.join("adapter_config.json").is_file() {
            return Self::of_adapter(folder, base);
        }
        if folder.join("config.json").is_file() {
            if let Some(base) = base {
                return Err(problem(format!(
                    "is a whole model, which needs no base\nhint: leave out {}, or name an adapter",
                    base.display()
                )));
            }
            let about = about(folder)?;
            return Ok(Self {
                model: folder.to_path_buf(),
                adapter: None,
                trained_from: text(&about, "base_model").map(PathBuf::from),
                system: text(&about, "system"),
                chat_template: text(&about, "chat_template"),
            });
        }
        Self::of_run(folder, &POINTERS, base)
    }

    /// What the first of `pointers` names that names a checkpoint of the run in `folder`.
    fn of_run(folder: &Path, pointers: &[&str], base: Option<&Path>) -> Result<Self> {
        let mut lost = String::new();
        for pointer in pointers {
            let Ok(name) = std::fs::read_to_string(folder.join(pointer)) else {
                continue;
            };
            let checkpoint = folder.join(name.trim());
            // Nothing outside the run, and no run within it.
            let parts: Vec<Component<'_>> = Path::new(name.trim()).components().collect();
            let inside = matches!(parts[..], [Component::Normal(_)]);
            let is_model = |file: &str| checkpoint.join(file).is_file();
            if inside && (is_model("adapter_config.json") || is_model("config.json")) {
                return Self::find(&checkpoint, base);
            }
            let _ = write!(lost, "; {pointer} names {:?}, which is none", name.trim());
        }
        Err(Error::File {
            path: folder.to_path_buf(),
            problem: format!(
                "holds no model (config.json), no adapter (adapter_config.json) and no run with checkpoints{lost}; it holds {}\nhint: name a folder that holds one",
                contents(folder)
            ),
        })
    }

    fn of_adapter(folder: &Path, base: Option<&Path>) -> Result<Self> {
        let about = about(folder)?;
        let config = json(&folder.join("adapter_config.json"))?;
        let named = text(&about, "base_model")
            .or_else(|| text(&config, "base_model_name_or_path"))
            .map(PathBuf::from);
        let model = match (base, named) {
            (Some(base), _) => base.to_path_buf(),
            (None, Some(named)) if named.join("config.json").is_file() => named,
            (None, named) => {
                return Err(Error::NoBase {
                    path: folder.to_path_buf(),
                    base: named.unwrap_or_default(),
                });
            }
        };
        let chat_template = match text(&about, "chat_template") {
            Some(template) => Some(template),
            // PEFT's folders have that of the training in files of their own.
            None => retune_data::chat_template_of(folder)?,
        };
        Ok(Self {
            model,
            adapter: Some(folder.to_path_buf()),
            trained_from: None,
            system: text(&about, "system"),
            chat_template,
        })
    }
}

/// The files of a run that name a checkpoint.
const POINTERS: [&str; 2] = ["best", "last"];

/// Which of these `path` is, if it is one.
fn pointer(path: &Path) -> Option<&'static str> {
    let named = POINTERS.into_iter().find(|name| path.ends_with(name));
    named.filter(|_| path.is_file())
}

/// Says which checkpoints there are in the folder of a run.
fn checkpoints(run: &Path) -> Option<String> {
    // A name without a folder lies in the one where we are.
    let mut names = names_in(&Path::new(".").join(run));
    names.retain(|name| name.starts_with("checkpoint-"));
    // By their steps.
    names.sort_by_key(String::len);
    (!names.is_empty()).then(|| format!("the run holds {}", names.join(", ")))
}

/// What retune wrote beside an adapter or a model.
fn about(folder: &Path) -> Result<Json> {
    json(&folder.join("retune.json"))
}

/// A record in a file; null if that is not there.
fn json(path: &Path) -> Result<Json> {
    let wrong = |problem: String| Error::File {
        path: path.to_path_buf(),
        problem,
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Json::Null),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let read = serde_json::from_slice(&bytes);
    read.ok().filter(Json::is_object).ok_or_else(|| {
        wrong(
            "is damaged: it holds no JSON object\nhint: take the file from a copy, or another checkpoint"
                .to_owned(),
        )
    })
}

fn text(json: &Json, field: &str) -> Option<String> {
    json[field].as_str().map(str::to_owned)
}

/// The names in a folder, some of them.
fn contents(folder: &Path) -> String {
    let names = names_in(folder);
    match names.len() {
        0 => "nothing".to_owned(),
        1..=12 => names.join(", "),
        count => format!("{}, … ({count} in all)", names[..12].join(", ")),
    }
}

/// The names in a folder, in their order.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
