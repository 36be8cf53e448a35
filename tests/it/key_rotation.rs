//! Session keys are exchanged on running replicas, and nobody signs in again.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use vestibule::{app::Running, sealing::Key};

use crate::support::{ALICE, Browser, Setup, Stack, scratch_file};

fn key() -> String {
    Key::generate().unwrap().to_text()
}

/// Two replicas on one file of keys. Tokens live for ten minutes, so that sessions are written
/// often.
async fn pair(first: &str) -> (Stack, Running, PathBuf) {
    let keys = scratch_file("session-keys");
    fs::write(&keys, format!("{first}\n")).unwrap();
    let stack = Setup::default()
        .without("session.keys")
        .set("session.keys_file", &format!("'{}'", keys.display()))
        .scenario("token_lifetime = \"600s\"")
        .start()
        .await;
    let replica = stack.replica().await;
    (stack, replica, keys)
}

/// The id of the key that sealed the browser's session.
fn key_id(browser: &Browser) -> [u8; 4] {
    let (_, value) = browser.session_cookies().into_iter().next().expect("a session");
    // Five characters say which cookie it is; then the format's version, and the id.
    let start = URL_SAFE_NO_PAD.decode(&value[5..13]).unwrap();
    start[1..5].try_into().unwrap()
}

#[tokio::test]
async fn e11_a_rotation_under_load_signs_nobody_in_again_and_removal_is_one_clean_sign_in() {
    let (old, new) = (key(), key());
    let (stack, replica, keys) = pair(&old).await;
    let addresses = [stack.proxy.address().unwrap(), replica.address().unwrap()];
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut browser = stack.signed_in(ALICE).await;
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                browser = browser.connecting_to(addresses[turn % 2]);
                let page = browser.fetch(Method::GET, "/").await;
                assert_eq!(page.status, 200, "request {turn}: {}", page.text());
                turn += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            browser
        }));
    }
    let some_load = async || {
        let goal = answered.load(Ordering::Relaxed) + 60;
        while answered.load(Ordering::Relaxed) < goal {
            assert!(!clients.iter().any(tokio::task::JoinHandle::is_finished), "a client failed");
            tokio::task::yield_now().await;
        }
    };
    some_load().await;
    // A sign-in that begins before the rotation ends after it.
    let mut late = stack.browser().as_user(ALICE);
    let to_microsoft = late.get("/").await;
    assert_eq!(to_microsoft.status, 302);
    // One replica has read the new file, the other has not, and sessions are written meanwhile.
    fs::write(&keys, format!("{new}\n{old}\n")).unwrap();
    stack.proxy.reload_now().await.unwrap();
    some_load().await;
    stack.advance(110);
    some_load().await;
    replica.reload_now().await.unwrap();
    some_load().await;
    let mut microsoft = to_microsoft.location();
    microsoft.query_pairs_mut().append_pair("login_hint", ALICE);
    assert!(late.navigate(microsoft.as_str()).await.visited("/.auth/login/aad/callback"));
    // Both know it: from now on the new key seals, at the latest with the next renewal.
    for _ in 0..4 {
        stack.advance(150);
        some_load().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut browsers = Vec::new();
    for client in clients {
        browsers.push(client.await.expect("every request was answered with 200"));
    }
    // Nobody has used this one since.
    let old_id = key_id(&late);
    assert!(browsers.iter().all(|browser| key_id(browser) != old_id));

    // The old key goes. Who still has its cookie signs in once; the others notice nothing.
    fs::write(&keys, format!("{new}\n")).unwrap();
    for proxy in [&stack.proxy, &replica] {
        proxy.reload_now().await.unwrap();
    }
    for browser in &mut browsers {
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    assert_eq!(late.clone().fetch(Method::GET, "/").await.status, 401);
    let page = late.navigate("/").await;
    assert_eq!((page.status.as_u16(), page.visited("/oauth2/v2.0/authorize")), (200, true));
    assert_eq!(late.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(key_id(&late), key_id(&browsers[0]));
}

#[tokio::test]
async fn e11_a_file_of_keys_that_is_broken_is_not_taken_over() {
    let old = key();
    let (stack, _replica, keys) = pair(&old).await;
    let mut browser = stack.signed_in(ALICE).await;
    let short = &old[..40];
    for broken in ["", "not a key\n", short, &format!("{old}\n{old}\n"), &"A".repeat(44)] {
        fs::write(&keys, broken).unwrap();
        assert!(stack.proxy.reload_now().await.is_err(), "{broken}");
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    fs::write(&keys, format!("{old}\n")).unwrap();
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
}
