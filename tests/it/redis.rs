//! Sessions in Redis, with a real server: shared by replicas, ended for all of them at once, and
//! safe from a server that lies.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use vestibule::{app, sealing::Key};

use crate::support::{ALICE, Browser, Redis, Setup, Stack, WebSocket};

const RULES: &str = "[[rules]]\npath = \"/public/*\"\naccess = \"anonymous\"\n";

pub fn setup(url: &str) -> Setup {
    Setup::default()
        .set("session.store", "\"redis\"")
        .set("session.redis_url", &format!("\"{url}\""))
        .set("identity.dialects", "[\"oauth2-proxy\"]")
        .scenario("token_lifetime = \"600s\"")
        .rules(RULES)
}

/// Two replicas on one server.
pub async fn two(redis: &Redis) -> (Stack, app::Running) {
    let stack = setup(&redis.url()).start().await;
    let replica = stack.replica().await;
    (stack, replica)
}

pub fn at(browser: &Browser, replica: &app::Running) -> Browser {
    browser.clone().connecting_to(replica.address().unwrap())
}

fn bearer(stack: &Stack) -> String {
    stack.app.last().header("authorization").unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_one_small_cookie_and_works_on_every_replica() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    for user in &stack.emulator.client().users {
        let browser = stack.signed_in(user).await;
        let cookies = browser.session_cookies();
        assert_eq!(cookies.len(), 1, "{user}");
        assert!(cookies[0].1.len() < 160, "{}", cookies[0].1.len());
        let page = at(&browser, &replica).fetch(Method::GET, "/").await;
        assert_eq!((page.status.as_u16(), page.set_cookies().len()), (200, 0));
        let me = at(&browser, &replica).fetch(Method::GET, "/.auth/me").await.json();
        assert_eq!(me[0]["user_id"], user.as_str());
    }
    let metrics = stack.admin("/metrics").await.text();
    for line in [
        "vestibule_store_operation_duration_seconds_count{operation=\"create\",outcome=\"ok\"}",
        "vestibule_store_operation_duration_seconds_count{operation=\"connect\",outcome=\"ok\"}",
        "vestibule_store_operation_duration_seconds_count{operation=\"read\",outcome=\"ok\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
}

#[tokio::test]
async fn what_the_server_holds_is_sealed_and_expires_with_the_session() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let value: Vec<u8> = redis.ask(&[b"GET", &redis.key("session")]);
    let readable = String::from_utf8_lossy(&value).into_owned();
    for secret in [&bearer(&stack)[7..60], "alice", "contoso", "eyJ"] {
        assert!(!readable.contains(secret), "{secret}");
    }
    let left = |kind: &str| -> i64 { redis.ask(&[b"PTTL", &redis.key(kind)]) };
    // The idle limit comes first: an hour.
    assert!((3_590_000..=3_600_000).contains(&left("session")), "{}", left("session"));
    assert!((28_790_000..=28_800_000).contains(&left("sign-in")), "{}", left("sign-in"));
    // The idle clock is wound by the hour's tenths; close to the absolute end that is nearer.
    let mut browser = at(&browser, &replica);
    for _ in 0..75 {
        stack.advance(361);
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    assert!(left("session") < 28_800_000 - 75 * 361_000 + 10_000, "{}", left("session"));
    stack.advance(28_800 - 75 * 361);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn an_idle_session_ends_and_an_active_one_does_not() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let mut replicas = [browser.clone(), at(&browser, &replica)];
    for round in 0..12 {
        stack.advance(3_000);
        let page = replicas[round % 2].fetch(Method::GET, "/").await;
        if round < 9 {
            assert_eq!(page.status, 200, "round {round}");
        }
    }
    let browser = stack.signed_in(ALICE).await;
    stack.advance(3_601);
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn e16_fifty_requests_at_each_of_two_replicas_are_one_call_and_nobody_is_signed_out() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let first = bearer(&stack);
    for round in 1..=3 {
        let calls = stack.token_calls();
        stack.advance(320);
        stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "300ms" }));
        let requests = (0..100).map(|n| {
            let mut browser = if n % 2 == 0 { browser.clone() } else { at(&browser, &replica) };
            async move { browser.fetch(Method::GET, "/").await }
        });
        let answers = join_all(requests).await;
        assert!(answers.iter().all(|page| page.status == 200));
        assert!(answers.iter().all(|page| page.set_cookies().is_empty()));
        assert_eq!(stack.token_calls(), calls + 1, "round {round}");
        let tokens: BTreeSet<String> = stack
            .app
            .requests()
            .iter()
            .rev()
            .take(100)
            .map(|request| request.header("authorization").unwrap().to_owned())
            .collect();
        assert_eq!(tokens.len(), 1, "round {round}");
        assert!(!tokens.contains(&first));
    }
    assert!(redis.keys("lease").is_empty(), "every lease was given back");
}

