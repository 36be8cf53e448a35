//! The Content-Security-Policy of our pages: nothing loads, nothing runs but the one script that a
//! page is made for, nobody frames them.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use sha2::{Digest, Sha256};
use url::Url;

const LOCKED: &str = "default-src 'none'";

/// Which style, and which places that a form may lead to.
#[derive(Debug)]
pub(super) struct Policy {
    /// The style is fixed, so its hash serves every answer and no nonce has to be drawn.
    style: String,
    targets: Vec<String>,
    without_form: HeaderValue,
    with_form: HeaderValue,
}

impl Policy {
    pub(super) fn new(style: &str) -> Self {
        let style = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(style)));
        let mut policy = Self {
            style,
            targets: Vec::new(),
            without_form: HeaderValue::from_static(LOCKED),
            with_form: HeaderValue::from_static(LOCKED),
        };
        policy.write();
        policy
    }

    /// Adds a place that a form may lead to; `None` if `origin` is not the text of one.
    pub(super) fn lead_to(&mut self, origin: &str) -> Option<()> {
        if !is_origin(origin) {
            return None;
        }
        self.targets.push(origin.to_owned());
        self.write();
        Some(())
    }

    /// The header of a page with or without a form.
    pub(super) fn header(&self, has_form: bool) -> HeaderValue {
        if has_form { self.with_form.clone() } else { self.without_form.clone() }
    }

    /// The header of a page with the script `source`, whose form leads to `form_action`; without
    /// one, anywhere.
    pub(super) fn acting(&self, source: &str, form_action: Option<&str>) -> HeaderValue {
        let Self { style, .. } = self;
        // A fixed script is named by its hash: that needs no nonce, which would have to be drawn
        // for each page and kept out of every cache.
        let script = STANDARD.encode(Sha256::digest(source));
        let forms = form_action.map(|targets| format!("; form-action {targets}"));
        let forms = forms.unwrap_or_default();
        let line = format!(
            "{LOCKED}; style-src {style}; script-src 'sha256-{script}'{forms}; frame-ancestors 'none'; base-uri 'none'"
        );
        HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static(LOCKED))
    }

    fn write(&mut self) {
        let mut targets = "'self'".to_owned();
        for target in &self.targets {
            targets.push(' ');
            targets.push_str(target);
        }
        self.without_form = self.line("'none'");
        self.with_form = self.line(&targets);
    }

    fn line(&self, targets: &str) -> HeaderValue {
        let Self { style, .. } = self;
        let line = format!(
            "{LOCKED}; style-src {style}; form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
        );
        // Origins and base64 are visible ASCII; were they not, the page would lose its style only.
        HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static(LOCKED))
    }
}

/// Of a page without content that pages of `origin` may frame.
pub(super) fn framed_by(origin: &str) -> HeaderValue {
    let ancestor = if is_origin(origin) { origin } else { "'none'" };
    let line = format!("{LOCKED}; form-action 'none'; base-uri 'none'; frame-ancestors {ancestor}");
    HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static(LOCKED))
}

/// Whether `text` is an `http(s)` origin and nothing more, so that it may stand in a header.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}
