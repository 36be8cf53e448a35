//! A form whose session has ended is kept in the browser, and sent again once after sign-in.

use bytes::Bytes;
use http::Method;

use crate::support::{ALICE, Browser, NAVIGATE_SAME, Page, Setup, Stack, StepPage};

const BOB: &str = "bob@contoso.test";
const URLENCODED: &str = "application/x-www-form-urlencoded";
const HOURS: u64 = 3_600;

async fn post(browser: &mut Browser, place: &str, kind: &str, body: &[u8]) -> Page {
    let headers = [NAVIGATE_SAME, &[("content-type", kind)]].concat();
    browser.request(Method::POST, place, &headers, Bytes::copy_from_slice(body)).await
}

/// Alice signed in long ago: her cookies are there, her session is not.
async fn alice_whose_session_has_ended(stack: &Stack) -> Browser {
    let browser = stack.signed_in(ALICE).await;
    stack.advance(9 * HOURS);
    browser
}

fn posts(stack: &Stack) -> usize {
    stack.app.requests().iter().filter(|r| r.request_line().starts_with("POST ")).count()
}

/// Asserts that the form was kept, and returns what the page's script reads.
fn kept(page: &Page) -> StepPage {
    assert_eq!(page.status, 401, "{}", page.text());
    assert_eq!(page.header("www-authenticate"), Some("Bearer"));
    let step = StepPage::of(page);
    assert!(step.data("sealed").is_some(), "{}", page.text());
    step
}

/// What the browser does after a form was kept: signs in, takes the form out, posts it to us.
async fn sign_in_and_take(browser: &mut Browser, kept: &StepPage) -> Page {
    let page = browser.navigate(&kept.data("next").unwrap()).await;
    take(browser, kept, &page).await
}

async fn take(browser: &mut Browser, kept: &StepPage, page: &Page) -> Page {
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/.auth/form"), "{}", page.text());
    let step = StepPage::of(page);
    assert_eq!(step.data("name"), kept.data("name"));
    assert_eq!(step.fields(), [("hidden".into(), "sealed".into(), String::new())]);
    let form = format!("sealed={}", kept.data("sealed").unwrap());
    post(browser, &step.form("action").unwrap(), URLENCODED, form.as_bytes()).await
}

async fn submit(browser: &mut Browser, step: &StepPage) -> Page {
    browser.post_form(&step.form("action").unwrap(), &step.urlencoded()).await
}

#[tokio::test]
async fn a_form_whose_session_has_ended_reaches_the_app_once_after_sign_in_as_it_was() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let seen = stack.app.requests().len();
    let form = "purpose=Caf%C3%A9+%26+cake&amount=12%2C50&tag=a&tag=b&note=1%0D%0A2&empty=";
    let page = post(&mut browser, "/expenses?year=7", URLENCODED, form.as_bytes()).await;
    let keep = kept(&page);
    assert!(page.text().contains("Your form is kept; signing you in"));
    // What the browser keeps tells nobody anything.
    for secret in ["purpose", "cake", "expenses"] {
        assert!(!page.text().contains(secret), "{secret} can be read in {}", page.text());
    }
    assert_eq!(stack.app.requests().len(), seen);
    let page = sign_in_and_take(&mut browser, &keep).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(stack.app.requests().len(), seen, "not a byte before the form itself");
    let step = StepPage::of(&page);
    assert_eq!(step.data("at").as_deref(), Some("once"));
    assert_eq!(step.form("action"), Some(format!("{}/expenses?year=7", stack.origin())));
    let page = submit(&mut browser, &step).await;
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "hello from the app"));
    let request = stack.app.last();
    assert_eq!(request.request_line(), "POST /expenses?year=7 HTTP/1.1");
    assert_eq!(String::from_utf8(request.body.clone()).unwrap(), form);
    assert!(request.header("authorization").unwrap().starts_with("Bearer "));
    assert_eq!(posts(&stack), 1);
}

#[tokio::test]
async fn a_form_of_an_old_encoding_comes_out_byte_for_byte() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let form = b"name=M%FCller&city=K%F6ln";
    let keep = kept(&post(&mut browser, "/people", URLENCODED, form).await);
    let step = StepPage::of(&sign_in_and_take(&mut browser, &keep).await);
    assert_eq!(step.form("accept-charset").as_deref(), Some("windows-1252"));
    submit(&mut browser, &step).await;
    assert_eq!(stack.app.last().body, form);
}

