//! Chat templates, rendered as Hugging Face's `apply_chat_template` does.
//!
//! `environment` sets Jinja up as `transformers` does, `functions` are what
//! templates call, and `python` writes values the way Python prints them. A
//! template is untrusted: `compile` places guards in its instructions, and `guard`
//! says what they ask for.

mod compile;
mod environment;
mod functions;
mod guard;
mod python;

use jiff::civil::DateTime;
use minijinja::Value;
use minijinja::value::Serde;
use serde_json::{Map, Value as Json};

use crate::error::Result;

/// A model's chat template, compiled.
pub struct ChatTemplate {
    compiled: environment::Compiled,
}

impl ChatTemplate {
    /// Compiles the template `source`.
    ///
    /// # Errors
    /// `TemplateSyntax` if it is not valid.
    pub fn new(source: &str) -> Result<Self> {
        Ok(Self {
            compiled: environment::Compiled::new(source, None)?,
        })
    }

    /// The same, with `now` as the time that templates get from
    /// `strftime_now`, so that the text is the same on any day.
    ///
    /// # Errors
    /// `TemplateSyntax` if the template is not valid.
    pub fn new_at(source: &str, now: DateTime) -> Result<Self> {
        Ok(Self {
            compiled: environment::Compiled::new(source, Some(now))?,
        })
    }

    /// The text for `variables`: `messages`, `add_generation_prompt`, special
    /// tokens such as `eos_token`, and whatever else the template asks for.
    ///
    /// # Errors
    /// `TemplateRefused` if the template calls `raise_exception`,
    /// `TemplateFailed` if it does not fit the variables, or runs or grows
    /// beyond all reason.
    pub fn render(&self, variables: &Map<String, Json>) -> Result<String> {
        self.compiled.render(&Value::from(Serde(variables)))
    }

    /// The same for the beginnings of a conversation, whose messages become the
    /// template's once.
    pub(crate) fn of_conversation(
        &self,
        variables: Map<String, Json>,
        messages: &[Json],
    ) -> Beginnings<'_> {
        let variables = variables.into_iter();
        Beginnings {
            template: self,
            variables: variables
                .map(|(name, value)| (name, Value::from(Serde(value))))
                .collect(),
            messages: messages
                .iter()
                .map(|message| Value::from(Serde(message)))
                .collect(),
        }
    }
}

/// A conversation whose beginnings can be rendered.
pub(crate) struct Beginnings<'t> {
    template: &'t ChatTemplate,
    variables: Vec<(String, Value)>,
    messages: Vec<Value>,
}

impl Beginnings<'_> {
    /// The text of the first `count` messages, with the generation prompt or
    /// without.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub(crate) fn render(&self, count: usize, prompt: bool) -> Result<String> {
        let own = [
            ("messages".to_owned(), Value::from(&self.messages[..count])),
            ("add_generation_prompt".to_owned(), Value::from(prompt)),
        ];
        let all = self.variables.iter().cloned().chain(own);
        self.template.compiled.render(&Value::from_pairs(all))
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}
