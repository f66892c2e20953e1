//! Any bytes are read to an end, and what is written is read.

use encoding_rs::GB18030;
use proptest::prelude::*;
use retune_data::source::{Format, ReadOptions, RowWriter};
use serde_json::{Map, Value as Json, json};

use crate::folder::{Folder, fields, fields_with, outcome, read};

/// Bytes of which many mean something to a reader.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let meaningful: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\n",
        b"\r\n",
        b"\t",
        b";",
        b" ",
        b"\0",
        b"{\"a\": 1}",
        b"a,b\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\x1f\x8b\x08\0",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"\xd6\xd0",
        b"\xe7\x94\x84",
    ];
    let part = prop_oneof![
        4 => proptest::sample::select(meaningful).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| json!(map)),
        ]
    })
}

fn any_row() -> impl Strategy<Value = Map<String, Json>> {
    proptest::collection::btree_map(any::<String>(), any_json(), 0..4).prop_map(Map::from_iter)
}

/// What is read of `rows` after they were written to a file called `name`.
fn reread(name: &str, rows: &[Map<String, Json>]) -> Result<Vec<Map<String, Json>>, String> {
    let folder = Folder::new();
    let path = folder.path().join(name);
    let mut writer = RowWriter::create(&path, false).unwrap();
    for row in rows {
        writer.write(row).map_err(|error| error.to_string())?;
    }
    writer.finish().unwrap();
    let rows = read(&path, &ReadOptions::default()).into_iter();
    rows.map(|row| row.map(|row| row.fields).map_err(|error| error.to_string()))
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_end(bytes in any_bytes()) {
        let folder = Folder::new();
        let path = folder.write("rows", &bytes);
        for format in Format::NAMES.map(|(_, format)| Some(format)).into_iter().chain([None]) {
            let items = read(&path, &ReadOptions { format, ..ReadOptions::default() });
            prop_assert!(!items.is_empty() && items.len() <= bytes.len() + 2, "{:?}", items.len());
        }
    }

    #[test]
    fn json_is_read_as_it_was_written(rows in proptest::collection::vec(any_row(), 1..5)) {
        for name in ["a.json", "a.jsonl"] {
            prop_assert_eq!(reread(name, &rows), Ok(rows.clone()));
        }
    }

    #[test]
    fn tables_are_read_as_they_were_written(
        cells in proptest::collection::vec((any::<String>(), "[ a\"',;\t\r\n]{0,6}"), 1..5),
    ) {
        let row = |(a, b): &(String, String)| Map::from_iter([("问".to_owned(), json!(a)), ("b".to_owned(), json!(b))]);
        let rows: Vec<Map<String, Json>> = cells.iter().map(row).collect();
        prop_assert_eq!(reread("a.csv", &rows), Ok(rows.clone()));
        match reread("a.tsv", &rows) {
            Ok(read) => prop_assert_eq!(read, rows),
            Err(error) => prop_assert!(error.contains("no place for a tab or line break"), "{}", error),
        }
    }

    #[test]
    fn a_list_falls_into_its_rows(rows in proptest::collection::vec(any_row(), 1..5), pretty: bool) {
        let list = json!(rows);
        let text = if pretty { serde_json::to_string_pretty(&list).unwrap() } else { list.to_string() };
        let expected: Vec<Json> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(fields("a.json", &text), expected.clone());
        let values: Vec<String> = rows.iter().map(|row| serde_json::to_string_pretty(row).unwrap()).collect();
        prop_assert_eq!(fields("a.json", values.join(if pretty { "\n" } else { "" })), expected);
    }

    #[test]
    fn encodings_are_undone(texts in proptest::collection::vec(any::<String>(), 1..5)) {
        let expected: Vec<Json> = texts.iter().map(|text| json!({"a": text})).collect();
        let lines: Vec<String> = expected.iter().map(Json::to_string).collect();
        let lines = lines.join("\n");
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}{lines}");
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for bytes in [little, big, text.into_bytes()] {
                prop_assert_eq!(fields("a.jsonl", bytes), expected.clone());
            }
        }
        let (bytes, _, unknown) = GB18030.encode(&lines);
        if !unknown {
            let options = ReadOptions { encoding: Some(GB18030), ..ReadOptions::default() };
            let decoded = GB18030.decode_without_bom_handling(&bytes).0;
            let expected: Vec<Json> = decoded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(fields_with("a.jsonl", bytes, &options), expected);
        }
    }

    /// Chinese of a few words is recognised by itself.
    #[test]
    fn chinese_is_recognised(texts in proptest::collection::vec("[的一是在不了有和人这中大为上个国我以要他]{12,40}", 3..8)) {
        let lines: Vec<String> = texts.iter().map(|text| format!("{{\"a\": \"{text}\"}}")).collect();
        let (rows, errors) = outcome("a.jsonl", GB18030.encode(&lines.join("\n")).0);
        let found: Vec<&Json> = rows.iter().map(|row| &row["a"]).collect();
        prop_assert!(errors.is_empty() && found == texts.iter().collect::<Vec<_>>(), "{:?}", errors);
    }
}
