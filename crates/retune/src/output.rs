//! What the program writes to files and to the terminal.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_compute::{DType, Device};
use retune_data::source::find_files;

use crate::outcome::{input_fault, is_closed_pipe};

/// Text of a user's data as it may reach a terminal: characters that would steer
/// it, or are not seen, become U+FFFD.
pub(crate) fn plain(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let shown = text.chars().map(|c| {
        if steers(c) || is_invisible(c) {
            '\u{fffd}'
        } else {
            c
        }
    });
    shown.collect()
}

/// An answer as it is written to standard output: [`plain`] on a terminal, and to a file or
/// another program as it is.
pub(crate) fn answer_text(text: &str) -> Cow<'_, str> {
    match std::io::stdout().is_terminal() {
        true => plain(text).into(),
        false => text.into(),
    }
}

/// A path as it is typed: in quotes if it has spaces. Other marks of shells are left to who
/// has them in the names of files.
pub(crate) fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    match text.contains(char::is_whitespace) {
        true => format!("\"{text}\""),
        false => text,
    }
}

/// How many there are, and the word for it.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {}", thousands(count), plural(count, noun))
}

/// The word for so many of what `noun` names, which forms its plural with an s.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{noun}{ending}")
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Characters without width, and those that turn the direction of writing.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Writes a line to standard output; where nobody reads it any more, that is no fault.
///
/// # Errors
/// If it cannot be written, such as on a full disk.
pub(crate) fn say(line: impl std::fmt::Display) -> Result<()> {
    heard(writeln!(anstream::stdout(), "{line}").map_err(Into::into))
}

/// Work goes on where nobody reads what it says.
pub(crate) fn heard(shown: Result<()>) -> Result<()> {
    shown.or_else(|error| match is_closed_pipe(&error) {
        true => Ok(()),
        false => Err(error),
    })
}

/// A path without links and detours, of a file that need not be there.
pub(crate) fn whole(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if let Ok(real) = absolute.canonicalize() {
        return real;
    }
    match (
        absolute.parent().map(Path::canonicalize),
        absolute.file_name(),
    ) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

/// Refuses outputs that would overwrite each other, or a file that is read.
pub(crate) fn check_paths(inputs: &[PathBuf], outputs: &[Option<&Path>]) -> Result<()> {
    // Of a folder, all data files are read.
    let files = find_files(inputs).unwrap_or_else(|_| inputs.to_vec());
    let read: Vec<PathBuf> = files.iter().map(|path| whole(path)).collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    for output in outputs.iter().flatten() {
        let path = whole(output);
        if read.contains(&path) {
            return Err(input_fault(format!(
                "{} is read and would be overwritten\nhint: choose another name for the output",
                output.display()
            )));
        }
        if seen.contains(&path) {
            return Err(input_fault(format!(
                "{} is named for two outputs\nhint: choose a name for each",
                output.display()
            )));
        }
        seen.push(path);
    }
    Ok(())
}

/// Refuses a folder for a model or a tokenizer in which there is something.
pub(crate) fn check_new_folder(folder: &Path) -> Result<()> {
    let problem = match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(false) => "is not empty".to_owned(),
        Err(error) => format!("cannot be written to: {error}"),
    };
    Err(input_fault(format!(
        "{} {problem}\nhint: name a new folder, or one that is empty",
        folder.display()
    )))
}

/// Writes a report, which is there whole or not at all. Only with `overwrite` may
/// it take the place of another file.
pub(crate) fn write_report(path: &Path, text: &str, overwrite: bool) -> Result<()> {
    if path.exists() && !overwrite {
        return Err(input_fault(format!(
            "{} is there already\nhint: choose another name, or allow it with --overwrite",
            path.display()
        )));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Temporary files are for their owner alone; reports are not.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let written = builder
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .and_then(|file| {
            std::fs::write(file.path(), text)?;
            file.persist(path).map_err(|error| error.error)
        });
    written
        .map(drop)
        .map_err(|error| input_fault(format!("cannot write {}: {error}", path.display())))
}

/// The variable that names another cache folder.
pub(crate) const CACHE_VARIABLE: &str = "RETUNE_CACHE";

/// The folder in which retune keeps what it can make again.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let named = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    if let Some(folder) = named(CACHE_VARIABLE) {
        return Ok(folder);
    }
    let folder = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else {
        named("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")))
    };
    let folder = folder.ok_or_else(|| {
        input_fault(format!(
            "there is no home folder for a cache\nhint: name one with {CACHE_VARIABLE}"
        ))
    })?;
    Ok(folder.join("retune"))
}

/// The folder in which what is compiled for GPUs is kept; none where there is no home
/// folder, since computing does without.
pub(crate) fn kernel_folder() -> Option<PathBuf> {
    Some(cache_folder().ok()?.join("kernels"))
}

/// Says why a GPU that is there is not computed on.
pub(crate) fn gpu_refused(error: &retune_compute::Error) {
    anstream::eprintln!("note: computing on the CPU: {}", plain(&error.to_string()));
}

/// Where something is computed, and in what.
pub(crate) fn computed_on(device: &Device, dtype: DType) -> String {
    let dtype = match dtype {
        DType::BF16 => "bf16 products",
        DType::F32 => "f32",
    };
    format!("{}, {dtype}", device.name())
}

/// The last part of a folder's path, which its model is called by.
pub(crate) fn last_part(folder: &Path) -> String {
    let whole = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let name = whole.file_name();
    name.map_or_else(
        || folder.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}
