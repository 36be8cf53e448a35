//! Apps that are away, slow, rude or confused.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn impatient(app: SocketAddr) -> Front {
    let settings = Settings {
        url: format!("http://{app}"),
        idle_timeout: "900ms".parse().unwrap(),
        ..Settings::default()
    };
    Front::start(settings).await
}

#[tokio::test]
async fn an_app_that_is_away_is_502_at_once() {
    let front = Front::to(closed_port()).await;
    let begun = std::time::Instant::now();
    assert_eq!(front.ask("GET /").await, (502, "unreachable".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(matches!(front.upstream.probe().await, Err(UpstreamError::Unreachable(_))));
    let metrics = front.metrics.render();
    assert!(metrics.contains("upstream_errors_total{reason=\"unreachable\"} 1\n"), "{metrics}");
}

/// Its machine answers nothing, or its queue is full.
#[tokio::test]
async fn an_app_that_takes_no_connection_is_504() {
    let queue = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    queue.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    queue.listen(0).unwrap();
    let app = queue.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let stream =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.connect(&app.into());
        waiting.push(stream);
    }
    let settings = Settings {
        url: format!("http://{app}"),
        connect_timeout: "300ms".parse().unwrap(),
        ..Settings::default()
    };
    let front = Front::start(settings).await;
    assert_eq!(front.ask("GET /").await, (504, "connect_timeout".to_owned()));
}

#[tokio::test]
async fn an_app_that_appears_later_is_found_without_a_restart() {
    let port = closed_port();
    let front = Front::to(port).await;
    assert_eq!(front.ask("GET /").await.0, 502);
    let listener = TcpListener::bind(port).await.unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut client = Client(BufReader::new(stream));
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await;
    });
    assert_eq!(front.ask("GET /").await, (200, "up".to_owned()));
}

