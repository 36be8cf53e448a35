//! HTTP/2 from the client, frame by frame: what means one thing reaches the app as HTTP/1.1, and
//! nothing else does (F, G of the threat list; RFC 9113, RFC 8441).

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::timeout};

use crate::support::{
    ALICE, Setup, Stack,
    h2::{self, DATA, END_HEADERS, END_STREAM, H2, HEADERS, Outcome, frame},
};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
const LARGE: &str = "[[rules]]\npath = \"/small\"\naccess = \"anonymous\"\nmax_body = \"10\"\n";

type Fields<'f> = Vec<(&'f str, &'f str)>;

async fn open() -> Stack {
    Setup::default().rules(ANYBODY).start().await
}

async fn connect(stack: &Stack) -> H2 {
    H2::connect(stack.proxy.address().unwrap()).await
}

fn request<'f>(
    method: &'f str,
    host: &'f str,
    path: &'f str,
    more: &[(&'f str, &'f str)],
) -> Fields<'f> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)];
    [&pseudo[..], more].concat()
}

#[tokio::test]
async fn a_request_with_prior_knowledge_reaches_the_app_as_http_1() {
    let stack = open().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let more =
        [("x-a", "1"), ("te", "trailers"), ("x-forwarded-user", "root"), ("authorization", "x")];
    let outcome = h2.ask(&request("GET", &host, "/x?y=%2f", &more)).await;
    let body = "hello from the app".to_owned();
    assert_eq!(outcome, Outcome::Answer { status: 200, body });
    let seen = stack.app.last();
    assert_eq!(seen.request_line(), "GET /x?y=%2f HTTP/1.1");
    assert_eq!(seen.header("host"), Some(host.as_str()));
    assert_eq!(seen.header("x-a"), Some("1"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some(host.as_str()));
    for name in ["te", "x-forwarded-user", "authorization", "connection", "transfer-encoding"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    // Many at once, each on its own.
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(h2.begin(&request("GET", &host, "/stream", &[]), true).await);
    }
    for path in ["/missing", "/nobody"] {
        let status = h2.ask(&request("GET", &host, path, &[])).await.status();
        assert_eq!(status, if path == "/missing" { 404 } else { 204 });
    }
    assert_eq!(h2.ask(&request("HEAD", &host, "/x", &[])).await.status(), 200);
    assert_eq!(streams.len(), 20);
}

#[tokio::test]
async fn a_body_and_its_end_arrive_and_its_trailers_do_not() {
    let stack = open().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let stream = h2.begin(&request("POST", &host, "/up", &[]), false).await;
    h2.send(&frame(DATA, 0, stream, b"one ")).await;
    h2.send(&frame(DATA, 0, stream, b"")).await;
    h2.send(&frame(DATA, 0, stream, b"two")).await;
    let trailers = h2::block(&[("x-forwarded-user", "root"), ("x-other", "1")]);
    h2.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers)).await;
    assert_eq!(h2.outcome(stream).await.status(), 200);
    // Nor is the body of a method lost that hardly ever has one.
    let search = h2.begin(&request("GET", &host, "/search", &[]), false).await;
    h2.send(&frame(DATA, END_STREAM, search, b"query")).await;
    assert_eq!(h2.outcome(search).await.status(), 200);
    assert_eq!(stack.app.last().body, b"query");
    let seen = stack.app.requests().swap_remove(0);
    assert_eq!(seen.body, b"one two");
    assert_eq!(seen.trailers, "");
    assert_eq!(seen.header("trailer"), None);
}

#[tokio::test]
async fn e12_cookie_crumbs_are_one_line_and_a_session_in_crumbs_is_one() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let host = stack.host();
    let ours: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut crumbs = vec![("cookie", "a=1")];
    crumbs.extend(ours.iter().map(|crumb| ("cookie", crumb.as_str())));
    crumbs.push(("cookie", "b=2; c=3"));
    let outcome = connect(&stack).await.ask(&request("GET", &host, "/", &crumbs)).await;
    assert_eq!(outcome.status(), 200);
    let seen = stack.app.last();
    assert_eq!(seen.all("cookie"), ["a=1; b=2; c=3"]);
    assert!(seen.header("authorization").unwrap().starts_with("Bearer "));
}

