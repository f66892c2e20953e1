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
