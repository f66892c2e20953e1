//! SIGKILL, at any moment and inside a save.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::run::{Dice, Kind, Runs, STEPS, ended, report, times};

/// Kills a run again and again, until it was let finish; 1 and 2 threads in turn.
fn broken(
    runs: &Runs,
    kind: Kind,
    output: &str,
    kills: usize,
    kill: &mut dyn FnMut(&mut std::process::Child),
) -> usize {
    let mut killed = 0;
    for attempt in 0..kills {
        let threads = (1 + attempt % 2).to_string();
        let arguments = [&runs.go_on(kind, output)[..], &["--threads", &threads]].concat();
        let mut child = runs.start(&arguments);
        kill(&mut child);
        let _ = child.kill();
        if !ended(child).success() {
            killed += 1;
        }
        if runs
            .folder
            .path(&format!("{output}/checkpoint-{STEPS}"))
            .exists()
        {
            break;
        }
    }
    runs.finish(kind, output);
    killed
}

/// How long a run takes from start to end.
fn duration(runs: &Runs, kind: Kind) -> Duration {
    let start = Instant::now();
    runs.folder
        .stdout(&runs.begin(kind, &format!("timed-{kind:?}")));
    start.elapsed()
}

#[test]
fn a_run_that_is_killed_at_any_moment_ends_in_the_same_bytes() {
    let runs = Runs::new();
    let mut dice = Dice::new(1);
    for (kind, wanted) in [(Kind::Lora, times(8, 120)), (Kind::Full, times(4, 80))] {
        let unbroken = runs.unbroken(kind);
        let whole = duration(&runs, kind).as_micros() as u64;
        let (mut killed, mut number) = (0, 0);
        while killed < wanted {
            let output = format!("broken-{kind:?}-{number}");
            number += 1;
            killed += broken(&runs, kind, &output, 6, &mut |_| {
                sleep(Duration::from_micros(dice.below(whole)));
            });
            runs.assert_same(kind, &unbroken, &output);
            assert!(runs.debris(&output).is_empty());
            let _ = std::fs::remove_dir_all(runs.folder.path(&output));
        }
        report(
            &format!("{kind:?}: killed at random moments, {number} runs"),
            killed,
        );
    }
}

#[test]
fn a_run_that_is_killed_while_it_saves_ends_in_the_same_bytes() {
    let runs = Runs::new();
    let mut dice = Dice::new(2);
    for (kind, wanted) in [(Kind::Lora, times(6, 60)), (Kind::Full, times(3, 40))] {
        let unbroken = runs.unbroken(kind);
        let (mut inside, mut number) = (0, 0);
        while inside < wanted {
            let output = format!("torn-{kind:?}-{number}");
            number += 1;
            broken(&runs, kind, &output, 4, &mut |child| {
                // Some saves go by; then one is on its way.
                sleep(Duration::from_millis(dice.below(300)));
                while child.try_wait().expect("a process").is_none() {
                    if runs.folder.path(&output).is_dir() && !runs.debris(&output).is_empty() {
                        sleep(Duration::from_micros(dice.below(1500)));
                        let _ = child.kill();
                        let _ = child.wait();
                        if !runs.debris(&output).is_empty() {
                            inside += 1;
                        }
                    }
                }
            });
            runs.assert_same(kind, &unbroken, &output);
            assert!(runs.debris(&output).is_empty());
            let _ = std::fs::remove_dir_all(runs.folder.path(&output));
        }
        report(
            &format!("{kind:?}: killed inside a save, {number} runs"),
            inside,
        );
    }
}
