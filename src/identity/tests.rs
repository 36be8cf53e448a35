//! Headers as the app sees them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::{any, prop, proptest};
use serde_json::json;

use super::*;

const RESERVED: [&str; 30] = [
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
    "x-request-id",
    "x-real-ip",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-client-cert",
    "x-client-cert-chain",
    "x-auth-request-user",
    "x-auth-request-access-token",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-idp",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-refresh-token",
    "x-user",
    "x-mail-address",
];

fn build(toml: &str) -> Result<Identity, IdentityError> {
    let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
    Identity::build(toml::from_str(toml).unwrap(), &public_url)
}

fn configured() -> Identity {
    build(
        r#"
        dialects = ["easy-auth", "oauth2-proxy", "easy-auth"]
        [headers]
        "X-User" = "preferred_username"
        "X_Mail.Address" = "email"
        "#,
    )
    .unwrap()
}

fn claims(value: Value) -> Map<String, Value> {
    let Value::Object(claims) = value else { unreachable!("a test passes an object") };
    claims
}

fn asserted(identity: &Identity, claims: &Map<String, Value>, headers: &mut HeaderMap) {
    let assertion = Assertion {
        claims,
        access_token: Some("ACCESS"),
        id_token: Some("ID"),
        expires_on: 1_761_612_313,
    };
    identity.assert(&assertion, headers);
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    assert!(lines.next().is_none(), "{name} is there twice");
    Some(line.to_str().unwrap())
}

