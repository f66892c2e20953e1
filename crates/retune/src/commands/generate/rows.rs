//! A file of prompts, and the file of answers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use serde_json::Value as Json;

use crate::outcome::input_fault;

/// The prompts of a JSONL file by their lines: each row, and what the user says in it.
pub(super) fn prompts(path: &Path) -> Result<BTreeMap<u64, (Json, Conversation)>> {
    let unreadable =
        |error: std::io::Error| input_fault(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let mut found = BTreeMap::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(unreadable)?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let wrong =
            |problem: String| input_fault(format!("{}, line {number}: {problem}", path.display()));
        let row: Json =
            serde_json::from_str(line).map_err(|error| {
                let hint = match number {
                    1 => "\nhint: a prompt stands in each line; retune data convert FILE -o prompts.jsonl makes lines of a list",
                    _ => "",
                };
                wrong(format!("is no JSON: {error}{hint}"))
            })?;
        let conversation = conversation(&row).map_err(wrong)?;
        found.insert(number, (row, conversation));
    }
    match found.is_empty() {
        true => Err(input_fault(format!("{} holds no prompt", path.display()))),
        false => Ok(found),
    }
}

/// # Errors
/// In words, if there is nothing to answer, or something that would get lost.
fn conversation(row: &Json) -> std::result::Result<Conversation, String> {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    let expected = "expected a text `prompt`, or `instruction` and `input`, or `messages` with `role` (system, user, assistant) and `content`";
    for field in ["history", "tools"] {
        if row
            .get(field)
            .is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
        {
            return Err(format!(
                "`{field}` is not taken here; write the turns as `messages`"
            ));
        }
    }
    let mut messages = Vec::new();
    if !text("system").is_empty() {
        messages.push(Message::new(Role::System, text("system")));
    }
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
    match messages.iter().all(|message| message.role == Role::System) {
        true => Err(expected.to_owned()),
        false => Ok(Conversation {
            messages,
            tools: Vec::new(),
        }),
    }
}

/// What stands in a file of answers.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// The answers by line and sample.
    pub(super) answers: BTreeSet<(u64, u64)>,
    /// Bytes of whole lines; what stands behind them was cut off.
    whole: u64,
}

impl Answered {
    /// What stands in `output`, as answers to `prompts` that are `made_by` this model with
    /// these settings.
    ///
    /// # Errors
    /// If it is no file of answers, or of others.
    pub(super) fn read(
        output: &Path,
        prompts: &BTreeMap<u64, (Json, Conversation)>,
        made_by: &str,
    ) -> Result<Self> {
        let wrong = |problem: String| {
            input_fault(format!(
                "{} {problem}\nhint: choose another name for the output",
                output.display()
            ))
        };
        let bytes = match std::fs::read(output) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, begun) = bytes.split_at(whole.map_or(0, |end| end + 1));
        let mut answers = BTreeSet::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let row: Json = serde_json::from_slice(line).unwrap_or_default();
            let (Some(number), Some(_)) = (row["line"].as_u64(), row["answer"].as_str()) else {
                return Err(wrong("is no file of answers".to_owned()));
            };
            if prompts
                .get(&number)
                .is_none_or(|(prompt, _)| *prompt != row["prompt"])
            {
                return Err(wrong(format!(
                    "holds an answer to another prompt in line {number}"
                )));
            }
            if row["made_by"] != made_by {
                return Err(wrong(format!(
                    "holds answers of another model, or with other settings, as in line {number} of the prompts"
                )));
            }
            answers.insert((number, row["sample"].as_u64().unwrap_or(0)));
        }
        let beginning = b"{\"line\":".as_slice();
        if !begun.starts_with(beginning) && !beginning.starts_with(begun) {
            return Err(wrong("is no file of answers".to_owned()));
        }
        Ok(Self {
            answers,
            whole: lines.len() as u64,
        })
    }

    /// Opens the file to go on with it, without a line that was cut off.
    pub(super) fn open(&self, output: &Path) -> std::io::Result<File> {
        // Not opened to append: Windows would let nothing be cut off.
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(output)?;
        file.set_len(self.whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }
}
