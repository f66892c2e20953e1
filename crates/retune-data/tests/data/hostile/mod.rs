//! Files that are empty, broken, cut off, endless or made to harm.

mod models;

use std::io::Write as _;
use std::path::PathBuf;

use retune_data::source::{Format, ReadOptions, Rows, find_files};
use retune_data::{DataOptions, Error, Samples};
use serde_json::json;

use crate::folder::{Folder, fields, outcome, parquet_file, read, refusal};

const TEXT_FORMATS: [&str; 5] = ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.txt"];

#[test]
fn a_file_without_rows_is_an_error() {
    for name in TEXT_FORMATS {
        for nothing in ["", "\u{feff}"] {
            assert_eq!(refusal(name, nothing), format!("{name} is empty"));
        }
        for nothing in [" ", "\r\n\r\n", "\u{feff}\n\n"] {
            let message = refusal(name, nothing);
            let known = ["is empty", "holds no rows", "holds nothing but white space"];
            let plain = known
                .iter()
                .any(|known| message == format!("{name} {known}"));
            assert!(plain, "{nothing:?}: {message}");
        }
    }
    assert_eq!(refusal("a.json", "[ ]"), "a.json holds an empty list");
    assert_eq!(refusal("a.csv", "question,answer\n"), "a.csv holds no rows");
    assert!(refusal("a.parquet", "").contains("is no Parquet file"));
    assert_eq!(
        refusal("a.parquet", parquet_file(&[])),
        "a.parquet holds no rows"
    );
    // Named by the line, it is an array all the same.
    assert_eq!(refusal("a.jsonl", "[]"), "a.jsonl holds an empty list");
}

