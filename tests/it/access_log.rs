//! The access line: one for each request, with the decision and why, and nobody's name.

use std::{collections::BTreeSet, path::Path};

use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{ALICE, Browser, Fixture, Recorded, vestibule};

#[tokio::test]
async fn every_request_is_one_access_line_with_the_fields_of_the_contract() {
    let fixture = Fixture::start("[[rules]]\npath = \"/open/*\"\naccess = \"anonymous\"\n[[rules]]\npath = \"/no\"\naccess = \"deny\"\n").await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    proxy.says("ready").await;
    let mut browser = Browser::new(&fixture.origin()).as_user(ALICE);
    browser.navigate("/first?secret=query-canary").await;
    browser.get("/open/x").await;
    browser.get("/no").await;
    browser.get("/a%2fb").await;
    browser.get("/close").await;
    browser.get("/.auth/me").await;
    Browser::new(&fixture.origin()).get("/open/y").await;
    Browser::new(&fixture.origin()).fetch(Method::POST, "/api").await;
    // What would forge a line, or turn the terminal red (J2).
    for line in [
        "GET /open/\u{202e}z HTTP/1.1",
        "GET /open/z HTTP/1.1\r\nX-Request-Id: \"}\r\nUser-Agent: \u{9b}31m\u{202e}",
        "GET /open/\u{1b}[31m HTTP/1.1",
        "G\u{1b}T /open/z HTTP/1.1",
        "\u{1b}[31m",
        "GET /open/z\",\"decision\":\"allow HTTP/1.1",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
        let host = format!("Host: localhost:{}\r\nConnection: close\r\n\r\n", fixture.port);
        stream.write_all(format!("{line}\r\n{host}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{line}");
    }
    proxy.signal("INT");
    let ended = proxy.ended().await;
    let lines: Vec<Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access: Vec<&Value> = lines.iter().filter(|line| line.get("decision").is_some()).collect();
    let decisions: BTreeSet<&str> =
        access.iter().map(|line| line["decision"].as_str().unwrap()).collect();
    assert_eq!(
        decisions,
        BTreeSet::from([
            "allow",
            "anonymous",
            "sign_in",
            "login_required",
            "forbid",
            "own",
            "error"
        ])
    );
    let mut ids = BTreeSet::new();
    for line in &access {
        assert_eq!(line["level"].as_str().unwrap().to_ascii_lowercase(), "info");
        assert!(ids.insert(line["request_id"].as_str().unwrap()), "{line}");
        assert_eq!(line["peer"], "127.0.0.1");
        assert!(
            line["method"].is_string() && line["path"].is_string() && line["reason"].is_string()
        );
        assert!(
            line["status"].is_u64() && line["bytes"].is_u64() && line["duration_ms"].is_number()
        );
        assert!(!line["path"].as_str().unwrap().contains('?'), "{line}");
    }
    let of = |path: &str| {
        *access.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}"))
    };
    assert_eq!(of("/open/y")["decision"], "anonymous");
    assert_eq!(of("/open/y")["rule"], "/open/*");
    assert!(of("/open/y")["upstream_ms"].is_number());
    assert_eq!(of("/open/y")["bytes"], 18);
    // On an anonymous path a session is asserted, and said so.
    assert_eq!(of("/open/x")["decision"], "allow");
    assert_eq!(of("/no")["status"], 403);
    assert_eq!(of("/close")["status"], 502);
    assert_eq!(of("/api")["decision"], "login_required");
    assert!(!ended.stderr.contains("query-canary"));
    assert!(!ended.stderr.contains("alice") && !ended.stderr.contains("Alice"), "personal data");
    for odd in ['\u{1b}', '\u{9b}', '\u{202e}'] {
        assert!(!ended.stderr.contains(odd), "{}", ended.stderr);
    }
    let reached = fixture.app.requests();
    let lines: Vec<&str> = reached.iter().map(Recorded::request_line).collect();
    assert_eq!(lines.iter().filter(|line| line.contains("/open/z ")).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn with_log_user_the_access_line_names_who() {
    let fixture = Fixture::start("[log]\nuser = true\nformat = \"json\"\n").await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    proxy.says("ready").await;
    let mut browser = Browser::new(&fixture.origin()).as_user(ALICE);
    browser.navigate("/here").await;
    let session = browser.fetch(Method::GET, "/.auth/session").await.json();
    proxy.signal("INT");
    let ended = proxy.ended().await;
    let line = ended.stderr.lines().rfind(|line| line.contains("\"/here\"")).unwrap();
    assert!(
        line.contains(ALICE) && line.contains(session["object_id"].as_str().unwrap()),
        "{line}"
    );
    drop(fixture.emulator);
}

/// Behind an ingress every connection is the ingress's.
#[tokio::test]
async fn j13_the_access_line_names_the_client_behind_the_proxies_that_are_trusted() {
    for (trusted, wanted) in [("[]", "127.0.0.1"), ("[\"127.0.0.1\"]", "203.0.113.9")] {
        let fixture = Fixture::start("[log]\nformat = \"json\"\n").await;
        let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file])
            .env("VESTIBULE__SERVER__TRUSTED_PROXIES", trusted)
            .start();
        proxy.says("ready").await;
        // The second is refused before anybody reads its fields for the app.
        for target in ["/api", "//api"] {
            let mut stream = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
            let head = format!(
                "GET {target} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
                 X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n",
                fixture.port
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
        proxy.signal("INT");
        let ended = proxy.ended().await;
        let lines = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let peers: Vec<Value> =
            lines.filter_map(|mut line| line.get_mut("peer").map(Value::take)).collect();
        assert_eq!(peers, [wanted, wanted], "{trusted}");
    }
}

/// The status had gone out before anybody could know.
#[tokio::test]
async fn the_access_line_says_that_an_answer_was_cut() {
    let more = "idle_timeout = \"500ms\"\n[log]\nformat = \"json\"\n\
                [[rules]]\npath = \"/download\"\naccess = \"anonymous\"\n";
    let fixture = Fixture::start(more).await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    proxy.says("ready").await;
    let mut stream = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
    let head = format!("GET /download HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", fixture.port);
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    proxy.signal("INT");
    let ended = proxy.ended().await;
    let mut lines = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["path"] == "/download").unwrap();
    assert_eq!((&line["status"], &line["bytes"]), (&Value::from(200), &Value::from(10)));
    assert_eq!(line["reason"], "answer idle");
}
