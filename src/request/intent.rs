//! What kind of caller sent a request ([`Intent`]), and from where ([`Site`]).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE, ORIGIN},
};

use super::origin::PublicUrl;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// What a request without a session needs as its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A person went to a page: may be sent to Microsoft.
    Navigation,
    /// A person sent a form: may be kept in the browser over a sign-in.
    FormPost,
    /// Anything that cannot follow a redirect to Microsoft: fetch, XHR, an API client, a speculative
    /// load.
    Script,
    /// A WebSocket handshake.
    WebSocket,
    /// `application/grpc`, whose clients understand `grpc-status` alone.
    Grpc,
}

impl Intent {
    /// Judges by method, Fetch Metadata, `Accept` and `Content-Type`; an upgrade is not seen here.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        if media_type(headers).is_some_and(is_grpc) {
            return Self::Grpc;
        }
        if !is_navigation(headers) {
            return Self::Script;
        }
        match *method {
            Method::GET | Method::HEAD => Self::Navigation,
            Method::POST if has_form_content(headers) => Self::FormPost,
            _ => Self::Script,
        }
    }
}

fn is_navigation(headers: &HeaderMap) -> bool {
    // A speculative load (`prefetch;prerender`) asks for a page nobody has gone to yet: a flow for
    // each link on a page would push out the one that the person is in.
    if headers.get(SEC_PURPOSE).is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch")) {
        return false;
    }
    if has_fetch_metadata(headers) {
        return only(headers, &SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
    }
    accepts_html(headers)
}

fn has_fetch_metadata(headers: &HeaderMap) -> bool {
    [SEC_FETCH_MODE, SEC_FETCH_SITE, SEC_FETCH_DEST].iter().any(|name| headers.contains_key(name))
}

/// Whether `Accept` names `text/html`; `*/*` is what every tool sends.
fn accepts_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).into_iter();
    ranges.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/html"));
        html && !parts.any(is_weight_zero)
    })
}

/// `q=0`, `q=0.000`: "not this one" (RFC 9110 §12.4.2).
fn is_weight_zero(parameter: &[u8]) -> bool {
    let [b'q' | b'Q', b'=', weight @ ..] = parameter else { return false };
    !weight.is_empty() && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

/// Whether the body is one that an HTML form can make.
fn has_form_content(headers: &HeaderMap) -> bool {
    let forms: [&[u8]; 3] =
        [b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"];
    media_type(headers)
        .is_some_and(|given| forms.iter().any(|form| given.eq_ignore_ascii_case(form)))
}

fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    let value = only(headers, &CONTENT_TYPE)?.as_bytes();
    value.split(|byte| *byte == b';').next().map(<[u8]>::trim_ascii)
}

fn is_grpc(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    media_type.split_at_checked(GRPC.len()).is_some_and(|(name, suffix)| {
        name.eq_ignore_ascii_case(GRPC) && matches!(suffix.first(), None | Some(b'+'))
    })
}

/// Where a request was made, as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// By a page of ours.
    SameOrigin,
    /// By the person: address bar, bookmark.
    None,
    /// By a page of somebody else's, a sibling subdomain's included.
    Foreign,
    /// Nothing says so: not a browser, or a safe request of an old one.
    Unknown,
}

