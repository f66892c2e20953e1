//! `retune builtin`: the built-in base model as a folder.

use std::path::PathBuf;

use anyhow::Result;

use crate::builtin;
use crate::outcome::input_fault;
use crate::output::{check_new_folder, plain, say};

/// Write the built-in base model as a folder in Hugging Face's layout.
///
/// Commands that take a model's folder also take the name builtin, which needs no folder:
///
///   retune chat builtin
///
/// It is small and knows old novels only; it is there to try things out on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = &args.folder;
    check_new_folder(folder)?;
    std::fs::create_dir_all(folder)
        .map_err(|error| input_fault(format!("cannot write {}: {error}", folder.display())))?;
    builtin::write(folder)?;
    say(format!(
        "written to {}",
        plain(&folder.display().to_string())
    ))?;
    Ok(())
}
