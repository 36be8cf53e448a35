//! What crosses between browser, proxy, app and network, and what must not.

use std::{collections::BTreeSet, path::Path};

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{ALICE, App, Browser, Fixture, KEY, Setup, Stack, vestibule};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {answer:?}")).parse().unwrap()
}

fn cookie_header(browser: &Browser) -> String {
    let pairs: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("Cookie: {}\r\n", pairs.join("; "))
}

#[tokio::test]
async fn a3_two_authorization_fields_never_become_one_that_somebody_chose() {
    for authorization in ["bearer", "none"] {
        let stack = Setup::default()
            .set("identity.authorization", &format!("\"{authorization}\""))
            .rules(
                "[[rules]]\npath = \"/hook\"\naccess = \"anonymous\"\npass_authorization = true\n",
            )
            .rules(ANYBODY)
            .start()
            .await;
        for place in ["/", "/hook"] {
            let answer = stack
                .raw(&format!(
                    "GET {place} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer one\r\nauthorization: Bearer two\r\n\
                     Connection: close\r\n\r\n",
                    stack.host()
                ))
                .await;
            assert_eq!(status(&answer), 400, "{authorization} {place}: {answer}");
        }
        assert!(stack.app.requests().is_empty());
    }
}

#[tokio::test]
async fn f8_f10_only_a_websocket_upgrade_passes_and_only_after_the_apps_101() {
    let stack = Setup::default().rules(ANYBODY).start().await;
    let host = stack.host();
    for upgrade in ["h2c", "TLS/1.0", "connect-udp", "websockets", "HTTP/2.0"] {
        let answer = stack
            .raw(&format!(
                "GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
            ))
            .await;
        assert!(matches!(status(&answer), 200 | 400), "{upgrade}: {answer}");
        if let Some(request) = stack.app.requests().last() {
            for name in ["upgrade", "http2-settings", "connection"] {
                assert!(request.all(name).is_empty(), "{upgrade}: {}", request.head);
            }
        }
    }
    // A second request behind an upgrade that the app does not grant is a request like any other,
    // judged on its own, or is never read: it is not carried through as bytes.
    let stack = Setup::default()
        .rules("[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n")
        .start()
        .await;
    let host = stack.host();
    let answer = stack
        .raw(&format!(
            "GET /open HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\
             GET /secret HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&answer), 200, "{answer}");
    let targets: Vec<String> =
        stack.app.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/open"], "{answer}");
    // A 101 that nobody asked for, or for something else, is the app's failure.
    let answer = stack
        .raw(&format!("GET /open HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
        .await;
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn h3_another_sites_page_opens_no_websocket_with_the_session() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let cookies = cookie_header(&browser);
    let (host, origin) = (stack.host(), stack.origin());
    let before = stack.app.requests().len();
    let handshake = |more: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\n{cookies}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        )
    };
    for more in [
        "Origin: http://evil.test\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: {origin}.evil.test\r\n"),
        "Origin: http://a.localhost\r\n".to_owned(),
        format!("Origin: {origin}\r\nSec-Fetch-Site: cross-site\r\n"),
        format!("Origin: {origin}\r\nSec-Fetch-Site: same-site\r\n"),
        format!("Origin: {origin}\r\nOrigin: http://evil.test\r\n"),
    ] {
        let request = handshake(&more).replace("Connection: Upgrade", "Connection: Upgrade, close");
        let answer = stack.raw(&request).await;
        assert!(matches!(status(&answer), 400 | 403), "{more}: {answer}");
    }
    assert_eq!(stack.app.requests().len(), before);
    for more in [
        format!("Origin: {origin}\r\n"),
        format!("Sec-Fetch-Site: same-origin\r\nOrigin: {origin}\r\n"),
        String::new(),
    ] {
        let mut socket = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
        socket.write_all(handshake(&more).as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            text.push(char::from(socket.read_u8().await.unwrap()));
        }
        assert_eq!(status(&text), 101, "{more}: {text}");
        socket.write_all(b"echo").await.unwrap();
        let mut echo = [0; 4];
        socket.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"echo");
    }
}

