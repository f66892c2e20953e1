//! Pairs of a better and a worse answer, as TRL and LLaMA-Factory have them.

use serde_json::Value as Json;

use super::fields::Fields;
use super::{alpaca, messages, sharegpt};
use crate::error::Result;
use crate::sample::{Content, Conversation, Message, Preference, Role};

pub(super) fn read(fields: &Fields<'_>) -> Result<Content> {
    let mut turns = Vec::new();
    match (fields.get("conversations"), fields.get("prompt")) {
        (Some(Json::Array(_)), _) => add_turns(fields, "conversations", &mut turns)?,
        (_, Some(Json::Array(_))) => add_turns(fields, "prompt", &mut turns)?,
        (_, Some(_)) => turns.push(Message::new(Role::User, fields.text("prompt")?)),
        (_, None) => {}
    }
    if let Some(input) = fields
        .optional_text("input")?
        .filter(|input| !input.is_empty())
        && let Some(last) = turns.last_mut()
    {
        last.content = format!("{}\n{input}", last.content);
    }
    let (shared, chosen) = answer(fields, "chosen")?;
    // A conversation may end in the better answer.
    if turns.last() == Some(&chosen) {
        turns.pop();
    }
    let (other, rejected) = answer(fields, "rejected")?;
    if !other.is_empty() && other != shared {
        let problem = "the turns before the answer are others than in the chosen conversation";
        return Err(fields.fault(fields.column("rejected"), problem).into());
    }
    // The answers' conversations may repeat the prompt.
    let asked = shared.iter().position(|turn| turn.role != Role::System);
    if shared[asked.unwrap_or(0)..].starts_with(&turns) {
        turns.clear();
    }
    turns.splice(0..0, alpaca::system(fields)?);
    turns.extend(shared);
    Ok(Content::Preference(Box::new(Preference {
        prompt: Conversation {
            messages: turns,
            tools: messages::tools(fields)?,
        },
        chosen,
        rejected,
    })))
}

fn add_turns(fields: &Fields<'_>, name: &str, turns: &mut Vec<Message>) -> Result<()> {
    let column = fields.column(name);
    for (index, item) in fields.list(name)?.iter().enumerate() {
        turns.push(any_turn(fields, item, &format!("{column}[{index}]"))?);
    }
    Ok(())
}

fn any_turn(fields: &Fields<'_>, item: &Json, field: &str) -> Result<Message> {
    if item.get("from").is_some() {
        sharegpt::turn(fields, item, field)
    } else {
        messages::message(fields, item, field)
    }
}

/// An answer as text, as a turn, or as a whole conversation of which it is the
/// last turn; then the turns before it come first.
fn answer(fields: &Fields<'_>, name: &'static str) -> Result<(Vec<Message>, Message)> {
    let field = fields.column(name);
    match fields.get(name) {
        Some(turn @ Json::Object(_)) => Ok((Vec::new(), any_turn(fields, turn, field)?)),
        Some(Json::Array(items)) => {
            let mut turns = Vec::new();
            for (index, item) in items.iter().enumerate() {
                turns.push(any_turn(fields, item, &format!("{field}[{index}]"))?);
            }
            match turns.pop() {
                Some(last) => Ok((turns, last)),
                None => Err(fields
                    .fault(field, "expected an answer, found an empty list")
                    .into()),
            }
        }
        _ => Ok((
            Vec::new(),
            Message::new(Role::Assistant, fields.text(name)?),
        )),
    }
}
