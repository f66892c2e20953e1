//! `metrics.jsonl`: the figures of a run, one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::append::AppendFile;
use crate::error::{Error, Result};

/// A line of the file; its `type` says which.
///
/// JSON has no NaN and no infinity. Such a figure is written as `null`, and
/// read as NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MetricRecord {
    /// A run begins, or goes on.
    Start(StartRecord),
    /// Optimizer steps were done.
    Train(TrainRecord),
    /// The validation data were gone through.
    Eval(EvalRecord),
    /// The model answered a prompt.
    Sample(SampleRecord),
    /// Something that one should look at.
    Notice(NoticeRecord),
    /// A run ends.
    Finish(FinishRecord),
}

/// How a run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// The step that it begins after: 0, or that of the checkpoint.
    pub step: u64,
    /// The step that it is to end with.
    pub max_steps: u64,
    /// Epochs until then.
    #[serde(with = "number")]
    pub num_train_epochs: f64,
    /// Samples to learn from.
    pub train_samples: u64,
    /// Samples to validate on.
    pub eval_samples: u64,
    /// Numbers that are trained.
    pub trainable_parameters: u64,
    /// The time, in seconds since 1970.
    #[serde(with = "number")]
    pub time: f64,
}

/// What was seen since the train line before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainRecord {
    /// The last of the steps.
    pub step: u64,
    /// How often the data were gone through.
    #[serde(with = "number")]
    pub epoch: f64,
    /// The mean loss of a scored token.
    #[serde(with = "number")]
    pub loss: f64,
    /// The rate of the last step.
    #[serde(with = "number")]
    pub learning_rate: f64,
    /// The norm of the last step's gradients, before they were clipped.
    #[serde(with = "number")]
    pub grad_norm: f64,
    /// Tokens since the run began.
    pub tokens: u64,
    /// Tokens a second.
    #[serde(with = "number")]
    pub tokens_per_s: f64,
    /// Seconds of training since the run began.
    #[serde(with = "number")]
    pub seconds: f64,
}

/// What was seen on the validation data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// The step before it.
    pub step: u64,
    /// How often the data were gone through.
    #[serde(with = "number")]
    pub epoch: f64,
    /// The mean loss of a scored token.
    #[serde(with = "number")]
    pub eval_loss: f64,
    /// `exp(eval_loss)`.
    #[serde(with = "number")]
    pub eval_perplexity: f64,
    /// The share of scored tokens to which the model gives the highest probability.
    #[serde(with = "number")]
    pub eval_token_accuracy: f64,
    /// Samples of the validation data.
    pub eval_samples: u64,
    /// Scored tokens of the validation data.
    pub eval_tokens: u64,
    /// Seconds that it took.
    #[serde(with = "number")]
    pub seconds: f64,
}

/// What the model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The step before it.
    pub step: u64,
    /// What it was asked.
    pub prompt: String,
    /// What it said.
    pub answer: String,
}

/// Something that one should look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticeRecord {
    /// The step in which it happened.
    pub step: u64,
    /// What it was, in words.
    pub text: String,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishRecord {
    /// The last step.
    pub step: u64,
    /// How often the data were gone through.
    #[serde(with = "number")]
    pub epoch: f64,
    /// Why it ends.
    pub reason: FinishReason,
    /// Tokens since the run began.
    pub tokens: u64,
    /// Seconds of training since the run began.
    #[serde(with = "number")]
    pub seconds: f64,
    /// The time, in seconds since 1970.
    #[serde(with = "number")]
    pub time: f64,
}

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// All steps were done.
    Completed,
    /// The validation loss no longer fell.
    EarlyStopping,
    /// The user asked for it.
    Interrupted,
    /// Something went wrong.
    Failed,
}

/// Writes the file.
///
/// Lines are buffered. [`flush`](Self::flush) shows them to others; a
/// checkpoint keeps what [`sync`](Self::sync) returns.
#[derive(Debug)]
pub struct MetricsWriter {
    file: AppendFile,
}

impl MetricsWriter {
    /// A new file, in a folder that is made where it is missing.
    ///
    /// # Errors
    /// `File` if it is there already or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = AppendFile::create(path)?.ok_or_else(|| Error::File {
            path: path.to_path_buf(),
            problem: "is there already, from another run\n\
                      hint: go on from that run's checkpoint, or choose another folder"
                .to_owned(),
        })?;
        Ok(Self { file })
    }

    /// Goes on in the file `path` at the `position` that a checkpoint remembers.
    /// What was written behind it is cut off.
    ///
    /// # Errors
    /// `File` if the file cannot be opened, is shorter than `position`, or if
    /// no line ends there. Nothing is cut then.
    pub fn resume(path: &Path, position: u64) -> Result<Self> {
        let file = AppendFile::resume(path, position, |file| ends_line(file, position))?;
        Ok(Self { file })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn write(&mut self, record: &MetricRecord) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|error| Error::File {
            path: self.file.path().to_path_buf(),
            problem: format!("cannot take a record: {error}"),
        })?;
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Hands what was written to the system, so that others can read it.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }

    /// Brings what was written to the disk, and says where the file ends: the
    /// position that a checkpoint remembers.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where the next line will begin, in bytes.
    pub fn position(&self) -> u64 {
        self.file.position()
    }
}

fn ends_line(mut file: &File, position: u64) -> std::io::Result<bool> {
    let Some(last) = position.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte == *b"\n")
}

/// All records of a file. A last line that was not written to its end, as a
/// killed run leaves it, is passed over.
///
/// # Errors
/// `File` if the file cannot be read, or another line is not a record.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricRecord>> {
    let fault = |problem: String| Error::File {
        path: path.to_path_buf(),
        problem,
    };
    let unreadable = |error: std::io::Error| fault(format!("cannot be read: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut records = Vec::new();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                // The parser counts lines too, and only ever sees one.
                let said = error.to_string();
                let problem = said.split(" at line ").next().unwrap_or(&said);
                return Err(fault(format!(
                    "line {number} is not a record of a run: {problem}\n\
                     hint: the file was changed since a training run wrote it; \
                     put it back, or take the line out"
                )));
            }
        }
    }
    Ok(records)
}

/// Figures that may not be finite.
mod number {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            to.serialize_f64(*value)
        } else {
            to.serialize_none()
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}
