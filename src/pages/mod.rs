//! Our own HTML and JSON: what a person or a script reads when the answer is ours and not the app's.
//!
//! Every page is one fixed template. It loads nothing and says what to do where scripts do not run;
//! whatever a caller passes is escaped, and the Content-Security-Policy would stop it if it were not.

mod notice;
mod policy;
mod step;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde::Serialize;

use self::policy::Policy;
pub use self::{
    notice::{Action, Notice},
    step::{Field, Form, Script, Step, Words},
};
use crate::base::body::Body;

const NOTICE: &str = "notice.html";
const STEP: &str = "step.html";
const TEMPLATES: [(&str, &str); 4] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("mark.html", include_str!("templates/mark.html")),
    (NOTICE, include_str!("templates/notice.html")),
    (STEP, include_str!("templates/step.html")),
];
const STYLE: &str = include_str!("templates/style.css");

/// Why our pages cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A built-in template does not parse.
    #[error("a page template is broken")]
    Template(#[source] minijinja::Error),
    /// Not an origin such as `https://login.microsoftonline.com`.
    #[error("{0:?} is not an origin, so forms cannot lead there")]
    Origin(String),
}

/// Our pages, ready to be filled in.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    policy: Policy,
}

impl Pages {
    /// Reads the templates. Forms on the pages may lead to our own origin alone.
    ///
    /// # Errors
    /// A template does not parse.
    pub fn new() -> Result<Self, PagesError> {
        let mut templates = Environment::new();
        // A misspelt name in a template must fail a test instead of leaving a hole in a page.
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in TEMPLATES {
            templates.add_template(name, source).map_err(PagesError::Template)?;
        }
        Ok(Self { templates, policy: Policy::new(STYLE) })
    }

    /// Forms on the pages may also be *answered by a redirect* to `origin`: Chromium applies
    /// `form-action` to every hop after the submission, so that without this the sign-out button
    /// would stop dead on its way to Microsoft.
    ///
    /// # Errors
    /// `origin` is not the text of an `http` or `https` origin.
    pub fn leading_to(mut self, origin: &str) -> Result<Self, PagesError> {
        self.policy.lead_to(origin).ok_or_else(|| PagesError::Origin(origin.to_owned()))?;
        Ok(self)
    }

    /// A page that says one thing, with facts for support and buttons for what to do next.
    pub fn notice(&self, notice: &Notice<'_>) -> Response<Body> {
        let view = notice.view(STYLE);
        let asks = view.asks;
        let policy = self.policy.header(asks);
        let page = self.page(notice.status, NOTICE, view, &notice.title, policy);
        if asks { naming_its_origin(page) } else { page }
    }

    /// A page that goes on by itself.
    pub fn step(&self, step: &Step<'_>) -> Response<Body> {
        let policy = self.policy.acting(step.script.source(), step.script.form_action());
        let page = self.page(step.status, STEP, step.view(STYLE), &step.otherwise.title, policy);
        naming_its_origin(page)
    }

    fn page(
        &self,
        status: StatusCode,
        template: &str,
        view: impl Serialize,
        title: &str,
        policy: HeaderValue,
    ) -> Response<Body> {
        let page = self.templates.get_template(template).and_then(|page| page.render(Serde(view)));
        let (kind, body) = match page {
            Ok(html) => ("text/html; charset=utf-8", html),
            Err(error) => {
                // Reached by a fault in the template alone; the person still gets the sentence.
                tracing::error!(%error, "a page could not be rendered");
                ("text/plain; charset=utf-8", title.to_owned())
            }
        };
        let mut response = page_answer(status, kind, body, policy);
        response.headers_mut().insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        response
    }

    /// An empty page that pages of `origin` alone may frame: Microsoft's sign-out page loads
    /// front-channel sign-out in hidden iframes. What is no origin may not frame it either.
    pub fn framed_blank(&self, origin: &str) -> Response<Body> {
        let policy = policy::framed_by(origin);
        page_answer(StatusCode::OK, "text/html; charset=utf-8", Bytes::new(), policy)
    }
}

