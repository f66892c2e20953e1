//! `retune` and `retune env`: exit codes, stdout and stderr.

use assert_cmd::Command;

use crate::program::{Folder, lines, row};

fn retune(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("retune").expect("the program is built with its tests");
    command.args(arguments);
    command
}

/// Exit code, stdout and stderr as one text.
fn outcome(arguments: &[&str]) -> String {
    let output = retune(arguments).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("retune.exe", "retune");
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().expect("an exit code"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn without_arguments_the_help_is_shown() {
    insta::assert_snapshot!(outcome(&["--help"]));
    let bare = outcome(&[]);
    assert!(
        bare.starts_with("exit 1") && bare.contains("Usage: retune <COMMAND>"),
        "{bare}"
    );
}

#[test]
fn help_of_env() {
    insta::assert_snapshot!(outcome(&["env", "--help"]));
}

#[test]
fn faulty_arguments_are_explained() {
    insta::assert_snapshot!(outcome(&["env", "--threads", "0"]));
    insta::assert_snapshot!(outcome(&["evn"]));
    for (arguments, expected) in [
        (
            "generate x --top_k -1",
            "--top_k: expected a whole number from 0, found -1",
        ),
        (
            "generate x --seed 1e3",
            "--seed: expected a whole number from 0, found 1e3",
        ),
        (
            "serve x --port 99999",
            "--port: expected a whole number from 0 to 65535, found 99999",
        ),
        (
            "generate x --seed 99999999999999999999",
            "--seed: expected a smaller number, found",
        ),
        (
            "generate x --temperature warm",
            "--temperature: expected a number, found warm",
        ),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let shown = outcome(&arguments);
        assert!(shown.contains(&format!("error: {expected}")), "{shown}");
    }
}

#[test]
fn the_machine_is_described() {
    let shown = outcome(&["env", "--no-measure", "--threads", "3"]);
    assert!(shown.starts_with("exit 0\n"), "{shown}");
    let names: Vec<&str> = shown
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with("---"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let (about, gpus) = names.split_at(5);
    assert_eq!(about, ["retune", "system", "processor", "memory", "device"]);
    assert!(
        !gpus.is_empty() && gpus.iter().all(|name| *name == "gpu"),
        "{shown}"
    );
    assert!(
        shown.contains(env!("CARGO_PKG_VERSION")) && shown.contains("3 threads"),
        "{shown}"
    );
}

#[test]
fn a_gpu_that_is_not_there_is_told_before_any_work() {
    let folder = Folder::new();
    let machine = folder.stdout(&["env", "--no-measure"]);
    let why = machine.lines().find_map(|line| {
        line.strip_prefix("gpu")
            .and_then(|line| line.trim_start().strip_prefix("no CUDA: "))
    });
    let Some((reason, _)) = why.and_then(|why| why.split_once(": ")) else {
        // There is one here.
        return;
    };
    folder.write("data.jsonl", &lines(&[row("Who?", "I.")]));
    let train = ["train", "--model", "builtin", "--data", "data.jsonl"];
    let train = [&train[..], &["--output_dir", "run"]].concat();
    for command in [&["generate", "builtin", "Who?"][..], &train[..]] {
        let refused = folder.refusal(&[command, &["--device", "cuda"]].concat());
        assert!(
            refused.contains(reason) && refused.contains("\nhint: "),
            "{refused}"
        );
        let refused = folder.refusal(&[command, &["--device", "mps"]].concat());
        assert!(
            refused.contains("expected auto, cpu, cuda or cuda:N")
                && refused.contains("no device for GPUs of Apple's; write cpu"),
            "{refused}"
        );
    }
    assert!(!folder.path("run").exists());
}

#[test]
fn limits_are_measured() {
    let output = retune(&["env", "--threads", "1"])
        .output()
        .expect("the program starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    let number = |name: &str| -> f64 {
        let line = stdout
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.and_then(|value| value.parse().ok()).unwrap_or(-1.0)
    };
    assert!(number("f32") > 0.1 && number("reading") > 0.1, "{stdout}");
}
