//! Whether what the settings name is there.

use std::path::{Path, PathBuf};

use retune_data::source::find_files;

use super::TrainConfig;
use super::load::Given;
use crate::error::Mistake;

/// Missing files and folders, and what has to be named but is not.
pub(super) fn mistakes(config: &TrainConfig, given: &Given) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut wrong = |name: &str, problem: String, hint: &str| {
        if !given.bad.contains(name) {
            found.push(given.mistake(&[name], problem).hint(hint));
        }
    };
    if config.model.as_os_str().is_empty() {
        let hint = "write model: FOLDER, or --model FOLDER; it holds config.json, tokenizer.json and safetensors";
        wrong("model", "no model is named".to_owned(), hint);
    } else if let Some(problem) = without(&config.model, "config.json") {
        wrong("model", problem, &no_model(&config.model));
    }
    if config.data.is_empty() {
        let hint = "write data: FILE, or --data FILE";
        wrong("data", "no data is named".to_owned(), hint);
    }
    let lists: [(&str, &[PathBuf]); 3] = [
        ("data", &config.data),
        ("validation_data", &config.validation_data),
        ("replay_data", &config.replay_data),
    ];
    for (name, paths) in lists {
        for path in paths {
            if let Err(error) = find_files(std::slice::from_ref(path)) {
                let named = path.extension().is_none() && !path.exists();
                let hint = if named { A_NAME } else { RELATIVE };
                wrong(name, error.to_string(), hint);
            }
        }
    }
    if let Some(folder) = &config.adapter
        && let Some(problem) = without(folder, "adapter_config.json")
    {
        wrong(
            "adapter",
            problem,
            "name a folder that PEFT or retune wrote",
        );
    }
    if let Some(file) = &config.chat_template
        && !file.is_file()
    {
        let named = file.extension().is_none() && !file.exists();
        let hint = if named { OWN_TEMPLATE } else { RELATIVE };
        wrong("chat_template", is_no("file", file), hint);
    }
    if config.output_dir.as_os_str().is_empty() {
        wrong(
            "output_dir",
            "expected a folder, found nothing".to_owned(),
            "write output_dir: output",
        );
    } else if config.output_dir.is_file() {
        let problem = format!(
            "expected a folder, {} is a file",
            config.output_dir.display()
        );
        wrong("output_dir", problem, "choose another name");
    }
    found
}

const RELATIVE: &str = "paths begin in the folder in which retune is started";
const OWN_TEMPLATE: &str =
    "leave it out for the model's own template, or name a file that holds one in Jinja";
const A_NAME: &str = "name a file or a folder; names of dataset_info.json and of Hugging Face's hub are not looked up";

/// What to name instead of a folder that is no model's.
fn no_model(folder: &Path) -> String {
    let holds = |file: &str| folder.join(file).is_file();
    if holds("adapter_config.json") || holds("best") || holds("last") {
        return format!(
            "that is an adapter or a run; to go on from it, name its base as model, and adapter: {}",
            folder.display()
        );
    }
    let usual = "name a model's folder in Hugging Face's layout";
    retune_data::model_hint(folder).unwrap_or_else(|| usual.to_owned())
}

/// What is wrong with a folder that has to hold a file of that name.
fn without(folder: &Path, file: &str) -> Option<String> {
    if !folder.is_dir() {
        return Some(is_no("folder", folder));
    }
    let missing = !folder.join(file).is_file();
    missing.then(|| format!("{} holds no {file}", folder.display()))
}

fn is_no(kind: &str, path: &Path) -> String {
    match path.exists() {
        true => format!("{} is no {kind}", path.display()),
        false => format!("there is no {kind} {}", path.display()),
    }
}
