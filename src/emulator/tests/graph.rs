//! The Graph stub and its refusals.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, StatusCode};
use serde_json::Value;

use super::{API, World, json};

#[tokio::test]
async fn graph_says_who_the_token_stands_for() {
    let world = World::new().await;
    let tokens = world.tokens("zoe@contoso.test", "User.Read").await;
    let me = json(&world.graph("/v1.0/me", &tokens["access_token"]).await);
    assert_eq!(me["displayName"], "Zoë Müller-Ångström");
    let info = json(&world.graph("/oidc/userinfo", &tokens["access_token"]).await);
    assert_eq!(info["email"], "zoe@contoso.test");
}

#[tokio::test]
async fn no_foreign_expired_or_tampered_token_is_let_in() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    let own = world.renew(&tokens["refresh_token"], &[("scope", API)]).await;
    let token = tokens["access_token"].as_str().unwrap();
    let mut tampered = token.to_owned();
    tampered.replace_range(token.len() - 9..token.len() - 5, "AAAA");
    for wrong in
        [&Value::Null, &"x".into(), &tampered.into(), &own["access_token"], &own["refresh_token"]]
    {
        let answer = world.graph("/v1.0/me", wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(json(&answer)["error"]["code"], "InvalidAuthenticationToken");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer realm="));
    }
    world.clock.advance(Duration::from_secs(5401));
    assert_eq!(
        world.graph("/v1.0/me", &tokens["access_token"]).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_graph_token_cannot_be_checked_by_anybody_else() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", API).await;
    let graph = world.renew(&tokens["refresh_token"], &[("scope", "User.Read")]).await;
    let plainly_signed = |token: &Value| {
        let keys = crate::emulator::signing::SigningKeys::new().unwrap();
        let parsed = crate::emulator::assertion::read(token.as_str().unwrap()).unwrap();
        let kid = parsed.header("kid").unwrap_or_default();
        keys.verify(kid, parsed.signed().as_bytes(), parsed.signature())
    };
    assert!(plainly_signed(&tokens["access_token"]) && plainly_signed(&tokens["id_token"]));
    assert!(!plainly_signed(&graph["access_token"]));
}

#[tokio::test]
async fn groups_over_the_limit_are_listed_whole_and_by_pages() {
    let world = World::new().await;
    let tokens = world.tokens("dave@contoso.test", "User.Read").await;
    let token = &tokens["access_token"];
    let mut next = Some("/v1.0/me/transitiveMemberOf?$select=id".to_owned());
    let (mut ids, mut pages) = (Vec::new(), 0);
    while let Some(path) = next {
        let page = json(&world.graph(&path, token).await);
        ids.extend(page["value"].as_array().unwrap().iter().map(|group| group["id"].clone()));
        assert!(page["value"][0].get("displayName").is_none(), "$select holds on every page");
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
        pages += 1;
    }
    assert_eq!((ids.len(), pages), (250, 3));
    let request = Request::post(world.url("/v1.0/me/getMemberObjects"))
        .header("authorization", format!("Bearer {}", token.as_str().unwrap()));
    let all = json(&world.send(request, r#"{"securityEnabledOnly":true}"#).await);
    assert_eq!(all["value"].as_array().unwrap(), &ids);
    assert_eq!(world.graph("/v1.0/me/transitiveMemberOf?$top=1000", token).await.status, 400);
}

#[tokio::test]
async fn a_token_without_the_right_scope_is_forbidden() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "Mail.Read").await;
    let answer = world.graph("/v1.0/me", &tokens["access_token"]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(json(&answer)["error"]["code"], "Authorization_RequestDenied");
}

#[tokio::test]
async fn continuous_evaluation_challenges_those_who_can_handle_it_and_only_them() {
    let world = World::new().await;
    let plain = world.tokens("alice@contoso.test", "User.Read").await;
    let capable = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    let evaluated = world.renew(&plain["refresh_token"], &[("claims", capable)]).await;
    world.fault(r#"{"revoke":"alice@contoso.test"}"#);
    assert_eq!(world.graph("/v1.0/me", &plain["access_token"]).await.status, StatusCode::OK);
    let answer = world.graph("/v1.0/me", &evaluated["access_token"]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let line = answer.headers["www-authenticate"].to_str().unwrap();
    let challenge = line.split("claims=\"").nth(1).unwrap().split('"').next().unwrap();
    let challenge = BASE64_STANDARD.decode(challenge).unwrap();
    assert!(String::from_utf8(challenge).unwrap().contains("\"nbf\""));
    assert!(line.contains("insufficient_claims"));
}
