//! `retune chat`: a conversation on the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::Style;
use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use retune_generate::{Assistant, Finish, Sampling};
use retune_model::KvCache;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::{Map, Value as Json, json};
use signal_hook::consts::SIGINT;

use super::sampling::{ModelArgs, SamplingArgs};
use crate::outcome::input_fault;
use crate::output::{answer_text, plain};

const NAME: Style = Style::new().bold();

const HELP: &str = "\
/system TEXT     begin anew with this system prompt; without a text, with none
/set NAME VALUE  change how answers are sampled: temperature, top_p, seed, …; alone, show it
/adapter FOLDER  go on with another adapter, model or run
/retry           answer the last question again
/clear           begin anew
/save FILE       write the conversation as JSON, in the layout `messages`
/exit            end; so does Ctrl-D
A line that ends in \\ goes on in the next one; so does everything between two lines of \"\"\".
The arrows bring earlier lines back. Ctrl-C ends an answer.";

/// Talk to a model, an adapter or the outcome of a run.
///
///   retune chat output
///
/// The system prompt and the chat template are those of the training.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A system prompt [default: that of the training]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// What one line from the user asks for.
enum Wish {
    Say(String),
    Command(String, String),
    End,
}

/// A conversation and how it is led.
struct Chat {
    assistant: Assistant,
    system: Option<String>,
    sampling: Sampling,
    /// What was set on the way, one after the other, over the model's own settings and those
    /// of the command line.
    changed: Vec<Map<String, Json>>,
    /// What the model computed of the conversation so far.
    cache: Option<KvCache>,
    messages: Vec<Message>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let assistant = args.model.open()?;
    let mut chat = Chat {
        system: args.system.clone().or(assistant.source.system.clone()),
        sampling: args.sampling.over(&assistant.sampling)?,
        changed: Vec::new(),
        cache: None,
        assistant,
        messages: Vec::new(),
    };
    let interrupt = Interrupt::catch()?;
    let mut lines = Lines::open()?;
    chat.greet();
    loop {
        interrupt.answering(false);
        match lines.wish()? {
            Wish::End => return Ok(()),
            Wish::Say(text) => {
                chat.messages.push(Message::new(Role::User, text));
                if let Err(error) = chat.answer(&interrupt) {
                    chat.messages.pop();
                    complain(&error);
                }
            }
            Wish::Command(name, rest) => {
                if let Err(error) = chat.command(&name, &rest, args, &interrupt) {
                    complain(&error);
                }
            }
        }
    }
}

fn complain(error: &anyhow::Error) {
    anstream::eprintln!("error: {}", plain(&format!("{error:#}")));
}

impl Chat {
    fn greet(&self) {
        let source = &self.assistant.source;
        let adapter = source.adapter.as_ref();
        let shown = |path: &Path| plain(&path.display().to_string());
        anstream::eprintln!(
            "{NAME}model{NAME:#} {}{}",
            plain(&crate::builtin::shown(&source.model)),
            adapter.map_or(String::new(), |adapter| format!(" with {}", shown(adapter)))
        );
        if let Some(system) = &self.system {
            anstream::eprintln!("{NAME}system{NAME:#} {}", plain(system));
        }
        if !self.assistant.tokenizer.has_template() {
            anstream::eprintln!(
                "this model has no chat template: it goes on with what you write, and is not told the system prompt or earlier turns"
            );
        }
        anstream::eprintln!("/help shows what else can be typed");
    }

    fn conversation(&self) -> Conversation {
        Conversation {
            messages: self.messages.clone(),
            tools: Vec::new(),
        }
        .with_default_system(self.system.as_deref())
    }

    /// What the model is given: without a chat template, what was said last.
    fn prompt(&self) -> Result<Vec<u32>> {
        let mut conversation = self.conversation();
        if !self.assistant.tokenizer.has_template() {
            let before = conversation.messages.len().saturating_sub(1);
            conversation.messages.drain(..before);
        }
        Ok(self.assistant.prompt_ids(&conversation, &Map::new())?)
    }

