//! Endpoints come from the discovery document, and a provider that is down, slow or wrong signs
//! nobody in and signs nobody out.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use vestibule::base::clock::Clock;

use crate::support::{
    App, Browser, Page, Setup, Stack, free_port,
    provider::{
        ACCESS_TOKEN, AUTHORIZE, END_SESSION, FIRST, KEYS, Key, METADATA, Odd, Provider, SECOND,
        TOKEN,
    },
};

async fn provider() -> (Provider, Clock) {
    let clock = Clock::adjustable();
    (Provider::start(clock.clone()).await, clock)
}

async fn stack_at(provider: &Provider, clock: &Clock) -> Stack {
    Setup::default().at_provider(&provider.origin(), clock).start().await
}

/// A proxy whose provider is in trouble from the start: it is not waited for.
async fn hasty(provider: &Provider, clock: &Clock) -> Stack {
    Setup::default().at_provider(&provider.origin(), clock).hasty().start().await
}

/// Looks again and again, since nobody is told when the proxy has noticed something.
async fn until<F: Future<Output = bool>>(what: &str, mut seen: impl FnMut() -> F) {
    let all = async {
        while !seen().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), all).await.is_ok(), "{what}");
}

/// What a person and a script see who cannot be sent to Microsoft.
async fn nobody_signs_in(stack: &Stack, why: &str) {
    let page = stack.browser().get("/wanted").await;
    assert_eq!(page.status, 503, "{why}: {}", page.text());
    assert!(page.header("retry-after").is_some(), "{why}");
    assert!(page.header("location").is_none(), "{why}");
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{why}");
    assert!(page.header("cache-control").unwrap().contains("no-store"), "{why}");
    assert!(page.set_cookies().is_empty(), "{why}: {:?}", page.set_cookies());
    let page = stack.browser().fetch(Method::GET, "/wanted").await;
    assert_eq!(page.status, 401, "{why}");
    assert_eq!(stack.admin("/readyz").await.status, 503, "{why}");
    assert_eq!(stack.admin("/livez").await.status, 200, "{why}");
    assert!(stack.app.requests().is_empty(), "{why}");
}

#[tokio::test]
async fn a_provider_on_other_paths_signs_in_renews_and_signs_out() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    let mut browser = stack.browser();
    let page = browser.navigate("/reports?year=7").await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/reports"), "{}", page.text());
    assert!(page.visited(AUTHORIZE));
    assert_eq!(
        stack.app.last().header("authorization"),
        Some(format!("Bearer {ACCESS_TOKEN}").as_str())
    );
    assert_eq!(provider.visits(TOKEN), 1);
    stack.advance(3400);
    assert_eq!(browser.navigate("/").await.hops.len(), 0);
    assert_eq!(provider.visits(TOKEN), 2);
    let page = browser.get("/.auth/logout?post_logout_redirect_uri=/x").await;
    assert_eq!((page.status.as_u16(), page.location().path()), (302, END_SESSION));
    assert!(browser.session_cookies().is_empty());
    let back = browser.get(page.location().as_str()).await.location();
    let page = browser.get(back.as_str()).await;
    assert_eq!((page.status.as_u16(), page.location().path()), (303, "/x"));
    assert_eq!(provider.visits("/oauth2/v2.0/authorize"), 0);
}

