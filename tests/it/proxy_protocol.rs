//! The PROXY protocol: the client is who the header says, and without a header nobody is served.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Setup, Stack};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\x0a\x00\x00\x01\xc8\x22\x01\xbb";
/// LOCAL: a health check of the load balancer.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

async fn behind_a_balancer() -> Stack {
    Setup::default().rules(ANYBODY).set("server.proxy_protocol", "true").start().await
}

/// Sends a header and a request, and reads to the end.
async fn ask(stack: &Stack, header: &[u8], fields: &str) -> String {
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let request =
        format!("GET / HTTP/1.1\r\nHost: {}\r\n{fields}Connection: close\r\n\r\n", stack.host());
    let _ = stream.write_all(&[header, request.as_bytes()].concat()).await;
    let mut answer = Vec::new();
    let _ =
        timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_client_is_who_the_header_names_in_both_versions() {
    let stack = behind_a_balancer().await;
    for (header, client) in [(V1, "192.0.2.7"), (V2, "192.0.2.8"), (LOCAL, "127.0.0.1")] {
        let answer = ask(&stack, header, "X-Forwarded-For: 6.6.6.6\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(stack.app.last().header("x-forwarded-for"), Some(client));
    }
}

#[tokio::test]
async fn whom_the_header_names_may_be_a_trusted_proxy_too() {
    let stack = Setup::default()
        .rules(ANYBODY)
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", "[\"192.0.2.7\"]")
        .start()
        .await;
    ask(&stack, V1, "X-Forwarded-For: 203.0.113.9\r\n").await;
    assert_eq!(stack.app.last().header("x-forwarded-for"), Some("203.0.113.9, 192.0.2.7"));
    ask(&stack, V2, "X-Forwarded-For: 203.0.113.9\r\n").await;
    assert_eq!(stack.app.last().header("x-forwarded-for"), Some("192.0.2.8"));
}

#[tokio::test]
async fn a_connection_without_a_sound_header_is_closed_without_a_word() {
    let stack = behind_a_balancer().await;
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n",
        b"PROXY TCP9 192.0.2.7 10.0.0.1 51234 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c\xc0\x00\x02\x08\x0a\x00\x00\x01\xc8\x22\x01\xbb",
    ] {
        assert_eq!(ask(&stack, header, "").await, "", "{header:?}");
    }
    assert!(stack.app.requests().is_empty());
    stack.metric_becomes("vestibule_refusals_total{reason=\"proxy_header\"}", 4).await;
}

#[tokio::test]
async fn a_header_means_nothing_where_it_is_not_asked_for() {
    let stack = Setup::default().rules(ANYBODY).start().await;
    for header in [V1, V2] {
        let answer = ask(&stack, header, "").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn a_header_that_does_not_end_is_waited_for_five_seconds() {
    let stack = behind_a_balancer().await;
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7").await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.is_empty());
    stack.metric_becomes("vestibule_refusals_total{reason=\"slow_handshake\"}", 1).await;
}

#[tokio::test]
async fn a_client_has_its_share_of_connections_where_one_is_set() {
    let stack = Setup::default()
        .rules(ANYBODY)
        .set("server.proxy_protocol", "true")
        .set("server.limits.connections_per_client", "2")
        .start()
        .await;
    let address = stack.proxy.address().unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", stack.host());
        stream.write_all(&[V1, request.as_bytes()].concat()).await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    assert_eq!(ask(&stack, V1, "").await, "");
    assert!(ask(&stack, V2, "").await.starts_with("HTTP/1.1 200 "));
    stack.metric_becomes("vestibule_refusals_total{reason=\"connections_per_client\"}", 1).await;
    held.clear();
    let again = async {
        while !ask(&stack, V1, "").await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), again).await.unwrap();
}
