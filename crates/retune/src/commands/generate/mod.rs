//! `retune generate`: answers to one prompt, or to a file of them.

mod rows;

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use retune_generate::{
    Answer, Assistant, BeamAnswer, BeamSearch, EarlyStopping, Finish, Request, Sampling, answer_all,
};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::sampling::{ModelArgs, SamplingArgs};
use crate::numbers::{finite, within};
use crate::outcome::input_fault;
use crate::output::{answer_text, check_paths, counted, say, whole};

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
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// How many answers each prompt gets, from as many seeds
    #[arg(long, short, value_name = "N", default_value = "1", value_parser = within::<u64>(1..=1024))]
    n: u64,
    /// Tell how likely each token was, and the N most likely ones; written as JSON
    #[arg(long, value_name = "N")]
    logprobs: Option<usize>,
    /// Tell how fast the prompt was read and the answer written
    #[arg(long, conflicts_with_all = ["input", "num_beams", "n", "json", "logprobs"])]
    timings: bool,
    /// Write the answer as JSON, with its tokens and why it ended
    #[arg(long)]
    json: bool,
    /// A JSONL file of prompts
    #[arg(
        long,
        value_name = "FILE",
        requires = "output",
        conflicts_with = "prompt"
    )]
    input: Option<PathBuf>,
    /// Where the answers to those go
    #[arg(
        long,
        value_name = "FILE",
        requires = "input",
        conflicts_with = "prompt"
    )]
    output: Option<PathBuf>,
    /// How many answers to a file are made at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = within::<u64>(1..=1024))]
    batch_size: u64,
    /// Print the settings of generation as JSON, and end
    #[arg(long = "print-config")]
    print_config: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    beams: BeamArgs,
}

/// Settings of beam search.
#[derive(clap::Args)]
#[command(next_help_heading = "Beam search")]
struct BeamArgs {
    /// Search for the most likely answers with N beams, instead of drawing
    #[arg(long = "num_beams", alias = "num-beams", value_name = "N")]
    num_beams: Option<usize>,
    /// Above 0 longer answers do better, below 0 shorter ones [default: 1]
    #[arg(
        long = "length_penalty",
        alias = "length-penalty",
        value_name = "NUMBER",
        requires = "num_beams",
        value_parser = finite
    )]
    length_penalty: Option<f64>,
    /// When it ends: with as many answers as beams (yes), when none is likely to become
    /// better (no), when none can (never) [default: no]
    #[arg(
        long = "early_stopping",
        alias = "early-stopping",
        value_name = "WHEN",
        requires = "num_beams"
    )]
    early_stopping: Option<Ending>,
}

/// When a search ends.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Ending {
    Yes,
    No,
    Never,
}

