//! ShareGPT's conversations, with LLaMA-Factory's roles for tools.

use serde_json::Value as Json;

use super::fields::Fields;
use super::{alpaca, messages};
use crate::error::Result;
use crate::sample::{Content, Conversation, Message, Role};
use crate::source::parse_text;

pub(super) fn read(fields: &Fields<'_>) -> Result<Content> {
    let column = fields.column("conversations");
    let mut turns = alpaca::system(fields)?;
    for (index, item) in fields.list("conversations")?.iter().enumerate() {
        turns.push(turn(fields, item, &format!("{column}[{index}]"))?);
    }
    Ok(Content::Conversation(Conversation {
        messages: turns,
        tools: messages::tools(fields)?,
    }))
}

/// One turn of `from` and `value`. `field` says where it stands.
pub(super) fn turn(fields: &Fields<'_>, item: &Json, field: &str) -> Result<Message> {
    let text = |key: &str| match item.get(key) {
        Some(Json::String(text)) => Ok(text.as_str()),
        other => {
            let found = other.unwrap_or(&Json::Null);
            let field = format!("{field}.{key}");
            Err(fields.unexpected(&field, "text", found))
        }
    };
    let (from, value) = (text("from")?, text("value")?);
    let learn = messages::learns(fields, item, field)?;
    let role = match from {
        "human" | "user" => Role::User,
        "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" => Role::Assistant,
        "system" => Role::System,
        "observation" | "tool" | "function_response" => Role::Tool,
        "function_call" => {
            let mut message = calls(fields, value, field)?;
            message.learn = learn;
            return Ok(message);
        }
        other => {
            let problem = format!(
                "expected human, gpt, system, function_call or observation, found {other:?}"
            );
            return Err(fields.fault(&format!("{field}.from"), problem).into());
        }
    };
    let mut message = Message::new(role, value);
    message.learn = learn;
    Ok(message)
}

/// A turn of the assistant that is one call or a list of calls, as JSON.
fn calls(fields: &Fields<'_>, value: &str, field: &str) -> Result<Message> {
    let field = format!("{field}.value");
    let call = parse_text(value).map_err(|problem| {
        let problem = format!("expected a call as JSON, found text that is none: {problem}");
        fields.fault(&field, problem)
    })?;
    let list = match call {
        Json::Array(calls) => calls,
        call => vec![call],
    };
    let mut message = Message::new(Role::Assistant, "");
    for call in &list {
        message
            .tool_calls
            .push(messages::read_call(fields, call, &field)?);
    }
    Ok(message)
}
