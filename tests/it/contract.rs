//! Every name that users rely on exists, under exactly that name.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{ALICE, Browser, FETCH, Setup, Stack, vestibule};

/// `[section] key` of the configuration, as far as it does something already.
const KEYS: &[(&str, &[&str])] = &[
    ("server", &["listen", "public_url", "trusted_proxies", "drain_timeout", "workers", "limits"]),
    ("admin", &["listen"]),
    (
        "entra",
        &[
            "cloud",
            "authority",
            "tenant",
            "allowed_tenants",
            "client_id",
            "client_secret",
            "client_secret_file",
            "certificate_file",
            "private_key_file",
            "federated_token_file",
            "scopes",
            "response_mode",
            "prompt",
            "domain_hint",
        ],
    ),
    (
        "session",
        &[
            "keys",
            "keys_file",
            "cookie",
            "lifetime",
            "idle_timeout",
            "renew_before",
            "cookie_budget",
        ],
    ),
    (
        "upstream",
        &[
            "url",
            "preserve_host",
            "connect_timeout",
            "idle_timeout",
            "ca_file",
            "certificate_file",
            "private_key_file",
        ],
    ),
    ("identity", &["authorization", "dialects", "headers"]),
    ("log", &["level", "format", "user"]),
    ("rules", &["path", "methods", "access", "roles", "groups", "users", "pass_authorization"]),
];

/// The object schema that a member leads to, through references and lists.
fn member<'s>(root: &'s Value, schema: &'s Value, name: &str) -> &'s Value {
    let mut found = &schema["properties"][name];
    loop {
        if let Some(reference) = found["$ref"].as_str() {
            found = root.pointer(reference.trim_start_matches('#')).unwrap();
        } else if found["items"].is_object() {
            found = &found["items"];
        } else if let Some(all) = found["allOf"].as_array() {
            found = &all[0];
        } else {
            return found;
        }
    }
}