#[test]
fn strange_characters_are_kept_or_named() {
    assert_eq!(
        fields("a.jsonl", "{\"a\": \"x\\u0000\\r\\n\"}\r\n"),
        [json!({"a": "x\0\r\n"})]
    );
    assert_eq!(fields("a.csv", "a\r\nx\0y\r\n"), [json!({"a": "x\0y"})]);
    assert_eq!(
        fields("a.txt", "x\0\u{7f}\u{fffe}\r\n"),
        [json!({"text": "x\0\u{7f}\u{fffe}"})]
    );
    for (row, problem) in [
        (r#"{"a": "\ud800"}"#, "unexpected end of hex escape"),
        (
            r#"{"a": "\ud800\ud800"}"#,
            "lone leading surrogate in hex escape",
        ),
        (r#"{"a": "\udc00"}"#, "lone leading surrogate in hex escape"),
        ("{\"a\": \"\0\"}", "control character"),
        ("\0", "expected value"),
        ("{\"a\": 1e999}", "number out of range"),
        (
            "{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}",
            "field `c` stands twice",
        ),
        ("{\"a\" 1}", "expected `:`"),
        ("{\"a\": 1,}", "trailing comma"),
        ("{\"a\": NaN}", "expected value"),
        ("\"a\"", "expected an object with fields, found text"),
    ] {
        let (rows, errors) = outcome("a.jsonl", format!("{{}}\n{row}\n{{}}\n"));
        assert_eq!((rows.len(), errors.len()), (2, 1), "{row}");
        assert!(
            errors[0].starts_with("a.jsonl, row 2 (line 2): "),
            "{}",
            errors[0]
        );
        assert!(errors[0].contains(problem), "{}", errors[0]);
    }
}

#[test]
fn commas_are_not_guessed() {
    for (text, rows, problem) in [
        (
            "[{} {}]",
            1,
            "line 1 (row 1): expected `,` or `]` behind the row",
        ),
        (
            "[{},\n{},\n]",
            2,
            "line 3 (row 2): a comma without a row behind it",
        ),
        ("[,{}]", 0, "expected a row"),
        ("[{},,{}]", 1, "expected a row"),
        (
            "[{}]\n{}",
            1,
            "line 2 (row 1): text behind the end of the list",
        ),
        ("[{}\n", 1, "the file ends without `]`: it may be cut off"),
        (
            "{}{\"a\": \"x",
            1,
            "the row that begins on line 1: it may be cut off",
        ),
        ("{}}", 1, "expected a row"),
    ] {
        let (found, errors) = outcome("a.json", text);
        assert_eq!((found.len(), errors.len()), (rows, 1), "{text}: {errors:?}");
        assert!(errors[0].contains(problem), "{text}: {}", errors[0]);
    }
    let (rows, errors) = outcome("a.json", "[{\"a\": 1}, {\"a\" 2}, 3, {\"a\": 4}]");
    assert_eq!((rows.len(), errors.len()), (2, 2));
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for (name, text) in [
        ("a.json", format!("[{deep},\n{{}}]")),
        ("a.json", format!("{deep}{{}}")),
        ("a.jsonl", format!("{deep}\n{{}}")),
    ] {
        let (rows, errors) = outcome(name, text);
        assert_eq!((rows.len(), errors.len()), (1, 1));
        assert!(
            errors[0].contains("is nested more than 128 deep"),
            "{}",
            errors[0]
        );
    }
    let folder = Folder::new();
    let row = json!({"messages": [{"role": "user", "content": "a"}], "tools": "[".repeat(10_000)});
    let path = folder.write("a.jsonl", row.to_string());
    let error = Samples::open(&[path], DataOptions::default())
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err();
    assert!(
        error.to_string().contains("is nested more than 128 deep"),
        "{error}"
    );
    for open in ["[", "{", "\"", "[{\"a\":"] {
        let (rows, errors) = outcome("a.json", open.repeat(10_000));
        assert!(rows.is_empty() && errors.len() <= 10_000);
    }
}

/// A row of 65 MiB between two others.
fn long_row(folder: &Folder, name: &str, before: &str, filling: &str, behind: &str) -> PathBuf {
    let path = folder.path().join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    let filling = filling.repeat((1 << 20) / filling.len());
    file.write_all(before.as_bytes()).unwrap();
    for _ in 0..65 {
        file.write_all(filling.as_bytes()).unwrap();
    }
    file.write_all(behind.as_bytes()).unwrap();
    path
}

#[test]
fn a_row_without_end_costs_itself_alone() {
    let folder = Folder::new();
    for (name, before, behind) in [
        ("a.json", "[{\"a\": 1}, {\"a\": \"", "\"}, {\"a\": 3}]"),
        ("a.jsonl", "{\"a\": 1}\n{\"a\": \"", "\"}\n{\"a\": 3}\n"),
        ("a.txt", "one\n", "\nthree\n"),
    ] {
        let path = long_row(&folder, name, before, "xyz甲", behind);
        let rows = read(&path, &ReadOptions::default());
        let [Ok(_), Err(Error::Row(error)), Ok(last)] = &rows[..] else {
            panic!("{name}: {} rows", rows.len());
        };
        assert_eq!(
            (error.problem.as_str(), last.place.row),
            ("is longer than 64 MiB", 3)
        );
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_table_without_end_is_an_error() {
    let folder = Folder::new();
    let message = |before: &str, filling: &str| {
        let path = long_row(&folder, "a.csv", before, filling, "");
        read(&path, &ReadOptions::default())
            .pop()
            .unwrap()
            .unwrap_err()
            .to_string()
    };
    let endless = message("a,b\n1,2\n3,\"", "x\n");
    assert!(
        endless.contains("beyond row 1: a row is longer than 64 MiB; is a quote"),
        "{endless}"
    );
    // Memory is taken by cells as well as by their bytes.
    assert!(message("a\n", ",").contains("a row is longer than 64 MiB"));
    let names: Vec<String> = (0..200_000).map(|index| format!("c{index}")).collect();
    let wide = refusal("a.csv", names.join(",") + "\n");
    assert!(
        wide.contains("has 200000 columns in its first line, more than 10000"),
        "{wide}"
    );
}

#[test]
fn an_open_quote_is_named() {
    let (rows, errors) = outcome("a.csv", "a,b\n1,\"2\"\"\n\"\n3,\"4\n5,6\n7,8\n");
    assert_eq!((rows.len(), errors.len()), (1, 1));
    let expected =
        "a.csv cannot be read beyond row 1: the quote that is opened on line 4 is never closed";
    assert_eq!(errors[0], expected);
    // In the middle of a cell a quote is text, as is one in a table of tabs.
    assert_eq!(
        fields("a.csv", "a,b\n5\",6\n"),
        [json!({"a": "5\"", "b": "6"})]
    );
    assert_eq!(
        fields("a.tsv", "a\tb\n\"5\t6\n"),
        [json!({"a": "\"5", "b": "6"})]
    );
}

/// Every beginning of a file of each format: what is read is the beginning of its
/// rows, the last one perhaps cut, and what cannot end there is an error.
#[test]
fn files_may_be_cut_anywhere() {
    let rows = "{\"a\": \"甲\\n\", \"b\": [1, null]}";
    let files = [
        ("a.json", format!("[\n{rows},\n{rows}\n]").into_bytes()),
        ("a.json", format!("{rows}\n{rows}").into_bytes()),
        ("a.jsonl", format!("{rows}\n{rows}\n").into_bytes()),
        ("a.csv", "a,b\n甲,\"x\ny\"\n乙,z\n".as_bytes().to_vec()),
        ("a.tsv", "a\tb\n甲\tx\n乙\tz\n".as_bytes().to_vec()),
        ("a.txt", "甲\n\n乙\n".as_bytes().to_vec()),
        (
            "a.parquet",
            parquet_file(&[("甲", &[("gpt", "x")]), ("乙", &[])]),
        ),
    ];
    for (name, bytes) in &files {
        let (whole, none) = outcome(name, bytes);
        assert!(none.is_empty() && whole.len() == 2, "{name}: {none:?}");
        for length in 0..bytes.len() {
            let (rows, errors) = outcome(name, &bytes[..length]);
            let sure = rows.len().saturating_sub(1);
            assert_eq!(rows[..sure], whole[..sure], "{name} {length}");
            assert!(rows.len() <= 2 && errors.len() <= 2, "{name} {length}");
            let ends_early = name.ends_with("parquet") || bytes.starts_with(b"[");
            assert!(!ends_early || !errors.is_empty(), "{name} {length}");
            assert!(!rows.is_empty() || !errors.is_empty(), "{name} {length}");
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn damaged_compression_is_an_error() {
    let text: String = (0..200)
        .map(|index| format!("{{\"a\": {}}}\n", index * 7919 % 1000))
        .collect();
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    let (whole, _) = outcome("a.jsonl", &text);
    for bytes in [gzip(text.as_bytes()), encoder.finish().unwrap()] {
        assert_eq!(outcome("a.jsonl", &bytes).0, whole);
        for length in 5..bytes.len() {
            let (rows, errors) = outcome("a.jsonl", &bytes[..length]);
            assert!(!errors.is_empty(), "{length}");
            assert!(whole.starts_with(&rows), "{length}");
        }
        // A gzip's header has parts that nothing checks.
        for at in 10..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let (rows, errors) = outcome("a.jsonl", &damaged);
            // A few bits have no meaning; the checksum holds the rest.
            assert!(!errors.is_empty() || rows == whole, "{at}");
        }
    }
}

#[test]
fn damaged_parquet_never_panics() {
    let long = "x".repeat(300);
    let bytes = parquet_file(&[
        ("甲", &[("human", &long), ("gpt", "y")]),
        ("乙", &[]),
        ("丙", &[("gpt", "z")]),
    ]);
    let mut errors = 0;
    for at in 0..bytes.len() {
        for mask in [1 << (at % 8), 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let (rows, problems) = outcome("a.parquet", damaged);
            assert!(
                rows.len() <= 3 && problems.len() <= 1,
                "{at}: {} rows",
                rows.len()
            );
            errors += problems.len();
        }
    }
    assert!(errors > bytes.len() / 2, "{errors} of {}", 2 * bytes.len());
}

#[test]
fn a_bomb_is_a_row_that_is_too_long() {
    let ten_megabytes = gzip(&vec![b'x'; 10_000_000]);
    let mut bomb = gzip(b"{\"a\": 1}\n{\"a\": \"");
    for _ in 0..30 {
        bomb.extend_from_slice(&ten_megabytes);
    }
    bomb.extend_from_slice(&gzip(b"\"}\n{\"a\": 3}\n"));
    assert!(bomb.len() < 400_000, "{}", bomb.len());
    let (rows, errors) = outcome("a.jsonl.gz", &bomb);
    assert_eq!(
        (rows.len(), &errors[..]),
        (
            2,
            &["a.jsonl.gz, row 2 (line 2): is longer than 64 MiB".to_owned()][..]
        )
    );
    assert!(refusal("a.csv.gz", &bomb).contains("a row is longer than 64 MiB"));
}

#[cfg(unix)]
#[test]
fn links_that_go_round_end() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    folder.write("data/a.json", "[{}]");
    let data = folder.path().join("data");
    symlink(&data, data.join("again")).unwrap();
    symlink(&data, data.join("and_again")).unwrap();
    let error = find_files(&[data]).unwrap_err().to_string();
    assert!(
        error.contains("lies too deep: is a link going round?"),
        "{error}"
    );

    let folder = Folder::new();
    symlink(folder.path().join("gone"), folder.path().join("a.json")).unwrap();
    let found = find_files(&[folder.path().to_path_buf()]).unwrap();
    let error = Rows::open(&found[0], &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.json cannot be opened"), "{error}");
}

#[test]
fn a_folder_is_no_file_whatever_its_name() {
    let folder = Folder::new();
    folder.write("rows.json/a.csv", "a\n1\n");
    let path = folder.path().join("rows.json");
    assert_eq!(
        find_files(std::slice::from_ref(&path)).unwrap(),
        [path.join("a.csv")]
    );
    for (_, format) in Format::NAMES {
        let options = ReadOptions {
            format: Some(format),
            ..ReadOptions::default()
        };
        let error = Rows::open(&path, &options).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }
}
