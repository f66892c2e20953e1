//! Files of every format, compression and encoding to rows.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use encoding_rs::{GB18030, UTF_16LE};
use flate2::Compression;
use flate2::write::GzEncoder;
use retune_data::source::{
    Format, ReadOptions, RowWriter, Rows, SampleBy, encoding_for_label, find_files,
};
use serde_json::{Value as Json, json};

use crate::folder::{
    Folder, fields, fields_with, outcome, outcome_with, parquet_file, read, refusal,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    let bytes = |unit: u16| {
        if big_endian {
            unit.to_be_bytes()
        } else {
            unit.to_le_bytes()
        }
    };
    text.encode_utf16().flat_map(bytes).collect()
}

fn gb18030(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

#[test]
fn json_stands_in_a_list_in_lines_or_anyhow() {
    let expected = [
        json!({"a": "x]}\"\\", "b": [1, {"c": null}]}),
        json!({"a": ""}),
    ];
    let [first, second] = &expected;
    let pretty = |value: &Json| serde_json::to_string_pretty(value).unwrap();
    let list = format!(" \r\n[\n{first}\n,\t{}]\n ", pretty(second));
    assert_eq!(fields("a.json", list), expected);
    assert_eq!(
        fields("a.jsonl", format!("\n{first}\r\n  \n{second}")),
        expected
    );
    assert_eq!(fields("a.ndjson", format!("{first}\n{second}\n")), expected);
    let values = format!("{}{}\n", pretty(first), pretty(second));
    assert_eq!(fields("a.json", values), expected);
    assert_eq!(fields("a.json", format!("{first}\n{second}\n")), expected);
}

#[test]
fn rows_say_where_they_stand() {
    let folder = Folder::new();
    let places = |name: &str, text: &str| -> Vec<(u64, Option<u64>)> {
        let rows = read(&folder.write(name, text), &ReadOptions::default()).into_iter();
        rows.map(|row| row.unwrap().place)
            .map(|place| (place.row, place.line))
            .collect()
    };
    let expected = [(1, Some(2)), (2, Some(6))];
    let json = "[\n{\"a\":\n1},\n\n\n{\"a\": 2}]";
    assert_eq!(places("a.json", json), expected);
    assert_eq!(
        places("a.jsonl", "\n{\"a\": 1}\n\n\n\n{\"a\": 2}"),
        expected
    );
    assert_eq!(places("a.csv", "a\n\"1\n\n\n\"\n2\n"), expected);
    assert_eq!(places("a.csv", "a\n1\n\n\n\n2\n"), expected);
    assert_eq!(places("a.csv", "a\r\n1\r\n\r\n\r\n\r\n2"), expected);
    assert_eq!(places("a.tsv", "a\n\"\n\n\n\n2\n"), expected);
    assert_eq!(places("a.txt", "\n1\n\n\n\n2\n"), expected);
    let rows = parquet_file(&[("a", &[]), ("b", &[])]);
    let path = folder.write("a.parquet", rows);
    let last = read(&path, &ReadOptions::default()).pop().unwrap().unwrap();
    assert_eq!((last.place.row, last.place.line), (2, None));
}

#[test]
fn cells_of_csv_may_be_quoted() {
    let expected = [
        json!({"问": "a, b; \"c\"\n\nd", "答": " x "}),
        json!({"问": "", "答": "5\" nail"}),
    ];
    let comma = "\u{feff}问,答\r\n\"a, b; \"\"c\"\"\n\nd\", x \r\n\r\n,5\" nail";
    assert_eq!(fields("a.csv", comma), expected);
    let semicolon = "问;答\n\"a, b; \"\"c\"\"\n\nd\"; x \n;5\" nail\n";
    assert_eq!(fields("a.csv", semicolon), expected);
    let tab = "问\t答\n\"a, b; \"\"c\"\"\n\nd\"\t x \n\t5\" nail\n";
    assert_eq!(fields("a.csv", tab), expected);
}

#[test]
fn tabs_separate_cells_and_quotes_are_text() {
    let text = "a\tb\n\"x\t\"\"\n5\" nail\t\"y\"\n";
    let expected = [
        json!({"a": "\"x", "b": "\"\""}),
        json!({"a": "5\" nail", "b": "\"y\""}),
    ];
    assert_eq!(fields("a.tsv", text), expected);
}

#[test]
fn columns_without_a_header_are_named_by_the_caller() {
    let options = ReadOptions {
        columns: vec!["q".into(), "a".into()],
        ..ReadOptions::default()
    };
    let expected = [
        json!({"q": "one; two; three", "a": "four"}),
        json!({"q": "x", "a": "y"}),
    ];
    let text = "one; two; three,four\nx,y\n";
    assert_eq!(fields_with("a.csv", text, &options), expected);
    assert_eq!(
        fields_with("a.tsv", text.replace(',', "\t"), &options),
        expected
    );
}

#[test]
fn a_file_ends_where_nobody_wants_more_of_it() {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", "{\"a\": 1}\n".repeat(9));
    let stop = Arc::new(AtomicBool::new(false));
    let options = ReadOptions {
        stop: Some(Arc::clone(&stop)),
        ..ReadOptions::default()
    };
    let mut rows = Rows::open(&path, &options).unwrap();
    assert!(rows.next().unwrap().is_ok());
    stop.store(true, Ordering::Relaxed);
    let error = rows.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("reading was stopped"), "{error}");
    assert!(rows.next().is_none());
    let again = Rows::open(&path, &options).unwrap_err().to_string();
    assert!(again.contains("reading was stopped"), "{again}");
}

