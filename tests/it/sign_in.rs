//! A browser signs in and reaches the app.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::support::{ALICE, FETCH, NAVIGATE, Setup, Stack};

#[tokio::test]
async fn a_browser_without_a_session_signs_in_and_lands_where_it_wanted_to_go() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.navigate("/reports?year=7&x=%2B").await;
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "hello from the app"));
    assert!(page.visited("/oauth2/v2.0/authorize"));
    assert_eq!(page.url.path(), "/reports");
    let request = stack.app.last();
    assert_eq!(request.target(), "/reports?year=7&x=%2B");
    let authorization = request.header("authorization").unwrap();
    assert!(authorization.starts_with("Bearer ") && authorization.len() > 200);
    // Once signed in, Microsoft is not visited again.
    let page = browser.navigate("/again").await;
    assert!(page.hops.is_empty());
}

#[tokio::test]
async fn a_navigation_gets_a_302_that_nobody_stores_with_pkce_state_and_nonce() {
    let stack = Stack::start().await;
    let page = stack.browser().get("/a").await;
    assert_eq!(page.status, 302);
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    let location = page.location();
    let query: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["code_challenge"].len(), 43);
    assert!(query["state"].len() >= 22 && query["nonce"].len() >= 22);
    assert_eq!(query["redirect_uri"], format!("{}/.auth/login/aad/callback", stack.origin()));
    for scope in ["openid", "profile", "offline_access", "User.Read"] {
        assert!(query["scope"].split(' ').any(|s| s.ends_with(scope)), "{}", query["scope"]);
    }
    let cookies = page.set_cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(cookies[0].starts_with("__Host-vestibule-flow="));
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(cookies[0].contains(attribute), "{}", cookies[0]);
    }
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn a_script_without_a_session_is_told_so_and_given_no_cookie() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        let page = browser.fetch(method.clone(), "/api").await;
        assert_eq!(page.status, 401, "{method}");
        assert_eq!(page.header("www-authenticate"), Some("Bearer"));
        assert!(page.set_cookies().is_empty());
        let login_url = format!("{}/.auth/login/aad", stack.origin());
        assert_eq!(page.json(), json!({ "error": "login_required", "login_url": login_url }));
    }
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn a_grpc_call_without_a_session_gets_status_16() {
    let stack = Stack::start().await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let page = stack.browser().request(Method::POST, "/svc/Call", &headers, Bytes::new()).await;
    assert_eq!((page.status.as_u16(), page.header("grpc-status")), (200, Some("16")));
    assert!(page.header("content-type").unwrap().starts_with("application/grpc"));
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn without_sec_fetch_a_request_that_accepts_html_is_a_navigation() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    let html = [("accept", "text/html")];
    assert_eq!(browser.request(Method::GET, "/", &html, Bytes::new()).await.status, 302);
    assert_eq!(browser.request(Method::HEAD, "/", &html, Bytes::new()).await.status, 302);
    for accept in ["*/*", "application/json"] {
        let page = browser.request(Method::GET, "/", &[("accept", accept)], Bytes::new()).await;
        assert_eq!(page.status, 401, "{accept}");
    }
}

#[tokio::test]
async fn d1_another_browser_cannot_finish_my_sign_in() {
    let stack = Stack::start().await;
    let mut mine = stack.browser().as_user(ALICE);
    let callback = until_callback(&mut mine, "/").await;
    let mut other = stack.browser();
    other.get("/").await;
    let page = other.get(&callback).await;
    assert_eq!(page.status, 400);
    assert!(other.session_cookies().is_empty());
    // A browser without any jar is told about cookies.
    let page = stack.browser().get(&callback).await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("cookie"));
    assert_eq!(stack.token_calls(), 0);
    // The rightful browser still can.
    assert_eq!(mine.get(&callback).await.status, 303);
}

