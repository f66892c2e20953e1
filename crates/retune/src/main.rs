//! The `retune` program: one file per command in `commands/`.

#![forbid(unsafe_code)]

mod builtin;
mod chart;
mod commands;
mod html;
mod numbers;
mod outcome;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Tokenising allocates small pieces on every thread, which the system's
/// allocator is slow at (docs/LOG.md has the figures).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fine-tune open language models: one program, on a laptop or one GPU.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 something in the input, 2 a fault of retune; 130, 143 or 129 stopped by SIGINT, SIGTERM or SIGHUP."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Data(Box<commands::data::Args>),
    Plan(commands::plan::Args),
    Train(commands::train::Args),
    Generate(Box<commands::generate::Args>),
    Chat(Box<commands::chat::Args>),
    Eval(Box<commands::eval::Args>),
    Serve(Box<commands::serve::Args>),
    Merge(Box<commands::merge::Args>),
    Tokenizer(Box<commands::tokenizer::Args>),
    Init(Box<commands::init::Args>),
    Builtin(commands::builtin::Args),
    Env(commands::env::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

fn main() -> ExitCode {
    let matches = numbers::with_negative_ones(Cli::command()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return outcome::of_arguments(&error),
    };
    outcome::of_command(|| match cli.command {
        Command::Data(args) => commands::data::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Merge(args) => commands::merge::run(&args),
        Command::Tokenizer(args) => commands::tokenizer::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Builtin(args) => commands::builtin::run(&args),
        Command::Env(args) => commands::env::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    })
}
