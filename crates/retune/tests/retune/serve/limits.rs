//! Who may connect, and how.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
        .env("CUDA_VISIBLE_DEVICES", "")
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

/// A connection on which nothing is done but what the test does.
fn connect(server: &Server, says: &str) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(says.as_bytes()).expect("it is sent");
    let waits = Some(Duration::from_secs(60));
    stream.set_read_timeout(waits).expect("a limit");
    stream
}

/// What came until the server closed the connection.
fn until_closed(mut stream: TcpStream) -> String {
    let (mut came, mut some) = (Vec::new(), [0; 1 << 16]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(bytes) => came.extend_from_slice(&some[..bytes]),
            Err(error) => {
                let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
                assert!(closed, "still open: {error}");
                break;
            }
        }
    }
    String::from_utf8_lossy(&came).into_owned()
}

/// The same of a client that sends a byte now and then.
fn dripped(mut stream: TcpStream) -> String {
    let mut writer = stream.try_clone().expect("another handle");
    let closed = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !closed.load(Ordering::Relaxed) && writer.write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        // The first byte that comes is the beginning of an end.
        let mut first = [0];
        let read = stream.read(&mut first);
        closed.store(true, Ordering::Relaxed);
        match read {
            Ok(1) => format!("{}{}", first[0] as char, until_closed(stream)),
            Ok(_) => String::new(),
            Err(error) => {
                let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
                assert!(closed, "still open: {error}");
                String::new()
            }
        }
    })
}

/// A client that takes a connection anew each time, as the server leaves those that rest.
fn one_by_one() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .max_idle_connections(0);
    config.build().into()
}

#[test]
fn clients_that_send_nothing_or_hardly_anything_are_left() {
    let mut server = Server::start(&["--client-timeout", "1", "--max-requests", "1"]);
    server.agent = one_by_one();
    let server = &server;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
    let whole = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let heads = ["", "GET /health HTTP/1.1\r\nA: "];
    let bodies = [
        &format!("{head}Content-Length: 100000\r\n\r\n{{"),
        &format!("{head}Transfer-Encoding: chunked\r\n\r\nfffff\r\n{{"),
    ];
    let idle: Vec<TcpStream> = (0..40)
        .map(|at| connect(server, [whole, ""][at % 2]))
        .collect();
    std::thread::scope(|scope| {
        let slow = |says| {
            let streams: Vec<TcpStream> = (0..10).map(|_| connect(server, says)).collect();
            let drip = |stream| scope.spawn(move || dripped(stream));
            streams.into_iter().map(drip).collect::<Vec<_>>()
        };
        let (slow_heads, slow_bodies) = (heads.map(slow), bodies.map(|says| slow(says)));
        assert_eq!(server.ask(CHAT, &asked("你好", json!({}))).0, 200);
        for client in slow_heads.into_iter().flatten() {
            let came = client.join().expect("it was closed");
            assert_eq!(came, "");
        }
        for clients in slow_bodies {
            let came = clients.into_iter().map(|client| client.join());
            let came: Vec<String> = came.map(|came| came.expect("it was closed")).collect();
            // Who goes on sending may not hear it.
            let told = |came: &String| came.starts_with("HTTP/1.1 408");
            assert!(came.iter().any(told), "{came:?}");
            assert!(came.iter().all(|came| came.is_empty() || told(came)));
        }
    });
    for (at, stream) in idle.into_iter().enumerate() {
        let came = until_closed(stream);
        assert_eq!(came.starts_with("HTTP/1.1 200"), at % 2 == 0, "{came}");
    }
    server.wait_for(0);
}

/// A stream of more than the system keeps for a client that does not read.
fn long_stream(server: &Server) -> TcpStream {
    let more = json!({
        "stream": true, "n": 128, "max_tokens": 60, "min_tokens": 60, "logprobs": true,
        "top_logprobs": 20,
    });
    let body = asked("讲个故事", more).to_string();
    let length = body.len();
    connect(
        server,
        &format!(
            "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_its_place() {
    let mut server = Server::start(&["--client-timeout", "1", "--max-requests", "1"]);
    server.agent = one_by_one();
    let stream = long_stream(&server);
    server.wait_for(1);
    let begun = Instant::now();
    let status = loop {
        let (status, _) = server.ask(CHAT, &asked("你好", json!({})));
        if status != 429 {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "still taken");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status, 200);
    let came = until_closed(stream);
    let beginning: String = came.chars().take(100).collect();
    assert!(came.starts_with("HTTP/1.1 200"), "{beginning}");
    assert!(!came.contains("[DONE]"), "all of it came");
}

#[test]
fn who_reads_slowly_has_no_more_time_than_others() {
    let server = Server::start(&["--request-timeout", "4"]);
    let mut stream = long_stream(&server);
    let (mut came, mut some) = (Vec::new(), [0; 1 << 15]);
    let begun = Instant::now();
    // There is always something to read. What the system holds for a client is several
    // megabytes here and there, and only when some of it is read does the server go on.
    while read(server.get("/health")).1["open"] != 0 || came.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(25), "still open");
        std::thread::sleep(Duration::from_millis(50));
        let read = stream.read(&mut some).expect("more");
        came.extend_from_slice(&some[..read]);
    }
    let mut came = String::from_utf8_lossy(&came).into_owned();
    came.push_str(&rest_of_stream(stream));
    let end: String = came.chars().skip(came.chars().count() - 300).collect();
    assert!(end.contains("\"code\":\"deadline\""), "{end}");
}

/// The rest of a stream, whose connection stays open.
fn rest_of_stream(mut stream: TcpStream) -> String {
    let (mut came, mut some) = (Vec::new(), [0; 1 << 16]);
    while !came.ends_with(b"\r\n0\r\n\r\n") {
        match stream.read(&mut some).expect("more") {
            0 => break,
            read => came.extend_from_slice(&some[..read]),
        }
    }
    String::from_utf8_lossy(&came).into_owned()
}

#[test]
fn a_body_that_is_far_too_large_is_told_so() {
    let server = Server::start(&[]);
    for _ in 0..8 {
        let (status, body) = server.send(CHAT, &vec![b' '; 5 << 20]);
        assert_eq!(status, 413, "{body}");
        let said = body["error"]["message"].as_str().expect("a text");
        assert!(said.contains("5242880 bytes"), "{said}");
    }
}
