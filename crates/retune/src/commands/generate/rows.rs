//! A file of prompts, and the file of answers to them.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use serde_json::Value as Json;

use crate::outcome::input_fault;

/// The prompts of a JSONL file: each row, and what the user says in it.
pub(super) fn prompts(path: &Path) -> Result<Vec<(Json, Conversation)>> {
    let unreadable =
        |error: std::io::Error| input_fault(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let mut found = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(unreadable)?;
        let wrong = |problem: String| {
            input_fault(format!("{}, line {}: {problem}", path.display(), index + 1))
        };
        let row: Json =
            serde_json::from_str(&line).map_err(|error| wrong(format!("is no JSON: {error}")))?;
        let conversation = conversation(&row).map_err(wrong)?;
        found.push((row, conversation));
    }
    match found.is_empty() {
        true => Err(input_fault(format!("{} holds no prompt", path.display()))),
        false => Ok(found),
    }
}

/// # Errors
/// In words, if there is nothing to answer.
fn conversation(row: &Json) -> std::result::Result<Conversation, String> {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    let expected = "expected a text `prompt`, or `instruction` and `input`, or `messages` with `role` and `content`";
    let mut messages = Vec::new();
    if let Some(turns) = row["messages"].as_array() {
        for turn in turns {
            let role = match turn["role"].as_str() {
                Some("system") => Role::System,
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                _ => return Err(expected.to_owned()),
            };
            let content = turn["content"].as_str().ok_or(expected)?;
            messages.push(Message::new(role, content));
        }
        // What is to be answered is the last question.
        while messages
            .last()
            .is_some_and(|message| message.role == Role::Assistant)
        {
            messages.pop();
        }
    } else {
        let parts = [text("prompt"), text("instruction"), text("input")];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let prompt = parts.collect::<Vec<_>>().join("\n");
        if !prompt.is_empty() {
            messages.push(Message::new(Role::User, prompt));
        }
    }
    match messages.is_empty() {
        true => Err(expected.to_owned()),
        false => Ok(Conversation {
            messages,
            tools: Vec::new(),
        }),
    }
}

/// The answers that there are already, by line and sample; one that was cut off is made
/// again.
pub(super) fn answered(output: &Path) -> Result<BTreeSet<(u64, u64)>> {
    let wrong = |problem: String| input_fault(format!("{} {problem}", output.display()));
    let text = match std::fs::read_to_string(output) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = BTreeSet::new();
    for line in text[..whole].lines() {
        let row: Json = serde_json::from_str(line).unwrap_or_default();
        let number = row["line"].as_u64().ok_or_else(|| {
            wrong("is no file of answers\nhint: choose another name for the output".to_owned())
        })?;
        lines.insert((number, row["sample"].as_u64().unwrap_or(0)));
    }
    if whole < text.len() {
        let cut = OpenOptions::new().write(true).open(output);
        cut.and_then(|file| file.set_len(whole as u64))
            .map_err(|error| wrong(format!("cannot be written: {error}")))?;
    }
    Ok(lines)
}
