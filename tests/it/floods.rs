//! Clients that only want to hurt: each is let go, memory stays flat, and everybody else is served.
//!
//! The proxy is a process of its own here, so that its memory is its own.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    App, Browser, KEY, Running, config_file, free_port,
    h2::{self, ACK, DATA, END_HEADERS, END_STREAM, H2, HEADERS, frame},
    vestibule,
};

/// Frames of one flood.
const MANY: usize = 20_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// A proxy in a process of its own, with everything open to anybody.
struct Proxy {
    _process: Running,
    app: App,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    async fn start(limits: &str) -> Self {
        let app = App::start().await;
        let (port, admin) = (free_port(), free_port());
        let file = config_file(&format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://localhost:{port}\"\n\
             workers = 1\n[server.limits]\n{limits}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [entra]\nauthority = \"http://127.0.0.1:1\"\ntenant = \"contoso.test\"\n\
             client_id = \"11111111-2222-4333-8444-555555555555\"\nclient_secret = \"x\"\n\
             [session]\nkeys = [\"{KEY}\"]\n[upstream]\nurl = \"{}\"\n\
             [log]\nlevel = \"warn\"\n[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n",
            app.url()
        ));
        let process = vestibule(["run".as_ref(), "--config".as_ref(), file.as_os_str()]).start();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = Self { _process: process, app, address: local(port), admin: local(admin) };
        let up = async { while TcpStream::connect(proxy.address).await.is_err() {} };
        timeout(PATIENCE, up).await.expect("the proxy starts");
        proxy
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    async fn metrics(&self) -> String {
        Browser::new(&format!("http://{}", self.admin)).get("/metrics").await.text()
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn memory(&self) -> u64 {
        self.metric("vestibule_resident_memory_bytes").await
    }

    /// An ordinary request of somebody else.
    async fn serves(&self) {
        let host = self.host();
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", &host), (":path", "/")];
        let ask = async { H2::connect(self.address).await.ask(&fields).await.status() };
        assert_eq!(timeout(Duration::from_secs(10), ask).await.expect("an answer"), 200);
    }

    async fn empties(&self) {
        let gone = async { while self.metric("vestibule_connections").await > 0 {} };
        timeout(PATIENCE, gone).await.expect("every connection ends");
    }
}

/// Sends pieces until the proxy has closed, reading what comes, and says how many it took.
async fn flood(proxy: &Proxy, mut piece: impl FnMut(usize) -> Vec<u8>) -> usize {
    let h2 = H2::connect(proxy.address).await;
    let (mut reader, mut writer) = h2.stream.into_split();
    let drain = tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
    });
    let mut taken = 0;
    while taken < MANY {
        if writer.write_all(&piece(taken)).await.is_err() {
            break;
        }
        taken += 1;
    }
    // The proxy ends it; this side only waits.
    timeout(PATIENCE, drain).await.expect("the offender is let go").unwrap();
    taken
}

