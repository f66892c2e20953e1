//! `retune man`: the manual pages.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

/// Write the manual page to standard output, or one for each command to a folder.
///
/// To read it: retune man | man -l -
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write retune.1, retune-data.1, … into this folder instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let command = crate::Cli::command();
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command, dir))
                .with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            std::io::Write::write_all(&mut std::io::stdout(), &page)?;
        }
    }
    Ok(())
}