#[tokio::test]
async fn the_schema_has_every_key() {
    let schema: Value = serde_json::from_str(&vestibule(["schema"]).ended().await.stdout).unwrap();
    for (section, keys) in KEYS {
        let section_schema = member(&schema, &schema, section);
        for key in *keys {
            let found = &section_schema["properties"][key];
            assert!(found.is_object(), "{section}.{key}: {section_schema}");
        }
        assert_eq!(section_schema["additionalProperties"], json!(false), "{section}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[tokio::test]
async fn the_defaults_are_those_of_the_contract() {
    let ended = vestibule(["check"])
        .env("VESTIBULE__SERVER__PUBLIC_URL", "https://app.contoso.test")
        .env("VESTIBULE__ENTRA__TENANT", "contoso.onmicrosoft.com")
        .env("VESTIBULE__ENTRA__CLIENT_ID", "00001111-aaaa-2222-bbbb-3333cccc4444")
        .env("VESTIBULE__ENTRA__CLIENT_SECRET", "secret")
        .env("VESTIBULE__SESSION__KEYS", "[\"ZWoF1h8O0WN/NwXx3/f3CmlSh2wZpzVifNTe8sZGY+k=\"]")
        .ended()
        .await;
    let table: toml::Table = ended.stdout.parse().unwrap();
    for (key, wanted) in [
        ("server.listen", "\"0.0.0.0:4180\""),
        ("server.trusted_proxies", "[]"),
        ("server.drain_timeout", "\"30s\""),
        ("server.workers", "0"),
        ("admin.listen", "\"127.0.0.1:4191\""),
        ("entra.cloud", "\"public\""),
        ("entra.allowed_tenants", "[]"),
        ("entra.scopes", "[\"User.Read\"]"),
        ("entra.response_mode", "\"query\""),
        ("session.cookie", "\"__Host-vestibule\""),
        ("session.lifetime", "\"8h\""),
        ("session.idle_timeout", "\"1h\""),
        ("session.renew_before", "\"5m\""),
        ("session.cookie_budget", "2"),
        ("upstream.url", "\"http://127.0.0.1:8080\""),
        ("upstream.preserve_host", "true"),
        ("upstream.connect_timeout", "\"5s\""),
        ("upstream.idle_timeout", "\"60s\""),
        ("identity.authorization", "\"bearer\""),
        ("identity.dialects", "[]"),
        ("log.level", "\"info\""),
        ("log.format", "\"auto\""),
        ("log.user", "false"),
    ] {
        let (section, name) = key.split_once('.').unwrap();
        let wanted: toml::Table = format!("x = {wanted}").parse().unwrap();
        let found = table[section].get(name).unwrap_or_else(|| panic!("{key}: {}", ended.stdout));
        let same = found == &wanted["x"]
            || found
                .as_str()
                .is_some_and(|text| Some(text.trim_end_matches('/')) == wanted["x"].as_str())
            || (key == "upstream.idle_timeout" && found.as_str() == Some("1m"));
        assert!(same, "{key} = {found}");
    }
}

#[tokio::test]
async fn our_urls_answer_as_promised_to_who_has_no_session() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    for place in ["/.auth/login/aad", "/.auth/login", "/.auth/login/aad?post_login_redirect_uri=/x"]
    {
        let page = browser.get(place).await;
        assert_eq!(page.status, 302, "{place}");
        assert!(page.location().as_str().contains("/oauth2/v2.0/authorize"));
        let page = browser.fetch(Method::GET, place).await;
        assert_eq!(page.status, 401, "{place}");
        assert!(page.set_cookies().is_empty());
    }
    let page =
        browser.get("/.auth/login/aad?prompt=login&login_hint=x@y.test&domain_hint=y.test").await;
    let url = page.location();
    for pair in [("prompt", "login"), ("login_hint", "x@y.test"), ("domain_hint", "y.test")] {
        assert!(url.query_pairs().any(|(name, value)| (&*name, &*value) == pair), "{url}");
    }
    for (method, place, status) in [
        (Method::GET, "/.auth/me", 401),
        (Method::GET, "/.auth/session", 401),
        (Method::POST, "/.auth/refresh", 401),
        (Method::GET, "/.auth/refresh", 405),
        (Method::GET, "/.auth/nothing", 404),
        (Method::POST, "/.auth/nothing", 404),
        (Method::GET, "/.auth/", 404),
        (Method::GET, "/.auth", 404),
        (Method::GET, "/.auth/logout/frontchannel?sid=1", 200),
    ] {
        let page = stack.browser().fetch(method.clone(), place).await;
        assert_eq!(page.status, status, "{method} {place}");
        assert!(page.header("cache-control").unwrap().contains("no-store"), "{place}");
    }
    // A callback without any query is the return from a sign-out.
    let page = stack.browser().get("/.auth/login/aad/callback").await;
    assert_eq!(page.status, 200);
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn our_urls_answer_as_promised_to_who_has_one() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let me = browser.fetch(Method::GET, "/.auth/me").await;
    assert!(me.header("content-type").unwrap().starts_with("application/json"));
    let me = me.json();
    let entry = me[0].as_object().unwrap();
    let names: Vec<&str> = entry.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!((&entry["provider_name"], &entry["user_id"]), (&json!("aad"), &json!(ALICE)));
    assert!(
        entry["user_claims"][0]["typ"].is_string() && entry["user_claims"][0]["val"].is_string()
    );
    assert!(entry["expires_on"].as_str().unwrap().ends_with('Z'));
    let session = browser.fetch(Method::GET, "/.auth/session").await.json();
    for name in ["expires_on", "session_ends", "renews_at"] {
        assert!(session[name].as_str().unwrap().ends_with('Z'), "{name}: {session}");
    }
    assert_eq!(browser.fetch(Method::POST, "/.auth/refresh").await.status, 200);
    // The decision to sign out is the user's own.
    let cross =
        [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
    let page = browser.request(Method::GET, "/.auth/logout", &cross, Bytes::new()).await;
    assert_eq!(page.status, 200);
    assert!(page.set_cookies().is_empty());
    let page = browser.post_form("/.auth/logout", "").await;
    assert_eq!(page.status, 303);
    assert!(browser.session_cookies().is_empty());
}

#[tokio::test]
async fn cookies_have_their_names_and_attributes() {
    let stack = Setup::default().set("session.cookie_budget", "3").start().await;
    for user in [ALICE, "carol@contoso.test", "grace@contoso.test"] {
        let mut browser = stack.browser().as_user(user);
        let page = browser.get("/").await;
        let mut lines = page.set_cookies();
        let mut url = page.location();
        url.query_pairs_mut().append_pair("login_hint", user);
        let back = browser.get(url.as_str()).await.location();
        let page = browser.get(back.as_str()).await;
        assert_eq!(page.status, 303);
        lines.extend(page.set_cookies());
        for line in &lines {
            let name = line.split('=').next().unwrap();
            let known = [
                "__Host-vestibule",
                "__Host-vestibule-1",
                "__Host-vestibule-2",
                "__Host-vestibule-flow",
            ];
            assert!(known.contains(&name), "{line}");
            let attributes: Vec<&str> = line.split("; ").skip(1).collect();
            for wanted in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                assert!(attributes.contains(&wanted), "{wanted}: {line}");
            }
            assert!(!line.to_ascii_lowercase().contains("domain="), "{line}");
        }
        assert!(browser.cookie("__Host-vestibule").is_some());
    }
    let stack = Setup::default().set("session.cookie", "\"__Host-shop\"").start().await;
    let browser = stack.signed_in(ALICE).await;
    assert!(
        browser.cookie("__Host-shop").is_some() && browser.cookie("__Host-vestibule").is_none()
    );
}

#[tokio::test]
async fn a_refusal_of_a_script_is_the_json_that_scripts_look_for() {
    let stack = Stack::start().await;
    let page = stack.browser().fetch(Method::GET, "/api").await;
    assert_eq!(page.header("www-authenticate"), Some("Bearer"));
    assert_eq!(page.header("content-type").unwrap().split(';').next(), Some("application/json"));
    let body = page.json();
    let url = format!("{}/.auth/login/aad", stack.origin());
    assert_eq!(body, json!({ "error": "login_required", "login_url": url }));
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let page = stack.browser().request(Method::GET, "/ws", &upgrade, Bytes::new()).await;
    assert_eq!(page.status, 401);
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "http://evil.test"),
    ];
    let page = stack.browser().request(Method::POST, "/form", &form, Bytes::from("a=b")).await;
    assert_eq!(page.status, 401);
    assert!(page.set_cookies().is_empty());
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn the_emulator_has_entras_paths_under_any_tenant_and_graphs() {
    let stack = Stack::start().await;
    let client = stack.emulator.client();
    let mut browser = Browser::new(&client.authority);
    for tenant in [client.tenant.as_str(), "contoso.onmicrosoft.com", "common", "organizations"] {
        let place = format!("/{tenant}/v2.0/.well-known/openid-configuration");
        let document = browser.fetch(Method::GET, &place).await;
        assert_eq!(document.status, 200, "{tenant}");
        let document = document.json();
        for (name, end) in [
            ("authorization_endpoint", "/oauth2/v2.0/authorize"),
            ("token_endpoint", "/oauth2/v2.0/token"),
            ("end_session_endpoint", "/oauth2/v2.0/logout"),
            ("jwks_uri", "/discovery/v2.0/keys"),
        ] {
            let url = document[name].as_str().unwrap();
            assert!(url.starts_with(&client.authority) && url.ends_with(end), "{name}: {url}");
        }
        let keys =
            browser.fetch(Method::GET, &format!("/{tenant}/discovery/v2.0/keys")).await.json();
        assert!(!keys["keys"].as_array().unwrap().is_empty());
    }
    let page = browser
        .fetch(Method::GET, "/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
        .await;
    assert!(page.status == 200 || page.status == 400, "{}", page.status);
    // Graph, with the token that the app gets, on the same port.
    stack.signed_in("bob@contoso.test").await;
    let token = stack.app.last().header("authorization").unwrap().to_owned();
    let headers =
        [FETCH, &[("authorization", token.as_str()), ("content-type", "application/json")]]
            .concat();
    let me = browser.request(Method::GET, "/v1.0/me", &headers, Bytes::new()).await;
    assert_eq!(me.status, 200, "{}", me.text());
    assert_eq!(me.json()["userPrincipalName"], "bob@contoso.test");
    let body = Bytes::from("{\"securityEnabledOnly\":true}");
    let page = browser.request(Method::POST, "/v1.0/me/getMemberObjects", &headers, body).await;
    assert_ne!(page.status, 404, "{}", page.text());
    let page =
        browser.request(Method::GET, "/v1.0/me/transitiveMemberOf", &headers, Bytes::new()).await;
    assert_ne!(page.status, 404, "{}", page.text());
    assert_eq!(browser.fetch(Method::GET, "/v1.0/me").await.status, 401);
    // Every key of a fault, in one.
    let fault = json!({ "endpoint": "token", "times": 1, "status": 429, "retry_after": 5,
        "error": "temporarily_unavailable", "code": 50196, "suberror": "x", "delay": "0s" });
    for (body, status) in [
        (fault, 204),
        (json!({ "rollover": true }), 204),
        (json!({ "endpoint": "nowhere" }), 400),
        (json!({ "tims": 1 }), 400),
    ] {
        let kind = [("content-type", "application/json")];
        let body = Bytes::from(body.to_string());
        let page = browser.request(Method::POST, "/_emulator/faults", &kind, body.clone()).await;
        assert_eq!(page.status, status, "{body:?}: {}", page.text());
    }
}
