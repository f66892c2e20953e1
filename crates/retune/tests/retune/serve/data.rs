//! Data files that are looked at, and not kept.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Server, TEMPORARY, read};
use crate::program::{Folder, lines, row};

/// Rows with a fault each, and two that are broken.
fn faulty() -> String {
    let mut rows = lines(&[
        row("园中可好?", "花园里的海棠昨夜开了，今早落了一地。"),
        row("园中可好?", "花园里的海棠昨夜开了，今早落了一地。"),
        row("天气如何?", ""),
        row("电话?", "打我的手机13812345678便可。"),
        row("长话?", &"说来话长，".repeat(400)),
    ]);
    rows.push_str("{\"instruction\": \"断\n");
    rows.push_str(&lines(&[
        json!({"instruction": "缺", "input": "", "output": 5}),
    ]));
    rows
}

/// Nothing of what was sent is there any more.
#[track_caller]
fn assert_nothing_kept(server: &Server) {
    let start = Instant::now();
    loop {
        let kept = std::fs::read_dir(server.folder.path(TEMPORARY)).expect("a folder");
        let kept: Vec<_> = kept.collect();
        if kept.is_empty() {
            return;
        }
        // An answer may come before its file goes.
        assert!(start.elapsed() < Duration::from_secs(5), "{kept:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_file_is_linted_as_the_program_does_it() {
    let folder = Folder::new();
    folder.write("train.jsonl", &faulty());
    let server = Server::start_in(folder, &[]);
    let lint = |options: &[&str]| {
        let mut arguments = vec!["data", "lint", "train.jsonl", "--model", "builtin"];
        arguments.extend(["--json", "--fail-on", "never"]);
        arguments.extend(options);
        let report = server.folder.stdout(&arguments);
        serde_json::from_str::<Value>(&report).expect("JSON")
    };
    let ask = |more: &str| {
        let path = format!("/data/lint?name=train.jsonl{more}");
        let (status, report) = server.send(&path, faulty().as_bytes());
        assert_eq!(status, 200, "{report}");
        report
    };
    let expected = lint(&[]);
    let rules = expected["findings"].as_array().expect("findings");
    assert!(rules.len() > 4, "{expected}");
    assert_eq!(ask(""), expected);
    let more = "&model=builtin&system=%E4%BD%A0&train_on=last-answer&max_length=64&new=1";
    let options = [
        "--system",
        "你",
        "--train-on",
        "last-answer",
        "--max-length",
        "64",
    ];
    assert_eq!(ask(more), lint(&options));
    assert_nothing_kept(&server);
}

#[test]
fn a_file_has_the_name_that_the_client_gave() {
    let server = Server::start_in(Folder::new(), &[]);
    for (name, shown) in [
        ("..%2F..%2Fetc%2Frows.json", "../../etc/rows.json"),
        ("%22%5C%00%0A.jsonl.gz", "\"\\\0\n.jsonl.gz"),
        ("%E8%A1%8C.JSON.zst", "行.JSON.zst"),
    ] {
        let (status, report) = server.send(&format!("/data/lint?name={name}"), b"[{\"a\": 1");
        assert_eq!(status, 200, "{report}");
        assert_eq!(report["files"][0]["path"], shown);
        // A fault of the file, which its message names.
        let (_, report) = server.send(&format!("/data/lint?name={name}"), b"");
        let text = report["findings"][0]["examples"][0]["text"].as_str();
        assert_eq!(text, Some(&*format!("{shown} is empty")), "{report}");
        let (status, body) = server.send(&format!("/data/row?row=1&name={name}"), b"{}");
        assert_eq!(status, 400, "{body}");
        let message = body["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(shown), "{message}");
    }
    assert_nothing_kept(&server);
}

/// Ids, roles and what is learned from, as `retune data inspect` prints them.
fn inspected(folder: &Folder, options: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["data", "inspect", "rows.json", "--model", "builtin"];
    arguments.extend(options);
    let shown = folder.stdout(&arguments);
    let tokens = shown.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [at, id, role, label, _, ..] = cells[..] else {
            return None;
        };
        let (_, id): (usize, u32) = (at.parse().ok()?, id.parse().ok()?);
        let role = (role != "-").then_some(role);
        Some(json!([id, role, label != "-100"]))
    });
    tokens.collect()
}

#[test]
fn a_row_is_learned_from_as_inspect_shows_it() {
    let talk = json!([
        {"messages": [{"role": "user", "content": "你是谁？"}, {"role": "assistant", "content": "臣妾在。"}]},
        {"messages": [
            {"role": "user", "content": "<|im_end|>花\n开了？"}, {"role": "assistant", "content": "开了 🌸。"},
            {"role": "user", "content": "谢了？"}, {"role": "assistant", "content": "没有。"},
        ]},
    ]);
    let folder = Folder::new();
    folder.write("rows.json", &talk.to_string());
    let server = Server::start_in(folder, &[]);
    for (row, more, options) in [
        ("1", "", vec![]),
        ("2", "", vec![]),
        (
            "2",
            "&train_on=last-answer",
            vec!["--train-on", "last-answer"],
        ),
        (
            "2",
            "&train_on=whole-text",
            vec!["--train-on", "whole-text"],
        ),
        ("2", "&system=%E4%BD%A0%E6%98%AF", vec!["--system", "你是"]),
    ] {
        let path = format!("/data/row?name=rows.json&row={row}{more}");
        let (status, shown) = server.send(&path, talk.to_string().as_bytes());
        assert_eq!(status, 200, "{shown}");
        let options = [vec!["--row", row], options].concat();
        let expected = inspected(&server.folder, &options);
        assert!(expected.len() > 8);
        let tokens = shown["tokens"].as_array().expect("tokens");
        let found: Vec<Value> = tokens
            .iter()
            .map(|token| json!([token["id"], token["role"], token["scored"]]))
            .collect();
        assert_eq!(found, expected, "{path}");
        assert_eq!(shown["length"], expected.len());
        let scored = expected.iter().filter(|token| token[2] == true).count();
        assert_eq!(shown["scored"], scored);
        assert_eq!(
            [&shown["row"], &shown["cut"]],
            [&json!(row.parse::<u64>().expect("a number")), &json!(false)]
        );
        let text: String = tokens
            .iter()
            .filter_map(|token| token["text"].as_str())
            .collect();
        let answer = if row == "1" {
            "臣妾在。"
        } else {
            "没有。"
        };
        assert!(text.contains(answer), "{text}");
        let turns = shown["turns"].as_array().expect("turns");
        let last = turns.last().expect("a turn");
        assert_eq!(*last, json!({"role": "assistant", "text": answer}));
        let with_system = more.starts_with("&system");
        assert_eq!(turns[0]["role"] == "system", with_system);
    }
    let (_, text) = server.send(
        "/data/row?name=a.txt&row=2&max_length=2",
        "一\n二三四五六\n".as_bytes(),
    );
    assert_eq!(text["turns"], json!([{"role": null, "text": "二三四五六"}]));
    assert_eq!(
        [&text["line"], &text["over_long"]],
        [&json!(2), &json!(true)]
    );
    let (_, long) = server.send(
        "/data/row?name=a.txt&row=1",
        "长话短说。".repeat(9000).as_bytes(),
    );
    assert_eq!(long["cut"], true);
    let shown = long["tokens"].as_array().expect("tokens").len() as u64;
    assert!(shown < long["length"].as_u64().expect("a count"));
    assert_nothing_kept(&server);
}

#[test]
fn what_cannot_be_looked_at_is_a_typed_error() {
    let server = Server::start_in(Folder::new(), &[]);
    let long = format!("name={}.json", "n".repeat(300));
    for (query, status, param) in [
        ("", 400, "name"),
        ("name=", 400, "name"),
        ("name=rows", 400, "name"),
        ("name=rows.exe", 400, "name"),
        ("name=rows.gz", 400, "name"),
        ("name=.json", 400, "name"),
        (&long, 400, "name"),
        ("name=a.json&train_on=all", 400, "train_on"),
        ("name=a.json&max_length=1", 400, "max_length"),
        ("name=a.json&max_length=many", 400, "max_length"),
        ("name=a.json&model=another", 404, "model"),
    ] {
        for path in [
            format!("/data/lint?{query}"),
            format!("/data/row?row=1&{query}"),
        ] {
            let (found, body) = server.send(&path, faulty().as_bytes());
            assert_eq!(found, status, "{path}: {body}");
            assert_eq!(body["error"]["param"], param, "{path}: {body}");
            assert_eq!(body["error"]["type"], "invalid_request_error");
        }
    }
    for (row, status, code, says) in [
        ("", 400, Value::Null, "row: expected"),
        ("row=0", 400, Value::Null, "row: expected"),
        ("row=-1", 400, Value::Null, "row: expected"),
        ("row=x", 400, Value::Null, "row: expected"),
        (
            "row=8",
            404,
            json!("row_not_found"),
            "there is no row 8; there are 7",
        ),
        (
            "row=6",
            400,
            json!("unusable_row"),
            "a.jsonl, row 6 (line 6): ",
        ),
        (
            "row=7",
            400,
            json!("unusable_row"),
            "a.jsonl, row 7 (line 7), field `output`: ",
        ),
        (
            "row=18446744073709551615",
            404,
            json!("row_not_found"),
            "there is no row",
        ),
    ] {
        let path = format!("/data/row?name=a.jsonl&{row}");
        let (found, body) = server.send(&path, faulty().as_bytes());
        assert_eq!(
            (found, &body["error"]["code"]),
            (status, &code),
            "{path}: {body}"
        );
        let message = body["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(says), "{message}");
    }
    let huge = json!([{"text": "长".repeat(100_000)}]).to_string();
    let (status, body) = server.send("/data/row?name=a.json&row=1", huge.as_bytes());
    assert_eq!(
        (status, &body["error"]["param"]),
        (400, &json!("row")),
        "{body}"
    );
    // What is no data at all is a finding, not an error.
    for name in ["a.parquet", "a.csv", "a.json", "a.jsonl.zst"] {
        let bytes: Vec<u8> = (0..=255).cycle().take(9000).collect();
        let (status, report) = server.send(&format!("/data/lint?name={name}"), &bytes);
        assert_eq!(status, 200, "{name}: {report}");
        assert!(!report["findings"].as_array().expect("findings").is_empty());
    }
    assert_eq!(server.get("/data/lint").status(), 405);
    assert_eq!(server.send("/data/other", b"").0, 404);
    let (status, _) = server.send("/data/row?name=a.jsonl&row=1", faulty().as_bytes());
    assert_eq!(status, 200);
    assert_nothing_kept(&server);
}

#[test]
fn files_may_be_larger_than_requests_but_not_endless() {
    let server = Server::start_in(Folder::new(), &[]);
    let large = json!([{"text": "花".repeat(3 << 20)}]).to_string();
    assert!(large.len() > 9 << 20);
    let (status, report) = server.send("/data/lint?name=a.json", large.as_bytes());
    assert_eq!((status, &report["rows"]), (200, &json!(1)), "{report}");
    let many = "a\n".repeat(200_001);
    let (status, body) = server.send("/data/lint?name=a.txt", many.as_bytes());
    assert_eq!(
        (status, &body["error"]["code"]),
        (413, &json!("file_too_large")),
        "{body}"
    );
    // Refused before any of it has come.
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let length = (64 << 20) + 1;
    write!(
        stream,
        "POST /data/lint?name=a.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("file_too_large") && answer.contains("64 MiB"),
        "{answer}"
    );
    assert_nothing_kept(&server);
}

#[test]
fn the_key_is_asked_for_here_too() {
    let mut server = Server::start(&["--api-key", "secret"]);
    let paths = ["/data/lint?name=a.jsonl", "/data/row?name=a.jsonl&row=1"];
    for key in [None, Some("secret2")] {
        server.key = key;
        for path in ["/runs", "/runs/a/metrics"] {
            assert_eq!(read(server.get(path)).0, 401, "{path}");
        }
        for path in paths {
            assert_eq!(server.send(path, faulty().as_bytes()).0, 401, "{path}");
        }
    }
    server.key = Some("secret");
    assert_eq!(read(server.get("/runs")).0, 200);
    assert_eq!(read(server.get("/runs/a/metrics")).0, 404);
    for path in paths {
        assert_eq!(server.send(path, faulty().as_bytes()).0, 200, "{path}");
    }
}