/// Answers the first request of a connection and closes when the second has come.
async fn forgetful(counted: Arc<AtomicUsize>) -> SocketAddr {
    scripted(move |mut client| {
        let counted = counted.clone();
        async move {
            client.head().await;
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let head = client.head().await;
            if !head.is_empty() {
                client.body(&head).await;
                counted.fetch_add(1, SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_get_on_a_connection_that_the_app_just_closed_is_asked_again() {
    let closed = Arc::new(AtomicUsize::new(0));
    let front = Front::to(forgetful(closed.clone()).await).await;
    for _ in 0..2 {
        assert_eq!(front.ask("GET /").await, (200, "ok".to_owned()));
    }
    assert_eq!(closed.load(SeqCst), 1);
    assert!(front.metrics.render().contains("upstream_retries_total 1\n"));
}

#[tokio::test]
async fn a_post_reaches_the_app_once_whatever_becomes_of_it() {
    let closed = Arc::new(AtomicUsize::new(0));
    let front = Front::to(forgetful(closed.clone()).await).await;
    assert_eq!(front.ask("GET /").await.0, 200);
    let mut client = front.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nContent-Length: 3\r\n\r\npay").await;
    let head = client.head().await;
    assert_eq!(status(&head), 502);
    assert_eq!(client.body(&head).await, "broken");
    assert_eq!(closed.load(SeqCst), 1);
    for line in ["POST /", "DELETE /x"] {
        assert_eq!(front.ask("GET /").await.0, 200);
        assert_eq!(front.ask(line).await, (502, "broken".to_owned()), "{line}");
    }
    assert_eq!(closed.load(SeqCst), 3);
    assert!(front.metrics.render().contains("upstream_retries_total 0\n"));
}

#[tokio::test]
async fn an_app_that_says_nothing_is_504() {
    let app = scripted(|mut client| async move {
        client.head().await;
        client.rest().await;
    })
    .await;
    let front = impatient(app).await;
    assert_eq!(front.ask("GET /").await, (504, "idle".to_owned()));
}

#[tokio::test]
async fn a_long_upload_is_not_silence() {
    let app = scripted(|mut client| async move {
        let head = client.head().await;
        let body = client.body(&head).await;
        client
            .send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {0}\r\n\r\n{body}", body.len()))
            .await;
    })
    .await;
    let front = impatient(app).await;
    let mut client = front.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nContent-Length: 8\r\n\r\n").await;
    for piece in ["ab", "cd", "ef", "gh"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send(piece).await;
    }
    let head = client.head().await;
    assert_eq!(status(&head), 200);
    assert_eq!(client.body(&head).await, "abcdefgh");
}

#[tokio::test]
async fn a_caller_that_falls_silent_in_its_body_is_408_and_the_app_sees_no_whole_body() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let app = scripted(move |mut client| {
        let tell = tell.clone();
        async move {
            client.head().await;
            tell.send(client.rest().await).unwrap();
        }
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let head = client.head().await;
    assert_eq!(status(&head), 408);
    assert_eq!(client.body(&head).await, "caller_idle");
    assert_eq!(told.recv().await.unwrap(), "3\r\nabc\r\n");
}

#[tokio::test]
async fn a_broken_chunk_of_the_caller_is_not_the_apps_fault() {
    let app = scripted(|mut client| async move {
        client.head().await;
        client.rest().await;
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        .await;
    let head = client.head().await;
    assert!(head.is_empty() || status(&head) == 400, "{head}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_browser_too() {
    for rest in
        ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let app = scripted(move |mut client| async move {
            client.head().await;
            client.send(&format!("HTTP/1.1 200 OK\r\n{rest}")).await;
        })
        .await;
        let front = Front::to(app).await;
        let mut client = front.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: localhost:4180\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!(status(&head), 200);
        let rest = client.rest().await;
        assert!(rest.contains("half") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut() {
    let app = scripted(|mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        client.rest().await;
    })
    .await;
    let front = impatient(app).await;
    let mut client = front.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost:4180\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 200);
    let rest = timeout(Duration::from_secs(5), client.rest()).await.unwrap();
    assert_eq!(rest, "half");
}

#[tokio::test]
async fn malformed_answers_are_502_and_lenience_stays_off() {
    for head in [
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let app = scripted(move |mut client| async move {
            client.head().await;
            client.send(head).await;
        })
        .await;
        let front = Front::to(app).await;
        let mut client = front.connect().await;
        client.send("PUT / HTTP/1.1\r\nHost: localhost:4180\r\nContent-Length: 0\r\n\r\n").await;
        let answer = client.head().await;
        assert_eq!(status(&answer), 502, "{head:?}");
    }
    let many = "X: y\r\n".repeat(300);
    let app = scripted(move |mut client| {
        let many = many.clone();
        async move {
            client.head().await;
            client.send(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
        }
    })
    .await;
    assert_eq!(Front::to(app).await.ask("GET /").await, (502, "malformed_response".to_owned()));
}

#[tokio::test]
async fn an_app_that_is_not_tls_says_so() {
    let app = scripted(|mut client| async move {
        client.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let settings = Settings { url: format!("https://{app}"), ..Settings::default() };
    assert_eq!(Front::start(settings).await.ask("GET /").await, (502, "tls".to_owned()));
}

#[test]
fn an_upstream_that_cannot_be_used_is_refused_at_start() {
    let build =
        |settings: Settings| Upstream::build(&settings, 1, Lifecycle::new(), Metrics::new()).err();
    let url = |url: &str| Settings { url: url.to_owned(), ..Settings::default() };
    assert!(matches!(build(url("app:8080/x")), Some(BuildError::Url(_))));
    let https = url("https://app");
    let missing = Settings { ca_file: Some("/nowhere/ca.pem".into()), ..https.clone() };
    assert!(matches!(build(missing), Some(BuildError::Tls(TlsError::File(_)))));
    let half = Settings { certificate_file: Some("/nowhere/c.pem".into()), ..https };
    assert!(matches!(build(half), Some(BuildError::Tls(TlsError::Half))));
}

#[test]
fn every_failure_has_a_status_of_the_party_at_fault() {
    let rude = UpstreamError::BadUpgrade;
    assert_eq!((rude.status(), rude.reason()), (StatusCode::BAD_GATEWAY, "bad_upgrade"));
    let late = UpstreamError::from(ConnectError::TimedOut(Duration::from_secs(5)));
    assert_eq!((late.status(), late.reason()), (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"));
    let large = UpstreamError::CallerTooLarge(5);
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
