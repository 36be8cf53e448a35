//! The one reading of a request: [`Reader::read`].

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{AUTHORIZATION, COOKIE, HOST, TE},
    uri::PathAndQuery,
};

use super::{
    bad_request::BadRequest,
    cookie_header::OwnCookies,
    exchange::Exchange,
    framing,
    hop_by_hop::{self, Upgrade, names},
    host,
    inbound::Inbound,
    intent::{Intent, Site},
    origin::PublicUrl,
    peer::{Chain, TrustedProxies},
    target::{Target, TargetError},
};
use crate::base::body::Body;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most fields of one request; all cookie lines count as one (HTTP/2 sends a line per cookie).
const MOST_FIELDS: usize = 100;
const LONGEST_REQUEST_ID: usize = 128;

/// Reads requests for one public origin.
#[derive(Clone, Debug)]
pub struct Reader {
    public_url: PublicUrl,
    trusted: TrustedProxies,
    cookie_name: String,
    most_fields: usize,
    /// What the app gets as `Host`, however the client spelled it.
    host: Option<HeaderValue>,
}

impl Reader {
    /// A reader for `public_url` that believes `trusted` and takes out the cookies called
    /// `cookie_name`, `cookie_name-1` … and `cookie_name-flow`.
    pub fn new(public_url: PublicUrl, trusted: TrustedProxies, cookie_name: String) -> Self {
        let host = HeaderValue::from_str(public_url.authority()).ok();
        Self { public_url, trusted, cookie_name, most_fields: MOST_FIELDS, host }
    }

    /// The same with another limit of fields; all cookie lines count as one.
    #[must_use]
    pub fn with_most_fields(self, most_fields: usize) -> Self {
        Self { most_fields, ..self }
    }

    /// Reads a request once, or refuses it. Whatever is not the app's business is taken out here,
    /// before anybody can forget it.
    pub fn read(
        &self,
        exchange: &mut Exchange,
        mut request: Request<Body>,
    ) -> Result<Inbound, BadRequest> {
        let peer = exchange.peer;
        let believed = self.trusted.trusts(&peer);
        // First, so that the log line of a refusal bears the id that the proxy in front knows, and the
        // address of whoever sent it.
        let mut chain = Chain::default();
        if believed {
            if let Some(id) = request_id(request.headers()) {
                id.clone_into(&mut exchange.request_id);
            }
            chain = Chain::parse(forwarded_for(request.headers()));
            exchange.client = chain.client(&peer, &self.trusted);
        }
        // Before anything is refused: a refusal too should suit its reader.
        exchange.intent = Intent::of(request.method(), request.headers());
        let on_upgrade = hyper::upgrade::on(&mut request);
        let connect = hop_by_hop::is_extended_connect(&request);
        if connect {
            // The handshake that it stands for in HTTP/1.1; rules judge it as that.
            *request.method_mut() = Method::GET;
        }
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        check_fields(&headers, self.most_fields)?;
        if is_never_forwarded(&head.method) {
            return Err(BadRequest::Method);
        }
        host::check(head.version, &head.uri, &headers, &self.public_url)?;
        if !matches!(head.uri.scheme_str(), None | Some("http" | "https")) {
            return Err(BadRequest::Scheme);
        }
        let target = target(head.version, &head.method, &head.uri)?;
        let has_body = framing::check(&mut headers)?;
        let upgrade = if connect {
            Some(Upgrade::ExtendedWebSocket)
        } else {
            hop_by_hop::wanted_upgrade(&head.method, head.version, &headers)
        };
        if upgrade.is_some() && has_body {
            return Err(BadRequest::UpgradeWithBody);
        }

        // Judged on everything that was sent, before a `Connection` line can take part of it away.
        let intent = if upgrade.is_some() { Intent::WebSocket } else { exchange.intent };
        let site = Site::of(&headers, &self.public_url);
        let authorization = headers.get(AUTHORIZATION).cloned().map(sensitive);
        let wants_trailers =
            names(&headers, &TE).any(|name| name.eq_ignore_ascii_case(b"trailers"));

        let own_cookies = OwnCookies::take(&mut headers, &self.cookie_name);
        hop_by_hop::strip_request(&mut headers);
        if let Some(host) = &self.host {
            headers.insert(HOST, host.clone());
        }
        let body = match intent {
            _ if upgrade.is_some() => Body::Empty,
            // Those of gRPC may pass; the gateway knows which names are ours.
            Intent::Grpc => body,
            // Nobody else sends request trailers but to smuggle a field past this reading.
            _ => body.without_trailers(),
        };
        Ok(Inbound {
            method: head.method,
            target,
            headers,
            body,
            intent,
            site,
            own_cookies,
            peer,
            chain,
            authorization,
            upgrade,
            on_upgrade: upgrade.map(|_| on_upgrade),
            wants_trailers,
            extensions: head.extensions,
        })
    }
}

