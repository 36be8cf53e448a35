//! J1: no secret in a log, a metric or a page, not even at level trace.

use std::{collections::BTreeSet, path::Path};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use vestibule::base::clock::Clock;

use crate::support::{
    ALICE, App, Browser, FETCH, Page, config_file, free_port,
    provider::{self, ACCESS_TOKEN, Odd, Provider, REFRESH_TOKEN, TOKEN},
    vestibule,
};

const KEY: &str = "ZWoF1h8O0WN/NwXx3/f3CmlSh2wZpzVifNTe8sZGY+k=";
const OWN_BEARER: &str = "canary-bearer-of-the-caller-0123456789";
const OWN_COOKIE: &str = "canary-cookie-of-the-app-0123456789";
const QUERY: &str = "canary-in-the-query-0123456789";
const BODY: &str = "canary-in-the-body-0123456789";
const GARBAGE: &str = "canary-of-a-broken-provider-0123456789";

/// What must not be seen, and what was seen.
#[derive(Default)]
struct Scanner {
    canaries: BTreeSet<String>,
    seen: Vec<(String, String)>,
}

impl Scanner {
    fn canary(&mut self, text: &str) {
        assert!(text.len() >= 16, "too short to be told from chance: {text}");
        self.canaries.insert(text.to_owned());
    }

    /// Every cookie that a browser has, or that a page sets.
    fn cookies(&mut self, browser: &Browser, page: &Page) {
        for value in browser.cookies.values().flat_map(|jar| jar.values()) {
            if value.len() >= 16 {
                self.canary(value);
            }
        }
        for line in page.set_cookies() {
            let value = line.split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
            if value.len() >= 16 {
                self.canary(&value);
            }
        }
    }

    /// What stands in a URL on its way between browser, Microsoft and us.
    fn parameters(&mut self, url: &url::Url) {
        for (name, value) in url.query_pairs() {
            if ["state", "code", "nonce"].contains(&name.as_ref()) && value.len() >= 16 {
                self.canary(&value);
            }
        }
    }

    fn page(&mut self, what: &str, page: &Page) {
        self.seen.push((what.to_owned(), page.text()));
    }

    fn text(&mut self, what: &str, text: String) {
        self.seen.push((what.to_owned(), text));
    }

    fn check(&self) {
        for canary in &self.canaries {
            let mut forms = vec![
                canary.clone(),
                url::form_urlencoded::byte_serialize(canary.as_bytes()).collect::<String>(),
                BASE64_STANDARD_NO_PAD.encode(canary),
                BASE64_URL_SAFE_NO_PAD.encode(canary),
                format!("{:?}", canary.as_bytes()),
            ];
            // A token that was cut for the log is a token still, as far as it goes.
            if canary.len() > 48 {
                forms.push(canary[..24].to_owned());
                forms.push(canary[canary.len() - 24..].to_owned());
            }
            for form in forms {
                for (what, text) in &self.seen {
                    // The start of every token of one kind is the same header, and no secret.
                    let harmless = form.starts_with("eyJ") && form.len() == 24;
                    assert!(
                        harmless || !text.contains(&form),
                        "{form:?} is in {what}:\n{}",
                        line(text, &form)
                    );
                }
            }
        }
    }
}

fn line<'t>(text: &'t str, part: &str) -> &'t str {
    text.lines().find(|line| line.contains(part)).unwrap_or(text)
}

struct Proxy {
    running: crate::support::Running,
    origin: String,
    admin: String,
}

fn proxy(entra: &str, app: &App, level: &str) -> Proxy {
    let (port, admin) = (free_port(), free_port());
    let file = config_file(&format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://localhost:{port}\"\nworkers = 1\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[entra]\n{entra}\n[session]\nkeys = [\"{KEY}\"]\n\
         [upstream]\nurl = \"{}\"\n[identity]\ndialects = [\"easy-auth\", \"oauth2-proxy\"]\n\
         [log]\nlevel = \"{level}\"\nformat = \"json\"\n\
         [[rules]]\npath = \"/open\"\naccess = \"anonymous\"\npass_authorization = true\n",
        app.url()
    ));
    let running = vestibule([Path::new("run"), Path::new("--config"), &file]).start();
    Proxy {
        running,
        origin: format!("http://localhost:{port}"),
        admin: format!("http://127.0.0.1:{admin}"),
    }
}

