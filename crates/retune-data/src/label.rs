//! Conversations to tokens, and which of them are learned from.

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The label of a token that is not learned from, as everywhere.
const IGNORED: i64 = -100;

/// The tokens of one sample, and which of them are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// The tokens, `[T]`.
    pub input_ids: Vec<u32>,
    /// Whether the token counts in the loss, `[T]`.
    pub scored: Vec<bool>,
}

impl Labelled {
    /// The tokens where they are scored, −100 elsewhere, `[T]`.
    pub fn labels(&self) -> impl Iterator<Item = i64> + '_ {
        let tokens = self.input_ids.iter().zip(&self.scored);
        tokens.map(|(&id, &scored)| if scored { i64::from(id) } else { IGNORED })
    }
}

/// Tokens and labels of a conversation: what the assistant says is scored, the
/// token that ends its turn included. `messages` are objects with `role` and
/// `content`, as templates want them. The sample ends with the last scored
/// token.
///
/// What the assistant says is found by rendering: the text up to its turn, with
/// the generation prompt, has to be the beginning of the text with it. Prompt
/// and answer are encoded apart, as they are when the model answers.
///
/// # Errors
/// `NotAPrefix` if the template writes earlier turns differently once later
/// ones are there; `NoTerminator` if a turn does not end in a special token;
/// `NothingScored` if no message is the assistant's; errors of the template.
pub fn label_conversation(tokenizer: &Tokenizer, messages: &[Json]) -> Result<Labelled> {
    let mut sample = Labelled {
        input_ids: Vec::new(),
        scored: Vec::new(),
    };
    // The text that has been encoded.
    let mut done = String::new();
    for (index, message) in messages.iter().enumerate() {
        if message.get("role").and_then(Json::as_str) != Some("assistant") {
            continue;
        }
        let prompt = tokenizer.render(&messages[..index], true)?;
        let answered = tokenizer.render(&messages[..=index], false)?;
        let masked = behind(&done, &prompt, index)?;
        let answer = behind(&prompt, &answered, index)?.trim_end();
        if tokenizer.terminator(answer).is_none() {
            return Err(Error::NoTerminator { message: index });
        }
        sample.add(tokenizer.encode(masked)?, false);
        sample.add(tokenizer.encode(answer)?, true);
        done = prompt + answer;
    }
    if sample.input_ids.is_empty() {
        return Err(Error::NothingScored);
    }
    Ok(sample)
}

impl Labelled {
    fn add(&mut self, ids: Vec<u32>, scored: bool) {
        self.scored.resize(self.scored.len() + ids.len(), scored);
        self.input_ids.extend(ids);
    }
}

/// What `text` has behind its beginning `before`.
fn behind<'a>(before: &str, text: &'a str, message: usize) -> Result<&'a str> {
    text.strip_prefix(before).ok_or_else(|| {
        let common = before
            .chars()
            .zip(text.chars())
            .take_while(|(a, b)| a == b)
            .count();
        let excerpt = |text: &str| {
            text.chars()
                .skip(common.saturating_sub(20))
                .take(60)
                .collect()
        };
        Error::NotAPrefix {
            message,
            before: excerpt(before),
            after: excerpt(text),
        }
    })
}
