//! The session: sealed, split, limited in time; anything else is no session.

use http::Method;

use crate::support::{ALICE, Browser, NAVIGATE, Setup, Stack};

#[tokio::test]
async fn every_user_of_the_emulator_fits_and_works() {
    let stack = Stack::start().await;
    for user in stack.emulator.client().users {
        let mut browser = stack.signed_in(&user).await;
        let page = browser.fetch(Method::GET, "/").await;
        assert_eq!(page.status, 200, "{user}");
        let cookies = browser.session_cookies();
        assert!(cookies.len() <= 2, "{user} needs {} cookies", cookies.len());
        for (name, value) in cookies {
            assert!(name.len() + value.len() <= 4096);
        }
    }
}

#[tokio::test]
async fn session_cookies_have_the_attributes_that_browsers_ask_for() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let callback = super::sign_in::until_callback(&mut browser, "/").await;
    let page = browser.get(&callback).await;
    let lines = page.set_cookies();
    let session: Vec<_> = lines.iter().filter(|line| !line.contains("-flow=")).collect();
    assert!(!session.is_empty());
    for line in session {
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(line.contains(attribute), "{line}");
        }
        assert!(!line.to_ascii_lowercase().contains("domain"));
    }
}

#[tokio::test]
async fn e3_e4_whatever_is_not_the_whole_session_is_no_session() {
    let stack = Setup::default().set("session.cookie_budget", "4").start().await;
    let client = stack.emulator.client();
    let user = client.users.iter().find(|user| user.contains("150")).unwrap_or(&client.users[2]);
    let browser = stack.signed_in(user).await;
    let whole = browser.session_cookies();
    let mut broken: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for index in 0..whole.len() {
        let mut cut = whole.clone();
        cut[index].1.pop();
        broken.push((format!("{index} cut"), cut));
        let mut flipped = whole.clone();
        let middle = flipped[index].1.len() / 2;
        let old = flipped[index].1.remove(middle);
        flipped[index].1.insert(middle, if old == 'A' { 'B' } else { 'A' });
        broken.push((format!("{index} flipped"), flipped));
        if whole.len() > 1 {
            let mut missing = whole.clone();
            missing.remove(index);
            broken.push((format!("{index} missing"), missing));
        }
    }
    let mut extra = whole.clone();
    extra.push((format!("__Host-vestibule-{}", whole.len()), "AAAA".to_owned()));
    broken.push(("one too many".to_owned(), extra));
    broken
        .push(("garbage".to_owned(), vec![("__Host-vestibule".to_owned(), "garbage".to_owned())]));
    broken.push(("empty".to_owned(), vec![("__Host-vestibule".to_owned(), String::new())]));
    if whole.len() > 1 {
        let mut swapped = whole.clone();
        let first = swapped[0].1.clone();
        swapped[0].1 = std::mem::replace(&mut swapped[1].1, first);
        broken.push(("swapped".to_owned(), swapped));
    }
    let other = stack.signed_in(user).await.session_cookies();
    if whole.len() > 1 {
        broken.push(("mixed".to_owned(), vec![whole[0].clone(), other[1].clone()]));
    }
    let seen = stack.app.requests().len();
    for (what, cookies) in broken {
        let mut browser = Browser::new(&stack.origin());
        for (name, value) in &cookies {
            browser.set_cookie(name, value);
        }
        let page = browser.fetch(Method::GET, "/").await;
        assert_eq!(page.status, 401, "{what}");
        assert!(page.set_cookies().is_empty(), "{what}");
        // A navigation clears what is broken along with going to Microsoft.
        let page = browser.get("/").await;
        assert_eq!(page.status, 302, "{what}");
        assert!(browser.session_cookies().is_empty(), "{what}");
    }
    assert_eq!(stack.app.requests().len(), seen);
}

#[tokio::test]
async fn e8_our_cookie_twice_or_in_another_spelling_is_no_session() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let cookies = browser.session_cookies();
    let good = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("; ");
    let (name, value) = &cookies[0];
    for cookie in [
        format!("{good}; {name}=x"),
        format!("{name}=x; {good}"),
        format!("{good}; {good}"),
        good.replace("__Host-", "__host-"),
        good.replace("__Host-", "\u{a0}__Host-"),
        format!("$Version=1; ={name}={value}"),
        format!("{name}=\"{value}\""),
    ] {
        let headers = [NAVIGATE, &[("cookie", cookie.as_str())]].concat();
        let page =
            Browser::new(&stack.origin()).request(Method::GET, "/", &headers, "".into()).await;
        assert!(page.status == 302 || page.status == 400, "{} for {cookie:.80}", page.status);
    }
}