#[tokio::test]
async fn g3_g4_floods_of_frames_end_their_connection_and_leave_nothing_behind() {
    let proxy = Proxy::start("header_time = \"5s\"\nidle_time = \"5s\"").await;
    proxy.serves().await;
    let before = proxy.memory().await;
    let host = proxy.host();
    let request = h2::block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &host),
        (":path", "/stream"),
    ]);
    let post = h2::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &host),
        (":path", "/up"),
    ]);
    let number = |index: usize| u32::try_from(index).unwrap() * 2 + 1;

    flood(&proxy, |_| frame(h2::PING, 0, 0, &[7; 8])).await;
    flood(&proxy, |_| frame(h2::PING, ACK, 0, &[7; 8])).await;
    flood(&proxy, |_| frame(h2::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
    flood(&proxy, |_| frame(h2::SETTINGS, 0, 0, &[])).await;
    flood(&proxy, |_| frame(h2::PRIORITY, 0, 1, &[0, 0, 0, 0, 9])).await;
    flood(&proxy, |_| frame(h2::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    flood(&proxy, |_| frame(0x42, 0, 0, b"unknown")).await;
    let floods = proxy.metric("vestibule_refusals_total{reason=\"h2_flood\"}").await;
    assert!(floods >= 6, "{}", proxy.metrics().await);

    // An endless head.
    flood(&proxy, |index| match index {
        0 => frame(HEADERS, END_STREAM, 1, &request),
        _ => frame(h2::CONTINUATION, 0, 1, &[]),
    })
    .await;
    flood(&proxy, |index| match index {
        0 => frame(HEADERS, END_STREAM, 1, &request),
        _ => frame(h2::CONTINUATION, 0, 1, &h2::block(&[("x", &"y".repeat(1000))])),
    })
    .await;
    // An endless body of nothing, and of single bytes.
    flood(&proxy, |index| match index {
        0 => frame(HEADERS, END_HEADERS, 1, &post),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
    // Requests that are taken back at once (CVE-2023-44487).
    flood(&proxy, |index| {
        let stream = number(index);
        let reset = frame(h2::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &request), reset].concat()
    })
    .await;
    // Requests that we are made to take back (CVE-2025-8671).
    flood(&proxy, |index| {
        let stream = number(index);
        let nothing = frame(h2::WINDOW_UPDATE, 0, stream, &[0; 4]);
        [frame(HEADERS, END_HEADERS, stream, &post), nothing].concat()
    })
    .await;
    // A field of 4 KB, told once and repeated by a byte (RFC 7541 §7.3).
    let mut bomb = vec![0x40];
    bomb.extend(&h2::block(&[("bomb", &"x".repeat(3000))])[1..]);
    bomb.extend(vec![0xbe; 10_000]);
    flood(&proxy, |index| {
        let head = [request.as_slice(), &bomb].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, number(index), &head)
    })
    .await;

    proxy.serves().await;
    proxy.empties().await;
    let grown = proxy.memory().await.saturating_sub(before) >> 20;
    assert!(grown < 50, "{grown} MiB more than before");
    assert_eq!(proxy.metric("vestibule_panics_total").await, 0);
}

#[tokio::test]
async fn g4_a_body_in_single_bytes_that_nobody_reads_takes_no_memory() {
    let proxy = Proxy::start("").await;
    proxy.serves().await;
    let before = proxy.memory().await;
    let host = proxy.host();
    let post = h2::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &host),
        (":path", "/up"),
    ]);
    let mut h2 = H2::connect(proxy.address).await;
    h2.send(&frame(HEADERS, END_HEADERS, 1, &post)).await;
    for _ in 0..MANY {
        if !h2.send(&frame(DATA, 0, 1, b"x")).await {
            break;
        }
    }
    proxy.serves().await;
    let grown = proxy.memory().await.saturating_sub(before) >> 20;
    assert!(grown < 50, "{grown} MiB more than before");
}

#[tokio::test]
async fn g1_a_thousand_slow_heads_are_let_go_and_nobody_waits_for_them() {
    let proxy = Proxy::start("header_time = \"2s\"").await;
    proxy.serves().await;
    let before = proxy.memory().await;
    let mut slow = Vec::new();
    for index in 0..1000 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let head = if index % 2 == 0 { "GET / HTTP/1.1\r\nX: " } else { "PRI * HTTP/2.0\r\n" };
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    proxy.serves().await;
    let grown = proxy.memory().await.saturating_sub(before) >> 20;
    assert!(grown < 50, "{grown} MiB for a thousand");
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    }
    proxy.empties().await;
    assert_eq!(proxy.metric("vestibule_refusals_total{reason=\"slow_head\"}").await, 1000);
    assert!(proxy.app.requests().iter().all(|request| request.target() == "/"));
}

/// G5: what the app or the browser does not take is not kept here.
#[tokio::test]
async fn g5_large_bodies_pass_in_constant_memory() {
    let proxy = Proxy::start("").await;
    proxy.serves().await;
    let before = proxy.memory().await;
    let length = 256 << 20;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        proxy.host()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..length >> 20 {
            writer.write_all(&piece).await.unwrap();
        }
        writer
    });
    let (mut came, mut most, mut bytes) = (0, 0, vec![0; 1 << 20]);
    let mut measured = 0;
    loop {
        let read = timeout(PATIENCE, reader.read(&mut bytes)).await.expect("bytes").unwrap();
        if read == 0 {
            break;
        }
        came += read;
        if came - measured > 64 << 20 {
            measured = came;
            most = most.max(proxy.memory().await);
        }
    }
    upload.await.unwrap();
    assert!(came > length, "{came} bytes came back");
    let grown = most.saturating_sub(before) >> 20;
    assert!(measured > 0 && grown < 32, "{grown} MiB more than before");
}
