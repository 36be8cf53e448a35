use http::Uri;
use tokio::runtime::Handle;

use super::*;
use crate::base::outbound::{Answer, trusted_roots};

/// A Graph that says who holds the token `good` and refuses every other.
async fn graph() -> (String, DropGuard) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let handler = |_peer, request: Request<Incoming>| async move {
        let good = request.headers().get("authorization").is_some_and(|it| it == "Bearer good");
        let mine = request.uri().path() == "/v1.0/me";
        let (status, json) = match (good, mine) {
            (true, true) => (StatusCode::OK, r#"{"displayName":"Alice <Example>"}"#),
            (_, true) => (StatusCode::UNAUTHORIZED, r#"{"error":{"message":"Who is that?"}}"#),
            _ => (StatusCode::NOT_FOUND, "{}"),
        };
        whole(status, "application/json", json)
    };
    tokio::spawn(side_server::serve(listener, None, stop.clone(), handler));
    (origin, stop.drop_guard())
}

struct Rig {
    app: LegacyApp,
    outbound: Outbound,
    _graph: DropGuard,
}

impl Rig {
    async fn start() -> Self {
        let outbound = Outbound::new(Handle::current(), trusted_roots());
        let (origin, stop) = graph().await;
        let app = start(&origin, outbound.clone()).await.unwrap();
        Self { app, outbound, _graph: stop }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let uri: Uri = format!("http://{}{path}", self.app.address()).parse().unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.outbound.send(request.body(body.as_bytes().to_vec()).unwrap()).await.unwrap()
    }

    async fn page(&self, headers: &[(&str, &str)]) -> String {
        text(&self.send("GET", "/", headers, "").await)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_page_shows_who_is_there_and_what_graph_says() {
    let rig = Rig::start().await;
    let page = rig
        .page(&[
            ("authorization", "Bearer good"),
            ("x-user", "alice@contoso.test"),
            ("x-ms-client-principal-id", "11111111-2222-3333-4444-555555555555"),
            ("x-ms-token-aad-expires-on", "2999-01-01T00:00:00.0000000Z"),
        ])
        .await;
    for part in [
        "<bdi>alice@contoso.test</bdi>",
        "Good day, <bdi>Alice &lt;Example&gt;</bdi>",
        "11111111-2222-3333-4444-555555555555",
        "Graph answered 200 OK.",
        "data-expires=\"32472144000\"",
        "Bearer … (4 characters)",
    ] {
        assert!(page.contains(part), "{part} is missing from {page}");
    }
    assert!(!page.contains("Bearer good"), "the token is on the page");
}

#[tokio::test]
async fn without_headers_there_is_nobody_and_no_call() {
    let page = Rig::start().await.page(&[]).await;
    for part in ["Good day, stranger", "No header names a user", "it did not ask"] {
        assert!(page.contains(part), "{part} is missing from {page}");
    }
}

#[tokio::test]
async fn a_refused_token_is_told_in_plain_words() {
    let page = Rig::start().await.page(&[("authorization", "Bearer bad")]).await;
    assert!(page.contains("It did not accept the token. It says: Who is that?"), "{page}");
}

#[tokio::test]
async fn markup_in_a_header_is_shown_and_never_obeyed() {
    let evil = "<script>alert(1)</script>\"'";
    let page = Rig::start().await.page(&[("x-user", evil), ("x-other", evil)]).await;
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
}

#[tokio::test]
async fn a_posted_expense_is_listed_under_its_senders_name() {
    let rig = Rig::start().await;
    let headers =
        [("x-user", "bob@contoso.test"), ("content-type", "application/x-www-form-urlencoded")];
    let answer = rig.send("POST", "/expenses", &headers, "purpose=Ferry+%3Cb%3E&amount=7,5").await;
    assert_eq!(
        (answer.status, answer.headers["location"].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/#expenses")
    );
    let page = rig.page(&[]).await;
    assert!(page.contains("Ferry &lt;b&gt;</bdi></td><td><bdi>bob@contoso.test</bdi></td><td class=\"number\">7.50"), "{page}");

    let refused = rig.send("POST", "/expenses", &headers, "purpose=Ferry&amount=lots").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("Please enter an amount"));
    let flood = rig.send("POST", "/expenses", &headers, &"x".repeat(16 * 1024 + 1)).await;
    assert_eq!(flood.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_new_token_of_the_same_user_is_counted() {
    let rig = Rig::start().await;
    let mut pages = Vec::new();
    for token in ["Bearer good", "Bearer good", "Bearer better"] {
        pages.push(rig.page(&[("x-user", "alice"), ("authorization", token)]).await);
    }
    let numbers: Vec<_> =
        pages.iter().map(|page| page.contains("token number <strong>2<")).collect();
    assert_eq!(numbers, [false, false, true]);
}

#[tokio::test]
async fn scripts_get_json_and_everybody_a_hello() {
    let rig = Rig::start().await;
    let time = rig.send("GET", "/api/time", &[("x-user", "alice")], "").await;
    assert_eq!(time.headers["content-type"], "application/json");
    let time: serde_json::Value = serde_json::from_slice(&time.body).unwrap();
    assert_eq!(time["asked_by"], "alice");
    assert!(time["unix_time"].as_i64().unwrap() > 1_700_000_000);

    let hello = rig.send("GET", "/public/hello", &[], "").await;
    assert!(text(&hello).contains("Hello, whoever you are"));
    assert_eq!(rig.send("GET", "/nothing", &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.send("DELETE", "/", &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_dropped_app_answers_nobody() {
    let Rig { app, outbound, _graph } = Rig::start().await;
    let address = app.address();
    drop(app);
    // Yielding lets the accept loop see the cancellation; the listener closes with it.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let request = Request::get(format!("http://{address}/")).body(Vec::new()).unwrap();
    assert!(outbound.send(request).await.is_err());
}
