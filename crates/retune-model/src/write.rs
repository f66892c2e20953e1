//! Files that are there whole or not at all; safetensors files, written tensor
//! by tensor.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use retune_compute::DType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;
use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// Data begins at a multiple of this, as the crate `safetensors` has it.
const ALIGNMENT: usize = 8;

/// A safetensors file of tensors of one type: those of `shapes`, in the order of
/// their names. `bytes_of` gives the little-endian elements of one; no more than
/// one is in memory at a time. The file is there whole or not at all.
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
    mut bytes_of: impl FnMut(&str) -> Result<Vec<u8>>,
) -> Result<()> {
    let header = header(path, dtype, shapes)?;
    write_file(path, |out| {
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

/// A JSON file in Hugging Face's fashion. It is there whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| unwritable(path, error))?;
    write_file(path, |out| {
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

/// Fills a temporary file in the folder of `path`, and renames it once all of it
/// is on the disk.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<NamedTempFile>) -> Result<()>,
) -> Result<()> {
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
    let mut out = BufWriter::with_capacity(1 << 20, file);
    fill(&mut out)?;
    let file = out
        .into_inner()
        .map_err(|error| unwritable(error.into_error()))?;
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(path)
        .map_err(|error| unwritable(error.error))?;
    // Without this, the name may be lost in a crash, though the file is not.
    #[cfg(unix)]
    std::fs::File::open(folder)
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
