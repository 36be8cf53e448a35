//! Streams end with their session, and live on when it is renewed.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    ALICE, Browser, Setup, Stack, WebSocket,
    h2::{self, DATA, END_STREAM, H2, frame},
    read_frame,
};

const ENDED: (u16, &str) = (1008, "session ended");

/// Tokens that live for ten minutes; renewal is due after five.
async fn stack() -> Stack {
    Setup::default().scenario("token_lifetime = \"600s\"").start().await
}

async fn closed(socket: &mut WebSocket) {
    let (code, text) = socket.closed().await;
    assert_eq!((code, text.as_str()), ENDED);
}

/// Waits for what happens without a request.
async fn until(what: &str, happened: impl Fn() -> bool) {
    let wait = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn ended(stack: &Stack, reason: &str) -> u32 {
    let name = format!("vestibule_streams_ended_total{{reason=\"{reason}\"}} ");
    let mut count = 0;
    // The browser may see the end a moment before the counter does.
    for _ in 0..50 {
        let text = stack.admin("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        count = line.map_or(0, |count| count.parse().unwrap());
        if count > 0 {
            break;
        }
    }
    count
}

/// A `GET` whose answer is read as it comes.
async fn get(stack: &Stack, browser: &Browser, path: &str) -> TcpStream {
    send(stack, browser, &format!("GET {path}"), "").await
}

/// A request whose body, if any, has still to be sent.
async fn send(stack: &Stack, browser: &Browser, what: &str, fields: &str) -> TcpStream {
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(n, v)| format!("{n}={v}")).collect();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n{fields}\r\n",
        stack.host(),
        cookies.join("; ")
    );
    let mut stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads on until `end` has come.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            text.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(Duration::from_secs(10), read).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = timeout(Duration::from_secs(10), read).await.expect("an end");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_web_socket_ends_at_the_absolute_lifetime_to_the_second() {
    let setup = Setup::default().set("session.lifetime", "\"1h\"");
    let stack = setup.set("session.idle_timeout", "\"1h\"").start().await;
    let before = stack.clock.unix();
    let browser = stack.signed_in(ALICE).await;
    let after = stack.clock.unix();
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("early").await;
    stack.advance(3597);
    socket.echo("late").await;
    let (code, text) = socket.closed().await;
    let end = stack.clock.unix();
    assert_eq!((code, text.as_str()), ENDED);
    assert!((before + 3600..=after + 3601).contains(&end), "{} s", end - before);
    assert_eq!((ended(&stack, "lifetime").await, ended(&stack, "idle").await), (1, 0));
    let gone =
        async { while !stack.admin("/metrics").await.text().contains("vestibule_tunnels 0") {} };
    timeout(Duration::from_secs(10), gone).await.expect("no tunnel is left");
}

#[tokio::test]
async fn a_session_that_nobody_uses_any_more_ends_its_web_socket() {
    let stack = Setup::default().set("session.idle_timeout", "\"10m\"").start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    // Each request winds the clock, and what comes through the socket does not.
    for _ in 0..3 {
        stack.advance(400);
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
        socket.echo("still there").await;
    }
    stack.advance(580);
    socket.echo("still there").await;
    stack.advance(21);
    closed(&mut socket).await;
    assert_eq!(ended(&stack, "idle").await, 1);
}

#[tokio::test]
async fn a_lone_web_socket_lives_through_renewals_and_hands_the_tokens_on() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    let token = stack.app.last().header("authorization").unwrap().to_owned();
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    let mut second = WebSocket::open(&stack, &browser, "/ws").await;
    let mut calls = stack.token_calls();
    for _ in 0..3 {
        stack.advance(320);
        calls += 1;
        until("a renewal", || stack.token_calls() == calls).await;
        socket.echo("still there").await;
        second.echo("still there").await;
    }
    // The browser's cookie is three renewals old: it gets the streams' tokens, without a call.
    let page = browser.fetch(Method::GET, "/").await;
    assert_eq!((page.status.as_u16(), stack.token_calls()), (200, calls));
    assert!(!page.set_cookies().is_empty());
    let renewed = stack.app.last().header("authorization").unwrap().to_owned();
    assert_ne!(renewed, token);
    let page = browser.fetch(Method::GET, "/").await;
    assert!(page.set_cookies().is_empty());
    assert_eq!(stack.app.last().header("authorization"), Some(renewed.as_str()));
}