#[tokio::test]
async fn e14_g2_heads_have_the_limits_of_http_1() {
    let stack = open().await;
    let host = stack.host();
    let cookie = format!("a={}", "x".repeat(24 * 1024));
    let fits = format!("a={}", "x".repeat(62 * 1024));
    let large = "x".repeat(66 * 1024);
    let huge = "x".repeat(150 * 1024);
    let long = format!("/{}", "x".repeat(17 * 1024));
    let crumbs = vec![("cookie", "a=1"); 150];
    let many = vec![("x", "1"); 101];
    for (path, more, status) in [
        ("/", &[("cookie", cookie.as_str())][..], 200),
        ("/", &[("cookie", fits.as_str())], 200),
        ("/", &[("x", large.as_str())], 431),
        ("/", &[("x", huge.as_str())], 431),
        ("/", &crumbs, 200),
        ("/", many.get(..98).unwrap(), 200),
        ("/", &many, 431),
        (long.as_str(), &[], 414),
    ] {
        let mut h2 = connect(&stack).await;
        let fields = h2::block(&request("GET", &host, path, more));
        let stream = h2.next_stream();
        let mut pieces = fields.chunks(16_384).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let first = if kind == HEADERS { END_STREAM } else { 0 };
            h2.send(&frame(kind, first | last, stream, piece)).await;
            kind = h2::CONTINUATION;
        }
        let size: usize = more.iter().map(|(_, value)| value.len()).sum();
        assert_eq!(
            h2.outcome(stream).await.status(),
            status,
            "{} fields, {size} bytes",
            more.len()
        );
    }
    stack.metric_becomes("vestibule_refusals_total{reason=\"header_bytes\"}", 1).await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"many_fields\"}", 1).await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"long_target\"}", 1).await;
}

#[tokio::test]
async fn f6_one_host_that_is_ours() {
    let stack = open().await;
    let host = stack.host();
    for (authority, hosts, status) in [
        (Some(host.as_str()), &[host.as_str()][..], 200),
        (None, &[host.as_str()], 200),
        (Some("evil.test"), &[], 421),
        (None, &["evil.test"], 421),
        (Some(host.as_str()), &["evil.test"], 400),
        (Some("evil.test"), &[host.as_str()], 400),
        (Some(host.as_str()), &[host.as_str(), host.as_str()], 400),
        (None, &[], 400),
        (Some("u@evil.test"), &[], 0),
        (Some("localhost:0"), &[], 0),
        (Some("localhost:99999"), &[], 0),
        (Some("localhost/x"), &[], 0),
        (Some(""), &[], 0),
        (None, &["localhost/x"], 400),
        (None, &["u@localhost"], 400),
    ] {
        let before = stack.app.requests().len();
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/")];
        fields.extend(authority.map(|authority| (":authority", authority)));
        fields.extend(hosts.iter().map(|host| ("host", *host)));
        let outcome = connect(&stack).await.ask(&fields).await;
        match status {
            0 => {
                assert!(
                    matches!(outcome.status(), 0 | 400),
                    "{authority:?} {hosts:?}: {outcome:?}"
                );
            }
            status => assert_eq!(outcome.status(), status, "{authority:?} {hosts:?}"),
        }
        let reached = stack.app.requests().len() - before;
        assert_eq!(reached, usize::from(status == 200), "{authority:?} {hosts:?}");
    }
}

