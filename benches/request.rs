//! What the hot parts of one request cost: time, and where valgrind is installed the number of
//! instructions, which other programs on the machine do not change.
//! `cargo bench --bench request`.
//!
//! A part is counted by running this program twice under callgrind, with and without many rounds
//! of it; the difference is the part.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::{
    error::Error,
    fmt::Write as _,
    hint::black_box,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, header::COOKIE};
use rustls::RootCertStore;
use samples::{Sample, Shape};
use tokio::runtime::{Builder, Runtime};
use vestibule::{
    base::{
        body::Body, clock::Clock, metrics::Metrics, outbound::Outbound, secret::ExposeSecret,
        units::ByteSize,
    },
    entra::{self, EntraClient},
    identity::{self, Assertion, Identity},
    request::{Exchange, Inbound, Peer, PublicUrl, Reader, TrustedProxies},
    rules::{Decision, RuleSettings, Rules, Subject},
    sealing::{Binding, Key, Keyring, Purpose},
    session::{
        self, Flights, Found, RevokedSessions, Session, SessionCookies, Sessions, Streams, Teller,
        TokenShelf,
        packing::{self, Contents},
    },
};

#[expect(dead_code, reason = "shared with the bench of session cookies, which uses all of it")]
#[path = "../src/session/packing/samples.rs"]
mod samples;

const ROUNDS: u64 = 400;
const ORIGIN: &str = "https://app.contoso.com";
const COOKIE_NAME: &str = "__Host-vestibule";

/// What a browser sends besides its cookies.
const FIELDS: [(&str, &str); 14] = [
    ("host", "app.contoso.com"),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Windows\""),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-user", "?1"),
    ("sec-fetch-dest", "document"),
    ("referer", "https://app.contoso.com/reports"),
    ("upgrade-insecure-requests", "1"),
];

/// One part of a request's way.
#[derive(Clone, Copy)]
enum Part {
    Scrub,
    Open,
    Decide,
    Inject,
}

const PARTS: [(Part, &str, &str); 4] = [
    (Part::Scrub, "scrub", "read the request once, cut our cookies out, strip reserved headers"),
    (Part::Open, "open", "find the session of these cookies, opened before"),
    (Part::Decide, "decide", "ten rules, the last one matches and asks for a group"),
    (Part::Inject, "inject", "identity and forwarding headers"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::new()?;
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, rounds] = arguments.as_slice()
        && flag == "--count"
    {
        let part = PARTS.iter().find(|(_, known, _)| known == name).ok_or("no such part")?;
        bench.run(part.0, rounds.parse()?);
        return Ok(());
    }
    println!("part     instructions    ns  what");
    for (part, name, what) in PARTS {
        let instructions = instructions(name)?
            .map_or_else(|| "–".to_owned(), |instructions| instructions.to_string());
        println!("{name:<8} {instructions:>12} {:>5}  {what}", bench.time(part).as_nanos());
    }
    Ok(())
}

/// Instructions of one round of a part; `None` without valgrind.
fn instructions(part: &str) -> Result<Option<u64>, Box<dyn Error>> {
    let Some(without) = count(part, 1)? else { return Ok(None) };
    let with = count(part, 1 + ROUNDS)?.ok_or("valgrind has gone")?;
    Ok(Some(with.saturating_sub(without) / ROUNDS))
}

fn count(part: &str, rounds: u64) -> Result<Option<u64>, Box<dyn Error>> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--count", part, &rounds.to_string()]);
    let Ok(output) = valgrind.output() else { return Ok(None) };
    let said = String::from_utf8(output.stderr)?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.ok_or(said.clone())?;
    Ok(Some(number.trim().parse()?))
}

/// Everything that one request meets, ready.
struct Bench {
    runtime: Runtime,
    reader: Reader,
    identity: Identity,
    teller: Teller,
    rules: Rules,
    sessions: Sessions,
    session: Arc<Session>,
    cookie: HeaderValue,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let public_url = PublicUrl::parse(ORIGIN)?;
        let trusted = TrustedProxies::default();
        let reader = Reader::new(public_url.clone(), trusted, COOKIE_NAME.to_owned());
        let identity = Identity::build(identity::Settings::default(), &public_url)?;
        let sample = Sample::new(Shape::Graph, 10, 1);
        let keyring = Arc::new(keyring()?);
        let cookie = cookie_header(&keyring, &sample)?;
        let sessions = sessions(&runtime, keyring, &identity)?;
        let own = read(&reader, &cookie)?;
        let found = runtime.block_on(sessions.open(own.own_cookies()))?;
        let Found::Live(session) = found else {
            return Err("the session does not open".into());
        };
        let rules = rules(session.principal.groups())?;
        let teller = Teller::default();
        Ok(Self { runtime, reader, identity, teller, rules, sessions, session, cookie })
    }

    /// So many rounds of one part.
    fn run(&self, part: Part, rounds: u64) {
        let _context = self.runtime.enter();
        let Ok(mut inbound) = read(&self.reader, &self.cookie) else { return };
        for _ in 0..rounds {
            match part {
                Part::Scrub => {
                    if let Ok(mut inbound) = read(&self.reader, &self.cookie) {
                        self.identity.strip(inbound.headers_mut());
                        black_box(inbound);
                    }
                }
                Part::Open => {
                    let found = self.sessions.open(inbound.own_cookies()).now_or_never();
                    assert!(matches!(black_box(found), Some(Ok(Found::Live(_)))));
                }
                Part::Decide => {
                    assert_eq!(black_box(self.decide(&inbound)), Decision::Allow);
                }
                Part::Inject => self.inject(&mut inbound),
            }
        }
    }

    fn decide(&self, inbound: &Inbound) -> Decision {
        let principal = &self.session.principal;
        let subject = Subject {
            object_id: principal.object_id(),
            user_name: principal.user_name(),
            roles: principal.roles(),
            groups: principal.groups(),
        };
        self.rules.first_match(inbound.method(), inbound.target()).decide(Some(&subject))
    }

    fn inject(&self, inbound: &mut Inbound) {
        let told = self.session.told.by(&self.teller, || self.told());
        for (name, value) in told.headers() {
            inbound.headers_mut().insert(name.clone(), value.clone());
        }
        let forwarded_for = inbound.forwarded_for();
        self.identity.forward(forwarded_for, "an-id", inbound.headers_mut());
    }

    fn told(&self) -> HeaderMap {
        let tokens = &self.session.tokens;
        let assertion = Assertion {
            claims: self.session.principal.claims(),
            access_token: Some(tokens.access_token.expose_secret()),
            id_token: None,
            expires_on: tokens.expires_at,
        };
        let mut headers = HeaderMap::new();
        self.identity.assert(&assertion, &mut headers);
        headers
    }

    /// The tenth percentile of one round.
    fn time(&self, part: Part) -> Duration {
        let round = || {
            let start = Instant::now();
            self.run(part, ROUNDS);
            start.elapsed() / u32::try_from(ROUNDS).unwrap_or(u32::MAX)
        };
        let mut rounds: Vec<Duration> = (0..60).map(|_| round()).collect();
        rounds.sort_unstable();
        rounds.get(6).copied().unwrap_or_default()
    }
}

