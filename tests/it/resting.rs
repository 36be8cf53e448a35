//! A connection that waits for its next request keeps nothing but its socket, and nobody notices.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::support::{ALICE, Setup, Stack, scratch_file};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
const RESTING: &str = "vestibule_connections_resting";

/// A client that keeps its connection.
pub struct Kept<S>(pub S);

impl Kept<TcpStream> {
    async fn connect(stack: &Stack) -> Self {
        Self(TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Kept<S> {
    /// Asks, and reads the answer to its last byte.
    pub async fn ask(&mut self, stack: &Stack, path: &str, fields: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", stack.host());
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.0.read_u8().await.unwrap()));
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).expect("an answer with a length");
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        head + &String::from_utf8_lossy(&body)
    }

    /// Reads to the end, which must come soon and in order.
    pub async fn ends(&mut self) {
        let read = timeout(Duration::from_secs(20), self.0.read(&mut [0; 16])).await;
        assert_eq!(read.expect("an end").expect("an end in order"), 0);
    }
}

#[tokio::test]
async fn a_user_whose_connection_rested_is_still_signed_in_and_rules_are_those_of_now() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let cookies: Vec<String> = browser
        .session_cookies()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let cookie = format!("Cookie: {}\r\n", cookies.join("; "));
    drop(browser);
    let mut client = Kept::connect(&stack).await;
    for path in ["/first", "/second", "/third"] {
        let answer = client.ask(&stack, path, &cookie).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(stack.app.last().target(), path);
        assert_eq!(stack.app.last().header("x-forwarded-for"), Some("127.0.0.1"));
        stack.metric_becomes(RESTING, 1).await;
        assert_eq!(stack.metric("vestibule_connections").await, 1);
    }
    assert!(client.ask(&stack, "/free", "").await.starts_with("HTTP/1.1 401 "));
    stack.metric_becomes(RESTING, 1).await;
    let text = std::fs::read_to_string(&stack.config_file).unwrap();
    stack.write(&format!("{text}\n[[rules]]\npath = \"/free\"\naccess = \"anonymous\"\n"));
    stack.proxy.reload_now().await.unwrap();
    assert!(client.ask(&stack, "/free", "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn whom_the_proxy_protocol_named_is_remembered() {
    let stack = Setup::default().rules(ANYBODY).set("server.proxy_protocol", "true").start().await;
    let mut client = Kept::connect(&stack).await;
    client.0.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n").await.unwrap();
    for path in ["/first", "/second"] {
        client.ask(&stack, path, "").await;
        assert_eq!(stack.app.last().header("x-forwarded-for"), Some("192.0.2.7"));
        stack.metric_becomes(RESTING, 1).await;
    }
}

#[tokio::test]
async fn a_drain_tells_those_who_rest_at_once() {
    let stack = Setup::default().rules(ANYBODY).start().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Kept::connect(&stack).await;
        client.ask(&stack, "/x", "").await;
        clients.push(client);
    }
    stack.metric_becomes(RESTING, 5).await;
    let finished = stack.proxy.finish(Duration::from_mins(1));
    timeout(Duration::from_secs(20), finished).await.expect("nobody is waited for");
    for client in &mut clients {
        client.ends().await;
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_that_keeps_its_connection_may_rest_too() {
    let stack = Setup::default().rules(ANYBODY).start().await;
    let mut client = Kept::connect(&stack).await;
    client.ask(&stack, "/x", "Connection: keep-alive\r\n").await;
    stack.metric_becomes(RESTING, 1).await;
    let old = format!("GET /old HTTP/1.0\r\nHost: {}\r\n\r\n", stack.host());
    client.0.write_all(old.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stack.metric_becomes("vestibule_connections", 0).await;
}

#[tokio::test]
async fn a_unix_socket_rests_like_any_other() {
    let socket = scratch_file("rest.sock");
    let stack = Setup::default().rules(ANYBODY).start().await;
    stack.rewrite("127.0.0.1:0\"\npublic_url", &format!("unix:{}\"\npublic_url", socket.display()));
    let source = vestibule::config::Source::new(Some(&stack.config_file), std::iter::empty());
    let config = source.read().unwrap().loaded.config;
    let local = vestibule::app::start(&config, stack.clock.clone()).unwrap();
    local.ready().await;
    let mut client = Kept(UnixStream::connect(&socket).await.unwrap());
    let metrics = format!("http://{}", local.admin_address());
    for path in ["/first", "/second"] {
        client.ask(&stack, path, "").await;
        assert_eq!(stack.app.last().target(), path);
        let rests = async {
            let line = format!("{RESTING} 1\n");
            let mut admin = crate::support::Browser::new(&metrics);
            while !admin.get("/metrics").await.text().contains(&line) {}
        };
        timeout(Duration::from_secs(20), rests).await.expect("a rest");
    }
    local.finish(Duration::from_mins(1)).await;
    client.ends().await;
}
