//! Questions and answers in columns of their own.

use serde_json::Value as Json;

use super::fields::Fields;
use super::messages;
use crate::error::Result;
use crate::sample::{Content, Conversation, Message, Role};
use crate::source::parse_text;

/// `instruction` and `input` are one turn of the user, with a line break in
/// between where both are there.
pub(super) fn read(fields: &Fields<'_>) -> Result<Content> {
    let mut messages = system(fields)?;
    if let Some(history) = fields.get("history") {
        add_history(fields, history, &mut messages)?;
    }
    let instruction = fields.text("instruction")?;
    let input = fields.optional_text("input")?.unwrap_or_default();
    let prompt = match (instruction, input) {
        (text, "") | ("", text) => text.to_owned(),
        (instruction, input) => format!("{instruction}\n{input}"),
    };
    messages.push(Message::new(Role::User, prompt));
    messages.push(Message::new(Role::Assistant, fields.text("output")?));
    Ok(conversation(messages))
}

/// Text each, or lists of messages each, as TRL has them. The completion alone
/// is learned from, whoever speaks in the prompt.
pub(super) fn read_prompt_completion(fields: &Fields<'_>) -> Result<Content> {
    let mut turns = system(fields)?;
    for (name, role) in [("prompt", Role::User), ("completion", Role::Assistant)] {
        match fields.get(name) {
            Some(Json::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let field = format!("{}[{index}]", fields.column(name));
                    let mut turn = messages::message(fields, item, &field)?;
                    turn.learn &= name == "completion" || turn.role != Role::Assistant;
                    turns.push(turn);
                }
            }
            _ => turns.push(Message::new(role, fields.text(name)?)),
        }
    }
    Ok(conversation(turns))
}

pub(super) fn system(fields: &Fields<'_>) -> Result<Vec<Message>> {
    let system = fields.optional_text("system")?.unwrap_or_default();
    let message = (!system.is_empty()).then(|| Message::new(Role::System, system));
    Ok(message.into_iter().collect())
}

fn conversation(messages: Vec<Message>) -> Content {
    Content::Conversation(Conversation {
        messages,
        tools: Vec::new(),
    })
}

/// Earlier turns, a pair of texts each.
fn add_history(fields: &Fields<'_>, history: &Json, messages: &mut Vec<Message>) -> Result<()> {
    let column = fields.column("history");
    let expected = "a list of pairs [question, answer]";
    // Tables have lists as text.
    let parsed = match history {
        Json::String(text) if text.trim().is_empty() => return Ok(()),
        Json::String(text) => parse_text(text).ok(),
        _ => None,
    };
    let Json::Array(pairs) = parsed.as_ref().unwrap_or(history) else {
        return Err(fields.unexpected(column, expected, history).into());
    };
    for (index, pair) in pairs.iter().enumerate() {
        let texts = pair.as_array().map(Vec::as_slice);
        let Some([Json::String(question), Json::String(answer)]) = texts else {
            let field = format!("{column}[{index}]");
            let expected = "two texts, [question, answer]";
            return Err(fields.unexpected(&field, expected, pair).into());
        };
        messages.push(Message::new(Role::User, question));
        messages.push(Message::new(Role::Assistant, answer));
    }
    Ok(())
}
