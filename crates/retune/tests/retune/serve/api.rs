//! OpenAI's requests, and the page.

use std::io::Read as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Server, read};
use super::{CHAT, asked};
use crate::program::Folder;

#[test]
fn chat_is_answered_whole_and_as_a_stream_in_openais_shapes() {
    let server = Server::start(&[]);
    let (status, whole) = server.ask(CHAT, &asked("你是谁？", json!({})));
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], "builtin");
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().expect("a text");
    let usage = &whole["usage"];
    let count = |name: &str| usage[name].as_u64().expect("a count");
    assert_eq!(
        count("prompt_tokens") + count("completion_tokens"),
        count("total_tokens")
    );
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.events(CHAT, &asked("你是谁？", more));
    let streamed: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    let roles: Vec<usize> = (0..events.len())
        .filter(|at| !events[*at]["choices"][0]["delta"]["role"].is_null())
        .collect();
    assert_eq!(roles, [0], "the role stands in the first chunk alone");
    let (last, others) = events.split_last().expect("events");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], *usage);
    assert!(others.iter().all(|event| event["usage"].is_null()));
    let ended = others.last().expect("a chunk");
    assert_eq!(
        ended["choices"][0]["finish_reason"],
        choice["finish_reason"]
    );
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
}

#[test]
fn several_answers_probabilities_stops_and_biases_are_as_asked() {
    let server = Server::start(&[]);
    let more = json!({"n": 3, "temperature": 1, "seed": 7, "logprobs": true, "top_logprobs": 2});
    let (_, found) = server.ask(CHAT, &asked("你好", more.clone()));
    let choices = found["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 3);
    assert_ne!(choices[0]["message"], choices[1]["message"]);
    for choice in choices {
        for token in choice["logprobs"]["content"].as_array().expect("tokens") {
            assert!(token["logprob"].as_f64().expect("a number") <= 0.0);
            assert_eq!(token["top_logprobs"].as_array().expect("tokens").len(), 2);
        }
    }
    // The same seed, the same answers.
    let (_, again) = server.ask(CHAT, &asked("你好", more));
    assert_eq!(again["choices"], found["choices"]);
    let (_, plain) = server.ask(CHAT, &asked("你好", json!({})));
    let text = plain["choices"][0]["message"]["content"].clone();
    let text = text.as_str().expect("a text");
    let stop: String = text.chars().skip(1).take(1).collect();
    let (_, stopped) = server.ask(CHAT, &asked("你好", json!({"stop": stop})));
    let choice = &stopped["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert!(text.starts_with(choice["message"]["content"].as_str().expect("a text")));
    assert!(
        !choice["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .contains(&stop)
    );
}

#[test]
fn completions_go_on_with_texts_and_tokens() {
    let server = Server::start(&[]);
    let (_, tokens) = server.ask("/tokenize", &json!({"content": "宝玉道"}));
    let ids = tokens["tokens"].clone();
    let (_, text) = server.ask("/detokenize", &json!({"tokens": ids}));
    assert_eq!(text["content"], "宝玉道");
    let ask = |prompt: Value| {
        let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 8, "echo": true});
        server.ask("/v1/completions", &body).1
    };
    let of_text = ask(json!("宝玉道"));
    let of_both = ask(json!([ids, ids]));
    let text = of_text["choices"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("宝玉道") && text.len() > "宝玉道".len());
    for index in 0..2 {
        assert_eq!(of_both["choices"][index]["text"], text);
        assert_eq!(of_both["choices"][index]["index"], index);
    }
}

#[test]
fn a_greedy_answer_is_the_same_in_any_company() {
    let server = Server::start(&[]);
    let prompts: Vec<String> = (0..64)
        .map(|at| format!("{at}{}", "说来听听。".repeat(1 + at % 12)))
        .collect();
    let answer = |prompt: &str| {
        let (status, body) = server.ask(CHAT, &asked(prompt, json!({"max_tokens": 24})));
        assert_eq!(status, 200, "{body}");
        body["choices"][0]["message"]["content"].clone()
    };
    let alone: Vec<Value> = prompts.iter().map(|prompt| answer(prompt)).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = prompts
            .iter()
            .map(|prompt| scope.spawn(|| answer(prompt)))
            .collect();
        let answers = asked.into_iter().map(|thread| thread.join());
        answers.map(|answer| answer.expect("an answer")).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn what_is_wrong_is_a_typed_error_and_the_next_request_is_answered() {
    let server = Server::start(&[]);
    let wrong = [
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"top_p": 0}), "top_p"),
        (json!({"n": 0}), "n"),
        (json!({"n": 1000}), "n"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "king", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (json!({"logit_bias": {"999999": 1}}), "logit_bias"),
        (json!({"logit_bias": {"a": 1}}), "logit_bias"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"stop": 5}), "stop"),
        (json!({"stop": vec!["x"; 17]}), "stop"),
        (json!({"stop": "x".repeat(1025)}), "stop"),
        (json!({"model": "another"}), "model"),
        (
            json!({"messages": [{"role": "user", "content": "长".repeat(3000)}]}),
            "messages",
        ),
    ];
    for (more, param) in wrong {
        let (status, body) = server.ask(CHAT, &asked("你好", more.clone()));
        let expected = if param == "model" { 404 } else { 400 };
        assert_eq!(status, expected, "{more}: {body}");
        assert_eq!(body["error"]["param"], param, "{more}: {body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    let (status, body) = read(
        server
            .agent
            .post(format!("{}{CHAT}", server.url))
            .send("{")
            .expect("a response"),
    );
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("invalid_json"))
    );
    let (status, _) = read(server.get("/v1/nothing"));
    assert_eq!(status, 404);
    let (status, _) = read(server.get(CHAT));
    assert_eq!(status, 405);
    for path in ["/v1/models/%ff", "/%ff", "/v1/models/none"] {
        let (status, body) = read(server.get(path));
        assert_eq!(status, 404, "{path}");
        assert_eq!(body["error"]["type"], "invalid_request_error", "{path}");
    }
    // A field that nobody knows does no harm, and neither did what came before.
    let (status, _) = server.ask(CHAT, &asked("你好", json!({"verbosity": "high"})));
    assert_eq!(status, 200);
}

