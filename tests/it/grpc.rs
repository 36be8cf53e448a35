//! gRPC, which needs HTTP/2 on both sides, streams both ways at once, and ends in trailers.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::support::{ALICE, Browser, FETCH, Setup, Stack};

const ANYBODY: &str = "[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n";
const PATIENCE: Duration = Duration::from_secs(20);

type Pieces = mpsc::UnboundedSender<Frame<Bytes>>;

/// A body that is fed from outside.
fn fed() -> (Pieces, impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static)
{
    let (feed, mut pieces) = mpsc::unbounded_channel();
    let pieces = stream::poll_fn(move |cx| pieces.poll_recv(cx).map(|piece| piece.map(Ok)));
    (feed, StreamBody::new(pieces))
}

fn trailers(fields: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    let fields = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Frame::trailers(fields.collect())
}

/// What the app saw of one call.
#[derive(Debug, Clone, Default)]
struct Call {
    method: Method,
    uri: http::Uri,
    version: Version,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
}

/// An HTTP/2 app that echoes each message as it comes, and ends in trailers.
async fn app() -> (SocketAddr, Arc<Mutex<Vec<Call>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::<Mutex<Vec<Call>>>::default();
    let seen = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request| {
                let answer = echo(request, Arc::clone(&seen));
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    (address, calls)
}

fn echo(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Call>>>,
) -> Response<impl http_body::Body<Data = Bytes, Error = Infallible>> {
    let (head, mut body) = request.into_parts();
    let (feed, answer) = fed();
    let call = Call {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        trailers: None,
    };
    let index = {
        let mut seen = seen.lock().unwrap();
        seen.push(call);
        seen.len() - 1
    };
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => feed.send(Frame::data(data)).unwrap(),
                Err(frame) => seen.lock().unwrap()[index].trailers = frame.into_trailers().ok(),
            }
        }
        let _ = feed.send(trailers(&[
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("x-checksum", "1"),
            ("set-cookie", "__Host-vestibule=stolen"),
            ("content-length", "5"),
        ]));
    });
    let mut response = Response::new(answer);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
    response
}

async fn start(rules: &str) -> (Stack, Arc<Mutex<Vec<Call>>>) {
    let (address, calls) = app().await;
    let stack = Setup::default()
        .rules(rules)
        .set("upstream.url", &format!("\"http://{address}\""))
        .set("upstream.http2", "true")
        .set("upstream.idle_timeout", "\"1500ms\"")
        .set("server.limits.body_time", "\"300ms\"")
        .start()
        .await;
    (stack, calls)
}

async fn client<B>(stack: &Stack) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(stack.proxy.address().unwrap()).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn call<B>(stack: &Stack, kind: &str, body: B) -> Request<B> {
    Request::builder()
        .method("POST")
        .uri(format!("http://{}/pkg.Service/Method", stack.host()))
        .header("content-type", kind)
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn a_call_streams_both_ways_and_ends_in_the_apps_trailers() {
    let (stack, calls) = start(ANYBODY).await;
    let (feed, body) = fed();
    let mut sender = client(&stack).await;
    let answer = sender.send_request(call(&stack, "application/grpc+proto", body));
    feed.send(Frame::data(Bytes::from_static(b"first"))).unwrap();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let mut answer = answer.into_body();
    let mut next = async || timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await.into_data().unwrap(), "first");
    // The app has answered, and the client goes on.
    for message in ["second", "third"] {
        feed.send(Frame::data(Bytes::from(message))).unwrap();
        assert_eq!(next().await.into_data().unwrap(), message);
    }
    feed.send(trailers(&[("x-forwarded-user", "root"), ("authorization", "x"), ("x-note", "1")]))
        .unwrap();
    drop(feed);
    let told = next().await.into_trailers().unwrap();
    assert_eq!(told.get("grpc-status").unwrap(), "0");
    assert_eq!(told.get("grpc-message").unwrap(), "fine");
    assert_eq!(told.get("x-checksum").unwrap(), "1");
    assert!(!told.contains_key("set-cookie") && !told.contains_key("content-length"), "{told:?}");

    let seen = calls.lock().unwrap()[0].clone();
    assert_eq!((seen.method, seen.version), (Method::POST, Version::HTTP_2));
    assert_eq!(seen.uri.path(), "/pkg.Service/Method");
    assert_eq!(seen.uri.authority().unwrap().as_str(), stack.host());
    assert_eq!(seen.headers.get("te").unwrap(), "trailers");
    assert_eq!(seen.headers.get("x-forwarded-host").unwrap(), stack.host().as_str());
    for name in ["host", "connection", "transfer-encoding"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let sent = seen.trailers.unwrap();
    assert_eq!(sent.get("x-note").unwrap(), "1");
    assert!(!sent.contains_key("x-forwarded-user") && !sent.contains_key("authorization"));
}

#[tokio::test]
async fn the_silence_of_one_side_is_not_that_of_the_call() {
    let (stack, _) = start(ANYBODY).await;
    let (feed, body) = fed();
    let mut sender = client(&stack).await;
    let answer = sender.send_request(call(&stack, "application/grpc", body));
    feed.send(Frame::data(Bytes::from_static(b"1"))).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    let mut next = async || timeout(PATIENCE, answer.frame()).await.unwrap();
    assert!(next().await.unwrap().is_ok());
    // Longer than body_time, shorter than the upstream's idle time, three times over.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        feed.send(Frame::data(Bytes::from_static(b"2"))).unwrap();
        assert!(next().await.unwrap().is_ok());
    }
    // Silence of both ends it, and not in order.
    assert!(next().await.unwrap().is_err());
}

#[tokio::test]
async fn trailers_pass_for_grpc_alone() {
    let (stack, calls) = start(ANYBODY).await;
    let (feed, body) = fed();
    let mut sender = client(&stack).await;
    let answer = sender.send_request(call(&stack, "application/json", body));
    feed.send(Frame::data(Bytes::from_static(b"{}"))).unwrap();
    feed.send(trailers(&[("x-note", "1")])).unwrap();
    drop(feed);
    let mut answer = answer.await.unwrap().into_body();
    let mut came = Vec::new();
    while let Some(frame) = answer.frame().await {
        came.extend(frame.unwrap().into_data().expect("no trailers"));
    }
    assert_eq!(came, b"{}");
    assert!(calls.lock().unwrap()[0].trailers.is_none());
}

#[tokio::test]
async fn a_browser_on_http_1_reaches_an_app_on_http_2_and_its_web_socket_does_not() {
    let (stack, calls) = start("").await;
    let mut browser = stack.browser().as_user(ALICE);
    assert_eq!(browser.navigate("/page?x=1").await.status, 200);
    let seen = calls.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.uri.path_and_query().unwrap().as_str(), "/page?x=1");
    assert!(seen.headers.get("authorization").unwrap().to_str().unwrap().starts_with("Bearer "));
    assert!(!seen.headers.contains_key("te"));
    let cookies: Vec<String> =
        browser.session_cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let answer = stack
        .raw(&format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Cookie: {}\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            stack.host(),
            cookies.join("; ")
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    let page = Browser::new(&stack.origin())
        .request(
            Method::POST,
            "/up",
            &[FETCH, &[("content-type", "application/grpc")]].concat(),
            Bytes::new(),
        )
        .await;
    assert_eq!((page.status.as_u16(), page.header("grpc-status")), (200, Some("16")));
}