#[tokio::test]
async fn expired_tokens_are_renewed_once_for_all_replicas() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let calls = stack.token_calls();
    stack.advance(601);
    let requests = (0..40).map(|n| {
        let mut browser = if n % 2 == 0 { browser.clone() } else { at(&browser, &replica) };
        async move { browser.fetch(Method::GET, "/").await.status }
    });
    assert!(join_all(requests).await.iter().all(|status| *status == 200));
    assert_eq!(stack.token_calls(), calls + 1);
    // A script that asks for new tokens gets them, and the other replica has them, too.
    let mut browser = browser;
    let before = bearer(&stack);
    let page = browser.fetch(Method::POST, "/.auth/refresh").await;
    assert_eq!((page.status.as_u16(), page.set_cookies().len()), (200, 0));
    at(&browser, &replica).fetch(Method::GET, "/").await;
    assert_ne!(bearer(&stack), before);
}

#[tokio::test]
async fn e7_sign_out_ends_the_session_on_all_replicas_and_for_every_copy_of_its_cookie() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let mut browser = stack.signed_in(ALICE).await;
    let copy = browser.clone();
    let other = stack.signed_in(ALICE).await;
    assert_eq!(at(&copy, &replica).fetch(Method::GET, "/").await.status, 200);
    let page = browser.get("/.auth/logout").await;
    assert_eq!(page.status, 302);
    assert!(browser.session_cookies().is_empty());
    for mut copy in [copy.clone(), at(&copy, &replica)] {
        assert_eq!(copy.fetch(Method::GET, "/").await.status, 401);
    }
    // Another session of the same user is another session.
    assert_eq!(at(&other, &replica).fetch(Method::GET, "/").await.status, 200);
    assert_eq!(redis.keys("session").len(), 1);
}

#[tokio::test]
async fn d6_a_sign_in_of_somebody_else_ends_the_session_that_the_browser_had() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let other = stack.emulator.client().users.into_iter().find(|user| user != ALICE).unwrap();
    // The same user in another tab disturbs nobody.
    let mut tab = browser.clone();
    assert_eq!(tab.navigate("/.auth/login/aad").await.status, 200);
    assert_ne!(tab.session_cookies(), browser.session_cookies());
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 200);
    let mut taken = browser.clone().as_user(&other);
    assert_eq!(taken.navigate("/.auth/login/aad").await.status, 200);
    let me = at(&taken, &replica).fetch(Method::GET, "/.auth/me").await.json();
    assert_eq!(me[0]["user_id"], other.as_str());
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn a_stream_ends_when_its_session_is_ended_at_another_replica() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    // Used elsewhere, it lives on past the idle limit of what this replica has seen.
    for _ in 0..3 {
        stack.advance(1_500);
        assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 200);
        socket.echo("here").await;
    }
    assert_eq!(at(&browser, &replica).get("/.auth/logout").await.status, 302);
    stack.advance(10);
    let (code, text) = socket.closed().await;
    assert_eq!((code, text.as_str()), (1008, "session ended"));
}

#[tokio::test]
async fn a_front_channel_sign_out_ends_the_sessions_of_its_sid_on_all_replicas() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let other = stack.signed_in(ALICE).await;
    let sid = sid_of(&browser).await;
    assert_ne!(sid, sid_of(&other).await);
    // Strangers' calls end nothing and leave nothing behind.
    let keys: usize = redis.ask(&[b"DBSIZE"]);
    for stranger in ["x", "11111111-2222-3333-4444-555555555555", "*", "a%00b"] {
        let url = format!("/.auth/logout/frontchannel?sid={stranger}");
        assert_eq!(stack.browser().get(&url).await.status, 200);
    }
    assert_eq!(redis.ask::<usize>(&[b"DBSIZE"]), keys);
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 200);

    let page = stack.browser().get(&format!("/.auth/logout/frontchannel?sid={sid}")).await;
    assert_eq!(page.status, 200);
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 401);
    assert_eq!(browser.clone().fetch(Method::GET, "/").await.status, 401);
    assert_eq!(at(&other, &replica).fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test]
async fn a_session_that_gets_another_sid_at_its_renewal_is_found_by_that() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let sid = "00000000-1111-4222-8333-444444444444";
    stack.fault(json!({ "endpoint": "token", "times": 1, "id_token_claims": { "sid": sid } }));
    stack.advance(320);
    assert_eq!(browser.clone().fetch(Method::GET, "/").await.status, 200);
    assert_eq!(sid_of(&browser).await, sid);
    stack.browser().get(&format!("/.auth/logout/frontchannel?sid={sid}")).await;
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 401);
}