#[tokio::test]
async fn h2_metadata_of_another_issuer_or_with_endpoints_elsewhere_signs_nobody_in() {
    let elsewhere = App::start().await;
    let cases: Vec<(&str, Value)> = vec![
        ("issuer", json!("http://evil.test/11111111-2222-3333-4444-555555555555/v2.0")),
        ("issuer", json!("PROVIDER/99999999-2222-3333-4444-555555555555/v2.0")),
        ("issuer", json!("PROVIDER/11111111-2222-3333-4444-555555555555/v2.0/")),
        ("issuer", json!("PROVIDER/11111111-2222-3333-4444-555555555555")),
        ("issuer", json!("PROVIDER/{tenantid}/v2.0")),
        ("issuer", json!("")),
        ("issuer", json!(["PROVIDER/11111111-2222-3333-4444-555555555555/v2.0"])),
        ("issuer", Value::Null),
        ("token_endpoint", json!("ELSEWHERE/token")),
        ("jwks_uri", json!("ELSEWHERE/keys")),
        ("authorization_endpoint", json!("ELSEWHERE/authorize")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("end_session_endpoint", json!("ELSEWHERE/logout")),
        ("token_endpoint", json!("file:///etc/passwd")),
        ("token_endpoint", json!("/exchange")),
        ("token_endpoint", Value::Null),
        ("jwks_uri", Value::Null),
        ("authorization_endpoint", Value::Null),
    ];
    for (name, value) in cases {
        let (provider, clock) = provider().await;
        let text = value.to_string();
        let text =
            text.replace("PROVIDER", &provider.origin()).replace("ELSEWHERE", &elsewhere.url());
        provider.metadata(name, serde_json::from_str(&text).unwrap());
        let stack = hasty(&provider, &clock).await;
        until("the document is read", || async { provider.visits(METADATA) > 0 }).await;
        nobody_signs_in(&stack, &format!("{name} {text}")).await;
        assert!(elsewhere.requests().is_empty(), "{name} {text}");
    }
}

#[tokio::test]
async fn garbage_ten_megabytes_redirects_and_silence_are_no_metadata() {
    let large = format!("{{\"issuer\":\"{}\"", "x".repeat(10 << 20)).into_bytes();
    let deep = "[".repeat(100_000).into_bytes();
    let forever = Arc::new(Notify::new());
    let elsewhere = App::start().await;
    for (why, odd) in [
        ("html", Odd::Answer(StatusCode::OK, "text/html", b"<html>hello</html>".to_vec())),
        ("cut", Odd::Answer(StatusCode::OK, "application/json", b"{\"issuer\":\"http://".to_vec())),
        ("list", Odd::Answer(StatusCode::OK, "application/json", b"[]".to_vec())),
        ("empty", Odd::Answer(StatusCode::OK, "application/json", Vec::new())),
        ("large", Odd::Answer(StatusCode::OK, "application/json", large)),
        ("deep", Odd::Answer(StatusCode::OK, "application/json", deep)),
        ("500", Odd::Answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", b"no".to_vec())),
        ("404", Odd::Answer(StatusCode::NOT_FOUND, "text/plain", b"no".to_vec())),
        ("204", Odd::Answer(StatusCode::NO_CONTENT, "text/plain", Vec::new())),
        ("redirect", Odd::Redirect(format!("{}/metadata", elsewhere.url()))),
    ] {
        let (provider, clock) = provider().await;
        provider.odd(METADATA, odd);
        let stack = hasty(&provider, &clock).await;
        until("the document is asked for", || async { provider.visits(METADATA) > 0 }).await;
        nobody_signs_in(&stack, why).await;
        assert!(elsewhere.requests().is_empty(), "{why}");
        // It recovers by itself.
        provider.well(METADATA);
        stack.proxy.ready().await;
        let page = stack.browser().navigate("/").await;
        assert_eq!(page.status, 200, "{why}");
    }
    // A provider that takes the connection and says nothing holds nobody up for long.
    let (provider, clock) = provider().await;
    provider.odd(METADATA, Odd::Silence(Arc::clone(&forever)));
    let stack = hasty(&provider, &clock).await;
    let mut browser = stack.browser();
    let asked = tokio::time::timeout(Duration::from_secs(8), browser.get("/")).await;
    assert_eq!(asked.expect("an answer within bounds").status, 503);
    let mut script = stack.browser();
    let asked = tokio::time::timeout(Duration::from_secs(2), script.fetch(Method::GET, "/")).await;
    assert_eq!(asked.expect("no waiting for who is not sent there").status, 401);
}

#[tokio::test]
async fn keys_that_are_garbage_sign_nobody_in_and_are_no_reason_to_be_ready() {
    for (why, body) in [
        ("html", "<html>"),
        ("none", "{\"keys\":[]}"),
        ("not a set", "{\"key\":1}"),
        ("only secrets", "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"first\",\"k\":\"AAAA\"}]}"),
    ] {
        let (provider, clock) = provider().await;
        provider.odd(KEYS, Odd::Answer(StatusCode::OK, "application/json", body.into()));
        let stack = hasty(&provider, &clock).await;
        until("the keys are asked for", || async { provider.visits(KEYS) > 0 }).await;
        assert_eq!(stack.admin("/readyz").await.status, 503, "{why}");
        let mut browser = stack.browser();
        let page = browser.navigate("/").await;
        assert!(matches!(page.status.as_u16(), 503), "{why}: {}", page.status);
        assert!(browser.session_cookies().is_empty(), "{why}");
        assert!(stack.app.requests().is_empty(), "{why}");
        provider.well(KEYS);
        stack.proxy.ready().await;
    }
}

#[tokio::test]
async fn j14_an_outage_keeps_sessions_and_cookies_and_shows_new_users_a_page() {
    let clock = Clock::adjustable();
    let address = ([127, 0, 0, 1], free_port()).into();
    let provider = Provider::on(address, clock.clone()).await;
    let stack = stack_at(&provider, &clock).await;
    let mut browser = stack.browser();
    assert_eq!(browser.navigate("/").await.status, 200);
    let mut late = stack.browser();
    let page = late.get("/late").await;
    let callback = late.get(page.location().as_str()).await.location();
    drop(provider);

    // A sign-in that was under way ends in a page; its session is nobody's.
    let page = late.get(callback.as_str()).await;
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.header("retry-after").is_some());
    assert!(late.session_cookies().is_empty());
    // Who has a session goes on, renewal due or not.
    for _ in 0..3 {
        assert_eq!(browser.get("/").await.status, 200);
        stack.advance(1_120);
    }
    assert_eq!(stack.admin("/readyz").await.status, 200);
    // The token is over: 503, for a person as a page, and the cookies stay.
    stack.advance(400);
    let cookies = browser.session_cookies();
    let page: Page = browser.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some() && page.set_cookies().is_empty());
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let page = browser.fetch(Method::GET, "/").await;
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some() && page.set_cookies().is_empty());
    assert_eq!(browser.session_cookies(), cookies);

    // Back again: nobody has to sign in anew.
    let provider = Provider::on(address, clock.clone()).await;
    let mut tries = 0;
    loop {
        stack.advance(10);
        let page = browser.get("/").await;
        if page.status == 200 {
            break;
        }
        assert_eq!(page.status, 503);
        tries += 1;
        assert!(tries < 30, "it did not recover");
    }
    assert_eq!(provider.visits(AUTHORIZE), 0);
    assert_eq!(stack.browser().navigate("/").await.status, 200);
}

