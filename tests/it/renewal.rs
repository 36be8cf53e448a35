//! Tokens are renewed before they expire, and no race or outage signs anybody out.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;

use crate::support::{ALICE, Browser, Setup, Stack};

/// Tokens that live for ten minutes; renewal is due after five.
async fn stack() -> Stack {
    Setup::default().scenario("token_lifetime = \"600s\"").start().await
}

fn bearer(stack: &Stack) -> String {
    stack.app.last().header("authorization").unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_without_a_visit_to_microsoft() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    let first = bearer(&stack);
    stack.advance(200);
    browser.navigate("/").await;
    assert_eq!(bearer(&stack), first);
    stack.advance(120);
    let page = browser.navigate("/").await;
    assert_eq!((page.status.as_u16(), page.hops.len()), (200, 0));
    assert_ne!(bearer(&stack), first);
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    assert!(!page.set_cookies().is_empty());
    // Long after the first token's end the session is still there.
    for _ in 0..10 {
        stack.advance(400);
        assert_eq!(browser.navigate("/").await.status, 200);
    }
}

#[tokio::test]
async fn e16_forty_requests_at_expiry_are_one_call_and_one_session() {
    let stack = stack().await;
    let browser = stack.signed_in(ALICE).await;
    let calls = stack.token_calls();
    stack.advance(320);
    let requests = (0..40).map(|_| {
        let mut browser = browser.clone();
        async move { (browser.fetch(Method::GET, "/").await, browser) }
    });
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|(page, _)| page.status == 200));
    assert_eq!(stack.token_calls(), calls + 1);
    let tokens: BTreeSet<String> = stack
        .app
        .requests()
        .iter()
        .rev()
        .take(40)
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(tokens.len(), 1);
    // Whichever answer came last, the browser is signed in.
    for (_, mut browser) in answers.into_iter().take(5) {
        assert_eq!(browser.navigate("/").await.hops.len(), 0);
    }
}

#[tokio::test]
async fn a_late_request_with_the_old_cookie_gets_the_result_that_was_kept() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut late = browser.clone();
    stack.advance(320);
    browser.navigate("/").await;
    let (calls, token) = (stack.token_calls(), bearer(&stack));
    stack.advance(10);
    let page = late.fetch(Method::GET, "/").await;
    assert_eq!(page.status, 200);
    assert_eq!((stack.token_calls(), bearer(&stack)), (calls, token));
    assert!(!page.set_cookies().is_empty());
}

#[tokio::test]
async fn a_token_that_is_still_valid_is_used_while_microsoft_is_in_trouble() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    let token = bearer(&stack);
    stack.advance(320);
    stack.fault(json!({ "endpoint": "token", "times": 10, "status": 429, "retry_after": 60 }));
    let calls = stack.token_calls();
    for _ in 0..5 {
        assert_eq!(browser.navigate("/").await.status, 200);
        assert_eq!(bearer(&stack), token);
    }
    // The failure is remembered for as long as Microsoft asked.
    assert_eq!(stack.token_calls(), calls + 1);
    // Once the token has expired there is nothing to go on with: 503, and nobody is signed out.
    stack.advance(300);
    let page = browser.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some());
    assert!(page.set_cookies().is_empty());
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 503);
    // It recovers by itself.
    stack.fault(json!({ "endpoint": "token", "times": 0, "status": 429 }));
    for _ in 0..12 {
        stack.advance(61);
        if browser.navigate("/").await.status == 200 {
            assert_ne!(bearer(&stack), token);
            return;
        }
    }
    panic!("the session did not recover");
}

#[tokio::test]
async fn i10_invalid_grant_ends_the_session() {
    let stack = stack().await;
    for code in [700_082, 50_173, 70_008, 50_076] {
        let mut browser = stack.signed_in(ALICE).await;
        stack.advance(320);
        let fault = json!({ "endpoint": "token", "times": 1, "status": 400, "error": "invalid_grant", "code": code });
        stack.fault(fault);
        let page = browser.fetch(Method::GET, "/").await;
        assert_eq!(page.status, 401, "{code}");
        assert!(page.set_cookies().is_empty());
        let page = browser.get("/").await;
        assert_eq!(page.status, 302, "{code}");
        assert!(page.location().path().contains("/oauth2/v2.0/authorize"));
        assert!(browser.session_cookies().is_empty(), "the dead session is cleared");
    }
}

#[tokio::test]
async fn i7_a_renewed_id_token_of_somebody_else_ends_the_session() {
    let stack = stack().await;
    for mutation in ["invalid-sub", "other-user", "invalid-iss", "invalid-sig"] {
        let mut browser = stack.signed_in(ALICE).await;
        stack.advance(320);
        stack.fault(json!({ "endpoint": "token", "times": 1, "id_token": mutation }));
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 401, "{mutation}");
    }
}

#[tokio::test]
async fn refresh_renews_now_and_says_when_the_session_has_ended() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    browser.navigate("/").await;
    let first = bearer(&stack);
    let page = browser.fetch(Method::POST, "/.auth/refresh").await;
    assert_eq!(page.status, 200, "{}", page.text());
    browser.navigate("/").await;
    assert_ne!(bearer(&stack), first);
    assert_eq!(browser.fetch(Method::GET, "/.auth/refresh").await.status, 405);
    assert_eq!(stack.browser().fetch(Method::POST, "/.auth/refresh").await.status, 401);

    stack.fault(json!({ "endpoint": "token", "times": 1, "status": 503, "retry_after": 9 }));
    let page = browser.fetch(Method::POST, "/.auth/refresh").await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("retry-after"), Some("9"));
    stack.advance(10);
    stack.fault(json!({ "endpoint": "token", "times": 1, "status": 400, "error": "invalid_grant", "code": 50_173 }));
    assert_eq!(browser.fetch(Method::POST, "/.auth/refresh").await.status, 401);
}

#[tokio::test]
async fn a_renewal_goes_on_when_the_browser_hangs_up() {
    let stack = stack().await;
    let mut browser: Browser = stack.signed_in(ALICE).await;
    stack.advance(320);
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "300ms" }));
    let calls = stack.token_calls();
    let mut impatient = browser.clone();
    let request = impatient.fetch(Method::GET, "/");
    let gone = tokio::time::timeout(std::time::Duration::from_millis(100), request).await;
    assert!(gone.is_err(), "the browser hung up before the answer");
    let page = browser.fetch(Method::GET, "/").await;
    assert_eq!(page.status, 200);
    assert!(!page.set_cookies().is_empty());
    assert_eq!(stack.token_calls(), calls + 1);
}

#[tokio::test]
async fn odd_lifetimes_of_tokens_do_not_lock_anybody_out() {
    for expires_in in [json!("3600"), json!(1_000_000_000), json!("absent")] {
        let stack = Stack::start().await;
        stack.fault(json!({ "endpoint": "token", "times": 1, "expires_in": expires_in }));
        let mut browser = stack.signed_in(ALICE).await;
        assert_eq!(browser.navigate("/").await.status, 200);
    }
}
