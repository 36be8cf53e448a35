//! The binary as scripts and operators meet it: words, exit codes, signals.

use std::{collections::BTreeSet, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Method;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    ALICE, Browser, Fixture, KEY, config_file, free_port, scratch_file, vestibule,
};

const WORDS: [&str; 10] = [
    "run",
    "check",
    "demo",
    "emulator",
    "keygen",
    "schema",
    "inject",
    "uninject",
    "healthcheck",
    "drain",
];
const SECRET: &str = "Canary~8Q~of-the.client_secret";

/// A configuration that is right, with `more` at its end.
fn minimal(more: &str) -> String {
    format!(
        "[server]\npublic_url = \"https://app.contoso.test\"\n\
         [entra]\ntenant = \"contoso.onmicrosoft.com\"\n\
         client_id = \"00001111-aaaa-2222-bbbb-3333cccc4444\"\nclient_secret = \"{SECRET}\"\n\
         [session]\nkeys = [\"{KEY}\"]\n{more}"
    )
}

#[tokio::test]
async fn every_word_has_help_with_an_example_of_itself() {
    let ended = vestibule(["--help"]).ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    for word in WORDS {
        assert!(ended.stdout.contains(&format!("\n  {word} ")), "{word}: {}", ended.stdout);
        for flag in ["--help", "-h"] {
            let help = vestibule([word, flag]).ended().await;
            assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{word} {flag}");
            let (_, example) = help
                .stdout
                .split_once("Example:")
                .unwrap_or_else(|| panic!("{word}: {}", help.stdout));
            assert!(example.contains(&format!("vestibule {word}")), "{word}: {}", help.stdout);
        }
    }
    assert!(!ended.stdout.contains("$`"), "Markdown in a terminal: {}", ended.stdout);
    let version = vestibule(["--version"]).ended().await;
    assert_eq!(version.stdout, format!("vestibule {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_exit_2_and_nothing_on_stdout() {
    for arguments in [
        &["nonsense"][..],
        &["run", "--nonsense"],
        &["check", "--config"],
        &["demo", "--token-lifetime", "soon"],
        &["emulator", "--listen", "nowhere"],
        &["drain", "--wait", "x"],
        &["keygen", "extra"],
        &["--config"],
        &["healthcheck", "--admin", "ftp://x"],
    ] {
        let ended = vestibule(arguments).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn keygen_prints_32_fresh_bytes_that_the_configuration_takes() {
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let ended = vestibule(["keygen"]).ended().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        let key = ended.stdout.strip_suffix('\n').unwrap().to_owned();
        assert_eq!(BASE64_STANDARD.decode(&key).unwrap().len(), 32);
        let file = config_file(&minimal("").replace(KEY, &key));
        let check = vestibule([Path::new("check"), Path::new("--config"), &file]).ended().await;
        assert_eq!(check.code, 0, "{}", check.stderr);
        assert!(seen.insert(key));
    }
}

#[tokio::test]
async fn the_schema_is_json_and_knows_the_keys() {
    let ended = vestibule(["schema"]).ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    for section in ["server", "admin", "entra", "session", "upstream", "identity", "log", "rules"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[tokio::test]
async fn healthcheck_and_drain_say_69_where_nobody_answers() {
    let admin = format!("http://127.0.0.1:{}", free_port());
    for word in ["healthcheck", "drain"] {
        let ended = vestibule([word, "--admin", &admin]).ended().await;
        assert_eq!(ended.code, 69, "{word}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{word}");
    }
}

#[tokio::test]
async fn run_with_a_wrong_configuration_is_exit_78_whichever_way_it_is_said() {
    let wrong = config_file(&minimal("").replace("tenant", "tennant"));
    let wrong = wrong.to_str().unwrap();
    for arguments in
        [&["run", "--config", wrong][..], &["--config", wrong], &["check", "--config", wrong]]
    {
        let ended = vestibule(arguments).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{arguments:?}");
        assert!(
            ended.stderr.contains("tennant") && ended.stderr.contains("tenant"),
            "{}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("Canary") && !ended.stderr.contains(KEY),
            "{}",
            ended.stderr
        );
    }
    let missing = scratch_file("missing.toml");
    let ended = vestibule([Path::new("run"), Path::new("--config"), &missing]).ended().await;
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    assert!(ended.stderr.contains("missing.toml"), "{}", ended.stderr);
    // No file anywhere and no environment: what is needed is named.
    let ended = vestibule(["run"]).ended().await;
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    for key in ["public_url", "tenant", "client_id", "keys"] {
        assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_exit_1_with_its_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = config_file(&format!("{}\n[upstream]\nurl = \"http://127.0.0.1:1\"\n", minimal("")));
    let ended = vestibule([Path::new("run"), Path::new("--config"), &file])
        .env("VESTIBULE__SERVER__LISTEN", &address)
        .env("VESTIBULE__ADMIN__LISTEN", "127.0.0.1:0")
        .ended()
        .await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[tokio::test]
async fn run_serves_until_sigterm_lets_a_request_finish_and_is_exit_0() {
    let fixture = Fixture::start("").await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    proxy.says("ready").await;
    let ended = vestibule(["healthcheck", "--admin", &fixture.admin_url()]).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "ready\n"), "{}", ended.stderr);
    let mut browser = Browser::new(&fixture.origin()).as_user(ALICE);
    assert_eq!(browser.navigate("/").await.status, 200);

    // A download is under way when the signal comes, and a user goes on clicking.
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut download = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
    let request = format!(
        "GET /stream HTTP/1.1\r\nHost: localhost:{}\r\nCookie: {}\r\n\r\n",
        fixture.port,
        cookies.join("; ")
    );
    download.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("first") {
        let mut buffer = [0; 4096];
        let n = download.read(&mut buffer).await.unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    proxy.signal("TERM");
    proxy.says("draining").await;
    let ended = vestibule(["healthcheck", "--admin", &fixture.admin_url()]).ended().await;
    assert_eq!(ended.code, 1, "{} {}", ended.stdout, ended.stderr);
    assert_eq!(browser.get("/").await.status, 200, "load balancers have not looked away yet");
    assert_eq!(browser.fetch(Method::GET, "/release").await.status, 200);
    download.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("second") && text.ends_with("0\r\n\r\n"), "{text}");
    let ended = proxy.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    for line in ended.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for name in ["time", "level", "message"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
    }
    assert!(TcpStream::connect(("127.0.0.1", fixture.port)).await.is_err());
}

#[tokio::test]
async fn a_second_sigterm_or_ctrl_c_is_quick_and_still_exit_0() {
    for (first, second) in [("TERM", Some("TERM")), ("INT", None)] {
        let fixture = Fixture::start("").await;
        let proxy = vestibule([Path::new("--config"), &fixture.file]).start();
        proxy.says("ready").await;
        let idle = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
        let begun = std::time::Instant::now();
        proxy.signal(first);
        if let Some(second) = second {
            proxy.says("draining").await;
            proxy.signal(second);
        }
        let ended = proxy.ended().await;
        assert_eq!(ended.code, 0, "{first}: {}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(5), "{first}: {:?}", begun.elapsed());
        drop(idle);
    }
}

#[tokio::test]
async fn drain_flips_readiness_and_waits_no_longer_than_it_is_told() {
    let fixture = Fixture::start("").await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    proxy.says("ready").await;
    let mut held = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
    held.write_all(b"GET / HT").await.unwrap();
    let begun = std::time::Instant::now();
    let ended = vestibule(["drain", "--admin", &fixture.admin_url(), "--wait", "1s"]).ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let ended = vestibule(["healthcheck", "--admin", &fixture.admin_url()]).ended().await;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    // The process itself lives on, for the SIGTERM that follows a preStop hook.
    assert_eq!(Browser::new(&fixture.origin()).get("/").await.status, 302);
    drop(held);
    let ended =
        vestibule(["drain", "--admin", &fixture.admin_url(), "--wait", "30s"]).ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("drained"), "{}", ended.stdout);
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.code, 0);
}

#[tokio::test]
async fn the_emulator_prints_what_a_client_needs_and_nothing_else() {
    for tls in [false, true] {
        let listen = ["emulator", "--listen", "127.0.0.1:0", "--tls"];
        let mut emulator = vestibule(&listen[..if tls { 4 } else { 3 }]).start();
        let mut text = String::new();
        let printed: toml::Table = loop {
            text.push_str(&emulator.line().await);
            match text.parse::<toml::Table>() {
                Ok(table) if table.contains_key(if tls { "ca_file" } else { "users" }) => {
                    break table;
                }
                _ => {}
            }
        };
        let mut names: BTreeSet<&str> = printed.keys().map(String::as_str).collect();
        assert_eq!(names.remove("ca_file"), tls);
        assert_eq!(
            names,
            BTreeSet::from(["authority", "tenant", "client_id", "client_secret", "users"])
        );
        let authority = printed["authority"].as_str().unwrap();
        let users: Vec<&str> = printed["users"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user.as_str().unwrap())
            .collect();
        assert!(users.contains(&ALICE) && users.len() >= 4, "{users:?}");
        if tls {
            assert!(authority.starts_with("https://"), "{authority}");
            let pem = std::fs::read_to_string(printed["ca_file"].as_str().unwrap()).unwrap();
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
            let answer = over_tls(authority, &pem, printed["tenant"].as_str().unwrap()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains(&format!("{authority}/")), "{answer}");
        } else {
            let tenant = printed["tenant"].as_str().unwrap();
            let path = format!("{authority}/{tenant}/v2.0/.well-known/openid-configuration");
            let document = Browser::new(authority).get(&path).await.json();
            assert_eq!(document["issuer"], format!("{authority}/{tenant}/v2.0"));
            // Faults are set while it runs.
            let fault = Bytes::from(
                "{\"endpoint\":\"token\",\"times\":1,\"status\":429,\"retry_after\":5}",
            );
            let kind = [("content-type", "application/json")];
            let place = format!("{authority}/_emulator/faults");
            let page = Browser::new(authority).request(Method::POST, &place, &kind, fault).await;
            assert_eq!(page.status, 204);
        }
        emulator.signal("TERM");
        let ended = emulator.ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (0, text.as_str()), "{}", ended.stderr);
    }
}

/// The metadata, read by a client that trusts nothing but this certificate.
async fn over_tls(authority: &str, pem: &str, tenant: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = authority.strip_prefix("https://").unwrap();
    let name = host.split(':').next().unwrap().to_owned().try_into().unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!(
        "GET /{tenant}/v2.0/.well-known/openid-configuration HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scenario_that_is_wrong_is_exit_78_with_its_line() {
    let file = scratch_file("scenario.toml");
    for (text, words) in [
        ("token_lifetime = \"soon\"\n", "scenario.toml:1"),
        ("\n[[users]]\nnam = \"x\"\n", "scenario.toml:3"),
        ("[[users]\n", "scenario.toml:1"),
        ("users = []\n", "users"),
        ("[[users]]\nname = \"a@b\"\ntenant = \"nowhere.test\"\n", "nowhere.test"),
    ] {
        std::fs::write(&file, text).unwrap();
        let listen = ["emulator", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
        let ended = vestibule(listen).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{text}: {}", ended.stderr);
    }
    let missing = scratch_file("no-scenario.toml");
    let ended = vestibule([Path::new("emulator"), Path::new("--config"), &missing]).ended().await;
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = vestibule(["emulator", "--listen", &address]).ended().await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
}
