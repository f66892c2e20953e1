//! OpenAI's messages, with tools and calls.

use serde_json::{Map, Value as Json};

use super::alpaca;
use super::fields::Fields;
use crate::error::Result;
use crate::sample::{Content, Conversation, Message, Role, tool_call};
use crate::source::parse_text;

/// What the assistant thinks before it answers, as templates call it.
const THOUGHTS: &str = "reasoning_content";
/// What templates may ask for beside role and content.
const EXTRA: [&str; 3] = ["name", "tool_call_id", THOUGHTS];

pub(super) fn read(fields: &Fields<'_>) -> Result<Content> {
    let column = fields.column("messages");
    let mut turns = alpaca::system(fields)?;
    for (index, item) in fields.list("messages")?.iter().enumerate() {
        turns.push(message(fields, item, &format!("{column}[{index}]"))?);
    }
    Ok(Content::Conversation(Conversation {
        messages: turns,
        tools: tools(fields)?,
    }))
}

/// The tools' schemas: a list, or a list as text.
pub(super) fn tools(fields: &Fields<'_>) -> Result<Vec<Json>> {
    let column = fields.column("tools");
    let value = match fields.get("tools") {
        None => return Ok(Vec::new()),
        Some(Json::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Json::String(text)) => parse_text(text).map_err(|problem| {
            let problem =
                format!("expected a list of tools, found text that is no JSON: {problem}");
            fields.fault(column, problem)
        })?,
        Some(value) => value.clone(),
    };
    let Json::Array(tools) = value else {
        return Err(fields.unexpected(column, "a list of tools", &value).into());
    };
    Ok(tools.into_iter().map(wrapped).collect())
}

/// Tools stand bare (`{"name": …}`) or as functions; templates know the latter.
fn wrapped(tool: Json) -> Json {
    if tool.get("function").is_some() || tool.get("name").is_none() {
        return tool;
    }
    serde_json::json!({"type": "function", "function": tool})
}

/// One message. `field` says where it stands.
pub(super) fn message(fields: &Fields<'_>, item: &Json, field: &str) -> Result<Message> {
    let Json::Object(parts) = item else {
        return Err(fields.unexpected(field, "{role, content}", item).into());
    };
    let role = match parts.get("role") {
        Some(Json::String(role)) => role_named(role).ok_or_else(|| {
            let problem = format!("expected system, user, assistant or tool, found {role:?}");
            fields.fault(&format!("{field}.role"), problem)
        })?,
        other => {
            let found = other.unwrap_or(&Json::Null);
            let field = format!("{field}.role");
            return Err(fields.unexpected(&field, "a role", found).into());
        }
    };
    let mut message = Message::new(role, content(fields, parts, field)?);
    message.tool_calls = calls(fields, parts, field)?;
    let silent = parts.get("content").is_none_or(Json::is_null);
    if silent && message.tool_calls.is_empty() {
        let field = format!("{field}.content");
        return Err(fields.unexpected(&field, "text", &Json::Null).into());
    }
    message.learn = learns(fields, item, field)?;
    for name in EXTRA {
        if let Some(value) = parts.get(name).filter(|value| !value.is_null()) {
            message.extra.insert(name.to_owned(), value.clone());
        }
    }
    // Under other names, thoughts that are text; a switch may have these names as well.
    let thoughts = [THOUGHTS, "reasoning", "thinking"].into_iter();
    let mut thoughts = thoughts.filter_map(|name| parts.get(name)?.as_str());
    if let Some(thoughts) = thoughts.find(|text| !text.is_empty()) {
        message.extra.insert(THOUGHTS.to_owned(), thoughts.into());
    }
    Ok(message)
}

fn role_named(role: &str) -> Option<Role> {
    match role {
        "system" | "developer" => Some(Role::System),
        "user" | "human" => Some(Role::User),
        "assistant" | "model" => Some(Role::Assistant),
        "tool" | "function" => Some(Role::Tool),
        _ => None,
    }
}