#[tokio::test]
async fn j1_at_trace_no_token_code_state_verifier_secret_key_or_cookie_is_logged_counted_or_shown()
{
    let provider = Provider::start(Clock::system()).await;
    let app = App::start().await;
    let entra = format!(
        "authority = \"{}\"\ntenant = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"",
        provider.origin(),
        provider::TENANT,
        provider::CLIENT,
        provider::SECRET,
    );
    let level = "trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace,mio=trace,tokio=trace";
    let proxy = proxy(&entra, &app, level);
    proxy.running.says("ready").await;
    let mut scanner = Scanner::default();
    for canary in [
        provider::SECRET,
        KEY,
        ACCESS_TOKEN,
        REFRESH_TOKEN,
        OWN_BEARER,
        OWN_COOKIE,
        QUERY,
        BODY,
        GARBAGE,
    ] {
        scanner.canary(canary);
    }

    // In, with everything along that a browser may carry.
    let mut browser = Browser::new(&proxy.origin);
    browser.set_cookie("app", OWN_COOKIE);
    browser.extra.insert("authorization", format!("Bearer {OWN_BEARER}").parse().unwrap());
    let page = browser.get(&format!("/start?token={QUERY}")).await;
    scanner.cookies(&browser, &page);
    scanner.parameters(&page.location());
    let back = browser.get(page.location().as_str()).await.location();
    scanner.parameters(&back);
    // Refused callbacks: another browser, none of the parameters right, an error with a tail.
    let mut other = Browser::new(&proxy.origin);
    scanner.page("callback without a jar", &other.get(back.as_str()).await);
    other.get("/").await;
    scanner.page("callback with another jar", &other.get(back.as_str()).await);
    for query in [
        format!("code={QUERY}&code={QUERY}&state={QUERY}"),
        format!("code={QUERY}"),
        format!("state={QUERY}&error={QUERY}&error_description={QUERY}"),
        format!("{QUERY}={QUERY}&state=%ff"),
        format!("code={QUERY}{}&state=x", "x".repeat(9_000)),
    ] {
        let page = other.get(&format!("/.auth/login/aad/callback?{query}")).await;
        scanner.page("a refused callback", &page);
        assert!(page.status == 400 || page.status == 403, "{}", page.status);
    }
    let page = browser.get(back.as_str()).await;
    assert_eq!(page.status, 303, "{}", page.text());
    scanner.cookies(&browser, &page);
    assert_eq!(browser.get(&format!("/start?token={QUERY}")).await.status, 200);
    assert_eq!(browser.get("/open").await.status, 200);
    let body = Bytes::from(BODY);
    assert_eq!(browser.request(Method::POST, "/form", FETCH, body).await.status, 200);
    for place in ["/.auth/me", "/.auth/session"] {
        scanner.page(place, &browser.fetch(Method::GET, place).await);
    }

    // Renewed, and not; and whatever a provider in trouble says.
    let page = browser.fetch(Method::POST, "/.auth/refresh").await;
    assert_eq!(page.status, 200, "{}", page.text());
    scanner.cookies(&browser, &page);
    scanner.page("refresh", &page);
    let invalid = format!(
        "{{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS70000: {REFRESH_TOKEN} {GARBAGE}\",\
         \"error_codes\":[70000],\"correlation_id\":\"6e2f5c8e-0000-4000-8000-000000000002\"}}"
    );
    for (status, body) in [
        (StatusCode::OK, format!("<html>{GARBAGE}</html>")),
        (
            StatusCode::OK,
            format!(
                "{{\"access_token\":\"{ACCESS_TOKEN}\",\"id_token\":\"{GARBAGE}.e30.x\",\"token_type\":\"Bearer\",\"expires_in\":\"{GARBAGE}\"}}"
            ),
        ),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "{{\"error\":\"temporarily_unavailable\",\"error_description\":\"{GARBAGE}\"}}"
            ),
        ),
        (StatusCode::BAD_REQUEST, invalid),
    ] {
        provider.odd(TOKEN, Odd::Answer(status, "application/json", body.into_bytes()));
        let page = browser.fetch(Method::POST, "/.auth/refresh").await;
        scanner.page("a refresh that fails", &page);
        let mut late = Browser::new(&proxy.origin);
        let page = late.navigate("/").await;
        scanner.page("a sign-in that fails", &page);
        scanner.cookies(&late, &page);
        for (_, url) in &page.hops {
            scanner.parameters(url);
        }
    }
    provider.well(TOKEN);

    // Broken cookies, a broken request, an app that is not there; then out.
    let mut broken = browser.clone();
    for (name, value) in browser.session_cookies() {
        broken.set_cookie(&name, &format!("{}x", &value[..value.len() - 1]));
    }
    scanner.page("a broken session", &broken.fetch(Method::GET, "/").await);
    scanner.page("a bad path", &broken.get(&format!("/a%2fb?{QUERY}")).await);
    scanner.page("a bad gateway", &browser.get("/close").await);
    let page = browser.get(&format!("/.auth/logout?post_logout_redirect_uri=/{QUERY}")).await;
    scanner.cookies(&browser, &page);
    scanner.page("sign-out", &page);
    scanner.page("signed out", &browser.get("/.auth/login/aad/callback").await);

    for form in provider.forms() {
        for name in ["code", "code_verifier", "refresh_token", "client_secret"] {
            if let Some(value) = form.get(name).filter(|value| value.len() >= 16) {
                scanner.canary(value);
            }
        }
    }
    assert!(provider.forms().iter().any(|form| form["grant_type"] == "refresh_token"));
    for secret in provider.nonces().into_iter().chain(provider.id_tokens()) {
        scanner.canary(&secret);
    }
    let metrics = Browser::new(&proxy.admin).get("/metrics").await;
    scanner.page("metrics", &metrics);
    proxy.running.signal("TERM");
    proxy.running.signal("TERM");
    let ended = proxy.running.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.lines().count() > 30, "{}", ended.stderr);
    for line in ended.stderr.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    // The metric counts panics too, and there was none.
    assert!(metrics.text().contains("vestibule_panics_total 0"), "{}", metrics.text());
    scanner.text("stderr", ended.stderr);
    scanner.text("stdout", ended.stdout);
    scanner.check();
}