#[tokio::test]
async fn i6_a_key_that_was_just_exchanged_is_fetched_and_the_old_one_no_longer_counts() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    assert_eq!(stack.browser().navigate("/").await.status, 200);
    let fetched = provider.visits(KEYS);
    provider.keys(SECOND, &[SECOND]);
    stack.advance(61);
    assert_eq!(stack.browser().navigate("/").await.status, 200);
    assert_eq!(provider.visits(KEYS), fetched + 1);
    // The withdrawn key signs again: its id is unknown now.
    provider.keys(FIRST, &[SECOND]);
    stack.advance(61);
    let mut browser = stack.browser();
    let page = browser.navigate("/").await;
    assert!(matches!(page.status.as_u16(), 403 | 503), "{}", page.status);
    assert!(browser.session_cookies().is_empty());
    // The right name on the wrong key (issue 1375 of the conformance suite).
    provider.keys(Key(FIRST.0, "second"), &[SECOND]);
    let mut browser = stack.browser();
    let page = browser.navigate("/").await;
    assert!(matches!(page.status.as_u16(), 403 | 503), "{}", page.status);
    assert!(browser.session_cookies().is_empty());
}

#[tokio::test]
async fn g7_a_storm_of_unknown_key_ids_is_at_most_one_fetch_a_minute() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    let fetched = provider.visits(KEYS);
    for kid in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        provider.keys(Key(FIRST.0, kid), &[FIRST]);
        let mut browser = stack.browser();
        let page = browser.navigate("/").await;
        assert!(matches!(page.status.as_u16(), 403 | 503), "{kid}: {}", page.status);
        assert!(browser.session_cookies().is_empty(), "{kid}");
    }
    assert!(provider.visits(KEYS) <= fetched + 1, "{}", provider.visits(KEYS) - fetched);
    // Known keys work all the while.
    provider.keys(FIRST, &[FIRST]);
    assert_eq!(stack.browser().navigate("/").await.status, 200);
    assert!(provider.visits(KEYS) <= fetched + 1);
}