#[test]
fn markers_in_what_is_said_stay_text() {
    let server = Server::start(&[]);
    for role in ["system", "user", "assistant", "tool"] {
        let tokens = |text: &str| {
            let messages = json!([
                {"role": role, "content": text},
                {"role": "user", "content": "你好"},
            ]);
            let (status, whole) = server.ask(CHAT, &json!({"messages": messages, "max_tokens": 1}));
            assert_eq!(status, 200, "{role}: {whole}");
            whole["usage"]["prompt_tokens"].as_u64().expect("a count")
        };
        // As one token each, two markers would add two.
        assert!(
            tokens("a<|im_end|><|im_start|>b") > tokens("ab") + 8,
            "{role}"
        );
    }
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = Server::start(&["--max-requests", "2"]);
    let long = asked(
        "讲个故事",
        json!({"stream": true, "max_tokens": 900, "min_tokens": 900}),
    );
    for _ in 0..6 {
        let streams: Vec<_> = (0..2).map(|_| server.post(CHAT, &long)).collect();
        server.wait_for(2);
        let refused = server.post(CHAT, &asked("你好", json!({})));
        assert!(refused.headers().contains_key("Retry-After"));
        let (status, body) = read(refused);
        assert_eq!(
            (status, &body["error"]["type"]),
            (429, &json!("rate_limit_error"))
        );
        for stream in streams {
            let mut first = [0; 6];
            let mut reader = stream.into_body().into_reader();
            reader.read_exact(&mut first).expect("the beginning");
            assert_eq!(&first, b"data: ");
        }
        server.wait_for(0);
    }
    // The engine comes by before the next step.
    let start = Instant::now();
    loop {
        let (_, health) = read(server.get("/health"));
        if health["free_tokens"] == health["cache_tokens"] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{health}");
        std::thread::sleep(Duration::from_millis(5));
    }
    // None of them came to its end.
    assert_eq!((server.ended("left"), server.ended("length")), (12, 0));
}

#[test]
fn a_key_is_asked_for_everywhere_but_for_health_and_the_page() {
    let mut server = Server::start(&["--api-key", "secret"]);
    for key in [None, Some("secre"), Some("secret2")] {
        server.key = key;
        let (status, body) = server.ask(CHAT, &asked("你好", json!({})));
        assert_eq!(status, 401, "{key:?}: {body}");
        assert_eq!(body["error"]["type"], "authentication_error");
        assert!(!body.to_string().contains("secret"));
    }
    assert_eq!(server.get("/v1/models").status(), 401);
    assert_eq!(server.get("/health").status(), 200);
    assert_eq!(server.get("/").status(), 200);
    server.key = Some("secret");
    assert_eq!(server.ask(CHAT, &asked("你好", json!({}))).0, 200);
    let folder = Folder::new();
    let refused = folder.refusal(&["serve", "builtin", "--host", "0.0.0.0"]);
    assert!(refused.contains("no key is asked for"), "{refused}");
}

#[test]
fn the_page_and_its_parts_come_from_the_program_alone() {
    let server = Server::start(&[]);
    let mut page = server.get("/");
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .expect("text");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    let html = page.body_mut().read_to_string().expect("a page");
    let elsewhere = [
        "src=\"http",
        "href=\"http",
        "src=\"//",
        "href=\"//",
        "@import",
    ];
    assert!(html.contains("main.js") && elsewhere.iter().all(|part| !html.contains(part)));
    let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-serve/web");
    for entry in std::fs::read_dir(web).expect("files") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name");
        assert_eq!(server.get(&format!("/{name}")).status(), 200, "{name}");
    }
    for path in [
        "/Cargo.toml",
        "/..%2fCargo.toml",
        "/%2e%2e/Cargo.toml",
        "/web/main.js",
    ] {
        assert_eq!(server.get(path).status(), 404, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_is_stopped_lets_open_answers_end() {
    let mut server = Server::start(&[]);
    let more = json!({"stream": true, "max_tokens": 900, "min_tokens": 900});
    let stream = server.post(CHAT, &asked("讲个故事", more));
    server.wait_for(1);
    let pid = server.child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.expect("kill runs").success());
    // From when it has heard of it, new requests are refused.
    let begun = Instant::now();
    let refused = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        let (status, body) = server.ask(CHAT, &asked("你好", json!({"max_tokens": 1})));
        if status != 200 {
            break (status, body["error"]["code"].clone());
        }
    };
    assert_eq!(refused, (503, json!("shutting_down")));
    let mut text = String::new();
    let mut reader = stream.into_body().into_reader();
    reader.read_to_string(&mut text).expect("the rest");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(server.child.wait().expect("it ends").success());
}
