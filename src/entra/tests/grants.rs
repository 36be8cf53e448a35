//! The code grant over a socket: what is sent, and what every kind of answer means.

use super::*;

#[tokio::test]
async fn a_code_is_redeemed_with_verifier_secret_and_redirect_uri() {
    let microsoft = Microsoft::start().await;
    microsoft.on(TOKEN, microsoft.tokens(&microsoft.claims()));
    let client = microsoft.client();
    let signed_in = microsoft.sign_in(&client).await.unwrap();
    let expected = HashMap::from(
        [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("client_secret", "s3cret&=+"),
            ("code", "the-code"),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "http://localhost:4180/.auth/login/aad/callback"),
            ("scope", "openid profile offline_access User.Read"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(microsoft.last_form(), expected);
    // Neither the user's names nor any secret of the flow can get into a log by accident.
    let said = format!("{signed_in:?}");
    for hidden in ["alice", "Alice", NONCE, "opaque", "1.refresh", "s3cret"] {
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
    assert_eq!(signed_in.id_token.principal().user_name(), Some("alice@contoso.test"));
    assert_eq!(signed_in.id_token.claims()["nonce"], NONCE);
    let tokens = signed_in.tokens;
    assert_eq!(tokens.access_token.expose_secret(), "opaque-access-token");
    assert_eq!(tokens.scope, "User.Read openid profile");
    let life = tokens.expires_at - microsoft.clock.unix();
    assert!((3590..=3600).contains(&life), "{life}");
    let script = microsoft.script.lock().unwrap();
    let headers = script.seen.iter().find(|seen| kind(&seen.path) == TOKEN).map(|s| &s.headers);
    let headers = headers.unwrap();
    assert_eq!(headers["x-client-sku"], "vestibule");
    assert!(!headers.contains_key("origin") && !headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_refusal_keeps_what_support_and_the_next_step_need() {
    let microsoft = Microsoft::start().await;
    let body = json!({
        "error": "invalid_grant", "suberror": "basic_action", "error_codes": [50076],
        "error_description": "AADSTS50076: s3cret text", "timestamp": "2026-01-01 00:00:00Z",
        "trace_id": "11111111-2222-3333-4444-555555555555",
        "correlation_id": "66666666-2222-3333-4444-555555555555",
        "claims": "{\"access_token\":{\"capolids\":{\"essential\":true}}}",
    });
    microsoft.on(TOKEN, Reply::json(400, &body));
    let error = microsoft.sign_in(&microsoft.client()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::SignInAgain);
    assert_eq!(error.code(), Some(50076));
    assert_eq!(error.word(), "invalid_grant");
    assert_eq!(error.correlation_id(), Some("66666666-2222-3333-4444-555555555555"));
    assert_eq!(error.trace_id(), Some("11111111-2222-3333-4444-555555555555"));
    assert_eq!(error.timestamp(), Some("2026-01-01 00:00:00Z"));
    assert!(error.claims_challenge().unwrap().contains("capolids"));
    assert!(matches!(&error, EntraError::Refused { status, .. } if *status == 400));
    assert!(!format!("{error}{error:?}").contains("s3cret"));
    assert_eq!(microsoft.calls(TOKEN), 1);
}

#[tokio::test]
async fn a_wrong_credential_is_the_administrators_and_not_the_users() {
    let microsoft = Microsoft::start().await;
    let body = json!({ "error": "invalid_client", "error_codes": [7_000_222] });
    microsoft.on(TOKEN, Reply::json(401, &body));
    let error = microsoft.sign_in(&microsoft.client()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Misconfigured);
    assert!(matches!(&error, EntraError::Refused { status, .. } if *status == 401));
}

#[tokio::test]
async fn a_code_is_never_sent_twice_whatever_the_fault() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let busy = json!({ "error": "temporarily_unavailable", "error_codes": [90033] });
    for (calls, reply) in [
        Reply::raw(503, "<html>"),
        Reply::json(503, &busy).with("retry-after", "9"),
        Reply::raw(429, "").with("retry-after", "9"),
        Reply::json(400, &busy),
        Reply::raw(200, vec![b' '; 10 << 20]),
    ]
    .into_iter()
    .enumerate()
    {
        microsoft.instead(TOKEN, reply);
        let error = microsoft.sign_in(&client).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Later, "{error:?}");
        assert_eq!(microsoft.calls(TOKEN), calls + 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a_token_answer_leaks_nothing_and_signs_nobody_in() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let deep = format!("{{\"s3cret\":{}", "[".repeat(100_000));
    for reply in [
        Reply::raw(200, "s3cret"),
        Reply::raw(200, ""),
        Reply::raw(200, deep),
        Reply::raw(204, ""),
        Reply::json(201, &json!({ "access_token": "s3cret" })),
        Reply::json(200, &json!({ "access_token": ["s3cret"] })),
        Reply::json(200, &json!({ "access_token": "at", "expires_in": "s3cret" })),
        Reply::json(200, &json!({ "access_token": "at", "token_type": "s3cret" })),
        Reply::json(200, &json!({ "access_token": "s3cret\r\nX-User: admin" })),
        Reply::json(200, &json!({ "error": "s3cret" })),
        Reply::raw(400, "<html>s3cret"),
        Reply::json(400, &json!({ "error": { "code": "s3cret" } })),
        Reply::json(307, &json!({})).with("location", format!("{}/elsewhere", microsoft.origin())),
        Reply::json(200, &json!({ "access_token": "s3cret" })).with("content-type", "text/html"),
    ] {
        microsoft.instead(TOKEN, reply);
        let error = microsoft.sign_in(&client).await.unwrap_err();
        assert!(!format!("{error}{error:?}").contains("s3cret"), "{error:?}");
    }
    assert_eq!(microsoft.calls("elsewhere"), 0);
}

#[tokio::test]
async fn tokens_without_an_id_token_sign_nobody_in() {
    let microsoft = Microsoft::start().await;
    let tokens = json!({ "token_type": "Bearer", "access_token": "at", "expires_in": 3600 });
    microsoft.on(TOKEN, Reply::json(200, &tokens));
    let error = microsoft.sign_in(&microsoft.client()).await.unwrap_err();
    assert!(matches!(error, EntraError::NoIdToken));
    assert_eq!(error.remedy(), Remedy::Refuse);
}

#[tokio::test]
async fn an_id_token_of_another_flow_signs_nobody_in() {
    let microsoft = Microsoft::start().await;
    let mut claims = microsoft.claims();
    claims["nonce"] = json!("nonce-of-flow-b");
    microsoft.on(TOKEN, microsoft.tokens(&claims));
    let error = microsoft.sign_in(&microsoft.client()).await.unwrap_err();
    assert!(matches!(error, EntraError::IdToken(IdTokenError::Nonce)));
    assert_eq!(error.remedy(), Remedy::Refuse);
}

#[tokio::test]
async fn a_token_endpoint_that_cannot_be_reached_is_trouble_for_later() {
    let microsoft = Microsoft::start().await;
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut settings = microsoft.settings();
    settings.authority = Some(format!("http://{free}"));
    let error = microsoft.client_with(&settings).prepare().await.unwrap_err();
    assert!(matches!(error, EntraError::Unreachable { .. }));
    assert_eq!((error.remedy(), error.word()), (Remedy::Later, "unreachable"));
}

#[tokio::test]
async fn every_call_is_measured() {
    let microsoft = Microsoft::start().await;
    let metrics = Metrics::new();
    let outbound = Outbound::new(Handle::current(), RootCertStore::empty());
    let redirect = Url::parse("http://localhost:4180/cb").unwrap();
    let clock = microsoft.clock.clone();
    let settings = microsoft.settings();
    let client = EntraClient::new(&settings, redirect, outbound, clock, metrics.clone()).unwrap();
    microsoft.on(TOKEN, Reply::json(400, &json!({ "error": "invalid_grant" })));
    microsoft.on(TOKEN, Reply::raw(429, ""));
    for _ in 0..2 {
        microsoft.sign_in(&client).await.unwrap_err();
    }
    let text = metrics.render();
    for labels in [
        "endpoint=\"metadata\",outcome=\"ok\"",
        "endpoint=\"token\",outcome=\"refused\"",
        "endpoint=\"token\",outcome=\"throttled\"",
    ] {
        assert!(text.contains(labels), "{labels} in {text}");
    }
}
