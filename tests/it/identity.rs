//! What the app is told: exact headers, and none else.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{ALICE, Browser, FETCH, Recorded, Setup, Stack};

/// Names of the header fields of a request, in lower case, each as often as it came.
fn names(request: &Recorded) -> Vec<String> {
    let fields = request.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut names: Vec<String> = fields.map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names
}

/// Asks with nothing but a host and the browser's cookies.
async fn bare(stack: &Stack, browser: &Browser, place: &str, more: &str) -> Recorded {
    let cookies: Vec<String> = browser
        .session_cookies()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let cookie = match cookies.join("; ") {
        none if none.is_empty() => none,
        some => format!("Cookie: {some}\r\n"),
    };
    let host = stack.host();
    let before = stack.app.requests().len();
    let answer = stack
        .raw(&format!(
            "GET {place} HTTP/1.1\r\nHost: {host}\r\n{cookie}{more}Connection: close\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(stack.app.requests().len(), before + 1);
    stack.app.last()
}

const ALWAYS: [&str; 5] =
    ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];

fn expected(more: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = ALWAYS.iter().chain(more).map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names
}

async fn user_claims(browser: &mut Browser) -> Vec<(String, String)> {
    let me = browser.fetch(Method::GET, "/.auth/me").await.json();
    let claims = me[0]["user_claims"].as_array().unwrap().clone();
    claims
        .iter()
        .map(|claim| {
            (claim["typ"].as_str().unwrap().to_owned(), claim["val"].as_str().unwrap().to_owned())
        })
        .collect()
}

const SUB: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";

#[tokio::test]
async fn without_a_dialect_the_app_gets_the_bearer_token_and_where_the_request_came_from() {
    let stack = Stack::start().await;
    let browser = stack.signed_in(ALICE).await;
    let request = bare(&stack, &browser, "/", "").await;
    assert_eq!(names(&request), expected(&["authorization"]), "{}", request.head);
    assert_eq!(request.header("host"), Some(stack.host().as_str()));
    assert_eq!(request.header("x-forwarded-host"), Some(stack.host().as_str()));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    let token = request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(token.split('.').count(), 3);
}

#[tokio::test]
async fn easy_auth_speaks_as_app_service_does() {
    let stack = Setup::default().set("identity.dialects", "[\"easy-auth\"]").start().await;
    for user in [ALICE, "erin@contoso.test", "zoe@contoso.test"] {
        let mut browser = stack.signed_in(user).await;
        let request = bare(&stack, &browser, "/", "").await;
        let wanted = expected(&[
            "authorization",
            "x-ms-client-principal",
            "x-ms-client-principal-id",
            "x-ms-client-principal-name",
            "x-ms-client-principal-idp",
            "x-ms-token-aad-access-token",
            "x-ms-token-aad-id-token",
            "x-ms-token-aad-expires-on",
        ]);
        assert_eq!(names(&request), wanted, "{}", request.head);
        let session = browser.fetch(Method::GET, "/.auth/session").await.json();
        assert_eq!(request.header("x-ms-client-principal-id"), session["object_id"].as_str());
        assert_eq!(request.header("x-ms-client-principal-name"), Some(user));
        assert_eq!(request.header("x-ms-client-principal-idp"), Some("aad"));
        let token = request.header("x-ms-token-aad-access-token").unwrap();
        assert_eq!(request.header("authorization").unwrap(), format!("Bearer {token}"));
        let id_token = request.header("x-ms-token-aad-id-token").unwrap();
        assert_eq!(id_token.split('.').count(), 3);
        assert_ne!(id_token, token);
        let ends = request.header("x-ms-token-aad-expires-on").unwrap();
        assert!(ends.starts_with("20") && ends.ends_with('Z') && ends.contains('T'), "{ends}");

        let principal = request.header("x-ms-client-principal").unwrap();
        let principal: Value =
            serde_json::from_slice(&BASE64_STANDARD.decode(principal).unwrap()).unwrap();
        let members: BTreeSet<&String> = principal.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4, "{members:?}");
        assert_eq!(principal["auth_typ"], "aad");
        assert!(principal["name_typ"].is_string() && principal["role_typ"].is_string());
        let claims = principal["claims"].as_array().unwrap();
        let all = |typ: &str| -> BTreeSet<&str> {
            let of_type = claims.iter().filter(|claim| claim["typ"] == typ);
            of_type.map(|claim| claim["val"].as_str().unwrap()).collect()
        };
        assert_eq!(all(principal["name_typ"].as_str().unwrap()), BTreeSet::from([user]));
        let roles = all(principal["role_typ"].as_str().unwrap());
        match user {
            "erin@contoso.test" => assert_eq!(roles, BTreeSet::from(["Admin", "Reader"])),
            "zoe@contoso.test" => assert_eq!(roles, BTreeSet::from(["Reader"])),
            _ => assert!(roles.is_empty()),
        }
    }
}

