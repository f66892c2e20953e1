//! What the targets share.

use std::path::PathBuf;

use retune_data::source::{Format, ReadOptions};
use retune_data::{DataOptions, Samples};
use tempfile::TempDir;

/// Reads `bytes` in each of `formats` to the end, rows and what they mean.
pub fn read(bytes: &[u8], formats: &[Format]) {
    let folder = TempDir::new().expect("a temporary folder");
    let path: PathBuf = folder.path().join("rows");
    std::fs::write(&path, bytes).expect("a temporary file");
    for format in formats {
        let options = DataOptions {
            read: ReadOptions {
                format: Some(*format),
                ..ReadOptions::default()
            },
            ..DataOptions::default()
        };
        let samples = Samples::open(std::slice::from_ref(&path), options).expect("it is there");
        let items = samples.count();
        // Each item takes a byte at least, and the end may be an error.
        assert!(
            items <= bytes.len() + 2,
            "{items} items of {} bytes",
            bytes.len()
        );
    }
}
