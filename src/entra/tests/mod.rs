//! Microsoft as these tests need it: a scripted server on loopback, and keys that sign anything.

mod authorize;
mod discovery;
mod grants;
mod id_token;
mod keys;
mod pair;
mod renewal;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use ring::{rand::SystemRandom, rsa::KeyPair as RsaKeyPair, signature::RSA_PKCS1_SHA256};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

pub(super) use self::pair::Pair;
use super::*;
use crate::base::{body::Body, secret::Secret, side_server};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const OTHER_TENANT: &str = "99999999-8888-7777-6666-555555555555";
const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const NONCE: &str = "nonce-of-this-sign-in";
const VERIFIER: &str = "a-verifier-of-the-least-length-that-is-valid";

/// A private key and its name.
struct Signer {
    pair: RsaKeyPair,
    kid: &'static str,
}

impl Signer {
    fn issuer(kid: &'static str) -> Self {
        Self::of(include_bytes!("../../../tests/data/keys/issuer.der"), kid)
    }

    fn other(kid: &'static str) -> Self {
        Self::of(include_bytes!("../../../tests/data/keys/other.der"), kid)
    }

    fn of(der: &[u8], kid: &'static str) -> Self {
        Self { pair: RsaKeyPair::from_der(der).unwrap(), kid }
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid }), claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn modulus(&self) -> Vec<u8> {
        ring::rsa::PublicKeyComponents::<Vec<u8>>::from(self.pair.public()).n
    }

    /// As Entra publishes it: no `alg`, and an `issuer`.
    fn jwk(&self, issuer: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "x5c": ["AAAA"],
            "n": URL_SAFE_NO_PAD.encode(self.modulus()), "e": "AQAB", "issuer": issuer,
        })
    }
}

/// What the scripted server got.
#[derive(Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
    form: HashMap<String, String>,
}

/// What it answers.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into() }
    }

    fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Default)]
struct Script {
    /// Answers to come; the last one stays.
    replies: HashMap<&'static str, VecDeque<Reply>>,
    seen: Vec<Seen>,
}

/// Microsoft, scripted. Stops when dropped.
struct Microsoft {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    clock: Clock,
    signer: Signer,
    _stop: DropGuard,
}

const METADATA: &str = "metadata";
const KEYS: &str = "keys";
const TOKEN: &str = "token";

impl Microsoft {
    /// With good metadata and one key.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let stop = CancellationToken::new();
        let serving = Arc::clone(&script);
        tokio::spawn(side_server::serve(listener, None, stop.clone(), move |_, request| {
            answer(Arc::clone(&serving), request)
        }));
        let microsoft = Self {
            address,
            script,
            clock: Clock::adjustable(),
            signer: Signer::issuer("key-1"),
            _stop: stop.drop_guard(),
        };
        microsoft.on(METADATA, Reply::json(200, &microsoft.document()));
        microsoft.on(KEYS, microsoft.keys(&[&microsoft.signer]));
        microsoft
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn issuer(&self) -> String {
        format!("{}/{TENANT}/v2.0", self.origin())
    }

    fn document(&self) -> Value {
        let base = format!("{}/{TENANT}", self.origin());
        json!({
            "issuer": self.issuer(),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        })
    }

    fn keys(&self, signers: &[&Signer]) -> Reply {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk(&self.issuer())).collect();
        Reply::json(200, &json!({ "keys": keys }))
    }

    /// The next answers of an endpoint end with this one, which stays.
    fn on(&self, endpoint: &'static str, reply: Reply) {
        self.script.lock().unwrap().replies.entry(endpoint).or_default().push_back(reply);
    }

    /// Forgets the answers to come.
    fn instead(&self, endpoint: &'static str, reply: Reply) {
        self.script.lock().unwrap().replies.insert(endpoint, VecDeque::from([reply]));
    }

    fn calls(&self, endpoint: &str) -> usize {
        self.script.lock().unwrap().seen.iter().filter(|seen| kind(&seen.path) == endpoint).count()
    }

    /// What the token endpoint got last.
    fn last_form(&self) -> HashMap<String, String> {
        let script = self.script.lock().unwrap();
        script.seen.iter().rfind(|seen| kind(&seen.path) == TOKEN).unwrap().form.clone()
    }

    fn settings(&self) -> Settings {
        Settings {
            authority: Some(self.origin()),
            tenant: Some(TENANT.to_owned()),
            client_id: Some(CLIENT.to_owned()),
            client_secret: Some(Secret::from("s3cret&=+".to_owned())),
            ..Settings::default()
        }
    }

    fn client(&self) -> EntraClient {
        self.client_with(&self.settings())
    }

    fn client_with(&self, settings: &Settings) -> EntraClient {
        let outbound = Outbound::new(Handle::current(), RootCertStore::empty());
        let redirect = Url::parse("http://localhost:4180/.auth/login/aad/callback").unwrap();
        EntraClient::new(settings, redirect, outbound, self.clock.clone(), Metrics::new()).unwrap()
    }

    /// The claims of a good ID token.
    fn claims(&self) -> Value {
        let now = self.clock.unix();
        json!({
            "aud": CLIENT, "iss": self.issuer(), "iat": now, "nbf": now, "exp": now + 3600,
            "nonce": NONCE, "tid": TENANT, "oid": "object-1", "sub": "subject-1", "ver": "2.0",
            "preferred_username": "alice@contoso.test", "name": "Alice",
        })
    }

    /// A good token answer with an ID token of those claims.
    fn tokens(&self, claims: &Value) -> Reply {
        Reply::json(
            200,
            &json!({
                "token_type": "Bearer", "scope": "User.Read openid profile", "expires_in": 3600,
                "ext_expires_in": 3600, "access_token": "opaque-access-token",
                "refresh_token": "1.refresh", "id_token": self.signer.token(claims),
            }),
        )
    }

    async fn sign_in(&self, client: &EntraClient) -> Result<SignedIn, EntraError> {
        let code = AuthorizationCode::from("the-code".to_owned());
        client.redeem(CodeGrant { code, code_verifier: VERIFIER, nonce: NONCE }).await
    }
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("openid-configuration") => METADATA,
        Some("keys") => KEYS,
        Some("token") => TOKEN,
        _ => "elsewhere",
    }
}

async fn answer(script: Arc<Mutex<Script>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = Body::stream(body, None).read(1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    let mut script = script.lock().unwrap();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    script.seen.push(Seen { path: path.clone(), headers: head.headers, form });
    let reply = match script.replies.get_mut(kind(&path)) {
        Some(replies) if replies.len() > 1 => replies.pop_front(),
        Some(replies) => replies.front().cloned(),
        None => None,
    };
    let reply = reply.unwrap_or_else(|| Reply::raw(404, "nothing here"));
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

#[test]
fn what_callers_await_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let call =
        |client: &'static EntraClient, token: &'static SecretString, of: &'static Principal| {
            is_send(&client.renew(token, of));
            is_send(&client.redeem(CodeGrant {
                code: AuthorizationCode::from(String::new()),
                code_verifier: VERIFIER,
                nonce: NONCE,
            }));
        };
    is_send(&call);
}
