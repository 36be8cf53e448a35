//! Every check on an ID token, each broken alone.

use proptest::prelude::{prop_assert, proptest};

use super::{
    super::{
        authority::Issuer,
        id_token::{Expected, Unverified},
        signing_keys::SigningKey,
    },
    *,
};

const NOW: i64 = 1_800_000_000;

fn issuer() -> String {
    format!("https://login.microsoftonline.com/{TENANT}/v2.0")
}

fn single() -> Issuer {
    Issuer::Tenant { issuer: issuer(), tenant: TENANT.to_owned() }
}

fn claims() -> Value {
    json!({
        "aud": CLIENT, "iss": issuer(), "iat": NOW, "nbf": NOW, "exp": NOW + 3600,
        "nonce": NONCE, "tid": TENANT, "oid": "object-1", "sub": "subject-1", "ver": "2.0",
    })
}

fn keys(issuer: Option<&str>) -> Vec<Arc<SigningKey>> {
    let mut jwk = Signer::issuer("key-1").jwk("");
    jwk["issuer"] = json!(issuer);
    if issuer.is_none() {
        jwk.as_object_mut().unwrap().remove("issuer");
    }
    vec![Arc::new(SigningKey::read(&jwk).unwrap())]
}

fn check(
    token: &str,
    keys: &[Arc<SigningKey>],
    issuer: &Issuer,
    allowed_tenants: &[String],
) -> Result<VerifiedIdToken, IdTokenError> {
    let expected =
        Expected { client_id: CLIENT, issuer, allowed_tenants, nonce: Some(NONCE), now: NOW };
    Unverified::parse(token)?.verify(keys, &expected)
}

/// A token with good claims but for one change.
fn changed(name: &str, value: Value) -> Result<VerifiedIdToken, IdTokenError> {
    let mut claims = claims();
    claims[name] = value;
    check(&Signer::issuer("key-1").token(&claims), &keys(Some(&issuer())), &single(), &[])
}

#[test]
fn a_good_token_becomes_a_principal() {
    let verified = changed("name", json!("Alice")).unwrap();
    let alice = verified.principal();
    assert_eq!((alice.tenant_id(), alice.object_id()), (TENANT, "object-1"));
    assert_eq!((alice.subject(), alice.name()), ("subject-1", Some("Alice")));
}

#[test]
fn a_missing_claim_is_named() {
    for name in ["iss", "tid", "ver", "aud", "iat", "nbf", "exp", "sub", "oid", "nonce"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let token = Signer::issuer("key-1").token(&claims);
        let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
        // A key's issuer template cannot fit a token without issuer or tenant either.
        assert_eq!(checked.unwrap_err(), IdTokenError::Claim(name));
        for odd in [json!(null), json!([]), json!({}), json!("")] {
            assert!(changed(name, odd).is_err(), "{name}");
        }
    }
}

#[test]
fn only_rs256_is_accepted_whatever_the_header_says() {
    let signer = Signer::issuer("key-1");
    for alg in ["none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", ""] {
        let token = signer.sign(&json!({ "alg": alg, "kid": "key-1" }), &claims());
        let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
        assert_eq!(checked.unwrap_err(), IdTokenError::Algorithm, "{alg}");
    }
    let unsigned = {
        let token = signer.sign(&json!({ "alg": "none" }), &claims());
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let checked = check(&unsigned, &keys(Some(&issuer())), &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::Algorithm);
}

#[test]
fn a_token_signed_with_the_public_key_as_a_shared_secret_is_refused() {
    let signer = Signer::issuer("key-1");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &signer.modulus());
    for alg in ["HS256", "RS256"] {
        let token = signer.sign(&json!({ "alg": alg, "kid": "key-1" }), &claims());
        let (message, _) = token.rsplit_once('.').unwrap();
        let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        let checked = check(&format!("{message}.{tag}"), &keys(Some(&issuer())), &single(), &[]);
        assert!(checked.is_err(), "{alg}");
    }
}

#[test]
fn another_key_or_a_changed_byte_breaks_the_signature() {
    let keys = keys(Some(&issuer()));
    let foreign = Signer::other("key-1").token(&claims());
    let checked = check(&foreign, &keys, &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::Signature);

    let good = Signer::issuer("key-1").token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let mut forged = claims();
    forged["oid"] = json!("admin");
    let forged = URL_SAFE_NO_PAD.encode(forged.to_string());
    let checked = check(&format!("{header}.{forged}.{signature}"), &keys, &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::Signature);
    for broken in ["", "A", "AA==", signature.get(1..).unwrap(), &format!("{signature}A")] {
        let checked = check(&format!("{signed}.{broken}"), &keys, &single(), &[]);
        assert_eq!(checked.unwrap_err(), IdTokenError::Signature, "{broken}");
    }
    assert_eq!(check(&good, &[], &single(), &[]).unwrap_err(), IdTokenError::UnknownKey);
}