#[tokio::test]
async fn d2_a_callback_is_used_once_and_the_back_button_shows_no_error() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let callback = until_callback(&mut browser, "/here").await;
    let jar = browser.cookie("__Host-vestibule-flow").unwrap();
    let page = browser.get(&callback).await;
    assert_eq!(page.status, 303);
    assert_eq!(page.location().path(), "/here");
    assert_eq!(stack.token_calls(), 1);
    // Back button, with a session.
    let page = browser.get(&callback).await;
    assert_eq!((page.status.as_u16(), page.location().path()), (303, "/"));
    assert_eq!(stack.token_calls(), 1);
    // The old jar replayed: Microsoft refuses the code, and the session that is there goes on.
    browser.set_cookie("__Host-vestibule-flow", &jar);
    let page = browser.get(&callback).await;
    assert_eq!(page.status, 303);
    assert_eq!(browser.navigate("/").await.status, 200);
}

#[tokio::test]
async fn d3_a_code_of_one_flow_cannot_be_redeemed_in_another() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let first = until_callback(&mut browser, "/a").await;
    let second = until_callback(&mut browser, "/b").await;
    let code = parameter(&first, "code");
    let state = parameter(&second, "state");
    let crossed = format!("/.auth/login/aad/callback?code={code}&state={state}");
    let page = browser.get(&crossed).await;
    // One silent restart is fine; a session is not.
    assert!(page.status == 303 || page.status == 400, "{}", page.status);
    assert!(browser.session_cookies().is_empty());
}

#[tokio::test]
async fn d5_repeated_missing_and_oversized_parameters_are_refused() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let callback = until_callback(&mut browser, "/").await;
    let state = parameter(&callback, "state");
    for query in [
        format!("code=a&code=b&state={state}"),
        format!("code=a&state={state}&state={state}"),
        format!("error=access_denied&error=x&state={state}"),
        format!("code=a&iss=x&iss=y&state={state}"),
        "code=a".to_owned(),
        "state=".to_owned(),
        "code=a&state=%ff".to_owned(),
        format!("state={state}&code={}", "a".repeat(9_000)),
    ] {
        let page = browser.get(&format!("/.auth/login/aad/callback?{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(browser.session_cookies().is_empty());
    }
    assert_eq!(stack.token_calls(), 0);
}

#[tokio::test]
async fn d7_eight_sign_ins_at_once_succeed_in_any_order_and_the_ninth_drops_the_oldest() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let mut callbacks = Vec::new();
    for tab in 0..9 {
        callbacks.push(until_callback(&mut browser, &format!("/tab/{tab}")).await);
        let jars = browser.cookies.values().flatten().filter(|(name, _)| name.ends_with("-flow"));
        assert_eq!(jars.count(), 1);
    }
    let oldest = browser.clone().get(&callbacks[0]).await;
    assert_eq!(oldest.status, 400);
    for (tab, callback) in callbacks.iter().enumerate().skip(1).rev() {
        let page = browser.get(callback).await;
        assert_eq!(
            (page.status.as_u16(), page.location().path().to_owned()),
            (303, format!("/tab/{tab}"))
        );
    }
    assert_eq!(browser.navigate("/").await.status, 200);
}

#[tokio::test]
async fn a_stale_sign_in_begins_again_by_itself() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let callback = until_callback(&mut browser, "/late").await;
    stack.advance(630);
    let page = browser.navigate(&callback).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/late"));
}

#[tokio::test]
async fn form_post_signs_in_as_well() {
    let stack = Setup::default().set("entra.response_mode", "\"form_post\"").start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.get("/wanted").await;
    assert!(page.set_cookies()[0].contains("SameSite=None"), "{:?}", page.set_cookies());
    let mut url = page.location();
    url.query_pairs_mut().append_pair("login_hint", ALICE);
    let page = browser.get(url.as_str()).await;
    assert_eq!(page.status, 200);
    let html = page.text();
    let field = |name: &str| {
        let at = html.find(&format!("name=\"{name}\"")).expect("a field");
        let value = html[at..].split("value=\"").nth(1).unwrap();
        value.split('"').next().unwrap().to_owned()
    };
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("code", &field("code"))
        .append_pair("state", &field("state"))
        .finish();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "null"),
        ("accept", "text/html"),
    ];
    let callback = "/.auth/login/aad/callback";
    let page = browser.request(Method::POST, callback, &headers, Bytes::from(form)).await;
    assert_eq!((page.status.as_u16(), page.location().path()), (303, "/wanted"));
    assert_eq!(browser.navigate("/wanted").await.status, 200);
}