#[tokio::test]
async fn d7_long_return_targets_push_out_older_flows_and_the_jar_stays_one_cookie() {
    let stack = Stack::start().await;
    let mut browser = stack.browser();
    let mut states = Vec::new();
    for tab in 0..12 {
        let place = format!("/tab/{tab}?{}", "x".repeat(1_900));
        let page = browser.get(&place).await;
        assert_eq!(page.status, 302);
        for line in page.set_cookies() {
            let pair = line.split(';').next().unwrap();
            assert!(pair.len() <= 4096, "{}", pair.len());
            assert!(pair.starts_with("__Host-vestibule-flow="), "{line}");
        }
        states.push((place, page.location()));
    }
    // The newest always works.
    let (place, mut url) = states.pop().unwrap();
    url.query_pairs_mut().append_pair("login_hint", ALICE);
    let back = browser.get(url.as_str()).await.location();
    let page = browser.get(back.as_str()).await;
    assert_eq!(page.status, 303, "{}", page.text());
    assert_eq!(page.location().as_str(), format!("{}{place}", stack.origin()));
    // A target that is too long to be kept does not stop the sign-in.
    let mut browser = stack.browser().as_user(ALICE);
    let page = browser.navigate(&format!("/long?{}", "x".repeat(6_000))).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(["/long", "/"].contains(&page.url.path()), "{}", page.url);
}

#[tokio::test]
async fn e5_d6_a_smaller_session_leaves_no_cookie_of_a_larger_one() {
    let stack = Stack::start().await;
    let mut browser = stack.browser().as_user("carol@contoso.test");
    assert_eq!(browser.navigate("/").await.status, 200);
    let large = browser.session_cookies().len();
    let mut old = browser.clone();
    let mut browser = browser.as_user(ALICE);
    let page = browser.get("/.auth/login/aad?post_login_redirect_uri=/").await;
    let mut url = page.location();
    url.query_pairs_mut().append_pair("login_hint", ALICE);
    let back = browser.get(url.as_str()).await.location();
    let page = browser.get(back.as_str()).await;
    assert_eq!(page.status, 303);
    let small = browser.session_cookies().len();
    assert!(small <= large, "{small} {large}");
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    assert_eq!(me[0]["user_id"], ALICE);
    // Every index below the budget that is not used any more is taken away.
    let set: BTreeSet<String> =
        page.set_cookies().iter().map(|line| line.split('=').next().unwrap().to_owned()).collect();
    for name in ["__Host-vestibule", "__Host-vestibule-1"] {
        assert!(set.contains(name), "{set:?}");
    }
    // Parts of both together are nobody.
    for (name, value) in browser.session_cookies() {
        old.set_cookie(&name, &value);
    }
    let page = old.fetch(Method::GET, "/.auth/me").await;
    if page.status == 200 {
        assert_eq!(page.json()[0]["user_id"], ALICE);
    } else {
        assert_eq!(page.status, 401);
    }
}

#[tokio::test]
async fn e11_a_new_key_in_front_signs_nobody_out_and_a_removed_one_ends_in_a_clean_sign_in() {
    let fixture = Fixture::start("").await;
    let start = || vestibule([Path::new("run"), Path::new("--config"), &fixture.file]).start();
    let first = start();
    first.says("ready").await;
    let mut browser = Browser::new(&fixture.origin()).as_user(ALICE);
    assert_eq!(browser.navigate("/").await.status, 200);
    let mut under_way = Browser::new(&fixture.origin());
    let mut url = under_way.get("/later").await.location();
    url.query_pairs_mut().append_pair("login_hint", ALICE);
    first.signal("INT");
    assert_eq!(first.ended().await.code, 0);

    let new = vestibule(["keygen"]).ended().await.stdout.trim().to_owned();
    fixture.change(&format!("keys = [\"{KEY}\"]"), &format!("keys = [\"{new}\", \"{KEY}\"]"));
    let second = start();
    second.says("ready").await;
    assert_eq!(browser.navigate("/").await.hops.len(), 0);
    let back = under_way.get(url.as_str()).await.location();
    let page = under_way.get(back.as_str()).await;
    assert_eq!((page.status.as_u16(), page.location().path()), (303, "/later"), "{}", page.text());
    // Renewed, the session is sealed with the new key.
    assert_eq!(browser.fetch(Method::POST, "/.auth/refresh").await.status, 200);
    let mut old = browser.clone();
    second.signal("INT");
    assert_eq!(second.ended().await.code, 0);

    fixture.change(&format!("keys = [\"{new}\", \"{KEY}\"]"), &format!("keys = [\"{new}\"]"));
    let third = start();
    third.says("ready").await;
    assert_eq!(browser.navigate("/").await.hops.len(), 0, "sealed with the key that stayed");
    third.signal("INT");
    assert_eq!(third.ended().await.code, 0);

    fixture.change(&format!("keys = [\"{new}\"]"), &format!("keys = [\"{KEY}\"]"));
    let fourth = start();
    fourth.says("ready").await;
    let page = old.fetch(Method::GET, "/").await;
    assert_eq!(page.status, 401);
    assert!(page.set_cookies().is_empty());
    let page = old.get("/").await;
    assert_eq!(page.status, 302);
    assert!(
        old.session_cookies().is_empty(),
        "what opens no more is taken away: {:?}",
        page.set_cookies()
    );
    let mut old = old.as_user(ALICE);
    assert_eq!(old.navigate("/").await.status, 200);
    fourth.signal("INT");
    let ended = fourth.ended().await;
    assert!(!ended.stderr.contains(KEY) && !ended.stderr.contains(&new));
}