impl Site {
    /// Judges by `Sec-Fetch-Site`, and without it by `Origin`. More than one line of either is
    /// foreign: browsers send one.
    pub(super) fn of(headers: &HeaderMap, public_url: &PublicUrl) -> Self {
        if headers.contains_key(SEC_FETCH_SITE) {
            return match only(headers, &SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
                Some(b"same-origin") => Self::SameOrigin,
                Some(b"none") => Self::None,
                _ => Self::Foreign,
            };
        }
        if !headers.contains_key(ORIGIN) {
            return Self::Unknown;
        }
        match only(headers, &ORIGIN) {
            Some(origin) if public_url.is_same_origin(origin.as_bytes()) => Self::SameOrigin,
            _ => Self::Foreign,
        }
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn intent(method: &str, lines: &[(&'static str, &str)]) -> Intent {
        Intent::of(&method.parse().unwrap(), &headers(lines))
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");

    #[test]
    fn a_page_load_is_a_navigation() {
        assert_eq!(intent("GET", &[NAVIGATE]), Intent::Navigation);
        assert_eq!(intent("HEAD", &[NAVIGATE]), Intent::Navigation);
        assert_eq!(intent("GET", &[HTML]), Intent::Navigation);
        assert_eq!(intent("GET", &[("accept", "a/b, TEXT/HTML ;q=0.9")]), Intent::Navigation);
    }

    #[test]
    fn whatever_cannot_follow_a_redirect_is_a_script() {
        for lines in [
            &[][..],
            &[("accept", "*/*")],
            &[("accept", "application/json")],
            &[("accept", "text/html;q=0")],
            &[("accept", "text/html; Q=0.000")],
            &[("accept", "text/htmlx")],
            &[("sec-fetch-mode", "cors"), HTML],
            &[("sec-fetch-dest", "image"), HTML],
            &[("sec-fetch-site", "same-origin"), HTML],
            &[("sec-fetch-mode", "cors"), NAVIGATE],
            &[NAVIGATE, ("sec-purpose", "prefetch;prerender")],
        ] {
            assert_eq!(intent("GET", lines), Intent::Script, "{lines:?}");
        }
        assert_eq!(intent("OPTIONS", &[NAVIGATE]), Intent::Script);
        assert_eq!(intent("PUT", &[NAVIGATE, FORM]), Intent::Script);
    }

    #[test]
    fn a_form_is_a_post_by_navigation_with_form_content() {
        assert_eq!(intent("POST", &[NAVIGATE, FORM]), Intent::FormPost);
        assert_eq!(intent("POST", &[HTML, FORM]), Intent::FormPost);
        let upload = ("content-type", "Multipart/Form-Data; boundary=x");
        assert_eq!(intent("POST", &[NAVIGATE, upload]), Intent::FormPost);
        assert_eq!(intent("POST", &[NAVIGATE]), Intent::Script);
        assert_eq!(intent("POST", &[FORM]), Intent::Script);
        let json = ("content-type", "application/json");
        assert_eq!(intent("POST", &[NAVIGATE, json]), Intent::Script);
        assert_eq!(intent("POST", &[NAVIGATE, FORM, json]), Intent::Script);
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for content_type in ["application/grpc", "application/grpc+proto", "Application/gRPC; x=y"]
        {
            assert_eq!(intent("POST", &[("content-type", content_type)]), Intent::Grpc);
        }
        for content_type in ["application/grpc-web", "application/grpcx", "application/json"] {
            assert_eq!(intent("POST", &[("content-type", content_type)]), Intent::Script);
        }
    }

    #[test]
    fn fetch_metadata_outranks_origin_and_doubt_is_foreign() {
        const SITE: &str = "sec-fetch-site";
        const OURS: (&str, &str) = ("origin", "https://app.contoso.com");
        const THEIRS: (&str, &str) = ("origin", "https://evil.test");
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        for (lines, expected) in [
            (&[][..], Site::Unknown),
            (&[(SITE, "same-origin")], Site::SameOrigin),
            (&[(SITE, "same-origin"), THEIRS], Site::SameOrigin),
            (&[(SITE, "none")], Site::None),
            (&[(SITE, "same-site")], Site::Foreign),
            (&[(SITE, "cross-site"), OURS], Site::Foreign),
            (&[(SITE, "")], Site::Foreign),
            (&[(SITE, "same-origin"), (SITE, "cross-site")], Site::Foreign),
            (&[(SITE, "same-origin, cross-site")], Site::Foreign),
            (&[OURS], Site::SameOrigin),
            (&[THEIRS], Site::Foreign),
            (&[("origin", "null")], Site::Foreign),
            (&[("origin", "http://app.contoso.com")], Site::Foreign),
            (&[OURS, THEIRS], Site::Foreign),
        ] {
            assert_eq!(Site::of(&headers(lines), &public_url), expected, "{lines:?}");
        }
    }
}