#[tokio::test]
async fn e2_a_cookie_of_another_purpose_or_deployment_opens_nothing() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    browser.get("/").await;
    let jar = browser.cookie("__Host-vestibule-flow").unwrap();
    let mut confused = stack.browser();
    confused.set_cookie("__Host-vestibule", &jar);
    assert_eq!(confused.fetch(Method::GET, "/").await.status, 401);
    let other = Stack::start().await;
    let mut foreign = other.browser();
    for (name, value) in stack.signed_in(ALICE).await.session_cookies() {
        foreign.set_cookie(&name, &value);
    }
    assert_eq!(foreign.fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn a_session_ends_after_its_lifetime_to_the_second_however_active() {
    let stack = Setup::default()
        .set("session.lifetime", "\"2h\"")
        .set("session.idle_timeout", "\"2h\"")
        .start()
        .await;
    let mut browser = stack.signed_in(ALICE).await;
    for _ in 0..11 {
        stack.advance(600);
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    stack.advance(590);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    stack.advance(11);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
    // Nor does the cookie of yesterday.
    assert_eq!(browser.get("/").await.status, 302);
}

#[tokio::test]
async fn an_idle_session_ends_and_an_active_one_does_not() {
    let stack = Setup::default().set("session.idle_timeout", "\"10m\"").start().await;
    let mut browser = stack.signed_in(ALICE).await;
    for _ in 0..12 {
        stack.advance(300);
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
    stack.advance(601);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 401);
}

#[tokio::test]
async fn most_responses_set_no_cookie() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    for _ in 0..20 {
        assert!(browser.fetch(Method::GET, "/").await.set_cookies().is_empty());
    }
}

#[tokio::test]
async fn of_requests_that_were_sent_together_one_answer_winds_the_idle_clock() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    stack.advance(600);
    let mut together = [browser.clone(), browser.clone(), browser];
    let mut wound = Vec::new();
    for browser in &mut together {
        let page = browser.fetch(Method::GET, "/").await;
        assert_eq!(page.status, 200);
        wound.push(!page.set_cookies().is_empty());
    }
    assert_eq!(wound, [true, false, false]);
    // The one answer may have been lost.
    stack.advance(10);
    assert!(!together[2].fetch(Method::GET, "/").await.set_cookies().is_empty());
}

#[tokio::test]
async fn d6_a_new_sign_in_leaves_nothing_of_the_old_one() {
    let stack = Stack::start().await;
    let users = stack.emulator.client().users;
    let second = &users[1];
    let mut browser = stack.signed_in(&users[0]).await;
    let mut again = browser.clone().as_user(second);
    let page = again.get("/.auth/login/aad").await;
    let mut url = page.location();
    url.query_pairs_mut().append_pair("login_hint", second);
    let callback = again.get(url.as_str()).await.location();
    again.get(callback.as_str()).await;
    let me = again.fetch(Method::GET, "/.auth/me").await.json();
    assert_eq!(me[0]["user_id"], second.as_str());
    // The former session has ended where it was replaced, cookies or not.
    assert_eq!(browser.fetch(Method::GET, "/.auth/me").await.status, 401);
}

#[tokio::test]
async fn a_session_that_needs_too_many_cookies_ends_in_a_page_not_in_a_loop() {
    let stack = Stack::start().await;
    let noise: String =
        (0..1_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let claims = serde_json::json!({ "a": noise, "b": noise.chars().rev().collect::<String>() });
    stack.fault(serde_json::json!({ "endpoint": "token", "times": 9, "id_token_claims": claims }));
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.navigate("/").await;
    assert_eq!(page.status, 431, "{}", page.text());
    assert!(page.text().contains("too large"));
    assert!(browser.session_cookies().is_empty());
}

#[tokio::test]
async fn me_and_session_tell_who_and_when_and_no_token() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let me = browser.fetch(Method::GET, "/.auth/me").await;
    let entry = &me.json()[0];
    assert_eq!(entry["provider_name"], "aad");
    assert_eq!(entry["user_id"], ALICE);
    let claims = entry["user_claims"].as_array().unwrap();
    assert!(claims.iter().any(|claim| claim["typ"] == "name"));
    assert!(entry["expires_on"].as_str().unwrap().starts_with("20"));
    let session = browser.fetch(Method::GET, "/.auth/session").await;
    let view = session.json();
    for key in ["expires_on", "session_ends", "renews_at"] {
        assert!(view[key].is_string(), "{view}");
    }
    let token = stack.app.last().header("authorization").unwrap()[7..].to_owned();
    for page in [&me, &session] {
        assert!(!page.text().contains(&token[..40]) && !page.text().contains("eyJ"));
        assert!(page.header("cache-control").unwrap().contains("no-store"));
    }
    for path in ["/.auth/me", "/.auth/session"] {
        assert_eq!(stack.browser().fetch(Method::GET, path).await.status, 401);
    }
    assert_eq!(browser.fetch(Method::GET, "/.auth/nothing").await.status, 404);
}
