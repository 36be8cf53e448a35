//! Pages for people: the account picker, its steps, failures, and what follows from a sign-out.

use std::sync::LazyLock;

use http::StatusCode;
use minijinja::Environment;
use serde::Serialize;
use serde_json::{Value, json};

use crate::emulator::{
    aadsts::Failure,
    call::{self, Answer, Call},
    directory::User,
    realm::Realm,
    timestamp,
};

const TEMPLATES: [(&str, &str); 11] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("tiles.html", include_str!("templates/tiles.html")),
    ("picker.html", include_str!("templates/picker.html")),
    ("pick_sign_out.html", include_str!("templates/pick_sign_out.html")),
    ("step.html", include_str!("templates/step.html")),
    ("admin_consent.html", include_str!("templates/admin_consent.html")),
    ("failure.html", include_str!("templates/failure.html")),
    ("form_post.html", include_str!("templates/form_post.html")),
    ("signed_out.html", include_str!("templates/signed_out.html")),
    ("home.html", include_str!("templates/home.html")),
    ("plain.html", include_str!("templates/plain.html")),
];

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    for (name, source) in TEMPLATES {
        #[expect(clippy::expect_used, reason = "a test renders each built-in template")]
        pages.add_template(name, source).expect("the built-in templates are right");
    }
    pages
});

/// One account on a page.
#[derive(Debug, Serialize)]
pub(crate) struct Tile {
    name: String,
    user: String,
    initials: String,
    /// Degrees on the colour wheel.
    hue: u32,
    tags: Vec<String>,
    signed_in: bool,
    href: String,
}

/// What the user is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Confirm,
    Password,
    WrongPassword,
    SecondFactor,
    Consent,
}

impl Tile {
    pub(crate) fn new(user: &User, signed_in: bool, href: String) -> Self {
        let name = user.display_name();
        let initials = name.split_whitespace().filter_map(|word| word.chars().next()).take(2);
        let hue = user.oid.bytes().fold(0u32, |hue, byte| hue.wrapping_mul(31) + u32::from(byte));
        let mut tags = Vec::new();
        if user.is_guest() {
            tags.push("guest".to_owned());
        }
        let roles = user.roles(0);
        if !roles.is_empty() {
            tags.push(roles.join(", "));
        }
        tags.push(match user.groups.len() {
            0 => "no groups".to_owned(),
            1 => "1 group".to_owned(),
            many => format!("{many} groups"),
        });
        Self {
            name: name.to_owned(),
            user: user.entry.name.clone(),
            initials: initials.collect(),
            hue: hue % 360,
            tags,
            signed_in,
            href,
        }
    }
}

/// A whole page: the template `name` within the layout.
fn render(name: &str, title: &str, mut values: Value) -> String {
    let tiles = values.get("tiles").is_some().then(|| fill("tiles.html", &values));
    if let (Some(tiles), Some(values)) = (tiles, values.as_object_mut()) {
        values.insert("tiles".to_owned(), tiles.into());
    }
    let body = fill(name, &values);
    if let Some(values) = values.as_object_mut() {
        values.insert("title".to_owned(), title.into());
        values.insert("body".to_owned(), body.into());
    }
    fill("layout.html", &values)
}

fn fill(name: &str, values: &Value) -> String {
    match PAGES.get_template(name).and_then(|page| page.render(minijinja::value::Serde(values))) {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, name, "a page of the emulator could not be rendered");
            String::new()
        }
    }
}

pub(crate) fn picker(app: &str, tiles: &[Tile], unknown: Option<&str>, cancel: &str) -> String {
    render(
        "picker.html",
        "Pick an account",
        json!({ "app": app, "tiles": tiles, "unknown": unknown, "cancel": cancel }),
    )
}

pub(crate) fn pick_sign_out(tiles: &[Tile]) -> String {
    render("pick_sign_out.html", "Sign out", json!({ "tiles": tiles }))
}

pub(crate) fn step(
    step: Step,
    app: &str,
    user: &User,
    fields: &[(String, String)],
    scopes: &[String],
    cancel: &str,
) -> String {
    let (heading, explanation, button, answer) = match step {
        Step::Confirm => ("Sign in", "to continue to", "Sign in", None),
        Step::Password | Step::WrongPassword => {
            ("Enter password", "to continue to", "Sign in", None)
        }
        Step::SecondFactor => (
            "Approve sign-in request",
            "A second factor is needed for",
            "Approve",
            Some(("_mfa", "approved")),
        ),
        Step::Consent => (
            "Permissions requested",
            "These permissions on your behalf are asked for by",
            "Accept",
            Some(("_consent", "yes")),
        ),
    };
    let password = matches!(step, Step::Password | Step::WrongPassword);
    let wrong = step == Step::WrongPassword;
    let tile = Tile::new(user, false, String::new());
    render(
        "step.html",
        heading,
        json!({ "heading": heading, "explanation": explanation, "button": button, "answer": answer, "password": password, "wrong": wrong, "tile": tile, "app": app, "fields": fields, "scopes": scopes, "cancel": cancel }),
    )
}