#[test]
fn rows_of_other_widths_are_named() {
    let (rows, errors) = outcome("a.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n");
    let values: Vec<&Json> = rows.iter().map(|row| &row["a"]).collect();
    assert_eq!(values, ["1", "7"]);
    assert!(
        errors[0].starts_with("a.csv, row 2 (line 3): has 1 cell, but there are 2 columns (a, b)")
    );
    assert!(
        errors[1].starts_with("a.csv, row 3 (line 4): has 3 cells"),
        "{errors:?}"
    );
    assert!(refusal("a.csv", "a, a\n1,2\n").contains("names the column \"a\" twice"));
}

#[test]
fn parquet_holds_lists_of_structures() {
    let rows = parquet_file(&[
        ("第一", &[("human", "hi"), ("gpt", "ho")]),
        ("b", &[]),
        ("c", &[("gpt", "x")]),
    ]);
    let expected = [
        json!({"text": "第一", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}),
        json!({"text": "b", "conversations": []}),
        json!({"text": "c", "conversations": [{"from": "gpt", "value": "x"}]}),
    ];
    assert_eq!(fields("a.parquet", &rows), expected);
    assert_eq!(fields("without_an_extension", &rows), expected);
    assert!(refusal("a.json", &rows).contains("expected `[`"));
}

#[test]
fn plain_text_is_cut_as_asked() {
    let text = "\n one\ntwo \n \n\nthree\r\n";
    let by = |sample_by| {
        let options = ReadOptions {
            sample_by,
            ..ReadOptions::default()
        };
        fields_with("a.txt", text, &options)
    };
    let texts =
        |texts: &[&str]| -> Vec<Json> { texts.iter().map(|text| json!({"text": text})).collect() };
    assert_eq!(by(SampleBy::Line), texts(&[" one", "two ", "three"]));
    assert_eq!(by(SampleBy::Paragraph), texts(&[" one\ntwo ", "three"]));
    assert_eq!(by(SampleBy::Document), texts(&["\n one\ntwo \n \n\nthree"]));
}

#[test]
fn compression_is_seen_whatever_the_name() {
    let expected = [json!({"a": 1}), json!({"a": 2})];
    let members = [gzip(b"{\"a\": 1}\n{\"a\""), gzip(b": 2}\n")].concat();
    let zstandard = zstd::encode_all(&b"{\"a\": 1}\n{\"a\": 2}\n"[..], 3).unwrap();
    for name in ["a.jsonl.gz", "a.jsonl", "a.JSONL.GZ", "a.json.zst"] {
        assert_eq!(fields(name, &members), expected, "{name}");
        assert_eq!(fields(name, &zstandard), expected, "{name}");
    }
    assert_eq!(fields("a.jsonl.gz", "{\"a\": 1}\n{\"a\": 2}\n"), expected);
    assert_eq!(fields("no_name", gzip(b"{\"a\": 1} {\"a\": 2}")), expected);
}