fn target(version: Version, method: &Method, uri: &Uri) -> Result<Target, TargetError> {
    // In HTTP/1.1 `http://host?x` is a whole target; in HTTP/2 `:path` is a path or it is broken
    // (RFC 9113 §8.3.1).
    let given = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if version == Version::HTTP_2 && given.starts_with('?') {
        return Err(TargetError::NotAPath);
    }
    Target::parse(method, uri)
}

fn check_fields(headers: &HeaderMap, most: usize) -> Result<(), BadRequest> {
    let cookies = headers.get_all(COOKIE).iter().count();
    if headers.len() - cookies + cookies.min(1) > most {
        return Err(BadRequest::TooManyFields);
    }
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(BadRequest::TwoAuthorizations);
    }
    Ok(())
}

/// Tunnels, and echoes of a request with its cookies; in lower case too, since an app may ignore
/// the case of methods.
fn is_never_forwarded(method: &Method) -> bool {
    ["CONNECT", "TRACE", "TRACK"].iter().any(|name| method.as_str().eq_ignore_ascii_case(name))
}

/// The id that a trusted proxy gave, if it is one line of harmless characters.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(X_REQUEST_ID).iter();
    let id = lines.next()?.to_str().ok()?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    let fits = (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.bytes().all(harmless);
    (fits && lines.next().is_none()).then_some(id)
}