#[tokio::test]
async fn the_token_endpoints_garbage_signs_nobody_in_and_no_redirect_of_it_is_followed() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    let elsewhere = App::start().await;
    for (why, odd) in [
        ("html", Odd::Answer(StatusCode::OK, "text/html", b"<script>alert(1)</script>".to_vec())),
        ("not an object", Odd::Answer(StatusCode::OK, "application/json", b"[1]".to_vec())),
        ("no tokens", Odd::Answer(StatusCode::OK, "application/json", b"{}".to_vec())),
        (
            "no id token",
            Odd::Answer(
                StatusCode::OK,
                "application/json",
                b"{\"token_type\":\"Bearer\",\"access_token\":\"a\",\"expires_in\":60}".to_vec(),
            ),
        ),
        ("large", Odd::Answer(StatusCode::OK, "application/json", vec![b' '; 10 << 20])),
        ("redirect", Odd::Redirect(format!("{}/take-the-secret", elsewhere.url()))),
        ("500", Odd::Answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", b"no".to_vec())),
    ] {
        provider.odd(TOKEN, odd);
        let mut browser = stack.browser();
        let page = browser.navigate("/").await;
        assert!(matches!(page.status.as_u16(), 403 | 503), "{why}: {}", page.status);
        assert!(!page.text().contains("alert(1)"), "{why}");
        assert!(browser.session_cookies().is_empty(), "{why}");
        assert!(stack.app.requests().is_empty(), "{why}");
        assert!(elsewhere.requests().is_empty(), "{why}");
    }
    provider.well(TOKEN);
    assert_eq!(stack.browser().navigate("/").await.status, 200);
}

#[tokio::test]
async fn d4_an_issuer_parameter_must_be_right_and_must_be_there_when_it_is_announced() {
    for announced in [false, true] {
        let (provider, clock) = provider().await;
        provider.metadata("authorization_response_iss_parameter_supported", json!(announced));
        let stack = stack_at(&provider, &clock).await;
        let right = format!("{}/11111111-2222-3333-4444-555555555555/v2.0", provider.origin());
        for (iss, fine) in [
            (None, !announced),
            (Some(right.clone()), true),
            (Some(format!("{right}/")), false),
            (Some("http://evil.test/".to_owned()), false),
            // A parameter without a value counts as left out (RFC 6749 §3.1).
            (Some(String::new()), !announced),
        ] {
            let mut browser: Browser = stack.browser();
            let page = browser.get("/").await;
            let mut callback = browser.get(page.location().as_str()).await.location();
            if let Some(iss) = &iss {
                callback.query_pairs_mut().append_pair("iss", iss);
            }
            let tokens = provider.visits(TOKEN);
            let page = browser.get(callback.as_str()).await;
            assert_eq!(page.status == 303, fine, "{announced} {iss:?}: {}", page.status);
            assert_eq!(browser.session_cookies().is_empty(), !fine, "{announced} {iss:?}");
            assert_eq!(provider.visits(TOKEN) - tokens, usize::from(fine), "{announced} {iss:?}");
        }
    }
}

