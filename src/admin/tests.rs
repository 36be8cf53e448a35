//! The admin port through a socket, and what it refuses.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::base::lifecycle::Lifecycle;

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

fn start() -> Running {
    let lifecycle = Lifecycle::new();
    let readiness = Readiness::new(lifecycle.clone());
    let metrics = Metrics::new();
    let admin = Admin::bind(&Settings { listen: "127.0.0.1:0".to_owned() }).unwrap();
    let address = admin.local_address().unwrap();
    tokio::spawn(admin.serve(readiness.clone(), metrics.clone(), CancellationToken::new()));
    Running { address, readiness, lifecycle, metrics }
}

async fn say(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readiness_waits_for_metadata_and_ends_with_the_drain() {
    let running = start();
    let door: Door = format!("http://{}", running.address).parse().unwrap();
    let (ready, words) = door.ready().await.unwrap();
    assert!(!ready && words.contains("metadata"), "{words}");
    running.readiness.metadata_known();
    assert_eq!(door.ready().await.unwrap(), (true, "ready".to_owned()));
    let held = running.lifecycle.connections().token();
    assert_eq!(door.drain().await.unwrap(), 1);
    drop(held);
    assert_eq!(door.drain().await.unwrap(), 0);
    let (ready, words) = door.ready().await.unwrap();
    assert!(!ready && words.contains("draining"), "{words}");
    let alive = say(running.address, "GET /livez HTTP/1.1\r\nHost: localhost").await;
    assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
    assert!(!running.lifecycle.closing().is_cancelled());
}

#[tokio::test]
async fn metrics_come_in_the_open_metrics_format() {
    let running = start();
    running.metrics.panicked();
    let answer = say(running.address, "GET /metrics HTTP/1.1\r\nHost: 10.1.2.3:4191").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.contains("\nvestibule_panics_total 1\n"), "{answer}");
}

#[tokio::test]
async fn a_rebound_name_an_unknown_path_and_a_wrong_method_are_refused() {
    let running = start();
    for (head, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.test:4191", "421"),
        ("POST /drain HTTP/1.1\r\nHost: evil.test", "421"),
        ("GET /metrics HTTP/1.0", "421"),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.test", "421"),
        ("POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test", "403"),
        ("POST /drain HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: cross-site", "403"),
        ("GET /debug HTTP/1.1\r\nHost: [::1]:4191", "404"),
        ("GET /config HTTP/1.1\r\nHost: LOCALHOST", "404"),
        ("GET /drain HTTP/1.1\r\nHost: localhost", "405"),
        ("POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "405"),
    ] {
        let answer = say(running.address, head).await;
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
    }
    assert!(!running.lifecycle.is_draining());
}

#[test]
fn only_this_machine_may_drain() {
    let lifecycle = Lifecycle::new();
    let readiness = Readiness::new(lifecycle.clone());
    for peer in ["10.0.0.7:5000", "[::ffff:10.0.0.7]:5000", "[2001:db8::1]:5000"] {
        let answer = drain(peer.parse().unwrap(), &readiness);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{peer}");
    }
    assert!(!lifecycle.is_draining());
    for peer in ["127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
        assert_eq!(drain(peer.parse().unwrap(), &readiness).status(), StatusCode::OK, "{peer}");
    }
    assert!(lifecycle.is_draining());
}

#[tokio::test]
async fn nobody_at_the_door_is_an_error_that_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let door: Door = format!("http://{address}").parse().unwrap();
    assert!(matches!(door.ready().await, Err(CallError::Unreachable(_))));
}

#[tokio::test]
async fn a_door_behind_a_name_is_asked_by_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door: Door = format!("http://localhost:{}", address.port()).parse().unwrap();
    let asked = tokio::spawn(async move { door.ready().await.is_ok() });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.unwrap() > 0, "no request");
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    drop(stream);
    assert!(!asked.await.unwrap());
}

#[test]
fn a_door_is_an_http_address_with_a_port_and_nothing_else() {
    for text in ["http://127.0.0.1:4191", "http://127.0.0.1:4191/", "localhost:4191"] {
        assert!(text.parse::<Door>().is_ok(), "{text}");
    }
    for text in ["", "https://127.0.0.1:4191", "http://127.0.0.1", "http://h:1/x", "/livez"] {
        assert!(text.parse::<Door>().is_err(), "{text}");
    }
}
