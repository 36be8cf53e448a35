//! Tunnels: begun by a 101 that fits, and by nothing else.

use super::*;

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: localhost:4180\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, then echoes.
async fn echo() -> SocketAddr {
    scripted(|mut client| async move {
        let head = client.head().await;
        assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
        assert_eq!(field(&head, "connection"), Some("Upgrade"), "{head}");
        assert_eq!(field(&head, "sec-websocket-version"), Some("13"), "{head}");
        client.send(SWITCH).await;
        let mut bytes = [0; 64];
        loop {
            let read = client.0.read(&mut bytes).await.unwrap_or_default();
            if read == 0 {
                return;
            }
            client.0.get_mut().write_all(&bytes[..read]).await.unwrap();
        }
    })
    .await
}

async fn opened(front: &Front) -> Client {
    let mut client = front.connect().await;
    client.send(HANDSHAKE).await;
    let head = client.head().await;
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert!(field(&head, "connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

async fn said(client: &mut Client, text: &str) {
    client.send(text).await;
    let mut back = vec![0; text.len()];
    client.0.read_exact(&mut back).await.unwrap();
    assert_eq!(back, text.as_bytes());
}

/// Waits until no tunnel is left.
async fn ended(front: &Front) {
    let ended = async {
        while front.metrics.tunnels().get() != 0 || !front.lifecycle.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), ended).await.unwrap();
}

#[tokio::test]
async fn a_web_socket_carries_bytes_both_ways_until_one_side_leaves() {
    let front = Front::to(echo().await).await;
    let mut client = opened(&front).await;
    for text in ["hello", "\u{0}\r\n\r\n"] {
        said(&mut client, text).await;
    }
    assert_eq!(front.metrics.tunnels().get(), 1);
    drop(client);
    ended(&front).await;
}

#[tokio::test]
async fn a_tunnel_ends_when_the_proxy_closes() {
    let front = Front::to(echo().await).await;
    let mut client = opened(&front).await;
    // A text frame of five bytes, as the app sees it and sends it back.
    said(&mut client, "\u{1}\u{5}hello").await;
    front.lifecycle.close();
    let mut close = [0; 14];
    client.0.read_exact(&mut close).await.unwrap();
    assert_eq!(&close, b"\x88\x0c\x03\xe9going away");
    assert_eq!(client.rest().await, "");
    ended(&front).await;
}

#[tokio::test]
async fn a_silent_tunnel_ends_and_a_talking_one_does_not() {
    let settings = Settings {
        url: format!("http://{}", echo().await),
        idle_timeout: "900ms".parse().unwrap(),
        ..Settings::default()
    };
    let front = Front::start(settings).await;
    let mut client = opened(&front).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        said(&mut client, "tick").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(timeout(Duration::from_secs(5), client.rest()).await.unwrap(), "");
    ended(&front).await;
}

#[tokio::test]
async fn an_app_that_declines_is_plain_http_and_the_next_request_is_too() {
    let front = Front::to(mirror().await).await;
    let mut client = front.connect().await;
    client.send(&format!("{HANDSHAKE}GET /next HTTP/1.1\r\nHost: localhost:4180\r\n\r\n")).await;
    for path in ["/ws", "/next"] {
        let head = client.head().await;
        assert_eq!(status(&head), 200);
        let seen = client.body(&head).await;
        assert!(seen.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{seen}");
    }
    assert_eq!(front.metrics.tunnels().get(), 0);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_502() {
    let other = SWITCH.replace("WebSocket\r\n", "h2c\r\n");
    let silent = SWITCH.replace("Upgrade: WebSocket\r\n", "");
    let plain = "GET /ws HTTP/1.1\r\nHost: localhost:4180\r\n\r\n";
    let h2c =
        HANDSHAKE.replace("websocket", "h2c").replace("Upgrade\r\n", "Upgrade, HTTP2-Settings\r\n");
    for (request, answer) in
        [(plain, SWITCH), (h2c.as_str(), SWITCH), (HANDSHAKE, other.as_str()), (HANDSHAKE, &silent)]
    {
        let answer = answer.to_owned();
        let app = scripted(move |mut client| {
            let answer = answer.clone();
            async move {
                client.head().await;
                client.send(&answer).await;
                client.rest().await;
            }
        })
        .await;
        let front = Front::to(app).await;
        let mut client = front.connect().await;
        client.send(request).await;
        let head = client.head().await;
        assert_eq!(status(&head), 502, "{request}");
        assert_eq!(client.body(&head).await, "bad_upgrade");
        assert_eq!(front.metrics.tunnels().get(), 0);
    }
}

#[tokio::test]
async fn only_a_web_socket_is_asked_for() {
    let front = Front::to(mirror().await).await;
    let mut client = front.connect().await;
    let h2c = "GET / HTTP/1.1\r\nHost: localhost:4180\r\nConnection: Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    client.send(h2c).await;
    let head = client.head().await;
    let seen = client.body(&head).await;
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(field(&seen, name), None, "{seen}");
    }
}
