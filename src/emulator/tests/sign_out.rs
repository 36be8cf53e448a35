//! Single sign-out.

use http::StatusCode;

use super::{CALLBACK, World, claims, landed, location, text};

async fn leave(world: &World, query: &str) -> http::Response<String> {
    let answer = world.visit(&format!("/{{tenant}}/oauth2/v2.0/logout?{query}")).await;
    let mut response = http::Response::new(text(&answer));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

const BACK: &str =
    "post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A4180%2F.auth%2Flogin%2Faad%2Fcallback";

#[tokio::test]
async fn the_hinted_account_leaves_and_the_browser_returns() {
    let world = World::new().await;
    let code = world.code("alice@contoso.test", &[]).await;
    let hint = claims(&world.redeem(&code, &[]).await["id_token"])["login_hint"].clone();
    world.code("bob@contoso.test", &[]).await;
    let hint = hint.as_str().unwrap();
    let answer = world
        .visit(&format!("/{{tenant}}/oauth2/v2.0/logout?logout_hint={hint}&{BACK}&state=s"))
        .await;
    assert_eq!(location(&answer), format!("{CALLBACK}?state=s"));
    let left = landed(&world.authorize(&[("prompt", "none")]).await);
    let tokens = world.redeem(&left["code"], &[]).await;
    assert_eq!(claims(&tokens["id_token"])["name"], "Bob Brown", "the other account stays");
}

#[tokio::test]
async fn several_accounts_without_a_hint_must_be_picked_from() {
    let world = World::new().await;
    world.code("alice@contoso.test", &[]).await;
    world.code("bob@contoso.test", &[]).await;
    // A user name is no hint.
    let page = leave(&world, &format!("logout_hint=alice%40contoso.test&{BACK}")).await;
    assert!(page.body().contains("Which account do you want to sign out of?"));
    assert_eq!(page.headers()["x-frame-options"], "DENY");
}

#[tokio::test]
async fn nobody_is_sent_to_an_unregistered_address_or_without_a_session() {
    let world = World::new().await;
    let page = leave(&world, BACK).await;
    assert_eq!(page.status(), StatusCode::OK);
    world.code("alice@contoso.test", &[]).await;
    let page = leave(&world, "post_logout_redirect_uri=https%3A%2F%2Fevil.example%2F").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.body().contains("You signed out") && !page.body().contains("evil.example"));
    assert_eq!(landed(&world.authorize(&[("prompt", "none")]).await)["error"], "login_required");
}

#[tokio::test]
async fn the_front_channel_tells_each_app_of_the_session_by_hidden_frame() {
    let world = World::from_toml(
        r#"
        [[apps]]
        name = "App"
        client_secret = "s"
        any_loopback_redirect_uri = true
        frontchannel_logout_uri = "http://localhost:4180/.auth/logout/frontchannel"
        frontchannel_iss = true
        [[apps]]
        name = "Not visited"
        frontchannel_logout_uri = "http://localhost:4999/never"
        "#,
    )
    .await;
    let code = world.code("alice@contoso.test", &[]).await;
    let sid = claims(&world.redeem(&code, &[]).await["id_token"])["sid"].clone();
    let page = leave(&world, BACK).await.into_body();
    let page = page.replace("&#x2f;", "/").replace("&amp;", "&");
    let frame = format!(
        "<iframe src=\"http://localhost:4180/.auth/logout/frontchannel?sid={}&iss=",
        sid.as_str().unwrap()
    );
    assert!(page.contains(&frame), "{page}");
    assert!(!page.contains("never"));
    assert!(page.contains(&format!("content=\"2;url={CALLBACK}\"")), "{page}");
}

#[tokio::test]
async fn sign_out_does_not_revoke_the_refresh_token() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    leave(&world, BACK).await;
    assert!(world.renew(&tokens["refresh_token"], &[]).await["access_token"].is_string());
}
