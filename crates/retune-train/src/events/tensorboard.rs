//! The event file that TensorBoard reads.

use std::path::Path;

use prost::Message as _;

use super::append::AppendFile;
use super::clock::{Clock, system_clock};
use super::histogram::Histogram;
use super::proto::{
    Content, DATA_CLASS_TENSOR, DT_STRING, Event, PluginData, Summary, SummaryMetadata,
    SummaryValue, TensorProto, TensorShapeProto, What,
};
use super::record;
use crate::error::Result;

/// Writes an event file.
///
/// Entries are buffered. [`flush`](Self::flush) shows them to a TensorBoard
/// that looks on; a checkpoint keeps what [`sync`](Self::sync) returns.
pub struct EventWriter {
    file: AppendFile,
    clock: Clock,
}

impl EventWriter {
    /// A new file in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::create_with_clock(folder, system_clock())
    }

    /// As [`create`](Self::create), with times from `clock`.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn create_with_clock(folder: &Path, mut clock: Clock) -> Result<Self> {
        let name = file_name(clock());
        let mut number = 0_u64;
        let file = loop {
            // A process may begin two files within a second.
            match AppendFile::create(&folder.join(format!("{name}.{number}")))? {
                Some(file) => break file,
                None => number += 1,
            }
        };
        let mut writer = Self { file, clock };
        writer.begin()?;
        Ok(writer)
    }

    /// Whether a file of this name is one of TensorBoard's.
    pub(crate) fn wrote(name: &std::ffi::OsStr) -> bool {
        name.to_string_lossy().starts_with(PREFIX)
    }

    /// Goes on in the file `path` at the `position` that a checkpoint remembers.
    /// What was written behind it is cut off.
    ///
    /// # Errors
    /// `File` if the file cannot be opened, is shorter than `position`, or if
    /// what stands before `position` are not whole records. Nothing is cut then.
    pub fn resume(path: &Path, position: u64) -> Result<Self> {
        Self::resume_with_clock(path, position, system_clock())
    }

    /// As [`resume`](Self::resume), with times from `clock`.
    ///
    /// # Errors
    /// Those of [`resume`](Self::resume).
    pub fn resume_with_clock(path: &Path, position: u64, clock: Clock) -> Result<Self> {
        let file = AppendFile::resume(path, position, |file| record::ends_record(file, position))?;
        let mut writer = Self { file, clock };
        if position == 0 {
            writer.begin()?;
        }
        Ok(writer)
    }

    /// A point of the curve `tag`. TensorBoard keeps it as f32.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.value(tag, step, Content::SimpleValue(value as f32), None)
    }

    /// A text, which TensorBoard renders as Markdown; see [`verbatim`].
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        let metadata = SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "text".to_owned(),
            }),
            data_class: DATA_CLASS_TENSOR,
        };
        let tensor = TensorProto {
            dtype: DT_STRING,
            // Without axes: of a list, TensorBoard would make a table.
            tensor_shape: Some(TensorShapeProto {}),
            string_val: vec![text.as_bytes().to_vec()],
        };
        self.value(tag, step, Content::Tensor(tensor), Some(metadata))
    }

    /// How the values of many tensors are distributed. Values that are not
    /// finite are not shown; [`Histogram::non_finite`] counts them.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &Histogram) -> Result<()> {
        self.value(tag, step, Content::Histo(values.proto()), None)
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

    /// Where the next event will begin, in bytes.
    pub fn position(&self) -> u64 {
        self.file.position()
    }

    fn begin(&mut self) -> Result<()> {
        self.event(0, What::FileVersion("brain.Event:2".to_owned()))
    }

    fn value(
        &mut self,
        tag: &str,
        step: u64,
        value: Content,
        metadata: Option<SummaryMetadata>,
    ) -> Result<()> {
        let value = SummaryValue {
            tag: tag.to_owned(),
            metadata,
            value: Some(value),
        };
        self.event(step, What::Summary(Summary { value: vec![value] }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event {
            wall_time: (self.clock)(),
            step: step as i64,
            what: Some(what),
        };
        self.file.append(&record::framed(&event.encode_to_vec()))
    }
}

/// Text that TensorBoard shows as it is, with its lines: a block of code in Markdown.
pub fn verbatim(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let lines = text.split(['\n', '\r']);
    let indented: Vec<String> = lines.map(|line| format!("    {line}")).collect();
    indented.join("\n")
}

/// What names begin with.
const PREFIX: &str = "events.out.tfevents.";

/// The name but for its last number. TensorBoard looks for `tfevents` in it.
fn file_name(seconds: f64) -> String {
    let host = gethostname::gethostname();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
            c
        } else {
            '-'
        }
    };
    let host: String = host.to_string_lossy().chars().map(plain).collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    format!(
        "{PREFIX}{:010}.{host}.{}",
        seconds as u64,
        std::process::id()
    )
}
