//! Files to tokens that a training run reads at random, kept in a cache.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::{TokenFile, TokenWriter};
use crate::dataset::{DataOptions, Samples};
use crate::encode::{Encoder, Fate};
use crate::error::{Error, Result};
use crate::source::{Place, find_files, format_by_name};

/// Raised when the same input gives other tokens, so that old caches are not
/// taken.
const VERSION: u32 = 2;

/// What is done with a row that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BadRows {
    /// The first one is an error.
    #[default]
    Stop,
    /// They are left out, counted and listed.
    Skip,
}

/// A row that gave no sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where it stands, in words.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// What became of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preparation {
    /// Rows read.
    pub rows: u64,
    /// Rows that were cut because they had too many tokens.
    pub cut: u64,
    /// Rows that were left out because they had too many tokens.
    pub over_long: Vec<LeftOut>,
    /// Rows that could not be used.
    pub unusable: Vec<LeftOut>,
    /// What the files were taken for, in the order in which they were read.
    pub files: Vec<Understood>,
}

/// What a file was taken for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// The name of its layout; none if it has no rows.
    pub layout: Option<String>,
    /// Columns of which the layout makes no use.
    pub unused: Vec<String>,
}

/// Tokens and labels of data files.
#[derive(Debug)]
pub struct Prepared {
    /// The samples.
    pub tokens: TokenFile,
    /// What became of the rows.
    pub preparation: Preparation,
    /// Whether it was there already.
    pub from_cache: bool,
    /// SHA-256 of all that decides which tokens come out: the files' bytes, the
    /// tokenizer, the chat template, and how rows are read.
    pub fingerprint: String,
}

/// Tokenises `paths`, or takes what an earlier call with the same files and
/// settings left in `cache`. `progress` is told how many rows were read.
///
/// # Errors
/// Those of reading and encoding, the first one; `File` if the cache cannot be
/// written; `NothingScored` if no sample is left.
pub fn prepare(
    paths: &[PathBuf],
    options: &DataOptions,
    encoder: &Encoder,
    bad_rows: BadRows,
    cache: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Prepared> {
    let key = key(paths, options, encoder, bad_rows)?;
    let path = cache.join(format!("{key}.tokens"));
    if path.exists() {
        // A damaged file is made anew.
        if let Ok((tokens, preparation)) = TokenFile::open(&path) {
            return Ok(Prepared {
                tokens,
                preparation,
                from_cache: true,
                fingerprint: key,
            });
        }
    }
    let mut writer = TokenWriter::create(&path)?;
    let mut preparation = Preparation::default();
    let mut samples = Samples::open(paths, options.clone())?;
    loop {
        let batch = samples.batch();
        if batch.is_empty() {
            break;
        }
        let count = batch.len() as u64;
        let encoded: Vec<Result<_>> = batch
            .into_par_iter()
            .map(|(_, sample)| {
                let sample = sample?;
                let encoded = encoder.encode(&sample)?;
                Ok((sample.place, encoded))
            })
            .collect();
        for encoded in encoded {
            match encoded {
                Ok((place, encoded)) => {
                    for sample in &encoded.samples {
                        writer.add(sample)?;
                    }
                    preparation.count(&place, encoded.fate);
                }
                // Of a file that breaks off, nobody knows what is missing.
                Err(error) if bad_rows == BadRows::Stop || error.ends_its_file() => {
                    return Err(error);
                }
                Err(error) => preparation.unusable.push(left_out(&error)),
            }
        }
        preparation.rows += count;
        progress(preparation.rows);
    }
    let files = samples.files().iter();
    preparation.files = files
        .map(|file| Understood {
            layout: file.mapping.as_ref().map(|m| m.layout.name().to_owned()),
            unused: file.unused.clone(),
        })
        .collect();
    if writer.is_empty() {
        return Err(Error::NoSamples {
            rows: preparation.rows,
            over_long: preparation.over_long.len(),
            unusable: preparation.unusable.len(),
        });
    }
    // A file that changed meanwhile would be kept under the hash of what it was.
    if key != self::key(paths, options, encoder, bad_rows)? {
        return Err(Error::Argument {
            problem: "a data file changed while it was read\nhint: try again once it is written"
                .to_owned(),
        });
    }
    let tokens = writer.finish(&preparation)?;
    Ok(Prepared {
        tokens,
        preparation,
        from_cache: false,
        fingerprint: key,
    })
}

impl Preparation {
    fn count(&mut self, place: &Place, fate: Fate) {
        match fate {
            Fate::Kept => {}
            Fate::Cut { .. } => self.cut += 1,
            Fate::Dropped { tokens } => self.over_long.push(LeftOut {
                place: place.to_string(),
                reason: format!("{tokens} tokens"),
            }),
        }
    }
}

fn left_out(error: &Error) -> LeftOut {
    let message = error.to_string();
    let (place, reason) = message.split_once(": ").unwrap_or(("", &message));
    LeftOut {
        place: place.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A hash of all that decides which tokens come out.
fn key(
    paths: &[PathBuf],
    options: &DataOptions,
    encoder: &Encoder,
    bad_rows: BadRows,
) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(VERSION.to_le_bytes());
    hash.update(encoder.tokenizer.fingerprint());
    let settings = format!(
        "{options:?} {:?} {} {:?} {bad_rows:?}",
        encoder.labels, encoder.max_length, encoder.over_long
    );
    hash.update(settings.as_bytes());
    for path in find_files(paths)? {
        hash.update(file_hash(&path)?);
        // `a.json.gz` and `a.csv.gz` with the same bytes are two files.
        hash.update(format!("{:?}", format_by_name(&path)));
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// SHA-256 of a file's bytes.
///
/// # Errors
/// `File` if it cannot be read.
fn file_hash(path: &Path) -> Result<[u8; 32]> {
    let unreadable = |error: std::io::Error| Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be read: {error}"),
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(unreadable)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}