#[test]
fn a_key_that_the_header_brings_along_is_not_looked_at() {
    let attacker = Signer::other("mine");
    let header = json!({
        "alg": "RS256", "kid": "key-1", "jwk": attacker.jwk(&issuer()), "jku": "https://evil.test",
        "x5u": "https://evil.test", "x5c": ["AAAA"],
    });
    let token = attacker.sign(&header, &claims());
    let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::Signature);
    let critical = json!({ "alg": "RS256", "kid": "key-1", "crit": ["b64"], "b64": false });
    let token = Signer::issuer("key-1").sign(&critical, &claims());
    let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::Critical);
}

#[test]
fn what_is_not_three_parts_of_bounded_size_is_not_read() {
    let good = Signer::issuer("key-1").token(&claims());
    let deep = format!("{{\"alg\":\"RS256\",\"x\":{}{}}}", "[".repeat(99), "]".repeat(99));
    let (_, rest) = good.split_once('.').unwrap();
    for (token, expected) in [
        (String::new(), IdTokenError::Malformed),
        ("a.b".to_owned(), IdTokenError::Malformed),
        ("...".to_owned(), IdTokenError::Malformed),
        (format!("{good}.x"), IdTokenError::Malformed),
        (format!(" {good}"), IdTokenError::Malformed),
        (good.replacen('.', "=.", 1), IdTokenError::Malformed),
        (format!("{}.{rest}", URL_SAFE_NO_PAD.encode(deep)), IdTokenError::Malformed),
        (format!("{}.{rest}", URL_SAFE_NO_PAD.encode("[]")), IdTokenError::Malformed),
        (".".repeat(100_000), IdTokenError::Malformed),
        (".".repeat(1_000_000), IdTokenError::TooLong),
        ("a".repeat(128 * 1024 + 1), IdTokenError::TooLong),
    ] {
        let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
        assert_eq!(checked.unwrap_err(), expected, "{token:.40}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_checks_panic_or_pass(
        text in ".{0,200}",
        header in "[A-Za-z0-9{}:,\"\\[\\].-]{0,60}",
        claims in "[a-z0-9{}:,\"\\[\\].-]{0,120}",
    ) {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for token in [
            text.clone(),
            format!("{}.{}.{}", part(&header), part(&claims), part(&text)),
            format!("{}.{}.{}", part("{\"alg\":\"RS256\"}"), part(&claims), part(&text)),
        ] {
            prop_assert!(check(&token, &keys(None), &single(), &[]).is_err());
        }
    }
}

#[test]
fn the_audience_is_us_and_among_several_the_authorized_party_too() {
    for audience in [json!(CLIENT), json!([CLIENT])] {
        assert!(changed("aud", audience).is_ok());
    }
    for audience in [
        json!(OTHER_TENANT),
        json!([OTHER_TENANT]),
        json!([]),
        json!([CLIENT, OTHER_TENANT]),
        json!([CLIENT, 1]),
        json!({ "0": CLIENT }),
        json!(CLIENT.to_uppercase()),
        json!(format!("{CLIENT} ")),
    ] {
        assert!(changed("aud", audience.clone()).is_err(), "{audience}");
    }
    for (azp, accepted) in [(CLIENT, true), (OTHER_TENANT, false)] {
        assert_eq!(changed("azp", json!(azp)).is_ok(), accepted);
        let mut claims = claims();
        claims["aud"] = json!([CLIENT, OTHER_TENANT]);
        claims["azp"] = json!(azp);
        let token = Signer::issuer("key-1").token(&claims);
        let checked = check(&token, &keys(Some(&issuer())), &single(), &[]);
        assert_eq!(checked.is_ok(), accepted);
    }
}

#[test]
fn times_are_checked_with_two_minutes_of_skew_by_our_clock() {
    for (name, value, expected) in [
        ("exp", json!(NOW - 119), None),
        ("exp", json!(NOW - 120), Some(IdTokenError::Expired)),
        ("exp", json!(1_799_999_881.5), None),
        ("exp", json!(-1), Some(IdTokenError::Expired)),
        ("exp", json!(-1e300), Some(IdTokenError::Expired)),
        ("exp", json!(1e300), None),
        ("exp", json!(i64::MAX), None),
        ("exp", json!(u64::MAX), None),
        ("exp", json!(i64::MIN), Some(IdTokenError::Expired)),
        ("exp", json!("1900000000"), Some(IdTokenError::Claim("exp"))),
        ("exp", json!(true), Some(IdTokenError::Claim("exp"))),
        ("nbf", json!(NOW + 120), None),
        ("nbf", json!(NOW + 121), Some(IdTokenError::NotYet)),
        ("nbf", json!(1e300), Some(IdTokenError::NotYet)),
        ("iat", json!(NOW + 120), None),
        ("iat", json!(NOW + 121), Some(IdTokenError::NotYet)),
        ("iat", json!("now"), Some(IdTokenError::Claim("iat"))),
    ] {
        assert_eq!(changed(name, value.clone()).err(), expected, "{name} {value}");
    }
}

#[test]
fn nonce_and_version_are_exact() {
    for nonce in
        ["other", "nonce-of-this-sign-i", "nonce-of-this-sign-inn", "NONCE-OF-THIS-SIGN-IN"]
    {
        assert_eq!(changed("nonce", json!(nonce)).err(), Some(IdTokenError::Nonce));
    }
    assert_eq!(changed("ver", json!("1.0")).err(), Some(IdTokenError::Version));
    assert!(changed("ver", json!(2.0)).is_err());
}

#[test]
fn the_issuer_is_that_of_the_configured_tenant() {
    for wrong in [
        format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
        format!("https://sts.windows.net/{TENANT}/"),
        format!("https://evil.test/{TENANT}/v2.0"),
        format!("{}/", issuer()),
    ] {
        let mut claims = claims();
        claims["iss"] = json!(wrong);
        let token = Signer::issuer("key-1").token(&claims);
        for keys in [keys(None), keys(Some(&wrong))] {
            let checked = check(&token, &keys, &single(), &[]);
            assert_eq!(checked.unwrap_err(), IdTokenError::Issuer, "{wrong}");
        }
    }
    assert!(changed("tid", json!(OTHER_TENANT)).is_err());
}

/// A token of one tenant at `organizations`, with what its key says of itself.
fn multi(iss: &str, tid: &str, key_issuer: Option<&str>) -> Result<VerifiedIdToken, IdTokenError> {
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned();
    let mut claims = claims();
    claims["iss"] = json!(iss);
    claims["tid"] = json!(tid);
    let token = Signer::issuer("key-1").token(&claims);
    let allowed = [TENANT.to_owned()];
    check(&token, &keys(key_issuer), &Issuer::AnyTenant { template }, &allowed)
}

#[test]
fn among_many_tenants_issuer_tenant_and_key_must_agree_and_be_allowed() {
    const TEMPLATE: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let personal = authority::CONSUMERS;
    assert!(multi(&of(TENANT), TENANT, Some(TEMPLATE)).is_ok());
    for (iss, tid, key, expected) in [
        (of(OTHER_TENANT), OTHER_TENANT, Some(TEMPLATE.to_owned()), IdTokenError::Tenant),
        (of(TENANT), OTHER_TENANT, Some(TEMPLATE.to_owned()), IdTokenError::KeyIssuer),
        (of(OTHER_TENANT), TENANT, Some(TEMPLATE.to_owned()), IdTokenError::KeyIssuer),
        (of(TENANT), TENANT, Some(of(OTHER_TENANT)), IdTokenError::KeyIssuer),
        (of(TENANT), TENANT, Some(of(personal)), IdTokenError::KeyIssuer),
        (of(personal), personal, Some(of(personal)), IdTokenError::Tenant),
        (of(TENANT), TENANT, None, IdTokenError::KeyIssuer),
        (of("{tenantid}"), "{tenantid}", Some(TEMPLATE.to_owned()), IdTokenError::Claim("tid")),
        (of("x"), "x", Some(TEMPLATE.to_owned()), IdTokenError::Claim("tid")),
    ] {
        let checked = multi(&iss, tid, key.as_deref());
        assert_eq!(checked.unwrap_err(), expected, "{iss} {tid} {key:?}");
    }
}

#[test]
fn a_token_of_personal_accounts_does_not_pass_for_the_tenant() {
    let personal = authority::CONSUMERS;
    let of_personal = format!("https://login.microsoftonline.com/{personal}/v2.0");
    let token = Signer::issuer("key-1").token(&claims());
    let checked = check(&token, &keys(Some(&of_personal)), &single(), &[]);
    assert_eq!(checked.unwrap_err(), IdTokenError::KeyIssuer);
}
