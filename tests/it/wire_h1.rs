//! HTTP/1.1 byte by byte, from the client and from the app: nothing that two parsers could cut
//! differently passes, and no second request appears (F, G of the threat list; RFC 9112).

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{ALICE, Setup, Stack};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
const PATIENCE: Duration = Duration::from_secs(20);

async fn open() -> Stack {
    Setup::default().rules(ANYBODY).start().await
}

/// The statuses of all answers in `text`. No body of ours or of the test's app has such a line.
fn statuses(text: &str) -> Vec<u16> {
    let heads = text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12));
    heads.filter_map(|status| status.parse().ok()).collect()
}

/// Sends bytes (each char is one), says nothing more, and reads to the end.
async fn bytes(stack: &Stack, request: &str) -> String {
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let request: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let _ = stream.write_all(&request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    answer.iter().map(|byte| char::from(*byte)).collect()
}

/// What is sent behind each odd request, as a smuggler would.
fn smuggled(host: &str) -> String {
    format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-User: root\r\n\r\n")
}

#[tokio::test]
async fn f1_f2_f3_f4_a_head_with_two_readings_is_refused_and_ends_the_connection() {
    let stack = open().await;
    let host = stack.host();
    for fields in [
        // F1: a length and a coding.
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length : 4\r\n",
        "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n",
        // F2: codings.
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{a0}\r\n",
        "Transfer-Encoding: chunked\u{0}\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        // F3: lengths.
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4_0\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length: 4;q\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: \u{b2}\r\n",
        // F4: lines.
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        " X: a\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        "X\u{0}: a\r\n",
        "X: a\u{0}b\r\n",
        "X: a\rb\r\n",
        "X\r: a\r\n",
        ": a\r\n",
        "X\r\n",
        "X y: a\r\n",
        "X\u{e4}: a\r\n",
        "(X): a\r\n",
        // Elsewhere.
        "Authorization: a\r\nAuthorization: b\r\n",
        "Expect: 200-ok\r\n",
    ] {
        let request =
            format!("POST /odd HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{}", smuggled(&host));
        let answer = bytes(&stack, &request).await;
        let statuses = statuses(&answer);
        // Two of them say nothing about where the request ends.
        let clear = fields.starts_with("Authorization") || fields.starts_with("Expect");
        let refused = matches!(statuses.as_slice(), [400 | 417 | 501]) || clear;
        assert!(refused, "{fields:?}: {answer}");
        for seen in stack.app.requests() {
            assert!(
                clear && seen.target() == "/smuggled",
                "{fields:?} reached the app:\n{}",
                seen.head
            );
            assert_eq!(seen.header("x-forwarded-user"), None);
        }
    }
}

#[tokio::test]
async fn f4_what_hyper_reads_leniently_leaves_in_the_canonical_form() {
    let stack = open().await;
    let host = stack.host();
    let answer = bytes(&stack, &format!("GET /bare HTTP/1.1\nHost: {host}\nX:  a \t\n\n")).await;
    assert!(matches!(statuses(&answer).as_slice(), [200 | 400]), "{answer}");
    for seen in stack.app.requests() {
        // The recorder keeps lines as they were; each ended in CR LF.
        assert!(seen.head.starts_with("GET /bare HTTP/1.1\r\n"), "{:?}", seen.head);
        assert_eq!(seen.head.matches('\n').count(), seen.head.matches("\r\n").count());
        assert!(seen.head.contains("\r\nX: a\r\n"), "{:?}", seen.head);
    }
    let twice = "Content-Length: 4\r\nContent-Length: 4\r\n";
    bytes(&stack, &format!("POST /twice HTTP/1.1\r\nHost: {host}\r\n{twice}\r\nbody")).await;
    assert_eq!(stack.app.last().all("content-length"), ["4"]);
    bytes(
        &stack,
        &format!("POST /zero HTTP/1.1\r\nHost: {host}\r\nContent-Length: 04\r\n\r\nbody"),
    )
    .await;
    assert_eq!(stack.app.last().all("content-length"), ["4"]);
}

#[tokio::test]
async fn f5_a_broken_chunk_is_never_a_whole_body_for_the_app() {
    let stack = open().await;
    let host = stack.host();
    let head = format!("POST /up HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let endless = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(200_000));
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n",
        "3\r\nabc\r\n0\r\n",
        "3\r\nabc\r\n0\r\nX: y",
        &endless,
    ] {
        let before = stack.app.whole_requests();
        let answer = bytes(&stack, &format!("{head}{chunks}")).await;
        let statuses = statuses(&answer);
        let shown = &chunks[..chunks.len().min(40)];
        assert!(matches!(statuses.as_slice(), [] | [400 | 408]), "{shown:?}: {answer}");
        assert_eq!(stack.app.whole_requests(), before, "{shown:?} was completed for the app");
    }
    // Extensions and trailers end here.
    let sound = "3;a=b;c=\"d\"\r\nabc\r\n0\r\nX-Forwarded-User: root\r\nX-Other: 1\r\n\r\n";
    assert_eq!(statuses(&bytes(&stack, &format!("{head}{sound}")).await), [200]);
    let seen = stack.app.last();
    assert_eq!((seen.body.as_slice(), seen.trailers.as_str()), (&b"abc"[..], ""));
}

/// Search servers are asked like this.
#[tokio::test]
async fn a_get_with_a_body_of_any_length_keeps_it() {
    let stack = open().await;
    let host = stack.host();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for framing in [
            "Transfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n",
            "Content-Length: 5\r\n\r\nquery",
        ] {
            let request = format!("{method} /search HTTP/1.1\r\nHost: {host}\r\n{framing}");
            assert_eq!(statuses(&bytes(&stack, &request).await), [200], "{method}");
            let seen = stack.app.last();
            assert_eq!((seen.body.as_slice(), seen.whole), (&b"query"[..], true), "{method}");
        }
        let none = format!("{method} /search HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(statuses(&bytes(&stack, &none).await), [200], "{method}");
        assert_eq!(stack.app.last().header("transfer-encoding"), None, "{method}");
    }
}

#[tokio::test]
async fn f6_b6_one_host_one_target() {
    let stack = open().await;
    let host = stack.host();
    for (line, hosts, status) in [
        ("GET / HTTP/1.1", vec![], 400),
        ("GET / HTTP/1.1", vec![host.as_str(), host.as_str()], 400),
        ("GET / HTTP/1.1", vec![host.as_str(), "evil.test"], 400),
        ("GET / HTTP/1.1", vec!["evil.test"], 421),
        ("GET / HTTP/1.1", vec!["localhost."], 421),
        ("GET / HTTP/1.1", vec!["u@localhost"], 400),
        ("GET / HTTP/1.1", vec!["localhost/x"], 400),
        ("GET / HTTP/1.1", vec!["localhost:0"], 400),
        ("GET / HTTP/1.1", vec!["localhost:65536"], 400),
        ("GET / HTTP/1.1", vec!["[fe80::1%25eth0]"], 400),
        ("GET / HTTP/1.1", vec!["localhost, evil.test"], 400),
        ("GET / HTTP/1.1", vec![""], 400),
        ("GET http://evil.test/ HTTP/1.1", vec!["evil.test"], 400),
        ("GET http://evil.test/ HTTP/1.1", vec![host.as_str()], 400),
        ("GET //evil.test/ HTTP/1.1", vec![host.as_str()], 400),
        ("GET admin HTTP/1.1", vec![host.as_str()], 400),
        ("GET localhost:80 HTTP/1.1", vec![host.as_str()], 400),
        ("GET * HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a/../b HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a/%2e%2e/b HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a%2f..%2fb HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a%5cb HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a\\b HTTP/1.1", vec![host.as_str()], 400),
        ("GET /%00 HTTP/1.1", vec![host.as_str()], 400),
        ("GET /%c0%af HTTP/1.1", vec![host.as_str()], 400),
        ("GET /\u{e4} HTTP/1.1", vec![host.as_str()], 400),
        ("GET /a b HTTP/1.1", vec![host.as_str()], 400),
        ("GET  / HTTP/1.1", vec![host.as_str()], 400),
        ("GET / HTTP/1.2", vec![host.as_str()], 400),
        ("GET / HTTP/9.9", vec![host.as_str()], 400),
        ("GET / http/1.1", vec![host.as_str()], 400),
        ("GET /", vec![], 400),
        ("G\u{0}T / HTTP/1.1", vec![host.as_str()], 400),
        ("CONNECT localhost:80 HTTP/1.1", vec!["localhost:80"], 405),
        ("TRACE / HTTP/1.1", vec![host.as_str()], 405),
        ("TRACK / HTTP/1.1", vec![host.as_str()], 405),
    ] {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let answer = bytes(&stack, &format!("{line}\r\n{hosts}\r\n")).await;
        assert_eq!(statuses(&answer), [status], "{line} {hosts}: {answer}");
        assert!(stack.app.requests().is_empty(), "{line} {hosts}");
    }
    let own = format!("GET http://{host}/x?y HTTP/1.1\r\nHost: {}\r\n\r\n", host.to_uppercase());
    assert_eq!(statuses(&bytes(&stack, &own).await), [200]);
    assert_eq!(stack.app.last().request_line(), "GET /x?y HTTP/1.1");
    assert_eq!(stack.app.last().header("host"), Some(host.as_str()));
    let asterisk = format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(statuses(&bytes(&stack, &asterisk).await), [204]);
    assert_eq!(stack.app.requests().len(), 1);
}

#[tokio::test]
async fn f8_f10_an_upgrade_is_a_web_socket_and_begins_with_the_apps_101() {
    let stack = open().await;
    let host = stack.host();
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    bytes(&stack, &format!("GET /a HTTP/1.1\r\nHost: {host}\r\n{h2c}\r\n")).await;
    let seen = stack.app.last();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    // F10: what follows a handshake is not forwarded before the app has agreed, nor read as frames
    // where it does not.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n";
    let pipelined =
        format!("GET /missing HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n{}", smuggled(&host));
    let answer = bytes(&stack, &pipelined).await;
    assert!(matches!(statuses(&answer).as_slice(), [404] | [404, 200]), "{answer}");
    for seen in stack.app.requests() {
        // If the next request was read at all, then as one of its own, judged like any other.
        assert_eq!(seen.header("x-forwarded-user"), None, "{}", seen.head);
    }
    let with_body =
        format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{upgrade}Content-Length: 4\r\n\r\nbody");
    assert_eq!(statuses(&bytes(&stack, &with_body).await), [400]);
    let unasked = format!("GET /unasked-101 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(statuses(&bytes(&stack, &unasked).await), [502]);
}

#[tokio::test]
async fn f11_a_refused_upload_is_not_read_as_the_next_request() {
    let stack = Stack::start().await;
    let host = stack.host();
    let head = format!("POST /up HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000000\r\n\r\n");
    let answer = bytes(&stack, &format!("{head}{}", smuggled(&host))).await;
    assert_eq!(statuses(&answer), [401], "{answer}");
    let small = smuggled(&host);
    let head =
        format!("POST /up HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", small.len());
    let next = format!("GET /.auth/session HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = bytes(&stack, &format!("{head}{small}{next}")).await;
    // Either the connection ended, or the body was thrown away and the next request is the next.
    assert!(matches!(statuses(&answer).as_slice(), [401] | [401, 401]), "{answer}");
    assert!(stack.app.requests().is_empty());
}

#[tokio::test]
async fn f14_pipelined_requests_are_answered_in_order_and_judged_one_by_one() {
    let stack = Setup::default()
        .rules("[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n")
        .start()
        .await;
    let browser = stack.signed_in(ALICE).await;
    let host = stack.host();
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cookie = format!("Cookie: {}\r\n", cookies.join("; "));
    let line =
        |path: &str, cookie: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n");
    let requests =
        [line("/one", &cookie), line("/two", ""), line("/open", ""), line("/three", &cookie)];
    let before = stack.app.requests().len();
    let answer = bytes(&stack, &requests.concat()).await;
    assert_eq!(statuses(&answer), [200, 401, 200, 200], "{answer}");
    let seen = stack.app.requests();
    let seen: Vec<_> = seen[before..]
        .iter()
        .map(|request| (request.target(), request.header("authorization").is_some()))
        .collect();
    assert_eq!(seen, [("/one", true), ("/open", false), ("/three", true)]);
}

#[tokio::test]
async fn f14_http_1_0_has_no_coding_and_no_second_request() {
    let stack = open().await;
    let host = stack.host();
    let coding =
        format!("POST / HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(statuses(&bytes(&stack, &coding).await), [400]);
    let two = format!("GET /a HTTP/1.0\r\nHost: {host}\r\n\r\n{}", smuggled(&host));
    let answer = bytes(&stack, &two).await;
    let answers = answer.matches("HTTP/1.").count();
    assert_eq!(answers, 1, "{answer}");
    let targets: Vec<String> =
        stack.app.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/a"]);
}

/// An app that answers the first request of each connection with `answer` and waits for the end.
async fn rude(answer: Vec<u8>) -> (Stack, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut head).await;
            });
        }
    });
    let stack = Setup::default()
        .rules(ANYBODY)
        .set("upstream.url", &format!("\"http://{address}\""))
        .set("upstream.idle_timeout", "\"5s\"")
        .start()
        .await;
    (stack, address)
}