#[tokio::test]
async fn d11_an_error_of_microsoft_is_explained_and_never_reflected() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let callback = until_callback(&mut browser, "/").await;
    let state = parameter(&callback, "state");
    let description = "AADSTS65004: <script>alert(1)</script>%0D%0ATrace ID: \
                       6e2f5c8e-0000-4000-8000-000000000001%0D%0ACorrelation ID: \
                       6e2f5c8e-0000-4000-8000-000000000002%0D%0ATimestamp: 2026-01-01 00:00:00Z"
        .replace(' ', "+");
    let query = format!("error=access_denied&error_description={description}&state={state}");
    let page = browser.get(&format!("/.auth/login/aad/callback?{query}")).await;
    assert_eq!(page.status, 403);
    let text = page.text();
    assert!(text.contains("You declined"), "{text}");
    assert!(text.contains("6e2f5c8e-0000-4000-8000-000000000002"));
    assert!(!text.contains("alert(1)"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    // The flow is over.
    let page = browser.get(&callback).await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn d10_three_rounds_without_a_session_end_in_a_page_that_says_why() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    for _ in 0..3 {
        let callback = until_callback(&mut browser, "/").await;
        assert_eq!(browser.get(&callback).await.status, 303);
        for (name, _) in browser.session_cookies() {
            browser.delete_cookie(&name);
        }
    }
    let page = browser.get("/").await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("goes round in circles"), "{}", page.text());
    assert!(page.text().contains("never sent the session cookie back"), "{}", page.text());
    // Cookies refused altogether: the first callback says so.
    let mut safari = stack.browser().as_user(ALICE);
    safari.drops_secure_cookies = true;
    let page = safari.navigate("/").await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("Safari"));
}

#[tokio::test]
async fn d10_the_page_that_ends_a_loop_tells_the_causes_apart() {
    let stack = Setup::default().set("session.idle_timeout", "\"5s\"").start().await;
    let foreign = Stack::start().await.signed_in(ALICE).await.session_cookies();
    for (cause, cut, foreign) in [
        ("only a part of the session", true, &[][..]),
        ("could not be opened", false, foreign.as_slice()),
        ("the session was over", false, &[]),
    ] {
        let mut browser = stack.browser().as_user(ALICE);
        for _ in 0..3 {
            let callback = until_callback(&mut browser, "/").await;
            assert_eq!(browser.get(&callback).await.status, 303);
            for (name, value) in browser.session_cookies() {
                browser.set_cookie(&name, &value[..value.len() - if cut { 9 } else { 0 }]);
            }
            for (name, value) in foreign {
                browser.set_cookie(name, value);
            }
            stack.advance(6);
        }
        let page = browser.get("/").await;
        assert_eq!(page.status, 400);
        assert!(page.text().contains(cause), "{cause}: {}", page.text());
    }
}

