//! `retune data`: what stands in data files, and what is wrong with it.

mod agreement;
mod clean;
mod convert;
pub(crate) mod input;
mod inspect;
mod lint;
mod split;
mod stats;

use anyhow::Result;
use clap::Subcommand;

/// Check, clean, measure, split, convert and inspect data files.
///
/// Files are JSON, JSONL, CSV, TSV, Parquet or text, plain or compressed with
/// gzip or Zstandard, in UTF-8, UTF-16 or GB18030. Layouts are found by their
/// columns: alpaca, sharegpt, messages (OpenAI), prompt-completion, text,
/// classification, preference.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Lint(lint::Args),
    Clean(clean::Args),
    Stats(stats::Args),
    Split(split::Args),
    Inspect(inspect::Args),
    Convert(convert::Args),
    Agreement(agreement::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Lint(args) => lint::run(args),
        Command::Clean(args) => clean::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Split(args) => split::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Agreement(args) => agreement::run(args),
    }
}
