//! Tensors of safetensors files, whole or in shards.
//!
//! Files are read tensor by tensor at their positions and not mapped, so that
//! no more than one tensor is in memory twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use half::f16;
use retune_compute::ops::cast;
use retune_compute::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::Value as Json;

use crate::error::{Error, Result};

/// A header beyond this is no header.
const MAX_HEADER_BYTES: u64 = 100 << 20;

/// Where a tensor lies.
#[derive(Debug, Clone)]
struct Entry {
    file: PathBuf,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
    bytes: usize,
}

/// The tensors of a model's folder or an adapter's file, by name.
#[derive(Debug, Clone)]
pub struct Weights {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// `File` if a file is missing, truncated or no safetensors file.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if !single.exists() && !index.exists() {
            refuse_pickle(&single, &folder.join("pytorch_model.bin"))?;
            refuse_pickle(&single, &folder.join("pytorch_model.bin.index.json"))?;
        }
        if single.exists() || !index.exists() {
            return Self::open_file(&single);
        }
        let text = std::fs::read_to_string(&index)
            .map_err(|error| file_error(&index, format!("cannot be read: {error}")))?;
        let parsed: Json = serde_json::from_str(&text)
            .map_err(|error| file_error(&index, format!("is no JSON: {error}")))?;
        let map = parsed.get("weight_map").and_then(Json::as_object);
        let map = map.ok_or_else(|| file_error(&index, "has no object `weight_map`"))?;
        let mut shards: Vec<&str> = map.values().filter_map(Json::as_str).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut entries = BTreeMap::new();
        for shard in shards {
            // A name that leads out of the folder is not a shard's.
            if !is_file_name(shard) {
                return Err(file_error(
                    &index,
                    format!("names a shard {shard:?}, which is no file name"),
                ));
            }
            read_entries(&folder.join(shard), &mut entries)?;
        }
        Ok(Self {
            path: folder.to_path_buf(),
            entries,
        })
    }

    /// Opens `adapter_model.safetensors` in an adapter's folder.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_adapter(folder: &Path) -> Result<Self> {
        let path = folder.join("adapter_model.safetensors");
        if !path.exists() {
            refuse_pickle(&path, &folder.join("adapter_model.bin"))?;
        }
        Self::open_file(&path)
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_file(path: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        read_entries(path, &mut entries)?;
        Ok(Self {
            path: path.to_path_buf(),
            entries,
        })
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors, each once.
    pub fn files(&self) -> BTreeSet<&Path> {
        let entries = self.entries.values();
        entries.map(|entry| entry.file.as_path()).collect()
    }

    /// The type that holds all tensors exactly: bf16 if that is what they all are.
    pub fn dtype(&self) -> DType {
        let mut entries = self.entries.values();
        match entries.all(|entry| entry.dtype == Dtype::BF16) {
            true => DType::BF16,
            false => DType::F32,
        }
    }

    /// The tensors' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Holds the tensors against `wanted`, names and shapes; `ignored` tells
    /// names that may be there or not.
    ///
    /// # Errors
    /// `Tensors` with all that is missing, surplus or misshapen.
    pub fn check(
        &self,
        wanted: &BTreeMap<String, Vec<usize>>,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut problems = Vec::new();
        for (name, shape) in wanted {
            match self.shape(name) {
                None => problems.push(format!("{name} {shape:?} is missing")),
                Some(found) if found != shape => {
                    problems.push(format!("{name}: expected {shape:?}, found {found:?}"));
                }
                Some(_) => {}
            }
        }
        let surplus = self
            .names()
            .filter(|name| !wanted.contains_key(*name) && !ignored(name));
        problems.extend(surplus.map(|name| format!("{name} has no place")));
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors {
            path: self.path.clone(),
            problems,
            hint: None,
        })
    }

    /// The same for an adapter's tensors, and says what to do about them.
    pub(crate) fn check_adapter(&self, wanted: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        let (path, problems) = match self.check(wanted, |_| false) {
            Err(Error::Tensors { path, problems, .. }) => (path, problems),
            other => return other,
        };
        let expected = rank(
            wanted
                .iter()
                .map(|(name, shape)| (name.as_str(), &shape[..])),
        );
        let found = rank(
            self.names()
                .filter_map(|name| Some((name, self.shape(name)?))),
        );
        let misshapen = wanted.iter().any(|(name, shape)| {
            let found = self.shape(name);
            found.is_some_and(|found| found != shape)
        });
        let hint = match (expected, found) {
            (Some(expected), Some(found)) if expected != found => Some(format!(
                "its r is {expected}, and the tensors have the rank {found}: take adapter_config.json from where they come from"
            )),
            _ => misshapen
                .then(|| "it was made for another base model: name that one as model".to_owned()),
        };
        Err(Error::Tensors {
            path,
            problems,
            hint,
        })
    }

    /// A tensor as `dtype`, by way of f32, of which each number is one.
    ///
    /// # Errors
    /// As [`Weights::tensor`]; `File` if one is infinite or NaN, or too large for `dtype`.
    pub(crate) fn finite(&self, device: &Device, name: &str, dtype: DType) -> Result<Tensor> {
        let value = cast(&self.tensor(device, name, DType::F32)?, dtype)?;
        match value.to_f32_vec().iter().all(|number| number.is_finite()) {
            true => Ok(value),
            false => Err(file_error(
                &self.path,
                format!("holds a number that is not finite in {dtype}, in {name}"),
            )),
        }
    }

    /// A tensor as `dtype`, whatever it is in the file: bf16, f16 or f32.
    ///
    /// # Errors
    /// `Tensors` if it is not there or has another type; `File`; `OutOfMemory`.
    pub fn tensor(&self, device: &Device, name: &str, dtype: DType) -> Result<Tensor> {
        let problem = |problem: String| Error::Tensors {
            path: self.path.clone(),
            problems: vec![problem],
            hint: None,
        };
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| problem(format!("{name} is missing")))?;
        let as_stored = |dtype: DType| -> Result<Tensor> {
            let mut tensor = Tensor::empty(device, &entry.shape, dtype)?;
            let mut file = open_at(&entry.file, entry.offset)?;
            tensor
                .fill_from(&mut file)
                .map_err(|error| unreadable(&entry.file, &error))?;
            Ok(tensor)
        };
        let found = match entry.dtype {
            Dtype::BF16 => as_stored(DType::BF16)?,
            Dtype::F32 => as_stored(DType::F32)?,
            Dtype::F16 => {
                let bytes = read_at(&entry.file, entry.offset, entry.bytes)?;
                Tensor::from_bytes(device, &entry.shape, DType::F32, &widened(&bytes))?
            }
            other => {
                return Err(problem(format!(
                    "{name}: expected a tensor of bf16, f16 or f32, found {other:?}"
                )));
            }
        };
        match found.dtype() == dtype {
            true => Ok(found),
            false => Ok(cast(&found, dtype)?),
        }
    }
}