pub(crate) fn admin_consent(app: &str, scopes: &[String], yes: &str, no: &str) -> String {
    render(
        "admin_consent.html",
        "Permissions requested",
        json!({ "app": app, "scopes": scopes, "yes": yes, "no": no }),
    )
}

pub(crate) fn form_post(action: &str, fields: &[(&'static str, String)]) -> String {
    render("form_post.html", "Working...", json!({ "action": action, "fields": fields }))
}

pub(crate) fn signed_out(frames: &[String], back: Option<&str>) -> String {
    render("signed_out.html", "Signed out", json!({ "frames": frames, "back": back }))
}

/// A failure that stays here.
pub(crate) fn failure(call: &Call, failure: &Failure) -> Answer {
    let html = render(
        "failure.html",
        "Sign in failed",
        json!({ "code": failure.code, "text": failure.text, "trace_id": call.trace_id, "correlation_id": call.correlation_id, "timestamp": timestamp::of_error(call.now) }),
    );
    call::page(failure.status, html)
}

/// `/error?code=…`, where `error_uri` leads.
pub(crate) fn error_text(call: &Call) -> Answer {
    let code = call.query.one("code").filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
    let heading = code.map_or_else(|| "No such error".to_owned(), |code| format!("AADSTS{code}"));
    let text = "Microsoft explains its errors in “Microsoft Entra authentication and \
                authorization error codes” on learn.microsoft.com.";
    call::page(
        StatusCode::OK,
        render("plain.html", &heading, json!({ "heading": heading, "text": text })),
    )
}

pub(crate) fn not_found(call: &Call) -> Answer {
    let text = format!("Nothing answers at {}.", call.path);
    let html = render("plain.html", "Not found", json!({ "heading": "Not found", "text": text }));
    call::page(StatusCode::NOT_FOUND, html)
}

pub(crate) fn home(realm: &Realm, call: &Call) -> Answer {
    let tiles: Vec<Tile> =
        realm.directory.users().iter().map(|user| Tile::new(user, false, String::new())).collect();
    let tenant = realm.directory.tenants().first().map(|tenant| tenant.id.as_str());
    let client_id = realm.directory.apps().first().map(|app| app.client_id.as_str());
    let html = render(
        "home.html",
        "Entra emulator",
        json!({ "base": call.base, "tenant": tenant, "client_id": client_id, "tiles": tiles, "wide": true }),
    );
    call::page(StatusCode::OK, html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{directory::Directory, scenario::Scenario};

    #[test]
    fn every_template_renders_and_escapes() {
        let directory = Directory::new(&Scenario::default()).unwrap();
        let user = directory.user(0).unwrap();
        let evil = "<script>alert(1)</script>";
        let tiles = [Tile::new(user, true, format!("?state={evil}"))];
        let fields = [("state".to_owned(), evil.to_owned())];
        let scopes = [evil.to_owned()];
        let pages = [
            picker(evil, &tiles, Some(evil), evil),
            pick_sign_out(&tiles),
            step(Step::Password, evil, user, &fields, &scopes, evil),
            step(Step::WrongPassword, evil, user, &fields, &scopes, evil),
            step(Step::SecondFactor, evil, user, &fields, &scopes, evil),
            step(Step::Consent, evil, user, &fields, &scopes, evil),
            step(Step::Confirm, evil, user, &fields, &scopes, evil),
            admin_consent(evil, &scopes, evil, evil),
            form_post(evil, &[("state", evil.to_owned())]),
            signed_out(&[evil.to_owned()], Some(evil)),
            render("plain.html", evil, json!({ "heading": evil, "text": evil })),
            render("failure.html", "Sign in failed", json!({ "code": 1, "text": evil })),
            render("home.html", "Entra emulator", json!({ "base": evil, "tiles": tiles })),
        ];
        for page in pages {
            assert!(page.contains("</html>"), "{page}");
            assert!(!page.contains(evil), "{page}");
        }
    }
}