#[tokio::test]
async fn i5_claims_that_are_missing_or_of_somebody_else_sign_nobody_in() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    let now = clock.unix();
    for (name, value) in [
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("oid", Value::Null),
        ("tid", Value::Null),
        ("exp", Value::Null),
        ("iat", Value::Null),
        ("nonce", Value::Null),
        ("nonce", json!("other")),
        ("nonce", json!("")),
        ("aud", json!("00000000-0000-0000-0000-000000000000")),
        ("aud", json!([])),
        ("aud", json!(["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "other"])),
        ("azp", json!("other")),
        ("tid", json!("99999999-2222-3333-4444-555555555555")),
        ("iss", json!("https://sts.windows.net/11111111-2222-3333-4444-555555555555/")),
        ("exp", json!(now - 121)),
        ("exp", json!("never")),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("nbf", json!(now + 600)),
        ("iat", json!(now + 600)),
        ("ver", json!("1.0")),
        ("sub", json!("")),
        ("oid", json!(7)),
        ("tid", json!("*")),
    ] {
        provider.claim(name, value.clone());
        let mut browser = stack.browser();
        let page = browser.navigate("/").await;
        assert!(matches!(page.status.as_u16(), 403 | 503), "{name} {value}: {}", page.status);
        assert!(browser.session_cookies().is_empty(), "{name} {value}");
        provider.restore(name);
    }
    assert!(stack.app.requests().is_empty());
    for (name, value) in [
        ("exp", json!(now + 3_600)),
        ("exp", json!(4e9)),
        ("exp", json!(1e300)),
        ("iat", json!(f64::from(u32::try_from(now).unwrap()) + 0.5)),
        ("aud", json!(["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"])),
        ("azp", json!("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")),
    ] {
        provider.claim(name, value.clone());
        let page = stack.browser().navigate("/").await;
        assert_eq!(page.status, 200, "{name} {value}");
        provider.restore(name);
    }
}

#[tokio::test]
async fn without_a_refresh_token_a_session_lives_as_long_as_its_access_token() {
    let (provider, clock) = provider().await;
    provider.answer("refresh_token", Value::Null);
    let stack = stack_at(&provider, &clock).await;
    let mut browser = stack.browser();
    assert_eq!(browser.navigate("/").await.status, 200);
    stack.advance(3_400);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(provider.visits(TOKEN), 1);
    stack.advance(300);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
    let page = browser.navigate("/again").await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/again"));
    assert!(page.visited(AUTHORIZE));
}

#[tokio::test]
async fn i8_an_access_token_is_never_read_only_passed_on() {
    let (provider, clock) = provider().await;
    let stack = stack_at(&provider, &clock).await;
    for token in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJyb2xlcyI6WyJBZG1pbiJdfQ.", "~-_.+/=", "%41"]
    {
        provider.answer("access_token", json!(token));
        let mut browser = stack.browser();
        assert_eq!(browser.navigate("/").await.status, 200, "{token}");
        let told = stack.app.last();
        assert_eq!(told.header("authorization"), Some(format!("Bearer {token}").as_str()));
    }
    // What cannot be a header's value is no token.
    for token in [json!("a\r\nX-Role: admin"), json!("a b"), json!(""), json!(7), Value::Null] {
        provider.answer("access_token", token.clone());
        let before = stack.app.requests().len();
        let mut browser = stack.browser();
        let page = browser.navigate("/").await;
        assert!(matches!(page.status.as_u16(), 403 | 503), "{token}: {}", page.status);
        assert!(browser.session_cookies().is_empty(), "{token}");
        assert_eq!(stack.app.requests().len(), before, "{token}");
    }
}

#[tokio::test]
async fn a_tenant_that_is_named_by_its_domain_has_an_issuer_with_its_id() {
    let (provider, clock) = provider().await;
    let document = "/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration";
    let of_domain = json!({
        "issuer": format!("{}/11111111-2222-3333-4444-555555555555/v2.0", provider.origin()),
        "authorization_endpoint": format!("{}{AUTHORIZE}", provider.origin()),
        "token_endpoint": format!("{}{TOKEN}", provider.origin()),
        "jwks_uri": format!("{}{KEYS}", provider.origin()),
    });
    let answer = Odd::Answer(StatusCode::OK, "application/json", of_domain.to_string().into());
    provider.odd(document, answer);
    let setup = Setup::default().at_provider(&provider.origin(), &clock);
    let stack = setup.set("entra.tenant", "\"contoso.onmicrosoft.com\"").start().await;
    let mut browser = stack.browser();
    assert_eq!(browser.navigate("/").await.status, 200);
    // No end-session endpoint: signed out here alone, and told so.
    let page = browser.navigate("/.auth/logout").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("signed out"), "{}", page.text());
    assert!(browser.session_cookies().is_empty());
    // Another tenant's user has no business here.
    provider.claim("tid", json!("99999999-2222-3333-4444-555555555555"));
    let other = format!("{}/99999999-2222-3333-4444-555555555555/v2.0", provider.origin());
    provider.claim("iss", json!(other));
    let mut browser = stack.browser();
    let page = browser.navigate("/").await;
    assert!(matches!(page.status.as_u16(), 403 | 503), "{}", page.status);
    assert!(browser.session_cookies().is_empty());
}