#[tokio::test]
async fn f7_what_could_become_another_request_in_http_1_reaches_nobody() {
    let stack = open().await;
    let host = stack.host();
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields = request("GET", "HOST", "/", &[]);
        fields.extend(more);
        fields
    };
    let pseudo = |name: &'static str, value: &'static str| {
        let mut fields = request("GET", "HOST", "/", &[]);
        for field in &mut fields {
            if field.0 == name {
                field.1 = value;
            }
        }
        fields
    };
    let without = |name: &str| {
        let fields = request("GET", "HOST", "/", &[]).into_iter();
        fields.filter(|field| field.0 != name).collect::<Fields<'_>>()
    };
    for fields in [
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x:y", "1")]),
        with(&[("x\r\ny", "1")]),
        with(&[("", "1")]),
        with(&[("x\u{0}", "1")]),
        with(&[("x\u{e4}", "1")]),
        with(&[("x", "a\r\nX-Forwarded-User: root")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\u{0}b")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "x")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
        with(&[("content-length", "1, 1")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "x")]),
        with(&[("authorization", "a"), ("authorization", "b")]),
        with(&[("expect", "200-ok")]),
        with(&[(":method", "POST")]),
        with(&[(":path", "/other")]),
        with(&[(":status", "200")]),
        with(&[(":odd", "1")]),
        with(&[("x", "1"), (":authority", "HOST")]),
        pseudo(":path", ""),
        pseudo(":path", "admin"),
        pseudo(":path", "?x"),
        pseudo(":path", "*"),
        pseudo(":path", "/a b"),
        pseudo(":path", "/a HTTP/1.1\r\nX: y\r\n\r\nGET /b"),
        pseudo(":path", "//evil.test/"),
        pseudo(":path", "/a/../b"),
        pseudo(":path", "/a/%2e%2e/b"),
        pseudo(":path", "/a%2f..%2fb"),
        pseudo(":path", "/a\\b"),
        pseudo(":path", "/a%00"),
        pseudo(":path", "/%zz"),
        pseudo(":path", "http://evil.test/"),
        pseudo(":method", "GE T"),
        pseudo(":method", ""),
        pseudo(":method", "GET / HTTP/1.1\r\nx: y"),
        pseudo(":method", "TRACE"),
        pseudo(":method", "CONNECT"),
        pseudo(":scheme", "ftp"),
        pseudo(":scheme", "ht tp"),
        without(":method"),
        without(":scheme"),
        without(":path"),
    ] {
        let fields: Fields<'_> = fields
            .into_iter()
            .map(|(name, value)| (name, if value == "HOST" { host.as_str() } else { value }))
            .collect();
        let mut h2 = connect(&stack).await;
        let outcome = h2.ask(&fields).await;
        let refused = matches!(outcome.status(), 0 | 400 | 405 | 417);
        assert!(refused, "{fields:?}: {outcome:?}");
        assert!(stack.app.requests().is_empty(), "{fields:?}");
    }
}

#[tokio::test]
async fn f7_a_body_is_as_long_as_it_says_or_it_is_no_request() {
    let stack = open().await;
    let host = stack.host();
    for (length, body) in [("3", "four"), ("9", "four")] {
        let mut h2 = connect(&stack).await;
        let fields = request("POST", &host, "/up", &[("content-length", length)]);
        let stream = h2.begin(&fields, false).await;
        h2.send(&frame(DATA, END_STREAM, stream, body.as_bytes())).await;
        let outcome = h2.outcome(stream).await;
        assert!(matches!(outcome.status(), 0 | 400), "{length}: {outcome:?}");
        // What had begun before the lie showed was broken off and never completed.
        let whole = stack.app.requests().into_iter().any(|request| request.body == body.as_bytes());
        assert!(!whole, "{length}");
    }
}

#[tokio::test]
async fn f9_connect_is_a_tunnel_to_nobody() {
    let stack = open().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let plain = [(":method", "CONNECT"), (":authority", host.as_str())];
    assert_eq!(h2.ask(&plain).await.status(), 405);
    let odd = [(":protocol", "connect-udp")];
    let fields = request("CONNECT", &host, "/ws", &odd);
    assert_eq!(h2.ask(&fields).await.status(), 405);
    assert!(stack.app.requests().is_empty());
}