fn multipart(parts: &[(&str, &str)]) -> String {
    let part = |(names, value): &(&str, &str)| {
        ["--B\r\nContent-Disposition: form-data; ", names, "\r\n\r\n", value, "\r\n"].concat()
    };
    parts.iter().map(part).collect::<String>() + "--B--\r\n"
}

#[tokio::test]
async fn a_multipart_form_without_files_is_kept_with_its_empty_file_field() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let kind = "multipart/form-data; boundary=B";
    let form = multipart(&[
        ("name=\"a\"", "1\r\n2"),
        ("name=\"up\"; filename=\"\"", ""),
        ("name=\"b\"", "\"><b>"),
    ]);
    let keep = kept(&post(&mut browser, "/upload", kind, form.as_bytes()).await);
    let step = StepPage::of(&sign_in_and_take(&mut browser, &keep).await);
    assert_eq!(step.form("enctype").as_deref(), Some("multipart/form-data"));
    let fields = [("hidden", "a", "1\r\n2"), ("file", "up", ""), ("hidden", "b", "\"><b>")];
    let fields = fields.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(step.fields(), fields);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_nothing_of_it_is_kept_or_sent() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let seen = stack.app.requests().len();
    let large = format!("a={}", "x".repeat(64 * 1024));
    let kind = "multipart/form-data; boundary=B";
    let with_file = multipart(&[("name=\"up\"; filename=\"a.txt\"", "content")]);
    for (kind, body, why) in [
        (URLENCODED, large.as_str(), "too large"),
        (kind, with_file.as_str(), "with files"),
        (kind, "--C--", "exactly as it is"),
        ("text/plain", "a=1", "exactly as it is"),
        (URLENCODED, "a=%00", "exactly as it is"),
    ] {
        let page = post(&mut browser, "/x", kind, body.as_bytes()).await;
        assert_eq!(page.status, 401, "{kind}");
        assert_eq!(page.header("www-authenticate"), Some("Bearer"));
        let text = page.text();
        assert!(text.contains("Your form was not sent") && text.contains(why), "{text}");
        assert!(!text.contains("<script") && page.set_cookies().is_empty(), "{text}");
    }
    let json = [NAVIGATE_SAME, &[("content-type", "application/json")]].concat();
    let form = [NAVIGATE_SAME, &[("content-type", URLENCODED)]].concat();
    let foreign = |site: &'static str| {
        let mut lines: Vec<_> =
            form.iter().copied().filter(|(name, _)| *name != "sec-fetch-site").collect();
        lines.push(("sec-fetch-site", site));
        lines
    };
    let old = |origin: &'static str| {
        vec![("accept", "text/html"), ("content-type", URLENCODED), ("origin", origin)]
    };
    for (method, headers) in [
        (Method::POST, json),
        (Method::PUT, form.clone()),
        (Method::POST, foreign("cross-site")),
        (Method::POST, foreign("same-site")),
        (Method::POST, foreign("none")),
        (Method::POST, old("null")),
        (Method::POST, old("https://evil.test")),
        (Method::POST, vec![("accept", "text/html"), ("content-type", URLENCODED)]),
    ] {
        let page = browser.request(method, "/x", &headers, Bytes::from_static(b"a=1")).await;
        assert_eq!(page.status, 401, "{headers:?}");
        assert_eq!(page.json()["error"], "login_required", "{headers:?}");
        assert!(page.set_cookies().is_empty());
    }
    assert_eq!(stack.app.requests().len(), seen);
}

#[tokio::test]
async fn a_browser_without_fetch_metadata_is_believed_by_its_origin() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    let origin = stack.origin();
    let headers =
        [("accept", "text/html"), ("content-type", URLENCODED), ("origin", origin.as_str())];
    let page = browser.request(Method::POST, "/x", &headers, Bytes::from_static(b"a=1")).await;
    kept(&page);
    // So our own pages must not make it say `null`.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
}

