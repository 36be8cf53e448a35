//! Connections that are kept for the next request, and what becomes of them meanwhile.

use std::time::Instant;

use tokio::sync::{
    mpsc::{UnboundedSender, unbounded_channel},
    watch,
};

use super::{pool::KEPT, *};

/// Answers one request for each connection with its head, then does as `then` says; tells of each
/// head, and of each connection's end.
async fn once(then: &'static str, told: UnboundedSender<String>) -> SocketAddr {
    scripted(move |mut client| {
        let told = told.clone();
        async move {
            let head = client.head().await;
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            told.send(head).unwrap();
            client.send(then).await;
            if then.is_empty() {
                client.rest().await;
                told.send("end".to_owned()).unwrap();
            }
        }
    })
    .await
}

async fn post(front: &Front) -> u16 {
    let mut client = front.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: localhost:4180\r\nContent-Length: 3\r\n\r\npay").await;
    status(&client.head().await)
}

#[tokio::test]
async fn a_post_does_not_run_into_a_kept_connection_that_the_app_has_closed() {
    // A word before the end, as some servers have it, is not the answer to what comes next.
    for then in [" ", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"] {
        let (told, mut heads) = unbounded_channel();
        let front = Front::to(once(then, told).await).await;
        for _ in 0..3 {
            assert_eq!(post(&front).await, 200);
            assert!(heads.recv().await.unwrap().starts_with("POST / "));
        }
        assert!(front.metrics.render().contains("upstream_retries_total 0\n"));
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_by_us() {
    let (told, mut heads) = unbounded_channel();
    let front = Front::to(once("", told).await).await;
    assert_eq!(front.ask("GET /").await.0, 200);
    let begun = Instant::now();
    assert!(heads.recv().await.unwrap().starts_with("GET / "));
    assert_eq!(timeout(5 * KEPT, heads.recv()).await.unwrap().unwrap(), "end");
    assert!(begun.elapsed() > KEPT / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_serves_the_next_request_when_its_answer_is_over_and_not_before() {
    let (told, mut connections) = unbounded_channel();
    let (finish, finished) = watch::channel(0_u32);
    let app = scripted(move |mut client| {
        told.send(()).unwrap();
        let mut finished = finished.clone();
        async move {
            loop {
                let head = client.head().await;
                if head.is_empty() {
                    return;
                }
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
                let long = head.strip_prefix("GET /long").and_then(|rest| rest.split(' ').next());
                let round = long.map_or(0, |round| round.parse().unwrap());
                finished.wait_for(|rounds| *rounds >= round).await.unwrap();
                client.send("k").await;
            }
        }
    })
    .await;
    let front = Front::to(app).await;
    for round in 1..4 {
        let mut client = front.connect().await;
        let line = format!("GET /long{round} HTTP/1.1");
        client.send(&format!("{line}\r\nHost: localhost:4180\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!(front.ask("GET /short").await, (200, "ok".to_owned()));
        finish.send(round).unwrap();
        assert_eq!(client.body(&head).await, "ok");
    }
    connections.close();
    let mut made = 0;
    while connections.recv().await.is_some() {
        made += 1;
    }
    assert_eq!(made, 2);
}

/// An app that speaks HTTP/2 and ends its first connection instead of answering.
async fn forgetful_in_frames() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut frames = [0; 1024];
        assert!(first.read(&mut frames).await.unwrap() > 0);
        drop(first);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let hello =
                service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::full("ok"))) });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), hello));
        }
    });
    address
}

#[tokio::test]
async fn over_http_2_a_get_is_asked_again_when_its_connection_ends_and_a_post_is_not() {
    for (line, answer, retries) in
        [("GET /", (200, "ok".to_owned()), 1), ("POST /", (502, "broken".to_owned()), 0)]
    {
        let url = format!("http://{}", forgetful_in_frames().await);
        let front = Front::start(Settings { url, http2: true, ..Settings::default() }).await;
        assert_eq!(front.ask(line).await, answer);
        let counted = format!("upstream_retries_total {retries}\n");
        assert!(front.metrics.render().contains(&counted));
    }
}