/// `weight` is OpenAI's, `loss_weight` LLaMA-Factory's, `loss` ms-swift's, `training` and
/// `train` Axolotl's; 0 and false are not learned from.
pub(super) fn learns(fields: &Fields<'_>, turn: &Json, field: &str) -> Result<bool> {
    for name in ["weight", "loss_weight", "loss", "training", "train"] {
        let value = turn.get(name).unwrap_or(&Json::Null);
        match (value, value.as_f64()) {
            (Json::Null, _) => {}
            (Json::Bool(learn), _) => return Ok(*learn),
            (_, Some(0.0)) => return Ok(false),
            (_, Some(1.0)) => return Ok(true),
            _ => {
                let problem =
                    format!("expected 0 or 1 (a turn is learned from or not), found {value}");
                return Err(fields.fault(&format!("{field}.{name}"), problem).into());
            }
        }
    }
    Ok(true)
}

/// Text, null where there are calls, or a list of parts of text.
fn content(fields: &Fields<'_>, parts: &Map<String, Json>, field: &str) -> Result<String> {
    let field = format!("{field}.content");
    let items = match parts.get("content") {
        None | Some(Json::Null) => return Ok(String::new()),
        Some(Json::String(text)) => return Ok(text.clone()),
        Some(Json::Array(items)) => items,
        Some(other) => return Err(fields.unexpected(&field, "text", other).into()),
    };
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let kind = item.get("type").and_then(Json::as_str).unwrap_or("text");
        let part = item.get("text").or_else(|| item.get("value"));
        match (kind, part.and_then(Json::as_str)) {
            ("text", Some(part)) => text.push_str(part),
            ("text", None) => {
                let field = format!("{field}[{index}]");
                return Err(fields.unexpected(&field, "{type, text}", item).into());
            }
            (kind, _) => {
                let problem = format!("expected a part of text, found one of type {kind:?}");
                return Err(fields.fault(&format!("{field}[{index}]"), problem).into());
            }
        }
    }
    Ok(text)
}

fn calls(fields: &Fields<'_>, parts: &Map<String, Json>, field: &str) -> Result<Vec<Json>> {
    let calls = parts
        .get("tool_calls")
        .filter(|calls| **calls != Json::Array(Vec::new()));
    let list = match calls {
        None | Some(Json::Null) => {
            // OpenAI's older form, of a single call.
            let single = parts.get("function_call").filter(|call| !call.is_null());
            let field = format!("{field}.function_call");
            let single = single.map(|call| read_call(fields, call, &field));
            return single.into_iter().collect();
        }
        Some(Json::Array(calls)) => calls,
        Some(other) => {
            let field = format!("{field}.tool_calls");
            return Err(fields.unexpected(&field, "a list of calls", other).into());
        }
    };
    let calls = list.iter().enumerate();
    calls
        .map(|(index, call)| {
            let field = format!("{field}.tool_calls[{index}]");
            let mut read = read_call(fields, call.get("function").unwrap_or(call), &field)?;
            if let (Some(id), Json::Object(read)) = (call.get("id"), &mut read) {
                read.insert("id".to_owned(), id.clone());
            }
            Ok(read)
        })
        .collect()
}

/// A call `{name, arguments}`; the arguments are an object, or one as text.
pub(super) fn read_call(fields: &Fields<'_>, call: &Json, field: &str) -> Result<Json> {
    let Some(name) = call.get("name").and_then(Json::as_str) else {
        return Err(fields.unexpected(field, "a call with a name", call).into());
    };
    let arguments = match call.get("arguments") {
        None | Some(Json::Null) => Json::Object(Map::new()),
        Some(Json::String(text)) if text.trim().is_empty() => Json::Object(Map::new()),
        Some(Json::String(text)) => parse_text(text).map_err(|problem| {
            let problem = format!("expected JSON, found text that is none: {problem}");
            fields.fault(&format!("{field}.arguments"), problem)
        })?,
        Some(arguments) => arguments.clone(),
    };
    if !arguments.is_object() {
        let field = format!("{field}.arguments");
        let expected = "an object of arguments";
        return Err(fields.unexpected(&field, expected, &arguments).into());
    }
    Ok(tool_call(name, arguments))
}
