//! The app behind the proxy: it records the very bytes that it receives.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

/// A recording app. Stops when dropped.
#[derive(Debug)]
pub struct App {
    pub address: std::net::SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What the app's connections share.
#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Recorded>>,
    /// Every byte that came through tunnels.
    tunnelled: Mutex<Vec<u8>>,
    /// Lets the next part of a stream go.
    release: Notify,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Request line and header fields, byte for byte (Latin-1 as text).
    pub head: String,
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: String,
    /// Whether the body came to its end.
    pub whole: bool,
}

impl Recorded {
    pub fn request_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.request_line().split(' ').nth(1).unwrap()
    }

    /// Every value of a header, by its name in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} arrived {} times:\n{}", all.len(), self.head);
        all.first().copied()
    }
}

impl App {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, seen, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How many requests came to the end of their bodies.
    pub fn whole_requests(&self) -> usize {
        self.requests().iter().filter(|request| request.whole).count()
    }

    /// Every byte that came through tunnels.
    pub fn tunnelled(&self) -> Vec<u8> {
        self.seen.tunnelled.lock().unwrap().clone()
    }

    /// Lets a stream that waits go on.
    pub fn release(&self) {
        self.seen.release.notify_one();
    }

    pub fn last(&self) -> Recorded {
        self.requests().pop().expect("the app saw a request")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut stream).await else { return };
        if head.starts_with("POST /echo ") {
            return echo(stream, &head).await;
        }
        let (body, trailers, whole) = read_body(&mut stream, &head).await;
        let recorded = Recorded { head, body, trailers, whole };
        seen.requests.lock().unwrap().push(recorded.clone());
        if !answer(&mut stream, &recorded, &seen).await {
            return;
        }
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if stream.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
        if head.get(before..) == Some(b"\r\n") {
            head.truncate(before);
            return Some(head.iter().map(|byte| char::from(*byte)).collect());
        }
    }
}

async fn read_body(stream: &mut BufReader<TcpStream>, head: &str) -> (Vec<u8>, String, bool) {
    let head = head.to_ascii_lowercase();
    let mut body = Vec::new();
    let mut trailers = String::new();
    let mut whole = true;
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        body.resize(length.trim().parse().unwrap(), 0);
        whole = stream.read_exact(&mut body).await.is_ok();
    } else if head.lines().any(|line| line == "transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                whole = false;
                break;
            }
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                let end = read_head(stream).await;
                whole = end.is_some();
                trailers = end.unwrap_or_default();
                break;
            }
            let mut chunk = vec![0; size + 2];
            let _ = stream.read_exact(&mut chunk).await;
            body.extend_from_slice(&chunk[..size]);
        }
    }
    (body, trailers, whole)
}

/// Answers by path; `false` ends the connection.
async fn answer(stream: &mut BufReader<TcpStream>, request: &Recorded, seen: &Seen) -> bool {
    let path = request.target().split('?').next().unwrap().to_owned();
    let reply = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let text = match path.as_str() {
        "/ws" => {
            stream.write_all(switch(request).as_bytes()).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                seen.tunnelled.lock().unwrap().extend(&buffer[..n]);
                if stream.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
            return false;
        }
        // A message in fragments of 40,000 bytes, the first of which stops halfway.
        "/ws-slow" => {
            let payload = vec![b'x'; 40_000];
            let fragment = |opcode| [&[opcode, 126, 0x9c, 0x40], payload.as_slice()].concat();
            let (first, second) = (fragment(0x02), fragment(0x00));
            stream.write_all(SWITCH.as_bytes()).await.unwrap();
            stream.write_all(&first[..20_000]).await.unwrap();
            seen.release.notified().await;
            for bytes in [&first[20_000..], &second, &fragment(0x80)] {
                let _ = stream.write_all(bytes).await;
            }
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                seen.tunnelled.lock().unwrap().extend(&buffer[..n]);
            }
            return false;
        }
        // An event at once, and one more for each release.
        "/sse" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"9\r\ndata: 1\n\n\r\n").await.is_ok() {
                tokio::select! {
                    () = seen.release.notified() => {}
                    _ = stream.read_u8() => break,
                }
            }
            return false;
        }
        // The first ten of a million bytes.
        "/download" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0123456789";
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
            return false;
        }
        "/unasked-101" => SWITCH.to_owned(),
        "/cookies" => reply(
            "200 OK\r\nSet-Cookie: app=1; Path=/\r\nSet-Cookie: __Host-vestibule=stolen; Path=/; Secure\r\nCache-Control: public, max-age=60\r\nETag: \"x\"",
            "cookies",
        ),
        "/hop-by-hop" => reply(
            "200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nWWW-Authenticate: NTLM\r\nX-Public: 1",
            "ok",
        ),
        "/missing" => reply("404 Not Found", "not here"),
        "/stream" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
                .await
                .unwrap();
            stream.flush().await.unwrap();
            // The second half comes when the client asks for it on another connection.
            seen.release.notified().await;
            "7\r\nsecond\n\r\n0\r\n\r\n".to_owned()
        }
        "/release" => {
            seen.release.notify_one();
            reply("200 OK", "released")
        }
        "/close" => return false,
        "/nobody" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        _ => reply("200 OK\r\nContent-Type: text/plain", "hello from the app"),
    };
    let head = request.request_line().starts_with("HEAD ");
    let text = if head { text.split_inclusive("\r\n\r\n").next().unwrap() } else { text.as_str() };
    stream.write_all(text.as_bytes()).await.is_ok()
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A 101 that proves to have read the key (RFC 6455 §4.2.2).
fn switch(request: &Recorded) -> String {
    let Some(key) = request.header("sec-websocket-key") else { return SWITCH.to_owned() };
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    SWITCH.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"))
}

/// Sends a body of known length back while it comes, and keeps nothing of it.
async fn echo(mut stream: BufReader<TcpStream>, head: &str) {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
    let mut left: usize = length.trim().parse().unwrap();
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 65_536];
    while left > 0 {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        left = left.saturating_sub(n);
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
