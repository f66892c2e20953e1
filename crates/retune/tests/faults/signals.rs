//! Signals that ask a run to end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::run::{Dice, Kind, Runs, STEPS, ended, report, send, times};

fn wait_for(runs: &Runs, name: &str) {
    let start = Instant::now();
    while !runs.folder.path(name).exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name} did not come"
        );
        sleep(Duration::from_millis(2));
    }
}

/// Every run is stopped once by each signal and goes on to the same bytes.
#[test]
fn a_run_that_is_asked_to_end_saves_and_says_so_by_its_code() {
    let runs = Runs::new();
    let mut dice = Dice::new(3);
    let unbroken = runs.unbroken(Kind::Lora);
    let tried = times(3, 150);
    for number in 0..tried {
        let (signal, code) = [("TERM", 143), ("INT", 130), ("HUP", 129)][number % 3];
        let output = format!("stopped-{number}");
        let child = runs.start(&runs.begin(Kind::Lora, &output));
        wait_for(&runs, &format!("{output}/last"));
        sleep(Duration::from_micros(dice.below(100_000)));
        send(&child, signal);
        let status = ended(child);
        let done = runs
            .folder
            .path(&format!("{output}/checkpoint-{STEPS}"))
            .exists();
        // A signal behind the last step comes too late.
        assert_eq!(status.code(), Some(if done { 0 } else { code }), "{signal}");
        let last: u64 = runs.folder.read(&format!("{output}/last"))["checkpoint-".len()..]
            .parse()
            .expect("a step");
        let reached = runs.folder.read(&format!("{output}/metrics.jsonl"));
        let finish = reached.lines().last().expect("a record");
        // Nothing that was done is lost.
        assert!(finish.contains(&format!("\"step\":{last},")), "{finish}");
        runs.finish(Kind::Lora, &output);
        runs.assert_same(Kind::Lora, &unbroken, &output);
    }
    report("stopped by SIGTERM, SIGINT, SIGHUP", tried);
}

#[test]
fn a_second_signal_ends_a_run_at_once_and_without_harm() {
    let runs = Runs::new();
    let unbroken = runs.unbroken(Kind::Lora);
    let child = runs.start(&runs.begin(Kind::Lora, "twice"));
    wait_for(&runs, "twice/last");
    send(&child, "INT");
    send(&child, "INT");
    let code = ended(child).code();
    assert_eq!(code, Some(130));
    runs.finish(Kind::Lora, "twice");
    runs.assert_same(Kind::Lora, &unbroken, "twice");
}