async fn sid_of(browser: &Browser) -> String {
    let me = browser.clone().fetch(Method::GET, "/.auth/me").await.json();
    let claims = me[0]["user_claims"].as_array().unwrap().clone();
    let sid = claims.iter().find(|claim| claim["typ"] == "sid").expect("a sid");
    sid["val"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn e18_a_value_that_was_changed_swapped_or_cut_is_no_session() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let users = stack.emulator.client().users;
    let mallory = stack.signed_in(&users[1]).await;
    let mallorys_key = redis.key("session");
    let mallorys: Vec<u8> = redis.ask(&[b"GET", &mallorys_key]);
    let alice = stack.signed_in(ALICE).await;
    let key = redis.keys("session").into_iter().find(|key| *key != mallorys_key).unwrap();
    let genuine: Vec<u8> = redis.ask(&[b"GET", &key]);
    let put = |value: &[u8]| redis.ask::<()>(&[b"SET", &key, value]);

    let mut forged = vec![Vec::new(), b"x".to_vec(), mallorys.clone(), vec![0; (1 << 20) + 1]];
    for length in [1, 5, 29, 44, 45, genuine.len() - 16, genuine.len() - 1] {
        forged.push(genuine[..length].to_vec());
    }
    for position in (0..genuine.len()).step_by(97).chain([genuine.len() - 1]) {
        let mut flipped = genuine.clone();
        flipped[position] ^= 1;
        forged.push(flipped);
    }
    forged.push([genuine.clone(), b"x".to_vec()].concat());
    forged.push([genuine.clone(), mallorys.clone()].concat());
    for value in &forged {
        put(value);
        for mut browser in [alice.clone(), at(&alice, &replica)] {
            let page = browser.fetch(Method::GET, "/").await;
            assert_eq!((page.status.as_u16(), page.set_cookies().len()), (401, 0));
        }
    }
    // Another type under our key.
    for command in [["RPUSH", "x"], ["SADD", "x"]] {
        redis.ask::<()>(&[b"DEL", &key]);
        redis.ask::<()>(&[command[0].as_bytes(), &key, command[1].as_bytes()]);
        assert_eq!(alice.clone().fetch(Method::GET, "/").await.status, 401);
    }
    redis.ask::<()>(&[b"DEL", &key]);
    assert_eq!(alice.clone().fetch(Method::GET, "/").await.status, 401);
    // And in place of the index: whoever signs in with that session at Microsoft still can.
    for index in redis.keys("sign-in") {
        redis.ask::<()>(&[b"SET", &index, b"x"]);
    }
    let sid = sid_of(&mallory).await;
    let page = stack.browser().get(&format!("/.auth/logout/frontchannel?sid={sid}")).await;
    assert_eq!(page.status, 200);
    let mut again = mallory.clone();
    assert_eq!(again.navigate("/.auth/login/aad").await.status, 200);
    assert_eq!(again.fetch(Method::GET, "/").await.status, 200);
    // On a navigation the dead ticket goes and the user signs in again.
    let mut navigating = alice.clone();
    assert_eq!(navigating.get("/").await.status, 302);
    assert!(navigating.session_cookies().is_empty());
    // It was the value: the genuine one is still good, and so is Mallory's own.
    put(&genuine);
    assert_eq!(alice.clone().fetch(Method::GET, "/").await.status, 200);
    assert_eq!(mallory.clone().fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test]
async fn e2_neither_a_ticket_nor_a_value_is_a_session_of_the_cookies_and_the_other_way_round() {
    let Some(redis) = Redis::start(&[]) else { return };
    let stack = setup(&redis.url()).start().await;
    let browser = stack.signed_in(ALICE).await;
    let mut config = stack.config.clone();
    config.session.store = vestibule::session::StoreKind::Cookie;
    config.session.redis_url = None;
    let cookies_alone = app::start(&config, stack.clock.clone()).unwrap();
    cookies_alone.ready().await;
    assert_eq!(at(&browser, &cookies_alone).fetch(Method::GET, "/").await.status, 401);
    let mut whole = at(&stack.browser().as_user(ALICE), &cookies_alone);
    assert_eq!(whole.navigate("/").await.status, 200);
    assert_eq!(at(&whole, &stack.proxy).fetch(Method::GET, "/").await.status, 401);
    // What the server holds, brought as a cookie.
    let value: Vec<u8> = redis.ask(&[b"GET", &redis.key("session")]);
    for name in ["__Host-vestibule", "__Host-vestibule-flow"] {
        let mut forged = stack.browser();
        forged.set_cookie(name, &as_cookie(&value));
        assert_eq!(forged.fetch(Method::GET, "/").await.status, 401);
        assert_eq!(at(&forged, &cookies_alone).fetch(Method::GET, "/").await.status, 401);
    }
}

/// Sealed bytes as the first and only cookie of a set.
fn as_cookie(sealed: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let set = URL_SAFE_NO_PAD.encode(&sealed[sealed.len() - 3..]);
    format!("1{set}{}", URL_SAFE_NO_PAD.encode(sealed))
}

/// Waits until a replica has the lease, and so is about to call Microsoft.
pub async fn somebody_renews(redis: &Redis) {
    while redis.keys("lease").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_renewal_does_not_bring_back_a_session_that_was_ended_meanwhile() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    stack.advance(601);
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "700ms" }));
    let mut renewing = browser.clone();
    let renewal = renewing.fetch(Method::GET, "/");
    let ending = async {
        somebody_renews(&redis).await;
        at(&browser, &replica).get("/.auth/logout").await
    };
    let (page, signed_out) = tokio::join!(renewal, ending);
    assert_eq!((page.status.as_u16(), signed_out.status.as_u16()), (401, 302));
    assert!(redis.keys("session").is_empty() && redis.keys("lease").is_empty());
}

