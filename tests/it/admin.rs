//! The admin port: probes, metrics, drain; and nothing of it on the public port.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vestibule::base::clock::Clock;

use crate::support::{
    ALICE, Browser, Setup, Stack, free_port,
    provider::{METADATA, Provider},
};

async fn raw_admin(stack: &Stack, request: &str) -> String {
    let mut stream = TcpStream::connect(stack.proxy.admin_address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(10), read).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn livez_readyz_and_metrics_answer_on_the_admin_port_and_nothing_else_does() {
    let stack = Stack::start().await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/config", 404),
        ("/debug", 404),
        ("/debug/pprof", 404),
        ("/metrics/x", 404),
        ("/.auth/me", 404),
        ("/drain", 405),
    ] {
        let page = stack.admin(path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.header("cache-control").unwrap().contains("no-store"), "{path}");
    }
    let mut client = Browser::new(&format!("http://{}", stack.proxy.admin_address()));
    for path in ["/livez", "/readyz", "/metrics"] {
        let page = client.request(Method::HEAD, path, &[], Bytes::new()).await;
        assert_eq!((page.status.as_u16(), page.body.len()), (200, 0), "{path}");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            assert_eq!(client.request(method, path, &[], Bytes::new()).await.status, 405, "{path}");
        }
    }
}

