//! The file of tokens gives back what was put in, or says that it is damaged.

use std::path::PathBuf;

use proptest::prelude::*;
use retune_data::{
    BadRows, Content, DataOptions, Error, Labelled, OverLong, Prepared, label, prepare,
};
use serde_json::json;

use super::encoder;
use crate::folder::Folder;

fn prepared(file: &PathBuf, folder: &Folder) -> Result<Prepared, Error> {
    let encoder = encoder(64, OverLong::Drop);
    let files = std::slice::from_ref(file);
    let cache = folder.path().join("cache");
    prepare(
        files,
        &DataOptions::default(),
        &encoder,
        BadRows::Skip,
        &cache,
        &mut |_| {},
    )
}

/// The file of tokens in the cache.
fn token_file(folder: &Folder) -> PathBuf {
    let mut entries = std::fs::read_dir(folder.path().join("cache")).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(
        entries.next().is_none(),
        "one file and nothing half written"
    );
    path
}

/// Whether all samples that can be read are those of `expected`.
fn holds(prepared: &Prepared, expected: &[Labelled]) -> bool {
    let sample = |index: usize| match prepared.tokens.sample(index) {
        Ok(sample) => {
            sample == expected[index] && prepared.tokens.tokens(index) == sample.input_ids.len()
        }
        Err(error) => matches!(error, Error::File { .. }),
    };
    prepared.tokens.len() == expected.len() && (0..expected.len()).all(sample)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn tokens_are_read_as_they_were_written(texts in proptest::collection::vec("[a-c甄]{0,40}", 1..20)) {
        let folder = Folder::new();
        let lines: Vec<String> = texts.iter().map(|text| json!({"prompt": text, "completion": "a"}).to_string()).collect();
        let file = folder.write("a.jsonl", lines.join("\n") + "\n{broken\n");
        let encoder = encoder(64, OverLong::Drop);
        let label = |text: &String| {
            let content = Content::Conversation(retune_data::Conversation::of_turn(text, "a"));
            label(&encoder.tokenizer, &content, &encoder.labels).unwrap()
        };
        let all: Vec<Labelled> = texts.iter().map(label).collect();
        let kept: Vec<Labelled> = all.iter().filter(|sample| sample.input_ids.len() <= 64).cloned().collect();
        for from_cache in [false, true] {
            match prepared(&file, &folder) {
                Ok(found) => {
                    prop_assert_eq!(found.from_cache, from_cache);
                    prop_assert!(holds(&found, &kept));
                    prop_assert_eq!(found.preparation.rows as usize, all.len() + 1);
                    prop_assert_eq!(found.preparation.over_long.len(), all.len() - kept.len());
                    prop_assert_eq!(found.preparation.unusable.len(), 1);
                }
                Err(error) => {
                    let (rows, over_long) = (all.len() as u64 + 1, all.len());
                    let none = Error::NoSamples { rows, over_long, unusable: 1 };
                    prop_assert!(kept.is_empty() && error == none, "{}", error);
                }
            }
        }
    }
}

#[test]
fn a_damaged_cache_is_seen() {
    let folder = Folder::new();
    let file = folder.write(
        "a.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"bc\"}\n{\"prompt\": \"d\", \"completion\": \"\"}\n",
    );
    let first = prepared(&file, &folder).unwrap();
    let expected: Vec<Labelled> = (0..2)
        .map(|index| first.tokens.sample(index).unwrap())
        .collect();
    let path = token_file(&folder);
    let whole = std::fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = (0..whole.len())
        .step_by(5)
        .map(|length| whole[..length].to_vec())
        .collect();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        damages.push(bytes);
    }
    let mut anew = 0;
    for bytes in damages {
        std::fs::write(&path, &bytes).unwrap();
        let found = prepared(&file, &folder).unwrap();
        assert!(holds(&found, &expected));
        assert!((0..2).all(|index| found.tokens.sample(index).is_ok()));
        // What was seen to be damaged was made anew.
        anew += usize::from(!found.from_cache);
        assert!(found.from_cache || std::fs::read(&path).unwrap() == whole);
    }
    assert!(anew > whole.len(), "everything has a checksum: {anew}");
}

#[test]
fn formats_do_not_share_tokens() {
    let folder = Folder::new();
    let bytes = "{\"text\": \"a\"}\n";
    let gzip = |name: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes.as_bytes()).unwrap();
        prepared(&folder.write(name, encoder.finish().unwrap()), &folder).unwrap()
    };
    let (rows, lines) = (gzip("a.jsonl.gz"), gzip("a.txt.gz"));
    assert!(!lines.from_cache && rows.tokens.tokens(0) < lines.tokens.tokens(0));
}
