//! Trainings that are told of: the folder in which they lie, and what their logs say.
//!
//! Nothing here is made a path of what a client says: a run is one of those that the
//! folder holds, or none.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json};

/// The log of a run, a line for each event.
const METRICS: &str = "metrics.jsonl";
/// Bytes of a log that are read at a time.
const PIECE: u64 = 1 << 20;
/// A line of more bytes ends what can be read of a log.
const LONGEST_LINE: u64 = 16 << 20;
/// Bytes at either end of a log that a listing reads, and at the end once more where
/// those do not tell all.
const ENDS: [u64; 2] = [64 << 10, 256 << 10];
/// A run that has not ended and has written nothing for so long has been stopped.
const SILENCE: Duration = Duration::from_secs(120);

pub(crate) type Event = Map<String, Json>;

/// The folder in which runs lie.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) folder: PathBuf,
}

/// A run that is there.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its folder's name.
    pub(crate) id: String,
    /// Its log, links followed.
    log: PathBuf,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Finished,
    Stopped,
}

/// A run in a line.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) state: State,
    /// Seconds since 1970 when it began, if the log says so.
    pub(crate) started: Json,
    /// Seconds since 1970 when it last wrote.
    pub(crate) changed: f64,
    pub(crate) step: Json,
    pub(crate) max_steps: Json,
    pub(crate) loss: Json,
    pub(crate) eval_loss: Json,
}

/// Some events of a log, one after the other.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) events: Vec<Event>,
    /// The byte behind the last of them.
    pub(crate) next: u64,
    /// Whether there are others already.
    pub(crate) more: bool,
    /// Whether the log is another than the one that was read before.
    pub(crate) from_start: bool,
}

impl Runs {
    /// All of them, in no order; none if there is no such folder.
    pub(crate) fn all(&self) -> io::Result<Vec<Run>> {
        let root = match self.folder.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            root => root?,
        };
        let mut runs = Vec::new();
        for entry in root.read_dir()? {
            let name = entry?.file_name();
            runs.extend(Run::within(
                &root,
                &root.join(&name),
                &name.to_string_lossy(),
            ));
        }
        let own = root.file_name().unwrap_or_default().to_string_lossy();
        let mut id = own.into_owned();
        if runs.iter().any(|run| run.id == id) {
            // No folder's name has a slash.
            id.insert_str(0, "./");
        }
        runs.extend(Run::within(&root, &root, &id));
        Ok(runs)
    }

    /// The one that is called `id`.
    pub(crate) fn find(&self, id: &str) -> io::Result<Option<Run>> {
        Ok(self.all()?.into_iter().find(|run| run.id == id))
    }
}

impl Run {
    /// The run in `folder`, if that has a log and no link leads out of `root`.
    fn within(root: &Path, folder: &Path, id: &str) -> Option<Self> {
        let log = folder.join(METRICS).canonicalize().ok()?;
        // A pipe would be waited for.
        let is_there = log.starts_with(root) && log.is_file();
        is_there.then(|| Self {
            id: id.to_owned(),
            log,
        })
    }

    /// How far it has come, from the beginning and the end of its log.
    pub(crate) fn summary(&self) -> io::Result<Summary> {
        let mut file = File::open(&self.log)?;
        let changed = file.metadata()?.modified()?;
        let first = piece_of(&mut file, 0, ENDS[0])?;
        let end = End::of(&mut file)?;
        let started = first.iter().find(|event| is(event, "start"));
        let of_start = |field: &str| started.map_or(Json::Null, |event| value(event, field));
        let said = |found: Option<Json>| found.unwrap_or(Json::Null);
        let since = changed.duration_since(UNIX_EPOCH);
        Ok(Summary {
            state: end.state(changed),
            started: of_start("time"),
            changed: since.map_or(0.0, |since| since.as_secs_f64()),
            step: said(end.last("step")),
            max_steps: end.last("max_steps").unwrap_or(of_start("max_steps")),
            loss: said(end.last("loss")),
            eval_loss: said(end.last("eval_loss")),
        })
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> io::Result<State> {
        let mut file = File::open(&self.log)?;
        let changed = file.metadata()?.modified()?;
        Ok(End::of(&mut file)?.state(changed))
    }

    /// What its log says from the byte `after` on. A line that is being written is left
    /// for the next time; one that is no event is passed over.
    pub(crate) fn read(&self, after: u64) -> io::Result<Piece> {
        let mut file = File::open(&self.log)?;
        let from_start = !ends_line(&mut file, after)?;
        let after = if from_start { 0 } else { after };
        file.seek(SeekFrom::Start(after))?;
        let mut bytes = Vec::new();
        let mut reader = BufReader::new(file);
        reader.by_ref().take(PIECE).read_to_end(&mut bytes)?;
        let mut more = bytes.len() as u64 == PIECE;
        if more && !bytes.contains(&b'\n') {
            let mut rest = reader.take(LONGEST_LINE - PIECE);
            rest.read_until(b'\n', &mut bytes)?;
            more = bytes.ends_with(b"\n");
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        Ok(Piece {
            events: events(&bytes[..whole]),
            next: after + whole as u64,
            more,
            from_start,
        })
    }
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// The last events of a log.
struct End(Vec<Event>);

impl End {
    fn of(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut end = Self(Vec::new());
        for bytes in ENDS {
            let begin = length.saturating_sub(bytes);
            end = Self(piece_of(file, begin, bytes)?);
            let tells_all = ["step", "loss", "eval_loss"]
                .iter()
                .all(|field| end.last(field).is_some());
            if begin == 0 || tells_all {
                break;
            }
        }
        Ok(end)
    }

    /// What the last event that has `field` says of it.
    fn last(&self, field: &str) -> Option<Json> {
        let event = self.0.iter().rfind(|event| event.contains_key(field))?;
        Some(value(event, field))
    }

    fn state(&self, changed: SystemTime) -> State {
        let either = |event: &&Event| is(event, "start") || is(event, "finish");
        let last = self.0.iter().rfind(either);
        if last.is_some_and(|event| is(event, "finish")) {
            return State::Finished;
        }
        // What was written in the future was written just now by another clock.
        match changed.elapsed() {
            Ok(silent) if silent > SILENCE => State::Stopped,
            _ => State::Running,
        }
    }
}

/// The events whose lines lie within `length` bytes from `begin` on.
fn piece_of(file: &mut File, begin: u64, length: u64) -> io::Result<Vec<Event>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(length).read_to_end(&mut bytes)?;
    // A line that is not there as a whole is no JSON.
    Ok(events(&bytes))
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Whether a line ends at the byte `at`. Else the file was cut since it did, and may have
/// grown again.
fn ends_line(file: &mut File, at: u64) -> io::Result<bool> {
    if at == 0 {
        return Ok(true);
    }
    if at > file.metadata()?.len() {
        return Ok(false);
    }
    let mut byte = [0];
    file.seek(SeekFrom::Start(at - 1))?;
    Ok(file.read(&mut byte)? == 1 && byte == *b"\n")
}

fn is(event: &Event, kind: &str) -> bool {
    event.get("type").is_some_and(|found| found == kind)
}

fn value(event: &Event, field: &str) -> Json {
    event.get(field).cloned().unwrap_or_default()
}
