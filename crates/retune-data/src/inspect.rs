//! A row, token by token.

use crate::error::Result;
use crate::label::{LabelOptions, Learn, Turn, conversation_of, label, turns};
use crate::sample::{Content, Conversation, Role};
use crate::tokenizer::Tokenizer;

/// Tokens that are decoded again before each.
const CONTEXT: usize = 4;
/// A character has no more tokens than that.
const LONGEST: usize = 8;

/// One token of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// Its id.
    pub id: u32,
    /// What it adds to the text: nothing while a character is not complete.
    pub text: String,
    /// Whose turn it stands in; none for what the template adds of its own, and
    /// for plain text.
    pub role: Option<Role>,
    /// Whether it is learned from: its label is its id, else −100.
    pub scored: bool,
}

/// A sample as the model gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The text in pieces that are masked or learned from, byte for byte. Up to
    /// the first answer, this is what chat and serve send.
    pub turns: Vec<Turn>,
    /// The tokens.
    pub tokens: Vec<TokenView>,
}

/// Shows what becomes of a row.
///
/// # Errors
/// Those of [`label`].
pub fn inspect(
    tokenizer: &Tokenizer,
    content: &Content,
    options: &LabelOptions,
) -> Result<Inspection> {
    let labelled = label(tokenizer, content, options)?;
    let (turns, spans) = match content {
        Content::Text(_) => (Vec::new(), Vec::new()),
        other => {
            let conversation = conversation_of(other);
            let turns = turns(tokenizer, &conversation, options)?;
            let text: String = turns.iter().map(Turn::text).collect();
            let spans = role_spans(tokenizer, &conversation, options, &text);
            (turns, spans)
        }
    };
    let mut tokens = Vec::with_capacity(labelled.input_ids.len());
    let mut shown = 0;
    // The first token that has not been shown yet.
    let mut first = 0usize;
    for (index, id) in labelled.input_ids.iter().enumerate() {
        // What a token decodes to depends on the ones before it.
        let context = &labelled.input_ids[first.saturating_sub(CONTEXT)..first];
        let before = tokenizer.decode(context).len();
        let so_far = tokenizer.decode(&labelled.input_ids[first - context.len()..=index]);
        let text = so_far.get(before..).unwrap_or_default();
        let text = match text.ends_with('\u{fffd}') && index - first < LONGEST {
            true => String::new(),
            false => {
                first = index + 1;
                text.to_owned()
            }
        };
        shown += text.len();
        let span = spans.iter().find(|span| shown <= span.end);
        tokens.push(TokenView {
            id: *id,
            text,
            role: span.and_then(|span| span.role),
            scored: labelled.scored[index],
        });
    }
    Ok(Inspection { turns, tokens })
}

/// A stretch of the text up to the byte `end`.
struct Span {
    end: usize,
    role: Option<Role>,
}

/// Which part of `text` is whose turn. A template that does not write turn by
/// turn gives fewer spans.
fn role_spans(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    options: &LabelOptions,
    text: &str,
) -> Vec<Span> {
    let conversation = conversation
        .clone()
        .with_default_system(options.system.as_deref());
    let mut spans: Vec<Span> = Vec::new();
    for (index, message) in conversation.messages.iter().enumerate() {
        let rendered =
            tokenizer.render(&conversation.messages[..=index], &conversation.tools, false);
        let Ok(rendered) = rendered else { continue };
        let rendered = Tokenizer::without_guards(&rendered);
        let begins = spans.last().map_or(0, |span| span.end);
        let common = common_prefix(&rendered, text);
        if common <= begins {
            continue;
        }
        if index == 0
            && message.role != Role::System
            && options.learn != Learn::WholeText
            && let Some(own) = before_turn(tokenizer, &rendered, &message.content)
        {
            spans.push(Span {
                end: own,
                role: None,
            });
        }
        spans.push(Span {
            end: common,
            role: Some(message.role),
        });
    }
    spans
}

/// Where the first turn begins, if the template writes something before it: a
/// turn of its own, which ends as turns do.
fn before_turn(tokenizer: &Tokenizer, rendered: &str, content: &str) -> Option<usize> {
    let end = tokenizer.terminator(rendered.trim_end())?;
    let head = &rendered[..rendered.rfind(content)?];
    let at = head.rfind(end)? + end.len();
    let space = head[at..].len() - head[at..].trim_start().len();
    Some(at + space)
}

fn common_prefix(a: &str, b: &str) -> usize {
    let chars = a.char_indices().zip(b.chars());
    let differs = chars.into_iter().find(|((_, a), b)| a != b);
    differs.map_or(a.len().min(b.len()), |((at, _), _)| at)
}
