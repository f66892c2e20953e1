//! Adapters that are loaded, replaced and unloaded while answers are being written.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::server::{Server, read};
use super::{CHAT, asked};
use crate::program::{Folder, lines, row};

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";
const ADMIN: &[&str] = &["--adapter-folder", "adapters", "--admin-key", "admin"];

/// A folder with two adapters of the built-in base that answer differently.
pub(super) fn trained() -> Folder {
    let folder = Folder::new();
    let train = |name: &str, answer: &str| {
        let rows: Vec<Value> = (0..16)
            .map(|at| row(&format!("你好{at}"), answer))
            .collect();
        folder.write("rows.jsonl", &lines(&rows));
        let output = format!("adapters/{name}");
        folder.stdout(&[
            "train",
            "--model",
            "builtin",
            "--data",
            "rows.jsonl",
            "--output_dir",
            &output,
            "--finetuning_type",
            "lora",
            "--learning_rate",
            "1e-2",
            "--max_steps",
            "20",
            "--validation_split",
            "0",
        ]);
    };
    train("one", "臣妾记下了。");
    train("two", "末将领命。");
    folder
}

fn change(server: &Server, path: &str, body: &Value, key: Option<&str>) -> (u16, Value) {
    let mut request = server.agent.post(format!("{}{path}", server.url));
    if let Some(key) = key {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    read(request.send_json(body).expect("a response"))
}

fn answer(server: &Server, model: &str) -> Value {
    let (status, body) = server.ask(CHAT, &asked("你好1", json!({"model": model})));
    assert_eq!(status, 200, "{body}");
    body["choices"][0]["message"]["content"].clone()
}

#[test]
fn adapters_come_and_go_while_others_are_answered() {
    let server = Server::start_in(trained(), ADMIN);
    let load = |name: &str, path: &str| {
        let body = json!({"lora_name": name, "lora_path": path});
        let (status, body) = change(&server, LOAD, &body, Some("admin"));
        assert_eq!(status, 200, "{body}");
        body["status"].clone()
    };
    let base = answer(&server, "builtin");
    assert_eq!(load("lady", "one"), "loaded");
    let one = answer(&server, "lady");
    assert_eq!(load("lady", "two"), "replaced");
    let two = answer(&server, "lady");
    assert!(
        base != one && one != two && base != two,
        "{base} {one} {two}"
    );
    let (changed, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let ask = || {
            while !changed.load(Ordering::Relaxed) {
                assert_eq!(answer(&server, "builtin"), base);
                // Whichever has the name when the request comes.
                let found = answer(&server, "lady");
                assert!(found == one || found == two, "{found}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let traffic: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        // None of them ends by itself but by a failure.
        let goes_on = || traffic.iter().all(|thread| !thread.is_finished());
        // In any case some are answered between two changes.
        let mut turns = 0;
        while goes_on() && (turns < 8 || answered.load(Ordering::Relaxed) < 40) {
            let path = ["one", "two"][turns % 2];
            assert_eq!(load("lady", path), "replaced");
            assert_eq!(load("other", path), "loaded");
            let unload = json!({"lora_name": "other"});
            assert_eq!(change(&server, UNLOAD, &unload, Some("admin")).0, 200);
            turns += 1;
        }
        changed.store(true, Ordering::Relaxed);
    });
    let (_, models) = read(server.get("/v1/models"));
    let models = models["data"].as_array().expect("models");
    let names: Vec<&Value> = models.iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["builtin", "lady"]);
    let (status, _) = server.ask(CHAT, &asked("你好", json!({"model": "other"})));
    assert_eq!(status, 404);
}

#[test]
fn no_two_models_have_one_name() {
    let folder = trained();
    let refused = |options: &[&str]| {
        let serve = [&["serve", "builtin"], options].concat();
        folder.refusal(&serve)
    };
    let one = ["--adapter", "one=adapters/one"];
    for options in [
        &["--adapter", "builtin=adapters/one"][..],
        &[one, one].concat(),
    ] {
        let said = refused(options);
        assert!(said.contains("is the name of something else"), "{said}");
    }
}

#[test]
fn only_who_has_the_key_loads_and_only_from_the_folder() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("adapters/empty")).expect("a folder");
    std::fs::create_dir_all(folder.path("outside")).expect("a folder");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path("outside"), folder.path("adapters/link"))
        .expect("a link");
    let outside = folder.path("outside");
    let server = Server::start_in(folder, ADMIN);
    let body = json!({"lora_name": "lady", "lora_path": "empty"});
    for key in [None, Some("admi"), Some("admin2")] {
        for path in [LOAD, UNLOAD] {
            let (status, error) = change(&server, path, &body, key);
            assert_eq!(status, 401, "{error}");
        }
    }
    let absolute = outside.to_str().expect("a path");
    for path in [
        "../outside",
        "empty/../../outside",
        absolute,
        "%2e%2e/outside",
        "link",
        "",
        ".",
        "empty\0",
        "nothing",
        "empty",
    ] {
        let body = json!({"lora_name": "lady", "lora_path": path});
        let (status, error) = change(&server, LOAD, &body, Some("admin"));
        assert_eq!(status, 400, "{path:?}: {error}");
        assert_eq!(error["error"]["param"], "lora_path", "{path:?}: {error}");
    }
    for name in ["", "../x", "a b", "a/b", &"x".repeat(200)] {
        let body = json!({"lora_name": name, "lora_path": "empty"});
        let (status, error) = change(&server, LOAD, &body, Some("admin"));
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!("lora_name")),
            "{error}"
        );
    }
    for (name, expected) in [("builtin", 400), ("nobody", 404)] {
        let (status, error) = change(&server, UNLOAD, &json!({"lora_name": name}), Some("admin"));
        assert_eq!(status, expected, "{error}");
    }
    let bare = Server::start(&[]);
    assert_eq!(change(&bare, LOAD, &body, None).0, 403);
    let keyed = Server::start(&["--api-key", "secret"]);
    assert_eq!(change(&keyed, LOAD, &body, None).0, 401);
}