    /// Answers the last message.
    fn answer(&mut self, interrupt: &Interrupt) -> Result<()> {
        let assistant = &self.assistant;
        let request = retune_generate::Request {
            prompt: self.prompt()?,
            adapter: assistant.adapter.clone(),
            sampling: self.sampling.clone(),
            grammar: None,
            prompt_logprobs: None,
        };
        let mut generator = assistant.generator_in(self.cache.take(), &request)?;
        generator.add(request)?;
        interrupt.answering(true);
        let mut answer = String::new();
        let (mut tokens, mut finish) = (0, None);
        let mut out = std::io::stdout().lock();
        while !generator.is_idle() && !interrupt.came() {
            for piece in generator.step()? {
                write!(out, "{}", answer_text(&piece.text))?;
                answer.push_str(&piece.text);
                tokens += usize::from(piece.token.is_some());
                finish = piece.finish;
            }
            out.flush()?;
        }
        self.cache = Some(generator.into_cache());
        interrupt.answering(false);
        writeln!(out)?;
        self.messages.push(Message::new(Role::Assistant, answer));
        match finish {
            Some(Finish::Length) if tokens < self.sampling.max_new_tokens => {
                anstream::eprintln!("cut here: the model's context is full; /clear begins anew");
            }
            Some(Finish::Length) => anstream::eprintln!(
                "cut here: max_new_tokens is {tokens}; /set max_new_tokens {} allows more",
                4 * tokens
            ),
            Some(Finish::Repetition) => {
                anstream::eprintln!("ended here: a phrase came again and again")
            }
            Some(Finish::Stop) | None => {}
        }
        Ok(())
    }

    fn command(
        &mut self,
        name: &str,
        rest: &str,
        args: &Args,
        interrupt: &Interrupt,
    ) -> Result<()> {
        match name {
            "help" => anstream::eprintln!("{HELP}"),
            "clear" => {
                self.messages.clear();
                anstream::eprintln!("the conversation begins anew");
            }
            "system" => {
                self.system = (!rest.is_empty()).then(|| rest.to_owned());
                self.messages.clear();
                let is = self
                    .system
                    .as_deref()
                    .unwrap_or("the model's own, if it has one");
                anstream::eprintln!(
                    "{NAME}system{NAME:#} {}; the conversation begins anew",
                    plain(is)
                );
            }
            "set" => match rest.split_once(char::is_whitespace) {
                Some((name, value)) => {
                    let set = Sampling::named_text(name, value.trim());
                    let changed = self.sampling.with(&set)?;
                    changed.check(self.assistant.model.config().vocab_size)?;
                    self.sampling = changed;
                    self.changed.push(set);
                    anstream::eprintln!("{name} is {}", plain(value.trim()));
                }
                None if rest.is_empty() => {
                    anstream::eprintln!("{}", serde_json::to_string_pretty(&self.sampling)?);
                }
                None => return Err(input_fault(format!("/set {rest}: a value is missing"))),
            },
            "adapter" | "save" if rest.is_empty() => {
                return Err(input_fault(format!("/{name}: a name is missing")));
            }
            "adapter" => {
                let source = args.model.source(Path::new(rest))?;
                // A system prompt that nobody chose is that of the training.
                let chosen = self.system != self.assistant.source.system;
                if !self.assistant.switch(&source)? {
                    let other = args.model.open_source(source)?;
                    let mut sampling = args.sampling.over(&other.sampling)?;
                    for set in &self.changed {
                        sampling = sampling.with(set)?;
                    }
                    sampling.check(other.model.config().vocab_size)?;
                    (self.assistant, self.sampling) = (other, sampling);
                    self.cache = None;
                }
                if !chosen {
                    self.system = self.assistant.source.system.clone();
                }
                self.greet();
            }
            "retry" => {
                let mut messages = self.messages.iter();
                let asked = messages.rposition(|message| message.role == Role::User);
                let Some(asked) = asked else {
                    return Err(input_fault("there is no question yet"));
                };
                let (before, seed) = (self.messages.clone(), self.sampling.seed);
                self.messages.truncate(asked + 1);
                // The same seed would give the same answer.
                self.sampling.seed = seed.wrapping_add(1);
                if let Err(error) = self.answer(interrupt) {
                    (self.messages, self.sampling.seed) = (before, seed);
                    return Err(error);
                }
            }
            "save" => {
                let turn = |message: &Message| json!({"role": message.role.name(), "content": message.content});
                let turns: Vec<_> = self.conversation().messages.iter().map(turn).collect();
                let text = serde_json::to_string_pretty(&json!({ "messages": turns }))?;
                if Path::new(rest).exists() {
                    return Err(input_fault(format!("{rest} is there already")));
                }
                std::fs::write(rest, text + "\n")
                    .map_err(|error| input_fault(format!("{rest} cannot be written: {error}")))?;
                anstream::eprintln!("{} turns are in {}", self.messages.len(), plain(rest));
            }
            _ => {
                return Err(input_fault(format!(
                    "there is no /{name}; /help shows what there is, and between two lines of \"\"\" a text may begin with /"
                )));
            }
        }
        Ok(())
    }
}

