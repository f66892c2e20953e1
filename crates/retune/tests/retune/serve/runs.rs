//! Trainings that the page shows.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::server::{Server, read};
use crate::program::Folder;

fn start(step: u64, time: f64) -> Value {
    json!({"type": "start", "step": step, "max_steps": 40, "time": time})
}

fn train(step: u64, loss: f64) -> Value {
    json!({"type": "train", "step": step, "loss": loss, "tokens_per_s": 12.5})
}

fn eval(step: u64, loss: f64) -> Value {
    json!({"type": "eval", "step": step, "eval_loss": loss})
}

fn finish(step: u64) -> Value {
    json!({"type": "finish", "step": step, "reason": "completed", "time": 9.5})
}

/// Appends `text` to the log of the run in `name`.
fn append(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.path(name).join("metrics.jsonl");
    std::fs::create_dir_all(folder.path(name)).expect("a folder");
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let mut file = file.expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    path
}

fn add(folder: &Folder, name: &str, events: &[Value]) -> PathBuf {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    append(folder, name, &lines)
}

fn age(path: &PathBuf, seconds: u64) {
    let file = OpenOptions::new().append(true).open(path).expect("a file");
    let then = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(then).expect("a time");
}

fn listing(server: &Server) -> Value {
    let (status, listing) = read(server.get("/runs"));
    assert_eq!(status, 200, "{listing}");
    listing
}

fn metrics(server: &Server, id: &str, after: &Value) -> Value {
    let (status, piece) = read(server.get(&format!("/runs/{id}/metrics?after={after}")));
    assert_eq!(status, 200, "{piece}");
    piece
}

#[test]
fn runs_are_listed_the_one_that_changed_last_first() {
    let folder = Folder::new();
    let first = [start(0, 5.5), eval(0, 5.0), train(10, 4.0)];
    let path = add(&folder, "output/done", &first);
    add(&folder, "output/done", &[eval(10, 4.5), finish(40)]);
    age(&path, 500);
    let path = add(&folder, "output/left", &[start(0, 6.0), train(10, 3.0)]);
    age(&path, 300);
    // A run that went on after it had ended, from an earlier step.
    let path = add(&folder, "output/going on", &[start(0, 7.0), finish(20)]);
    add(&folder, "output/going on", &[start(10, 8.0)]);
    append(
        &folder,
        "output/going on",
        "{\"type\":\"train\",\"step\":11,\"loss\":n",
    );
    age(&path, 60);
    std::fs::create_dir_all(folder.path("output/no run")).expect("a folder");
    folder.write("output/text.txt", "no run");
    let server = Server::start_in(folder, &[]);
    let mut found = listing(&server);
    assert_eq!(found["folder"], "output");
    let mut last = f64::INFINITY;
    for run in found["runs"].as_array_mut().expect("runs") {
        let changed = run["changed"].take().as_f64().expect("a time");
        assert!(changed < last);
        last = changed;
    }
    let expected = json!([
        {"id": "going on", "state": "running", "started": 7.0, "changed": null, "step": 10, "max_steps": 40, "loss": null, "eval_loss": null},
        {"id": "left", "state": "stopped", "started": 6.0, "changed": null, "step": 10, "max_steps": 40, "loss": 3.0, "eval_loss": null},
        {"id": "done", "state": "finished", "started": 5.5, "changed": null, "step": 40, "max_steps": 40, "loss": 4.0, "eval_loss": 4.5},
    ]);
    assert_eq!(found["runs"], expected);
    assert_eq!(
        metrics(&server, "going%20on", &json!(0))["state"],
        "running"
    );
    assert_eq!(metrics(&server, "done", &json!(0))["state"], "finished");
}

#[test]
fn the_folder_may_be_a_run_itself_or_missing() {
    let folder = Folder::new();
    add(&folder, "one", &[start(0, 5.5), finish(40)]);
    add(&folder, "one/one", &[start(0, 5.5)]);
    let server = Server::start_in(folder, &["--runs", "one"]);
    let found = listing(&server);
    let mut ids: Vec<&str> = found["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| run["id"].as_str().expect("a name"))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["./one", "one"]);
    assert_eq!(metrics(&server, ".%2Fone", &json!(0))["state"], "finished");
    assert_eq!(metrics(&server, "one", &json!(0))["state"], "running");
    std::fs::remove_dir_all(server.folder.path("one")).expect("gone");
    assert_eq!(listing(&server)["runs"], json!([]));
    let (status, body) = read(server.get("/runs/one/metrics"));
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("run_not_found"))
    );
}

