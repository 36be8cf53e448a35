//! Requests that two parsers could read differently, and whoever would like to be somebody else.

use bytes::Bytes;
use http::Method;

use crate::support::{ALICE, FETCH, Setup, Stack};

const OPEN: &str = "[[rules]]\npath = \"/public/*\"\naccess = \"anonymous\"\n";

fn status(answer: &str) -> u16 {
    let code = answer.get(9..12).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    code.parse().unwrap()
}

#[tokio::test]
async fn a1_a2_a_forged_identity_header_never_reaches_the_app() {
    let stack = Setup::default()
        .set("identity.dialects", "[\"easy-auth\", \"oauth2-proxy\"]")
        .set(
            "identity.headers",
            "{ \"X-User\" = \"preferred_username\", \"X-Nothing\" = \"no_such_claim\" }",
        )
        .rules(OPEN)
        .start()
        .await;
    let mut browser = stack.signed_in(ALICE).await;
    let names = [
        "X-MS-CLIENT-PRINCIPAL",
        "X-MS-CLIENT-PRINCIPAL-ID",
        "X-MS-CLIENT-PRINCIPAL-NAME",
        "X-MS-CLIENT-PRINCIPAL-IDP",
        "X-MS-TOKEN-AAD-ACCESS-TOKEN",
        "X-MS-TOKEN-AAD-ID-TOKEN",
        "X-MS-TOKEN-AAD-REFRESH-TOKEN",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-User",
        "X-Nothing",
        "Authorization",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Forwarded",
        "X-Client-Cert",
        "X-Request-Id",
    ];
    for path in ["/", "/public/x"] {
        for name in names {
            let spellings = [
                name.to_owned(),
                name.to_ascii_uppercase(),
                name.replace('-', "_"),
                name.replace('-', "."),
                name.to_ascii_lowercase().replace('-', "_"),
            ];
            for spelling in spellings {
                let headers = [FETCH, &[(spelling.as_str(), "forged")]].concat();
                let page = browser.request(Method::GET, path, &headers, Bytes::new()).await;
                assert!(matches!(page.status.as_u16(), 200 | 400), "{spelling}: {}", page.status);
                if page.status == 200 {
                    let head = stack.app.last().head;
                    assert!(!head.contains("forged"), "{spelling} on {path}:\n{head}");
                }
            }
        }
    }
    // A4: nobody signed in, nothing to replace the forgery with, and still it is gone.
    let headers = [FETCH, &[("x-user", "forged"), ("x_user", "forged")]].concat();
    stack.browser().request(Method::GET, "/public/x", &headers, Bytes::new()).await;
    assert!(!stack.app.last().head.contains("forged"));
}

#[tokio::test]
async fn a5_a_connection_header_cannot_delete_what_we_say() {
    let stack = Setup::default()
        .set("identity.headers", "{ \"X-User\" = \"preferred_username\" }")
        .start()
        .await;
    let mut browser = stack.signed_in(ALICE).await;
    let nominated = "close, X-User, Authorization, X-Forwarded-For, Host, X-Request-Id, Cookie";
    let headers = [FETCH, &[("connection", nominated)]].concat();
    let page = browser.request(Method::GET, "/", &headers, Bytes::new()).await;
    assert_eq!(page.status, 200);
    let request = stack.app.last();
    assert_eq!(request.header("x-user"), Some(ALICE));
    assert!(request.header("authorization").is_some());
    assert!(request.header("x-forwarded-for").is_some());
}

#[tokio::test]
async fn a6_a_trailer_cannot_carry_an_identity() {
    let stack = Setup::default().rules(OPEN).start().await;
    let request = format!(
        "POST /public/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Forwarded-User\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-User: evil\r\n\r\n",
        stack.host()
    );
    assert_eq!(status(&stack.raw(&request).await), 200);
    let seen = stack.app.last();
    assert_eq!((seen.body.as_slice(), seen.trailers.as_str()), (b"x".as_slice(), ""));
    assert!(!seen.head.contains("evil"));
}

