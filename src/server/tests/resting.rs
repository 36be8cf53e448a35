//! A connection that rests behaves like one that does not.

use http_body_util::BodyExt;
use tokio::{sync::oneshot, time::interval};

use super::*;

/// Waits until `count` connections rest. One that rests has been idle for a moment, so this is
/// also how a test lets that moment pass.
async fn resting(running: &Running, count: i64) {
    let mut looks = interval(Duration::from_millis(10));
    let rests = async {
        while running.metrics.connections_resting().get() != count {
            looks.tick().await;
        }
    };
    let rested = timeout(Duration::from_secs(20), rests).await;
    let found = running.metrics.connections_resting().get();
    assert!(rested.is_ok(), "{found} connections rest");
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

#[tokio::test]
async fn the_next_request_is_answered_and_so_are_those_behind_it() {
    let running = start(&settings(), hello);
    let mut stream = connect(&running).await;
    get(&mut stream, "/a").await;
    for round in 0..2 {
        resting(&running, 1).await;
        assert_eq!(running.metrics.connections().get(), 1);
        let (first, second) = (format!("/b{round}"), format!("/c{round}"));
        let both = format!(
            "GET {first} HTTP/1.1\r\nHost: a\r\n\r\nPOST {second} HTTP/1.1\r\nHost: a\r\n\
             Content-Length: 4\r\n\r\nbodyGET /last HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        stream.write_all(both.as_bytes()).await.unwrap();
        let answers = read_until(&mut stream, "/last").await;
        let places = [&first, &second].map(|path| answers.find(path.as_str()));
        assert!(places[0] < places[1] && places[0].is_some(), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    }
    stop(running).await;
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_heard() {
    let running = start(&settings(), hello);
    let mut stream = connect(&running).await;
    get(&mut stream, "/a").await;
    resting(&running, 1).await;
    for byte in b"GET /slowly HTTP/1.1\r\nHost: a\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    read_until(&mut stream, "/slowly").await;
    stop(running).await;
}

#[tokio::test]
async fn the_head_after_a_rest_is_as_urgent_as_any() {
    let mut settings = settings();
    settings.limits.header_time = "400ms".parse().unwrap();
    settings.limits.idle_time = Span::minutes(10);
    let running = start(&settings, hello);
    let mut stream = connect(&running).await;
    get(&mut stream, "/a").await;
    resting(&running, 1).await;
    stream.write_all(b"GET /b HT").await.unwrap();
    assert_eq!(timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap(), "");
    assert!(running.metrics.render().contains("refusals_total{reason=\"slow_head\"} 1\n"));
    stop(running).await;
}

#[tokio::test]
async fn a_rest_is_idle_time() {
    let mut settings = settings();
    settings.limits.idle_time = "1500ms".parse().unwrap();
    let running = start(&settings, hello);
    let mut stream = connect(&running).await;
    let begun = Instant::now();
    get(&mut stream, "/a").await;
    resting(&running, 1).await;
    timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
    let passed = begun.elapsed();
    assert!(passed >= Duration::from_millis(1500), "{passed:?}");
    // Not counted from the rest on.
    assert!(passed < Duration::from_millis(2400), "{passed:?}");
    resting(&running, 0).await;
    stop(running).await;
}

#[tokio::test]
async fn a_server_that_closes_or_aborts_does_not_wait_for_those_who_rest() {
    for abort in [false, true] {
        let running = start(&settings(), hello);
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = connect(&running).await;
            get(&mut stream, "/a").await;
            streams.push(stream);
        }
        resting(&running, 3).await;
        if abort {
            running.lifecycle.abort();
        }
        timeout(Duration::from_secs(5), stop(running)).await.unwrap();
        for stream in &mut streams {
            assert_eq!(read_all(stream).await, "");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_while_its_connection_rests_is_noticed() {
    let running = start(&settings(), hello);
    let mut stream = connect(&running).await;
    get(&mut stream, "/a").await;
    resting(&running, 1).await;
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap(), "");
    resting(&running, 0).await;
    stop(running).await;
}

#[tokio::test]
async fn a_place_is_kept_by_those_who_rest() {
    let mut settings = settings();
    settings.limits.connections = 1;
    let running = start(&settings, hello);
    let mut first = connect(&running).await;
    get(&mut first, "/first").await;
    let mut second = connect(&running).await;
    second.write_all(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    resting(&running, 1).await;
    get(&mut first, "/still-first").await;
    drop(first);
    read_until(&mut second, "/second").await;
    drop(second);
    stop(running).await;
}

#[tokio::test]
async fn whoever_has_begun_the_next_request_does_not_rest() {
    let running = start(&settings(), hello);
    let mut begun = connect(&running).await;
    begun.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HT").await.unwrap();
    read_until(&mut begun, "/a").await;
    let mut other = connect(&running).await;
    get(&mut other, "/other").await;
    resting(&running, 1).await;
    begun.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut begun, "/b").await;
    stop(running).await;
}

#[tokio::test]
async fn half_a_head_behind_an_answered_request_has_its_time_too() {
    let mut settings = settings();
    settings.limits.header_time = "400ms".parse().unwrap();
    settings.limits.idle_time = Span::minutes(10);
    let running = start(&settings, hello);
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HT").await.unwrap();
    timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
    assert!(running.metrics.render().contains("refusals_total{reason=\"slow_head\"} 1\n"));
    stop(running).await;
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_answer_is_not_cut() {
    let (tell, whole) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let running = start(&settings(), move |_, request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        if path == "/upload" {
            let tell = tell.lock().unwrap().take().unwrap();
            tokio::spawn(async move {
                let (mut body, mut bytes) = (request.into_body(), Vec::new());
                while !body.is_end_stream() {
                    let frame = body.frame().await.unwrap().unwrap();
                    bytes.extend_from_slice(&frame.into_data().unwrap());
                }
                tell.send(bytes)
            });
        }
        async { Response::new(Body::full(path)) }
    });
    let mut stream = connect(&running).await;
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "/upload").await;
    let mut other = connect(&running).await;
    get(&mut other, "/other").await;
    resting(&running, 1).await;
    stream.write_all(b"more").await.unwrap();
    assert_eq!(whole.await.unwrap(), b"fourmore");
    get(&mut stream, "/after").await;
    stop(running).await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_yet_is_not_cut() {
    const LENGTH: usize = 32 << 20;
    let running = start(&settings(), |_, request: Request<Incoming>| async move {
        let large = request.uri().path() == "/large";
        Response::new(Body::full(if large { "x".repeat(LENGTH) } else { "/other".to_owned() }))
    });
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut other = connect(&running).await;
    get(&mut other, "/other").await;
    resting(&running, 1).await;
    stream.write_all(b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let answers = read_all(&mut stream).await;
    assert!(answers.len() > LENGTH && answers.ends_with("/other"), "{}", answers.len());
    stop(running).await;
}
