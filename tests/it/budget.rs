//! A session that is too large for its cookies: the access token stays in memory, and any replica
//! mints it anew.

use http::Method;
use serde_json::{Value, json};

use crate::support::{ALICE, Browser, Setup, Stack};

/// 2,000 groups in both tokens: an access token of 100 KB.
fn enormous(times: u32) -> Value {
    let groups: Vec<String> = (0..2_000_u32)
        .map(|n| format!("{:08x}-7a5d-4c11-9f3e-{:012x}", n.wrapping_mul(2_654_435_761), n))
        .collect();
    json!({
        "endpoint": "token",
        "times": times,
        "access_token_claims": { "groups": groups },
        "id_token_claims": { "groups": groups },
    })
}

fn bearer(stack: &Stack) -> String {
    stack.app.last().header("authorization").unwrap().to_owned()
}

#[tokio::test]
async fn a_user_with_2000_groups_and_a_100_kb_token_signs_in_and_works() {
    let stack = Stack::start().await;
    stack.fault(enormous(50));
    let mut browser = stack.signed_in(ALICE).await;
    assert!(bearer(&stack).len() > 100_000, "{}", bearer(&stack).len());
    let cookies = browser.session_cookies();
    assert!(cookies.len() <= 2, "{} cookies", cookies.len());
    let calls = stack.token_calls();
    for _ in 0..5 {
        let page = browser.fetch(Method::GET, "/").await;
        assert_eq!((page.status.as_u16(), page.set_cookies().len()), (200, 0));
    }
    assert_eq!(stack.token_calls(), calls, "the token is on the shelf");
}

#[tokio::test]
async fn another_replica_mints_the_token_once_however_many_requests_wait() {
    let stack = Stack::start().await;
    stack.fault(enormous(50));
    let browser = stack.signed_in(ALICE).await;
    let replica = stack.replica().await;
    let calls = stack.token_calls();
    let requests = (0..20).map(|_| {
        let mut browser = browser.clone().connecting_to(replica.address().unwrap());
        async move { (browser.fetch(Method::GET, "/").await.status, browser) }
    });
    let answers: Vec<(_, Browser)> = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    assert_eq!(stack.token_calls(), calls + 1);
    assert!(bearer(&stack).len() > 100_000);
    // The browser goes back and forth between the two; nobody is asked to sign in.
    let mut browser = answers.into_iter().next().unwrap().1;
    for address in [stack.proxy.address(), replica.address(), stack.proxy.address()] {
        browser = browser.connecting_to(address.unwrap());
        let page = browser.navigate("/").await;
        assert_eq!((page.status.as_u16(), page.hops.len()), (200, 0));
    }
}

#[tokio::test]
async fn a_replica_that_cannot_mint_the_token_says_503_and_keeps_the_session() {
    let stack = Stack::start().await;
    stack.fault(enormous(1));
    let browser = stack.signed_in(ALICE).await;
    let replica = stack.replica().await;
    stack.fault(json!({ "endpoint": "token", "times": 2, "status": 503, "retry_after": 5 }));
    let mut browser = browser.connecting_to(replica.address().unwrap());
    let page = browser.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.set_cookies().is_empty() && page.header("retry-after").is_some());
    stack.fault(json!({ "clear": true }));
    stack.advance(6);
    assert_eq!(browser.get("/").await.status, 200);
}

#[tokio::test]
async fn groups_that_a_rule_names_stay_when_the_others_go() {
    let named =
        format!("{:08x}-7a5d-4c11-9f3e-{:012x}", 1_999_u32.wrapping_mul(2_654_435_761), 1_999);
    let rules = format!("[[rules]]\npath = \"/*\"\ngroups = [\"{named}\"]\n");
    let stack = Setup::default().rules(&rules).start().await;
    stack.fault(enormous(50));
    let mut browser = stack.signed_in(ALICE).await;
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    let mut stranger = stack.browser().as_user(&stack.emulator.client().users[1]);
    stack.fault(json!({ "clear": true }));
    assert_eq!(stranger.navigate("/").await.status, 403);
}