#[test]
fn a_log_is_read_as_it_grows_and_anew_when_it_was_cut() {
    let folder = Folder::new();
    add(&folder, "output/a", &[start(0, 5.5)]);
    append(
        &folder,
        "output/a",
        "no JSON\n[1]\n\n{\"type\":\"new\",\"loss\":null}\n{\"type\":",
    );
    let server = Server::start_in(folder, &[]);
    let piece = metrics(&server, "a", &json!(0));
    let expected = json!([start(0, 5.5), {"type": "new", "loss": null}]);
    assert_eq!(piece["events"], expected);
    let quiet = json!([false, false, "running"]);
    let rest = |piece: &Value| json!([piece["more"], piece["from_start"], piece["state"]]);
    assert_eq!(rest(&piece), quiet);
    // Nothing new: half a line is none.
    let again = metrics(&server, "a", &piece["next"]);
    assert_eq!(again["events"], json!([]));
    assert_eq!(again["next"], piece["next"]);
    append(&server.folder, "output/a", "\"late\"}\n");
    add(&server.folder, "output/a", &[train(1, 2.5)]);
    let grown = metrics(&server, "a", &piece["next"]);
    assert_eq!(grown["events"], json!([{"type": "late"}, train(1, 2.5)]));
    assert_eq!(rest(&grown), quiet);
    // Cut, as a run that goes on does, and grown beyond where it was.
    let log = server.folder.path("output/a/metrics.jsonl");
    let anew = [
        start(0, 5.5),
        train(7, 0.125),
        train(8, 0.25),
        train(9, 0.5),
    ];
    File::create(&log).expect("a file");
    add(&server.folder, "output/a", &anew[..1]);
    let cut = metrics(&server, "a", &grown["next"]);
    assert_eq!(cut["events"], json!(anew[..1]));
    assert_eq!(rest(&cut), json!([false, true, "running"]));
    add(&server.folder, "output/a", &anew[1..]);
    let longer = metrics(&server, "a", &grown["next"]);
    assert_eq!(longer["events"], json!(anew));
    assert_eq!(longer["from_start"], true);
    for after in ["-1", "x", "1e3", "99999999999999999999"] {
        let (status, body) = read(server.get(&format!("/runs/a/metrics?after={after}")));
        assert_eq!((status, &body["error"]["param"]), (400, &json!("after")));
    }
    let far = metrics(&server, "a", &json!(u64::MAX));
    assert_eq!(far["events"], json!(anew));
}

#[test]
fn a_long_log_comes_in_pieces_of_whole_lines_and_its_ends_tell_how_it_goes() {
    let folder = Folder::new();
    let mut events = vec![start(0, 5.5), eval(0, 6.0)];
    events.extend((1..=20_000).map(|step| train(step, 0.5)));
    let long = json!({"type": "sample", "answer": "长".repeat(600_000)});
    events.insert(9_000, long);
    events.push(eval(20_000, 1.5));
    events.extend((20_001..=22_000).map(|step| train(step, 0.25)));
    let path = add(&folder, "output/long", &events);
    assert!(std::fs::metadata(path).expect("the file").len() > 3_000_000);
    let server = Server::start_in(folder, &[]);
    let run = &listing(&server)["runs"][0];
    let told = |name: &str| run[name].clone();
    assert_eq!(
        ["started", "step", "max_steps", "loss", "eval_loss"].map(told),
        [
            json!(5.5),
            json!(22_000),
            json!(40),
            json!(0.25),
            json!(1.5)
        ]
    );
    let mut found = Vec::new();
    let (mut after, mut pieces) = (json!(0), 0);
    loop {
        let piece = metrics(&server, "long", &after);
        found.extend(piece["events"].as_array().expect("events").clone());
        after = piece["next"].clone();
        pieces += 1;
        if piece["more"] == false {
            break;
        }
    }
    assert!(
        found == events,
        "{} of {} events",
        found.len(),
        events.len()
    );
    assert!((3..7).contains(&pieces), "{pieces}");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let folder = Folder::new();
    add(&folder, "output/a", &[start(0, 5.5)]);
    add(&folder, "secret", &[start(0, 5.5)]);
    append(&folder, "", "{\"type\":\"start\"}\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let to = |name: &str| folder.path(name);
        symlink(to("secret"), to("output/link")).expect("a link");
        std::fs::create_dir(to("output/b")).expect("a folder");
        symlink(to("secret/metrics.jsonl"), to("output/b/metrics.jsonl")).expect("a link");
        symlink(to("output/c"), to("output/c")).expect("a link");
        // Whoever opened this would wait for ever.
        std::fs::create_dir(to("output/pipe")).expect("a folder");
        let pipe = std::process::Command::new("mkfifo")
            .arg(to("output/pipe/metrics.jsonl"))
            .status();
        assert!(pipe.expect("mkfifo runs").success());
        // A link that stays inside is as good as a folder.
        symlink(to("output/a"), to("output/inside")).expect("a link");
    }
    let server = Server::start_in(folder, &[]);
    let found = listing(&server);
    let ids: Vec<&Value> = found["runs"].as_array().expect("runs").iter().collect();
    let expected: &[&str] = if cfg!(unix) { &["a", "inside"] } else { &["a"] };
    assert_eq!(
        ids.iter().map(|run| &run["id"]).collect::<Vec<_>>(),
        expected
    );
    let absolute = server.folder.path("secret").display().to_string();
    let absolute = absolute.replace('/', "%2f");
    for id in [
        "..",
        "%2e%2e",
        ".",
        "%2e",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "a%2f..%2f..%2fsecret",
        "a%2f..",
        "a%00",
        "%00",
        "%ff",
        "a%2f",
        "..%5csecret",
        "link",
        "b",
        "c",
        "pipe",
        "A",
        &absolute,
    ] {
        let (status, body) = read(server.get(&format!("/runs/{id}/metrics")));
        assert_eq!(status, 404, "{id}: {body}");
        assert_eq!(body["error"]["code"], "run_not_found", "{id}: {body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    for path in [
        "/runs//metrics",
        "/runs/../secret/metrics",
        "/runs/a",
        "/runs/",
    ] {
        assert_eq!(server.get(path).status(), 404, "{path}");
    }
    assert_eq!(
        metrics(&server, "a", &json!(0))["events"],
        json!([start(0, 5.5)])
    );
}
