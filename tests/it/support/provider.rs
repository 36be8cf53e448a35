//! A provider that speaks Entra's protocol on paths that nobody would guess, by a script that a
//! test writes. It shares no code with the emulator.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use vestibule::base::clock::Clock;

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
pub const SECRET: &str = "the~secret.of-the_scripted+provider";

pub const ACCESS_TOKEN: &str = "opaque-access-token.of-the-scripted_provider";
pub const REFRESH_TOKEN: &str = "opaque-refresh-token.of-the-scripted_provider";

/// The provider. Stops when dropped.
#[derive(Debug)]
pub struct Provider {
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a path answers instead of the right thing.
#[derive(Debug, Clone)]
pub enum Odd {
    /// This status and body.
    Answer(StatusCode, &'static str, Vec<u8>),
    /// A redirect.
    Redirect(String),
    /// Nothing until the test says so.
    Silence(Arc<Notify>),
}

#[derive(Debug)]
struct State {
    origin: String,
    clock: Clock,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    odd: HashMap<String, Odd>,
    metadata: serde_json::Map<String, Value>,
    claims: serde_json::Map<String, Value>,
    answer: serde_json::Map<String, Value>,
    /// Which key signs, and which are published.
    signs_with: Key,
    published: Vec<Key>,
    visits: Vec<String>,
    forms: Vec<HashMap<String, String>>,
    id_tokens: Vec<String>,
    nonces: HashMap<String, String>,
}

/// The keys that the provider has: a private key and the name that it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub &'static [u8], pub &'static str);

pub const FIRST: Key = Key(include_bytes!("../../data/keys/issuer.der"), "first");
pub const SECOND: Key = Key(include_bytes!("../../data/keys/other.der"), "second");

impl Default for Key {
    fn default() -> Self {
        FIRST
    }
}

impl Provider {
    pub async fn start(clock: Clock) -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0)), clock).await
    }

    pub async fn on(address: SocketAddr, clock: Clock) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script { published: vec![FIRST], ..Script::default() };
        let state = Arc::new(State {
            origin: format!("http://{address}"),
            clock,
            script: Mutex::new(script),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            // Ends with this task, and the connections with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.answer(request).await) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(connection);
            }
        });
        Self { state, task }
    }

    pub fn origin(&self) -> String {
        self.state.origin.clone()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.state.script.lock().unwrap()
    }

    /// From now on this path answers like that.
    pub fn odd(&self, path: &str, odd: Odd) {
        self.script().odd.insert(path.to_owned(), odd);
    }

    pub fn well(&self, path: &str) {
        self.script().odd.remove(path);
    }

    /// Lays a member over the discovery document; null takes it out.
    pub fn metadata(&self, name: &str, value: Value) {
        self.script().metadata.insert(name.to_owned(), value);
    }

    /// Lays a claim over the ID token; null takes it out.
    pub fn claim(&self, name: &str, value: Value) {
        self.script().claims.insert(name.to_owned(), value);
    }

    /// Lays a member over the token endpoint's answer; null takes it out.
    pub fn answer(&self, name: &str, value: Value) {
        self.script().answer.insert(name.to_owned(), value);
    }

    /// The claim is what it should be again.
    pub fn restore(&self, name: &str) {
        self.script().claims.remove(name);
    }

    pub fn keys(&self, signs_with: Key, published: &[Key]) {
        let mut script = self.script();
        script.signs_with = signs_with;
        script.published = published.to_vec();
    }

    /// Every form that the token endpoint was sent, and the `nonce` of every sign-in.
    pub fn forms(&self) -> Vec<HashMap<String, String>> {
        self.script().forms.clone()
    }

    pub fn nonces(&self) -> Vec<String> {
        self.script().nonces.values().cloned().collect()
    }

    pub fn id_tokens(&self) -> Vec<String> {
        self.script().id_tokens.clone()
    }

    /// How often a path was asked.
    pub fn visits(&self, path: &str) -> usize {
        self.script().visits.iter().filter(|visit| *visit == path).count()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub const METADATA: &str =
    "/11111111-2222-3333-4444-555555555555/v2.0/.well-known/openid-configuration";
pub const AUTHORIZE: &str = "/begin/here";
pub const TOKEN: &str = "/exchange";
pub const KEYS: &str = "/who/signs.json";
pub const END_SESSION: &str = "/goodbye";

impl State {
    #[expect(clippy::disallowed_methods, reason = "a form that is bounded here")]
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let odd = {
            let mut script = self.script.lock().unwrap();
            script.visits.push(path.clone());
            script.odd.get(&path).cloned()
        };
        match odd {
            Some(Odd::Answer(status, kind, body)) => {
                return Response::builder()
                    .status(status)
                    .header(header::CONTENT_TYPE, kind)
                    .body(Full::from(body))
                    .unwrap();
            }
            Some(Odd::Redirect(to)) => return redirect(StatusCode::TEMPORARY_REDIRECT, &to),
            Some(Odd::Silence(until)) => until.notified().await,
            None => {}
        }
        match path.as_str() {
            METADATA => json_answer(&self.document()),
            KEYS => json_answer(&self.key_set()),
            AUTHORIZE => self.authorize(&query),
            TOKEN => {
                let body =
                    Limited::new(request.into_body(), 64 << 10).collect().await.unwrap().to_bytes();
                self.token(&body)
            }
            END_SESSION => {
                let query: HashMap<String, String> = form(query.as_bytes());
                redirect(StatusCode::FOUND, &query["post_logout_redirect_uri"])
            }
            _ => {
                let mut response = Response::new(Full::from("not here"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    fn document(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        let mut document = json!({
            "issuer": format!("{}/{TENANT}/v2.0", self.origin),
            "authorization_endpoint": at(AUTHORIZE),
            "token_endpoint": at(TOKEN),
            "jwks_uri": at(KEYS),
            "end_session_endpoint": at(END_SESSION),
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        lay_over(&mut document, &self.script.lock().unwrap().metadata);
        document
    }

    fn key_set(&self) -> Value {
        let script = self.script.lock().unwrap();
        let keys: Vec<Value> = script.published.iter().map(|key| self.jwk(*key)).collect();
        json!({ "keys": keys })
    }

    fn jwk(&self, Key(der, kid): Key) -> Value {
        let pair = RsaKeyPair::from_der(der).unwrap();
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode::<Vec<u8>>(bytes);
        let issuer = format!("{}/{TENANT}/v2.0", self.origin);
        json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": text(n), "e": text(e), "issuer": issuer })
    }

    fn authorize(&self, query: &str) -> Response<Full<Bytes>> {
        let query: HashMap<String, String> = form(query.as_bytes());
        let code = format!("code-{}", query["state"]);
        self.script.lock().unwrap().nonces.insert(code.clone(), query["nonce"].clone());
        let mut back = url::Url::parse(&query["redirect_uri"]).unwrap();
        back.query_pairs_mut().append_pair("code", &code).append_pair("state", &query["state"]);
        redirect(StatusCode::FOUND, back.as_str())
    }

    fn token(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let form: HashMap<String, String> = form(body);
        let mut script = self.script.lock().unwrap();
        script.forms.push(form.clone());
        let nonce = form.get("code").and_then(|code| script.nonces.get(code));
        let now = self.clock.unix();
        let mut claims = json!({
            "iss": format!("{}/{TENANT}/v2.0", self.origin), "aud": CLIENT, "tid": TENANT,
            "sub": "subject-1", "oid": "99999999-0000-0000-0000-000000000001", "ver": "2.0",
            "iat": now - 300, "nbf": now - 300, "exp": now + 3600,
            "preferred_username": "sam@contoso.test", "name": "Sam",
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        lay_over(&mut claims, &script.claims);
        let token = sign(script.signs_with, &claims);
        script.id_tokens.push(token.clone());
        let mut answer = json!({
            "token_type": "Bearer", "scope": "openid profile User.Read", "expires_in": 3600,
            "access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN,
            "id_token": token,
        });
        lay_over(&mut answer, &script.answer);
        json_answer(&answer)
    }
}

fn sign(Key(der, kid): Key, claims: &Value) -> String {
    let pair = RsaKeyPair::from_der(der).unwrap();
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": kid });
    let signed = format!("{}.{}", part(&header), part(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn form(text: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn lay_over(document: &mut Value, members: &serde_json::Map<String, Value>) {
    let document = document.as_object_mut().unwrap();
    for (name, value) in members {
        if value.is_null() {
            document.remove(name);
        } else {
            document.insert(name.clone(), value.clone());
        }
    }
}

fn json_answer(value: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(value.to_string()))
        .unwrap()
}

fn redirect(status: StatusCode, to: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).header(header::LOCATION, to).body(Full::default()).unwrap()
}
