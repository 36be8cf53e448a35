//! A changed configuration is taken over while requests run; a broken one changes nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vestibule::app::ReloadError;

use crate::support::{ALICE, NAVIGATE, Setup, Stack, scratch_file};

const APPLIED: &str = "vestibule_configuration_reloads_total{outcome=\"applied\"}";
const FAILED: &str = "vestibule_configuration_reloads_total{outcome=\"failed\"}";

/// Waits until a counter has come so far, which another task sees to.
async fn reaches(stack: &Stack, name: &str, wanted: u64) {
    let waiting = async {
        while stack.metric(name).await < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the counter moves");
}

#[tokio::test]
async fn j4_ten_reloads_under_5000_requests_lose_none_and_each_request_sees_one_configuration() {
    const REQUESTS: usize = 5_000;
    let headers = "[identity.headers]\n\"X-One\" = \"oid\"\n\"X-Two\" = \"oid\"\n";
    let stack = Setup::default()
        .rules(headers)
        .set("server.workers", "2")
        .set("session.idle_timeout", "\"50m\"")
        .set("upstream.idle_timeout", "\"50s\"")
        .start()
        .await;
    let browser = stack.signed_in(ALICE).await;
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut browser, done) = (browser.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while done.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                    let status = browser.fetch(Method::GET, "/").await.status;
                    if status != 200 {
                        failed.push(status);
                    }
                }
                failed
            })
        })
        .collect();
    let (mut reloads, mut failures) = (0, 0);
    let mut was = "oid";
    for step in 1..=10 {
        while done.load(Ordering::Relaxed) < step * REQUESTS / 11 {
            tokio::task::yield_now().await;
        }
        let is = if was == "oid" { "preferred_username" } else { "oid" };
        stack.rewrite(&format!("\"{was}\""), &format!("\"{is}\""));
        // Every second time sessions and connections to the app are made anew, too.
        if step % 2 == 0 {
            for unit in ["m", "s"] {
                stack.rewrite(
                    &format!("\"5{}{unit}\"", step / 2 - 1),
                    &format!("\"5{}{unit}\"", step / 2),
                );
            }
        }
        stack.proxy.reload_now().await.unwrap();
        reloads += 1;
        was = is;
        // Half a file, and nonsense, in between.
        let text = fs::read_to_string(&stack.config_file).unwrap();
        for broken in [&text[..text.len() / 2], "[rules]\nnonsense = 1\n"] {
            fs::write(&stack.config_file, broken).unwrap();
            assert!(stack.proxy.reload_now().await.is_err());
            failures += 1;
        }
        fs::write(&stack.config_file, text).unwrap();
    }
    for client in clients {
        assert_eq!(client.await.unwrap(), Vec::<http::StatusCode>::new());
    }
    assert_eq!(stack.metric(APPLIED).await, reloads);
    assert_eq!(stack.metric(FAILED).await, failures);
    let seen = stack.app.requests();
    assert!(seen.len() >= REQUESTS, "{} requests arrived", seen.len());
    assert!(seen.iter().all(|request| request.header("x-one") == request.header("x-two")));
    let names = seen.iter().filter(|request| request.header("x-one") == Some(ALICE)).count();
    assert!((1..seen.len()).contains(&names), "{names} of {} saw the name", seen.len());
}

#[tokio::test]
async fn a_changed_rule_decides_the_next_request() {
    let rule = "[[rules]]\npath = \"/open/*\"\naccess = \"anonymous\"\n";
    let stack = Setup::default().rules(rule).start().await;
    let mut browser = stack.browser();
    assert_eq!(browser.fetch(Method::GET, "/open/a").await.status, 200);
    stack.rewrite("\"anonymous\"", "\"deny\"");
    assert_eq!(browser.fetch(Method::GET, "/open/a").await.status, 200, "nobody was told yet");
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(browser.fetch(Method::GET, "/open/a").await.status, 403);
}

#[tokio::test]
async fn a_changed_header_is_told_about_sessions_that_were_open_before() {
    let stack = Setup::default().rules("[identity.headers]\n\"X-Who\" = \"oid\"\n").start().await;
    let mut browser = stack.signed_in(ALICE).await;
    browser.fetch(Method::GET, "/").await;
    assert_ne!(stack.app.last().header("x-who"), Some(ALICE));
    stack.rewrite("\"X-Who\" = \"oid\"", "\"X-Name\" = \"preferred_username\"");
    stack.proxy.reload_now().await.unwrap();
    browser.fetch(Method::GET, "/").await;
    let told = stack.app.last();
    assert_eq!((told.header("x-who"), told.header("x-name")), (None, Some(ALICE)));
}

