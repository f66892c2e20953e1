//! Disks that are full or read-only, and files that may not grow.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{Kind, Runs, report, times};

/// Runs the program under a limit of its files' sizes, in blocks of 512 bytes.
fn limited(runs: &Runs, blocks: usize, arguments: &[&str]) -> Option<i32> {
    let program = assert_cmd::cargo::cargo_bin!("retune");
    let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program).args(arguments);
    command.current_dir(runs.folder.path("."));
    command.env("RETUNE_CACHE", runs.folder.path("cache"));
    command.env("CUDA_VISIBLE_DEVICES", "");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("sh is there").code()
}

#[test]
fn a_file_that_may_grow_no_further_is_an_error_and_harms_nothing() {
    let runs = Runs::new();
    let unbroken = runs.unbroken(Kind::Lora);
    let tried = times(3, 20);
    for number in 0..tried {
        let output = format!("limited-{number}");
        // From the smallest file of a checkpoint to beyond the largest.
        let largest = runs
            .folder
            .path(&format!("{unbroken}/checkpoint-80/optimizer.safetensors"));
        let largest = fs::metadata(largest).expect("a size").len() as usize / 512;
        let blocks = 4 + number * largest / tried;
        let begin = runs.begin(Kind::Lora, &output);
        let code = limited(&runs, blocks, &begin);
        assert_eq!(code, Some(1), "{blocks} blocks");
        if runs.folder.path(&output).exists() {
            assert!(runs.debris(&output).is_empty());
        }
        runs.finish(Kind::Lora, &output);
        runs.assert_same(Kind::Lora, &unbroken, &output);
    }
    report("files that may not grow", tried);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_work_starts() {
    let runs = Runs::new();
    let folder = runs.folder.path("closed");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("permissions");
    // Root may write into every folder, but not onto a read-only disk.
    let _disk = match fs::write(folder.join("probe"), "") {
        Ok(()) => Disk::mount(&folder, "ro"),
        Err(_) => None,
    };
    if fs::write(folder.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let refused = runs.folder.refusal(&runs.begin(Kind::Lora, "closed/run"));
    assert!(
        refused.contains("closed/run cannot be written"),
        "{refused}"
    );
}

/// A disk of its own, where the user may mount one.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_good() {
    let runs = Runs::new();
    let unbroken = runs.unbroken(Kind::Lora);
    let tried = times(2, 20);
    let at = runs.folder.path("disk");
    for number in 0..tried {
        // Enough for one checkpoint to nearly enough for all.
        let Some(disk) = Disk::mount(&at, &format!("size={}k", 500 + number * 900 / tried)) else {
            eprintln!("skipped: this user may not mount a disk");
            return;
        };
        let refused = runs.folder.refusal(&runs.begin(Kind::Lora, "disk/run"));
        assert!(refused.contains("No space left on device"), "{refused}");
        assert!(
            runs.debris("disk/run").is_empty(),
            "{:?}",
            runs.debris("disk/run")
        );
        // Elsewhere there is room.
        let _ = fs::remove_dir_all(runs.folder.path("freed"));
        let copied = Command::new("cp")
            .arg("-r")
            .arg(at.join("run"))
            .arg(runs.folder.path("freed"))
            .status();
        assert!(copied.expect("cp is there").success());
        drop(disk);
        runs.finish(Kind::Lora, "freed");
        runs.assert_same(Kind::Lora, &unbroken, "freed");
    }
    report("disks that were full", tried);
}
