//! A model's tokenizer and chat template, from its folder.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};
use crate::template::ChatTemplate;

/// Marks a special token inside a user's text until the template is rendered.
/// It is no character, and stands in no text.
const GUARD: char = '\u{fdd0}';

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

/// The tokenizer of a model folder, with its chat template.
pub struct Tokenizer {
    /// Knows special tokens when it sees them.
    plain: tokenizers::Tokenizer,
    /// Takes them for text.
    literal: tokenizers::Tokenizer,
    template: ChatTemplate,
    /// What every template gets.
    variables: Map<String, Json>,
    /// The texts of special tokens, the longest first.
    special: Vec<String>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and, if it is there,
    /// `chat_template.jinja` from `folder`.
    ///
    /// # Errors
    /// `File` if a file is missing or not what it should be; `TemplateSyntax`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let mut plain = tokenizers::Tokenizer::from_bytes(read(&path)?)
            .map_err(|error| wrong(&path, format!("is no tokenizer: {error}")))?;
        // Limits and padding of whoever saved it are not part of the model.
        plain.with_padding(None);
        plain
            .with_truncation(None)
            .map_err(|error| wrong(&path, error.to_string()))?;
        let mut literal = plain.clone();
        literal.set_encode_special_tokens(true);
        let path = folder.join("tokenizer_config.json");
        let config: Map<String, Json> = serde_json::from_slice(&read(&path)?)
            .map_err(|error| wrong(&path, format!("is no JSON object: {error}")))?;
        let mut special: Vec<String> = plain
            .get_added_tokens_decoder()
            .into_values()
            .filter(|token| token.special && !token.content.is_empty())
            .map(|token| token.content)
            .collect();
        special.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        Ok(Self {
            plain,
            literal,
            template: ChatTemplate::new(&template_source(folder, &config)?)?,
            variables: special_tokens(&config),
            special,
        })
    }

    /// The text of `messages` under the chat template. Special tokens inside
    /// the messages are guarded; [`Tokenizer::encode`] takes them for text.
    pub(crate) fn render(&self, messages: &[Json], prompt: bool) -> Result<String> {
        let mut variables = self.variables.clone();
        let messages = messages
            .iter()
            .map(|message| self.guarded(message))
            .collect();
        variables.insert("messages".into(), Json::Array(messages));
        variables.insert("tools".into(), Json::Null);
        variables.insert("documents".into(), Json::Null);
        variables.insert("add_generation_prompt".into(), Json::Bool(prompt));
        self.template.render(&variables)
    }

    fn guarded(&self, value: &Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.guard(text)),
            Json::Array(items) => items.iter().map(|item| self.guarded(item)).collect(),
            Json::Object(fields) => {
                let fields = fields.iter();
                fields
                    .map(|(key, value)| (key.clone(), self.guarded(value)))
                    .collect()
            }
            other => other.clone(),
        }
    }

    /// Puts [`GUARD`] behind the first character of each special token.
    fn guard(&self, text: &str) -> String {
        if !self
            .special
            .iter()
            .any(|token| text.contains(token.as_str()))
        {
            return text.to_owned();
        }
        let mut guarded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            guarded.push(c);
            if let Some(token) = self.special.iter().find(|token| rest.starts_with(*token)) {
                guarded.push(GUARD);
                guarded.push_str(&token[c.len_utf8()..]);
                rest = &rest[token.len()..];
            } else {
                rest = &rest[c.len_utf8()..];
            }
        }
        guarded
    }

    /// The ids of a rendered text, without further special tokens.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some(guard) = rest.find(GUARD) {
            let first = rest[..guard]
                .char_indices()
                .next_back()
                .map_or(0, |(at, _)| at);
            add_ids(&self.plain, &rest[..first], &mut ids)?;
            let joined: String = rest[first..].replacen(GUARD, "", 1);
            let token = self.special.iter().find(|token| joined.starts_with(*token));
            let len = token.map_or(guard - first, String::len);
            add_ids(&self.literal, &joined[..len], &mut ids)?;
            rest = &rest[first + len + GUARD.len_utf8()..];
        }
        add_ids(&self.plain, rest, &mut ids)?;
        Ok(ids)
    }

    /// The special token that `text` ends in, if any; a guarded one is none.
    pub(crate) fn terminator(&self, text: &str) -> Option<&str> {
        let ends = |token: &&String| text.ends_with(token.as_str());
        self.special.iter().find(ends).map(String::as_str)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} entries)", self.plain.get_vocab_size(true))
    }
}

fn add_ids(tokenizer: &tokenizers::Tokenizer, text: &str, ids: &mut Vec<u32>) -> Result<()> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|error| Error::Encoding {
            problem: error.to_string(),
        })?;
    ids.extend_from_slice(encoding.get_ids());
    Ok(())
}

fn template_source(folder: &Path, config: &Map<String, Json>) -> Result<String> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        return String::from_utf8(read(&path)?)
            .map_err(|error| wrong(&path, format!("is not UTF-8: {error}")));
    }
    match config.get("chat_template") {
        Some(Json::String(source)) => Ok(source.clone()),
        _ => {
            let path = folder.join("tokenizer_config.json");
            let problem = "has no text `chat_template`, and there is no chat_template.jinja";
            Err(wrong(&path, problem.into()))
        }
    }
}

/// A special token stands as its text, or as an object with `content`.
fn special_tokens(config: &Map<String, Json>) -> Map<String, Json> {
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

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

fn wrong(path: &Path, problem: String) -> Error {
    Error::File {
        path: PathBuf::from(path),
        problem,
    }
}
