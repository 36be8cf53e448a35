//! A browser, as far as sign-in goes: cookies per origin, redirects, Sec-Fetch headers, over TCP.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

/// One browser profile.
#[derive(Debug, Clone)]
pub struct Browser {
    origin: Url,
    /// Cookies by `host:port`, then name.
    pub cookies: BTreeMap<String, BTreeMap<String, String>>,
    /// Who signs in when Microsoft asks.
    user: Option<String>,
    /// Sent with each request.
    pub extra: HeaderMap,
    /// Refuses `Secure` cookies, as Safari does on loopback.
    pub drops_secure_cookies: bool,
    /// Where to connect instead of the proxy's own address: another replica.
    replica: Option<SocketAddr>,
}

/// Where a navigation ended.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub url: Url,
    /// Status and URL of each hop before.
    pub hops: Vec<(StatusCode, Url)>,
}

impl Page {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn set_cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    /// The `Location`, absolute.
    pub fn location(&self) -> Url {
        self.url.join(self.header("location").expect("a Location")).unwrap()
    }

    /// Whether the navigation visited Microsoft.
    pub fn visited(&self, path: &str) -> bool {
        self.hops.iter().any(|(_, url)| url.path().contains(path))
    }
}

impl Browser {
    pub fn new(origin: &str) -> Self {
        Self {
            origin: Url::parse(origin).unwrap(),
            cookies: BTreeMap::new(),
            user: None,
            extra: HeaderMap::new(),
            drops_secure_cookies: false,
            replica: None,
        }
    }

    /// Picks this account when Microsoft asks.
    #[must_use]
    pub fn as_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Reaches another replica under the same name.
    #[must_use]
    pub fn connecting_to(mut self, replica: SocketAddr) -> Self {
        self.replica = Some(replica);
        self
    }

    pub fn url(&self, place: &str) -> Url {
        self.origin.join(place).unwrap()
    }

    /// A top-level navigation that follows redirects, up to 20.
    pub async fn navigate(&mut self, place: &str) -> Page {
        let mut url = self.url(place);
        let mut hops = Vec::new();
        loop {
            let mut page = self.request(Method::GET, url.as_str(), NAVIGATE, Bytes::new()).await;
            if !page.status.is_redirection() || !page.headers.contains_key("location") {
                page.hops = hops;
                return page;
            }
            hops.push((page.status, url.clone()));
            assert!(hops.len() < 20, "redirected for ever: {hops:#?}");
            url = self.choose_account(page.location());
        }
    }

    /// A top-level navigation, one hop.
    pub async fn get(&mut self, place: &str) -> Page {
        self.request(Method::GET, self.url(place).as_str(), NAVIGATE, Bytes::new()).await
    }

    /// A script's same-origin `fetch`.
    pub async fn fetch(&mut self, method: Method, place: &str) -> Page {
        self.request(method, self.url(place).as_str(), FETCH, Bytes::new()).await
    }

    /// A form of one of our own pages.
    pub async fn post_form(&mut self, place: &str, form: &str) -> Page {
        let headers = [NAVIGATE_SAME, &[("content-type", FORM)]].concat();
        let form = Bytes::from(form.to_owned());
        self.request(Method::POST, self.url(place).as_str(), &headers, form).await
    }

    /// Any request.
    pub async fn request(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Page {
        let url = self.url(url);
        let host = host_of(&url);
        let mut request = Request::builder().method(method).uri(match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        });
        request = request.header(header::HOST, host.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.extra {
            request = request.header(name, value);
        }
        if let Some(jar) = self.cookies.get(&host).filter(|jar| !jar.is_empty()) {
            let pairs: Vec<String> = jar.iter().map(|(k, v)| format!("{k}={v}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        let request = request.body(Full::new(body)).unwrap();
        let replica = self.replica.filter(|_| host == host_of(&self.origin));
        let connect = replica.map_or_else(|| host.clone(), |replica| replica.to_string());
        let page = exchange(&connect, request, url).await;
        self.store(&host, &page.headers);
        page
    }

    /// The name and value of our session cookies at the proxy.
    pub fn session_cookies(&self) -> Vec<(String, String)> {
        let jar = self.cookies.get(&host_of(&self.origin)).cloned().unwrap_or_default();
        jar.into_iter()
            .filter(|(name, _)| name.starts_with("__Host-vestibule") && !name.ends_with("-flow"))
            .collect()
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.get(&host_of(&self.origin))?.get(name).cloned()
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        let jar = self.cookies.entry(host_of(&self.origin)).or_default();
        jar.insert(name.to_owned(), value.to_owned());
    }

    pub fn delete_cookie(&mut self, name: &str) {
        if let Some(jar) = self.cookies.get_mut(&host_of(&self.origin)) {
            jar.remove(name);
        }
    }

    fn store(&mut self, host: &str, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').unwrap();
            let attributes = attributes.to_ascii_lowercase();
            if self.drops_secure_cookies && attributes.contains("secure") {
                continue;
            }
            // A deletion without Secure leaves a __Host- cookie in place.
            assert!(!name.starts_with("__Host-") || attributes.contains("secure"), "{line}");
            assert!(name.len() + value.len() <= 4096, "a browser drops this cookie: {name}");
            let jar = self.cookies.entry(host.to_owned()).or_default();
            if attributes.contains("max-age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn choose_account(&self, mut url: Url) -> Url {
        let asked = url.path().ends_with("/oauth2/v2.0/authorize")
            && !url.query_pairs().any(|(name, _)| name == "login_hint" || name == "prompt");
        if let Some(user) = self.user.as_ref().filter(|_| asked) {
            url.query_pairs_mut().append_pair("login_hint", user);
        }
        url
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
/// What Chromium sends with a navigation from the address bar.
pub const NAVIGATE: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-dest", "document"),
];
/// What Chromium sends with a navigation from a page of the same origin.
pub const NAVIGATE_SAME: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-dest", "document"),
];
/// What Chromium sends with a same-origin `fetch`.
pub const FETCH: &[(&str, &str)] = &[
    ("accept", "*/*"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-dest", "empty"),
];

pub fn host_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap())
}

async fn exchange(host: &str, request: Request<Full<Bytes>>, url: Url) -> Page {
    let stream = TcpStream::connect(host).await.unwrap_or_else(|e| panic!("{host}: {e}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "a browser reads pages of any length")]
    let body = body.collect().await.expect("a whole body").to_bytes();
    connection.abort();
    Page { status: head.status, headers: head.headers, body, url, hops: Vec::new() }
}