/// `value` as JSON that nobody stores and no browser mistakes for a page.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    const KIND: &str = "application/json";
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, KIND, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let body = Bytes::from_static(br#"{"error":"internal_error"}"#);
            answer(StatusCode::INTERNAL_SERVER_ERROR, KIND, body)
        }
    }
}

fn page_answer(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
    policy: HeaderValue,
) -> Response<Body> {
    let mut response = answer(status, kind, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page whose form we must know for ours: under "no-referrer" its `Origin` is `null`, also to
/// ourselves (Fetch §3.2.7).
fn naming_its_origin(mut page: Response<Body>) -> Response<Body> {
    page.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    page
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderMap;

    use super::*;

    fn text(response: Response<Body>) -> String {
        let Body::Full(bytes) = response.into_body() else { panic!("a page has a body") };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn notice() -> Notice<'static> {
        Notice {
            status: StatusCode::BAD_GATEWAY,
            title: "The app does not answer".into(),
            text: vec!["Try again in a minute.".into()],
            facts: vec![("Request ID".into(), "7d0c".into())],
            actions: vec![Action::Link {
                label: "Try again".into(),
                href: "/reports?year=7".into(),
            }],
        }
    }

    fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
        headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_notice_shows_its_words_and_keeps_its_status() {
        let response = Pages::new().unwrap().notice(&notice());
        assert_eq!(response.status(), 502);
        assert_eq!(field(response.headers(), "content-type"), "text/html; charset=utf-8");
        let html = text(response);
        for part in [
            "<html lang=\"en\">",
            "<title>The app does not answer</title>",
            "<p dir=\"auto\">Try again in a minute.</p>",
            "<dt dir=\"auto\">Request ID</dt><dd dir=\"auto\">7d0c</dd>",
            ">Try again</a>",
        ] {
            assert!(html.contains(part), "{part} is missing from {html}");
        }
    }

    #[test]
    fn a_notice_can_neither_be_framed_nor_stored_nor_sniffed_nor_leak_its_address() {
        let response = Pages::new().unwrap().notice(&notice());
        let headers = response.headers();
        assert_eq!(field(headers, "cache-control"), "no-store");
        assert_eq!(field(headers, "x-content-type-options"), "nosniff");
        assert_eq!(field(headers, "x-frame-options"), "DENY");
        assert_eq!(field(headers, "referrer-policy"), "no-referrer");
        let policy = field(headers, "content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{part} is missing from {policy}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn markup_in_any_place_is_shown_and_never_obeyed() {
        const EVIL: &str = "</dd></style>\"'><script>alert(1)</script>{{ style }}";
        let evil = Notice {
            status: StatusCode::OK,
            title: EVIL.into(),
            text: vec![EVIL.into()],
            facts: vec![(EVIL.into(), EVIL.into())],
            actions: vec![
                Action::Link { label: EVIL.into(), href: format!("/{EVIL}").into() },
                Action::Post {
                    label: EVIL.into(),
                    action: format!("/{EVIL}").into(),
                    fields: vec![(EVIL.into(), EVIL.into())],
                },
            ],
        };
        let html = text(Pages::new().unwrap().notice(&evil));
        assert_eq!(html.matches("&lt;script&gt;").count(), 11, "{html}");
        assert!(!html.contains("<script"), "{html}");
        assert_eq!((html.matches("</style>").count(), html.matches("<form").count()), (1, 1));
        // Whatever is left between tags and inside attribute values holds no quote of the attacker.
        assert!(!html.contains("\"'>") && !html.contains("'><"), "{html}");
    }

    #[test]
    fn an_address_that_is_no_web_page_becomes_no_button() {
        for href in [
            "javascript:alert(1)",
            "JAVASCRIPT:alert(1)",
            " /x",
            "//evil.test/",
            "/\\evil.test",
            "/\t/evil.test",
            "\\\\evil.test",
            "data:text/html,x",
            "https:evil.test",
            "",
            "x",
        ] {
            let mut notice = notice();
            notice.actions = vec![
                Action::Link { label: "go".into(), href: href.into() },
                Action::Post { label: "go".into(), action: href.into(), fields: Vec::new() },
            ];
            let html = text(Pages::new().unwrap().notice(&notice));
            assert!(!html.contains("class=\"button\""), "{href:?} became a button");
        }
    }

    #[test]
    fn a_page_without_a_form_lets_none_be_sent() {
        let pages = Pages::new().unwrap().leading_to("https://login.microsoftonline.com").unwrap();
        let page = pages.notice(&notice());
        assert!(field(page.headers(), "content-security-policy").contains("form-action 'none'"));

        let mut with_form = notice();
        with_form.actions = vec![Action::Post {
            label: "Sign out".into(),
            action: "/.auth/logout".into(),
            fields: vec![("post_logout_redirect_uri".into(), "/bye".into())],
        }];
        let page = pages.notice(&with_form);
        assert!(
            field(page.headers(), "content-security-policy")
                .contains("form-action 'self' https://login.microsoftonline.com;")
        );
        let html = text(page);
        assert!(
            html.contains("<form method=\"post\" action=\"&#x2f;.auth&#x2f;logout\">"),
            "{html}"
        );
        assert!(html.contains("name=\"post_logout_redirect_uri\" value=\"&#x2f;bye\""), "{html}");
    }

    #[test]
    fn forms_lead_to_origins_only() {
        for origin in ["https://a.test; script-src *", "https://a.test/x", "a.test", "*", "https:"]
        {
            assert!(Pages::new().unwrap().leading_to(origin).is_err(), "{origin}");
        }
        for origin in ["https://login.partner.microsoftonline.cn", "http://127.0.0.1:4599"] {
            assert!(Pages::new().unwrap().leading_to(origin).is_ok(), "{origin}");
        }
    }

    #[test]
    fn only_the_login_host_may_frame_the_blank_page() {
        let pages = Pages::new().unwrap();
        let blank = pages.framed_blank("https://login.microsoftonline.com");
        let policy = field(blank.headers(), "content-security-policy");
        assert!(policy.ends_with("frame-ancestors https://login.microsoftonline.com"), "{policy}");
        assert!(!blank.headers().contains_key("x-frame-options"));
        assert_eq!(field(blank.headers(), "cache-control"), "no-store");

        let odd = pages.framed_blank("https://a.test; frame-ancestors *");
        assert!(
            field(odd.headers(), "content-security-policy").ends_with("frame-ancestors 'none'")
        );
    }

    #[test]
    fn the_page_style_is_the_one_whose_hash_the_policy_allows() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use sha2::{Digest, Sha256};

        let response = Pages::new().unwrap().notice(&notice());
        let policy = field(response.headers(), "content-security-policy").to_owned();
        let html = text(response);
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
        assert!(!html.contains("style=\""), "an inline style is outside the hash");
    }

    #[test]
    fn json_is_neither_stored_nor_sniffed() {
        let response =
            json(StatusCode::UNAUTHORIZED, &BTreeMap::from([("error", "login_required")]));
        assert_eq!(response.status(), 401);
        assert_eq!(field(response.headers(), "content-type"), "application/json");
        assert_eq!(field(response.headers(), "cache-control"), "no-store");
        assert_eq!(field(response.headers(), "x-content-type-options"), "nosniff");
        assert_eq!(text(response), r#"{"error":"login_required"}"#);
    }

    #[test]
    fn a_value_that_is_no_json_is_our_fault() {
        let unwritable = BTreeMap::from([(vec![1_u8], 1)]);
        assert_eq!(json(StatusCode::OK, &unwritable).status(), 500);
    }
}
