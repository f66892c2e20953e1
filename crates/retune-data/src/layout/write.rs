//! Samples to rows.

use serde_json::{Map, Value as Json, json};

use super::Layout;
use crate::sample::{Content, Conversation, Message, Preference, Role};

type Written = Result<Map<String, Json>, String>;

pub(super) fn write(layout: Layout, content: &Content) -> Written {
    match (layout, content) {
        (Layout::Alpaca, Content::Conversation(conversation)) => alpaca(conversation),
        (Layout::ShareGpt, Content::Conversation(conversation)) => Ok(sharegpt(conversation)),
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
    let turns: Vec<Json> = pair.prompt.messages.iter().map(Message::to_json).collect();
    let mut row = object(json!({
        "prompt": turns, "chosen": [pair.chosen.to_json()], "rejected": [pair.rejected.to_json()],
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

fn messages(conversation: &Conversation) -> Map<String, Json> {
    let turn = |message: &Message| {
        let mut turn = message.to_json();
        if let (false, Json::Object(turn)) = (message.learn, &mut turn) {
            turn.insert("weight".into(), 0.into());
        }
        turn
    };
    let turns: Vec<Json> = conversation.messages.iter().map(turn).collect();
    let mut row = object(json!({ "messages": turns }));
    add_tools(&mut row, conversation);
    row
}

fn sharegpt(conversation: &Conversation) -> Map<String, Json> {
    let mut turns = Vec::new();
    for message in &conversation.messages {
        let from = match message.role {
            Role::System => "system",
            Role::User => "human",
            Role::Assistant => "gpt",
            Role::Tool => "observation",
        };
        if !message.content.is_empty() || message.tool_calls.is_empty() {
            let mut turn = object(json!({"from": from, "value": message.content}));
            if !message.learn {
                turn.insert("weight".into(), 0.into());
            }
            turns.push(Json::Object(turn));
        }
        let calls: Vec<&Json> = message
            .tool_calls
            .iter()
            .map(|call| call.get("function").unwrap_or(call))
            .collect();
        match calls[..] {
            [] => {}
            [call] => turns.push(json!({"from": "function_call", "value": call.to_string()})),
            _ => {
                let list = json!(calls).to_string();
                turns.push(json!({"from": "function_call", "value": list}));
            }
        }
    }
    let mut row = object(json!({ "conversations": turns }));
    add_tools(&mut row, conversation);
    row
}

fn add_tools(row: &mut Map<String, Json>, conversation: &Conversation) {
    if !conversation.tools.is_empty() {
        row.insert("tools".into(), conversation.tools.clone().into());
    }
}
