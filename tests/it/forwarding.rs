//! Requests reach the app and answers come back, streamed and unchanged.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{ALICE, Browser, FETCH, Setup, Stack};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";

async fn open() -> Stack {
    Setup::default().rules(ANYBODY).start().await
}

#[tokio::test]
async fn any_method_and_its_body_reach_the_app() {
    let stack = open().await;
    let mut browser = stack.browser();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let body = Bytes::from("the body");
        let page = browser.request(method.clone(), "/x?y=1", FETCH, body).await;
        assert_eq!(page.status, 200, "{method}");
        let request = stack.app.last();
        assert_eq!(request.request_line(), format!("{method} /x?y=1 HTTP/1.1"));
        assert_eq!(request.body, b"the body");
    }
    let page = browser.request(Method::HEAD, "/x", FETCH, Bytes::new()).await;
    assert_eq!((page.status.as_u16(), page.body.len()), (200, 0));
    assert_eq!(page.header("content-length"), Some("18"));
    let page = browser.request(Method::GET, "/nobody", FETCH, Bytes::new()).await;
    assert_eq!(page.status, 204);
    assert_eq!(browser.get("/missing").await.status, 404);
}

#[tokio::test]
async fn the_app_gets_the_public_host_and_who_connected() {
    let stack = open().await;
    stack.browser().get("/").await;
    let request = stack.app.last();
    assert_eq!(request.header("host"), Some(stack.host().as_str()));
    assert_eq!(request.header("x-forwarded-host"), Some(stack.host().as_str()));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-request-id").unwrap().len(), 36);
    assert!(request.header("connection").is_none());
}

#[tokio::test]
async fn preserve_host_off_tells_the_app_its_own_name() {
    let stack =
        Setup::default().set("upstream.preserve_host", "false").rules(ANYBODY).start().await;
    stack.browser().get("/").await;
    let request = stack.app.last();
    assert_eq!(request.header("host"), Some(stack.app.address.to_string().as_str()));
    assert_eq!(request.header("x-forwarded-host"), Some(stack.host().as_str()));
}

