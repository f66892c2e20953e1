//! The program, run as a user runs it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of its own, in which the program runs and files are named without
/// their path.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file is written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command =
            Command::cargo_bin("retune").expect("the program is built with its tests");
        command.args(arguments).current_dir(self.0.path());
        command.env("RETUNE_CACHE", self.path("cache"));
        command.env("CUDA_VISIBLE_DEVICES", "");
        command
    }

    /// Exit code, stdout and stderr as one text.
    pub(crate) fn outcome(&self, arguments: &[&str]) -> String {
        self.outcome_of(arguments, "")
    }

    /// The same where `input` is typed.
    pub(crate) fn outcome_of(&self, arguments: &[&str], input: &str) -> String {
        let output = self
            .command(arguments)
            .write_stdin(input)
            .output()
            .expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("retune.exe", "retune");
        format!(
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            output.status.code().expect("an exit code"),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// What a run that succeeds prints.
    #[track_caller]
    pub(crate) fn stdout(&self, arguments: &[&str]) -> String {
        let outcome = self.outcome(arguments);
        let output = outcome.strip_prefix("exit 0\n--- stdout\n");
        let output = output.unwrap_or_else(|| panic!("{arguments:?}: {outcome}"));
        output
            .split("--- stderr\n")
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// What a run that ends with code 1 says.
    #[track_caller]
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let outcome = self.outcome(arguments);
        assert!(outcome.starts_with("exit 1\n"), "{arguments:?}: {outcome}");
        outcome
            .split("--- stderr\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A model's folder whose tokens are bytes, with ChatML's markers.
pub(crate) fn model() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-data/tests/models/bytes");
    folder.display().to_string()
}

/// A row of the alpaca layout.
pub(crate) fn row(instruction: &str, output: &str) -> Value {
    json!({"instruction": instruction, "input": "", "output": output})
}

/// Rows as JSONL.
pub(crate) fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}