#[tokio::test]
async fn j4_a_broken_file_keeps_the_old_configuration_and_is_counted_once() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let reloader = stack.proxy.reloader().unwrap();
    let good = fs::read_to_string(&stack.config_file).unwrap();
    for broken in ["[server\n", "[server]\npublic_url = \"https://a.test\"\nnonsense = 1\n", ""] {
        let before = stack.metric(FAILED).await;
        fs::write(&stack.config_file, broken).unwrap();
        reloader.look().await.expect("a change that has not settled is left alone");
        assert_eq!(stack.metric(FAILED).await, before);
        for _ in 0..3 {
            let error = reloader.look().await.unwrap_err();
            assert!(matches!(error, ReloadError::Configuration(_)), "{error}");
        }
        assert_eq!(stack.metric(FAILED).await, before + 1, "{broken}");
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    assert_eq!(stack.metric("vestibule_configuration_stale").await, 1);
    fs::remove_file(&stack.config_file).unwrap();
    reloader.look().await.unwrap();
    assert!(reloader.look().await.is_err());
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    fs::write(&stack.config_file, good).unwrap();
    reloader.look().await.unwrap();
    assert_eq!(stack.metric(APPLIED).await, 0);
    reloader.look().await.unwrap();
    assert_eq!((stack.metric(APPLIED).await, stack.metric(FAILED).await), (1, 4));
    assert_eq!(stack.metric("vestibule_configuration_stale").await, 0);
    reloader.look().await.unwrap();
    assert_eq!(stack.metric(APPLIED).await, 1, "nothing has changed since");
}

#[tokio::test]
async fn a_file_that_only_the_broken_configuration_names_mends_it_by_appearing() {
    let stack = Stack::start().await;
    let reloader = stack.proxy.reloader().unwrap();
    let secret = scratch_file("client-secret");
    let client = stack.emulator.client();
    stack.rewrite(
        &format!("client_secret = \"{}\"", client.client_secret),
        &format!("client_secret_file = {secret:?}"),
    );
    reloader.look().await.unwrap();
    assert!(reloader.look().await.is_err());
    fs::write(&secret, format!("{}\n", client.client_secret)).unwrap();
    reloader.look().await.unwrap();
    assert_eq!(stack.metric(APPLIED).await, 1);
    stack.signed_in(ALICE).await;
}

#[tokio::test]
async fn a_kubernetes_swap_of_the_folder_behind_the_links_is_noticed() {
    let stack = Setup::default().look_every(Duration::from_millis(20)).start().await;
    let folder = stack.config_file.parent().unwrap();
    let rules = "\n[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n";
    let text = fs::read_to_string(&stack.config_file).unwrap();
    for (version, rules) in [("..v1", ""), ("..v2", rules)] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("proxy.toml"), format!("{text}{rules}")).unwrap();
    }
    let link = |target: &str, name: &str| {
        symlink(target, folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), folder.join(name)).unwrap();
    };
    link("..v1", "..data");
    link("..data/proxy.toml", "proxy.toml");
    let mut browser = stack.browser();
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 401);
    link("..v2", "..data");
    reaches(&stack, APPLIED, 1).await;
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 200);
    link("..v1", "..data");
    reaches(&stack, APPLIED, 2).await;
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 401);
}

