//! The emulator over real sockets, seen by a browser and by a confidential client.

mod credentials;
mod faults;
mod graph;
mod pages;
mod sign_in;
mod sign_out;
mod tokens;

use std::{collections::BTreeMap, sync::Mutex};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use rustls::RootCertStore;
use serde_json::Value;
use tokio::runtime::Handle;
use url::{Url, form_urlencoded};

use crate::{
    base::{
        clock::Clock,
        outbound::{Answer, Outbound},
    },
    emulator::{Emulator, Fault, Options, Scenario},
};

const CALLBACK: &str = "http://localhost:4180/.auth/login/aad/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const API: &str = "api://0a11ce00-7e57-4a99-8d00-000000000001/access_as_user";

/// An emulator, a client of it, and a browser with cookies.
struct World {
    emulator: Emulator,
    clock: Clock,
    outbound: Outbound,
    cookie: Mutex<Option<String>>,
}

/// Parameters of a request, changed by name.
type Pairs = BTreeMap<&'static str, String>;

impl World {
    async fn new() -> Self {
        Self::with(Scenario::default()).await
    }

    async fn with(scenario: Scenario) -> Self {
        let clock = Clock::adjustable();
        let options = Options { scenario, clock: clock.clone(), ..Options::default() };
        let emulator = Emulator::start(options).await.unwrap();
        let outbound = Outbound::new(Handle::current(), RootCertStore::empty());
        Self { emulator, clock, outbound, cookie: Mutex::default() }
    }

    async fn from_toml(text: &str) -> Self {
        Self::with(Scenario::parse("scenario.toml", text).unwrap()).await
    }

    fn url(&self, path: &str) -> String {
        let path = path.replace("{tenant}", &self.emulator.client().tenant);
        if path.starts_with("http") { path } else { format!("{}{path}", self.emulator.origin()) }
    }

    async fn send(&self, request: http::request::Builder, body: impl Into<Vec<u8>>) -> Answer {
        self.outbound.send(request.body(body.into()).unwrap()).await.unwrap()
    }

    /// A visit of the browser, which keeps its cookie.
    async fn visit(&self, path: &str) -> Answer {
        let mut request = Request::get(self.url(path));
        if let Some(cookie) = self.cookie.lock().unwrap().as_deref() {
            request = request.header("cookie", cookie);
        }
        let answer = self.send(request, "").await;
        if let Some(line) = answer.headers.get("set-cookie") {
            let cookie = line.to_str().unwrap().split(';').next().unwrap().to_owned();
            *self.cookie.lock().unwrap() = Some(cookie);
        }
        answer
    }

    async fn get_json(&self, path: &str) -> Value {
        let answer = self.visit(path).await;
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The parameters of a right authorize request.
    fn question(&self, changes: &[(&'static str, &str)]) -> Pairs {
        let mut pairs = Pairs::from([
            ("client_id", self.emulator.client().client_id),
            ("response_type", "code".to_owned()),
            ("redirect_uri", CALLBACK.to_owned()),
            ("scope", "openid profile offline_access User.Read".to_owned()),
            ("state", "the state".to_owned()),
            ("nonce", "the nonce".to_owned()),
            ("code_challenge", CHALLENGE.to_owned()),
            ("code_challenge_method", "S256".to_owned()),
        ]);
        change(&mut pairs, changes);
        pairs
    }

    async fn authorize_at(&self, tenant: &str, changes: &[(&'static str, &str)]) -> Answer {
        let query = encoded(&self.question(changes));
        self.visit(&format!("/{tenant}/oauth2/v2.0/authorize?{query}")).await
    }

    async fn authorize(&self, changes: &[(&'static str, &str)]) -> Answer {
        self.authorize_at("{tenant}", changes).await
    }

    /// The code of a sign-in without a click.
    async fn code(&self, user: &str, changes: &[(&'static str, &str)]) -> String {
        let mut all = vec![("login_hint", user)];
        all.extend_from_slice(changes);
        let answer = self.authorize(&all).await;
        landed(&answer).remove("code").expect("a code comes back")
    }

    async fn post(&self, path: &str, pairs: &Pairs, headers: HeaderMap) -> Answer {
        let mut request = Request::post(self.url(path))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded;charset=utf-8");
        request.headers_mut().unwrap().extend(headers);
        self.send(request, encoded(pairs)).await
    }

    async fn token_at(&self, tenant: &str, changes: &[(&'static str, &str)]) -> Answer {
        let client = self.emulator.client();
        let mut pairs =
            Pairs::from([("client_id", client.client_id), ("client_secret", client.client_secret)]);
        change(&mut pairs, changes);
        self.post(&format!("/{tenant}/oauth2/v2.0/token"), &pairs, HeaderMap::new()).await
    }

    async fn redeem_answer(&self, code: &str, changes: &[(&'static str, &str)]) -> Answer {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        all.extend_from_slice(changes);
        self.token_at("{tenant}", &all).await
    }

    async fn redeem(&self, code: &str, changes: &[(&'static str, &str)]) -> Value {
        json(&self.redeem_answer(code, changes).await)
    }

    async fn renew(&self, refresh_token: &Value, changes: &[(&'static str, &str)]) -> Value {
        let token = refresh_token.as_str().expect("there is a refresh token");
        let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        all.extend_from_slice(changes);
        json(&self.token_at("{tenant}", &all).await)
    }

    /// A whole sign-in.
    async fn tokens(&self, user: &str, scope: &str) -> Value {
        let scope = format!("openid profile offline_access {scope}");
        let code = self.code(user, &[("scope", &scope)]).await;
        self.redeem(&code, &[]).await
    }

    fn fault(&self, json: &str) {
        self.emulator.fault(Fault::parse(json.as_bytes()).unwrap());
    }

    async fn graph(&self, path: &str, token: &Value) -> Answer {
        let token = token.as_str().unwrap_or_default();
        let request =
            Request::get(self.url(path)).header("authorization", format!("Bearer {token}"));
        self.send(request, "").await
    }
}

/// An empty value takes the parameter away.
fn change(pairs: &mut Pairs, changes: &[(&'static str, &str)]) {
    for (name, value) in changes {
        if value.is_empty() {
            pairs.remove(name);
        } else {
            pairs.insert(name, (*value).to_owned());
        }
    }
}

fn encoded(pairs: &Pairs) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("the answer is JSON")
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::FOUND, "{}", text(answer));
    answer.headers["location"].to_str().unwrap().to_owned()
}

/// The query with which the browser arrives at the app.
fn landed(answer: &Answer) -> BTreeMap<String, String> {
    let location = location(answer);
    assert!(location.starts_with(CALLBACK), "{location}");
    Url::parse(&location).unwrap().query_pairs().into_owned().collect()
}

fn part(token: &Value, index: usize) -> Value {
    let token = token.as_str().expect("there is a token");
    let part = token.split('.').nth(index).expect("the token has segments");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn claims(token: &Value) -> Value {
    part(token, 1)
}

/// The number in `error_codes`.
fn code_of(body: &Value) -> u64 {
    body["error_codes"][0].as_u64().unwrap_or_default()
}