#[tokio::test]
async fn a_refused_renewal_ends_the_web_socket() {
    let stack = stack().await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("hello").await;
    stack.fault(json!({ "endpoint": "token", "times": 1, "status": 400, "error": "invalid_grant", "code": 50_173 }));
    stack.advance(320);
    closed(&mut socket).await;
    assert_eq!(ended(&stack, "renewal").await, 1);
}

#[tokio::test]
async fn a_renewal_that_is_refused_to_a_request_ends_the_web_socket() {
    let stack = stack().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("hello").await;
    stack.fault(json!({ "endpoint": "token", "times": 1, "status": 400, "error": "invalid_grant", "code": 50_173 }));
    assert_eq!(browser.fetch(Method::POST, "/.auth/refresh").await.status, 401);
    closed(&mut socket).await;
}

#[tokio::test]
async fn trouble_at_microsoft_ends_no_web_socket() {
    let stack = stack().await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    stack.fault(json!({ "endpoint": "token", "times": 1000, "status": 503 }));
    let calls = stack.token_calls();
    // Through the token's end and on.
    for by in [320, 300, 300] {
        stack.advance(by);
        until("an attempt", || stack.token_calls() > calls).await;
        socket.echo("still there").await;
    }
    stack.fault(json!({ "endpoint": "token", "times": 0, "status": 503 }));
    let failed = stack.token_calls();
    stack.advance(120);
    until("a renewal", || stack.token_calls() > failed).await;
    socket.echo("still there").await;
}

#[tokio::test]
async fn sign_out_ends_the_streams_of_its_session_and_of_no_other() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let other = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    let mut others = WebSocket::open(&stack, &other, "/ws").await;
    socket.echo("hello").await;
    let copy = browser.clone();
    browser.get("/.auth/logout").await;
    closed(&mut socket).await;
    // The app hears it in a frame, too.
    let told = stack.app.tunnelled();
    let mut told = told.as_slice();
    let mut last = None;
    while let Some(frame) = read_frame(&mut told).await {
        last = Some(frame);
    }
    let last = last.unwrap();
    assert!(last.masked);
    assert_eq!(last.close(), (ENDED.0, ENDED.1.to_owned()));
    others.echo("still there").await;
    // What was on its way when the user signed out does not bring the session back.
    assert_eq!(copy.clone().fetch(Method::GET, "/").await.status, 401);
    assert_eq!(ended(&stack, "sign_out").await, 1);
}

#[tokio::test]
async fn a_web_socket_outlives_a_reload_and_still_ends_with_its_session() {
    let rule = "[[rules]]\npath = \"/open/*\"\naccess = \"anonymous\"\n";
    let stack = Setup::default().rules(rule).start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("hello").await;
    stack.rewrite("\"anonymous\"", "\"deny\"");
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(browser.fetch(Method::GET, "/open/a").await.status, 403);
    socket.echo("still there").await;
    browser.get("/.auth/logout").await;
    closed(&mut socket).await;
}

#[tokio::test]
async fn d6_somebody_else_in_the_same_browser_ends_the_former_users_streams() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("hello").await;
    let sign_in = |user: &str| format!("/.auth/login/aad?login_hint={user}");
    assert_eq!(browser.navigate(&sign_in(ALICE)).await.status, 200);
    socket.echo("still there").await;
    // Alice's second session is what the browser has now, so this is a socket of that.
    let mut second = WebSocket::open(&stack, &browser, "/ws").await;
    second.echo("hello").await;
    let other = &stack.emulator.client().users[1];
    assert_eq!(browser.navigate(&sign_in(other)).await.status, 200);
    closed(&mut second).await;
}

