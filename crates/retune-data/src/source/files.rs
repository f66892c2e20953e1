//! Which files a path names, and what format a file has.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Format, bytes, file_error};
use crate::error::Result;

pub(super) const EXTENSIONS: [(&str, Format); 10] = [
    ("json", Format::Json),
    ("jsonl", Format::JsonLines),
    ("ndjson", Format::JsonLines),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("tab", Format::Tsv),
    ("parquet", Format::Parquet),
    ("pq", Format::Parquet),
    ("txt", Format::Text),
    ("text", Format::Text),
];
const COMPRESSIONS: [&str; 4] = ["gz", "gzip", "zst", "zstd"];
/// Deeper folders are a mistake (a link to a parent, a whole disk).
const MAX_DEPTH: usize = 16;

/// The data files behind `paths`: files as they are named, folders with every
/// file of a known format in them, sorted by name, hidden ones left out.
///
/// # Errors
/// `File` if a path does not exist or a folder holds no data file.
pub fn find_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path)
            .map_err(|error| file_error(path, format!("cannot be opened: {error}")))?;
        if !metadata.is_dir() && !metadata.is_file() {
            let problem =
                "is no file that can be read more than once\nhint: save it to a file first";
            return Err(file_error(path, problem));
        }
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        collect(path, 0, &mut found)?;
        if found.len() == before {
            let known: Vec<&str> = EXTENSIONS.iter().map(|(name, _)| *name).collect();
            let problem = format!(
                "is a folder without data files; looked for .{}",
                known.join(", .")
            );
            return Err(file_error(path, problem));
        }
    }
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(file_error(folder, "lies too deep: is a link going round?"));
    }
    let unreadable =
        |error: std::io::Error| file_error(folder, format!("cannot be listed: {error}"));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if entry.is_dir() {
            collect(&entry, depth + 1, found)?;
        } else if by_name(&entry).is_some() && !is_special(&entry) {
            found.push(entry);
        }
    }
    Ok(())
}

/// A pipe or device, whose reading may wait for ever. A link that leads nowhere
/// is none: it is named when it is opened.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Whether a file's last extension tells a compression.
pub(super) fn is_compression(extension: &str) -> bool {
    COMPRESSIONS.contains(&extension.to_ascii_lowercase().as_str())
}

pub(crate) fn by_name(path: &Path) -> Option<Format> {
    let mut extension = path.extension()?.to_str()?.to_ascii_lowercase();
    if COMPRESSIONS.contains(&extension.as_str()) {
        let inner = Path::new(path.file_stem()?);
        extension = inner.extension()?.to_str()?.to_ascii_lowercase();
    }
    let known = EXTENSIONS.iter().find(|(name, _)| *name == extension);
    known.map(|(_, format)| *format)
}

fn is_workbook(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    ["xlsx", "xls", "xlsm", "ods"].contains(&extension.to_lowercase().as_str())
}

/// The format by the file's name; where that says nothing, by how it begins.
pub(super) fn format_of(path: &Path) -> Result<Format> {
    if let Some(format) = by_name(path) {
        return Ok(format);
    }
    let mut start = Vec::new();
    bytes::open(path)?
        .take(4096)
        .read_to_end(&mut start)
        .map_err(|error| file_error(path, format!("cannot be read: {error}")))?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[' | b'{') => Ok(Format::Json),
        _ if start.starts_with(b"PAR1") => Ok(Format::Parquet),
        _ if is_workbook(path) => {
            let problem =
                "is a workbook\nhint: save the sheet as \"CSV UTF-8\" in the program that made it";
            Err(file_error(path, problem))
        }
        _ => {
            let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
            let problem = format!(
                "has no name that tells its format\nhint: say it with --format {}",
                names.join("|")
            );
            Err(file_error(path, problem))
        }
    }
}