/// RFC 8441 §5: the handshake, and bytes both ways in DATA frames.
#[tokio::test]
async fn a_web_socket_over_http_2_is_one_to_the_http_1_app() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let (host, origin) = (stack.host(), stack.origin());
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cookies = cookies.join("; ");
    let handshake = |origin| {
        let more = [
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("cookie", cookies.as_str()),
            ("origin", origin),
        ];
        request("CONNECT", &host, "/ws", &more)
    };
    let mut h2 = connect(&stack).await;
    let before = stack.app.requests().len();
    // H3: another site's page, and nobody.
    assert_eq!(h2.ask(&handshake("https://evil.test")).await.status(), 403);
    let nobody: Fields<'_> =
        handshake(&origin).into_iter().filter(|(name, _)| *name != "cookie").collect();
    assert_eq!(h2.ask(&nobody).await.status(), 401);
    assert_eq!(stack.app.requests().len(), before);

    let stream = h2.begin(&handshake(&origin), false).await;
    h2.send(&frame(DATA, 0, stream, b"\x81\x83abcd")).await;
    let (mut answered, mut echoed) = (false, Vec::new());
    while echoed.len() < 6 {
        let frame = h2.frame().await.expect("the tunnel stands");
        if frame.stream == stream && frame.kind == HEADERS {
            assert_eq!(frame.payload.iter().find(|byte| **byte & 0xe0 != 0x20), Some(&0x88));
            assert_eq!(frame.flags & END_STREAM, 0);
            answered = true;
        } else if frame.stream == stream && frame.kind == DATA {
            echoed.extend(frame.payload);
        }
    }
    assert!(answered);
    assert_eq!(echoed, b"\x81\x83abcd");
    let seen = stack.app.last();
    assert_eq!(seen.request_line(), "GET /ws HTTP/1.1");
    assert_eq!(seen.header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(seen.header("sec-websocket-key").unwrap().len(), 24);
    assert!(seen.header("authorization").is_some());
    // Requests go on beside the tunnel, and the tunnel ends when its client ends it.
    assert_eq!(h2.ask(&request("GET", &host, "/", &[("cookie", &cookies)])).await.status(), 200);
    h2.send(&frame(DATA, END_STREAM, stream, b"")).await;
    let ended = async {
        while stack.metric("vestibule_tunnels").await > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    // An app that does not switch has answered.
    let missing =
        request("CONNECT", &host, "/missing", &[(":protocol", "websocket"), ("cookie", &cookies)]);
    assert_eq!(h2.ask(&missing).await.status(), 404);
    // And a 200 is no tunnel.
    let plain =
        request("CONNECT", &host, "/plain", &[(":protocol", "websocket"), ("cookie", &cookies)]);
    assert_eq!(h2.ask(&plain).await.status(), 502);
}

#[tokio::test]
async fn a_connection_with_nothing_but_a_web_socket_is_not_idle() {
    let stack =
        Setup::default().rules(ANYBODY).set("server.limits.idle_time", "\"400ms\"").start().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let fields = request("CONNECT", &host, "/ws", &[(":protocol", "websocket")]);
    let stream = h2.begin(&fields, false).await;
    for message in ["first", "second"] {
        h2.send(&frame(DATA, 0, stream, message.as_bytes())).await;
        let echoed = async {
            loop {
                let frame = h2.frame().await.expect("the tunnel stands");
                if frame.stream == stream && frame.kind == DATA && !frame.payload.is_empty() {
                    return frame.payload;
                }
            }
        };
        assert_eq!(echoed.await, message.as_bytes());
        // The silence is what is tried.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert_eq!(h2.goaway, None);
    h2.send(&frame(DATA, END_STREAM, stream, b"")).await;
    assert_eq!(h2.end().await, Some(0));
}

#[tokio::test]
async fn a_closing_proxy_says_goaway_and_finishes_what_it_has() {
    let stack = open().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let stream = h2.begin(&request("GET", &host, "/stream", &[]), true).await;
    while h2.frame().await.is_none_or(|frame| frame.kind != DATA) {}
    stack.proxy.lifecycle().close();
    while h2.goaway.is_none() {
        h2.frame().await.expect("GOAWAY comes first");
    }
    assert_eq!(h2.goaway, Some(0));
    stack.app.release();
    let mut rest = Vec::new();
    while let Some(frame) = h2.frame().await {
        if frame.stream == stream && frame.kind == DATA {
            rest.extend(frame.payload);
        }
    }
    assert_eq!(rest, b"second\n");
}

#[tokio::test]
async fn a_body_beyond_the_rules_limit_is_413_whether_it_is_announced_or_not() {
    let stack = Setup::default().rules(LARGE).start().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    let announced = request("POST", &host, "/small", &[("content-length", "11")]);
    let stream = h2.begin(&announced, false).await;
    assert_eq!(h2.outcome(stream).await.status(), 413);
    assert!(stack.app.requests().is_empty());
    let stream = h2.begin(&request("POST", &host, "/small", &[]), false).await;
    h2.send(&frame(DATA, 0, stream, b"0123456")).await;
    h2.send(&frame(DATA, END_STREAM, stream, b"789ab")).await;
    assert_eq!(h2.outcome(stream).await.status(), 413);
    let stream = h2.begin(&request("POST", &host, "/small", &[]), false).await;
    h2.send(&frame(DATA, END_STREAM, stream, b"0123456789")).await;
    assert_eq!(h2.outcome(stream).await.status(), 200);
    assert_eq!(stack.app.last().body, b"0123456789");
}

#[tokio::test]
async fn g1_silence_a_slow_head_and_an_idle_connection_end_on_time() {
    let stack = Setup::default()
        .rules(ANYBODY)
        .set("server.limits.header_time", "\"300ms\"")
        .set("server.limits.idle_time", "\"600ms\"")
        .start()
        .await;
    let host = stack.host();
    let address = stack.proxy.address().unwrap();
    // Half a preface; a preface alone; one with settings.
    for said in [&h2::PREFACE[..10], h2::PREFACE] {
        let mut silent = H2::silent(address).await;
        silent.send(said).await;
        silent.end().await;
    }
    connect(&stack).await.end().await;
    // A head whose end does not come, while an answer is on its way.
    let mut slow = connect(&stack).await;
    let running = slow.begin(&request("GET", &host, "/stream", &[]), true).await;
    let stream = slow.next_stream();
    slow.send(&frame(HEADERS, END_STREAM, stream, &h2::block(&[(":method", "GET")]))).await;
    assert!(running < stream);
    slow.end().await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"slow_head\"}", 4).await;
    // Pings do not keep an idle connection.
    let mut idle = connect(&stack).await;
    assert_eq!(idle.ask(&request("GET", &host, "/", &[])).await.status(), 200);
    idle.send(&frame(h2::PING, 0, 0, &[0; 8])).await;
    assert_eq!(idle.end().await, Some(0));
    stack.metric_becomes("vestibule_idle_connections_closed_total", 1).await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"slow_head\"}", 4).await;
}

