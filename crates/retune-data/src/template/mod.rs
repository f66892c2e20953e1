//! Chat templates, rendered as Hugging Face's `apply_chat_template` does.
//!
//! `environment` sets Jinja up as `transformers` does, `python` writes values
//! the way Python prints them.

mod environment;
mod python;

use jiff::civil::DateTime;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde_json::{Map, Value as Json};

use crate::error::Result;

/// A model's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles the template `source`.
    ///
    /// # Errors
    /// `TemplateSyntax` if it is not valid.
    pub fn new(source: &str) -> Result<Self> {
        Ok(Self {
            environment: environment::with_template(source, None)?,
        })
    }

    /// The same, with `now` as the time that templates get from
    /// `strftime_now`, so that the text is the same on any day.
    ///
    /// # Errors
    /// `TemplateSyntax` if the template is not valid.
    pub fn new_at(source: &str, now: DateTime) -> Result<Self> {
        Ok(Self {
            environment: environment::with_template(source, Some(now))?,
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
        environment::render(&self.environment, &Value::from(Serde(variables)))
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}
