//! A small run to be broken, and the unbroken one that it is compared with.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::program::{Folder, lines, model, row};

/// How often something is tried: rarely in every test run, often under torture.
pub(crate) fn times(few: usize, many: usize) -> usize {
    match std::env::var_os("RETUNE_TORTURE") {
        Some(_) => many,
        None => few,
    }
}

/// Says how often something was tried; each time, it was checked there and then.
pub(crate) fn report(what: &str, times: usize) {
    eprintln!("{what}: {times}");
}

/// Numbers that look random and are the same in every run of the tests.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// What is trained: LoRA with dropout, or all weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lora,
    Full,
}

impl Kind {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Lora => &["--lora_dropout", "0.2"],
            Self::Full => &["--finetuning_type", "full", "--learning_rate", "1e-3"],
        }
    }
}

/// Optimizer steps of a run: two epochs and some, with an accumulation each.
pub(crate) const STEPS: u64 = 80;

/// A folder with a model, data, and an unbroken run of each kind.
pub(crate) struct Runs {
    pub(crate) folder: Folder,
}

impl Runs {
    pub(crate) fn new() -> Self {
        Self::with_model(&[])
    }

    /// The same with more arguments for `retune init`.
    pub(crate) fn with_model(more: &[&str]) -> Self {
        let folder = Folder::new();
        let rows: Vec<Value> = (0..140)
            .map(|number| {
                let prompt = format!("How many are {number}?");
                row(&prompt, &format!("They are {}.", number % 7))
            })
            .collect();
        folder.write("data.jsonl", &lines(&rows));
        let tokenizer = model();
        let init = [
            "init",
            "model",
            "--tokenizer",
            &tokenizer,
            "--model-type",
            "qwen2",
        ];
        let shape = [
            "--hidden-size",
            "64",
            "--num-hidden-layers",
            "3",
            "--num-attention-heads",
            "4",
            "--num-key-value-heads",
            "2",
        ];
        folder.stdout(&[&init[..], &shape, more].concat());
        Self { folder }
    }

    /// The arguments of a run that begins.
    pub(crate) fn begin<'a>(&self, kind: Kind, output: &'a str) -> Vec<&'a str> {
        let settings = [
            "train",
            "--model",
            "model",
            "--data",
            "data.jsonl",
            "--max_steps",
            "80",
            "--logging_steps",
            "3",
            "--eval_steps",
            "10",
            "--save_steps",
            "4",
            "--output_dir",
            output,
        ];
        [&settings[..], kind.settings()].concat()
    }

    /// The whole run, not broken.
    pub(crate) fn unbroken(&self, kind: Kind) -> String {
        let output = format!("unbroken-{kind:?}");
        self.folder
            .stdout(&[&self.begin(kind, &output)[..], &["--threads", "1"]].concat());
        output
    }

    /// Starts the program and leaves it to its fate.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("retune"));
        command
            .args(arguments)
            .current_dir(self.folder.path("."))
            .env("RETUNE_CACHE", self.folder.path("cache"))
            .env("CUDA_VISIBLE_DEVICES", "")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The arguments with which a run goes on, or begins again where it was broken
    /// before its first checkpoint.
    pub(crate) fn go_on<'a>(&self, kind: Kind, output: &'a str) -> Vec<&'a str> {
        let folder = self.folder.path(output);
        if retune_train::checkpoints(&folder).is_ok_and(|found| !found.is_empty()) {
            return vec!["train", "--resume", "--output_dir", output];
        }
        self.begin(kind, output)
    }

    /// Goes on until the end.
    #[track_caller]
    pub(crate) fn finish(&self, kind: Kind, output: &str) -> String {
        self.folder.stdout(&self.go_on(kind, output))
    }

    /// Whether two runs came to the same bytes, and to the same logs but for times.
    #[track_caller]
    pub(crate) fn assert_same(&self, kind: Kind, expected: &str, found: &str) {
        let names: &[&str] = match kind {
            Kind::Lora => &["adapter_model.safetensors", "optimizer.safetensors"],
            Kind::Full => &["model.safetensors", "optimizer.safetensors"],
        };
        for name in names {
            let bytes = |run: &str| {
                let path = format!("{run}/checkpoint-{STEPS}/{name}");
                std::fs::read(self.folder.path(&path)).expect("a checkpoint")
            };
            assert!(bytes(expected) == bytes(found), "{found}: {name} differs");
        }
        assert_eq!(self.figures(found), self.figures(expected), "{found}");
        // Records of TensorBoard's have the same length at any time.
        assert_eq!(self.events(found), self.events(expected), "{found}");
        assert_eq!(
            self.folder.read(&format!("{found}/best")),
            self.folder.read(&format!("{expected}/best"))
        );
    }

    /// The records of `metrics.jsonl`, without times and without beginnings and ends.
    fn figures(&self, run: &str) -> Vec<Value> {
        let text = self.folder.read(&format!("{run}/metrics.jsonl"));
        let records = text.lines().map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("JSON");
            let fields = record.as_object_mut().expect("an object");
            fields.remove("seconds");
            fields.remove("tokens_per_s");
            record
        });
        records
            .filter(|record| record["type"] != "start" && record["type"] != "finish")
            .collect()
    }

    fn events(&self, run: &str) -> Vec<u64> {
        let files = std::fs::read_dir(self.folder.path(&format!("{run}/runs"))).expect("logs");
        files
            .map(|file| file.expect("a file").metadata().expect("a size").len())
            .collect()
    }

    /// Files in the run's folder that no run leaves behind.
    pub(crate) fn debris(&self, output: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path(output)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let is_debris = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.ends_with(".tmp") || name.ends_with(".old")
        };
        paths.filter(is_debris).collect()
    }
}

/// Sends a signal to a process.
pub(crate) fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill")
        .args(["-s", signal, &id])
        .stderr(Stdio::null())
        .status();
    sent.expect("kill is there");
}

/// Waits for a process to end.
pub(crate) fn ended(mut child: Child) -> ExitStatus {
    child.wait().expect("it ends")
}