#[tokio::test]
async fn the_limit_is_the_configured_one_and_zero_keeps_nothing() {
    let stack = Setup::default().set("session.form_limit", "\"10\"").start().await;
    let mut browser = stack.browser();
    kept(&post(&mut browser, "/x", URLENCODED, b"a=12345678").await);
    let page = post(&mut browser, "/x", URLENCODED, b"a=123456789").await;
    assert!(page.status == 401 && page.text().contains("too large"), "{}", page.text());
    // A body that does not say how long it is is measured as it arrives.
    let host = stack.host();
    let answer = stack
        .raw(&format!(
            "POST /x HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: \
             same-origin\r\nContent-Type: {URLENCODED}\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n8\r\na=123456\r\n8\r\n78901234\r\n0\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("too large"), "{answer}");

    let stack = Setup::default().set("session.form_limit", "\"0\"").start().await;
    let page = post(&mut stack.browser(), "/x", URLENCODED, b"").await;
    assert_eq!((page.status.as_u16(), &page.json()["error"]), (401, &"login_required".into()));
}

#[tokio::test]
async fn another_user_neither_sends_nor_sees_the_form_and_its_author_still_can() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"secret=hunter2").await);
    browser = browser.as_user(BOB);
    let page = sign_in_and_take(&mut browser, &keep).await;
    assert_eq!(page.status, 403);
    let step = StepPage::of(&page);
    let text = page.text();
    assert!(text.contains("This form is not yours") && text.contains(BOB), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("<form"), "{text}");
    assert!(!text.contains(ALICE), "{text}");
    // The browser goes on keeping it, and goes nowhere by itself.
    assert_eq!((step.data("sealed"), step.data("next")), (keep.data("sealed"), None));
    assert_eq!(posts(&stack), 0);
    let link = "/.auth/login/aad?post_login_redirect_uri=%2F.auth%2Fform%3Fid%3D";
    let escaped = link.replace('/', "&#x2f;");
    assert!(text.contains(&escaped) && text.contains("prompt=select_account"), "{text}");
    browser = browser.as_user(ALICE);
    let name = keep.data("name").unwrap();
    let page = browser.navigate(&format!("{link}{name}")).await;
    let step = StepPage::of(&take(&mut browser, &keep, &page).await);
    submit(&mut browser, &step).await;
    assert_eq!((stack.app.last().body.as_slice(), posts(&stack)), (&b"secret=hunter2"[..], 1));
}

#[tokio::test]
async fn a_form_of_nobody_known_is_sent_only_when_the_user_says_so() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user(ALICE);
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"a=1").await);
    let page = sign_in_and_take(&mut browser, &keep).await;
    let step = StepPage::of(&page);
    assert_eq!(step.data("at"), None, "nothing is sent unasked");
    let text = page.text();
    assert!(text.contains("Send your form now?") && text.contains(ALICE), "{text}");
    assert!(text.contains("form=\"form\""), "a button that submits the form: {text}");
    assert_eq!(posts(&stack), 0);
    submit(&mut browser, &step).await;
    assert_eq!(posts(&stack), 1);
}

#[tokio::test]
async fn a_form_that_waited_is_sent_when_asked_and_after_an_hour_never() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"a=1").await);
    for (wait, status, at) in
        [(600, 200, Some("once")), (1, 200, None), (2_999, 200, None), (1, 410, None)]
    {
        stack.advance(wait);
        let page = sign_in_and_take(&mut browser, &keep).await;
        assert_eq!(page.status, status, "after {wait} more seconds");
        if status == 200 {
            assert_eq!(StepPage::of(&page).data("at").as_deref(), at);
        } else {
            assert!(!page.text().contains("<script"), "{}", page.text());
        }
    }
    assert_eq!(posts(&stack), 0);
}

#[tokio::test]
async fn j3_nothing_in_a_form_becomes_markup() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let evil = "\"'></form></script><script>alert(1)</script><!--\u{2028}{{ style }}&quot;";
    let encoded: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
    let form = format!("{encoded}={encoded}&submit=x&action=y&id=z&__proto__=p");
    let place = "/x?%22%3E%3Cscript%3E=%27";
    let keep = kept(&post(&mut browser, place, URLENCODED, form.as_bytes()).await);
    let page = sign_in_and_take(&mut browser, &keep).await;
    let step = StepPage::of(&page);
    assert!(!page.text().contains("alert(1)</script>"), "{}", page.text());
    assert_eq!(step.fields()[0], ("hidden".into(), evil.into(), evil.into()));
    submit(&mut browser, &step).await;
    assert_eq!(stack.app.last().target(), place);
    assert_eq!(String::from_utf8(stack.app.last().body).unwrap(), form);
}

