//! Authorize: what is refused and where, prompts, hints, response modes, the SSO cookie.

use std::time::Duration;

use http::StatusCode;

use super::{CALLBACK, World, claims, code_of, landed, location, text};

#[tokio::test]
async fn a_login_hint_signs_in_without_a_click_and_everything_asked_comes_back() {
    let world = World::new().await;
    let answer =
        world.authorize(&[("login_hint", "alice@contoso.test"), ("client_info", "1")]).await;
    let landed = landed(&answer);
    assert_eq!(landed["state"], "the state");
    assert!(landed.contains_key("session_state") && landed.contains_key("client_info"));
    assert_eq!(landed["code"].len(), 665);
    let tokens = world.redeem(&landed["code"], &[]).await;
    let claims = claims(&tokens["id_token"]);
    assert_eq!(claims["nonce"], "the nonce");
    assert_eq!(claims["preferred_username"], "alice@contoso.test");
    assert_eq!(claims["aud"], world.emulator.client().client_id);
    let issuer = format!("{}/{}/v2.0", world.emulator.origin(), world.emulator.client().tenant);
    assert_eq!(claims["iss"], issuer);
    assert_eq!(claims["sub"].as_str().unwrap().len(), 43);
    assert_eq!(claims["uti"].as_str().unwrap().len(), 22);
}

#[tokio::test]
async fn without_a_hint_the_page_offers_every_account_and_a_click_signs_in() {
    let world = World::new().await;
    let page = text(&world.authorize(&[]).await);
    for user in world.emulator.client().users {
        assert!(page.contains(&user), "{user}");
    }
    let link = page.split("href=\"").find(|part| part.contains("_user=bob%40")).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&").replace("&#x2f;", "/");
    let answer = world.visit(&format!("/{{tenant}}/oauth2/v2.0/authorize{link}")).await;
    let tokens = world.redeem(&landed(&answer)["code"], &[]).await;
    assert_eq!(claims(&tokens["id_token"])["name"], "Bob Brown");
}

#[tokio::test]
async fn an_unknown_app_redirect_uri_or_tenant_stays_on_microsofts_page() {
    let world = World::new().await;
    for (changes, code) in [
        (("client_id", "11111111-7e57-4a99-8d00-000000000001"), "AADSTS700016"),
        (("redirect_uri", "https://evil.example/callback"), "AADSTS50011"),
        (("redirect_uri", "http://localhost@evil.example/"), "AADSTS50011"),
        (("redirect_uri", "http://localhost:4180/#x"), "AADSTS50011"),
    ] {
        let answer = world.authorize(&[changes, ("login_hint", "alice@contoso.test")]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(text(&answer).contains(code), "{}", text(&answer));
        assert_eq!(answer.headers["x-frame-options"], "DENY");
    }
    let answer = world.authorize_at("nobody.example", &[]).await;
    assert!(text(&answer).contains("AADSTS90002"));
}

#[tokio::test]
async fn what_the_app_did_wrong_goes_back_to_the_app() {
    let world = World::new().await;
    for (change, error, code) in [
        (("response_type", "id_token"), "unsupported_response_type", "AADSTS700054"),
        (("scope", ""), "invalid_request", "AADSTS900144"),
        (("scope", "api://nobody/x"), "invalid_resource", "AADSTS500011"),
        (("prompt", "perhaps"), "invalid_request", "AADSTS90023"),
        (("code_challenge_method", "S512"), "invalid_request", "AADSTS501491"),
        (("prompt", "none"), "login_required", "AADSTS50058"),
    ] {
        let landed = landed(&world.authorize(&[change]).await);
        assert_eq!(landed["error"], error);
        assert!(landed["error_description"].starts_with(code), "{}", landed["error_description"]);
        assert_eq!(landed["state"], "the state");
        assert!(!landed.contains_key("code"));
    }
}

#[tokio::test]
async fn the_browsers_session_answers_silently_until_a_login_is_demanded() {
    let world = World::new().await;
    let first = world.code("alice@contoso.test", &[]).await;
    let first = claims(&world.redeem(&first, &[]).await["id_token"]);
    let landed = landed(&world.authorize(&[("prompt", "none")]).await);
    let second = claims(&world.redeem(&landed["code"], &[]).await["id_token"]);
    assert_eq!(second["sid"], first["sid"]);
    assert_eq!(second["sub"], first["sub"]);

    let other = [("prompt", "none"), ("login_hint", "bob@contoso.test")];
    assert_eq!(super::landed(&world.authorize(&other).await)["error"], "login_required");
    let page = world.authorize(&[("prompt", "login"), ("login_hint", "alice@contoso.test")]).await;
    assert!(text(&page).contains("name=\"_user\" value=\"alice@contoso.test\""));
    assert!(
        text(&world.authorize(&[("prompt", "select_account")]).await).contains("Pick an account")
    );
}

#[tokio::test]
async fn two_accounts_in_one_browser_must_be_told_apart() {
    let world = World::new().await;
    world.code("alice@contoso.test", &[]).await;
    world.code("bob@contoso.test", &[]).await;
    let landed = landed(&world.authorize(&[("prompt", "none")]).await);
    assert_eq!(landed["error"], "interaction_required");
    let hinted = [("prompt", "none"), ("login_hint", "bob@contoso.test")];
    assert!(super::landed(&world.authorize(&hinted).await).contains_key("code"));
}

#[tokio::test]
async fn max_age_makes_an_old_session_sign_in_again() {
    let world = World::new().await;
    world.code("alice@contoso.test", &[]).await;
    world.clock.advance(Duration::from_secs(100));
    let old = landed(&world.authorize(&[("prompt", "none"), ("max_age", "60")]).await);
    assert_eq!(old["error"], "login_required");
    assert!(
        landed(&world.authorize(&[("prompt", "none"), ("max_age", "600")]).await)
            .contains_key("code")
    );
}

#[tokio::test]
async fn the_answer_travels_by_query_fragment_or_form() {
    let world = World::new().await;
    let by = |mode| [("login_hint", "alice@contoso.test"), ("response_mode", mode)];
    assert!(
        location(&world.authorize(&by("query")).await).starts_with(&format!("{CALLBACK}?code="))
    );
    assert!(
        location(&world.authorize(&by("fragment")).await).starts_with(&format!("{CALLBACK}#code="))
    );
    let page = text(&world.authorize(&by("form_post")).await);
    assert!(page.contains("name=\"code\"") && page.contains("value=\"the state\""), "{page}");
    assert!(page.contains("document.forms[0].submit()"));
    let failed = text(
        &world
            .authorize(&[
                ("response_mode", "form_post"),
                ("prompt", "none"),
                ("login_hint", "bob@contoso.test"),
            ])
            .await,
    );
    assert!(failed.contains("name=\"error\" value=\"login_required\""), "{failed}");
}

#[tokio::test]
async fn a_password_a_second_factor_and_consent_are_asked_for_in_turn() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "Careful app"
        client_secret = "s"
        any_loopback_redirect_uri = true
        ask_consent = true
        [[users]]
        name = "alice@contoso.test"
        password = "correct horse"
        mfa = true
        "#,
    )
    .await;
    let mut given = vec![("login_hint", "alice@contoso.test")];
    let page = text(&world.authorize(&given).await);
    assert!(page.contains("Enter password"), "{page}");
    given.push(("_user", "alice@contoso.test"));
    given.push(("_password", "battery staple"));
    assert!(text(&world.authorize(&given).await).contains("password is incorrect"));
    given.push(("_password", "correct horse"));
    assert!(text(&world.authorize(&given).await).contains("Approve sign-in request"));
    given.push(("_mfa", "approved"));
    assert!(text(&world.authorize(&given).await).contains("Permissions requested"));
    given.push(("_consent", "yes"));
    let landed = landed(&world.authorize(&given).await);
    let tokens = world.redeem(&landed["code"], &[]).await;
    assert_eq!(claims(&tokens["access_token"])["amr"], serde_json::json!(["pwd", "mfa"]));
    // What was not consented to is not given at renewal either.
    let body = world.renew(&tokens["refresh_token"], &[("scope", "Mail.Read")]).await;
    assert_eq!((code_of(&body), &body["suberror"]), (65_001, &"consent_required".into()));
}

