//! Sessions in Redis while the server is down, slow, full or has changed its password: nobody is
//! admitted, and nobody loses the session.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;

use crate::{
    redis::{at, somebody_renews, two},
    support::{ALICE, Browser, Page, Redis, Setup, scratch_file},
};

/// 503 with a time to come back, and nothing is taken away.
fn assert_unavailable(page: &Page) {
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert!(page.set_cookies().is_empty(), "{:?}", page.set_cookies());
}

#[tokio::test]
async fn while_the_server_is_down_nobody_is_admitted_and_nobody_loses_the_session() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    let cookies = browser.session_cookies();
    redis.kill();
    let requests = stack.app.requests().len();
    for path in ["/", "/.auth/me", "/.auth/session"] {
        assert_unavailable(&browser.fetch(Method::GET, path).await);
        assert_unavailable(&at(&browser, &replica).fetch(Method::GET, path).await);
    }
    assert_unavailable(&browser.fetch(Method::POST, "/.auth/refresh").await);
    let page = browser.get("/").await;
    assert_unavailable(&page);
    assert!(page.text().contains("You are not signed out"), "{}", page.text());
    assert_eq!(browser.fetch(Method::GET, "/").await.json()["error"], "store_unavailable");
    assert_eq!(stack.app.requests().len(), requests, "the app sees none of them");

    // Anonymous paths go on, and their visitors are nobody.
    let page = browser.fetch(Method::GET, "/public/page").await;
    assert_eq!((page.status.as_u16(), page.set_cookies().len()), (200, 0));
    assert_eq!(stack.app.last().header("x-forwarded-user"), None);
    assert_eq!(stack.app.last().header("authorization"), None);
    // Whoever has no session is told so without asking the store.
    assert_eq!(stack.browser().fetch(Method::GET, "/").await.status, 401);
    // The proxy is as ready as it can be: taking it out of service would help nobody.
    assert_eq!(stack.admin("/readyz").await.status, 200);
    assert_eq!(browser.session_cookies(), cookies);

    redis.restart();
    for mut browser in [browser.clone(), at(&browser, &replica)] {
        recovers(&mut browser).await;
    }
}

#[tokio::test]
async fn a_connection_that_died_while_it_was_idle_is_not_noticed() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (stack, _replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    redis.kill();
    redis.restart();
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    redis.ask::<()>(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test]
async fn a_frozen_server_is_503_within_two_seconds() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, _replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    redis.freeze();
    // The first meets an open connection, the second none: neither hangs.
    for _ in 0..3 {
        let begun = Instant::now();
        assert_unavailable(&browser.fetch(Method::GET, "/").await);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let crowd = (0..50).map(|_| {
        let mut browser = browser.clone();
        async move { browser.fetch(Method::GET, "/").await.status }
    });
    assert!(join_all(crowd).await.iter().all(|status| *status == 503));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    redis.thaw();
    recovers(&mut browser).await;
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_stored_ends_in_a_page_not_in_a_loop() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (stack, _replica) = two(&redis).await;
    redis.kill();
    let mut browser = stack.browser().as_user(ALICE);
    for _ in 0..4 {
        let page = browser.navigate("/").await;
        assert_eq!(page.status, 503, "{}", page.text());
        assert!(page.text().contains("cannot be kept"), "{}", page.text());
        assert!(page.header("retry-after").is_some());
        assert!(browser.session_cookies().is_empty());
    }
    redis.restart();
    let begun = Instant::now();
    while browser.navigate("/").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "it did not recover");
    }
}

#[tokio::test]
async fn a_full_server_keeps_the_sessions_it_has_and_takes_no_new_one() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, _replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let page = stack.browser().as_user(ALICE).navigate("/").await;
    assert_eq!(page.status, 503, "{}", page.text());
    // The idle clock cannot be wound, and the lease for a renewal not be taken: the session serves
    // as long as its token.
    stack.advance(370);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    let calls = stack.token_calls();
    stack.advance(370);
    assert_unavailable(&browser.get("/").await);
    assert_eq!(stack.token_calls(), calls);
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    recovers(&mut browser).await;
}

