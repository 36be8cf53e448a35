//! The other side of the admin port, for `vestibule healthcheck` and `vestibule drain`.

use std::{io, str::FromStr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header::HOST, uri::Authority};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};

/// A probe that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(5);
const BODY_CAP: usize = 64 * 1024;

/// The address of an admin port: `http://127.0.0.1:4191`.
#[derive(Clone, Debug)]
pub struct Door(Authority);

/// What the address of an admin port looks like.
#[derive(Debug, thiserror::Error)]
#[error("expected an address such as \"http://127.0.0.1:4191\"")]
pub struct DoorError;

/// Why the admin port gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("cannot connect to the admin port")]
    Unreachable(#[source] io::Error),
    /// What listens there does not speak HTTP, or broke off.
    #[error("the admin port broke off")]
    Broken(#[source] hyper::Error),
    /// The body is not ours.
    #[error("the admin port's answer is not understood")]
    Strange,
    /// It takes too long.
    #[error("the admin port did not answer within {} s", LONGEST.as_secs())]
    TimedOut,
}

#[derive(Deserialize)]
struct Draining {
    connections: usize,
}

impl FromStr for Door {
    type Err = DoorError;

    fn from_str(text: &str) -> Result<Self, DoorError> {
        let uri: Uri = text.parse().map_err(|_| DoorError)?;
        let plain = uri.scheme_str().is_none_or(|scheme| scheme == "http");
        let bare = uri.path().trim_matches('/').is_empty() && uri.query().is_none();
        match uri.authority() {
            Some(authority) if plain && bare && authority.port().is_some() => {
                Ok(Self(authority.clone()))
            }
            _ => Err(DoorError),
        }
    }
}

impl Door {
    /// Whether the proxy is ready, and its words for it.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn ready(&self) -> Result<(bool, String), CallError> {
        let (status, body) = self.ask(Method::GET, "/readyz").await?;
        let words = String::from_utf8_lossy(&body).trim_end().to_owned();
        Ok((status == StatusCode::OK, words))
    }

    /// Takes readiness back; how many connections are left.
    ///
    /// # Errors
    /// It did not answer, or refused.
    pub async fn drain(&self) -> Result<usize, CallError> {
        let (status, body) = self.ask(Method::POST, "/drain").await?;
        if status != StatusCode::OK {
            return Err(CallError::Strange);
        }
        let draining: Draining = serde_json::from_slice(&body).map_err(|_| CallError::Strange)?;
        Ok(draining.connections)
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), CallError> {
        timeout(LONGEST, self.call(method, path)).await.map_err(|_| CallError::TimedOut)?
    }

    async fn call(
        &self,
        method: Method,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let stream = TcpStream::connect(self.0.as_str()).await.map_err(CallError::Unreachable)?;
        // The admin port serves addresses alone; the name of a Kubernetes Service is none.
        let host = stream.peer_addr().map_err(CallError::Unreachable)?.to_string();
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
        let exchange = async {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.method_mut() = method;
            *request.uri_mut() = Uri::from_static(path);
            let host = HeaderValue::try_from(host).map_err(|_| CallError::Strange)?;
            request.headers_mut().insert(HOST, host);
            let response = sender.send_request(request).await.map_err(CallError::Broken)?;
            let status = response.status();
            #[expect(clippy::disallowed_methods, reason = "limited")]
            let body = Limited::new(response.into_body(), BODY_CAP).collect().await;
            Ok((status, body.map_err(|_| CallError::Strange)?.to_bytes()))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = exchange.as_mut() => answer,
            // The connection must be driven; when it ends, the answer is here or never comes.
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(CallError::Broken(error)),
            },
        }
    }
}