#[tokio::test]
async fn login_passes_hints_on_and_returns_to_our_origin_only() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    let query = "prompt=select_account&domain_hint=contoso.com&post_login_redirect_uri=/x?y";
    let page = browser.get(&format!("/.auth/login/aad?{query}")).await;
    let location = page.location();
    let pairs: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!(pairs["prompt"], "select_account");
    assert_eq!(pairs["domain_hint"], "contoso.com");
    let mut browser = stack.browser().as_user(ALICE);
    for (asked, landed) in [
        ("/x", "/x"),
        ("//evil.test/", "/"),
        ("https://evil.test/", "/"),
        ("/%5cevil.test", "/%5cevil.test"),
        ("\\evil", "/"),
    ] {
        let asked: String = url::form_urlencoded::byte_serialize(asked.as_bytes()).collect();
        let page = browser.get(&format!("/.auth/login?post_login_redirect_uri={asked}")).await;
        assert_eq!(page.status, 302);
        let mut url = page.location();
        url.query_pairs_mut().append_pair("login_hint", ALICE);
        let callback = browser.get(url.as_str()).await.location();
        let page = browser.get(callback.as_str()).await;
        let location = page.location();
        assert!(location.as_str().starts_with(&stack.origin()), "{location}");
        assert_eq!(location.path(), landed);
    }
    let page = browser.request(Method::GET, "/.auth/login/aad", FETCH, Bytes::new()).await;
    assert_eq!(page.status, 401);
    // A client that says nothing about itself asked for this very URL.
    let page = browser.request(Method::GET, "/.auth/login/aad", &[], Bytes::new()).await;
    assert_eq!(page.status, 302);
}

#[tokio::test]
async fn trouble_at_microsoft_during_sign_in_is_a_503_page_with_retry_after() {
    let stack = Stack::start().await;
    for (fault, status) in [
        (json!({ "endpoint": "token", "times": 1, "status": 429, "retry_after": 7 }), 503),
        (json!({ "endpoint": "token", "times": 3, "status": 500 }), 503),
        (
            json!({ "endpoint": "token", "times": 1, "error": "invalid_client", "code": 7_000_222 }),
            503,
        ),
        (json!({ "endpoint": "token", "times": 1, "error": "invalid_grant", "code": 53_003 }), 403),
    ] {
        let mut browser = stack.browser().as_user(ALICE);
        let callback = until_callback(&mut browser, "/").await;
        stack.fault(fault.clone());
        let page = browser.get(&callback).await;
        assert_eq!(page.status, status, "{fault}: {}", page.text());
        assert_eq!(page.headers.contains_key("retry-after"), status == 503, "{fault}");
        assert!(browser.session_cookies().is_empty());
        while browser.navigate("/").await.status != 200 {}
    }
}

#[tokio::test]
async fn a_manipulated_id_token_signs_nobody_in() {
    let stack = Stack::start().await;
    for mutation in [
        "invalid-iss",
        "invalid-aud",
        "invalid-sig",
        "alg-none",
        "alg-hs256",
        "missing-sub",
        "missing-iat",
        "missing-exp",
        "nonce-invalid",
        "other-tenant",
        "expired",
    ] {
        let mut browser = stack.browser().as_user(ALICE);
        let callback = until_callback(&mut browser, "/").await;
        stack.fault(json!({ "endpoint": "token", "times": 1, "id_token": mutation }));
        let page = browser.get(&callback).await;
        assert!(page.status == 403 || page.status == 503, "{mutation}: {}", page.status);
        assert!(browser.session_cookies().is_empty(), "{mutation}");
        assert!(stack.app.requests().is_empty(), "{mutation}");
    }
}

#[tokio::test]
async fn a_key_that_rolls_over_just_before_signing_is_fetched() {
    let stack = Stack::start().await;
    stack.signed_in(ALICE).await;
    stack.advance(61);
    stack.fault(json!({ "rollover": true }));
    stack.signed_in(ALICE).await;
}

/// Navigates until Microsoft sends the browser back, and returns the callback's URL.
pub async fn until_callback(browser: &mut crate::support::Browser, place: &str) -> String {
    let page = browser.request(Method::GET, place, NAVIGATE, Bytes::new()).await;
    assert_eq!(page.status, 302, "{}", page.text());
    let mut url = page.location();
    url.query_pairs_mut().append_pair("login_hint", ALICE);
    let page = browser.get(url.as_str()).await;
    assert_eq!(page.status, 302, "{}", page.text());
    page.location().to_string()
}

fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let value = url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
