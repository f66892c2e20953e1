//! Samples to tokens within a length.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::label::{LabelOptions, Labelled, conversation_of, label};
use crate::sample::{Content, Conversation, Role, Sample};
use crate::tokenizer::Tokenizer;

/// What is done with a conversation of more tokens than are allowed. A text
/// without turns is cut into pieces that follow each other, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OverLong {
    /// It is left out, and counted.
    #[default]
    Drop,
    /// The user's turns lose their beginning, the earliest first.
    TruncatePrompt,
    /// The last answer loses its end, and with it the token that ends the turn,
    /// so that nobody learns to stop there.
    TruncateAnswer,
    /// It is an error.
    Error,
}

impl OverLong {
    /// All of them with the names that `--over-long` takes.
    pub const NAMES: [(&'static str, OverLong); 4] = [
        ("drop", OverLong::Drop),
        ("truncate-prompt", OverLong::TruncatePrompt),
        ("truncate-answer", OverLong::TruncateAnswer),
        ("error", OverLong::Error),
    ];
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there as it was.
    Kept,
    /// It had this many tokens, and was cut, or cut into pieces.
    Cut {
        /// Before.
        tokens: usize,
    },
    /// It had this many tokens, and is left out.
    Dropped {
        /// Before.
        tokens: usize,
    },
}

/// The tokens of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// None if it was dropped; several if it was cut into pieces. Each has a
    /// scored token.
    pub samples: Vec<Labelled>,
    /// What became of it.
    pub fate: Fate,
}

/// Makes tokens and labels of samples.
#[derive(Debug)]
pub struct Encoder {
    /// The model's tokenizer and template.
    pub tokenizer: Arc<Tokenizer>,
    /// What is learned from.
    pub labels: LabelOptions,
    /// The most tokens that a sample may have.
    pub max_length: usize,
    /// What is done with longer ones.
    pub over_long: OverLong,
}

impl Encoder {
    /// What `max_length` is where nobody says otherwise.
    pub const DEFAULT_MAX_LENGTH: usize = 384;

    /// The tokens of `sample`, at most `max_length` each.
    ///
    /// # Errors
    /// `Sample` with the row and why it cannot become tokens.
    pub fn encode(&self, sample: &Sample) -> Result<Encoded> {
        self.encode_content(&sample.content)
            .map_err(|problem| Error::Sample {
                place: sample.place.clone(),
                problem: Box::new(problem),
            })
    }

    fn encode_content(&self, content: &Content) -> Result<Encoded> {
        let whole = label(&self.tokenizer, content, &self.labels)?;
        let tokens = whole.input_ids.len();
        if tokens <= self.max_length {
            return Ok(Encoded {
                samples: vec![whole],
                fate: Fate::Kept,
            });
        }
        let samples = match (content, self.over_long) {
            (Content::Text(_), _) => self.pieces(&whole),
            (_, OverLong::Drop) => Vec::new(),
            (_, OverLong::TruncatePrompt) => self.shorter_prompt(content)?.into_iter().collect(),
            (_, OverLong::TruncateAnswer) => self.shorter_answer(whole).into_iter().collect(),
            (_, OverLong::Error) => {
                return Err(Error::OverLong {
                    tokens,
                    max_length: self.max_length,
                });
            }
        };
        let fate = if samples.is_empty() {
            Fate::Dropped { tokens }
        } else {
            Fate::Cut { tokens }
        };
        Ok(Encoded { samples, fate })
    }

    /// A text in pieces. A last one of one token takes another from the piece
    /// before it; where pieces have two tokens it is left out.
    fn pieces(&self, whole: &Labelled) -> Vec<Labelled> {
        let mut rest = &whole.input_ids[..];
        let mut pieces = Vec::new();
        // In a piece of one token nothing would be learned.
        while self.max_length >= 2 && rest.len() >= 2 {
            let mut length = rest.len().min(self.max_length);
            if rest.len() == length + 1 && length > 2 {
                length -= 1;
            }
            let (ids, behind) = rest.split_at(length);
            let mut scored = vec![true; length];
            scored[0] = false;
            pieces.push(Labelled {
                input_ids: ids.to_vec(),
                scored,
            });
            rest = behind;
        }
        pieces
    }

    fn shorter_answer(&self, mut whole: Labelled) -> Option<Labelled> {
        whole.input_ids.truncate(self.max_length);
        whole.scored.truncate(self.max_length);
        // Nor does the prompt of a turn whose answer is gone teach anything.
        let last = whole.scored.iter().rposition(|scored| *scored)?;
        whole.input_ids.truncate(last + 1);
        whole.scored.truncate(last + 1);
        Some(whole)
    }

    /// Searches for the fewest characters that have to go from the beginnings of
    /// the user's turns. One character of each stays.
    fn shorter_prompt(&self, content: &Content) -> Result<Option<Labelled>> {
        let conversation = conversation_of(content);
        let spare: usize = user_turns(&conversation)
            .map(|text| text.chars().count().saturating_sub(1))
            .sum();
        let attempt = |cut: usize| -> Result<Option<Labelled>> {
            let shorter = Content::Conversation(without_beginning(&conversation, cut));
            let labelled = label(&self.tokenizer, &shorter, &self.labels)?;
            Ok((labelled.input_ids.len() <= self.max_length).then_some(labelled))
        };
        let mut best = attempt(spare)?;
        if best.is_none() {
            return Ok(None);
        }
        let (mut too_few, mut enough) = (0, spare);
        while too_few + 1 < enough {
            let middle = too_few.midpoint(enough);
            match attempt(middle)? {
                Some(labelled) => {
                    best = Some(labelled);
                    enough = middle;
                }
                None => too_few = middle,
            }
        }
        Ok(best)
    }
}

fn user_turns(conversation: &Conversation) -> impl Iterator<Item = &str> {
    let turns = conversation.messages.iter();
    turns
        .filter(|message| message.role == Role::User)
        .map(|message| message.content.as_str())
}

fn without_beginning(conversation: &Conversation, mut cut: usize) -> Conversation {
    let mut shorter = conversation.clone();
    for message in &mut shorter.messages {
        if message.role != Role::User {
            continue;
        }
        let chars = message.content.chars().count();
        let taken = cut.min(chars.saturating_sub(1));
        cut -= taken;
        message.content = message.content.chars().skip(taken).collect();
    }
    shorter
}
