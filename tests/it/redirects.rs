//! C1-C3: whatever a link asks for, a browser that signs in or out stays on our origin.

use std::fmt::Write as _;

use url::Url;

use crate::support::{ALICE, Stack};

/// Places that browsers, or careless readers of URLs, would follow to somewhere else. `{host}` is
/// our own `host:port`.
fn corpus(host: &str) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    let evil = "evil.test";
    // Everything that can stand before a host.
    for lead in [
        "//",
        "///",
        "////",
        "/////",
        "\\\\",
        "\\/",
        "/\\",
        "/\\/",
        "\\/\\/",
        "//\\",
        "\\\\\\\\",
        "/\t/",
        "/\n/",
        "/\r/",
        "/\u{b}/",
        "/\u{c}/",
        "/\0/",
        "/ /",
        "\t//",
        "\n//",
        "\r\n//",
        " //",
        "\u{a0}//",
        "\u{feff}//",
        "\u{3000}//",
        "http://",
        "https://",
        "HTTP://",
        "hTTps://",
        "http:/",
        "https:",
        "http:",
        "http:///",
        "https:////",
        "http:\\\\",
        "https:/\\",
        "ftp://",
        "ws://",
        "file://",
        "//\t",
        "//\n",
        "/.//",
        "/..//",
        "/./\\",
        "/a/..//",
        "/%2e%2e//",
        "/.;//",
        "/%09/",
        "/%0d/",
        "/%0a/",
        "/%5c",
        "/%5c%5c",
        "/%2f",
        "/%2f%2f",
        "%2f%2f",
        "%5c%5c",
        "/%00/",
        "\u{2f}\u{ff0f}",
        "\u{ff0f}\u{ff0f}",
        "\u{2044}\u{2044}",
        "/\u{ff0f}",
        "/\u{2215}",
        "/\u{29f8}",
        "/\u{a5}",
        "/\u{20a9}",
        ";//",
        "?//",
        "#//",
        ".//",
        "..//",
        "../..//",
        ":////",
        "://",
        "/:/",
        "///\\;@",
        "//;@",
        "//@",
        "//:@",
        "/?@",
        "x://",
        "url:http://",
        "view-source:http://",
        "blob:http://",
        "jar:http://",
        "http://http://",
        "//www.",
        "//www.google.com%2f@",
        "//a:b@",
    ] {
        places.push(format!("{lead}{evil}"));
        places.push(format!("{lead}{evil}/path?query#fragment"));
    }
    // Everything that makes our own name part of another's.
    for (before, after) in [
        ("http://", ".evil.test/"),
        ("http://", "@evil.test/"),
        ("http://", ":80@evil.test/"),
        ("http://", "\\@evil.test/"),
        ("http://", "%40evil.test/"),
        ("http://", "%2eevil.test/"),
        ("http://", "\u{3002}evil.test/"),
        ("http://", "%00.evil.test/"),
        ("http://", "1/"),
        ("http://evil.test/", ""),
        ("http://evil.test?", ""),
        ("http://evil.test#", ""),
        ("http://evil.test\\@", ""),
        ("http://evil.test#@", "/"),
        ("http://evil.test;", ""),
        ("https://", "/"),
        ("//evil-", "/"),
        ("http://evil", ""),
        ("ftp://", "/"),
        ("http://x@", ".test"),
        ("http://", "?@evil.test"),
        ("http://", "#@evil.test"),
        ("http:////", ".evil.test"),
    ] {
        places.push(format!("{before}{host}{after}"));
    }
    // Everything that is no place at all.
    for place in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "java\nscript:alert(1)",
        "\u{1}javascript:alert(1)",
        " javascript:alert(1)",
        "javascript://localhost/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "data:text/html;base64,PHNjcmlwdD4=",
        "vbscript:x",
        "about:blank",
        "mailto:x@evil.test",
        "tel:1",
        "evil.test",
        "evil.test/",
        "www.evil.test",
        "/\u{202e}tset.live//",
        "/a\r\nLocation: http://evil.test/",
        "/a\r\nSet-Cookie: x=y",
        "/a%0d%0aLocation:%20http://evil.test/",
        "/a\u{560a}b",
        "",
        " ",
        "/ ",
        "?",
        "#",
        ".",
        "..",
        "http://0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://127.1/",
        "http://localhost/",
        "http://localhost:1/",
        "http://LOCALHOST.:80/",
        "//localhost",
        "http://\u{24d4}vil.test/",
        "http://evil\u{3002}test/",
        "http://evil.test\u{ff0e}/",
        "//[",
        "http://xn--/",
        "/<script>alert(1)</script>",
        "/\"onmouseover=\"alert(1)",
        "/'><img src=x>",
    ] {
        places.push(place.to_owned());
    }
    places
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        write!(encoded, "%{byte:02X}").unwrap();
    }
    encoded
}

/// A value as it is put into a query: as far as a request line allows, once and twice encoded.
fn spellings(place: &str) -> Vec<String> {
    let raw = place.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    let mut spellings = vec![encoded(place), encoded(&encoded(place))];
    // What would end the value, or the request's path, is for the other spellings.
    if raw && !place.contains(['#', '&', '\\', '"', '<', '>', '`', '{', '}', '^', '|']) {
        spellings.push(place.to_owned());
    }
    spellings
}

/// Follows a `Location` as a browser does, by the URL Standard, and says whether it stays.
fn stays(location: &Url, origin: &str) -> bool {
    let ours = Url::parse(origin).unwrap();
    location.origin() == ours.origin()
        && !location.path().starts_with("//")
        && !location.path().starts_with("/\\")
        && location.username().is_empty()
}

