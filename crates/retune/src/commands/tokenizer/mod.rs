//! `retune tokenizer`: vocabularies.

mod train;

use anyhow::Result;
use clap::Subcommand;

/// Learn a tokenizer from texts.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Train(args) => train::run(args),
    }
}
