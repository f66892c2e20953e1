//! A model's tokenizer and chat template, from its folder.

mod bytes;
mod folder;
mod growth;
mod guard;
mod layout;
mod measure;
mod train;

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use tokenizers::{
    Encoding, Model as _, Normalizer as _, OffsetType, PreTokenizedString, PreTokenizer as _,
};

use crate::contained::contained;
use crate::error::{Error, Result};
use crate::sample::{Conversation, Message, Role};
use crate::template::{Beginnings, ChatTemplate};

use folder::{
    Sources, added_texts, parsed, read, special_tokens, stop_tokens, template_file,
    template_sources, wrong,
};
pub use folder::{chat_template_of, model_hint};
use guard::{GUARD, guarded};
pub use layout::TOKENIZER_FILES;
pub use measure::TokenCounts;
pub use train::{NewTokenizer, TokenizerOptions, TokenizerProgress, train_tokenizer};

/// The tokenizer of a model folder, with its chat template.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// None if the model has none: it is no chat model.
    template: Option<ChatTemplate>,
    template_source: Option<String>,
    /// For conversations with tools, where the model has one of its own.
    tool_template: Option<ChatTemplate>,
    tool_template_source: Option<String>,
    /// What every template gets.
    variables: Map<String, Json>,
    /// The texts of special tokens, the longest first.
    special: Vec<String>,
    /// The same of all tokens that were added to the vocabulary, such as
    /// `<tool_call>` and `<think>`.
    added: Vec<String>,
    /// At which generation stops.
    stop_tokens: Vec<String>,
    /// Whether the template asks for the time.
    depends_on_date: bool,
    /// Says which tokenizer and template this is.
    fingerprint: [u8; 32],
    /// Bytes of the longest token, once somebody asked for it.
    longest: OnceLock<usize>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and, if it is there,
    /// `chat_template.jinja` from `folder`.
    ///
    /// # Errors
    /// `File` if a file is missing or not what it should be; `TemplateSyntax`.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with_template_source(folder, None)
    }

    /// The same, with the chat template in the file `template` instead of the
    /// model's own.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with_template(folder: &Path, template: Option<&Path>) -> Result<Self> {
        Self::open_with_template_source(folder, template.map(template_file).transpose()?)
    }

    /// The same, with the text of the chat template.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with_template_source(folder: &Path, template: Option<String>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            let hint = model_hint(folder).unwrap_or_else(|| {
                "name a model's folder, which holds tokenizer.json and tokenizer_config.json"
                    .to_owned()
            });
            let problem = match folder.is_dir() {
                true => "holds no tokenizer.json",
                false if folder.exists() => "is no folder",
                false => "is not there",
            };
            return Err(wrong(folder, format!("{problem}\nhint: {hint}")));
        }
        let bytes = read(&path)?;
        let mut hash = Sha256::new();
        add_to_hash(&mut hash, &bytes);
        let inner = parsed(&path, bytes)?;
        let path = folder.join("tokenizer_config.json");
        let config: Map<String, Json> = serde_json::from_slice(&read(&path)?)
            .map_err(|error| wrong(&path, format!("is no JSON object: {error}")))?;
        let variables = special_tokens(&config);
        add_to_hash(
            &mut hash,
            Json::Object(variables.clone()).to_string().as_bytes(),
        );
        let sources = match template {
            Some(template) => {
                // The model's own template brings along the one that it has for tools.
                let own = template_sources(folder, &config).ok();
                let own = own.filter(|own| own.plain.as_deref() == Some(&template));
                own.unwrap_or(Sources {
                    plain: Some(template),
                    tools: None,
                })
            }
            None => template_sources(folder, &config)?,
        };
        let depends_on_date = [&sources.plain, &sources.tools]
            .into_iter()
            .flatten()
            .any(|source| source.contains("strftime_now"));
        if depends_on_date {
            let today = jiff::ZonedDateTime::now().datetime().date();
            add_to_hash(&mut hash, today.to_string().as_bytes());
        }
        let mut compile = |source: Option<String>| {
            add_to_hash(&mut hash, source.as_deref().unwrap_or_default().as_bytes());
            source.map(|source| ChatTemplate::new(&source)).transpose()
        };
        let template_source = sources.plain.clone();
        let tool_template_source = sources.tools.clone();
        let template = compile(sources.plain)?;
        let tool_template = compile(sources.tools)?;
        Ok(Self {
            special: added_texts(&inner, true),
            added: added_texts(&inner, false),
            stop_tokens: stop_tokens(folder, &inner, &variables)?,
            depends_on_date,
            inner,
            template,
            template_source,
            tool_template,
            tool_template_source,
            variables,
            fingerprint: hash.finalize().into(),
            longest: OnceLock::new(),
        })
    }

    /// Whether the model has a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The chat template, as it was read.
    pub fn template_source(&self) -> Option<&str> {
        self.template_source.as_deref()
    }

    /// The same of the template for conversations with tools, which may be another.
    pub fn tool_template_source(&self) -> Option<&str> {
        self.tool_template_source
            .as_deref()
            .or(self.template_source())
    }

    /// Which tokenizer, template and special tokens these are: the same for the
    /// same ids.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The text of `messages` under the chat template. Special tokens inside
    /// the messages are guarded; [`Tokenizer::encode`] takes them for text.
    pub(crate) fn render(
        &self,
        messages: &[Message],
        tools: &[Json],
        prompt: bool,
    ) -> Result<String> {
        let conversation = self.of_conversation(messages, tools, &Map::new())?;
        conversation.render(messages.len(), prompt)
    }

    /// The same for the beginnings of `messages`, where the template also gets `arguments`.
    pub(crate) fn of_conversation(
        &self,
        messages: &[Message],
        tools: &[Json],
        arguments: &Map<String, Json>,
    ) -> Result<Beginnings<'_>> {
        let template = match (&self.tool_template, &self.template) {
            (Some(template), _) if !tools.is_empty() => template,
            (_, Some(template)) => template,
            (_, None) => return Err(Error::NoTemplate),
        };
        let messages: Vec<Json> = messages
            .iter()
            .map(|message| self.guarded_message(message))
            .collect::<Result<_>>()?;
        let tools = match tools {
            [] => Json::Null,
            tools => Json::Array(
                tools
                    .iter()
                    .map(|tool| guarded(&self.added, tool))
                    .collect::<Result<_>>()?,
            ),
        };
        let mut variables = Map::new();
        for (name, value) in arguments {
            variables.insert(name.clone(), guarded(&self.added, value)?);
        }
        variables.extend(self.variables.clone());
        variables.insert("tools".into(), tools);
        variables.insert("documents".into(), Json::Null);
        Ok(template.of_conversation(variables, &messages))
    }

    /// A message with its tokens guarded, also in its keys: a tool's arguments may
    /// have any, and templates write them. What the assistant says may hold added
    /// tokens that are not special, such as `<think>`: it is to learn them.
    fn guarded_message(&self, message: &Message) -> Result<Json> {
        let tokens = match message.role {
            Role::Assistant => &self.special,
            _ => &self.added,
        };
        let mut json = message.to_json();
        if let Json::Object(fields) = &mut json {
            // Ours, and compared by templates.
            for (_, value) in fields.iter_mut().filter(|(name, _)| *name != "role") {
                *value = guarded(tokens, value)?;
            }
        }
        Ok(json)
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
            self.add_ids(&rest[..first], &mut ids)?;
            // The guard stands behind the token's first character.
            let (head, tail) = (&rest[first..guard], &rest[guard + GUARD.len_utf8()..]);
            let behind_head = |token: &&String| {
                token
                    .strip_prefix(head)
                    .is_some_and(|inner| tail.starts_with(inner))
            };
            let token = self.added.iter().find(behind_head);
            self.add_literal_ids(token.map_or(head, |token| token), false, &mut ids)?;
            rest = &tail[token.map_or(0, |token| token.len() - head.len())..];
        }
        self.add_ids(rest, &mut ids)?;
        Ok(ids)
    }

    /// The ids of a plain text, in which nothing is a control token, with the
    /// tokens that the model puts around a text.
    pub(crate) fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.add_literal_ids(text, true, &mut ids)?;
        if let Some(end) = self.eos_token_id()
            && ids.last() != Some(&end)
        {
            ids.push(end);
        }
        Ok(ids)
    }

    /// The id of `eos_token`, at which generation stops.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.named_token_id("eos_token")
    }

    /// The id of the special token that `tokenizer_config.json` has under a name,
    /// such as `bos_token` or `pad_token`.
    pub fn named_token_id(&self, name: &str) -> Option<u32> {
        let token = self.variables.get(name)?.as_str()?;
        self.inner.token_to_id(token)
    }

    /// How many rows an embedding needs: one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let ids = self.inner.get_vocab(true).into_values();
        ids.max().map_or(0, |id| id as usize + 1)
    }

    /// The special token that `text` ends in, if any; a guarded one is none.
    pub(crate) fn terminator(&self, text: &str) -> Option<&str> {
        let ends = |token: &&String| text.ends_with(token.as_str());
        self.special.iter().find(ends).map(String::as_str)
    }

    /// The tokens at which generation stops: those of `eos_token_id` in
    /// generation_config.json, and `eos_token`.
    pub fn stop_tokens(&self) -> &[String] {
        &self.stop_tokens
    }

    /// The ids of [`Tokenizer::stop_tokens`].
    pub fn stop_ids(&self) -> Vec<u32> {
        let tokens = self.stop_tokens.iter();
        tokens
            .filter_map(|token| self.inner.token_to_id(token))
            .collect()
    }

    /// What a model is given to answer `conversation`: its text under the chat
    /// template, up to where the answer begins. The template also gets `arguments`, such as
    /// Qwen3's `enable_thinking`, as `apply_chat_template` has them. A model without a
    /// template goes on with a single message's text.
    ///
    /// # Errors
    /// Those of the template; `NoTemplate` for more than a message without one; `Encoding`.
    pub fn prompt_ids(
        &self,
        conversation: &Conversation,
        arguments: &Map<String, Json>,
    ) -> Result<Vec<u32>> {
        let Conversation { messages, tools } = conversation;
        if self.has_template() {
            let conversation = self.of_conversation(messages, tools, arguments)?;
            return self.encode(&conversation.render(messages.len(), true)?);
        }
        match &messages[..] {
            [only] if only.role == Role::User && tools.is_empty() => self.text_ids(&only.content),
            _ => Err(Error::NoTemplate),
        }
    }

    /// The tokens of a text that a model is to go on with, with what the tokenizer puts
    /// before every text. Nothing in it is taken for a special token.
    ///
    /// # Errors
    /// `Encoding` if the tokenizer cannot encode it.
    pub fn text_ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.add_literal_ids(text, true, &mut ids)?;
        Ok(ids)
    }

    /// Whether the chat template writes the date of the day.
    pub fn depends_on_date(&self) -> bool {
        self.depends_on_date
    }

    /// The id of `token`, special or not, if it is one token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether `token` was added to this vocabulary, special or not.
    pub fn is_added(&self, token: &str) -> bool {
        self.added.iter().any(|added| added == token)
    }

    /// Into how many tokens `text` falls.
    ///
    /// # Errors
    /// `Encoding` if the tokenizer cannot encode it.
    pub fn count(&self, text: &str) -> Result<usize> {
        let mut ids = Vec::new();
        self.add_ids(text, &mut ids)?;
        Ok(ids.len())
    }

    /// The text of one token, as the vocabulary decodes it; broken characters
    /// are shown as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let text = contained(|| self.inner.decode(ids, false).ok());
        text.ok().flatten().unwrap_or_default()
    }

    /// The text of tokens as a reader wants it: without special tokens.
    pub fn decode_text(&self, ids: &[u32]) -> String {
        let text = contained(|| self.inner.decode(ids, true).ok());
        text.ok().flatten().unwrap_or_default()
    }

    /// The texts of the special tokens, the longest first.
    pub fn special_tokens(&self) -> &[String] {
        &self.special
    }

    /// Special tokens in `text` are taken for what they are.
    fn add_ids(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        add_encoded(ids, || self.inner.encode_fast(text, false))
    }

    /// No token in `text` is taken for more than text; `whole` adds the tokens that
    /// the model puts around one.
    fn add_literal_ids(&self, text: &str, whole: bool, ids: &mut Vec<u32>) -> Result<()> {
        add_encoded(ids, || encode_literally(&self.inner, text, whole))
    }

    /// The guards taken out of a rendered text: what a model is given.
    pub(crate) fn without_guards(text: &str) -> String {
        text.replace(GUARD, "")
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} entries)", self.inner.get_vocab_size(true))
    }
}

/// What the crate's own `encode` does, but for looking for added tokens: it can
/// be told to pass over those that are special, and over no others.
fn encode_literally(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    whole: bool,
) -> tokenizers::Result<Encoding> {
    let mut pieces = PreTokenizedString::from(text);
    pieces.split(|_, mut piece| {
        // As `encode` does, which never shows a normalizer an empty text.
        match tokenizer.get_normalizer() {
            Some(normalizer) if !text.is_empty() => normalizer.normalize(&mut piece)?,
            _ => {}
        }
        Ok([piece])
    })?;
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    let model = tokenizer.get_model();
    model.tokenize_in_pretokenized(&mut pieces, None)?;
    let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
    tokenizer.post_process(encoding, None, whole)
}

fn add_encoded(
    ids: &mut Vec<u32>,
    encode: impl FnOnce() -> tokenizers::Result<Encoding>,
) -> Result<()> {
    let encoding = contained(encode)
        .unwrap_or_else(|panic| Err(panic.into()))
        .map_err(|error| Error::Encoding {
            problem: error.to_string(),
        })?;
    ids.extend_from_slice(encoding.get_ids());
    Ok(())
}

/// With the length, so that no two lists of parts give the same bytes.
fn add_to_hash(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}