#[tokio::test]
async fn h1_neither_a_request_nor_a_proxy_variable_decides_where_the_app_is() {
    let fixture = Fixture::start(ANYBODY).await;
    let decoy = App::start().await;
    let mut program = vestibule([Path::new("run"), Path::new("--config"), &fixture.file]);
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
    {
        program = program.env(name, decoy.url());
    }
    let proxy = program.env("NO_PROXY", "127.0.0.1").start();
    proxy.says("ready").await;
    let own = format!("localhost:{}", fixture.port);
    for request in [
        format!("GET http://{}/x HTTP/1.1\r\nHost: {own}\r\n", decoy.address),
        format!("GET http://{}/x HTTP/1.1\r\nHost: {}\r\n", decoy.address, decoy.address),
        format!("GET /x HTTP/1.1\r\nHost: {}\r\n", decoy.address),
        format!(
            "GET /x HTTP/1.1\r\nHost: {own}\r\nX-Forwarded-Host: {0}\r\nX-Original-URL: http://{0}/\r\nForwarded: host={0}\r\n",
            decoy.address
        ),
        format!("CONNECT {} HTTP/1.1\r\nHost: {}\r\n", decoy.address, decoy.address),
        format!("GET /@{}/ HTTP/1.1\r\nHost: {own}\r\n", decoy.address),
        format!("GET :80@{}/ HTTP/1.1\r\nHost: {own}\r\n", decoy.address),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap();
        stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(matches!(status(&answer), 200 | 400 | 405 | 421 | 501), "{request}: {answer}");
    }
    assert!(decoy.requests().is_empty(), "{:?}", decoy.requests());
    let targets: Vec<String> =
        fixture.app.requests().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(targets, ["/x".to_owned(), format!("/@{}/", decoy.address)]);
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.code, 0);
}

#[tokio::test]
async fn d13_the_app_sees_no_byte_of_a_request_that_is_refused() {
    let stack =
        Setup::default().rules("[[rules]]\npath = \"/no\"\naccess = \"deny\"\n").start().await;
    let host = stack.host();
    let body = "x".repeat(100_000);
    for place in ["/api", "/no"] {
        for head in [
            format!(
                "POST {place} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n{body}"
            ),
            format!(
                "POST {place} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5000000000\r\n\r\n{body}"
            ),
            format!(
                "PUT {place} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{body}\r\n"
            ),
            format!(
                "POST {place} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            ),
        ] {
            let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
            // A proxy that has refused may stop reading: the rest of the body need not arrive.
            let _ = stream.write_all(head.as_bytes()).await;
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            let answer = std::str::from_utf8(&start).unwrap();
            assert!(["HTTP/1.1 401", "HTTP/1.1 403"].contains(&answer), "{answer}");
        }
    }
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn j11_nothing_that_was_sent_here_made_a_request_panic() {
    let stack = Setup::default().rules(ANYBODY).start().await;
    let host = stack.host();
    for odd in [
        "\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /%ff%fe%fd HTTP/1.1\r\nHost: H\r\n\r\n",
        "GET /?%ff&=&&a=%zz HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: H\r\nCookie: =;;=;__Host-vestibule=;__Host-vestibule-1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: H\r\nCookie: __Host-vestibule=\u{1}\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: H\r\nCookie: __Host-vestibule=4.AAAA; __Host-vestibule-1=AAAA\r\nConnection: close\r\n\r\n",
        "GET /.auth/login/aad/callback?code=&state=&iss=%00 HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n",
        "GET /.auth/logout/frontchannel?sid=%00&iss=%ff HTTP/1.1\r\nHost: H\r\nConnection: close\r\n\r\n",
        "POST /.auth/login/aad/callback HTTP/1.1\r\nHost: H\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nConnection: close\r\n\r\n%ff",
        "POST /.auth/login/aad/callback HTTP/1.1\r\nHost: H\r\nContent-Type: multipart/form-data\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: H\r\nX-Forwarded-For: ,,,;\u{ff}\r\nForwarded: for=\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: H\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nHost: evil\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
        stream
            .write_all(odd.replace("Host: H", &format!("Host: {host}")).as_bytes())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(std::time::Duration::from_secs(15), read).await;
        let _ = read.unwrap_or_else(|_| panic!("no end: {odd:?}"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 500"), "{odd:?}: {answer}");
    }
    assert_eq!(stack.browser().get("/").await.status, 200);
    let metrics = stack.admin("/metrics").await.text();
    assert!(metrics.contains("vestibule_panics_total 0\n"), "{metrics}");
}
