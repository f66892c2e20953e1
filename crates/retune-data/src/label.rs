//! Samples to tokens, and which of them are learned from.

use std::borrow::Cow;

use serde_json::Map;

use crate::error::{Error, Result};
use crate::sample::{Content, Conversation, Role};
use crate::tokenizer::Tokenizer;

/// The label of a token that is not learned from, as everywhere.
const IGNORED: i64 = -100;

/// The tokens of one sample, and which of them are scored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labelled {
    /// The tokens, `[T]`.
    pub input_ids: Vec<u32>,
    /// Whether the token counts in the loss, `[T]`. Never the first: nothing
    /// stands before it that could predict it.
    pub scored: Vec<bool>,
}

impl Labelled {
    /// The tokens where they are scored, −100 elsewhere, `[T]`.
    pub fn labels(&self) -> impl Iterator<Item = i64> + '_ {
        let tokens = self.input_ids.iter().zip(&self.scored);
        tokens.map(|(&id, &scored)| if scored { i64::from(id) } else { IGNORED })
    }

    /// How many tokens are scored.
    pub fn scored_tokens(&self) -> usize {
        self.scored.iter().filter(|scored| **scored).count()
    }

    fn add(&mut self, ids: &[u32], scored: bool) {
        self.input_ids.extend_from_slice(ids);
        self.scored.resize(self.input_ids.len(), scored);
    }
}

/// Which turns of the assistant are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Learn {
    /// Every one.
    #[default]
    AllAnswers,
    /// The last one; those before it are part of the prompt.
    LastAnswer,
    /// The whole text, prompts and markers included.
    WholeText,
}

impl Learn {
    /// All of them with the names that `--train-on` takes.
    pub const NAMES: [(&'static str, Learn); 3] = [
        ("all-answers", Learn::AllAnswers),
        ("last-answer", Learn::LastAnswer),
        ("whole-text", Learn::WholeText),
    ];
}

/// How samples are labelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelOptions {
    /// What is learned from.
    pub learn: Learn,
    /// The system prompt of conversations that have none. Without it, the chat
    /// template's own comes in, if it has one.
    pub system: Option<String>,
}

/// A piece of a conversation's text: what is masked, or one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The text, with guards in special tokens that a user wrote.
    guarded: String,
    /// Whether it is learned from.
    pub scored: bool,
}

impl Turn {
    /// The text as the model gets it.
    pub fn text(&self) -> String {
        Tokenizer::without_guards(&self.guarded)
    }

    /// Its tokens.
    ///
    /// # Errors
    /// `Encoding` if the tokenizer cannot encode it.
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        tokenizer.encode(&self.guarded)
    }
}

/// Tokens and labels of what a row holds.
///
/// Of a conversation, what the assistant says is scored, the token that ends
/// its turn included, and the sample ends with the last scored token. Of a
/// text, everything is. A text to classify counts as a question that the label
/// answers, a preference as its better answer.
///
/// # Errors
/// `NotAPrefix` if the template writes earlier turns differently once later
/// ones are there; `NoTerminator` if a turn does not end in a special token;
/// `NothingScored`; errors of the template.
pub fn label(tokenizer: &Tokenizer, content: &Content, options: &LabelOptions) -> Result<Labelled> {
    let mut sample = Labelled::default();
    match content {
        Content::Text(text) => sample.add(&tokenizer.encode_text(text)?, true),
        other => {
            for turn in turns(tokenizer, &conversation_of(other), options)? {
                sample.add(&turn.ids(tokenizer)?, turn.scored);
            }
        }
    }
    if let Some(first) = sample.scored.first_mut() {
        *first = false;
    }
    if sample.scored_tokens() == 0 {
        return Err(Error::NothingScored);
    }
    Ok(sample)
}

/// What a chat model sees of a row.
pub fn conversation_of(content: &Content) -> Cow<'_, Conversation> {
    match content {
        Content::Conversation(conversation) => Cow::Borrowed(conversation),
        Content::Text(text) => Cow::Owned(Conversation::of_turn("", text)),
        Content::Classification { text, label } => Cow::Owned(Conversation::of_turn(text, label)),
        Content::Preference(preference) => Cow::Owned(preference.preferred()),
    }
}

/// The pieces of a conversation's text, in order, up to the last answer.
///
/// What the assistant says is found by rendering: the text up to its turn, with
/// the generation prompt, has to be the beginning of the text with it. Prompt
/// and answer are encoded apart, as they are when the model answers.
///
/// # Errors
/// As [`label`].
pub fn turns(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    options: &LabelOptions,
) -> Result<Vec<Turn>> {
    let conversation = conversation
        .clone()
        .with_default_system(options.system.as_deref());
    let Conversation { messages, tools } = &conversation;
    if options.learn == Learn::WholeText {
        let text = tokenizer.render(messages, tools, false)?;
        return Ok(vec![Turn {
            guarded: text.trim_end().to_owned(),
            scored: true,
        }]);
    }
    let mut answers: Vec<usize> = (0..messages.len())
        .filter(|index| messages[*index].role == Role::Assistant && messages[*index].learn)
        .collect();
    if options.learn == Learn::LastAnswer {
        answers = answers.split_off(answers.len().saturating_sub(1));
    }
    // What comes behind the last answer is not looked at.
    let end = answers.last().map_or(0, |last| last + 1);
    let beginnings = tokenizer.of_conversation(&messages[..end], tools, &Map::new())?;
    let mut turns = Vec::new();
    // The text that has been cut into turns.
    let mut done = String::new();
    for index in answers {
        let prompt = beginnings.render(index, true)?;
        let answered = beginnings.render(index + 1, false)?;
        let masked = behind(&done, &prompt, index)?;
        let answer = ended_once(tokenizer, behind(&prompt, &answered, index)?);
        if tokenizer.terminator(answer).is_none() {
            return Err(Error::NoTerminator { message: index });
        }
        let turn = |text: &str, scored| Turn {
            guarded: text.to_owned(),
            scored,
        };
        turns.extend([turn(masked, false), turn(answer, true)]);
        done = [&prompt, answer].concat();
    }
    match turns[..] {
        [] => Err(Error::NothingScored),
        _ => Ok(turns),
    }
}

/// An answer up to the token that ends its turn. Some templates close the whole
/// conversation behind it with a further one (Phi 3.5), which would stand in
/// the way of the next turn.
fn ended_once<'a>(tokenizer: &Tokenizer, answer: &'a str) -> &'a str {
    let answer = answer.trim_end();
    let Some(end) = tokenizer.terminator(answer) else {
        return answer;
    };
    let inner = answer[..answer.len() - end.len()].trim_end();
    match tokenizer.terminator(inner) {
        Some(_) => inner,
        None => answer,
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