#[tokio::test]
async fn g4_a_reader_without_a_window_loses_its_stream_and_no_other() {
    let stack =
        Setup::default().rules(ANYBODY).set("server.limits.write_time", "\"500ms\"").start().await;
    let host = stack.host();
    let mut h2 = H2::silent(stack.proxy.address().unwrap()).await;
    h2.send(h2::PREFACE).await;
    // No table, and no window for any stream.
    h2.send(&frame(h2::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0])).await;
    let stream = h2.begin(&request("GET", &host, "/", &[]), true).await;
    loop {
        let frame = h2.frame().await.expect("the connection stays");
        if frame.stream == stream && frame.kind == h2::RST_STREAM {
            break;
        }
        assert!(frame.stream != stream || frame.kind == HEADERS, "{frame:?}");
    }
    assert_eq!(h2.ask(&request("GET", &host, "/nobody", &[])).await.status(), 204);
    stack.metric_becomes("vestibule_refusals_total{reason=\"slow_reader\"}", 1).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_may_be_sent_again() {
    let stack = Setup::default().rules(ANYBODY).set("server.limits.streams", "2").start().await;
    let host = stack.host();
    let mut h2 = connect(&stack).await;
    for _ in 0..2 {
        h2.begin(&request("GET", &host, "/stream", &[]), true).await;
    }
    let outcome = h2.ask(&request("GET", &host, "/", &[])).await;
    // REFUSED_STREAM: not a byte of it was looked at (RFC 9113 §8.7).
    assert_eq!(outcome, Outcome::Reset(7));
    stack.metric_becomes("vestibule_refusals_total{reason=\"streams\"}", 1).await;
}

#[tokio::test]
async fn a_preface_that_goes_wrong_is_no_http_1_request_either() {
    let stack = open().await;
    let mut odd = H2::silent(stack.proxy.address().unwrap()).await;
    odd.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), odd.stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    assert!(stack.app.requests().is_empty());
}
