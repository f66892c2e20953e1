//! What the files of a model's folder hold.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::growth;
use crate::contained::contained;
use crate::error::{Error, Result};

/// The largest vocabularies take 40 MB as JSON.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// The names under which `tokenizer_config.json` has a model's special tokens,
/// and templates ask for them.
const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The sources of a model's templates.
pub(super) struct Sources {
    pub(super) plain: Option<String>,
    pub(super) tools: Option<String>,
}

pub(super) fn template_sources(folder: &Path, config: &Map<String, Json>) -> Result<Sources> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        return Ok(Sources {
            plain: Some(template_file(&path)?),
            tools: None,
        });
    }
    match config.get("chat_template") {
        None | Some(Json::Null) => Ok(Sources {
            plain: None,
            tools: None,
        }),
        Some(Json::String(source)) => Ok(Sources {
            plain: Some(source.clone()),
            tools: None,
        }),
        // Several templates, each with a name.
        Some(Json::Array(named)) => {
            let find = |wanted: &str| {
                let entry = named
                    .iter()
                    .find(|entry| entry.get("name").and_then(Json::as_str) == Some(wanted))?;
                Some(entry.get("template")?.as_str()?.to_owned())
            };
            Ok(Sources {
                plain: find("default"),
                tools: find("tool_use"),
            })
        }
        Some(_) => {
            let path = folder.join("tokenizer_config.json");
            let problem = "has a `chat_template` that is neither text nor a list of templates";
            Err(wrong(&path, problem.into()))
        }
    }
}

/// The chat template that a folder holds beside a tokenizer's configuration, if there is one.
///
/// # Errors
/// `File` if what is there cannot be read.
pub fn chat_template_of(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("tokenizer_config.json");
    let config = match path.exists() {
        true => serde_json::from_slice(&read(&path)?)
            .map_err(|error| wrong(&path, format!("is no JSON object: {error}")))?,
        false => Map::new(),
    };
    Ok(template_sources(folder, &config)?.plain)
}

/// Where to find what `folder` was named for, if it is no model's folder and its name tells:
/// a model of Hugging Face's hub, a file in another format, a file of a model's folder.
pub fn model_hint(folder: &Path) -> Option<String> {
    let extension = folder.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("gguf") => {
            return Some("GGUF is not read; name the folder with config.json and safetensors that the file was made of".to_owned());
        }
        Some("safetensors" | "bin" | "pt" | "pth") => {
            return Some("name the folder in which config.json and the weights lie".to_owned());
        }
        _ => {}
    }
    let text = folder.to_str().filter(|_| !folder.exists())?;
    let (owner, name) = text.split_once('/')?;
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && characters.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let on_the_hub = is_name(owner) && is_name(name) && !Path::new(owner).exists();
    on_the_hub.then(|| {
        format!("nothing is downloaded; if that is a model of Hugging Face's hub: hf download {text} --local-dir {name}, and name {name}")
    })
}

pub(super) fn template_file(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| wrong(path, format!("is not UTF-8: {error}")))
}

pub(super) fn stop_tokens(
    folder: &Path,
    tokenizer: &tokenizers::Tokenizer,
    variables: &Map<String, Json>,
) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let path = folder.join("generation_config.json");
    if path.exists() {
        let config: Json = serde_json::from_slice(&read(&path)?)
            .map_err(|error| wrong(&path, format!("is no JSON: {error}")))?;
        let ids = match config.get("eos_token_id") {
            Some(Json::Array(ids)) => ids.clone(),
            Some(id) => vec![id.clone()],
            None => Vec::new(),
        };
        let ids = ids.iter().filter_map(Json::as_u64);
        let named = ids.filter_map(|id| tokenizer.id_to_token(u32::try_from(id).ok()?));
        tokens.extend(named);
    }
    if let Some(Json::String(end)) = variables.get("eos_token")
        && !tokens.contains(end)
    {
        tokens.push(end.clone());
    }
    Ok(tokens)
}

/// The parts of a `tokenizer.json` that are looked at before the crate reads it:
/// its vocabulary is by far the most, and passed over.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    model: Option<OutlineOfModel>,
}

#[derive(Deserialize)]
struct OutlineOfModel {
    dropout: Option<f64>,
}

/// A tokenizer from its JSON, without the limits and the padding of whoever saved
/// it, which are not part of the model, and without dropout: the same text has the
/// same tokens.
pub(super) fn parsed(path: &Path, mut bytes: Vec<u8>) -> Result<tokenizers::Tokenizer> {
    if bytes.starts_with(b"version https://git-lfs") {
        let problem = "is git-lfs's note of a file that was not fetched\nhint: git lfs install, then git lfs pull in its folder";
        return Err(wrong(path, problem.to_owned()));
    }
    let problem = |problem: String| wrong(path, format!("is no tokenizer: {problem}"));
    let outline: Outline =
        serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
    if let Some(fault) = growth::fault([&outline.normalizer, &outline.pre_tokenizer]) {
        return Err(problem(fault));
    }
    if outline.model.is_some_and(|model| model.dropout.is_some()) {
        let mut json: Json =
            serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
        json["model"]["dropout"] = Json::Null;
        bytes = json.to_string().into_bytes();
    }
    let mut tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(bytes))
        .unwrap_or_else(|panic| Err(panic.into()))
        .map_err(|error| problem(error.to_string()))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| wrong(path, error.to_string()))?;
    Ok(tokenizer)
}

/// The texts of added tokens, or of special ones alone.
pub(super) fn added_texts(tokenizer: &tokenizers::Tokenizer, special: bool) -> Vec<String> {
    let mut special: Vec<String> = tokenizer
        .get_added_tokens_decoder()
        .into_values()
        .filter(|token| (token.special || !special) && !token.content.is_empty())
        .map(|token| token.content)
        .collect();
    special.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    special
}

/// A special token stands as its text, or as an object with `content`.
pub(super) fn special_tokens(config: &Map<String, Json>) -> Map<String, Json> {
    let text = |token: &Json| match token {
        Json::String(text) => Some(text.clone()),
        Json::Object(token) => Some(token.get("content")?.as_str()?.to_owned()),
        _ => None,
    };
    let tokens = SPECIAL_TOKENS.iter().filter_map(|name| {
        let token = config.get(*name).and_then(text)?;
        Some(((*name).to_owned(), Json::String(token)))
    });
    tokens.collect()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| wrong(path, format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(wrong(path, problem));
    }
    Ok(bytes)
}

pub(super) fn wrong(path: &Path, problem: String) -> Error {
    Error::File {
        path: PathBuf::from(path),
        problem,
    }
}
