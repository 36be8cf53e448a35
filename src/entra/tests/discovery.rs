//! Discovery over a socket: what is believed, what is asked again, what stays.

use super::*;

#[tokio::test]
async fn a_client_is_ready_once_metadata_and_keys_are_known() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    assert!(!client.is_ready());
    client.prepare().await.unwrap();
    assert!(client.is_ready());
    let script = microsoft.script.lock().unwrap();
    let asked = &script.seen[0];
    assert_eq!(asked.path, format!("/{TENANT}/v2.0/.well-known/openid-configuration"));
    assert_eq!(asked.headers["x-client-sku"], "vestibule");
    assert!(asked.headers.contains_key("client-request-id"));
    assert!(!asked.headers.contains_key("origin"));
}

#[tokio::test]
async fn metadata_that_leads_elsewhere_is_not_followed() {
    let microsoft = Microsoft::start().await;
    for name in ["jwks_uri", "token_endpoint", "authorization_endpoint"] {
        let mut document = microsoft.document();
        document[name] = json!("https://evil.test/x");
        microsoft.instead(METADATA, Reply::json(200, &document));
        let prepared = microsoft.client().prepare().await.unwrap_err();
        assert!(matches!(prepared, EntraError::Metadata(MetadataError::Elsewhere(_))), "{name}");
        assert_eq!(prepared.remedy(), Remedy::Misconfigured);
    }
    let mut document = microsoft.document();
    document["issuer"] = json!(format!("{}/{OTHER_TENANT}/v2.0", microsoft.origin()));
    microsoft.instead(METADATA, Reply::json(200, &document));
    let prepared = microsoft.client().prepare().await;
    assert!(matches!(prepared, Err(EntraError::Metadata(MetadataError::Issuer))));
    assert_eq!(microsoft.calls(KEYS), 0);
}

#[tokio::test]
async fn a_redirect_is_an_error_and_not_a_way() {
    let microsoft = Microsoft::start().await;
    for status in [301, 302, 307, 308] {
        let elsewhere = format!("{}/elsewhere", microsoft.origin());
        let reply = Reply::json(status, &json!({})).with("location", elsewhere);
        microsoft.instead(METADATA, reply);
        let prepared = microsoft.client().prepare().await.unwrap_err();
        assert!(matches!(prepared, EntraError::Status { .. }), "{prepared:?}");
    }
    assert_eq!(microsoft.calls("elsewhere"), 0);
}

#[tokio::test]
async fn garbage_and_bombs_are_refused_within_their_bounds() {
    let microsoft = Microsoft::start().await;
    let deep = format!("{{\"issuer\":{}", "[".repeat(100_000));
    for body in [b"<html>".to_vec(), b"[]".to_vec(), b"{}".to_vec(), Vec::new(), deep.into_bytes()]
    {
        microsoft.instead(METADATA, Reply::raw(200, body));
        let prepared = microsoft.client().prepare().await.unwrap_err();
        let refused = matches!(prepared, EntraError::Malformed { .. } | EntraError::Metadata(_));
        assert!(refused, "{prepared:?}");
    }
    microsoft.instead(METADATA, Reply::raw(200, vec![b' '; 10 << 20]));
    let prepared = microsoft.client().prepare().await.unwrap_err();
    assert!(matches!(prepared, EntraError::Unreachable { .. }), "{prepared:?}");
}

#[tokio::test]
async fn an_unknown_tenant_is_told_with_microsofts_number() {
    let microsoft = Microsoft::start().await;
    let body = json!({
        "error": "invalid_tenant", "error_codes": [90002],
        "correlation_id": "66666666-2222-3333-4444-555555555555",
    });
    microsoft.instead(METADATA, Reply::json(400, &body));
    let prepared = microsoft.client().prepare().await.unwrap_err();
    assert_eq!(prepared.code(), Some(90002));
    assert_eq!(prepared.remedy(), Remedy::Misconfigured);
    assert_eq!(prepared.correlation_id(), Some("66666666-2222-3333-4444-555555555555"));
}

#[tokio::test]
async fn a_passing_fault_is_tried_once_more_and_throttling_is_not() {
    let microsoft = Microsoft::start().await;
    let good = Reply::json(200, &microsoft.document());
    microsoft.instead(METADATA, Reply::raw(503, "<html>"));
    microsoft.on(METADATA, good);
    microsoft.client().prepare().await.unwrap();
    assert_eq!(microsoft.calls(METADATA), 2);

    microsoft.instead(METADATA, Reply::raw(429, "").with("retry-after", "7200"));
    let prepared = microsoft.client().prepare().await.unwrap_err();
    assert_eq!(prepared.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(microsoft.calls(METADATA), 3);
}

#[tokio::test]
async fn while_microsoft_is_down_only_one_caller_waits_and_the_last_good_metadata_stays() {
    let microsoft = Microsoft::start().await;
    microsoft.instead(METADATA, Reply::raw(429, ""));
    let client = microsoft.client();
    for _ in 0..10 {
        let redeemed = microsoft.sign_in(&client).await.unwrap_err();
        assert_eq!(redeemed.remedy(), Remedy::Later);
    }
    assert_eq!(microsoft.calls(METADATA), 1);

    microsoft.instead(METADATA, Reply::json(200, &microsoft.document()));
    microsoft.clock.advance(Duration::from_secs(6));
    assert!(client.check_response_issuer(None).await.is_ok());
    microsoft.instead(METADATA, Reply::raw(429, ""));
    assert!(client.prepare().await.is_err());
    assert!(client.check_response_issuer(None).await.is_ok());
}

#[tokio::test]
async fn a_changed_configuration_takes_over_what_is_known_of_the_same_tenant_alone() {
    let microsoft = Microsoft::start().await;
    let former = microsoft.client();
    former.prepare().await.unwrap();
    let same = microsoft.client();
    same.adopt(&former);
    assert!(same.is_ready());
    let mut settings = microsoft.settings();
    settings.tenant = Some(OTHER_TENANT.to_owned());
    let other = microsoft.client_with(&settings);
    other.adopt(&former);
    assert!(!other.is_ready());
}

#[tokio::test]
async fn the_background_task_fetches_at_once_and_ends_when_told() {
    let microsoft = Microsoft::start().await;
    let client = Arc::new(microsoft.client());
    let stop = CancellationToken::new();
    client.keep_fresh(stop.clone());
    while !client.is_ready() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    while Arc::strong_count(&client) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!((microsoft.calls(METADATA), microsoft.calls(KEYS)), (1, 1));
}
