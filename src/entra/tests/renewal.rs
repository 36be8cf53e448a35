//! The refresh grant over a socket.

use super::*;

async fn alice(microsoft: &Microsoft, client: &EntraClient) -> Principal {
    microsoft.instead(TOKEN, microsoft.tokens(&microsoft.claims()));
    microsoft.sign_in(client).await.unwrap().id_token.principal()
}

fn refresh_token() -> SecretString {
    "0.former".to_owned().into()
}

/// As Entra sends it at a renewal.
fn without_nonce(mut claims: Value) -> Value {
    claims.as_object_mut().unwrap().remove("nonce");
    claims
}

#[tokio::test]
async fn a_renewal_asks_for_the_same_scopes_and_brings_a_fresh_id_token() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    let mut claims = without_nonce(microsoft.claims());
    claims["name"] = json!("Alice B.");
    microsoft.instead(TOKEN, microsoft.tokens(&claims));
    let renewed = client.renew(&refresh_token(), &alice).await.unwrap();
    let expected = HashMap::from(
        [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("client_secret", "s3cret&=+"),
            ("refresh_token", "0.former"),
            ("scope", "openid profile offline_access User.Read"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(microsoft.last_form(), expected);
    assert_eq!(renewed.tokens.refresh_token.unwrap().expose_secret(), "1.refresh");
    assert_eq!(renewed.id_token.unwrap().principal().name(), Some("Alice B."));
}

#[tokio::test]
async fn without_a_new_refresh_token_the_former_one_stays() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    let tokens = json!({ "token_type": "Bearer", "access_token": "at", "expires_in": 3600 });
    microsoft.instead(TOKEN, Reply::json(200, &tokens));
    let renewed = client.renew(&refresh_token(), &alice).await.unwrap();
    assert_eq!(renewed.tokens.refresh_token.unwrap().expose_secret(), "0.former");
    assert!(renewed.id_token.is_none());
}

#[tokio::test]
async fn a_renewed_id_token_of_somebody_else_is_refused() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    for name in ["sub", "oid"] {
        let mut claims = without_nonce(microsoft.claims());
        claims[name] = json!("mallory");
        microsoft.instead(TOKEN, microsoft.tokens(&claims));
        let error = client.renew(&refresh_token(), &alice).await.unwrap_err();
        assert!(matches!(error, EntraError::ForeignIdToken), "{name}");
        assert_eq!(error.remedy(), Remedy::Refuse);
    }
    for (name, value) in [
        ("tid", json!(OTHER_TENANT)),
        ("iss", json!(format!("{}/{OTHER_TENANT}/v2.0", microsoft.origin()))),
        ("aud", json!(OTHER_TENANT)),
    ] {
        let mut claims = without_nonce(microsoft.claims());
        claims[name] = value;
        microsoft.instead(TOKEN, microsoft.tokens(&claims));
        let error = client.renew(&refresh_token(), &alice).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Refuse, "{name} {error:?}");
    }
}

#[tokio::test]
async fn a_passing_fault_is_tried_once_more_after_a_second() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    let good = microsoft.tokens(&without_nonce(microsoft.claims()));
    let busy = json!({ "error": "temporarily_unavailable", "error_codes": [90033] });
    for fault in [Reply::raw(502, "<html>"), Reply::json(400, &busy)] {
        microsoft.instead(TOKEN, fault);
        microsoft.on(TOKEN, good.clone());
        let before = microsoft.calls(TOKEN);
        client.renew(&refresh_token(), &alice).await.unwrap();
        assert_eq!(microsoft.calls(TOKEN), before + 2);
    }
}

#[tokio::test]
async fn every_try_is_signed_anew_for_the_address_that_metadata_names() {
    let microsoft = Microsoft::start().await;
    let pair = Pair::new("renewal", 0);
    let client = microsoft.client_with(&Settings {
        client_secret: None,
        certificate_file: Some(pair.certificate.clone()),
        private_key_file: Some(pair.key.clone()),
        ..microsoft.settings()
    });
    let alice = alice(&microsoft, &client).await;
    microsoft.instead(TOKEN, Reply::raw(502, "<html>"));
    microsoft.on(TOKEN, microsoft.tokens(&without_nonce(microsoft.claims())));
    client.renew(&refresh_token(), &alice).await.unwrap();
    let script = microsoft.script.lock().unwrap();
    let forms = script.seen.iter().filter(|seen| kind(&seen.path) == TOKEN).map(|seen| &seen.form);
    let mut ids = std::collections::HashSet::new();
    for form in forms {
        assert!(form.contains_key("client_id") && !form.contains_key("client_secret"));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(form["client_assertion_type"], kind);
        let claims = form["client_assertion"].split('.').nth(1).unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["aud"], microsoft.document()["token_endpoint"]);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT), &json!(CLIENT)));
        ids.insert(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn whoever_says_how_long_to_wait_is_not_asked_again() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    let looping = json!({ "error": "invalid_grant", "error_codes": [50196] });
    for (reply, wait) in [
        (Reply::raw(429, "").with("retry-after", "30"), Some(30)),
        (Reply::raw(429, ""), None),
        (Reply::raw(503, "").with("retry-after", "9999"), Some(3600)),
        (Reply::json(400, &looping), Some(60)),
    ] {
        microsoft.instead(TOKEN, reply);
        let before = microsoft.calls(TOKEN);
        let error = client.renew(&refresh_token(), &alice).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Later);
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), wait);
        assert_eq!(microsoft.calls(TOKEN), before + 1);
    }
}

#[tokio::test]
async fn a_refused_refresh_token_ends_in_a_new_sign_in() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let alice = alice(&microsoft, &client).await;
    for (suberror, code) in [(None, 700_082), (Some("bad_token"), 50173), (None, 70000)] {
        let mut body = json!({ "error": "invalid_grant", "error_codes": [code] });
        body["suberror"] = json!(suberror);
        microsoft.instead(TOKEN, Reply::json(400, &body));
        let error = client.renew(&refresh_token(), &alice).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::SignInAgain, "{code}");
    }
}