#[tokio::test]
async fn oauth2_proxys_headers_come_from_the_claims_that_it_takes_them_from() {
    let stack = Setup::default().set("identity.dialects", "[\"oauth2-proxy\"]").start().await;
    let user = "bob@contoso.test";
    let mut browser = stack.signed_in(user).await;
    let request = bare(&stack, &browser, "/", "").await;
    let wanted = [
        "authorization",
        "x-forwarded-user",
        "x-forwarded-preferred-username",
        "x-forwarded-groups",
        "x-forwarded-access-token",
    ];
    // Microsoft sends no email claim for a member who was not asked for it: no claim, no header.
    assert_eq!(names(&request), expected(&wanted), "{}", request.head);
    let claims = user_claims(&mut browser).await;
    let sub = &claims.iter().find(|(typ, _)| typ == SUB).expect("a sub").1;
    assert_eq!(request.header("x-forwarded-user"), Some(sub.as_str()));
    assert_eq!(request.header("x-forwarded-preferred-username"), Some(user));
    let groups: Vec<&str> =
        claims.iter().filter(|(typ, _)| typ == "groups").map(|(_, val)| val.as_str()).collect();
    assert_eq!(groups.len(), 10);
    assert_eq!(request.header("x-forwarded-groups"), Some(groups.join(",").as_str()));
    let token = request.header("x-forwarded-access-token").unwrap();
    assert_eq!(request.header("authorization").unwrap(), format!("Bearer {token}"));

    let guest = stack.signed_in("frank@fabrikam.test").await;
    let request = bare(&stack, &guest, "/", "").await;
    assert_eq!(request.header("x-forwarded-email"), Some("frank@fabrikam.test"));
}

#[tokio::test]
async fn a4_a_claim_that_is_not_there_is_no_header_whatever_the_client_sends() {
    let stack = Setup::default()
        .set("identity.dialects", "[\"oauth2-proxy\", \"easy-auth\"]")
        .set(
            "identity.headers",
            "{ X-Title = \"job_title\", X-Team = \"groups\", X-User = \"preferred_username\" }",
        )
        .start()
        .await;
    let browser = stack.signed_in(ALICE).await;
    let forged = "X-Title: boss\r\nx_title: boss\r\nX.Team: 1\r\nX-Team: 2\r\nX-Forwarded-Groups: g\r\n\
                  X-Forwarded-Email: a@b\r\nx-user: root\r\nX~User: root\r\nX_USER: root\r\n\
                  x-ms-client-principal: e30=\r\nX_MS_CLIENT_PRINCIPAL: e30=\r\nX-MS-Anything: 1\r\n";
    let request = bare(&stack, &browser, "/", forged).await;
    let wanted = expected(&[
        "authorization",
        "x-forwarded-user",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-ms-client-principal-name",
        "x-ms-client-principal-idp",
        "x-ms-token-aad-access-token",
        "x-ms-token-aad-id-token",
        "x-ms-token-aad-expires-on",
        "x-user",
    ]);
    assert_eq!(names(&request), wanted, "{}", request.head);
    assert_eq!(request.header("x-user"), Some(ALICE));
}