#[test]
fn every_reserved_name_is_stripped_and_nothing_else() {
    let identity = configured();
    let mut headers = HeaderMap::new();
    for name in RESERVED {
        for spelling in [name.to_owned(), name.replace('-', "_"), name.replace('-', ".")] {
            let spelling = HeaderName::from_bytes(spelling.as_bytes()).unwrap();
            headers.append(&spelling, HeaderValue::from_static("forged"));
            headers.append(&spelling, HeaderValue::from_static("forged again"));
        }
    }
    let passing =
        ["accept", "content-type", "cookie", "x-requested-with", "x-users", "x_csrf_token"];
    for name in passing {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    identity.strip(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, passing);
}

proptest! {
    #[test]
    fn no_spelling_of_a_reserved_name_survives(
        index in 0..RESERVED.len(),
        separators in prop::collection::vec("[-_.~!#$%&'*+^`|]", 6),
        upper in prop::collection::vec(any::<bool>(), 40),
    ) {
        let name = RESERVED[index];
        let mut separators = separators.iter().cycle();
        let spelled: String = name
            .chars()
            .zip(upper)
            .map(|(c, upper)| match c {
                '-' => separators.next().unwrap().clone(),
                c if upper => c.to_uppercase().to_string(),
                c => c.to_string(),
            })
            .collect();
        let mut headers = HeaderMap::new();
        let spelled = HeaderName::from_bytes(spelled.as_bytes()).unwrap();
        headers.insert(spelled, HeaderValue::from_static("forged"));
        configured().strip(&mut headers);
        assert!(headers.is_empty());
    }
}

#[test]
fn with_authorization_none_the_header_is_the_clients() {
    let identity = build("authorization = \"none\"").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    identity.strip(&mut headers);
    asserted(&identity, &Map::new(), &mut headers);
    assert_eq!(text(&headers, "authorization"), Some("Basic eDp5"));
    assert!(!identity.needs_access_token());
}

#[test]
fn the_app_learns_where_a_request_came_from() {
    let identity = configured();
    let mut headers = HeaderMap::new();
    headers.append(X_FORWARDED_HOST, HeaderValue::from_static("evil.test"));
    identity.forward(Some(HeaderValue::from_static("192.0.2.1")), "id-1", &mut headers);
    assert_eq!(text(&headers, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(text(&headers, "x-forwarded-host"), Some("app.contoso.com"));
    assert_eq!(text(&headers, "x-forwarded-proto"), Some("https"));
    assert_eq!(text(&headers, "x-request-id"), Some("id-1"));
    identity.forward(None, "id-2", &mut headers);
    assert_eq!(text(&headers, "x-forwarded-for"), None);
}

#[test]
fn the_app_learns_who_is_signed_in() {
    let claims = claims(json!({
        "oid": "11111111-2222-3333-4444-555555555555", "sub": "pairwise", "name": "Jürgen",
        "preferred_username": "jürgen@contoso.com", "email": "j@contoso.com",
        "groups": ["a", "b"], "roles": ["Reader"],
    }));
    let mut headers = HeaderMap::new();
    asserted(&configured(), &claims, &mut headers);
    for (name, value) in [
        ("authorization", "Bearer ACCESS"),
        ("x-ms-client-principal-id", "11111111-2222-3333-4444-555555555555"),
        ("x-ms-client-principal-name", "j%C3%BCrgen@contoso.com"),
        ("x-ms-client-principal-idp", "aad"),
        ("x-ms-token-aad-access-token", "ACCESS"),
        ("x-ms-token-aad-id-token", "ID"),
        ("x-ms-token-aad-expires-on", "2025-10-28T00:45:13.0000000Z"),
        ("x-forwarded-user", "pairwise"),
        ("x-forwarded-email", "j@contoso.com"),
        ("x-forwarded-preferred-username", "j%C3%BCrgen@contoso.com"),
        ("x-forwarded-groups", "a,b"),
        ("x-forwarded-access-token", "ACCESS"),
        ("x-user", "j%C3%BCrgen@contoso.com"),
        ("x_mail.address", "j@contoso.com"),
    ] {
        assert_eq!(text(&headers, name), Some(value), "{name}");
    }
    let principal = STANDARD.decode(text(&headers, "x-ms-client-principal").unwrap()).unwrap();
    let principal: Value = serde_json::from_slice(&principal).unwrap();
    assert_eq!(principal["auth_typ"], "aad");
    let claims = principal["claims"].as_array().unwrap();
    assert!(claims.contains(&json!({ "typ": "roles", "val": "Reader" })));
    assert!(claims.contains(&json!({ "typ": "name", "val": "Jürgen" })));
    for typ in ["name_typ", "role_typ"] {
        assert!(claims.iter().any(|claim| claim["typ"] == principal[typ]), "{typ}");
    }
}

#[test]
fn every_header_that_is_written_is_one_that_is_stripped() {
    let identity = configured();
    let all = claims(json!({
        "oid": "o", "sub": "s", "preferred_username": "p", "email": "e", "groups": ["g"],
    }));
    let mut headers = HeaderMap::new();
    asserted(&identity, &all, &mut headers);
    identity.forward(Some(HeaderValue::from_static("192.0.2.1")), "id-1", &mut headers);
    assert!(headers.len() > 15);
    identity.strip(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn no_claim_no_header() {
    let mut headers = HeaderMap::new();
    let assertion =
        Assertion { claims: &Map::new(), access_token: None, id_token: None, expires_on: 0 };
    configured().assert(&assertion, &mut headers);
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["x-ms-client-principal", "x-ms-client-principal-idp", "x-ms-token-aad-expires-on"]
    );
}

#[test]
fn tokens_are_not_in_debug_output() {
    let mut headers = HeaderMap::new();
    let claims = claims(json!({ "oid": "CLAIM" }));
    asserted(&configured(), &claims, &mut headers);
    let authorization = headers.get(AUTHORIZATION).unwrap();
    assert!(!format!("{authorization:?}").contains("ACCESS"));
    let assertion =
        Assertion { claims: &claims, access_token: Some("ACCESS"), id_token: None, expires_on: 0 };
    assert!(!format!("{assertion:?}").contains("CLAIM"));
}

#[test]
fn a_header_that_cannot_carry_a_claim_is_refused() {
    for name in [
        "Host",
        "Cookie",
        "Authorization",
        "Content-Length",
        "content_type",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X_Request_Id",
        "Sec-Fetch-Site",
        "Origin",
        "Forwarded",
        "Upgrade",
    ] {
        let error = build(&format!("[headers]\n\"{name}\" = \"oid\"")).unwrap_err();
        assert_eq!(error, IdentityError::Unusable(name.to_owned()));
    }
    for name in ["X User", "", "X-Übel", "X:User", "X-User\\n"] {
        let error = build(&format!("[headers]\n\"{name}\" = \"oid\"")).unwrap_err();
        assert!(matches!(error, IdentityError::Name(_)), "{name}");
    }
    for toml in [
        "[headers]\n\"X-User\" = \"oid\"\n\"x_user\" = \"sub\"",
        "dialects = [\"oauth2-proxy\"]\n[headers]\n\"X-Forwarded-User\" = \"oid\"",
    ] {
        assert!(matches!(build(toml), Err(IdentityError::Twice(_))), "{toml}");
    }
    assert!(matches!(build("[headers]\n\"X-User\" = \" \""), Err(IdentityError::Claim(_))));
    assert!(build("[headers]\n\"X-Forwarded-User\" = \"oid\"").is_ok());
}

#[test]
fn sessions_learn_which_claims_the_app_gets() {
    assert_eq!(configured().claims_used(), ClaimsUsed::All);
    assert!(configured().needs_id_token());
    let some = build("dialects = [\"oauth2-proxy\"]\n[headers]\n\"X-Tenant\" = \"tid\"").unwrap();
    let names = ["email", "groups", "preferred_username", "sub", "tid"].map(str::to_owned);
    assert_eq!(some.claims_used(), ClaimsUsed::These(names.into()));
    assert!(!some.needs_id_token());
}

#[test]
fn unknown_keys_and_words_are_refused() {
    for toml in ["dialect = []", "dialects = [\"easyauth\"]", "authorization = \"basic\""] {
        assert!(toml::from_str::<Settings>(toml).is_err(), "{toml}");
    }
    let settings = toml::to_string(&toml::from_str::<Settings>("").unwrap()).unwrap();
    assert!(settings.contains("authorization = \"bearer\""));
}
