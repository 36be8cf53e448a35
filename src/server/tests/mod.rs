//! The server through sockets: time, limits, panics and the end.

use std::{
    sync::{Arc, mpsc::channel},
    time::Instant,
};

use http::{HeaderValue, StatusCode, header::UPGRADE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
};

use super::*;
use crate::base::units::Span;

mod resting;

struct Running {
    address: SocketAddr,
    lifecycle: Lifecycle,
    metrics: Metrics,
    handle: ServerHandle,
}

fn settings() -> Settings {
    Settings { listen: "127.0.0.1:0".to_owned(), workers: 2, ..Settings::default() }
}

fn start<H, F>(settings: &Settings, handler: H) -> Running
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = Server::bind(settings).unwrap();
    let address = server.local_address().unwrap();
    let handle = server.serve(handler, lifecycle.clone(), metrics.clone()).unwrap();
    Running { address, lifecycle, metrics, handle }
}

async fn hello(_: Peer, request: Request<Incoming>) -> Response<Body> {
    assert!(request.uri().path() != "/panic", "as the test wants");
    Response::new(Body::full(request.uri().path().to_owned()))
}

async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset ends the answer as well as a close does.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one response whose body is `body`.
async fn read_until(stream: &mut TcpStream, body: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(body) {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "closed after {answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    answer
}

async fn get(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    read_until(stream, path).await
}

async fn stop(running: Running) {
    running.lifecycle.close();
    running.handle.join().await;
    assert!(running.lifecycle.connections().is_empty());
    assert_eq!(running.metrics.connections().get(), 0);
}

#[tokio::test]
async fn a_kept_connection_answers_request_after_request_until_the_server_closes() {
    let running = start(&settings(), hello);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for path in ["/a", "/b"] {
        let answer = get(&mut stream, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(running.metrics.connections().get(), 1);
    running.lifecycle.close();
    assert_eq!(read_all(&mut stream).await, "");
    stop(running).await;
}

#[tokio::test]
async fn a_panic_is_one_answer_of_500_and_nobody_elses_trouble() {
    let running = start(&settings(), hello);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = read_until(&mut stream, "here.\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!answer.contains("as the test wants"), "{answer}");
    get(&mut stream, "/after").await;
    assert!(running.metrics.render().contains("vestibule_panics_total 1\n"));
    stop(running).await;
}

#[tokio::test]
async fn a_worker_that_is_stuck_does_not_come_round_and_one_that_has_ended_is_not_stuck() {
    let (reached, arrived) = channel();
    let (release, released) = channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let running = start(&settings(), move |peer, request: Request<Incoming>| {
        let (reached, released) = (reached.clone(), Arc::clone(&released));
        async move {
            reached.send(()).unwrap();
            // What no handler may do: the whole worker stands still.
            released.lock().unwrap().recv().unwrap();
            hello(peer, request).await
        }
    });
    let workers = running.handle.workers().clone();
    workers.come_round().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::task::spawn_blocking(move || arrived.recv().unwrap()).await.unwrap();
    let mut round = std::pin::pin!(workers.come_round());
    assert!(timeout(Duration::from_millis(100), round.as_mut()).await.is_err());
    release.send(()).unwrap();
    round.await;
    read_until(&mut stream, "/stuck").await;
    stop(running).await;
    workers.come_round().await;
}

#[tokio::test]
async fn a_silent_client_and_a_slow_head_are_closed_on_time() {
    let mut settings = settings();
    settings.limits.header_time = "400ms".parse().unwrap();
    settings.limits.idle_time = Span::minutes(10);
    let running = start(&settings, hello);
    for head in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
        assert_eq!(answer, "", "{head}");
    }
    // The second request's head is as urgent as the first's.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    get(&mut stream, "/a").await;
    stream.write_all(b"GET /b HT").await.unwrap();
    timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
    assert!(running.metrics.render().contains("refusals_total{reason=\"slow_head\"} 4\n"));
    stop(running).await;
}

#[tokio::test]
async fn an_idle_connection_has_longer_than_a_head_and_ends_too() {
    let mut settings = settings();
    settings.limits.header_time = "800ms".parse().unwrap();
    settings.limits.idle_time = "1200ms".parse().unwrap();
    let running = start(&settings, hello);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let begun = Instant::now();
    get(&mut stream, "/a").await;
    timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(1200), "{:?}", begun.elapsed());
    assert!(!running.metrics.render().contains("slow_head"));
    stop(running).await;
}

#[tokio::test]
async fn a_slow_handler_is_neither_idle_nor_a_slow_head() {
    let mut settings = settings();
    settings.limits.header_time = "800ms".parse().unwrap();
    settings.limits.idle_time = "100ms".parse().unwrap();
    let running = start(&settings, |_, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Response::new(Body::full("late"))
    });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut stream, "late").await;
    // What follows is the idle time, although nothing was read since the head.
    timeout(Duration::from_secs(5), read_all(&mut stream)).await.unwrap();
    stop(running).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let mut settings = settings();
    settings.limits.write_time = "100ms".parse().unwrap();
    let running =
        start(&settings, |_, _| async { Response::new(Body::full(vec![b'x'; 64 << 20])) });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let gone = async {
        while running.metrics.connections().get() != 0
            || !running.metrics.render().contains("slow_reader")
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
    drop(stream);
    stop(running).await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_reads_is_served_to_the_end() {
    const LENGTH: usize = 6 << 20;
    let mut settings = settings();
    settings.limits.write_time = "700ms".parse().unwrap();
    let running = start(&settings, |_, _| async { Response::new(Body::full(vec![b'x'; LENGTH])) });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 40_000];
    let mut came = 0;
    // Slow for three times the limit; a kernel with a large buffer would let nothing be written.
    for _ in 0..42 {
        came += stream.read(&mut bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while came < LENGTH {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "cut after {came} bytes");
        came += read;
    }
    assert!(!running.metrics.render().contains("slow_reader"));
    drop(stream);
    stop(running).await;
}

#[tokio::test]
async fn heads_beyond_the_limits_are_431_and_malformed_ones_400() {
    let running = start(&settings(), hello);
    let large = format!("X: {}\r\n", "x".repeat(65_536));
    let many = "X: y\r\n".repeat(100);
    for (fields, status) in [
        (large.as_str(), "431"),
        (many.as_str(), "431"),
        ("X : y\r\n", "400"),
        ("X: a\r\n b\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
    let under = format!(
        "GET /ok HTTP/1.1\r\nHost: a\r\n{}X: {}\r\n\r\n",
        "X: y\r\n".repeat(98),
        "x".repeat(60_000)
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(under.as_bytes()).await.unwrap();
    read_until(&mut stream, "/ok").await;
    drop(stream);
    let metrics = running.metrics.clone();
    // A refusal is counted when its connection has ended.
    stop(running).await;
    for reason in ["malformed", "header_bytes"] {
        let line = format!("refusals_total{{reason=\"{reason}\"}} 2\n");
        assert!(metrics.render().contains(&line), "{reason}");
    }
}

#[tokio::test]
async fn the_refusal_of_an_upload_reaches_a_client_that_reads_it_late() {
    let running = start(&settings(), hello);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..100 {
        stream.write_all(&[b'x'; 4000]).await.unwrap();
    }
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/no"), "{answer}");
    stop(running).await;
}

#[tokio::test]
async fn a_drain_finishes_the_request_in_flight_and_takes_no_other() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, go_on) = (arrived.clone(), release.clone());
    let running = start(&settings(), move |_, _| {
        let (inside, go_on) = (inside.clone(), go_on.clone());
        async move {
            inside.notify_one();
            go_on.notified().await;
            Response::new(Body::full("finished"))
        }
    });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    running.lifecycle.close();
    let refused = async { while TcpStream::connect(running.address).await.is_ok() {} };
    timeout(Duration::from_secs(5), refused).await.unwrap();
    release.notify_one();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("finished"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    stop(running).await;
}

#[tokio::test]
async fn whoever_was_in_the_queue_when_the_server_closed_is_answered() {
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = Server::bind(&settings()).unwrap();
    let address = server.local_address().unwrap();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /queued HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    lifecycle.close();
    let handle = server.serve(hello, lifecycle, metrics).unwrap();
    for mut stream in streams {
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/queued"), "{answer}");
    }
    handle.join().await;
}

#[tokio::test]
async fn while_draining_answers_end_their_connection_and_new_ones_are_still_welcome() {
    let running = start(&settings(), hello);
    running.lifecycle.drain();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/a"), "{answer}");
    }
    stop(running).await;
}

#[tokio::test]
async fn an_abort_cuts_what_does_not_finish() {
    let arrived = Arc::new(Notify::new());
    let inside = arrived.clone();
    let running = start(&settings(), move |_, _| {
        inside.notify_one();
        std::future::pending::<Response<Body>>()
    });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    running.lifecycle.abort();
    assert_eq!(read_all(&mut stream).await, "");
    timeout(Duration::from_secs(5), stop(running)).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let mut settings = settings();
    settings.limits.connections = 1;
    let running = start(&settings, hello);
    let mut first = TcpStream::connect(running.address).await.unwrap();
    get(&mut first, "/first").await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    second.write_all(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    get(&mut first, "/still-first").await;
    assert_eq!(running.metrics.connections().get(), 1);
    assert!(running.metrics.render().contains("refusals_total{reason=\"connections\"} "));
    drop(first);
    read_until(&mut second, "/second").await;
    stop(running).await;
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_after_its_connection_is_no_http_any_more() {
    let mut settings = settings();
    settings.limits.connections = 1;
    let (tell, mut upgrades) = mpsc::channel(1);
    let running = start(&settings, move |_, request| {
        let tell = tell.clone();
        async move {
            let mut response = Response::new(Body::Empty);
            if request.headers().contains_key(UPGRADE) {
                tell.send(hyper::upgrade::on(request)).await.unwrap();
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            response
        }
    });
    let mut client = TcpStream::connect(running.address).await.unwrap();
    let handshake =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.unwrap();
    let tunnel = upgrades.recv().await.unwrap().await.unwrap();
    while !running.lifecycle.connections().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.connections().get(), 1);
    let mut second = TcpStream::connect(running.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(running.metrics.connections().get(), 1);
    drop(tunnel);
    read_until(&mut second, "\r\n\r\n").await;
    assert_eq!(running.metrics.connections().get(), 1);
    drop(second);
    stop(running).await;
}

#[tokio::test]
async fn a_server_that_never_serves_goes_quietly() {
    let server = Server::bind(&settings()).unwrap();
    let address = server.local_address().unwrap();
    drop(server);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_serves_and_a_stale_file_is_replaced() {
    let folder = std::env::temp_dir().join(format!("vestibule-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("server.sock");
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let settings = Settings { listen: format!("unix:{}", path.display()), ..settings() };
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let server = Server::bind(&settings).unwrap();
    assert!(matches!(Server::bind(&settings), Err(BindError::Bind { .. })));
    let (tell, peers) = channel();
    let handler = move |peer, _| {
        tell.send(peer).unwrap();
        async { Response::new(Body::full("local")) }
    };
    let handle = server.serve(handler, lifecycle.clone(), metrics).unwrap();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("local"));
    assert_eq!(peers.recv().unwrap(), Peer::Unix);
    lifecycle.close();
    handle.join().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_address_that_nobody_can_listen_on_is_refused_with_the_reason() {
    for listen in ["", "4180", "unix:relative.sock", "256.0.0.1:1", "localhost"] {
        let settings = Settings { listen: listen.to_owned(), ..settings() };
        assert!(matches!(Server::bind(&settings), Err(BindError::Address(_))), "{listen}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let settings = Settings { listen, ..settings() };
    assert!(matches!(Server::bind(&settings), Err(BindError::Bind { .. })));
}