#[tokio::test]
async fn x_forwarded_for_is_believed_from_trusted_proxies_alone() {
    let chain =
        [("x-forwarded-for", "203.0.113.9, 198.51.100.7"), ("x-request-id", "from-outside")];
    let stack = open().await;
    stack.browser().request(Method::GET, "/", &chain, Bytes::new()).await;
    assert_eq!(stack.app.last().header("x-forwarded-for"), Some("127.0.0.1"));
    assert_ne!(stack.app.last().header("x-request-id"), Some("from-outside"));
    let trusting = Setup::default()
        .set("server.trusted_proxies", "[\"127.0.0.1/32\"]")
        .rules(ANYBODY)
        .start()
        .await;
    trusting.browser().request(Method::GET, "/", &chain, Bytes::new()).await;
    let request = trusting.app.last();
    assert_eq!(request.header("x-forwarded-for"), Some("203.0.113.9, 198.51.100.7, 127.0.0.1"));
    assert_eq!(request.header("x-request-id"), Some("from-outside"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn our_cookies_stay_here_and_the_apps_pass_byte_for_byte() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let ours = browser.session_cookies();
    let ours: Vec<String> = ours.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let cookie = format!("a=\"q\\\"x\"; {}; b=1=2;c=%20 ; flag", ours.join("; "));
    let headers = [FETCH, &[("cookie", cookie.as_str())]].concat();
    let page =
        Browser::new(&stack.origin()).request(Method::GET, "/", &headers, Bytes::new()).await;
    assert_eq!(page.status, 200);
    let request = stack.app.last();
    let got = request.header("cookie").unwrap();
    assert!(!got.contains("__Host-vestibule"), "{got}");
    for part in ["a=\"q\\\"x\"", "b=1=2;c=%20", "flag"] {
        assert!(got.contains(part), "{got}");
    }
    browser.clone().fetch(Method::GET, "/").await;
    assert!(stack.app.last().header("cookie").is_none());
}

#[tokio::test]
async fn a8_e15_the_app_cannot_set_our_cookies_and_authenticated_answers_are_private() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let page = browser.fetch(Method::GET, "/cookies").await;
    assert_eq!(page.set_cookies(), ["app=1; Path=/"]);
    assert_eq!(page.header("cache-control"), Some("public, max-age=60"));
    assert_eq!(browser.fetch(Method::GET, "/").await.header("cache-control"), Some("private"));
    // With a cookie of ours on it, nobody may store it, whatever the app said.
    stack.advance(400);
    let page = browser.fetch(Method::GET, "/cookies").await;
    assert!(page.set_cookies().len() > 1);
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    assert!(page.header("etag").is_none());
}

#[tokio::test]
async fn hop_by_hop_fields_stop_here_in_both_directions() {
    let stack = open().await;
    let headers = [
        ("connection", "X-Drop, keep-alive, X-Forwarded-For"),
        ("x-drop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers, deflate"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("x-keep", "1"),
    ];
    let page = stack.browser().request(Method::GET, "/hop-by-hop", &headers, Bytes::new()).await;
    let request = stack.app.last();
    for name in headers.iter().map(|(name, _)| *name).filter(|name| *name != "x-keep") {
        assert!(request.header(name).is_none(), "{name}");
    }
    assert_eq!(request.header("x-keep"), Some("1"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(page.header("x-public"), Some("1"));
    for name in ["x-private", "keep-alive", "www-authenticate"] {
        assert!(page.header(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn an_answer_is_streamed_as_the_app_sends_it() {
    let stack = open().await;
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let request =
        format!("GET /stream HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.host());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("first") {
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let n = read.expect("the first half arrives while the app holds the second").unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(!seen.contains("second"));
    stack.browser().get("/release").await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("second"));
}

#[tokio::test]
async fn a_large_upload_passes_whole() {
    let stack = open().await;
    let body = Bytes::from(vec![b'x'; 8 << 20]);
    let page = stack.browser().request(Method::POST, "/", FETCH, body).await;
    assert_eq!(page.status, 200);
    assert_eq!(stack.app.last().body.len(), 8 << 20);
}

#[tokio::test]
async fn an_app_that_cannot_be_reached_is_a_502_with_a_page() {
    let stack =
        Setup::default().set("upstream.url", "\"http://127.0.0.1:1\"").rules(ANYBODY).start().await;
    let page = timeout(Duration::from_secs(10), stack.browser().get("/x")).await.expect("no hang");
    assert_eq!(page.status, 502);
    assert!(page.text().contains("does not answer"), "{}", page.text());
    let page = stack.browser().fetch(Method::GET, "/x").await;
    assert_eq!(page.status, 502);
    assert!(page.header("content-type").unwrap().starts_with("application/json"));
    let broken = open().await;
    assert_eq!(broken.browser().get("/close").await.status, 502);
    assert_eq!(broken.browser().get("/unasked-101").await.status, 502);
}

#[tokio::test]
async fn f15_a_post_is_never_sent_twice() {
    let stack = open().await;
    stack.browser().request(Method::POST, "/close", FETCH, Bytes::from("x")).await;
    assert_eq!(stack.app.requests().len(), 1);
}

#[tokio::test]
async fn a_websocket_is_tunnelled_after_the_apps_101() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(n, v)| format!("{n}={v}")).collect();
    let handshake = |origin: &str, cookie: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Origin: {origin}\r\nCookie: {cookie}\r\n\r\n",
            stack.host()
        )
    };
    let address = stack.proxy.address().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = handshake(&stack.origin(), &cookies.join("; "));
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("upgrade: websocket"));
    stream.write_all(b"ping through the tunnel").await.unwrap();
    let mut echo = [0; 23];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping through the tunnel");
    assert!(stack.app.last().header("authorization").unwrap().starts_with("Bearer "));
    // H3: from another site it is refused, and without a session it is a 401.
    for (origin, cookie, status) in [
        ("https://evil.test", cookies.join("; "), "403"),
        (stack.origin().as_str(), String::new(), "401"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(handshake(origin, &cookie).as_bytes()).await.unwrap();
        let mut status_line = [0; 12];
        stream.read_exact(&mut status_line).await.unwrap();
        assert_eq!(&status_line[9..], status.as_bytes());
    }
}