#[tokio::test]
async fn a_rotated_client_secret_is_used_and_one_that_is_gone_stops_nobody() {
    let secret = scratch_file("client-secret");
    fs::write(&secret, "emulator~secret.that-everybody.may_know\n").unwrap();
    let setup = Setup::default().without("entra.client_secret");
    let stack = setup.set("entra.client_secret_file", &format!("{secret:?}")).start().await;
    let mut browser = stack.signed_in(ALICE).await;
    stack.fault(json!({ "client_secret": "the.next~secret" }));
    assert_eq!(stack.browser().as_user(ALICE).navigate("/").await.status, 503);
    fs::write(&secret, "the.next~secret\n").unwrap();
    let reloader = stack.proxy.reloader().unwrap();
    reloader.look().await.unwrap();
    reloader.look().await.unwrap();
    assert_eq!(stack.metric(APPLIED).await, 1);
    stack.signed_in(ALICE).await;
    fs::remove_file(&secret).unwrap();
    reloader.look().await.unwrap();
    assert!(reloader.look().await.is_err());
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test]
async fn e16_a_renewal_in_flight_during_a_reload_is_one_call() {
    let stack = Setup::default()
        .set("session.renew_before", "\"5m\"")
        .scenario("token_lifetime = \"600s\"")
        .start()
        .await;
    let browser = stack.signed_in(ALICE).await;
    // Due under the old configuration and under the new one.
    stack.advance(370);
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "2s" }));
    let calls = stack.token_calls();
    let mut first = browser.clone();
    let waiting = tokio::spawn(async move { first.fetch(Method::GET, "/").await });
    while stack.token_calls() == calls {
        tokio::task::yield_now().await;
    }
    // Everything about sessions and about Microsoft is built anew.
    stack.rewrite("renew_before = \"5m\"", "renew_before = \"4m\"");
    stack.rewrite("[entra]", "[entra]\nprompt = \"login\"");
    stack.proxy.reload_now().await.unwrap();
    // On a machine that is very busy it has just ended, which must make no difference.
    let page = browser.clone().fetch(Method::GET, "/").await;
    assert_eq!((page.status.as_u16(), page.set_cookies().is_empty()), (200, false));
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(stack.token_calls(), calls + 1);
    // Its result is kept for who comes later, too.
    assert_eq!(browser.clone().fetch(Method::GET, "/").await.status, 200);
    assert_eq!(stack.token_calls(), calls + 1);
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_even_if_sessions_now_live_longer() {
    let stack = Setup::default()
        .set("session.lifetime", "\"2h\"")
        .set("session.idle_timeout", "\"2h\"")
        .scenario("token_lifetime = \"24h\"")
        .start()
        .await;
    let mut browser = stack.signed_in(ALICE).await;
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    let claims = me[0]["user_claims"].as_array().unwrap();
    let sid = claims.iter().find(|claim| claim["typ"] == "sid").expect("a sid")["val"].clone();
    let url = format!("/.auth/logout/frontchannel?sid={}", sid.as_str().unwrap());
    assert_eq!(stack.browser().get(&url).await.status, 200);
    for key in ["lifetime", "idle_timeout"] {
        stack.rewrite(&format!("{key} = \"2h\""), &format!("{key} = \"8h\""));
    }
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
    stack.advance(3 * 3600);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn a_tenant_or_authority_that_does_not_answer_is_not_taken_over() {
    let stack = Stack::start().await;
    let authority = stack.emulator.client().authority;
    stack.rewrite(&authority, "http://127.0.0.1:9");
    let error = stack.proxy.reload_now().await.unwrap_err();
    assert!(matches!(error, ReloadError::Metadata(_)), "{error}");
    stack.signed_in(ALICE).await;
    stack.rewrite("http://127.0.0.1:9", &authority);
    stack.proxy.reload_now().await.unwrap();
    stack.signed_in(ALICE).await;
}

#[tokio::test]
async fn a_tunnel_that_is_open_lives_on_over_a_reload_that_changes_the_app() {
    let rule = "[[rules]]\npath = \"/ws\"\naccess = \"anonymous\"\n";
    let stack = Setup::default().rules(rule).start().await;
    let mut tunnel = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        stack.host()
    );
    tunnel.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tunnel.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut echo = async |text: &[u8]| {
        tunnel.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text);
    };
    echo(b"\x82\x06before").await;
    stack.rewrite(&stack.app.url(), "http://127.0.0.1:9");
    stack.proxy.reload_now().await.unwrap();
    echo(b"\x82\x05after").await;
    let page = stack.browser().request(Method::GET, "/ws", NAVIGATE, Bytes::new()).await;
    assert_eq!(page.status, 502, "new requests go to the new app");
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_answer_is_counted() {
    let stack = Setup::default().scenario("token_lifetime = \"600s\"").start().await;
    let mut browser = stack.signed_in(ALICE).await;
    stack.advance(320);
    // Longer than a client that has ended its half is given the benefit of the doubt.
    stack.fault(json!({ "endpoint": "token", "times": 1, "delay": "10s" }));
    let request = browser.fetch(Method::GET, "/");
    let gone = tokio::time::timeout(Duration::from_millis(500), request).await;
    assert!(gone.is_err(), "the client went away before its answer");
    reaches(&stack, "vestibule_clients_gone_total", 1).await;
    reaches(&stack, "vestibule_requests_total{decision=\"error\",code=\"4xx\"}", 1).await;
}