#[tokio::test]
async fn a9_a_bearer_token_of_the_callers_own_signs_nobody_in() {
    let stack = Setup::default().rules(OPEN).start().await;
    let headers = [FETCH, &[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")]].concat();
    let page = stack.browser().request(Method::GET, "/", &headers, Bytes::new()).await;
    assert_eq!(page.status, 401);
    stack.browser().request(Method::GET, "/public/x", &headers, Bytes::new()).await;
    assert!(stack.app.last().header("authorization").is_none());
}

#[tokio::test]
async fn b1_b3_b6_a_target_with_two_readings_is_refused() {
    let stack = Setup::default().rules(OPEN).start().await;
    for target in [
        "/public/..%2fadmin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%252e%252e/admin",
        "/public/..;/admin",
        "/public/%2e%2e%2fadmin",
        "/public/%5c..%5cadmin",
        "/public/x%00y",
        "/public/%zz",
        "/public/%ff",
        "//evil.test/a",
        "//public/x",
        "/public/./x",
        "/public/.",
        "/public/..",
        "/public\\..\\admin",
        "/%2fpublic",
        "*",
        "public/x",
        "http://evil.test/public/x",
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.host());
        let answer = stack.raw(&request).await;
        assert!(matches!(status(&answer), 400 | 404 | 421), "{target}: {answer}");
    }
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn b2_rules_see_the_path_alone_at_a_segment_boundary() {
    let stack = Setup::default().rules(OPEN).start().await;
    let mut browser = stack.browser();
    for path in [
        "/admin?x=/public/",
        "/publicity",
        "/publi",
        "/a/public/x",
        "/Public/x",
        "/admin;/public/x",
    ] {
        assert_eq!(browser.fetch(Method::GET, path).await.status, 401, "{path}");
    }
    for path in ["/public", "/public/", "/public/x?y=/admin"] {
        assert_eq!(browser.fetch(Method::GET, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn b5_b7_neither_headers_nor_user_agents_change_the_decision() {
    let stack = Setup::default().rules(OPEN).start().await;
    for header in [
        ("x-forwarded-uri", "/public/x"),
        ("x-original-url", "/public/x"),
        ("x-http-method-override", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
        ("user-agent", "kube-probe/1.33"),
        ("user-agent", "GoogleHC/1.0"),
        ("x-forwarded-host", "evil.test"),
    ] {
        let headers = [FETCH, &[header]].concat();
        let page = stack.browser().request(Method::GET, "/admin", &headers, Bytes::new()).await;
        assert_eq!(page.status, 401, "{header:?}");
    }
    for path in ["/metrics", "/readyz", "/livez", "/drain"] {
        assert_eq!(stack.browser().fetch(Method::GET, path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn f6_d9_exactly_our_host_is_served() {
    let stack = Setup::default().rules(OPEN).start().await;
    let port = stack.proxy.address().unwrap().port();
    let cases = [
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: LOCALHOST:{port}\r\n"), 200),
        ("Host: evil.test\r\n".to_owned(), 421),
        (format!("Host: localhost.evil.test:{port}\r\n"), 421),
        ("Host: localhost\r\n".to_owned(), 421),
        (String::new(), 400),
        (format!("Host: localhost:{port}\r\nHost: localhost:{port}\r\n"), 400),
        (format!("Host: localhost:{port}\r\nHost: evil.test\r\n"), 400),
        (format!("Host: user@localhost:{port}\r\n"), 400),
        (format!("Host: localhost:{port}/x\r\n"), 400),
        ("Host: localhost:99999\r\n".to_owned(), 400),
        ("Host: \r\n".to_owned(), 400),
    ];
    for (host, expected) in cases {
        let request = format!("GET /public/x HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        assert_eq!(status(&stack.raw(&request).await), expected, "{host}");
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: evil.test\r\nAccept: text/html\r\nConnection: close\r\n\
         X-Forwarded-Host: localhost:{port}\r\n\r\n"
    );
    let answer = stack.raw(&request).await;
    assert_eq!(status(&answer), 421);
    assert!(!answer.to_ascii_lowercase().contains("set-cookie"));
}

#[tokio::test]
async fn f2_f3_f9_f14_framing_tricks_and_odd_methods_are_refused() {
    let stack = Setup::default().rules(OPEN).start().await;
    let host = stack.host();
    for head in [
        "POST /public/x HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "POST /public/x HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n",
        "POST /public/x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST /public/x HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
        "POST /public/x HTTP/1.1\r\nContent-Length: 1, 1\r\n",
        "POST /public/x HTTP/1.1\r\nContent-Length: +1\r\n",
        "POST /public/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "CONNECT evil.test:80 HTTP/1.1\r\n",
        "TRACE /public/x HTTP/1.1\r\n",
        "GET /public/x HTTP/1.1\r\nX-Space : 1\r\n",
        "GET /public/x HTTP/1.1\r\nExpect: the unexpected\r\n",
        "GET /public/x HTTP/1.1\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ] {
        let request = format!("{head}Host: {host}\r\nConnection: close\r\n\r\n0\r\n\r\n");
        let answer = stack.raw(&request).await;
        assert!((400..=501).contains(&status(&answer)), "{head}: {answer}");
    }
    assert!(stack.app.requests().is_empty());
    // CL with TE: chunked alone counts and the connection closes; no second request appears.
    let request = format!(
        "POST /public/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
    );
    stack.raw(&request).await;
    assert!(stack.app.requests().iter().all(|request| !request.target().contains("smuggled")));
}

#[tokio::test]
async fn h4_another_sites_page_cannot_act_with_the_session() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let seen = stack.app.requests().len();
    for headers in [
        vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "https://evil.test")],
        vec![("origin", "null")],
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let page = browser.request(method, "/", &headers, Bytes::new()).await;
            assert_eq!(page.status, 403, "{headers:?}");
        }
        let page = browser.request(Method::POST, "/.auth/refresh", &headers, Bytes::new()).await;
        assert_eq!(page.status, 403, "{headers:?}");
    }
    assert_eq!(stack.app.requests().len(), seen);
    let own = stack.origin();
    for headers in [
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
        vec![("origin", own.as_str())],
        vec![],
    ] {
        assert_eq!(browser.request(Method::POST, "/", &headers, Bytes::new()).await.status, 200);
    }
    let cross = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(browser.request(Method::GET, "/", &cross, Bytes::new()).await.status, 200);
}

#[tokio::test]
async fn too_many_or_too_large_heads_are_refused() {
    let stack = Setup::default().rules(OPEN).start().await;
    let host = stack.host();
    let many: String = (0..120).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "a".repeat(70_000));
    for fields in [many, large] {
        let request =
            format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        assert_eq!(status(&stack.raw(&request).await), 431);
    }
    let long = "a".repeat(17_000);
    let request =
        format!("GET /public/{long} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&stack.raw(&request).await), 414);
    // 24 KB of the app's own cookies pass.
    let cookies = format!("a={}", "b".repeat(24_000));
    let request = format!(
        "GET /public/x HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&stack.raw(&request).await), 200);
}