/// Percent-decoding, written here so that it shares nothing with what is tested.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).unwrap()
}

#[tokio::test]
async fn a7_a_name_that_is_not_ascii_is_percent_encoded_and_control_characters_are_left_out() {
    let stack = Setup::default()
        .set("identity.headers", "{ X-Name = \"name\", X-Team = \"groups\", X-Note = \"note\" }")
        .start()
        .await;
    let zoe = stack.signed_in("zoe@contoso.test").await;
    let request = bare(&stack, &zoe, "/", "").await;
    let name = request.header("x-name").unwrap();
    assert!(name.is_ascii() && name.contains("Zo%C3%AB"), "{name}");
    assert_eq!(decoded(name), "Zoë Müller-Ångström");
    for (claims, note, team) in [
        (json!({ "note": "a\r\nX-Role: admin" }), None, None),
        (json!({ "note": "a\nb" }), None, None),
        (json!({ "note": "nul\u{0}" }), None, None),
        (json!({ "note": "c1\u{85}" }), None, None),
        (json!({ "note": "" }), None, None),
        (json!({ "note": { "a": 1 } }), None, None),
        (json!({ "note": true }), Some("true"), None),
        (json!({ "note": 7 }), Some("7"), None),
        (json!({ "note": "plain, with comma" }), Some("plain, with comma"), None),
        (json!({ "groups": ["one", "x,admin", "two"] }), None, Some("one,two")),
        (json!({ "groups": ["a\r\nb"] }), None, None),
    ] {
        stack.fault(json!({ "endpoint": "token", "id_token_claims": claims }));
        let browser = stack.signed_in(ALICE).await;
        let request = bare(&stack, &browser, "/", "").await;
        assert_eq!(request.header("x-note"), note, "{claims}");
        assert_eq!(request.header("x-team"), team, "{claims}");
        assert!(request.header("x-role").is_none(), "{claims}");
        assert_eq!(request.header("x-name"), Some("Alice Adams"));
    }
}

#[tokio::test]
async fn with_authorization_none_the_header_is_the_callers() {
    let stack = Setup::default()
        .set("identity.authorization", "\"none\"")
        .rules("[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n")
        .start()
        .await;
    let browser = stack.signed_in(ALICE).await;
    let request = bare(&stack, &browser, "/", "").await;
    assert_eq!(names(&request), expected(&[]), "{}", request.head);
    for place in ["/", "/open"] {
        let request = bare(&stack, &browser, place, "Authorization: Basic dXNlcjpwYXNz\r\n").await;
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYXNz"));
        assert_eq!(names(&request), expected(&["authorization"]));
    }
    // It is still no way to sign in.
    let headers = [FETCH, &[("authorization", "Bearer x.y.z")]].concat();
    let page = stack.browser().request(Method::GET, "/", &headers, Bytes::new()).await;
    assert_eq!(page.status, 401);
}

