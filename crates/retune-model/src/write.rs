//! Files that are there whole or not at all; safetensors files, written tensor
//! by tensor.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use retune_compute::DType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;
use tempfile::Builder;

use crate::error::{Error, Result};

/// Data begins at a multiple of this, as the crate `safetensors` has it.
const ALIGNMENT: usize = 8;
/// Bytes that are handed to the system at a time.
const BUFFER: usize = 1 << 20;

/// When a file is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the function returns. The file is there whole or not at all.
    Synced,
    /// When the caller has synced it; what there is of it until then is the caller's to
    /// hide. For folders of which all files are synced together.
    Deferred,
}

/// A safetensors file of tensors of one type: those of `shapes`, in the order of
/// their names. `bytes_of` gives the little-endian elements of one; no more than
/// one is in memory at a time.
///
/// # Errors
/// `File` if it cannot be written; those of `bytes_of`.
///
/// # Panics
/// If `bytes_of` gives more or fewer bytes than the shape says.
pub fn write_tensors(
    path: &Path,
    dtype: DType,
    shapes: &BTreeMap<String, Vec<usize>>,
    durability: Durability,
    mut bytes_of: impl FnMut(&str) -> Result<Vec<u8>>,
) -> Result<()> {
    let header = header(path, dtype, shapes)?;
    write_file(path, durability, &mut |out| {
        let unwritable = |error| unwritable(path, error);
        out.write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| out.write_all(&header))
            .map_err(unwritable)?;
        for (name, shape) in shapes {
            let bytes = bytes_of(name)?;
            assert_eq!(bytes.len(), size_in_bytes(shape, dtype), "{name} {shape:?}");
            out.write_all(&bytes).map_err(unwritable)?;
        }
        Ok(())
    })
}

/// A JSON file in Hugging Face's fashion.
pub(crate) fn write_json(
    path: &Path,
    value: &impl Serialize,
    durability: Durability,
) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| unwritable(path, error))?;
    write_file(path, durability, &mut |out| {
        writeln!(out, "{text}").map_err(|error| unwritable(path, error))
    })
}

/// Bytes of a tensor.
fn size_in_bytes(shape: &[usize], dtype: DType) -> usize {
    shape.iter().product::<usize>() * dtype.size()
}

fn header(path: &Path, dtype: DType, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<u8>> {
    let mut end = 0;
    let tensors = shapes.iter().map(|(name, shape)| {
        let start = end;
        end += size_in_bytes(shape, dtype);
        let info = TensorInfo {
            dtype: match dtype {
                DType::F32 => Dtype::F32,
                DType::BF16 => Dtype::BF16,
            },
            shape: shape.clone(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    });
    // Older `transformers` refuse a file that does not say so.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), tensors.collect())
        .map_err(|error| unwritable(path, error.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| unwritable(path, error))?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    Ok(header)
}

type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<()>;

fn write_file(path: &Path, durability: Durability, fill: Fill<'_>) -> Result<()> {
    if durability == Durability::Synced {
        return write_synced(path, fill);
    }
    let file = File::create(path).map_err(|error| unwritable(path, error))?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    fill(&mut out)?;
    out.flush().map_err(|error| unwritable(path, error))
}

/// Fills a temporary file in the folder of `path`, and renames it once all of it
/// is on the disk.
fn write_synced(path: &Path, fill: Fill<'_>) -> Result<()> {
    let unwritable = |error| unwritable(path, error);
    let folder = path.parent().filter(|name| !name.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        // Temporary files are for their owner alone; models are not.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(unwritable)?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    fill(&mut out)?;
    let file = out
        .into_inner()
        .map_err(|error| unwritable(error.into_error()))?;
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(path)
        .map_err(|error| unwritable(error.error))?;
    // Without this, the name may be lost in a crash, though the file is not.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(unwritable)?;
    Ok(())
}

fn unwritable(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {problem}"),
    }
}
