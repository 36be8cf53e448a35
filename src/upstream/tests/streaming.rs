//! What reaches the app, what comes back, and when.

use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn method_target_and_fields_arrive_as_they_were_judged() {
    let front = Front::to(mirror().await).await;
    let mut client = front.connect().await;
    client
        .send(
            "PURGE /a;b/c%20d?x=%2F&y=a+b HTTP/1.1\r\nHost: LOCALHOST:4180\r\nSOAPAction: \"x\"\r\n\
             Connection: close, X-Secret\r\nX-Secret: 1\r\nTE: trailers\r\nX-Raw: caf\u{e9}\r\n\
             Content-Length: 4\r\n\r\nbody",
        )
        .await;
    let head = client.head().await;
    assert_eq!(status(&head), 200);
    let seen = client.body(&head).await;
    assert!(seen.starts_with("PURGE /a;b/c%20d?x=%2F&y=a+b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nSOAPAction: \"x\"\r\n"), "{seen}");
    assert!(seen.contains("\r\nX-Raw: caf\u{e9}\r\n"), "{seen}");
    assert_eq!(field(&seen, "host"), Some("localhost:4180"));
    assert_eq!(field(&seen, "content-length"), Some("4"));
    for name in ["connection", "x-secret", "te", "transfer-encoding"] {
        assert_eq!(field(&seen, name), None, "{seen}");
    }
    assert!(seen.ends_with("\r\n\r\nbody"), "{seen}");
}

#[tokio::test]
async fn the_apps_own_name_is_sent_where_that_is_wanted() {
    let app = mirror().await;
    let settings =
        Settings { url: format!("http://{app}"), preserve_host: false, ..Settings::default() };
    let (_, seen) = Front::start(settings).await.ask("GET /").await;
    assert_eq!(field(&seen, "host"), Some(app.to_string().as_str()));
}