fn forwarded_for(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes)
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Peer;

    type Lines<'l> = &'l [(&'l str, &'l str)];

    const HOST_LINE: (&str, &str) = ("host", "app.contoso.com");

    struct Sent<'s> {
        method: &'s str,
        uri: &'s str,
        lines: Vec<(&'s str, &'s str)>,
        version: Version,
        peer: &'s str,
    }

    fn get(lines: Lines<'_>) -> Sent<'_> {
        let lines = [&[HOST_LINE], lines].concat();
        Sent { method: "GET", uri: "/", lines, version: Version::HTTP_11, peer: "192.0.2.9:1" }
    }

    impl Sent<'_> {
        fn read(&self) -> (Exchange, Result<Inbound, BadRequest>) {
            let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
            let trusted = TrustedProxies::parse(["10.0.0.0/8"]).unwrap();
            let reader = Reader::new(public_url, trusted, "__Host-vestibule".to_owned());
            let mut request = Request::builder().method(self.method).uri(self.uri);
            for (name, value) in &self.lines {
                request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let request = request.version(self.version).body(Body::Empty).unwrap();
            let peer = Peer::Tcp(self.peer.parse().unwrap());
            let mut exchange = Exchange::begin(peer, request.method().clone(), request.uri());
            let inbound = reader.read(&mut exchange, request);
            (exchange, inbound)
        }

        fn accepted(&self) -> Inbound {
            self.read().1.unwrap()
        }

        fn status(&self) -> u16 {
            self.read().1.unwrap_err().status().as_u16()
        }
    }

    #[test]
    fn methods_that_tunnel_or_echo_are_never_forwarded() {
        for method in ["TRACE", "trace", "TRACK", "CONNECT"] {
            assert_eq!(Sent { method, ..get(&[]) }.status(), 405, "{method}");
        }
        let connect = Sent { method: "CONNECT", uri: "app.contoso.com:443", ..get(&[]) };
        assert_eq!(connect.status(), 405);
        for method in ["PATCH", "PROPFIND", "PURGE"] {
            assert_eq!(Sent { method, ..get(&[]) }.accepted().method(), method);
        }
    }

    #[test]
    fn each_refusal_has_its_status() {
        let long = "/".to_owned() + &"a".repeat(17_000);
        let crowd = vec![("x", "1"); 100];
        for (sent, status) in [
            (Sent { uri: "/a/../b", ..get(&[]) }, 400),
            (Sent { uri: "admin", ..get(&[]) }, 400),
            (Sent { uri: "*", ..get(&[]) }, 400),
            (Sent { uri: "http://evil.test/", ..get(&[]) }, 400),
            (Sent { uri: "ftp://app.contoso.com/", ..get(&[]) }, 400),
            (Sent { uri: &long, ..get(&[]) }, 414),
            (get(&[("host", "app.contoso.com")]), 400),
            (Sent { lines: vec![], ..get(&[]) }, 400),
            (Sent { lines: vec![("host", "evil.test")], ..get(&[]) }, 421),
            (get(&[("authorization", "a"), ("Authorization", "a")]), 400),
            (get(&[("content-length", "1"), ("content-length", "2")]), 400),
            (get(&[("transfer-encoding", "gzip, chunked")]), 501),
            (get(&[("expect", "200-ok")]), 417),
            (get(&crowd), 431),
        ] {
            assert_eq!(sent.status(), status, "{} {:?}", sent.uri, sent.lines.first());
        }
        let options = Sent { method: "OPTIONS", uri: "*", ..get(&[]) };
        assert!(options.accepted().target().is_asterisk());
        assert!(get(&crowd[1..]).read().1.is_ok());
    }

    #[test]
    fn cookie_crumbs_count_as_one_field() {
        let crumbs = vec![("cookie", "a=1"); 300];
        let inbound = Sent { version: Version::HTTP_2, ..get(&crumbs) }.accepted();
        assert_eq!(inbound.headers().get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn the_app_gets_the_public_host_and_the_judged_target() {
        let uri = "https://APP.contoso.com:443/a%C3%bc?q=%2f";
        let sent = Sent { uri, lines: vec![], version: Version::HTTP_2, ..get(&[]) };
        let outgoing = sent.accepted().into_outgoing();
        assert_eq!(outgoing.headers.get(HOST).unwrap(), "app.contoso.com");
        assert_eq!(outgoing.path_and_query.as_str(), "/a%C3%bc?q=%2f");
    }

    #[test]
    fn our_cookies_and_hop_by_hop_fields_stay_here_whatever_connection_names() {
        let inbound = get(&[
            ("connection", "X-A, Cookie, Authorization, X-Forwarded-For, close"),
            ("connection", "HTTP2-Settings"),
            ("x-a", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "trailers"),
            ("cookie", "a=1; __Host-vestibule=S"),
            ("authorization", "Bearer CANARY"),
            ("x-forwarded-for", "6.6.6.6"),
        ])
        .accepted();
        let mut names: Vec<&str> = inbound.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "cookie", "host", "x-forwarded-for"]);
        assert_eq!(inbound.headers().get(COOKIE).unwrap(), "a=1");
        assert!(inbound.own_cookies().has_session() && inbound.wants_trailers());
        assert_eq!((inbound.is_upgrade(), inbound.bearer()), (None, Some("CANARY")));
        assert!(!format!("{inbound:?}{:?}", inbound.authorization()).contains("CANARY"));
    }

    #[test]
    fn forwarding_fields_are_believed_from_trusted_peers_alone() {
        let lines = [("x-forwarded-for", "6.6.6.6, 203.0.113.7"), ("x-request-id", "id-1")];
        let stranger = get(&lines);
        let (exchange, inbound) = stranger.read();
        let inbound = inbound.unwrap();
        assert_eq!(exchange.client.to_string(), "192.0.2.9");
        assert_eq!(inbound.forwarded_for().unwrap(), "192.0.2.9");
        assert_ne!(exchange.request_id, "id-1");

        let (exchange, inbound) = Sent { peer: "[::ffff:10.0.0.1]:1", ..get(&lines) }.read();
        let inbound = inbound.unwrap();
        assert_eq!(exchange.client.to_string(), "203.0.113.7");
        assert_eq!(inbound.forwarded_for().unwrap(), "6.6.6.6, 203.0.113.7, 10.0.0.1");
        assert_eq!(exchange.request_id, "id-1");
    }

    #[test]
    fn an_odd_request_id_is_replaced_even_from_a_trusted_peer() {
        let long = "a".repeat(129);
        for ids in [
            &[("x-request-id", "a b")][..],
            &[("x-request-id", "a\u{1b}[31m")],
            &[("x-request-id", "")],
            &[("x-request-id", &long)],
            &[("x-request-id", "a"), ("x-request-id", "b")],
        ] {
            // Control characters cannot even become a header value here; hyper refuses them too.
            let ids: Vec<_> =
                ids.iter().copied().filter(|(_, id)| HeaderValue::from_str(id).is_ok()).collect();
            let (exchange, _) = Sent { peer: "10.0.0.1:1", ..get(&ids) }.read();
            assert_eq!(exchange.request_id.len(), 36, "{ids:?}");
        }
    }

    #[test]
    fn a_refusal_is_logged_under_the_trusted_request_id() {
        let lines = [("x-request-id", "id-1")];
        let (exchange, inbound) = Sent { uri: "//x", peer: "10.0.0.1:1", ..get(&lines) }.read();
        assert!(inbound.is_err());
        assert_eq!(exchange.request_id, "id-1");
    }

    #[test]
    fn a_web_socket_handshake_is_recognised_and_has_no_body() {
        let handshake = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let inbound = get(&handshake).accepted();
        assert_eq!(inbound.is_upgrade(), Some(Upgrade::WebSocket));
        assert_eq!(inbound.intent(), Intent::WebSocket);
        assert!(!inbound.headers().contains_key("upgrade"));
        let with_body = [&handshake[..], &[("content-length", "9")]].concat();
        assert_eq!(get(&with_body).status(), 400);
    }

    #[test]
    fn a_nominated_field_is_judged_before_it_goes() {
        let lines = [("connection", "origin, x-b"), ("origin", "https://evil.test"), ("x-b", "1")];
        let inbound = get(&lines).accepted();
        assert_eq!(inbound.site(), Site::Foreign);
        assert!(!inbound.headers().contains_key("x-b"));
    }
}