#[test]
fn a_format_that_is_named_goes_before_the_name() {
    let options = ReadOptions {
        format: Some(Format::Csv),
        ..ReadOptions::default()
    };
    assert_eq!(
        fields_with("a.json", "a\n1\n", &options),
        [json!({"a": "1"})]
    );
    assert!(refusal("a.unknown", "a\n1\n").contains("--format json|jsonl|csv"));
    assert!(refusal("a.json", "a\n1\n").contains("line 1: expected `[`"));
}

#[test]
fn folders_are_searched() {
    let folder = Folder::new();
    for name in [
        "b.json",
        "a.csv.gz",
        "README.md",
        ".hidden.json",
        "c/d.TXT",
        ".git/e.json",
    ] {
        folder.write(name, "x");
    }
    let found = find_files(&[folder.path().to_path_buf(), folder.path().join("b.json")]).unwrap();
    let names: Vec<_> = found
        .iter()
        .map(|path| path.strip_prefix(folder.path()).unwrap())
        .collect();
    assert_eq!(
        names,
        ["a.csv.gz", "b.json", "c/d.TXT", "b.json"].map(std::path::Path::new)
    );
    let empty = Folder::new();
    let error = find_files(&[empty.path().to_path_buf()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is a folder without data files; looked for .json"),
        "{error}"
    );
    let error = find_files(&[empty.path().join("x")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be opened"), "{error}");
}

#[test]
fn encodings_are_recognised() {
    let text = "[{\"问\": \"你是谁?😀\"},\n{\"问\": \"é\"}]";
    let expected = [json!({"问": "你是谁?😀"}), json!({"问": "é"})];
    let marked = format!("\u{feff}{text}");
    let cases = [
        ("UTF-8", text.as_bytes().to_vec()),
        ("UTF-8", marked.clone().into_bytes()),
        ("UTF-16LE", utf16(text, false)),
        ("UTF-16LE", utf16(&marked, false)),
        ("UTF-16BE", utf16(text, true)),
        ("UTF-16BE", utf16(&marked, true)),
    ];
    let folder = Folder::new();
    for (name, bytes) in cases {
        let mut rows = Rows::open(&folder.write("a.json", bytes), &ReadOptions::default()).unwrap();
        let found: Vec<Json> = rows
            .by_ref()
            .map(|row| Json::Object(row.unwrap().fields))
            .collect();
        assert_eq!(
            (rows.file().encoding(), &found[..]),
            (Some(name), &expected[..])
        );
        assert!(rows.next().is_none(), "a file ends once");
    }
}

#[test]
fn an_encoding_that_is_named_is_taken() {
    let text = "question,answer\ncafé,thé\n";
    let latin = encoding_for_label("windows-1252").unwrap();
    let bytes = latin.encode(text).0.into_owned();
    let named = ReadOptions {
        encoding: Some(latin),
        ..ReadOptions::default()
    };
    let expected = [json!({"question": "café", "answer": "thé"})];
    assert_eq!(fields_with("a.csv", &bytes, &named), expected);
    // It is not guessed: every byte means something in it.
    assert!(refusal("a.csv", &bytes).contains("name it with --encoding"));
    // Text that does not begin with ASCII has no zeros to be known by.
    let named = ReadOptions {
        encoding: Some(UTF_16LE),
        ..ReadOptions::default()
    };
    let expected = [json!({"text": "甄嬛"})];
    assert_eq!(
        fields_with("a.txt", utf16("甄嬛\n", false), &named),
        expected
    );
}

/// 600 KB of ASCII lie before the first other character, so that no window at the
/// beginning of the file can tell; the lengths move the end of each window to
/// every place in a character.
#[test]
fn chinese_is_recognised_wherever_it_begins() {
    let ascii = "{\"a\": \"plain ASCII\"}\n".repeat(40_000);
    assert!(ascii.len() > 600_000);
    for shift in 0..4 {
        let long = "终南山下有一𠮷人家".repeat(20_000);
        let text = format!(
            "{ascii}{{\"a\": \"{}{long}\"}}\n{{\"a\": \"尾\"}}\n",
            "x".repeat(shift)
        );
        for bytes in [gb18030(&text), text.clone().into_bytes()] {
            let rows = fields("a.jsonl", bytes);
            assert_eq!(rows.len(), 40_002);
            let last = [&rows[0]["a"], &rows[40_000]["a"], &rows[40_001]["a"]];
            let expected = [
                "plain ASCII".to_owned(),
                "x".repeat(shift) + &long,
                "尾".to_owned(),
            ];
            assert!(
                last.iter()
                    .zip(&expected)
                    .all(|(found, wanted)| *found == wanted),
                "{shift}"
            );
        }
    }
}

#[test]
fn broken_bytes_cost_their_row_alone() {
    let row = |text: &str| format!("{{\"a\": \"{text}\"}}\n");
    let around = |broken: &[u8], encode: &dyn Fn(&str) -> Vec<u8>| {
        let (before, behind) = (row("甲") + "{\"a\": \"x", "\"}\n".to_owned() + &row("乙"));
        [&encode(&before)[..], broken, &encode(&behind)].concat()
    };
    let other = "holds bytes that are no character in the file's encoding";
    let cases = [
        (
            encoding_rs::UTF_8,
            around(b"\xfa\xfb", &|text| text.into()),
            "bytes fa fb 22 7d are no UTF-8",
        ),
        (GB18030, around(b"\xff", &gb18030), other),
        (
            UTF_16LE,
            around(b"\x00\xd8", &|text| utf16(text, false)),
            other,
        ),
    ];
    for (encoding, bytes, problem) in cases {
        let options = ReadOptions {
            encoding: Some(encoding),
            ..ReadOptions::default()
        };
        let (rows, errors) = outcome_with("a.jsonl", bytes, &options);
        assert_eq!(rows.len(), 2, "{errors:?}");
        assert_eq!(rows[1]["a"], "乙");
        let expected = format!("a.jsonl, row 2 (line 2): {problem}\nhint: ");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&expected),
            "{errors:?}"
        );
    }
    let (rows, errors) = outcome("a.csv", b"a,b\n1,\"x\n\xff\"\n2,y\n");
    assert_eq!((rows.len(), errors.len()), (1, 1));
    assert!(
        errors[0].starts_with("a.csv, row 1 (line 3): holds bytes"),
        "{errors:?}"
    );
}

#[test]
fn what_a_table_cannot_hold_is_refused() {
    let folder = Folder::new();
    let write = |name: &str, rows: &[Json]| -> Result<(), String> {
        let path = folder.path().join(name);
        let mut writer = RowWriter::create(&path, true).map_err(|error| error.to_string())?;
        for row in rows {
            writer
                .write(row.as_object().unwrap())
                .map_err(|error| error.to_string())?;
        }
        writer.finish().map_err(|error| error.to_string())
    };
    let refused = |name: &str, rows: &[Json]| write(name, rows).unwrap_err();
    assert!(refused("a.tsv", &[json!({"a": "x\ty"})]).contains("no place for a tab or line break"));
    assert!(refused("a.tsv", &[json!({"a\nb": "x"})]).contains("no place for a tab or line break"));
    assert!(refused("a.tsv", &[json!({"a": ""})]).contains("an empty cell that is alone"));
    assert!(refused("a.csv", &[json!({})]).contains("a row without columns"));
    let wider = [json!({"a": 1}), json!({"a": 1, "b": 2})];
    assert!(refused("a.csv", &wider).contains("column \"b\" is not in the first row"));
    assert!(refused("a.parquet", &[]).contains("its name does not end in .json"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing half written is left: {left:?}");
    write("a.csv", &[json!({"a": ""}), json!({"a": "x\t\n\""})]).unwrap();
    let path = folder.path().join("a.csv");
    let rows: Vec<Json> = read(&path, &ReadOptions::default())
        .into_iter()
        .map(|row| row.unwrap().fields["a"].clone())
        .collect();
    assert_eq!(rows, ["", "x\t\n\""]);
    let error = RowWriter::create(&path, false).unwrap_err().to_string();
    assert!(error.contains("is there already\nhint: "), "{error}");
}
