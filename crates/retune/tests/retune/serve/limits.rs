//! Who may connect, and how.

use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::server::{Server, read};
use super::{CHAT, asked};
use crate::program::Folder;

#[test]
fn with_a_certificate_it_speaks_https() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.pem();
    folder.write("cert.pem", &certificate);
    folder.write("key.pem", &made.signing_key.serialize_pem());
    let options = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut server = Server::start_in(folder, &options);
    server.url = server.url.replace("127.0.0.1", "localhost");
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let known = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
    let trusts = |roots: Vec<Certificate<'static>>| -> Agent {
        let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots)));
        let config = Agent::config_builder().http_status_as_error(false);
        config.tls_config(tls.build()).build().into()
    };
    let stranger = trusts(Vec::new());
    assert!(
        stranger
            .get(format!("{}/health", server.url))
            .call()
            .is_err()
    );
    server.agent = trusts(vec![known]);
    assert_eq!(server.ask(CHAT, &asked("你好", json!({}))).0, 200);
    assert_eq!(read(server.get("/health")).0, 200);
}

#[test]
fn certificates_that_do_not_serve_are_refused_before_the_model_listens() {
    let folder = Folder::new();
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]);
        made.expect("a certificate")
    };
    let (one, two) = (made("one"), made("two"));
    folder.write("cert.pem", &one.cert.pem());
    folder.write("key.pem", &two.signing_key.serialize_pem());
    folder.write("empty.pem", "");
    let refusal = |certificate: &str, key: &str| {
        folder.refusal(&[
            "serve",
            "builtin",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ])
    };
    for (certificate, key, expected) in [
        ("cert.pem", "key.pem", "do not go together"),
        ("empty.pem", "key.pem", "holds no certificate"),
        ("cert.pem", "empty.pem", "empty.pem cannot be read as PEM"),
        ("none.pem", "key.pem", "none.pem cannot be read as PEM"),
    ] {
        let said = refusal(certificate, key);
        assert!(said.contains(expected), "{said}");
    }
    let said = folder.refusal(&["serve", "builtin", "--tls-cert", "cert.pem"]);
    assert!(said.contains("--tls-key"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_not_fought_for() {
    let first = Server::start(&[]);
    let port = first.url.rsplit(':').next().expect("a port");
    let folder = Folder::new();
    let mut second = Command::new(env!("CARGO_BIN_EXE_retune"))
        .args(["serve", "builtin", "--port", port])
        .env("RETUNE_CACHE", folder.path("cache"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let out = std::io::BufReader::new(second.stdout.take().expect("its output"));
    let listening = std::io::BufRead::lines(out)
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening  ").map(str::to_owned));
    let listening = listening.expect("it listens");
    let _ = second.kill();
    let _ = second.wait();
    assert_ne!(listening, first.url);
    assert_eq!(read(first.get("/health")).0, 200);
}

#[test]
fn a_site_that_leads_here_by_its_own_name_is_refused() {
    let server = Server::start(&[]);
    let ask = |server: &Server, host: &str, key: &str| {
        let request = server.agent.get(format!("{}/v1/models", server.url));
        let request = request.header("Host", host).header("Authorization", key);
        read(request.call().expect("a response"))
    };
    for host in [
        "localhost",
        "LOCALHOST:7860",
        "127.0.0.1:1",
        "[::1]:80",
        "192.168.1.2",
    ] {
        assert_eq!(ask(&server, host, "").0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example:7860",
        "127.0.0.1.evil.example",
    ] {
        let (status, body) = ask(&server, host, "");
        assert_eq!(
            (status, &body["error"]["code"]),
            (403, &json!("unknown_host")),
            "{host}"
        );
    }
    let from = |server: &Server, origin: &str| {
        let request = server.agent.get(format!("{}/v1/models", server.url));
        read(request.header("Origin", origin).call().expect("a response")).0
    };
    assert_eq!(from(&server, &server.url), 200);
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost",
        "https://127.0.0.1",
    ] {
        assert_eq!(from(&server, origin), 403, "{origin}");
    }
    // Who has a key is no stranger, and schemes have no case.
    let server = Server::start(&["--api-key", "secret"]);
    assert_eq!(ask(&server, "model.example", "bearer secret").0, 200);
    assert_eq!(ask(&server, "model.example", "").0, 401);
}

#[test]
fn many_prompts_of_one_request_have_one_place() {
    let server = Server::start(&["--max-requests", "2"]);
    let body = json!({"prompt": vec!["宝玉"; 200], "max_tokens": 2});
    let (status, body) = server.ask("/v1/completions", &body);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"].as_array().expect("choices").len(), 200);
}

#[test]
fn a_text_that_is_far_too_long_costs_nothing_and_holds_nobody_up() {
    let server = Server::start(&[]);
    let (long, longer) = ("1".repeat(1 << 20), "1".repeat(2_000_000));
    std::thread::scope(|scope| {
        let (long, longer) = (&long, &longer);
        let server = &server;
        let texts: Vec<_> = [
            "/tokenize",
            "/tokenize",
            CHAT,
            "/v1/completions",
            "/v1/embeddings",
        ]
        .into_iter()
        .map(|path| {
            scope.spawn(move || {
                let body = match path {
                    CHAT => asked(longer, json!({})),
                    "/tokenize" => json!({"content": long}),
                    "/v1/completions" => json!({"prompt": longer}),
                    _ => json!({"input": longer}),
                };
                let (status, body) = server.ask(path, &body);
                match path {
                    "/tokenize" => assert_eq!(status, 200),
                    _ => {
                        let code = &body["error"]["code"];
                        assert_eq!((status, code), (400, &json!("context_length_exceeded")));
                    }
                }
            })
        })
        .collect();
        let mut answered = 0;
        while texts.iter().any(|thread| !thread.is_finished()) {
            assert_eq!(read(server.get("/health")).0, 200);
            assert_eq!(
                server.ask(CHAT, &asked("你好", json!({"max_tokens": 1}))).0,
                200
            );
            answered += 1;
        }
        assert!(answered > 1);
    });
}
