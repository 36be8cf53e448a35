//! Forwarding through sockets: a client that writes bytes, an app that follows a script, and
//! between them the reader and the upstream alone.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc};

use http::StatusCode;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::request::{Peer, PublicUrl, Reader, TrustedProxies};

mod failures;
mod kept;
mod streaming;
mod tls;
mod upgrades;

/// A proxy without rules or sessions.
struct Front {
    address: SocketAddr,
    upstream: Arc<Upstream>,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl Front {
    async fn to(app: SocketAddr) -> Self {
        Self::start(Settings { url: format!("http://{app}"), ..Settings::default() }).await
    }

    async fn start(settings: Settings) -> Self {
        let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
        let upstream = Upstream::build(&settings, 1, lifecycle.clone(), metrics.clone()).unwrap();
        let upstream = Arc::new(upstream);
        let public_url = PublicUrl::parse("http://localhost:4180").unwrap();
        let reader = Reader::new(public_url, TrustedProxies::default(), "__Host-vestibule".into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handle = upstream.clone();
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let (upstream, reader) = (handle.clone(), reader.clone());
                let service = service_fn(move |request| {
                    let answer = answer(upstream.clone(), reader.clone(), peer, request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connection = http1::Builder::new()
                    .preserve_header_case(true)
                    .title_case_headers(true)
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                tokio::spawn(connection);
            }
        });
        Self { address, upstream, lifecycle, metrics }
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    /// The status and body of the answer to one request without a body.
    async fn ask(&self, line: &str) -> (u16, String) {
        let mut client = self.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: localhost:4180\r\n\r\n")).await;
        let head = client.head().await;
        let body = client.body(&head).await;
        (status(&head), body)
    }
}

async fn answer(
    upstream: Arc<Upstream>,
    reader: Reader,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let method = request.method().clone();
    let mut exchange = Exchange::begin(Peer::Tcp(peer), method, request.uri());
    let request = request.map(|body| Body::stream(body, Some(Duration::from_secs(1))));
    let inbound = reader.read(&mut exchange, request).unwrap();
    match upstream.forward(inbound, &mut exchange, None).await {
        Ok(response) => {
            assert!(exchange.upstream.is_some());
            response
        }
        Err(error) => {
            let mut response = Response::new(Body::full(error.reason()));
            *response.status_mut() = error.status();
            response
        }
    }
}

/// One connection of a client, or one that the app has accepted.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The next head, whole; empty at the end.
    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).await.unwrap_or_default() == 0 {
                break;
            }
        }
        head
    }

    /// The body that `head` announces by its length, or by chunks (taken apart).
    async fn body(&mut self, head: &str) -> String {
        if field(head, "transfer-encoding").is_some() {
            let mut all = String::new();
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    return all;
                }
                all.push_str(&chunk);
            }
        }
        let length = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    async fn chunk(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.unwrap();
        assert_eq!(chunk.get(size..), Some(&b"\r\n"[..]), "trailers, or a broken chunk");
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }

    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn status(head: &str) -> u16 {
    head.get(9..12).unwrap_or_default().parse().unwrap_or_default()
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// An app that plays `script` on each connection.
async fn scripted<S, F>(script: S) -> SocketAddr
where
    S: Fn(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(script(Client(BufReader::new(stream))));
        }
    });
    address
}

/// An app that answers each request with its head, and its body behind it.
async fn mirror() -> SocketAddr {
    scripted(|mut client| async move {
        loop {
            let head = client.head().await;
            if head.is_empty() {
                return;
            }
            let body = client.body(&head).await;
            let all = format!("{head}{body}");
            client
                .send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{all}", all.len()))
                .await;
        }
    })
    .await
}
