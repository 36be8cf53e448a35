//! Keys over a socket: rotation, storms of unknown key ids, and Microsoft's silence.

use futures_util::future::join_all;

use super::*;

/// A good sign-in with a token of that signer.
async fn sign_in_with(
    microsoft: &Microsoft,
    client: &EntraClient,
    signer: &Signer,
) -> Result<SignedIn, EntraError> {
    let tokens = json!({
        "token_type": "Bearer", "access_token": "at", "expires_in": 3600,
        "id_token": signer.token(&microsoft.claims()),
    });
    microsoft.instead(TOKEN, Reply::json(200, &tokens));
    microsoft.sign_in(client).await
}

#[tokio::test]
async fn a_key_that_was_exchanged_a_moment_ago_is_fetched_at_once() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    client.prepare().await.unwrap();
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();
    assert_eq!(microsoft.calls(KEYS), 1);

    let next = Signer::other("key-2");
    microsoft.instead(KEYS, microsoft.keys(&[&next]));
    sign_in_with(&microsoft, &client, &next).await.unwrap();
    assert_eq!(microsoft.calls(KEYS), 2);
}

#[tokio::test]
async fn a_thousand_tokens_with_unknown_key_ids_cause_two_fetches_and_known_keys_still_work() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let stranger = Signer::other("unknown");
    let tokens: Vec<_> = (0..1000)
        .map(|index| {
            let header = json!({ "alg": "RS256", "kid": format!("unknown-{index}") });
            SecretString::from(stranger.sign(&header, &microsoft.claims()))
        })
        .collect();
    let metadata = client.metadata.current().await.unwrap();
    let verified =
        join_all(tokens.iter().map(|token| client.verify(&metadata, token, Some(NONCE)))).await;
    for verified in verified {
        let error = verified.unwrap_err();
        assert!(matches!(error, EntraError::IdToken(IdTokenError::UnknownKey)), "{error:?}");
    }
    assert_eq!(microsoft.calls(KEYS), 2);
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();

    microsoft.clock.advance(Duration::from_secs(61));
    sign_in_with(&microsoft, &client, &stranger).await.unwrap_err();
    sign_in_with(&microsoft, &client, &stranger).await.unwrap_err();
    assert_eq!(microsoft.calls(KEYS), 3);
}

#[tokio::test]
async fn an_unknown_key_while_microsoft_is_silent_is_not_the_tokens_fault() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    client.prepare().await.unwrap();
    microsoft.instead(KEYS, Reply::raw(429, ""));
    let next = Signer::other("key-2");
    for _ in 0..3 {
        let error = sign_in_with(&microsoft, &client, &next).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Later, "{error:?}");
    }
    assert_eq!(microsoft.calls(KEYS), 2);
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();
}

#[tokio::test]
async fn keys_are_fetched_anew_after_a_day_and_the_last_good_ones_stay_if_that_fails() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();
    microsoft.clock.advance(Duration::from_hours(24));
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();
    assert_eq!(microsoft.calls(KEYS), 2);

    microsoft.clock.advance(Duration::from_hours(24));
    microsoft.instead(KEYS, Reply::json(200, &json!({ "keys": [] })));
    sign_in_with(&microsoft, &client, &microsoft.signer).await.unwrap();
    assert_eq!(microsoft.calls(KEYS), 3);
}

#[tokio::test]
async fn a_key_set_that_is_garbage_huge_or_too_long_signs_nobody_in() {
    let microsoft = Microsoft::start().await;
    let many: Vec<_> = (0..101).map(|_| microsoft.signer.jwk(&microsoft.issuer())).collect();
    for reply in [
        Reply::raw(200, "<html>"),
        Reply::raw(200, vec![b' '; 10 << 20]),
        Reply::json(200, &json!({ "keys": many })),
        Reply::json(200, &json!({ "keys": "x" })),
        Reply::raw(302, "").with("location", format!("{}/elsewhere", microsoft.origin())),
        Reply::raw(404, ""),
    ] {
        microsoft.instead(KEYS, reply);
        let client = microsoft.client();
        assert!(sign_in_with(&microsoft, &client, &microsoft.signer).await.is_err());
    }
    assert_eq!(microsoft.calls("elsewhere"), 0);
}

#[tokio::test]
async fn a_browser_that_goes_away_does_not_waste_the_minutes_only_fetch() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    client.prepare().await.unwrap();
    let next = Signer::other("key-2");
    microsoft.instead(KEYS, microsoft.keys(&[&next]));
    {
        // Polled once, so that the fetch begins, then dropped.
        let fetching = client.keys.fitting(Some("key-2"));
        tokio::pin!(fetching);
        assert!(futures_util::poll!(&mut fetching).is_pending());
    }
    sign_in_with(&microsoft, &client, &next).await.unwrap();
}