#[test]
fn the_corpus_is_large_and_most_of_it_leaves_when_believed() {
    let places = corpus("localhost:1");
    assert!(places.len() >= 150, "{}", places.len());
    let base = Url::parse("http://localhost:1/").unwrap();
    let leaves = places
        .iter()
        .filter(|place| base.join(place).is_ok_and(|url| !stays(&url, "http://localhost:1")));
    assert!(leaves.count() >= 75);
}

#[tokio::test]
async fn c1_no_sign_in_ends_elsewhere() {
    let stack = Stack::start().await;
    let origin = stack.origin();
    for place in corpus(&stack.host()) {
        for spelling in spellings(&place) {
            let mut browser = stack.browser();
            let login =
                format!("/.auth/login/aad?login_hint={ALICE}&post_login_redirect_uri={spelling}");
            let page = browser.get(&login).await;
            assert_eq!(page.status, 302, "{spelling}: {}", page.text());
            let back = browser.get(page.location().as_str()).await.location();
            assert!(back.as_str().starts_with(&origin), "{spelling}");
            let page = browser.get(back.as_str()).await;
            assert_eq!(page.status, 303, "{spelling}: {}", page.text());
            let text = page.header("location").unwrap();
            assert!(text.starts_with(&format!("{origin}/")), "{spelling} → {text}");
            assert!(stays(&page.location(), &origin), "{spelling} → {text}");
            assert!(page.body.is_empty(), "{spelling}");
        }
    }
}

#[tokio::test]
async fn c3_no_sign_out_ends_elsewhere() {
    let stack = Stack::start().await;
    let origin = stack.origin();
    for place in corpus(&stack.host()) {
        for spelling in spellings(&place) {
            let mut browser = stack.browser();
            let page =
                browser.get(&format!("/.auth/logout?post_logout_redirect_uri={spelling}")).await;
            assert_eq!(page.status, 302, "{spelling}: {}", page.text());
            let microsoft = page.location();
            assert!(microsoft.as_str().starts_with(&stack.emulator.origin()), "{spelling}");
            let back = microsoft.query_pairs().find(|(name, _)| name == "post_logout_redirect_uri");
            let back = back.unwrap().1.into_owned();
            assert_eq!(back, format!("{origin}/.auth/login/aad/callback"), "{spelling}");
            let page = browser.get(&back).await;
            if page.status == 303 {
                let text = page.header("location").unwrap();
                assert!(text.starts_with(&format!("{origin}/")), "{spelling} → {text}");
                assert!(stays(&page.location(), &origin), "{spelling} → {text}");
            } else {
                assert_eq!(page.status, 200, "{spelling}");
                assert!(!page.text().contains("evil"), "{spelling}");
            }
            // The page with the button, for another site's link, carries it on just as safely.
            let headers = [
                ("accept", "text/html"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-site", "cross-site"),
            ];
            let place = format!("/.auth/logout?post_logout_redirect_uri={spelling}");
            let page =
                browser.request(http::Method::GET, &place, &headers, bytes::Bytes::new()).await;
            assert_eq!(page.status, 200, "{spelling}");
            let html = page.text();
            for attribute in ["action=\"", "href=\""] {
                for value in html.split(attribute).skip(1) {
                    let value = value.split('"').next().unwrap();
                    let value = value.replace("&#x2f;", "/").replace("&amp;", "&");
                    assert!(
                        value.starts_with('/') && !value.starts_with("//"),
                        "{spelling}: {value}"
                    );
                }
            }
            assert!(!html.contains("<script>alert") && !html.contains("<img src=x"), "{spelling}");
        }
    }
}

#[tokio::test]
async fn c2_the_path_that_was_asked_for_leads_back_to_our_origin_or_is_refused() {
    let stack = Stack::start().await;
    let (origin, host) = (stack.origin(), stack.host());
    let mut begun = 0;
    for place in corpus(&host) {
        let paths =
            [place.clone(), format!("/{place}"), encoded(&place), format!("/{}", encoded(&place))];
        for path in paths.iter().chain(&spellings(&place)) {
            // A space or a line end would end the target or the field.
            if path.is_empty()
                || path
                    .bytes()
                    .any(|byte| matches!(byte, b' ' | b'\r' | b'\n' | b'\0' | b'\t' | 0xb | 0xc))
            {
                continue;
            }
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
            );
            let answer = stack.raw(&request).await;
            let status: u16 = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0);
            if status != 302 {
                assert!(matches!(status, 400 | 414 | 421), "{path}: {answer}");
                continue;
            }
            begun += 1;
            let field = |name: &str| {
                let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
                line.unwrap().split_once(": ").unwrap().1.to_owned()
            };
            let jar = field("set-cookie: ");
            let (name, value) = jar.split(';').next().unwrap().split_once('=').unwrap();
            let mut browser = stack.browser().as_user(ALICE);
            browser.set_cookie(name, value);
            let mut url = Url::parse(&field("location: ")).unwrap();
            url.query_pairs_mut().append_pair("login_hint", ALICE);
            let back = browser.get(url.as_str()).await.location();
            let page = browser.get(back.as_str()).await;
            assert_eq!(page.status, 303, "{path}");
            let text = page.header("location").unwrap();
            assert!(text.starts_with(&format!("{origin}/")), "{path} → {text}");
            assert!(stays(&page.location(), &origin), "{path} → {text}");
        }
    }
    assert!(begun > 20, "{begun}");
}
