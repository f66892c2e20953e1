//! Samples to rows.

use serde_json::{Map, Value as Json, json};

use super::Layout;
use crate::sample::{Content, Conversation, Message, Preference, Role};

type Written = Result<Map<String, Json>, String>;

pub(super) fn write(layout: Layout, content: &Content) -> Written {
    match (layout, content) {
        (Layout::Alpaca, Content::Conversation(conversation)) => alpaca(conversation),
        (Layout::ShareGpt, Content::Conversation(conversation)) => sharegpt(conversation),
        (Layout::Messages, Content::Conversation(conversation)) => Ok(messages(conversation)),
        (Layout::PromptCompletion, Content::Conversation(conversation)) => {
            prompt_completion(conversation)
        }
        (Layout::Text, Content::Text(text)) => Ok(object(json!({"text": text}))),
        (Layout::Classification, Content::Classification { text, label }) => {
            Ok(object(json!({"text": text, "label": label})))
        }
        (Layout::Preference, Content::Preference(pair)) => Ok(preference(pair)),
        // A class is an answer to a text, and an answer can be preferred.
        (_, Content::Classification { text, label }) => write(
            layout,
            &Content::Conversation(Conversation::of_turn(text, label)),
        ),
        (_, Content::Preference(pair)) => write(layout, &Content::Conversation(pair.preferred())),
        (layout, Content::Text(_)) => Err(format!(
            "plain text has no questions and answers, which {} needs",
            layout.name()
        )),
        (layout, Content::Conversation(_)) => Err(format!(
            "a conversation is no row of the layout {}",
            layout.name()
        )),
    }
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn preference(pair: &Preference) -> Map<String, Json> {
    let turns: Vec<Json> = pair.prompt.messages.iter().map(turn).collect();
    let mut row = object(json!({
        "prompt": turns, "chosen": [turn(&pair.chosen)], "rejected": [turn(&pair.rejected)],
    }));
    add_tools(&mut row, &pair.prompt);
    row
}

/// System prompt, and pairs of question and answer.
type Pairs<'a> = (Option<&'a str>, Vec<(&'a str, &'a str)>);

fn pairs<'a>(conversation: &'a Conversation, layout: &str) -> Result<Pairs<'a>, String> {
    let calls = conversation.messages.iter();
    if !conversation.tools.is_empty() || { calls }.any(|message| !message.tool_calls.is_empty()) {
        return Err(format!("{layout} has no place for tools"));
    }
    refuse_extra(&conversation.messages, layout)?;
    if conversation.messages.iter().any(|message| !message.learn) {
        return Err(format!(
            "{layout} has no place for turns that are not learned from (`weight` 0)"
        ));
    }
    let turns = match conversation.system() {
        Some(_) => &conversation.messages[1..],
        None => &conversation.messages[..],
    };
    let pairs: Option<Vec<(&str, &str)>> = turns
        .chunks(2)
        .map(|pair| match pair {
            [question, answer] if question.role == Role::User && answer.role == Role::Assistant => {
                Some((question.content.as_str(), answer.content.as_str()))
            }
            _ => None,
        })
        .collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() => Ok((conversation.system(), pairs)),
        _ => Err(format!(
            "{layout} has a place for pairs of a question and an answer only"
        )),
    }
}

/// Ids and names of tools' results may go where results stand behind their calls;
/// what else a turn has beside its text may not.
fn refuse_extra(messages: &[Message], layout: &str) -> Result<(), String> {
    for message in messages {
        let of_tool =
            |key: &str| message.role == Role::Tool && matches!(key, "name" | "tool_call_id");
        if let Some(key) = message.extra.keys().find(|key| !of_tool(key)) {
            return Err(format!("{layout} has no place for a turn's `{key}`"));
        }
    }
    Ok(())
}

fn alpaca(conversation: &Conversation) -> Written {
    let (system, mut pairs) = pairs(conversation, "alpaca")?;
    let (question, answer) = pairs.pop().unwrap_or_default();
    let mut row = object(json!({"instruction": question, "input": "", "output": answer}));
    if let Some(system) = system {
        row.insert("system".into(), system.into());
    }
    if !pairs.is_empty() {
        row.insert("history".into(), json!(pairs));
    }
    Ok(row)
}

fn prompt_completion(conversation: &Conversation) -> Written {
    let (system, pairs) = pairs(conversation, "prompt-completion")?;
    let [(question, answer)] = pairs[..] else {
        return Err("prompt-completion has a place for one question and one answer only".into());
    };
    let mut row = object(json!({"prompt": question, "completion": answer}));
    if let Some(system) = system {
        row.insert("system".into(), system.into());
    }
    Ok(row)
}

/// A turn with role and content.
fn turn(message: &Message) -> Json {
    let mut turn = message.to_json();
    if let (false, Json::Object(turn)) = (message.learn, &mut turn) {
        turn.insert("weight".into(), 0.into());
    }
    turn
}

fn messages(conversation: &Conversation) -> Map<String, Json> {
    let turns: Vec<Json> = conversation.messages.iter().map(turn).collect();
    let mut row = object(json!({ "messages": turns }));
    add_tools(&mut row, conversation);
    row
}

fn sharegpt(conversation: &Conversation) -> Written {
    refuse_extra(&conversation.messages, "sharegpt")?;
    let mut turns = Vec::new();
    for message in &conversation.messages {
        let calls = message.tool_calls.iter();
        let calls: Vec<&Json> = calls
            .map(|call| call.get("function").unwrap_or(call))
            .collect();
        if !calls.is_empty() && !message.content.is_empty() {
            return Err("sharegpt has no place for text beside the calls of a turn".to_owned());
        }
        let (from, value) = match (message.role, &calls[..]) {
            (_, [call]) => ("function_call", call.to_string()),
            (_, [_, ..]) => ("function_call", json!(calls).to_string()),
            (Role::System, []) => ("system", message.content.clone()),
            (Role::User, []) => ("human", message.content.clone()),
            (Role::Assistant, []) => ("gpt", message.content.clone()),
            (Role::Tool, []) => ("observation", message.content.clone()),
        };
        let mut turn = object(json!({"from": from, "value": value}));
        if !message.learn {
            turn.insert("weight".into(), 0.into());
        }
        turns.push(Json::Object(turn));
    }
    let mut row = object(json!({ "conversations": turns }));
    add_tools(&mut row, conversation);
    Ok(row)
}

fn add_tools(row: &mut Map<String, Json>, conversation: &Conversation) {
    if !conversation.tools.is_empty() {
        row.insert("tools".into(), conversation.tools.clone().into());
    }
}
