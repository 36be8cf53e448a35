//! Codes, refresh tokens, and what is in the tokens that they give.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{API, CALLBACK, World, claims, code_of, json, landed, part};

#[tokio::test]
async fn a_code_is_good_once() {
    let world = World::new().await;
    let code = world.code("alice@contoso.test", &[]).await;
    assert!(world.redeem(&code, &[]).await["access_token"].is_string());
    let again = world.redeem_answer(&code, &[]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    let body = json(&again);
    assert_eq!((&body["error"], code_of(&body)), (&"invalid_grant".into(), 54_005));
}

#[tokio::test]
async fn a_code_is_bound_to_its_verifier_redirect_uri_client_and_tenant() {
    let world = World::from_toml(
        r#"
        [[tenants]]
        domains = ["contoso.onmicrosoft.com", "contoso.test"]
        [[tenants]]
        domains = ["fabrikam.test"]
        [[apps]]
        name = "One"
        client_secret = "one"
        multi_tenant = true
        any_loopback_redirect_uri = true
        [[apps]]
        name = "Two"
        client_id = "22222222-7e57-4a99-8d00-000000000001"
        client_secret = "two"
        "#,
    )
    .await;
    let other: &[(&'static str, &str)] =
        &[("client_id", "22222222-7e57-4a99-8d00-000000000001"), ("client_secret", "two")];
    for (changes, expected) in [
        (&[("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK")][..], 501_481),
        (&[("code_verifier", "")][..], 501_481),
        (&[("redirect_uri", "http://localhost:4181/.auth/login/aad/callback")][..], 500_112),
        (other, 70_000),
    ] {
        let code = world.code("alice@contoso.test", &[]).await;
        assert_eq!(code_of(&world.redeem(&code, changes).await), expected, "{changes:?}");
    }
    let code = world.code("alice@contoso.test", &[]).await;
    let at = |tenant: &'static str, code: String| {
        let world = &world;
        async move {
            let all = [
                ("grant_type", "authorization_code"),
                ("code", code.as_str()),
                ("redirect_uri", CALLBACK),
                ("code_verifier", super::VERIFIER),
            ];
            json(&world.token_at(tenant, &all).await)
        }
    };
    assert_eq!(code_of(&at("fabrikam.test", code).await), 700_005);
    for alias in ["CONTOSO.test", "common", "organizations"] {
        let code = world.code("alice@contoso.test", &[]).await;
        assert!(at(alias, code).await["access_token"].is_string(), "{alias}");
    }
}

#[tokio::test]
async fn a_code_lives_ten_minutes() {
    let world = World::new().await;
    let code = world.code("alice@contoso.test", &[]).await;
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(code_of(&world.redeem(&code, &[]).await), 70_008);
}

#[tokio::test]
async fn a_refresh_token_is_replaced_at_each_use_and_stays_good() {
    let world = World::new().await;
    let first = world.tokens("alice@contoso.test", "User.Read").await;
    let second = world.renew(&first["refresh_token"], &[]).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_ne!(first["access_token"], second["access_token"]);
    let third = world.renew(&first["refresh_token"], &[]).await;
    assert!(third["access_token"].is_string());
    let id_token = claims(&third["id_token"]);
    assert_eq!(id_token["sub"], claims(&first["id_token"])["sub"]);
    assert!(id_token.get("nonce").is_none());
}

#[tokio::test]
async fn a_refresh_token_serves_every_resource_but_each_answer_only_one() {
    let world = World::new().await;
    let first = world.tokens("alice@contoso.test", "User.Read").await;
    let api = world.renew(&first["refresh_token"], &[("scope", API)]).await;
    assert_eq!(claims(&api["access_token"])["scp"], "access_as_user");
    assert!(api.get("id_token").is_none(), "openid was not asked for");
    let both = format!("{API} User.Read openid");
    let first_wins = world.renew(&first["refresh_token"], &[("scope", &both)]).await;
    assert_eq!(claims(&first_wins["access_token"])["scp"], "access_as_user");
    let code = world.code("alice@contoso.test", &[("scope", &both)]).await;
    assert_eq!(code_of(&world.redeem(&code, &[("scope", &both)]).await), 28_000);
}

#[tokio::test]
async fn a_refresh_token_ends_by_revocation_disabling_idleness_and_nothing_else() {
    let world = World::new().await;
    let alice = world.tokens("alice@contoso.test", "User.Read").await;
    let bob = world.tokens("bob@contoso.test", "User.Read").await;
    world.fault(r#"{"revoke":"alice@contoso.test"}"#);
    let body = world.renew(&alice["refresh_token"], &[]).await;
    assert_eq!((&body["error"], code_of(&body)), (&"invalid_grant".into(), 50_173));
    let again = world.tokens("alice@contoso.test", "User.Read").await;
    assert!(world.renew(&again["refresh_token"], &[]).await["access_token"].is_string());

    assert!(world.renew(&bob["refresh_token"], &[]).await["access_token"].is_string());
    world.fault(r#"{"disable":"bob@contoso.test"}"#);
    assert_eq!(code_of(&world.renew(&bob["refresh_token"], &[]).await), 50_057);
    world.fault(r#"{"enable":"bob@contoso.test"}"#);
    world.clock.advance(Duration::from_hours(89 * 24));
    let fresh = world.renew(&bob["refresh_token"], &[]).await;
    world.clock.advance(Duration::from_hours(2 * 24));
    let body = world.renew(&bob["refresh_token"], &[]).await;
    assert_eq!((code_of(&body), &body["suberror"]), (700_082, &"token_expired".into()));
    assert!(world.renew(&fresh["refresh_token"], &[]).await["access_token"].is_string());
}

#[tokio::test]
async fn mfa_demanded_later_stops_renewal_with_a_claims_challenge() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    world.fault(r#"{"require_mfa":true}"#);
    let body = world.renew(&tokens["refresh_token"], &[]).await;
    assert_eq!((code_of(&body), &body["suberror"]), (50_076, &"basic_action".into()));
    assert!(body["claims"].as_str().unwrap().contains("capolids"));
}

#[tokio::test]
async fn an_authentication_context_needs_the_user_and_is_then_in_the_token() {
    let world = World::new().await;
    let wanted = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let tokens = world.tokens("alice@contoso.test", API).await;
    let body = world.renew(&tokens["refresh_token"], &[("claims", wanted)]).await;
    assert_eq!((&body["error"], &body["claims"]), (&"interaction_required".into(), &wanted.into()));
    let scope = format!("openid offline_access {API}");
    let steps = [("claims", wanted), ("scope", &scope), ("_mfa", "approved")];
    let code = world.code("alice@contoso.test", &steps).await;
    let tokens = world.redeem(&code, &[]).await;
    assert_eq!(claims(&tokens["access_token"])["acrs"], serde_json::json!(["c1"]));
    let renewed = world.renew(&tokens["refresh_token"], &[("claims", wanted)]).await;
    assert!(renewed["access_token"].is_string(), "{renewed}");
}

#[tokio::test]
async fn groups_come_by_value_up_to_200_and_by_link_above() {
    let world = World::new().await;
    for (user, count) in [("bob", 10), ("carol", 150), ("grace", 200)] {
        let tokens = world.tokens(&format!("{user}@contoso.test"), API).await;
        for token in ["id_token", "access_token"] {
            assert_eq!(claims(&tokens[token])["groups"].as_array().unwrap().len(), count);
        }
    }
    let alice = world.tokens("alice@contoso.test", API).await;
    assert!(claims(&alice["id_token"]).get("groups").is_none());
    let dave = claims(&world.tokens("dave@contoso.test", API).await["id_token"]);
    assert!(dave.get("groups").is_none());
    assert_eq!(dave["_claim_names"]["groups"], "src1");
    assert!(
        dave["_claim_sources"]["src1"]["endpoint"].as_str().unwrap().ends_with("/getMemberObjects")
    );
}

#[tokio::test]
async fn roles_guests_and_names_in_other_scripts_are_as_at_microsoft() {
    let world = World::new().await;
    let erin = claims(&world.tokens("erin@contoso.test", API).await["access_token"]);
    assert_eq!(erin["roles"], serde_json::json!(["Admin", "Reader"]));
    let zoe = claims(&world.tokens("zoe@contoso.test", API).await["id_token"]);
    assert_eq!(zoe["name"], "Zoë Müller-Ångström");
    let code = world.code("frank@fabrikam.test", &[]).await;
    let tokens = world.redeem(&code, &[("client_info", "1")]).await;
    let frank = claims(&tokens["id_token"]);
    assert!(frank["idp"].is_string());
    assert_eq!(frank["email"], "frank@fabrikam.test");
    assert_eq!(frank["tid"], world.emulator.client().tenant);
    let home: serde_json::Value = {
        let text = BASE64_URL_SAFE_NO_PAD.decode(tokens["client_info"].as_str().unwrap());
        serde_json::from_slice(&text.unwrap()).unwrap()
    };
    assert_ne!(home["utid"], frank["tid"], "client_info names the home tenant");
    assert_ne!(home["uid"], frank["oid"]);
}

#[tokio::test]
async fn tokens_have_the_sizes_that_microsofts_have() {
    let world = World::new().await;
    let size = |token: &serde_json::Value| token.as_str().unwrap().len();
    let alice = world.tokens("alice@contoso.test", "User.Read").await;
    assert!(
        (2000..2500).contains(&size(&alice["access_token"])),
        "{}",
        size(&alice["access_token"])
    );
    assert!((1200..1700).contains(&size(&alice["id_token"])), "{}", size(&alice["id_token"]));
    assert!((1000..1300).contains(&size(&alice["refresh_token"])));
    let own = world.tokens("alice@contoso.test", API).await;
    assert!((1150..1450).contains(&size(&own["access_token"])), "{}", size(&own["access_token"]));
    let grace = world.tokens("grace@contoso.test", API).await;
    assert!((11_000..13_000).contains(&size(&grace["id_token"])), "{}", size(&grace["id_token"]));
}

#[tokio::test]
async fn the_version_of_an_access_token_follows_the_resource() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "Client"
        client_secret = "s"
        any_loopback_redirect_uri = true
        [[apps]]
        name = "Older API"
        identifier_uris = ["https://api.contoso.test"]
        scopes = ["read"]
        "#,
    )
    .await;
    let tokens = world.tokens("alice@contoso.test", "https://api.contoso.test/read").await;
    let old = claims(&tokens["access_token"]);
    assert_eq!((&old["ver"], &old["aud"]), (&"1.0".into(), &"https://api.contoso.test".into()));
    let issuer = format!("{}/{}/", world.emulator.origin(), world.emulator.client().tenant);
    assert_eq!(old["iss"], issuer);
    assert_eq!(part(&tokens["access_token"], 0)["x5t"], part(&tokens["access_token"], 0)["kid"]);
    assert_eq!(claims(&tokens["id_token"])["ver"], "2.0");
}

#[tokio::test]
async fn lifetimes_are_random_unless_set_and_those_who_handle_evaluation_get_a_day() {
    let world = World::new().await;
    for _ in 0..5 {
        let tokens = world.tokens("alice@contoso.test", "User.Read").await;
        let life = tokens["expires_in"].as_i64().unwrap();
        assert!((3600..5400).contains(&life));
        assert_eq!(
            claims(&tokens["access_token"])["exp"].as_i64().unwrap() / 10,
            (world.clock.unix() + life) / 10
        );
    }
    let capable = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    let code = world.code("alice@contoso.test", &[]).await;
    let tokens = world.redeem(&code, &[("claims", capable)]).await;
    assert!(tokens["expires_in"].as_i64().unwrap() >= 72_000);
    let world = World::from_toml("token_lifetime = \"60s\"").await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    assert_eq!(tokens["expires_in"], 60);
}

#[tokio::test]
async fn without_offline_access_or_openid_there_is_no_such_token() {
    let world = World::new().await;
    let code = world.code("alice@contoso.test", &[("scope", "User.Read")]).await;
    let tokens = world.redeem(&code, &[]).await;
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none());
}

#[tokio::test]
async fn malformed_token_requests_have_their_numbers() {
    let world = World::new().await;
    for (changes, expected) in [
        (&[][..], 900_144),
        (&[("grant_type", "password")][..], 70_003),
        (&[("grant_type", "refresh_token")][..], 900_144),
        (&[("grant_type", "refresh_token"), ("refresh_token", "x")][..], 9_002_313),
        (&[("grant_type", "authorization_code"), ("resource", "x")][..], 901_002),
        (
            &[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK)][..],
            9_002_313,
        ),
    ] {
        let body = json(&world.token_at("{tenant}", changes).await);
        assert_eq!(code_of(&body), expected, "{changes:?}");
    }
    let body = world.get_json("/{tenant}/oauth2/v2.0/token").await;
    assert_eq!(code_of(&body), 900_561);
    let code = world.code("alice@contoso.test", &[]).await;
    let client = world.emulator.client();
    let mut pairs = super::Pairs::from([
        ("client_id", client.client_id),
        ("client_secret", client.client_secret),
        ("grant_type", "authorization_code".to_owned()),
        ("redirect_uri", CALLBACK.to_owned()),
        ("code_verifier", super::VERIFIER.to_owned()),
        ("code", code),
    ]);
    pairs.insert("scope", String::new());
    let answer = world.post("/{tenant}/oauth2/v2.0/token", &pairs, HeaderMap::new()).await;
    assert_eq!(code_of(&json(&answer)), 28_003);
}

#[tokio::test]
async fn a_confidential_client_with_an_origin_header_is_refused() {
    let world = World::new().await;
    let client = world.emulator.client();
    let pairs = super::Pairs::from([
        ("client_id", client.client_id),
        ("client_secret", client.client_secret),
        ("grant_type", "refresh_token".to_owned()),
    ]);
    let origin = HeaderMap::from_iter([(
        http::header::ORIGIN,
        HeaderValue::from_static("https://x.example"),
    )]);
    let answer = world.post("/{tenant}/oauth2/v2.0/token", &pairs, origin).await;
    assert_eq!(code_of(&json(&answer)), 9_002_326);
}

#[tokio::test]
async fn an_error_body_has_every_member_and_echoes_the_callers_id() {
    let world = World::new().await;
    let id = "0b7e4a9e-1111-4222-8333-444455556666";
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("client-request-id"),
        HeaderValue::from_static(id),
    )]);
    let answer = world.post("/{tenant}/oauth2/v2.0/token", &super::Pairs::new(), headers).await;
    let body = json(&answer);
    assert_eq!(body["correlation_id"], id);
    assert_eq!(answer.headers["x-ms-request-id"].to_str().unwrap(), body["trace_id"]);
    assert_eq!(answer.headers["cache-control"], "no-store, no-cache");
    let description = body["error_description"].as_str().unwrap();
    assert!(
        description.starts_with("AADSTS900144: ")
            && description.contains(&format!("\r\nCorrelation ID: {id}"))
    );
    assert!(body["error_uri"].as_str().unwrap().ends_with("/error?code=900144"));
    assert_eq!(body["timestamp"].as_str().unwrap().len(), 20);
}

#[tokio::test]
async fn one_person_is_somebody_else_to_every_app() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "One"
        client_secret = "s"
        any_loopback_redirect_uri = true
        [[apps]]
        name = "Two"
        client_id = "22222222-7e57-4a99-8d00-000000000001"
        client_secret = "s"
        any_loopback_redirect_uri = true
        "#,
    )
    .await;
    let one = claims(&world.tokens("alice@contoso.test", "").await["id_token"]);
    let two: &[(&'static str, &str)] = &[("client_id", "22222222-7e57-4a99-8d00-000000000001")];
    let mut hinted = two.to_vec();
    hinted.push(("login_hint", "alice@contoso.test"));
    let landed = landed(&world.authorize(&hinted).await);
    let two = claims(&world.redeem(&landed["code"], two).await["id_token"]);
    assert_eq!(one["oid"], two["oid"]);
    assert_ne!(one["sub"], two["sub"]);
}
