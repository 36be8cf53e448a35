//! The demo's app: Contoso Travel Expenses, written before anyone said OAuth.
//!
//! It has no sign-in and no idea of one. It reads request headers, believes them, and hands the
//! `Authorization` header that it was sent on to Graph: what any old app can do behind the proxy.

mod expenses;
mod graph;
mod headers;
mod visitor;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    expenses::{Expense, Ledger, Rejected},
    graph::{Graph, GraphAnswer},
    headers::{Received, received},
    visitor::{Token, TokensSeen, Visitor},
};
use crate::base::{
    body::{Body, BodyError},
    clock::Clock,
    outbound::Outbound,
    side_server,
};

/// An expense is a word and a number; a longer form is a mistake.
const FORM_CAP: u64 = 16 * 1024;
const SILENCE: Duration = Duration::from_secs(30);

/// The running app. Stops when dropped.
#[derive(Debug)]
pub(super) struct LegacyApp {
    address: SocketAddr,
    _stop: DropGuard,
}

impl LegacyApp {
    /// Where it listens: a free port of 127.0.0.1.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Starts the app, which will ask `{graph}/v1.0/me` who its visitors are.
///
/// # Errors
/// No port is free.
pub(super) async fn start(graph: &str, outbound: Outbound) -> io::Result<LegacyApp> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let app = Arc::new(App::new(Graph::new(graph, outbound)).map_err(io::Error::other)?);
    let stop = CancellationToken::new();
    let handler = move |_peer, request| {
        let app = Arc::clone(&app);
        async move { app.answer(request).await }
    };
    tokio::spawn(side_server::serve(listener, None, stop.clone(), handler));
    Ok(LegacyApp { address, _stop: stop.drop_guard() })
}

struct App {
    pages: Environment<'static>,
    graph: Graph,
    clock: Clock,
    ledger: Mutex<Ledger>,
    tokens: Mutex<TokensSeen>,
}

/// What the main page shows.
#[derive(Serialize)]
struct View<'a> {
    visitor: &'a Visitor,
    token: Option<Token>,
    headers: Vec<Received>,
    graph: GraphAnswer,
    expenses: Vec<Expense>,
    total: String,
    /// Why the last expense was not added.
    rejected: Option<String>,
}

impl App {
    fn new(graph: Graph) -> Result<Self, minijinja::Error> {
        let mut pages = Environment::new();
        pages.set_undefined_behavior(UndefinedBehavior::Strict);
        pages.add_template("main.html", include_str!("main.html"))?;
        pages.add_template("hello.html", include_str!("hello.html"))?;
        Ok(Self {
            pages,
            graph,
            clock: Clock::system(),
            ledger: Mutex::new(Ledger::with_examples()),
            tokens: Mutex::default(),
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, "/") => {
                self.main_page(&head.headers, StatusCode::OK, None).await
            }
            (&Method::GET | &Method::HEAD, "/public/hello") => self.hello(&head.headers),
            (&Method::GET | &Method::HEAD, "/api/time") => self.time(&head.headers),
            (&Method::POST, "/expenses") => self.add_expense(&head.headers, body).await,
            (&Method::GET | &Method::HEAD, "/style.css") => {
                file("text/css; charset=utf-8", include_str!("style.css"))
            }
            (&Method::GET | &Method::HEAD, "/app.js") => {
                file("text/javascript; charset=utf-8", include_str!("app.js"))
            }
            (_, "/" | "/public/hello" | "/api/time" | "/expenses" | "/style.css" | "/app.js") => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "This page does not know that method.\n")
            }
            _ => plain(StatusCode::NOT_FOUND, "There is no such page in Travel Expenses.\n"),
        }
    }

    async fn main_page(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        rejected: Option<Rejected>,
    ) -> Response<Full<Bytes>> {
        let graph = self.graph.who_is(headers.get(header::AUTHORIZATION)).await;
        let visitor = Visitor::of(headers);
        let token = {
            let mut seen = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            Token::of(headers, &visitor, &mut seen, self.clock.unix())
        };
        let (expenses, total) = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            (ledger.newest_first(), ledger.total())
        };
        let rejected = rejected.map(|reason| reason.to_string());
        let headers = received(headers);
        let view = View { visitor: &visitor, token, headers, graph, expenses, total, rejected };
        self.page(status, "main.html", view)
    }

    fn hello(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        #[derive(Serialize)]
        struct Hello {
            visitor: Visitor,
        }
        self.page(StatusCode::OK, "hello.html", Hello { visitor: Visitor::of(headers) })
    }

    fn time(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let answer = serde_json::json!({
            "unix_time": self.clock.unix(),
            "asked_by": Visitor::of(headers).name,
        });
        whole(StatusCode::OK, "application/json", answer.to_string())
    }

    async fn add_expense(&self, headers: &HeaderMap, body: Incoming) -> Response<Full<Bytes>> {
        let form = match Body::stream(body, Some(SILENCE)).read(FORM_CAP).await {
            Ok(form) => form,
            Err(BodyError::TooLarge(_)) => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "That is too long for an expense.\n");
            }
            Err(_) => return plain(StatusCode::BAD_REQUEST, "The form did not arrive.\n"),
        };
        match Expense::from_form(&form, &Visitor::of(headers)) {
            Ok(expense) => {
                self.ledger.lock().unwrap_or_else(PoisonError::into_inner).add(expense);
                let mut response = plain(StatusCode::SEE_OTHER, "");
                let back = http::HeaderValue::from_static("/#expenses");
                response.headers_mut().insert(header::LOCATION, back);
                response
            }
            Err(rejected) => self.main_page(headers, StatusCode::BAD_REQUEST, Some(rejected)).await,
        }
    }

    fn page(&self, status: StatusCode, name: &str, view: impl Serialize) -> Response<Full<Bytes>> {
        match self.pages.get_template(name).and_then(|page| page.render(Serde(view))) {
            Ok(html) => whole(status, "text/html; charset=utf-8", html),
            Err(error) => {
                tracing::error!(%error, "the demo's app could not render a page");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "Travel Expenses is out of order.\n")
            }
        }
    }
}

fn file(kind: &'static str, text: &'static str) -> Response<Full<Bytes>> {
    whole(StatusCode::OK, kind, text)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    whole(status, "text/plain; charset=utf-8", text)
}

fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests;