/// Where lines come from: a terminal, on which they can be edited and those before come
/// back with the arrows, or a pipe.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Lines {
    fn open() -> Result<Self> {
        Ok(match std::io::stdin().is_terminal() {
            true => Self::Terminal(Box::new(DefaultEditor::new()?)),
            false => Self::Pipe(std::io::stdin().lock().lines()),
        })
    }

    /// The next line behind `sign`; none where there is no more.
    fn next(&mut self, sign: &str) -> Result<Option<String>> {
        let editor = match self {
            Self::Terminal(editor) => editor,
            Self::Pipe(lines) => {
                let line = lines.next().transpose();
                return line.map_err(|error| {
                    input_fault(format!("standard input cannot be read: {error}"))
                });
            }
        };
        loop {
            match editor.readline(&format!("{sign} ")) {
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    return Ok(Some(line));
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) => anstream::eprintln!("/exit or Ctrl-D ends"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the user wants next.
    fn wish(&mut self) -> Result<Wish> {
        loop {
            let Some(mut text) = self.next(">")? else {
                return Ok(Wish::End);
            };
            if text.trim() == "\"\"\"" {
                text.clear();
                while let Some(line) = self.next("…")?.filter(|line| line.trim() != "\"\"\"") {
                    text.push_str(&line);
                    text.push('\n');
                }
                if text.trim().is_empty() {
                    continue;
                }
                return Ok(Wish::Say(text.trim_end().to_owned()));
            }
            while text.ends_with('\\') {
                text.pop();
                text.push('\n');
                match self.next("…")? {
                    Some(line) => text.push_str(&line),
                    None => break,
                }
            }
            let trimmed = text.trim();
            if let Some(command) = trimmed.strip_prefix('/') {
                let parts = command.split_once(char::is_whitespace);
                let (name, rest) = parts.unwrap_or((command, ""));
                return Ok(match name {
                    "exit" | "quit" => Wish::End,
                    _ => Wish::Command(name.to_owned(), rest.trim().to_owned()),
                });
            }
            if !trimmed.is_empty() {
                return Ok(Wish::Say(trimmed.to_owned()));
            }
        }
    }
}

/// Ctrl-C ends an answer, or the program while there is none.
struct Interrupt {
    idle: Arc<AtomicBool>,
    came: Arc<AtomicBool>,
}

impl Interrupt {
    fn catch() -> Result<Self> {
        let interrupt = Self {
            idle: Arc::new(AtomicBool::new(true)),
            came: Arc::default(),
        };
        let idle = Arc::clone(&interrupt.idle);
        signal_hook::flag::register_conditional_default(SIGINT, idle)?;
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupt.came))?;
        Ok(interrupt)
    }

    fn answering(&self, answering: bool) {
        self.idle.store(!answering, Ordering::SeqCst);
        self.came.store(false, Ordering::SeqCst);
    }

    fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }
}