#[tokio::test]
async fn f12_informational_answers_end_here_and_a_flood_of_them_is_an_error() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    for (count, statuses_seen) in
        [(0, [200]), (3, [200]), (16, [200]), (17, [502]), (100_000, [502])]
    {
        let (stack, _) = rude(format!("{}{last}", early.repeat(count)).into()).await;
        let host = stack.host();
        let answer = bytes(&stack, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(statuses(&answer), statuses_seen, "{count}");
    }
}

#[tokio::test]
async fn f12_an_upload_that_waits_for_100_is_told_when_the_app_reads() {
    let stack = open().await;
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        stack.host()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut told)).await.unwrap().unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = [0; 15];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert_eq!(stack.app.last().body, b"body");
    assert_eq!(stack.app.last().header("expect"), None);
    // Who is refused is not asked for the body.
    let closed = Stack::start().await;
    let answer = bytes(&closed, &head.replace(&stack.host(), &closed.host())).await;
    assert_eq!(statuses(&answer), [401], "{answer}");
}

#[tokio::test]
async fn f13_an_answer_that_cannot_be_cut_in_one_way_is_502() {
    let head = "HTTP/1.1 200 OK\r\n";
    let large = format!("{head}X: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("{head}{}\r\n", "X: y\r\n".repeat(300));
    for answer in [
        format!("{head}Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody!"),
        format!("{head}Content-Length: 4, 5\r\n\r\nbody!"),
        format!("{head}Content-Length: -1\r\n\r\n"),
        format!("{head}Content-Length: x\r\n\r\n"),
        format!("{head}X: a\r\n b\r\n\r\n"),
        format!("{head}X : a\r\n\r\n"),
        format!("{head}X: a\u{0}b\r\n\r\n"),
        format!("{head}X\u{0}: a\r\n\r\n"),
        format!("{head}: a\r\n\r\n"),
        "hello\r\n\r\n".to_owned(),
        "HTTP/0.9 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/2 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned(),
        String::new(),
        "HTTP/1.1 200".to_owned(),
        large,
        many,
    ] {
        let (stack, _) = rude(answer.clone().into()).await;
        let host = stack.host();
        let told = bytes(&stack, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(statuses(&told), [502], "{:?}: {told}", answer.get(..60).unwrap_or(&answer));
        assert!(!told.contains("body!"), "{told}");
    }
}

#[tokio::test]
async fn f13_a_cut_answer_is_never_a_whole_one() {
    let head = "HTTP/1.1 200 OK\r\n";
    for answer in [
        format!("{head}Content-Length: 9\r\n\r\nshort"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n9\r\nshort"),
    ] {
        let (stack, _) = rude(answer.clone().into()).await;
        let host = stack.host();
        let told = bytes(&stack, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let whole = told.contains("0\r\n\r\n")
            || told.contains("content-length: 5\r\n")
            || told.contains("Content-Length: 5\r\n");
        assert!(!whole, "{answer:?} became {told:?}");
    }
}

#[tokio::test]
async fn f13_what_follows_an_answer_belongs_to_nobody() {
    // A second answer behind the first; bodies where there can be none.
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (method, first) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    ] {
        let (stack, _) = rude(format!("{first}{second}").into()).await;
        let host = stack.host();
        for _ in 0..2 {
            let told = bytes(&stack, &format!("{method} / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(!told.contains("poison"), "{method} {first:?}: {told}");
            assert_eq!(statuses(&told).len(), 1);
        }
    }
}

#[tokio::test]
async fn g2_the_limits_of_a_head_are_those_of_http_2() {
    let stack = open().await;
    let host = stack.host();
    let many = |count: usize| "X: y\r\n".repeat(count);
    for (path, fields, status) in [
        ("/".to_owned(), format!("Cookie: a={}\r\n", "x".repeat(24 * 1024)), 200),
        ("/".to_owned(), format!("X: {}\r\n", "x".repeat(62 * 1024)), 200),
        ("/".to_owned(), format!("X: {}\r\n", "x".repeat(66 * 1024)), 431),
        ("/".to_owned(), format!("X: {}\r\n", "x".repeat(300 * 1024)), 431),
        ("/".to_owned(), many(99), 200),
        ("/".to_owned(), many(100), 431),
        (format!("/{}", "x".repeat(16 * 1024 - 1)), String::new(), 200),
        (format!("/{}", "x".repeat(16 * 1024)), String::new(), 414),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let answer = bytes(&stack, &head).await;
        assert_eq!(statuses(&answer), [status], "{} {}", path.len(), fields.len());
    }
}

#[tokio::test]
async fn a_client_that_has_said_everything_still_gets_its_answer() {
    let stack = open().await;
    let host = stack.host();
    let body = "x".repeat(100_000);
    let head =
        format!("POST /up HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
    // `bytes` closes its half before it reads.
    assert_eq!(statuses(&bytes(&stack, &format!("{head}{body}")).await), [200]);
    assert_eq!(stack.app.last().body.len(), 100_000);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_and_a_silent_one_408() {
    let rules = "[[rules]]\npath = \"/small\"\naccess = \"anonymous\"\nmax_body = \"10\"\n\
                 [[rules]]\npath = \"/quick\"\naccess = \"anonymous\"\nbody_idle_timeout = \"200ms\"\n\
                 [[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
    let stack =
        Setup::default().rules(rules).set("server.limits.body_bytes", "\"20\"").start().await;
    let host = stack.host();
    for (path, length, status) in
        [("/small", 10, 200), ("/small", 11, 413), ("/", 20, 200), ("/", 21, 413)]
    {
        let body = "x".repeat(length);
        let announced = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        assert_eq!(statuses(&bytes(&stack, &announced).await), [status], "{path} {length}");
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(statuses(&bytes(&stack, &chunked).await), [status], "{path} {length} chunked");
    }
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let head = format!("POST /quick HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbo");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end").unwrap();
    assert_eq!(statuses(&answer), [408], "{answer}");
    stack.metric_becomes("vestibule_refusals_total{reason=\"large_body\"}", 2).await;
    stack.metric_becomes("vestibule_refusals_total{reason=\"caller_too_large\"}", 2).await;
}