fn read(reader: &Reader, cookie: &HeaderValue) -> Result<Inbound, Box<dyn Error>> {
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() = http::Uri::from_static("/reports/2026?page=2");
    for (name, value) in FIELDS {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request.headers_mut().insert(COOKIE, cookie.clone());
    let peer = Peer::Tcp(([192, 0, 2, 9], 40_000).into());
    let mut exchange = Exchange::begin(peer, Method::GET, request.uri());
    Ok(reader.read(&mut exchange, request)?)
}

fn keyring() -> Result<Keyring, Box<dyn Error>> {
    let binding = Binding {
        origin: ORIGIN.to_owned(),
        client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
        tenant: "contoso.onmicrosoft.com".to_owned(),
    };
    Ok(Keyring::new(vec![Key::generate()?], binding)?)
}

/// The session beside two cookies of the app.
fn cookie_header(keyring: &Keyring, sample: &Sample) -> Result<HeaderValue, Box<dyn Error>> {
    let now = Clock::system().unix();
    let mut packed = packing::pack(&Contents {
        claims: sample.claims.clone(),
        access_token: Some(sample.access_token.clone().into()),
        refresh_token: Some(sample.refresh_token.clone().into()),
        id_token: None,
        scope: sample.scope.clone(),
        expires_at: now + 4_684,
        signed_in_at: now,
        obtained_at: now,
        seen_at: now,
        id: [7; 16],
        generation: 1,
    });
    let cookies = SessionCookies::new(COOKIE_NAME, 2);
    packing::pad(&mut packed, |sealed| cookies.edge(sealed));
    let lines = cookies.write(&keyring.seal(Purpose::Session, &packed)?, 0)?;
    let pairs = lines.iter().filter_map(|line| line.to_str().ok()?.split(';').next());
    let pairs: Vec<&str> = pairs.filter(|pair| !pair.ends_with('=')).collect();
    let line = format!("theme=dark; {}; PHPSESSID=q1w2e3r4t5z6u7i8o9p0", pairs.join("; "));
    Ok(HeaderValue::try_from(line)?)
}

fn sessions(
    runtime: &Runtime,
    keyring: Arc<Keyring>,
    identity: &Identity,
) -> Result<Sessions, Box<dyn Error>> {
    let (clock, metrics) = (Clock::system(), Metrics::new());
    let settings: entra::Settings = toml::from_str(
        "tenant = \"contoso.onmicrosoft.com\"\n\
         client_id = \"11111111-2222-3333-4444-555555555555\"\n\
         client_secret = \"nobody-is-asked\"\n",
    )?;
    let outbound = Outbound::new(runtime.handle().clone(), RootCertStore::empty());
    let redirect = PublicUrl::parse(ORIGIN)?.join("/.auth/login/aad/callback");
    let entra = EntraClient::new(&settings, redirect, outbound, clock.clone(), metrics.clone())?;
    let parts = session::Parts {
        keyring,
        entra: Arc::new(entra),
        runtime: runtime.handle().clone(),
        keep_id_token: identity.needs_id_token(),
        flights: Arc::new(Flights::default()),
        redis: None,
        streams: Arc::new(Streams::new(metrics.clone())),
        named_groups: std::collections::BTreeSet::new(),
        shelf: Arc::new(TokenShelf::new(ByteSize::mib(1), metrics.clone())),
        revoked: Arc::new(RevokedSessions::default()),
        clock,
        metrics,
    };
    Ok(Sessions::new(&session::Settings::default(), parts))
}

#[derive(serde::Deserialize)]
struct Document {
    rules: Vec<RuleSettings>,
}

fn rules(groups: &[String]) -> Result<Rules, Box<dyn Error>> {
    let last = groups.last().ok_or("the sample has groups")?;
    let mut text = String::new();
    for number in 0..9 {
        writeln!(text, "[[rules]]\npath = \"/public/{number}/*\"\naccess = \"anonymous\"")?;
    }
    writeln!(text, "[[rules]]\npath = \"/reports/*\"\ngroups = [\"{last}\"]")?;
    let document: Document = toml::from_str(&text)?;
    Ok(Rules::build(document.rules, true)?)
}