#[tokio::test]
async fn an_upload_streams_and_its_trailers_stay_here() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = scripted(move |mut client| {
        let tell = tell.clone();
        async move {
            let head = client.head().await;
            assert_eq!(field(&head, "trailer"), None);
            loop {
                let chunk = client.chunk().await;
                let end = chunk.is_empty();
                tell.send(chunk).unwrap();
                if end {
                    break;
                }
            }
            client.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            tell.send(client.rest().await).unwrap();
        }
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client
        .send(
            "POST /up HTTP/1.1\r\nHost: localhost:4180\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Forwarded-User\r\n\r\n",
        )
        .await;
    for piece in ["one", "two"] {
        client.send(&format!("{:x};ext=1\r\n{piece}\r\n", piece.len())).await;
        assert_eq!(told.recv().await.unwrap(), piece);
    }
    client.send("0\r\nX-Forwarded-User: admin\r\n\r\n").await;
    assert_eq!(told.recv().await.unwrap(), "");
    assert_eq!(status(&client.head().await), 204);
    // Nothing follows on that connection but its end, when the pool lets go of it.
    assert_eq!(told.recv().await.unwrap(), "");
}

#[tokio::test]
async fn a_download_streams_piece_by_piece() {
    let (go_on, mut more) = mpsc::channel::<()>(1);
    let script = Arc::new(tokio::sync::Mutex::new(Some(more_of(&mut more))));
    let app = scripted(move |mut client| {
        let script = script.clone();
        async move {
            client.head().await;
            let mut more = script.lock().await.take().unwrap();
            client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            for piece in ["data: 1\n\n", "data: 2\n\n"] {
                client.send(piece).await;
                more.recv().await;
            }
        }
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client.send("GET /events HTTP/1.1\r\nHost: localhost:4180\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 200);
    for piece in ["data: 1\n\n", "data: 2\n\n"] {
        assert_eq!(client.chunk().await, piece);
        go_on.send(()).await.unwrap();
    }
    assert_eq!(client.chunk().await, "");
}

/// Takes a receiver out of its place, so that a script can own it.
fn more_of(more: &mut mpsc::Receiver<()>) -> mpsc::Receiver<()> {
    let (_, closed) = mpsc::channel(1);
    std::mem::replace(more, closed)
}

#[tokio::test]
async fn what_ends_at_the_app_and_what_signs_in_a_connection_does_not_come_back() {
    let app = scripted(|mut client| async move {
        client.head().await;
        client
            .send(
                "HTTP/1.1 200 Fine\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                 WWW-Authenticate: NTLM\r\nWWW-Authenticate: Basic realm=\"a\"\r\nX-Case: 1\r\n\
                 Transfer-Encoding: chunked\r\nContent-Length: 2\r\nTrailer: X-T\r\n\r\n\
                 5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            )
            .await;
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost:4180\r\nTE: trailers\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
    assert!(head.contains("\r\nX-Case: 1\r\n"), "{head}");
    assert_eq!(field(&head, "www-authenticate"), Some("Basic realm=\"a\""));
    for name in ["connection", "x-hop", "keep-alive", "content-length", "trailer"] {
        assert_eq!(field(&head, name), None, "{head}");
    }
    assert_eq!(client.body(&head).await, "hello");
}

#[tokio::test]
async fn answers_without_a_body_have_none_whatever_length_they_name() {
    let app = scripted(|mut client| async move {
        loop {
            let head = client.head().await;
            let status = match head.split(' ').next() {
                Some("HEAD") => "200 OK",
                Some("GET") => "304 Not Modified",
                _ => return,
            };
            client.send(&format!("HTTP/1.1 {status}\r\nContent-Length: 1234\r\n\r\n")).await;
        }
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    for (method, wanted) in [("HEAD", 200), ("GET", 304)] {
        client.send(&format!("{method} / HTTP/1.1\r\nHost: localhost:4180\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!(status(&head), wanted);
        // hyper leaves it out of a 304, as RFC 9110 §15.4.5 allows.
        assert_eq!(field(&head, "content-length").is_some(), method == "HEAD", "{head}");
    }
}

#[tokio::test]
async fn an_early_answer_passes_while_the_client_still_uploads() {
    let app = scripted(|mut client| async move {
        client.head().await;
        client.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        client.rest().await;
    })
    .await;
    let front = Front::to(app).await;
    let mut client = front.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nContent-Length: 9000000\r\n\r\nx")
        .await;
    let head = client.head().await;
    assert_eq!(status(&head), 413);
    assert_eq!(client.body(&head).await, "big");
}

#[tokio::test]
async fn connections_to_the_app_are_kept_and_shared() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = scripted(move |mut client| {
        tell.send(()).unwrap();
        async move {
            while !client.head().await.is_empty() {
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let front = Front::to(app).await;
    for _ in 0..3 {
        assert_eq!(front.ask("GET /").await, (200, "ok".to_owned()));
    }
    assert!(told.try_recv().is_ok());
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn an_app_behind_a_unix_socket_is_an_app() {
    let folder = std::env::temp_dir().join(format!("vestibule-upstream-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("app.sock");
    // Left behind by a process that had the same number.
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlocal").await.unwrap();
    });
    let settings = Settings { url: format!("unix:{}", path.display()), ..Settings::default() };
    let front = Front::start(settings).await;
    assert!(front.upstream.is_loopback());
    assert_eq!(front.ask("GET /").await, (200, "local".to_owned()));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_app_learns_that_the_browser_has_gone() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = scripted(move |mut client| {
        let tell = tell.clone();
        async move {
            let head = client.head().await;
            if head.starts_with("GET /stream") {
                client.send("HTTP/1.1 200 OK\r\n\r\ndata").await;
            }
            tell.send("asked").unwrap();
            client.rest().await;
            tell.send("gone").unwrap();
        }
    })
    .await;
    let front = Front::to(app).await;
    for path in ["/wait", "/stream"] {
        let mut client = front.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost:4180\r\n\r\n")).await;
        assert_eq!(told.recv().await, Some("asked"));
        drop(client);
        let gone = timeout(Duration::from_secs(5), told.recv()).await.unwrap();
        assert_eq!(gone, Some("gone"), "{path}");
    }
}
