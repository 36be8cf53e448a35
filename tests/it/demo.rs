//! `vestibule demo`, walked through as a person would who has read one line of the README.

use std::{collections::BTreeSet, time::Duration};

use http::Method;
use url::Url;

use crate::support::{Browser, free_port, vestibule};

/// The one URL that the demo prints.
fn url_of(line: &str) -> Url {
    let urls: Vec<&str> = line.split_whitespace().filter(|word| word.starts_with("http")).collect();
    assert_eq!(urls.len(), 1, "{line}");
    Url::parse(urls[0]).unwrap()
}

fn unescaped(html: &str) -> String {
    html.replace("&amp;", "&").replace("&#x2f;", "/").replace("&#x3d;", "=").replace("&#x27;", "'")
}

/// Where the tile of a user leads, as a click on it would.
fn tile(html: &str, user: &str) -> String {
    let (before, _) = html
        .split_once(&format!("data-user=\"{user}\""))
        .unwrap_or_else(|| panic!("{user}: {html}"));
    unescaped(before.rsplit("href=\"").next().unwrap().split('"').next().unwrap())
}

/// The number of the token that the page shows.
fn token_number(html: &str) -> u32 {
    let after =
        html.split("This is token number <strong>").nth(1).unwrap_or_else(|| panic!("{html}"));
    after.split('<').next().unwrap().parse().unwrap()
}

/// A JWT that somebody could use.
fn whole_token(html: &str) -> Option<&str> {
    html.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .find(|word| word.starts_with("eyJ") && word.matches('.').count() == 2 && word.len() > 200)
}

#[tokio::test]
async fn a_person_picks_an_account_sees_the_app_stays_signed_in_and_signs_out() {
    let port = free_port().to_string();
    let mut demo = vestibule(["demo", "--token-lifetime", "4s", "--port", &port]).start();
    let line = demo.line().await;
    let url = url_of(&line);
    assert_eq!((url.host_str(), url.port()), (Some("localhost"), Some(port.parse().unwrap())));
    let mut browser = Browser::new(url.as_str());

    // The picker.
    let page = browser.get("/").await;
    assert_eq!(page.status, 302);
    let emulator = page.location();
    assert!(emulator.as_str().starts_with("http://127.0.0.1:"), "{emulator}");
    let picker = browser.get(emulator.as_str()).await;
    assert_eq!(picker.status, 200);
    let html = picker.text();
    assert!(html.contains("Pick an account"));
    for user in
        ["alice@contoso.test", "bob@contoso.test", "carol@contoso.test", "dave@contoso.test"]
    {
        assert!(html.contains(user), "{user}: {html}");
    }

    // A click.
    let click = picker.url.join(&tile(&html, "erin@contoso.test")).unwrap();
    let page = browser.navigate(click.as_str()).await;
    assert_eq!((page.status.as_u16(), page.url.as_str()), (200, url.as_str()), "{}", page.text());
    let html = page.text();
    for words in
        ["Erin Evans", "erin@contoso.test", "/v1.0/me", "displayName", "Graph answered 200"]
    {
        assert!(unescaped(&html).contains(words), "{words}: {html}");
    }
    for header in
        ["x-ms-client-principal-name", "x-forwarded-user", "x-request-id", "x-forwarded-host"]
    {
        assert!(html.to_ascii_lowercase().contains(header), "{header}: {html}");
    }
    assert_eq!(whole_token(&html), None, "a token is shown whole");
    assert!(html.contains('…') || html.contains("..."), "the token is shortened");
    assert!(!html.contains("__Host-vestibule"), "our cookies do not reach the app");
    let first = token_number(&html);

    // Refreshing works, and in time the token is another one, without a visit to the emulator.
    let renewed = async {
        loop {
            let page = browser.navigate("/").await;
            assert_eq!((page.status.as_u16(), page.hops.len()), (200, 0), "{:?}", page.hops);
            assert!(unescaped(&page.text()).contains("Graph answered 200"), "{}", page.text());
            if token_number(&page.text()) > first + 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renewed).await.expect("renewed twice");

    // What the page offers besides.
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    assert_eq!(me[0]["user_id"], "erin@contoso.test");
    assert_eq!(
        browser.fetch(Method::GET, "/api/time").await.json()["asked_by"],
        "erin@contoso.test"
    );
    let page = browser.post_form("/expenses", "purpose=Train&amount=12.50").await;
    assert_eq!(page.status, 303, "{}", page.text());
    assert!(browser.get("/").await.text().contains("Train"));
    let mut nobody = Browser::new(url.as_str());
    assert_eq!(nobody.get("/public/hello").await.status, 200);
    assert_eq!(nobody.fetch(Method::GET, "/api/time").await.status, 401);

    // Out, at Microsoft too.
    let page = browser.navigate("/.auth/logout").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(browser.session_cookies().is_empty());
    let page = browser.navigate("/").await;
    assert!(page.text().contains("Pick an account"), "{}", page.text());

    demo.signal("INT");
    let ended = demo.ended().await;
    assert_eq!((ended.code, ended.stdout), (0, line), "{}", ended.stderr);
    assert_eq!(whole_token(&ended.stderr), None);
    assert!(
        !ended.stderr.contains("WARN") && !ended.stderr.contains("\"warn\""),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_second_demo_takes_the_next_free_port() {
    let mut demos = [vestibule(["demo"]).start(), vestibule(["demo"]).start()];
    let mut ports = BTreeSet::new();
    for demo in &mut demos {
        let url = url_of(&demo.line().await);
        let port = url.port().unwrap();
        assert!((4180..4280).contains(&port), "{url}");
        ports.insert(port);
        assert_eq!(Browser::new(url.as_str()).get("/").await.status, 302);
    }
    assert_eq!(ports.len(), 2);
    for demo in demos {
        demo.signal("TERM");
        demo.signal("TERM");
        assert_eq!(demo.ended().await.code, 0);
    }
}

#[tokio::test]
async fn a_port_that_was_asked_for_and_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = vestibule(["demo", "--port", &address.port().to_string()]).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(&address.to_string()), "{}", ended.stderr);
    assert!(!ended.stderr.contains("4180"), "it was not tried: {}", ended.stderr);
}
