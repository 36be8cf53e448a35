//! Sign-out ends the session here and at Microsoft, and only the user can do it.

use bytes::Bytes;
use http::Method;

use crate::support::{ALICE, NAVIGATE_SAME, Stack};

#[tokio::test]
async fn sign_out_clears_the_browser_and_ends_microsofts_session() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let page = browser.get("/.auth/logout?post_logout_redirect_uri=/bye").await;
    assert_eq!(page.status, 302);
    assert!(browser.session_cookies().is_empty());
    let location = page.location();
    assert!(location.path().ends_with("/oauth2/v2.0/logout"), "{location}");
    let pairs: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    let callback = format!("{}/.auth/login/aad/callback", stack.origin());
    assert_eq!(pairs["post_logout_redirect_uri"], callback);
    assert!(pairs.contains_key("logout_hint"));
    // Microsoft returns to the callback, which goes on to the wanted place.
    let page = browser.get(&callback).await;
    assert_eq!((page.status.as_u16(), page.location().path()), (303, "/bye"));
    assert!(browser.cookie("__Host-vestibule-flow").is_none());
    let page = browser.get(&callback).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("signed out"));
}

#[tokio::test]
async fn d12_another_site_cannot_sign_anybody_out() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let image = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    let page = browser.request(Method::GET, "/.auth/logout", &image, Bytes::new()).await;
    assert!(page.set_cookies().is_empty());
    let link =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let page = browser.request(Method::GET, "/.auth/logout", &link, Bytes::new()).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("method=\"post\"") || page.text().contains("method=\"POST\""));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let post = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")];
    let page = browser.request(Method::POST, "/.auth/logout", &post, Bytes::new()).await;
    assert_eq!(page.status, 403);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    // The button of our own page does.
    let page = browser.request(Method::POST, "/.auth/logout", NAVIGATE_SAME, Bytes::new()).await;
    assert_eq!(page.status, 303);
    assert!(browser.session_cookies().is_empty());
}

#[tokio::test]
async fn c3_sign_out_returns_to_our_origin_only() {
    let stack = Stack::start().await;
    for place in ["//evil.test", "https://evil.test/", "https:evil.test", "/%09//evil"] {
        let mut browser = stack.signed_in(ALICE).await;
        let place: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        browser.get(&format!("/.auth/logout?post_logout_redirect_uri={place}")).await;
        let page = browser.get("/.auth/login/aad/callback").await;
        if page.status == 303 {
            assert!(page.location().as_str().starts_with(&stack.origin()));
        } else {
            assert_eq!(page.status, 200);
        }
    }
}

#[tokio::test]
async fn a_front_channel_sign_out_ends_the_session_of_its_sid_without_a_cookie() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut other = stack.signed_in(&stack.emulator.client().users[1]).await;
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    let claims = me[0]["user_claims"].as_array().unwrap();
    let sid = claims.iter().find(|claim| claim["typ"] == "sid").expect("a sid")["val"].clone();
    let iframe = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "iframe")];
    let url = format!("/.auth/logout/frontchannel?sid={}", sid.as_str().unwrap());
    let page = stack.browser().request(Method::GET, &url, &iframe, Bytes::new()).await;
    assert_eq!(page.status, 200);
    assert!(page.header("x-frame-options").is_none());
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors http"));
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
    assert_eq!(other.fetch(Method::GET, "/").await.status, 200);
    let url = "/.auth/logout/frontchannel?sid=x&iss=https://evil.test/v2.0";
    assert_eq!(stack.browser().get(url).await.status, 200);
}