#[tokio::test]
async fn pass_authorization_hands_on_the_callers_header_there_and_only_there() {
    let stack = Setup::default()
        .set("identity.headers", "{ X-User = \"preferred_username\" }")
        .rules(
            "[[rules]]\npath = \"/hook\"\naccess = \"anonymous\"\npass_authorization = true\n\
             [[rules]]\npath = \"/mixed\"\npass_authorization = true\n\
             [[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n",
        )
        .start()
        .await;
    let own = "Authorization: Bearer of-the-caller\r\n";
    let nobody = stack.browser();
    assert_eq!(
        bare(&stack, &nobody, "/hook", own).await.header("authorization"),
        Some("Bearer of-the-caller")
    );
    assert_eq!(bare(&stack, &nobody, "/hook", "").await.header("authorization"), None);
    assert_eq!(bare(&stack, &nobody, "/open", own).await.header("authorization"), None);
    let alice = stack.signed_in(ALICE).await;
    for place in ["/hook", "/mixed"] {
        let request = bare(&stack, &alice, place, own).await;
        assert_eq!(request.header("authorization"), Some("Bearer of-the-caller"), "{place}");
        assert_eq!(request.header("x-user"), Some(ALICE), "{place}");
        // Ours does not go there, not even where the caller sends none.
        assert_eq!(bare(&stack, &alice, place, "").await.header("authorization"), None, "{place}");
    }
    let request = bare(&stack, &alice, "/", own).await;
    assert_ne!(request.header("authorization"), Some("Bearer of-the-caller"));
    // Without a session the protected one stays protected, whatever is sent.
    let answer = stack
        .raw(&format!(
            "GET /mixed HTTP/1.1\r\nHost: {}\r\n{own}Connection: close\r\n\r\n",
            stack.host()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn on_an_anonymous_path_a_session_is_asserted_and_a_broken_one_is_nobody() {
    let stack = Setup::default()
        .scenario("token_lifetime = \"600s\"")
        .set("identity.headers", "{ X-User = \"preferred_username\" }")
        .rules("[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n")
        .start()
        .await;
    let nobody = stack.browser();
    assert_eq!(names(&bare(&stack, &nobody, "/open", "X-User: x\r\n").await), expected(&[]));
    let mut browser = stack.signed_in(ALICE).await;
    let request = bare(&stack, &browser, "/open", "").await;
    assert_eq!(names(&request), expected(&["authorization", "x-user"]));
    // Broken: cut in the middle.
    let mut broken = browser.clone();
    for (name, value) in browser.session_cookies() {
        broken.set_cookie(&name, &value[..value.len() / 2]);
    }
    assert_eq!(names(&bare(&stack, &broken, "/open", "X-User: x\r\n").await), expected(&[]));
    // Microsoft is silent and the token over: nobody, and no refusal.
    stack.advance(700);
    stack.fault(json!({ "endpoint": "token", "times": 20, "status": 503 }));
    let page = browser.fetch(Method::GET, "/open").await;
    assert_eq!(page.status, 200);
    assert!(page.set_cookies().is_empty());
    let request = stack.app.last();
    assert!(request.header("authorization").is_none() && request.header("x-user").is_none());
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 503);
}

#[tokio::test]
async fn every_reserved_name_in_every_spelling_is_removed_and_others_pass() {
    let stack = Setup::default()
        .set("identity.headers", "{ X-Shop-User = \"preferred_username\" }")
        .rules("[[rules]]\npath = \"/*\"\naccess = \"anonymous\"\n")
        .start()
        .await;
    let reserved = [
        "authorization",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "x-forwarded-method",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-auth-request-user",
        "x-auth-request-email",
        "x-auth-request-groups",
        "x-auth-request-access-token",
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-ms-client-principal-name",
        "x-ms-client-principal-idp",
        "x-ms-token-aad-access-token",
        "x-ms-token-aad-id-token",
        "x-request-id",
        "x-real-ip",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-client-cert",
        "x-client-cert-chain",
        "x-shop-user",
    ];
    // What RFC 9110 §5.6.2 allows in a name, apart from letters and digits.
    for separator in ["-", "_", ".", "~", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|"] {
        for upper in [false, true] {
            let spelled = reserved.map(|name| {
                let name = name.replace('-', separator);
                if upper { name.to_ascii_uppercase() } else { name }
            });
            let lines: String = spelled.iter().map(|name| format!("{name}: forged\r\n")).collect();
            let request = bare(
                &stack,
                &stack.browser(),
                "/",
                &format!("{lines}X-Shop: passes\r\nX-Shop-Users: passes\r\n"),
            )
            .await;
            assert_eq!(names(&request), expected(&["x-shop", "x-shop-users"]), "{separator}");
            assert!(!request.head.contains("forged"), "{}", request.head);
        }
    }
}
