//! Public files that are too large for the repository, or not ours to give.

use std::path::PathBuf;

/// The file `path` in the folder that `RETUNE_TEST_FILES` names. Without one,
/// the test says that it is skipped.
pub(crate) fn file(path: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RETUNE_TEST_FILES") else {
        eprintln!("skipped: RETUNE_TEST_FILES names no folder with {path}");
        return None;
    };
    let file = PathBuf::from(folder).join(path);
    assert!(file.exists(), "{} is not there", file.display());
    Some(file)
}