#[tokio::test]
async fn whoever_signs_out_while_the_server_is_down_is_signed_out() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    let copy = browser.clone();
    redis.kill();
    let page = browser.get("/.auth/logout").await;
    assert_eq!(page.status, 302);
    assert!(browser.session_cookies().is_empty());
    redis.restart();
    // Here at once, elsewhere as soon as this replica has told the server.
    assert_eq!(copy.clone().fetch(Method::GET, "/").await.status, 401);
    let begun = Instant::now();
    while at(&copy, &replica).fetch(Method::GET, "/").await.status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the session was never ended");
    }
    assert!(redis.keys("session").is_empty());
}

#[tokio::test]
async fn a_renewed_session_is_stored_as_soon_as_the_server_is_back() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let value: Vec<u8> = redis.ask(&[b"GET", &redis.key("session")]);
    stack.advance(601);
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "700ms" }));
    let (calls, reads) = (stack.token_calls(), reads(&redis));
    let mut renewing = browser.clone();
    let renewal = renewing.fetch(Method::GET, "/");
    let killing = async {
        somebody_renews(&redis).await;
        // The request read the session, and once more under the lease: now Microsoft is asked.
        while self::reads(&redis) < reads + 2 {
            tokio::task::yield_now().await;
        }
        redis.kill();
    };
    let (page, ()) = tokio::join!(renewal, killing);
    assert_eq!(page.status, 200, "the session was opened before the server went");
    redis.restart();
    let begun = Instant::now();
    while redis.ask::<Vec<u8>>(&[b"GET", &redis.key("session")]) == value {
        assert!(begun.elapsed() < Duration::from_secs(6), "it was never stored");
        tokio::task::yield_now().await;
    }
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 200);
    assert_eq!(stack.token_calls(), calls + 1);
}

#[tokio::test]
async fn a_password_in_a_file_is_read_again_and_never_told() {
    let Some(redis) = Redis::start(&["--requirepass", "canary-one"]) else { return };
    let file = scratch_file("redis-url");
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}\n", redis.port);
    std::fs::write(&file, url("canary-one")).unwrap();
    let stack = Setup::default()
        .set("session.store", "\"redis\"")
        .set("session.redis_url_file", &format!("{file:?}"))
        .start()
        .await;
    let mut browser = stack.signed_in(ALICE).await;
    let client = redis::Client::open(url("canary-one").trim_end()).unwrap();
    let mut administrator = client.get_connection().unwrap();
    let run = |connection: &mut redis::Connection, command: &[&str]| {
        let mut packed = redis::Cmd::new();
        packed.arg(command);
        packed.query::<()>(connection).unwrap();
    };
    run(&mut administrator, &["CONFIG", "SET", "requirepass", "canary-two"]);
    run(&mut administrator, &["CLIENT", "KILL", "TYPE", "normal"]);
    let page = browser.get("/").await;
    assert_unavailable(&page);
    assert!(!page.text().contains("canary"));
    std::fs::write(&file, url("canary-two")).unwrap();
    let begun = Instant::now();
    while browser.fetch(Method::GET, "/").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the new password was not read");
    }
}

/// Waits until the session is served again.
async fn recovers(browser: &mut Browser) {
    let begun = Instant::now();
    loop {
        let page = browser.navigate("/").await;
        if page.status == 200 {
            return assert!(page.hops.is_empty(), "it was a new sign-in");
        }
        assert_unavailable(&page);
        assert!(begun.elapsed() < Duration::from_secs(5), "it did not recover");
    }
}

/// How often sessions have been read.
fn reads(redis: &Redis) -> usize {
    let told: String = redis.ask(&[b"INFO", b"commandstats"]);
    let calls = told.lines().find_map(|line| line.strip_prefix("cmdstat_getrange:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}
