//! TLS on the public port: which protocol, which certificate, and for how long.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Request, Version};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    resting::Kept,
    support::{Setup, Stack, scratch_file},
};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";

/// An authority, and the files of a certificate that it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let (certificate, path) = (scratch_file("certificate.pem"), scratch_file("key.pem"));
        let authority = Self { issuer: Issuer::new(params, key), root, certificate, key: path };
        authority.sign();
        authority
    }

    /// Puts a new certificate into the files, and returns it.
    fn sign(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(&self.certificate, certificate.pem()).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn setup(&self) -> Setup {
        Setup::default()
            .rules(ANYBODY)
            .set("server.tls.certificate_file", &quoted(&self.certificate))
            .set("server.tls.private_key_file", &quoted(&self.key))
    }

    async fn connect(&self, stack: &Stack, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(stack, alpn, rustls::ALL_VERSIONS).await
    }

    async fn connect_with(
        &self,
        stack: &Stack,
        alpn: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    }
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

async fn ask_http1(stack: &Stack, mut stream: TlsStream<TcpStream>) -> String {
    let request = format!("GET /x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.host());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn alpn_chooses_the_protocol_and_the_app_sees_one_kind_of_request() {
    let authority = Authority::new();
    let stack = authority.setup().start().await;
    assert!(stack.origin().starts_with("http"), "the browser of the tests speaks plain HTTP");

    for (alpn, versions) in [
        (&["http/1.1"][..], rustls::ALL_VERSIONS),
        (&[], rustls::ALL_VERSIONS),
        (&[], &[&rustls::version::TLS12]),
        (&[], &[&rustls::version::TLS13]),
    ] {
        let stream = authority.connect_with(&stack, alpn, versions).await.unwrap();
        let answer = ask_http1(&stack, stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(stack.app.last().header("x-forwarded-proto"), Some("https"));
    }

    let stream = authority.connect(&stack, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("https://{}/h2", stack.host()))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let seen = stack.app.last();
    assert_eq!(seen.request_line(), "GET /h2 HTTP/1.1");
    assert_eq!(seen.header("host"), Some(stack.host().as_str()));

    assert!(authority.connect(&stack, &["spdy/3"]).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_whoever_connects_next() {
    let authority = Authority::new();
    let stack = authority.setup().start().await;
    let kept = authority.connect(&stack, &["http/1.1"]).await.unwrap();
    let second = authority.sign();
    stack.proxy.reload_now().await.unwrap();
    let new = authority.connect(&stack, &["http/1.1"]).await.unwrap();
    assert_eq!(shown(&new), second);
    assert_ne!(shown(&kept), second);
    // What was open stays open.
    assert!(ask_http1(&stack, kept).await.starts_with("HTTP/1.1 200 "));

    // A key that does not fit changes nothing.
    std::fs::write(&authority.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    stack.proxy.reload_now().await.unwrap_err();
    let still = authority.connect(&stack, &["http/1.1"]).await.unwrap();
    assert_eq!(shown(&still), second);
}

#[tokio::test]
async fn who_speaks_no_tls_or_does_not_finish_is_let_go() {
    let authority = Authority::new();
    let stack = authority.setup().set("server.limits.handshake_time", "\"400ms\"").start().await;
    let answer = stack.raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    }
    stack.metric_becomes("vestibule_refusals_total{reason=\"tls_handshake\"}", 1).await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"slow_handshake\"}", 2).await;
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn the_header_of_a_load_balancer_comes_before_tls() {
    let authority = Authority::new();
    let stack = authority.setup().set("server.proxy_protocol", "true").start().await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n").await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    assert!(ask_http1(&stack, stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stack.app.last().header("x-forwarded-for"), Some("192.0.2.7"));
}

#[tokio::test]
async fn a_connection_that_rested_answers_again_and_hears_the_goodbye() {
    let authority = Authority::new();
    let stack = authority.setup().start().await;
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]] {
        let stream = authority.connect_with(&stack, &["http/1.1"], versions).await.unwrap();
        let mut client = Kept(stream);
        for path in ["/first", "/second"] {
            client.ask(&stack, path, "").await;
            assert_eq!(stack.app.last().target(), path);
            stack.metric_becomes("vestibule_connections_resting", 1).await;
        }
        drop(client);
        stack.metric_becomes("vestibule_connections", 0).await;
        assert_eq!(stack.metric("vestibule_connections_resting").await, 0);
    }
    let mut client = Kept(authority.connect(&stack, &["http/1.1"]).await.unwrap());
    client.ask(&stack, "/x", "").await;
    stack.metric_becomes("vestibule_connections_resting", 1).await;
    stack.proxy.finish(Duration::from_mins(1)).await;
    // With a close_notify: rustls takes an end without one for a cut.
    client.ends().await;
}