#[tokio::test]
async fn b7_j8_the_public_port_has_no_probe_no_metrics_and_no_drain() {
    let stack = Stack::start().await;
    let mut nobody = stack.browser();
    for path in
        ["/livez", "/readyz", "/metrics", "/drain", "/healthz", "/.auth/metrics", "/.auth/livez"]
    {
        for agent in ["kube-probe/1.31", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Prometheus/3.0"]
        {
            let headers = [("user-agent", agent), ("accept", "*/*")];
            for method in [Method::GET, Method::POST] {
                let page = nobody.request(method, path, &headers, Bytes::new()).await;
                assert!(matches!(page.status.as_u16(), 401 | 404), "{path}: {}", page.status);
                assert!(!page.text().contains("vestibule_"), "{path}");
            }
        }
    }
    assert!(stack.app.requests().is_empty());
    assert_eq!(stack.admin("/readyz").await.status, 200);
    // To a user they are the app's paths.
    let mut alice = stack.signed_in(ALICE).await;
    assert_eq!(alice.fetch(Method::GET, "/metrics").await.text(), "hello from the app");
}

#[tokio::test]
async fn not_ready_while_microsoft_cannot_be_reached_and_ready_by_itself_afterwards() {
    let clock = Clock::adjustable();
    let port = free_port();
    let setup = Setup::default().at_provider(&format!("http://127.0.0.1:{port}"), &clock);
    let stack = setup.hasty().start().await;
    assert_eq!(stack.admin("/livez").await.status, 200);
    let page = stack.admin("/readyz").await;
    assert_eq!(page.status, 503);
    assert!(page.text().contains("not ready"), "{}", page.text());
    // Half of what is needed is not enough.
    let address = ([127, 0, 0, 1], port).into();
    let provider = Provider::on(address, clock.clone()).await;
    stack.proxy.ready().await;
    assert_eq!(stack.admin("/readyz").await.status, 200);
    assert!(provider.visits(METADATA) >= 1);
    // Once known, an outage does not take the proxy out: signed-in users can still be served.
    drop(provider);
    clock.advance(std::time::Duration::from_hours(2));
    assert_eq!(stack.admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn drain_takes_readiness_back_and_counts_what_is_left() {
    let stack = Stack::start().await;
    let mut client = Browser::new(&format!("http://{}", stack.proxy.admin_address()));
    // A page in somebody's browser may not.
    for headers in
        [[("origin", "http://evil.test")], [("sec-fetch-site", "cross-site")], [("origin", "null")]]
    {
        let page = client.request(Method::POST, "/drain", &headers, Bytes::new()).await;
        assert_eq!(page.status, 403, "{headers:?}");
    }
    assert_eq!(stack.admin("/readyz").await.status, 200);
    let mut open = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    open.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", stack.host()).as_bytes())
        .await
        .unwrap();
    let mut start = [0; 12];
    open.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
    let page = client.request(Method::POST, "/drain", &[], Bytes::new()).await;
    assert_eq!(page.status, 200);
    assert!(page.json()["connections"].is_u64(), "{}", page.text());
    let page = stack.admin("/readyz").await;
    assert_eq!(page.status, 503);
    assert!(page.text().contains("draining"));
    assert_eq!(stack.admin("/livez").await.status, 200);
    // Who still comes is still served.
    assert_eq!(stack.browser().get("/").await.status, 302);
}

#[tokio::test]
async fn j8_a_name_that_dns_decides_about_reaches_no_admin_url() {
    let stack = Stack::start().await;
    let port = stack.proxy.admin_address().port();
    for (host, served) in [
        (format!("127.0.0.1:{port}"), true),
        ("127.0.0.1".to_owned(), true),
        (format!("localhost:{port}"), true),
        (format!("[::1]:{port}"), true),
        ("10.1.2.3:4191".to_owned(), true),
        (format!("evil.test:{port}"), false),
        (format!("127.0.0.1.evil.test:{port}"), false),
        (format!("localhost.evil.test:{port}"), false),
        (format!("a.localhost:{port}"), false),
        (format!("user@127.0.0.1:{port}"), false),
        (String::new(), false),
    ] {
        for request in ["GET /metrics", "GET /readyz", "GET /livez", "POST /drain"] {
            if served && request.starts_with("POST") {
                continue;
            }
            let answer = raw_admin(
                &stack,
                &format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            )
            .await;
            let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(status == 200, served, "{host} {request}: {answer}");
            assert!(served || !answer.contains("vestibule_"), "{host}");
        }
    }
    let twice =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    let none = "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
    for request in [twice, none] {
        let answer = raw_admin(&stack, request).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(stack.admin("/readyz").await.status, 200);
}

/// The samples of a scrape: name with labels → value. Checks the text format on the way.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(name, kind).is_none(), "{name} twice");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let valid = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(valid(bare) && bare.starts_with("vestibule_"), "{line}");
        let family = ["_total", "_bucket", "_count", "_sum", "_info", ""]
            .iter()
            .filter_map(|suffix| bare.strip_suffix(suffix))
            .find_map(|family| families.get(family));
        match *family.unwrap_or_else(|| panic!("no TYPE for {line}")) {
            "counter" => assert!(bare.ends_with("_total"), "{line}"),
            "histogram" => {
                assert!(bare.contains("_seconds_") || bare.contains("_bytes_"), "{line}");
            }
            "gauge" | "info" => {}
            other => panic!("{other}: {line}"),
        }
        if let Some((_, labels)) = name.split_once('{') {
            for label in labels.trim_end_matches('}').split("\",") {
                let (label, value) = label.split_once("=\"").unwrap();
                assert!(valid(label) && !label.starts_with("__"), "{line}");
                assert!(!value.contains('@') && !value.contains("://"), "{line}");
            }
        }
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{name} twice");
    }
    samples
}

fn sum(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let fits = |key: &&String| key.split('{').next() == Some(name) && key.contains(label);
    samples.keys().filter(fits).map(|key| samples[key]).sum()
}

#[tokio::test]
async fn everything_that_is_promised_is_counted_once_it_has_happened() {
    let stack = Setup::default()
        .scenario("token_lifetime = \"600s\"")
        .rules("[[rules]]\npath = \"/admin\"\nroles = [\"Admin\"]\n")
        .start()
        .await;
    let before = samples(&stack.admin("/metrics").await.text());
    let mut browser = stack.signed_in(ALICE).await;
    stack.advance(320);
    assert_eq!(browser.get("/").await.status, 200);
    assert_eq!(browser.get("/admin").await.status, 403);
    assert_eq!(stack.browser().fetch(Method::GET, "/x").await.status, 401);
    assert_eq!(browser.get("/a%2fb").await.status, 400);
    assert_eq!(browser.get("/close").await.status, 502);
    stack.advance(320);
    stack.fault(json!({ "endpoint": "token", "times": 9, "status": 503 }));
    assert_eq!(browser.get("/").await.status, 200);
    let page = stack.admin("/metrics").await;
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = page.text();
    let after = samples(&text);
    let rose = |name: &str, label: &str| sum(&after, name, label) - sum(&before, name, label);
    for (name, label, by) in [
        ("vestibule_requests_total", "decision=\"allow\"", 3.0),
        ("vestibule_requests_total", "decision=\"sign_in\"", 1.0),
        ("vestibule_requests_total", "decision=\"login_required\"", 1.0),
        ("vestibule_requests_total", "decision=\"forbid\"", 1.0),
        ("vestibule_requests_total", "code=\"5xx\"", 1.0),
        ("vestibule_request_duration_seconds_count", "", 8.0),
        ("vestibule_sign_ins_total", "outcome=\"begun\"", 1.0),
        ("vestibule_sign_ins_total", "", 2.0),
        ("vestibule_renewals_total", "", 2.0),
        ("vestibule_refusals_total", "reason=\"role\"", 1.0),
        ("vestibule_refusals_total", "reason=\"login_required\"", 1.0),
        ("vestibule_entra_request_duration_seconds_count", "endpoint=\"token\"", 3.0),
        ("vestibule_upstream_duration_seconds_count", "", 3.0),
        ("vestibule_upstream_errors_total", "", 1.0),
        ("vestibule_session_cookie_bytes_count", "", 2.0),
    ] {
        assert!(rose(name, label) >= by, "{name} {label} rose by {}:\n{text}", rose(name, label));
    }
    assert!(sum(&after, "vestibule_session_cookie_bytes_sum", "") > 1000.0);
    assert!((sum(&after, "vestibule_panics_total", "")).abs() < 0.5);
    let outcomes: BTreeSet<&String> = after
        .iter()
        .filter(|(key, value)| key.starts_with("vestibule_renewals_total") && **value > 0.5)
        .map(|(key, _)| key)
        .collect();
    assert!(outcomes.len() >= 2, "a renewal that failed is not one that succeeded: {outcomes:?}");
    for secret in [ALICE, "Bearer", &stack.emulator.client().client_secret, "/admin", "code="] {
        // `code` is a label of the requests' status class; codes of sign-ins are not there.
        assert!(secret == "code=" || !text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_app_that_tries_to_set_our_cookies_is_counted() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let page = browser.fetch(Method::GET, "/cookies").await;
    assert_eq!(page.set_cookies(), ["app=1; Path=/"]);
    let counted = samples(&stack.admin("/metrics").await.text());
    assert!(sum(&counted, "vestibule_dropped_set_cookies_total", "") >= 1.0, "{counted:#?}");
}