#[tokio::test]
async fn a_lost_lease_signs_nobody_out() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    stack.advance(601);
    // The first call is slow and then refused, as by a Microsoft that sees a token used twice.
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "900ms", "status": 400,
        "error": "invalid_grant", "code": 70_008 }));
    let mut slow = browser.clone();
    let calls = stack.token_calls();
    let losing = slow.fetch(Method::GET, "/");
    let winning = async {
        somebody_renews(&redis).await;
        // A failover that forgot the lease: the other replica renews as well, and succeeds.
        redis.ask::<()>(&[b"DEL", &redis.key("lease")]);
        at(&browser, &replica).fetch(Method::GET, "/").await
    };
    let (lost, won) = tokio::join!(losing, winning);
    assert_eq!((lost.status.as_u16(), won.status.as_u16()), (200, 200));
    assert_eq!(stack.token_calls(), calls + 2);
    for mut browser in [browser.clone(), at(&browser, &replica)] {
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_replica_that_died_with_the_lease_holds_the_others_up_while_the_lease_lives() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    let lease = String::from_utf8(redis.key("session")).unwrap().replace(":session", ":lease");
    redis.ask::<()>(&[b"SET", lease.as_bytes(), b"somebody", b"PX", b"700"]);
    stack.advance(601);
    let calls = stack.token_calls();
    let begun = Instant::now();
    let (mut here, mut there) = (browser.clone(), at(&browser, &replica));
    let (here, there) = tokio::join!(here.fetch(Method::GET, "/"), there.fetch(Method::GET, "/"));
    assert_eq!((here.status.as_u16(), there.status.as_u16()), (200, 200));
    assert!(begun.elapsed() > Duration::from_millis(500), "the lease was not respected");
    assert_eq!(stack.token_calls(), calls + 1);
}

#[tokio::test]
async fn a_session_that_microsoft_ended_is_ended_for_all_replicas() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (stack, replica) = two(&redis).await;
    let browser = stack.signed_in(ALICE).await;
    stack.advance(320);
    stack.fault(json!({ "endpoint": "token", "times": 1, "status": 400,
        "error": "invalid_grant", "code": 50_173 }));
    let calls = stack.token_calls();
    assert_eq!(browser.clone().fetch(Method::GET, "/").await.status, 401);
    assert!(redis.keys("session").is_empty());
    assert_eq!(at(&browser, &replica).fetch(Method::GET, "/").await.status, 401);
    assert_eq!(stack.token_calls(), calls + 1);
}

#[tokio::test]
async fn e11_a_key_is_replaced_without_a_new_sign_in() {
    let Some(redis) = Redis::start(&[]) else { return };
    let stack = setup(&redis.url()).start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let new = vestibule::base::secret::Secret::from(Key::generate().unwrap().to_text());
    let mut config = stack.config.clone();
    config.session.keys.insert(0, new);
    let both = app::start(&config, stack.clock.clone()).unwrap();
    both.ready().await;
    config.session.keys.truncate(1);
    let new_alone = app::start(&config, stack.clock.clone()).unwrap();
    new_alone.ready().await;

    assert_eq!(at(&browser, &new_alone).fetch(Method::GET, "/").await.status, 401);
    // The next step of the idle clock brings both the value and the ticket under the new key.
    let mut moved = at(&browser, &both);
    assert!(moved.fetch(Method::GET, "/").await.set_cookies().is_empty());
    stack.advance(361);
    assert!(!moved.fetch(Method::GET, "/").await.set_cookies().is_empty());
    assert!(moved.fetch(Method::GET, "/").await.set_cookies().is_empty());
    assert_eq!(at(&moved, &new_alone).fetch(Method::GET, "/").await.status, 200);
    // The replica that does not know the new key yet takes it for nobody's.
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
}
