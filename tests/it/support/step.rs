//! A page that goes on by itself, read as a browser reads it.

use super::Page;

/// What a page's script works with.
#[derive(Debug)]
pub struct StepPage {
    html: String,
}

impl StepPage {
    pub fn of(page: &Page) -> Self {
        let html = page.text();
        assert_eq!(html.matches("<script").count(), 1, "one script, ours: {html}");
        assert_eq!(html.matches("<main").count(), 1, "{html}");
        let policy = page.header("content-security-policy").unwrap();
        let script = between(&html, "<script>", "</script>").unwrap();
        let hash = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            <sha2::Sha256 as sha2::Digest>::digest(script),
        );
        assert!(policy.contains(&format!("script-src 'sha256-{hash}'")), "{policy}");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.set_cookies().is_empty(), "{:?}", page.set_cookies());
        Self { html }
    }

    /// `data-{name}` of the page.
    pub fn data(&self, name: &str) -> Option<String> {
        let main = between(&self.html, "<main", ">").unwrap();
        attribute(main, &format!("data-{name}"))
    }

    /// Attribute of the form.
    pub fn form(&self, name: &str) -> Option<String> {
        attribute(between(&self.html, "<form", ">")?, name)
    }

    /// Type, name and value of the form's fields.
    pub fn fields(&self) -> Vec<(String, String, String)> {
        let form = between(&self.html, "<form", "</form>").unwrap_or_default();
        let inputs = form.split("<input").skip(1).map(|input| input.split('>').next().unwrap());
        inputs
            .map(|input| {
                let get = |name| attribute(input, name).unwrap_or_default();
                (get("type"), get("name"), get("value"))
            })
            .collect()
    }

    /// The form as a browser urlencodes it.
    pub fn urlencoded(&self) -> String {
        assert_eq!(self.form("enctype"), None);
        let latin = self.form("accept-charset").as_deref() == Some("windows-1252");
        let encode = |text: &str| -> String {
            let bytes: Vec<u8> = if latin {
                // The tests use no character of 0x80 to 0x9F.
                text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
            } else {
                text.bytes().collect()
            };
            url::form_urlencoded::byte_serialize(&bytes).collect()
        };
        let pairs = self.fields().into_iter();
        let pairs = pairs.map(|(_, name, value)| format!("{}={}", encode(&name), encode(&value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = between(tag, &format!(" {name}=\""), "\"")?;
    let plain = value
        .replace("&#x2f;", "/")
        .replace("&#x27;", "'")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    // As a browser: CRLF is LF in markup, and CRLF again when a form is submitted.
    Some(plain.replace("\r\n", "\n").replace('\n', "\r\n"))
}