#[tokio::test]
async fn a_front_channel_sign_out_ends_the_streams_of_its_sid() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let other = stack.signed_in(&stack.emulator.client().users[1]).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    let mut others = WebSocket::open(&stack, &other, "/ws").await;
    socket.echo("hello").await;
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    let claims = me[0]["user_claims"].as_array().unwrap();
    let sid = claims.iter().find(|claim| claim["typ"] == "sid").expect("a sid")["val"].clone();
    let url = |sid: &str| format!("/.auth/logout/frontchannel?sid={sid}");
    stack.browser().get(&url("somebody-elses")).await;
    socket.echo("still there").await;
    stack.browser().get(&url(sid.as_str().unwrap())).await;
    closed(&mut socket).await;
    others.echo("still there").await;
    assert_eq!(ended(&stack, "front_channel").await, 1);
}

#[tokio::test]
async fn a_web_socket_of_nobody_outlives_every_session() {
    let rules = "[[rules]]\npath = \"/ws\"\naccess = \"anonymous\"";
    let stack = Setup::default().rules(rules).start().await;
    let mut nobodys = WebSocket::open(&stack, &stack.browser(), "/ws").await;
    let mut alices = WebSocket::open(&stack, &stack.signed_in(ALICE).await, "/ws").await;
    nobodys.echo("hello").await;
    stack.advance(24 * 3600);
    // The app was told who Alice is, so hers is a stream of her session here, too.
    closed(&mut alices).await;
    nobodys.echo("still there").await;
}

#[tokio::test]
async fn j6_a_web_socket_is_told_1001_when_the_proxy_closes() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws").await;
    socket.echo("hello").await;
    let admin = stack.admin("/metrics").await;
    assert!(admin.text().contains("vestibule_tunnels 1"));
    stack.proxy.lifecycle().close();
    assert_eq!(socket.closed().await, (1001, "going away".to_owned()));
    assert_eq!(ended(&stack, "shutdown").await, 1);
}

#[tokio::test]
async fn a_close_frame_waits_for_the_end_of_the_apps_frame() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws-slow").await;
    // The head and half of the payload of a fragment.
    assert_eq!(socket.bytes(4).await, [0x02, 126, 0x9c, 0x40]);
    assert_eq!(socket.bytes(19_996).await, vec![b'x'; 19_996]);
    stack.proxy.lifecycle().close();
    stack.app.release();
    assert_eq!(socket.bytes(20_004).await, vec![b'x'; 20_004]);
    // The app's next fragments are not for anybody any more.
    assert_eq!(socket.closed().await, (1001, "going away".to_owned()));
    until("a masked Close frame", || stack.app.tunnelled().starts_with(&[0x88, 0x8c])).await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut_after_a_second() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let mut socket = WebSocket::open(&stack, &browser, "/ws-slow").await;
    socket.bytes(20_000).await;
    stack.proxy.lifecycle().close();
    assert_eq!(socket.rest().await, b"", "a Close frame here would be payload");
}

#[tokio::test]
async fn an_event_stream_ends_in_order_with_its_session() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut events = get(&stack, &browser, "/sse").await;
    read_to(&mut events, "data: 1\n\n\r\n").await;
    stack.app.release();
    assert_eq!(read_to(&mut events, "data: 1\n\n\r\n").await, "9\r\ndata: 1\n\n\r\n");
    browser.get("/.auth/logout").await;
    assert!(read_to(&mut events, "0\r\n\r\n").await.starts_with("0\r\n"));
    assert_eq!(
        ended(&stack, "sign_out").await,
        1,
        "after the second in which no answer is a stream"
    );
    // And the `EventSource` that asks again gets 401.
    assert_eq!(browser.fetch(Method::GET, "/sse").await.status, 401);
}

