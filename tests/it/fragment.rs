//! `keep_fragment`: the part of an address behind `#` survives a sign-in.

use bytes::Bytes;
use http::Method;

use crate::support::{ALICE, Browser, FETCH, NAVIGATE, Page, Setup, Stack, StepPage};

async fn keeping() -> Stack {
    Setup::default().set("session.keep_fragment", "true").start().await
}

/// What the page's script does in a browser whose address ends in `fragment`.
async fn go_on(browser: &mut Browser, page: &Page, fragment: &str) -> Page {
    let step = StepPage::of(page);
    let room: usize = step.data("room").unwrap().parse().unwrap();
    let fragment = if fragment.len() > room { "" } else { fragment };
    let fragment: String = url::form_urlencoded::byte_serialize(fragment.as_bytes()).collect();
    browser.navigate(&format!("{}{fragment}", step.data("next").unwrap())).await
}

#[tokio::test]
async fn a_fragment_comes_back_after_sign_in() {
    let stack = keeping().await;
    let mut browser = stack.browser().as_user(ALICE);
    for fragment in ["#/orders/7?tab=2", "#", "", "#a%20b\\c", "#//evil.test"] {
        browser.cookies.clear();
        let page = browser.get("/app?x=1&y=%2F").await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("Signing you in"), "{}", page.text());
        let page = go_on(&mut browser, &page, fragment).await;
        assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "hello from the app"));
        assert!(page.visited("/oauth2/v2.0/authorize"));
        let wanted = format!("{}/app?x=1&y=%2F{fragment}", stack.origin());
        assert_eq!(page.url.as_str(), wanted);
        assert_eq!(stack.app.last().target(), "/app?x=1&y=%2F", "a server sees no fragment");
    }
}

#[tokio::test]
async fn a_fragment_that_is_too_long_is_left_behind_and_not_the_page() {
    let stack = keeping().await;
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.get("/app").await;
    let page = go_on(&mut browser, &page, &format!("#{}", "x".repeat(2_044))).await;
    assert_eq!((page.status.as_u16(), page.url.path(), page.url.fragment()), (200, "/app", None));
    browser.cookies.clear();
    let longest = "x".repeat(2_043);
    let page = browser.get("/app").await;
    let page = go_on(&mut browser, &page, &format!("#{longest}")).await;
    assert_eq!(page.url.fragment(), Some(longest.as_str()));
}

#[tokio::test]
async fn the_page_works_by_a_link_where_scripts_do_not() {
    let stack = keeping().await;
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.get("/app?x=1").await;
    let next = StepPage::of(&page).data("next").unwrap();
    assert!(page.text().contains(&format!("href=\"{}\"", next.replace('/', "&#x2f;"))));
    let page = browser.navigate(&next).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/app"));
}

#[tokio::test]
async fn scripts_heads_and_our_own_urls_are_answered_as_ever() {
    let stack = keeping().await;
    let mut browser = stack.browser();
    let page = browser.request(Method::GET, "/app", FETCH, Bytes::new()).await;
    assert_eq!((page.status.as_u16(), &page.json()["error"]), (401, &"login_required".into()));
    let page = browser.request(Method::HEAD, "/app", NAVIGATE, Bytes::new()).await;
    assert_eq!(page.status, 302);
    assert_eq!(browser.get("/.auth/login/aad").await.status, 302);
    // And by default there is no page between.
    let stack = Stack::start().await;
    assert_eq!(stack.browser().get("/app").await.status, 302);
}

#[tokio::test]
async fn j3_an_address_never_becomes_markup() {
    let stack = keeping().await;
    let mut browser = stack.browser();
    for place in ["/%22%3E%3Cscript%3Ealert(1)", "/x?'onload='alert(1)", "/x?a=</script>"] {
        let page = browser.get(place).await;
        let text = page.text();
        StepPage::of(&page);
        assert!(!text.contains("alert(1)") || text.contains("alert%281%29"), "{text}");
        assert!(!text.contains("'onload"), "{text}");
    }
}

#[tokio::test]
async fn a_loop_still_ends_in_a_page_that_says_why() {
    let stack = keeping().await;
    let mut browser = stack.browser().as_user(ALICE);
    for _ in 0..3 {
        let page = browser.get("/app").await;
        go_on(&mut browser, &page, "#x").await;
        for (name, _) in browser.session_cookies() {
            browser.delete_cookie(&name);
        }
    }
    let page = browser.get("/app").await;
    let page = go_on(&mut browser, &page, "#x").await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("goes round in circles"), "{}", page.text());
}