#[tokio::test]
async fn declining_is_access_denied_with_the_subcode_cancel() {
    let world = World::new().await;
    let landed = landed(&world.authorize(&[("_cancel", "1")]).await);
    assert_eq!(
        (landed["error"].as_str(), landed["error_subcode"].as_str()),
        ("access_denied", "cancel")
    );
}

#[tokio::test]
async fn who_is_not_assigned_or_is_disabled_stays_on_microsofts_page() {
    let world = World::new().await;
    world.fault(r#"{"unassign":"alice@contoso.test"}"#);
    world.fault(r#"{"disable":"bob@contoso.test"}"#);
    let page = text(&world.authorize(&[("login_hint", "alice@contoso.test")]).await);
    assert!(page.contains("AADSTS50105"));
    let page = text(&world.authorize(&[("login_hint", "bob@contoso.test")]).await);
    assert!(page.contains("AADSTS50057"));
}

#[tokio::test]
async fn a_registered_localhost_uri_matches_with_any_port_but_no_other_path() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "Strict app"
        client_secret = "s"
        redirect_uris = ["http://localhost/.auth/login/aad/callback", "https://app.contoso.test"]
        "#,
    )
    .await;
    assert!(
        landed(&world.authorize(&[("login_hint", "alice@contoso.test")]).await)
            .contains_key("code")
    );
    for uri in [
        "http://localhost:4180/other",
        "https://app.contoso.test:444",
        "https://app.contoso.test/x",
    ] {
        let page = text(&world.authorize(&[("redirect_uri", uri)]).await);
        assert!(page.contains("AADSTS50011"), "{uri}");
    }
    let back = world
        .authorize(&[
            ("redirect_uri", "https://app.contoso.test"),
            ("login_hint", "bob@contoso.test"),
        ])
        .await;
    assert!(location(&back).starts_with("https://app.contoso.test/?code="));
}

#[tokio::test]
async fn a_single_tenant_app_is_refused_at_common() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "Single-tenant app"
        client_secret = "s"
        any_loopback_redirect_uri = true
        "#,
    )
    .await;
    let page = text(&world.authorize_at("common", &[("login_hint", "alice@contoso.test")]).await);
    assert!(page.contains("AADSTS50194"));
}
