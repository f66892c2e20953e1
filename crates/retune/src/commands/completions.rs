//! `retune completions`: what shells need to complete commands.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Write a shell's completions to standard output.
///
/// For bash: retune completions bash > ~/.local/share/bash-completion/completions/retune
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut crate::Cli::command(),
        "retune",
        &mut script,
    );
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}
