//! Faults by script, over HTTP and by value.

use std::time::Duration;

use http::{Request, StatusCode};

use super::{World, claims, code_of, json, landed, part, text};

#[tokio::test]
async fn a_posted_fault_shapes_as_many_answers_as_it_says() {
    let world = World::new().await;
    let post = |body: &'static str| world.send(Request::post(world.url("/_emulator/faults")), body);
    let set = post(
        r#"{"endpoint":"token","times":2,"status":429,"retry_after":5,"error":"temporarily_unavailable","code":90055}"#,
    )
    .await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    for _ in 0..2 {
        let answer = world.token_at("{tenant}", &[("grant_type", "refresh_token")]).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers["retry-after"], "5");
        assert_eq!(code_of(&json(&answer)), 90_055);
    }
    let answer = world.token_at("{tenant}", &[("grant_type", "refresh_token")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);

    for wrong in
        [r#"{"endpoint":"token","stat":1}"#, "[]", "x", r#"{"disable":"nobody@contoso.test"}"#]
    {
        assert_eq!(post(wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn faults_of_the_scenario_file_wait_from_the_start() {
    let world = World::from_toml(
        "[[faults]]\nendpoint = \"metadata\"\nstatus = 503\nretry_after = 2\n\
         [[faults]]\nendpoint = \"token\"\nerror = \"invalid_grant\"\ncode = 50196\nsuberror = \"message_only\"",
    )
    .await;
    let path = "/{tenant}/v2.0/.well-known/openid-configuration";
    assert_eq!(world.visit(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.visit(path).await.status, StatusCode::OK);
    let code = world.code("alice@contoso.test", &[]).await;
    let body = world.redeem(&code, &[]).await;
    assert_eq!((code_of(&body), &body["suberror"]), (50_196, &"message_only".into()));
    assert!(world.redeem(&code, &[]).await["access_token"].is_string(), "the code was not touched");
}

#[tokio::test]
async fn an_error_scripted_for_authorize_arrives_at_the_app() {
    let world = World::new().await;
    world.fault(r#"{"endpoint":"authorize","error":"access_denied","code":53003,"claims":"{}"}"#);
    let landed = landed(&world.authorize(&[]).await);
    assert_eq!(landed["error"], "access_denied");
    assert!(landed["error_description"].starts_with("AADSTS53003"));
    assert_eq!((landed["state"].as_str(), landed["claims"].as_str()), ("the state", "{}"));
}

#[tokio::test]
async fn what_comes_back_to_the_app_can_be_spoilt() {
    let world = World::new().await;
    let with = |callback: &str| {
        world.fault(&format!(r#"{{"endpoint":"authorize","callback":"{callback}"}}"#));
        world.authorize(&[("login_hint", "alice@contoso.test")])
    };
    assert!(!landed(&with("state-absent").await).contains_key("state"));
    assert_eq!(landed(&with("state-invalid").await)["state"], "the state1");
    assert!(!landed(&with("code-absent").await).contains_key("code"));
    let twice = super::location(&with("state-twice").await);
    assert_eq!(twice.matches("state=the+state").count(), 2);
    assert_eq!(super::location(&with("code-twice").await).matches("code=").count(), 2);
}

#[tokio::test]
async fn bodies_redirects_and_sizes_can_be_wrong() {
    let world = World::new().await;
    let renew = || world.token_at("{tenant}", &[("grant_type", "refresh_token")]);
    world.fault(r#"{"endpoint":"token","status":503,"body":"<html>busy</html>"}"#);
    let answer = renew().await;
    assert_eq!(
        (answer.status, text(&answer)),
        (StatusCode::SERVICE_UNAVAILABLE, "<html>busy</html>".to_owned())
    );
    world.fault(r#"{"endpoint":"token","location":"https://elsewhere.example/"}"#);
    let answer = renew().await;
    assert_eq!(
        (answer.status, answer.headers["location"].to_str().unwrap()),
        (StatusCode::FOUND, "https://elsewhere.example/")
    );
    world.fault(r#"{"endpoint":"keys","padding":"100KiB"}"#);
    let answer = world.visit("/{tenant}/discovery/v2.0/keys").await;
    assert!(answer.body.len() > 102_400 && json(&answer)["keys"].is_array());
    world.fault(
        r#"{"endpoint":"metadata","set":{"issuer":"https://x.example"},"remove":["jwks_uri"]}"#,
    );
    let body = world.get_json("/{tenant}/v2.0/.well-known/openid-configuration").await;
    assert_eq!(body["issuer"], "https://x.example");
    assert!(body.get("jwks_uri").is_none());
}

#[tokio::test]
async fn expires_in_can_be_a_string_a_wild_number_or_nothing() {
    let world = World::new().await;
    for value in [r#""3600""#, "0", "1e9", "-1"] {
        world.fault(&format!(r#"{{"endpoint":"token","expires_in":{value}}}"#));
        let tokens = world.tokens("alice@contoso.test", "User.Read").await;
        assert_eq!(tokens["expires_in"], serde_json::from_str::<serde_json::Value>(value).unwrap());
    }
    world.fault(r#"{"endpoint":"token","expires_in":"absent"}"#);
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    assert!(tokens.get("expires_in").is_none() && tokens["access_token"].is_string());
}

#[tokio::test]
async fn id_tokens_are_spoilt_one_way_at_a_time() {
    let world = World::new().await;
    let good = world.tokens("alice@contoso.test", "User.Read").await;
    let good = claims(&good["id_token"]);
    let spoilt = |kind: &str| {
        world.fault(&format!(r#"{{"endpoint":"token","id_token":"{kind}"}}"#));
        world.tokens("alice@contoso.test", "User.Read")
    };
    for (kind, claim) in [
        ("invalid-iss", "iss"),
        ("invalid-aud", "aud"),
        ("invalid-sub", "sub"),
        ("nonce-invalid", "nonce"),
    ] {
        let token = claims(&spoilt(kind).await["id_token"]);
        assert_eq!(token[claim], format!("{}1", good[claim].as_str().unwrap()), "{kind}");
    }
    for claim in ["iss", "aud", "sub", "iat", "exp", "nonce", "tid", "oid"] {
        let token = claims(&spoilt(&format!("missing-{claim}")).await["id_token"]);
        assert!(token.get(claim).is_none(), "{claim}");
    }
    let none = spoilt("alg-none").await;
    assert_eq!(part(&none["id_token"], 0)["alg"], "none");
    assert!(none["id_token"].as_str().unwrap().ends_with('.'));
    assert_eq!(part(&spoilt("alg-hs256").await["id_token"], 0)["alg"], "HS256");
    assert!(part(&spoilt("kid-absent").await["id_token"], 0).get("kid").is_none());
    let other = claims(&spoilt("other-tenant").await["id_token"]);
    assert_ne!(other["tid"], good["tid"]);
    assert!(other["iss"].as_str().unwrap().contains(other["tid"].as_str().unwrap()));
    assert!(
        claims(&spoilt("expired").await["id_token"])["exp"].as_i64().unwrap()
            < world.clock.unix() - 300
    );
    assert_eq!(claims(&spoilt("exp-huge").await["id_token"])["exp"], 1e300);
    assert!(spoilt("absent").await.get("id_token").is_none());
    assert_eq!(spoilt("encrypted").await["id_token"].as_str().unwrap().matches('.').count(), 4);
    let aud = claims(&spoilt("several-aud").await["id_token"])["aud"].clone();
    assert_eq!(aud.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_rollover_is_at_once_and_the_old_keys_stay_unless_told() {
    let world = World::new().await;
    let kids = || async {
        let set = world.get_json("/{tenant}/discovery/v2.0/keys").await;
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
    };
    let signed_by = || async {
        part(&world.tokens("alice@contoso.test", "User.Read").await["id_token"], 0)["kid"].clone()
    };
    let (before, old) = (kids().await, signed_by().await);
    world.fault(r#"{"rollover":true}"#);
    let new = signed_by().await;
    assert!(!before.contains(&new) && kids().await.contains(&new) && kids().await.contains(&old));
    world.fault(r#"{"rollover":true,"retire":true}"#);
    assert!(!kids().await.contains(&new));
}

#[tokio::test]
async fn a_delay_holds_the_answer_back_and_a_wrong_clock_shows_in_tokens() {
    let world = World::new().await;
    world.fault(r#"{"endpoint":"metadata","delay":"150ms"}"#);
    let before = std::time::Instant::now();
    world.visit("/{tenant}/v2.0/.well-known/openid-configuration").await;
    assert!(before.elapsed() >= Duration::from_millis(150));
    world.fault(r#"{"clock_offset":-7200}"#);
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    assert!(claims(&tokens["id_token"])["exp"].as_i64().unwrap() < world.clock.unix() - 3000);
}

#[tokio::test]
async fn the_request_log_counts_and_keeps_no_secret() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    world.renew(&tokens["refresh_token"], &[]).await;
    assert_eq!(world.emulator.request_count("token"), 2);
    assert_eq!(world.emulator.request_count("authorize"), 1);
    let log = world.emulator.requests();
    assert_eq!(log[1].grant_type.as_deref(), Some("authorization_code"));
    assert_eq!((log[2].grant_type.as_deref(), log[2].status), (Some("refresh_token"), 200));
    let published = text(&world.visit("/_emulator/requests").await);
    let secret = world.emulator.client().client_secret;
    for secret in [secret.as_str(), tokens["refresh_token"].as_str().unwrap(), super::VERIFIER] {
        assert!(!published.contains(secret) && !format!("{log:?}").contains(secret));
    }
}
