//! `retune generate`: answers to one prompt, or to a file of them.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use retune_generate::{Assistant, Finish, Generator, Request, Sampling};
use serde_json::{Value as Json, json};

use super::sampling::{ModelArgs, SamplingArgs};
use crate::outcome::input_fault;
use crate::output::plain;

/// Answer a prompt, or a file of prompts.
///
///   retune generate output "What do you do in the evening?"
///
///   retune generate output --input prompts.jsonl --output answers.jsonl
///
/// A file has a JSON object on each line: `prompt`, or `instruction` and `input`, or
/// `messages`. Answers that stand in the output file already are not made again.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What the user says; read from standard input if it is `-`
    #[arg(required_unless_present_any = ["input", "print_config"])]
    prompt: Option<String>,
    /// A system prompt [default: that of the training]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Go on with the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// A JSONL file of prompts
    #[arg(
        long,
        value_name = "FILE",
        requires = "output",
        conflicts_with = "prompt"
    )]
    input: Option<PathBuf>,
    /// Where the answers to those go
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// How many prompts of a file are answered at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u64).range(1..=1024))]
    batch_size: u64,
    /// Print the settings of generation as JSON, and end
    #[arg(long = "print-config")]
    print_config: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sampling = args.sampling.over(&args.model.sampling()?)?;
    if args.print_config {
        anstream::println!("{}", serde_json::to_string_pretty(&sampling)?);
        return Ok(());
    }
    let assistant = args.model.open()?;
    if let (Some(input), Some(output)) = (&args.input, &args.output) {
        return all(args, &assistant, &sampling, input, output);
    }
    let prompt = match args.prompt.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        text => text.unwrap_or_default().to_owned(),
    };
    if prompt.is_empty() {
        return Err(retune_generate::Error::EmptyPrompt.into());
    }
    let conversation = Conversation {
        messages: vec![Message::new(Role::User, &prompt)],
        tools: Vec::new(),
    };
    let request = request(args, &assistant, conversation, &sampling)?;
    let tokens = request.prompt.len() + sampling.max_new_tokens;
    let mut generator = Generator::new(&assistant.model, &assistant.tokenizer, tokens)?;
    let mut out = anstream::stdout().lock();
    let mut written = Ok(());
    let (_, finish) = generator.answer(request, &mut |text| {
        if written.is_ok() {
            written = write!(out, "{}", plain(text)).and_then(|()| out.flush());
        }
    })?;
    written?;
    writeln!(out)?;
    if finish == Finish::Length {
        anstream::eprintln!(
            "the answer was cut off after {} tokens; --max_new_tokens allows more",
            sampling.max_new_tokens
        );
    }
    Ok(())
}

fn request(
    args: &Args,
    assistant: &Assistant,
    conversation: Conversation,
    sampling: &Sampling,
) -> Result<Request> {
    if args.raw {
        let text = conversation.messages.last();
        let text = text.map_or("", |message| &message.content);
        return Ok(Request {
            prompt: assistant.tokenizer.text_ids(text)?,
            sampling: sampling.clone(),
        });
    }
    let conversation = conversation.with_default_system(args.system.as_deref());
    Ok(assistant.request(conversation, sampling.clone())?)
}

/// Answers the prompts of a file, several at once; each answer is written when it ends.
fn all(
    args: &Args,
    assistant: &Assistant,
    sampling: &Sampling,
    input: &Path,
    output: &Path,
) -> Result<()> {
    let prompts = prompts(input)?;
    let done = answered(output)?;
    let opened = OpenOptions::new().create(true).append(true).open(output);
    let mut out = opened
        .map_err(|error| input_fault(format!("{} cannot be written: {error}", output.display())))?;
    let mut requests = Vec::new();
    for (line, (row, conversation)) in prompts.into_iter().enumerate() {
        let line = line as u64 + 1;
        if done.contains(&line) {
            continue;
        }
        let mut request = request(args, assistant, conversation, sampling)
            .map_err(|error| input_fault(format!("{}, line {line}: {error:#}", input.display())))?;
        // Equal prompts need not have equal answers.
        request.sampling.seed = sampling.seed.wrapping_add(line);
        requests.push((line, row, request));
    }
    let longest = requests
        .iter()
        .map(|(.., request)| request.prompt.len())
        .max();
    let most = longest.unwrap_or(0) + sampling.max_new_tokens;
    let places = most.next_multiple_of(64) * args.batch_size as usize;
    let mut generator = Generator::new(&assistant.model, &assistant.tokenizer, places)?;
    let bar = crate::progress::items(requests.len() as u64);
    let mut waiting = requests.into_iter();
    let mut open: Vec<(u64, u64, Json, String, usize)> = Vec::new();
    loop {
        while open.len() < args.batch_size as usize {
            let Some((line, row, request)) = waiting.next() else {
                break;
            };
            let number = generator.add(request).map_err(|error| {
                input_fault(format!("{}, line {line}: {error}", input.display()))
            })?;
            open.push((number, line, row, String::new(), 0));
        }
        if generator.is_idle() {
            break;
        }
        for piece in generator.step()? {
            let Some(index) = open
                .iter()
                .position(|(number, ..)| *number == piece.request)
            else {
                continue;
            };
            let (.., text, tokens) = &mut open[index];
            text.push_str(&piece.text);
            *tokens += usize::from(piece.token.is_some());
            if let Some(finish) = piece.finish {
                let (_, line, row, answer, tokens) = open.swap_remove(index);
                let record = json!({
                    "line": line, "prompt": row, "answer": answer,
                    "finish_reason": finish.name(), "tokens": tokens,
                });
                writeln!(out, "{record}")
                    .and_then(|()| out.flush())
                    .map_err(|error| {
                        input_fault(format!("{} cannot be written: {error}", output.display()))
                    })?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The prompts of a JSONL file: each row, and what the user says in it.
fn prompts(path: &Path) -> Result<Vec<(Json, Conversation)>> {
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

/// The lines that were answered already; a line that was cut off is made again.
fn answered(output: &Path) -> Result<BTreeSet<u64>> {
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
        lines.insert(number);
    }
    if whole < text.len() {
        let cut = OpenOptions::new().write(true).open(output);
        cut.and_then(|file| file.set_len(whole as u64))
            .map_err(|error| wrong(format!("cannot be written: {error}")))?;
    }
    Ok(lines)
}