/// Numbers of f16 as little-endian f32.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let halves = bytes.as_chunks::<2>().0.iter();
    halves
        .flat_map(|half| f16::from_le_bytes(*half).to_f32().to_le_bytes())
        .collect()
}

/// Says what to do about weights that are there as a pickle instead of in `path`.
fn refuse_pickle(path: &Path, pickle: &Path) -> Result<()> {
    if !pickle.is_file() {
        return Ok(());
    }
    let name = pickle.file_name().unwrap_or_default().display();
    Err(file_error(
        path,
        format!(
            "is missing, and {name} is a pickle, which may run anything\nhint: have transformers or PEFT save it with safe_serialization=True"
        ),
    ))
}

/// How git-lfs begins what it leaves in place of a large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

fn read_entries(path: &Path, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    let length = std::fs::metadata(path)
        .map_err(|error| unreadable(path, &error))?
        .len();
    let broken = |problem: String| file_error(path, format!("is no safetensors file: {problem}"));
    if length < 8 {
        return Err(broken("it is shorter than a header".into()));
    }
    let start = read_at(path, 0, length.min(LFS_POINTER.len() as u64) as usize)?;
    if start == LFS_POINTER {
        return Err(file_error(
            path,
            "is git-lfs's note of a file that was not fetched\nhint: git lfs install, then git lfs pull in its folder",
        ));
    }
    let size = read_at(path, 0, 8)?;
    let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
    if size > MAX_HEADER_BYTES || size > length - 8 {
        return Err(broken(format!("its header is said to have {size} bytes")));
    }
    let header = read_at(path, 8, size as usize)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
    let data = 8 + size;
    let expected = data + metadata.data_len() as u64;
    if expected != length {
        let problem =
            format!("has {length} bytes, but its header asks for {expected}: it may be cut off");
        return Err(file_error(path, problem));
    }
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            file: path.to_path_buf(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            offset: data + start as u64,
            bytes: end - start,
        };
        if entries.insert(name.clone(), entry).is_some() {
            return Err(file_error(
                path,
                format!("holds {name}, which another shard has too"),
            ));
        }
    }
    Ok(())
}

fn read_at(path: &Path, offset: u64, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    open_at(path, offset)?
        .read_exact(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn open_at(path: &Path, offset: u64) -> Result<File> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| unreadable(path, &error))?;
    Ok(file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    file_error(path, format!("cannot be read: {error}"))
}

fn file_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}

/// Whether a name stays in its folder, on any system.
pub fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    one && !name.contains(['/', '\\', ':'])
}

/// The rank of LoRA's first factors, if all have the same.
fn rank<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> Option<usize> {
    let firsts = tensors.filter(|(name, _)| name.ends_with(".lora_A.weight"));
    let mut ranks = firsts.filter_map(|(_, shape)| shape.first().copied());
    let rank = ranks.next()?;
    ranks.all(|other| other == rank).then_some(rank)
}