#[tokio::test]
async fn j1_with_real_tokens_of_the_emulator_nothing_of_them_is_logged_by_either_program() {
    let mut emulator = vestibule(["emulator", "--listen", "127.0.0.1:0"]).start();
    let mut text = String::new();
    let client: toml::Table = loop {
        text.push_str(&emulator.line().await);
        match text.parse::<toml::Table>() {
            Ok(table) if table.contains_key("users") => break table,
            _ => {}
        }
    };
    let app = App::start().await;
    let entra: String = ["authority", "tenant", "client_id", "client_secret"]
        .iter()
        .map(|name| format!("{name} = {}\n", client[*name]))
        .collect();
    let proxy = proxy(&entra, &app, "trace");
    proxy.running.says("ready").await;
    let mut scanner = Scanner::default();
    scanner.canary(client["client_secret"].as_str().unwrap());
    scanner.canary(KEY);
    for user in [ALICE, "carol@contoso.test", "dave@contoso.test"] {
        let mut browser = Browser::new(&proxy.origin).as_user(user);
        let page = browser.navigate("/").await;
        assert_eq!(page.status, 200, "{}", page.text());
        for (_, url) in &page.hops {
            scanner.parameters(url);
        }
        scanner.cookies(&browser, &page);
        let page = browser.fetch(Method::POST, "/.auth/refresh").await;
        assert_eq!(page.status, 200, "{}", page.text());
        scanner.cookies(&browser, &page);
        browser.navigate("/").await;
        let page = browser.navigate("/.auth/logout").await;
        scanner.page("signed out", &page);
    }
    for request in app.requests() {
        for name in
            ["x-ms-token-aad-access-token", "x-ms-token-aad-id-token", "x-ms-client-principal"]
        {
            scanner.canary(request.header(name).expect(name));
        }
    }
    scanner.page("metrics", &Browser::new(&proxy.admin).get("/metrics").await);
    proxy.running.signal("INT");
    let ended = proxy.running.ended().await;
    assert!(
        !ended.stderr.contains("contoso.test"),
        "personal data:\n{}",
        line(&ended.stderr, "contoso.test")
    );
    scanner.text("the proxy's stderr", ended.stderr);
    scanner.text("the proxy's stdout", ended.stdout);
    emulator.signal("INT");
    scanner.text("the emulator's stderr", emulator.ended().await.stderr);
    scanner.check();
}
