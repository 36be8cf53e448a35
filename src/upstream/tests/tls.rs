//! TLS towards the app: whom we believe, who we are, and what is said when it fails.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vestibule-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(authority: &CertifiedIssuer<'static, KeyPair>) -> Leaf {
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Leaf { certificate, key }
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// An app that greets whoever gets through its handshake.
async fn app(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<&CertificateDer<'static>>,
) -> SocketAddr {
    speaking(&["h2", "http/1.1"], chain, key, clients).await
}

async fn speaking(
    alpn: &[&str],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<&CertificateDer<'static>>,
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut server = builder.with_single_cert(chain, key).unwrap();
    server.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let hello = service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Body::full("secret in frames")))
                });
                let io = TokioIo::new(stream);
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http2.serve_connection(io, hello));
                continue;
            }
            let mut head = [0; 1024];
            if stream.read(&mut head).await.unwrap_or_default() > 0 {
                let hello = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
                let _ = stream.write_all(hello).await;
            }
        }
    });
    address
}

async fn front(app: SocketAddr, authority: Option<&Path>) -> Front {
    let settings = Settings {
        url: format!("https://{app}"),
        ca_file: authority.map(Path::to_owned),
        ..Settings::default()
    };
    Front::start(settings).await
}

#[tokio::test]
async fn an_app_whose_certificate_our_authority_signed_is_believed_and_no_other() {
    let (ours, theirs) = (authority(), authority());
    let leaf = leaf(&ours);
    let app = app(vec![leaf.certificate.der().clone()], key_of(&leaf.key), None).await;
    let folder = Folder::new("believed");
    let file = folder.write("ca.pem", &ours.pem());
    let believing = front(app, Some(&file)).await;
    assert_eq!(believing.ask("GET /").await, (200, "secret".to_owned()));
    assert!(believing.upstream.probe().await.is_ok());
    let other = folder.write("other.pem", &theirs.pem());
    for file in [Some(other.as_path()), None] {
        assert_eq!(front(app, file).await.ask("GET /").await, (502, "tls".to_owned()));
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_with_a_way_out() {
    let app_itself = authority();
    let chain = vec![app_itself.der().clone()];
    let app = app(chain, key_of(app_itself.key()), None).await;
    let folder = Folder::new("self-signed");
    let file = folder.write("ca.pem", &app_itself.pem());
    let refused = front(app, Some(&file)).await.upstream.probe().await.unwrap_err();
    assert_eq!(refused.reason(), "tls");
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("upstream.ca_file"), "{cause}");
}

#[tokio::test]
async fn an_app_that_asks_who_we_are_is_shown_our_certificate() {
    let ours = authority();
    let (server, client) = (leaf(&ours), leaf(&ours));
    let chain = vec![server.certificate.der().clone()];
    let app = app(chain, key_of(&server.key), Some(ours.der())).await;
    let folder = Folder::new("client");
    let authority = folder.write("ca.pem", &ours.pem());
    let settings = Settings {
        url: format!("https://{app}"),
        ca_file: Some(authority.clone()),
        certificate_file: Some(folder.write("client.pem", &client.certificate.pem())),
        private_key_file: Some(folder.write("client.key", &client.key.serialize_pem())),
        ..Settings::default()
    };
    assert_eq!(Front::start(settings).await.ask("GET /").await, (200, "secret".to_owned()));
    assert_eq!(front(app, Some(&authority)).await.ask("GET /").await.0, 502);
}

#[tokio::test]
async fn http_2_over_tls_is_agreed_upon_or_there_is_no_connection() {
    let ours = authority();
    let folder = Folder::new("agreed");
    let file = folder.write("ca.pem", &ours.pem());
    for (alpn, expected) in [
        (&["h2", "http/1.1"][..], (200, "secret in frames")),
        (&["http/1.1"], (502, "tls")),
        (&[], (502, "tls")),
    ] {
        let leaf = leaf(&ours);
        let chain = vec![leaf.certificate.der().clone()];
        let app = speaking(alpn, chain, key_of(&leaf.key), None).await;
        let settings = Settings {
            url: format!("https://{app}"),
            ca_file: Some(file.clone()),
            http2: true,
            ..Settings::default()
        };
        let (status, body) = Front::start(settings).await.ask("GET /").await;
        assert_eq!((status, body.as_str()), expected, "{alpn:?}");
    }
}