#[tokio::test]
async fn h4_no_other_site_can_send_a_kept_form() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"a=1").await);
    browser.navigate("/").await;
    let form = Bytes::from(format!("sealed={}", keep.data("sealed").unwrap()));
    for site in ["cross-site", "same-site", "none"] {
        let headers = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", site),
            ("content-type", URLENCODED),
        ];
        let page = browser.request(Method::POST, "/.auth/form", &headers, form.clone()).await;
        assert_eq!(page.status, 403, "{site}");
        assert!(!page.text().contains("<form"), "{}", page.text());
    }
}

#[tokio::test]
async fn what_we_did_not_seal_is_no_form() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let session = browser.session_cookies()[0].1.clone();
    let other = Stack::start().await;
    let theirs = kept(&post(&mut other.browser(), "/x", URLENCODED, b"a=1").await);
    for sealed in ["x", "AAAA", &session, &session[5..], &theirs.data("sealed").unwrap()] {
        let form = format!("sealed={sealed}");
        let page = post(&mut browser, "/.auth/form", URLENCODED, form.as_bytes()).await;
        assert_eq!(page.status, 410, "{sealed}");
    }
    for form in ["", "sealed=", "sealed=a&sealed=b"] {
        let page = post(&mut browser, "/.auth/form", URLENCODED, form.as_bytes()).await;
        assert_eq!(page.status, 400, "{form}");
    }
    let long = format!("sealed={}", "A".repeat(200_000));
    assert_eq!(post(&mut browser, "/.auth/form", URLENCODED, long.as_bytes()).await.status, 400);
    for query in ["", "?id=", "?id=short", "?id=%22%3E%3Cscript%3Ealert(1)%3C/s%3E"] {
        let page = browser.get(&format!("/.auth/form{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(!page.text().contains("alert"), "{}", page.text());
    }
    assert_eq!(posts(&stack), 0);
}

#[tokio::test]
async fn a_session_that_ends_on_the_way_keeps_the_form_once_more() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"a=1").await);
    let form = format!("sealed={}", keep.data("sealed").unwrap());
    let page = post(&mut browser, "/.auth/form", URLENCODED, form.as_bytes()).await;
    let again = StepPage::of(&page);
    assert_eq!((page.status.as_u16(), again.data("sealed")), (401, keep.data("sealed")));
    let step = StepPage::of(&sign_in_and_take(&mut browser, &again).await);
    submit(&mut browser, &step).await;
    assert_eq!(posts(&stack), 1);
}

#[tokio::test]
async fn a_sign_in_that_was_cancelled_loses_nothing_and_sends_nothing() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let keep = kept(&post(&mut browser, "/x", URLENCODED, b"a=1").await);
    let page = browser.get(&keep.data("next").unwrap()).await;
    let location = page.location();
    let (_, state) = location.query_pairs().find(|(name, _)| name == "state").unwrap();
    let query = format!("error=access_denied&state={state}");
    let page = browser.get(&format!("/.auth/login/aad/callback?{query}")).await;
    assert_eq!(page.status, 403, "{}", page.text());
    // "Sign in again" leads to the form.
    let next = keep.data("next").unwrap().replace('/', "&#x2f;");
    assert!(page.text().contains(&format!("href=\"{next}\"")), "{}", page.text());
    assert_eq!(posts(&stack), 0);
    let step = StepPage::of(&sign_in_and_take(&mut browser, &keep).await);
    submit(&mut browser, &step).await;
    assert_eq!(posts(&stack), 1);
}

#[tokio::test]
async fn two_tabs_keep_two_forms() {
    let stack = Stack::start().await;
    let mut browser = alice_whose_session_has_ended(&stack).await;
    let first = kept(&post(&mut browser, "/one", URLENCODED, b"a=1").await);
    let second = kept(&post(&mut browser, "/two", URLENCODED, b"a=2").await);
    assert_ne!(first.data("name"), second.data("name"));
    for (keep, body) in [(&second, b"a=2"), (&first, b"a=1")] {
        let step = StepPage::of(&sign_in_and_take(&mut browser, keep).await);
        submit(&mut browser, &step).await;
        assert_eq!(stack.app.last().body, body);
    }
    assert_eq!(posts(&stack), 2);
}

#[tokio::test]
async fn a_form_on_the_anonymous_part_of_the_app_is_never_held_up() {
    let rules = "[[rules]]\npath = \"/public/*\"\naccess = \"anonymous\"\n";
    let stack = Setup::default().rules(rules).start().await;
    let page = post(&mut stack.browser(), "/public/form", URLENCODED, b"a=1").await;
    assert_eq!((page.status.as_u16(), posts(&stack)), (200, 1));
}