#[tokio::test]
async fn an_event_stream_lives_through_renewals() {
    let stack = stack().await;
    let browser = stack.signed_in(ALICE).await;
    let mut events = get(&stack, &browser, "/sse").await;
    read_to(&mut events, "data: 1\n\n\r\n").await;
    for _ in 0..3 {
        let calls = stack.token_calls();
        stack.advance(320);
        until("a renewal", || stack.token_calls() == calls + 1).await;
        stack.app.release();
        assert_eq!(read_to(&mut events, "data: 1\n\n\r\n").await, "9\r\ndata: 1\n\n\r\n");
    }
    stack.advance(8 * 3600);
    assert!(read_to(&mut events, "0\r\n\r\n").await.starts_with("0\r\n"));
}

#[tokio::test]
async fn a_download_breaks_off_with_its_session_and_does_not_look_complete() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut download = get(&stack, &browser, "/download").await;
    read_to(&mut download, "0123456789").await;
    let mut chunked = get(&stack, &browser, "/stream").await;
    read_to(&mut chunked, "first\n\r\n").await;
    browser.get("/.auth/logout").await;
    assert_eq!(rest(&mut download).await, "", "of a million bytes ten have come");
    assert_eq!(rest(&mut chunked).await, "", "no last chunk");
}

/// What is sent in a session belongs to it as much as what comes back.
#[tokio::test]
async fn an_upload_breaks_off_with_its_session_and_the_app_never_sees_its_end() {
    let stack = Stack::start().await;
    for reason in ["sign_out", "idle"] {
        let mut browser = stack.signed_in(ALICE).await;
        // The 100 says that the request is on its way to the app.
        let fields = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
        let mut upload = send(&stack, &browser, "POST /up", fields).await;
        read_to(&mut upload, "\r\n\r\n").await;
        upload.write_all(b"5\r\nfirst\r\n").await.unwrap();
        if reason == "sign_out" {
            browser.get("/.auth/logout").await;
        } else {
            stack.advance(3700);
        }
        let answer = rest(&mut upload).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{reason}: {answer}");
        assert!(answer.contains("login_required"), "{answer}");
        until("the app hears of it", || stack.app.last().body == b"first").await;
        assert!(!stack.app.last().whole, "{reason}");
        assert_eq!(ended(&stack, reason).await, 1);
    }
}

/// RFC 8441: the tunnel is one stream of its connection, and the connection goes on.
#[tokio::test]
async fn a_web_socket_over_http_2_ends_with_its_session_too() {
    let stack = Stack::start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(n, v)| format!("{n}={v}")).collect();
    let (host, cookies, origin) = (stack.host(), cookies.join("; "), stack.origin());
    let handshake = [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":authority", &host),
        (":path", "/ws"),
        (":protocol", "websocket"),
        ("sec-websocket-version", "13"),
        ("origin", &origin),
        ("cookie", &cookies),
    ];
    let mut h2 = H2::connect(stack.proxy.address().unwrap()).await;
    let stream = h2.begin(&handshake, false).await;
    let message = b"\x81\x83\0\0\0\0abc";
    h2.send(&frame(DATA, 0, stream, message)).await;
    let (mut came, mut signed_out, mut answered) = (Vec::<u8>::new(), false, false);
    loop {
        let frame = h2.frame().await.expect("the connection stays");
        if frame.stream != stream || frame.kind != DATA {
            continue;
        }
        came.extend(&frame.payload);
        if came.len() == message.len() && !signed_out {
            browser.get("/.auth/logout").await;
            signed_out = true;
        }
        if came.len() > message.len() && !answered {
            let close = b"\x88\x82\0\0\0\0\x03\xf0";
            h2.send(&h2::frame(DATA, END_STREAM, stream, close)).await;
            answered = true;
        }
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    let goodbye = [b"\x88\x0f\x03\xf0", ENDED.1.as_bytes()].concat();
    assert_eq!(came, [&message[..], &goodbye].concat());
    assert_eq!(ended(&stack, "sign_out").await, 1);
    let mut again = handshake.to_vec();
    again.retain(|(name, _)| *name != ":protocol");
    again[0].1 = "GET";
    assert_eq!(h2.ask(&again).await.status(), 401);
}