impl BeamArgs {
    fn search(&self) -> Option<BeamSearch> {
        let default = BeamSearch::default();
        Some(BeamSearch {
            num_beams: self.num_beams.filter(|count| *count != 1)?,
            length_penalty: self.length_penalty.unwrap_or(default.length_penalty),
            early_stopping: match self.early_stopping {
                Some(Ending::Yes) => EarlyStopping::Yes,
                Some(Ending::Never) => EarlyStopping::Never,
                Some(Ending::No) | None => EarlyStopping::No,
            },
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sampling = args.sampling.over(&args.model.sampling()?)?;
    let sampling = Sampling {
        logprobs: args.logprobs,
        ..sampling
    };
    sampling.check_values()?;
    let beams = args.beams.search();
    if let Some(beams) = &beams {
        check_beams(args, beams)?;
    }
    if args.print_config {
        return print_config(&sampling, beams.as_ref());
    }
    let assistant = args.model.open()?;
    if let (Some(input), Some(output)) = (&args.input, &args.output) {
        return all(args, &assistant, &sampling, input, output);
    }
    let prompt = match args.prompt.as_deref() {
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| input_fault(format!("standard input cannot be read: {error}")))?;
            // The end of the last line is no part of what is said.
            let whole = text.strip_suffix('\n').unwrap_or(&text);
            whole.strip_suffix('\r').unwrap_or(whole).to_owned()
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
    if args.n > 1 || args.json || args.logprobs.is_some() || beams.is_some() {
        return several(args, &assistant, request);
    }
    stream(&assistant, request, args.timings)
}

/// # Errors
/// If more answers are asked for than a search has, or more than it can tell.
fn check_beams(args: &Args, beams: &BeamSearch) -> Result<()> {
    beams.check()?;
    if args.n > beams.num_beams as u64 {
        return Err(input_fault(format!(
            "--n: expected at most {}, the beams, found {}",
            beams.num_beams, args.n
        )));
    }
    match (args.logprobs, &args.sampling) {
        (Some(_), _) => Err(input_fault("--logprobs does not go with --num_beams")),
        (_, sampling) if sampling.draws() => Err(input_fault(
            "nothing is drawn with --num_beams\nhint: leave out do_sample, temperature, top_k, top_p and min_p",
        )),
        (_, sampling) if sampling.ends_loops() => Err(input_fault(
            "--max_phrase_repeats does not go with --num_beams",
        )),
        _ => Ok(()),
    }
}

fn print_config(sampling: &Sampling, beams: Option<&BeamSearch>) -> Result<()> {
    let mut all = serde_json::to_value(sampling)?;
    if let (Some(all), Json::Object(beams)) = (all.as_object_mut(), serde_json::to_value(beams)?) {
        all.extend(beams);
    }
    say(serde_json::to_string_pretty(&all)?)?;
    Ok(())
}

fn request(
    args: &Args,
    assistant: &Assistant,
    conversation: Conversation,
    sampling: &Sampling,
) -> Result<Request> {
    if args.raw {
        let [Message { content: text, .. }] = &conversation.messages[..] else {
            return Err(input_fault(
                "--raw goes on with one text, and this is a conversation with a system prompt or several turns\nhint: leave out --raw, or write all of the text as `prompt`",
            ));
        };
        return Ok(Request {
            prompt: assistant.tokenizer.text_ids(text)?,
            adapter: assistant.adapter.clone(),
            sampling: sampling.clone(),
            grammar: None,
            prompt_logprobs: None,
        });
    }
    let conversation = conversation.with_default_system(args.system.as_deref());
    Ok(assistant.request(conversation, sampling.clone())?)
}

/// Writes an answer as it comes.
fn stream(assistant: &Assistant, request: Request, timings: bool) -> Result<()> {
    let prompt = request.prompt.len();
    let most = request.check(&assistant.model, usize::MAX)?;
    let wanted = request.sampling.max_new_tokens;
    let mut generator = assistant.generator_for(&request)?;
    let mut out = std::io::stdout().lock();
    generator.add(request)?;
    let started = Instant::now();
    let mut first = None;
    let (mut tokens, mut finish) = (0_usize, Finish::Stop);
    while !generator.is_idle() {
        for piece in generator.step()? {
            write!(out, "{}", answer_text(&piece.text))?;
            out.flush()?;
            tokens += usize::from(piece.token.is_some());
            finish = piece.finish.unwrap_or(finish);
            first.get_or_insert_with(|| started.elapsed());
        }
    }
    let whole = started.elapsed();
    writeln!(out)?;
    if let (true, Some(first)) = (timings, first) {
        tell_times((prompt, first), (tokens, whole));
    }
    match finish {
        Finish::Stop => {}
        Finish::Length if most < wanted => anstream::eprintln!(
            "the answer was cut off after {most} tokens, as the model takes no more with the prompt"
        ),
        Finish::Length => anstream::eprintln!(
            "the answer was cut off after {most} tokens; --max_new_tokens allows more"
        ),
        Finish::Repetition => anstream::eprintln!("the answer was ended, as it repeated a phrase"),
    }
    Ok(())
}

/// How fast a prompt of `prompt` tokens was read, until the first token behind it was
/// there, and those behind that were written.
fn tell_times((prompt, first): (usize, Duration), (tokens, whole): (usize, Duration)) {
    let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64().max(1e-9);
    anstream::eprintln!(
        "prompt: {prompt} tokens in {:.3} s, {:.1} tokens/s",
        first.as_secs_f64(),
        rate(prompt, first)
    );
    let (rest, time) = (tokens.saturating_sub(1), whole - first);
    anstream::eprintln!(
        "answer: {rest} more tokens in {:.3} s, {:.1} tokens/s",
        time.as_secs_f64(),
        rate(rest, time)
    );
}

/// Writes answers when they are whole: several, or as JSON.
fn several(args: &Args, assistant: &Assistant, request: Request) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let as_json = args.json || args.logprobs.is_some();
    let mut shown = 0;
    let mut show = |text: &str, record: Map<String, Json>| -> Result<()> {
        shown += 1;
        match (as_json, args.n) {
            (true, _) => writeln!(out, "{}", Json::Object(record))?,
            (false, 1) => writeln!(out, "{}", answer_text(text))?,
            (false, _) => writeln!(out, "{shown}. {}", answer_text(text))?,
        }
        Ok(out.flush()?)
    };
    let samples = args.n as usize;
    if let Some(beams) = args.beams.search() {
        for answer in search(assistant, &beams, &request)?.iter().take(samples) {
            show(&answer.text, beam_record(answer))?;
        }
        return Ok(());
    }
    let (model, tokenizer) = (&assistant.model, &assistant.tokenizer);
    let mut answers: Vec<Option<Answer>> = vec![None; samples];
    answer_all::<anyhow::Error>(
        model,
        tokenizer,
        vec![request],
        (samples, samples),
        |place, answer| {
            answers[place.sample] = Some(answer);
            Ok(())
        },
    )?;
    for answer in answers.iter().flatten() {
        show(&answer.text, record(assistant, answer))?;
    }
    Ok(())
}

fn search(assistant: &Assistant, beams: &BeamSearch, request: &Request) -> Result<Vec<BeamAnswer>> {
    let bar = crate::progress::items(request.sampling.max_new_tokens as u64);
    let (model, tokenizer) = (&assistant.model, &assistant.tokenizer);
    let found = beams.search(model, tokenizer, request, &mut |tokens| {
        bar.set_position(tokens as u64);
    });
    bar.finish_and_clear();
    Ok(found?)
}

/// An answer as it is written in JSON.
fn record(assistant: &Assistant, answer: &Answer) -> Map<String, Json> {
    let mut record = Map::new();
    let mut add = |name: &str, value: Json| record.insert(name.to_owned(), value);
    add("answer", answer.text.as_str().into());
    add("finish_reason", answer.finish.name().into());
    add("tokens", answer.ids.len().into());
    if !answer.logprobs.is_empty() {
        let text = |id: u32| assistant.tokenizer.decode_text(&[id]);
        let told = answer.logprobs.iter().map(|told| {
            let top = told
                .top
                .iter()
                .map(|(id, logprob)| json!({"token": text(*id), "id": id, "logprob": logprob}));
            json!({
                "token": text(told.token), "id": told.token, "logprob": told.logprob,
                "top_logprobs": top.collect::<Vec<_>>(),
            })
        });
        add("logprobs", told.collect());
    }
    record
}

fn beam_record(answer: &BeamAnswer) -> Map<String, Json> {
    let mut record = Map::new();
    let finish = match answer.ended {
        true => Finish::Stop,
        false => Finish::Length,
    };
    let mut add = |name: &str, value: Json| record.insert(name.to_owned(), value);
    add("answer", answer.text.as_str().into());
    add("finish_reason", finish.name().into());
    add("tokens", answer.ids.len().into());
    add("score", answer.score.into());
    record
}

/// What stands for the model, the adapter and the settings that an answer comes from.
fn made_by(args: &Args, assistant: &Assistant, sampling: &Sampling) -> Result<String> {
    let source = &assistant.source;
    let state = |path: PathBuf| -> Json {
        let Ok(data) = std::fs::metadata(&path) else {
            return Json::Null;
        };
        let changed = data.modified().ok();
        let changed = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        json!([data.len(), changed.map(|time| time.as_nanos().to_string())])
    };
    let adapter = source.adapter.as_deref().map(whole);
    let weights = adapter
        .as_ref()
        .map(|path| state(path.join("adapter_model.safetensors")));
    let model = whole(&source.model);
    let all = json!({
        "model": [&model, state(model.join("config.json")), state(model.join("model.safetensors"))],
        "adapter": [adapter, weights],
        "sampling": sampling,
        "beams": args.beams.search(),
        "system": args.system.as_ref().or(source.system.as_ref()),
        "raw": args.raw,
        "template": assistant.template_arguments,
    });
    let digest = Sha256::digest(serde_json::to_vec(&all)?);
    Ok(digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Answers the prompts of a file, several at once; each answer is written when it ends.
fn all(
    args: &Args,
    assistant: &Assistant,
    sampling: &Sampling,
    input: &Path,
    output: &Path,
) -> Result<()> {
    let samples = args.n as usize;
    check_paths(&[input.to_path_buf()], &[Some(output)])?;
    let prompts = rows::prompts(input)?;
    let made_by = made_by(args, assistant, sampling)?;
    let done = rows::Answered::read(output, &prompts, &made_by)?;
    let mut asked = Vec::new();
    let mut requests = Vec::new();
    for (line, (row, conversation)) in prompts {
        if (0..args.n).all(|sample| done.answers.contains(&(line, sample))) {
            continue;
        }
        let in_line = |error| input_fault(format!("{}, line {line}: {error:#}", input.display()));
        let mut request = request(args, assistant, conversation, sampling).map_err(in_line)?;
        let checked = request.check(&assistant.model, usize::MAX);
        checked.map_err(|error| in_line(error.into()))?;
        // Equal prompts need not have equal answers.
        request.sampling.seed = sampling.seed.wrapping_add((line - 1) * args.n);
        asked.push((line, row));
        requests.push(request);
    }
    if !done.answers.is_empty() {
        let there = counted(done.answers.len() as u64, "answer");
        anstream::eprintln!("{there} of {} kept", output.display());
    }
    let unwritable =
        |error| input_fault(format!("{} cannot be written: {error}", output.display()));
    let mut out = done.open(output).map_err(unwritable)?;
    let bar = crate::progress::items(requests.len() as u64 * args.n);
    let mut write = |request: usize, sample: usize, answer: Map<String, Json>| -> Result<()> {
        let (line, row) = &asked[request];
        bar.inc(1);
        // Of a prompt with some of its answers, all are made again.
        if done.answers.contains(&(*line, sample as u64)) {
            return Ok(());
        }
        let mut record = Map::new();
        record.insert("line".to_owned(), (*line).into());
        if samples > 1 {
            record.insert("sample".to_owned(), sample.into());
        }
        record.insert("prompt".to_owned(), row.clone());
        record.extend(answer);
        record.insert("made_by".to_owned(), made_by.as_str().into());
        writeln!(out, "{}", Json::Object(record))
            .and_then(|()| out.flush())
            .map_err(unwritable)
    };
    if let Some(beams) = args.beams.search() {
        for (index, request) in requests.iter().enumerate() {
            for (sample, answer) in search(assistant, &beams, request)?
                .iter()
                .take(samples)
                .enumerate()
            {
                write(index, sample, beam_record(answer))?;
            }
        }
        bar.finish_and_clear();
        return Ok(());
    }
    let (model, tokenizer) = (&assistant.model, &assistant.tokenizer);
    let at_once = args.batch_size as usize;
    answer_all::<anyhow::Error>(
        model,
        tokenizer,
        requests,
        (samples, at_once),
        |place, answer| write(place.request, place.sample, record(assistant, &answer)),
    )?;
    bar.finish_and_clear();
    Ok(())
}
