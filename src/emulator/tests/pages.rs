//! Metadata, instance discovery, TLS, and what the command prints.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::runtime::Handle;

use super::{World, code_of, json, landed, text};
use crate::{
    base::outbound::Outbound,
    emulator::{Emulator, Options, Scenario},
};

#[tokio::test]
async fn metadata_names_the_tenant_by_guid_whatever_it_was_asked_by() {
    let world = World::new().await;
    let tenant = world.emulator.client().tenant;
    for alias in ["{tenant}", "contoso.onmicrosoft.com", "CONTOSO.TEST", &tenant.to_uppercase()] {
        let document =
            world.get_json(&format!("/{alias}/v2.0/.well-known/openid-configuration")).await;
        let base = format!("{}/{tenant}", world.emulator.origin());
        assert_eq!(document["issuer"], format!("{base}/v2.0"));
        assert_eq!(document["token_endpoint"], format!("{base}/oauth2/v2.0/token"));
        assert_eq!(document["jwks_uri"], format!("{base}/discovery/v2.0/keys"));
        assert!(document.get("code_challenge_methods_supported").is_none());
        assert!(document.get("revocation_endpoint").is_none());
    }
    let common = world.get_json("/common/v2.0/.well-known/openid-configuration").await;
    assert_eq!(common["issuer"], format!("{}/{{tenantid}}/v2.0", world.emulator.origin()));
    assert!(common["token_endpoint"].as_str().unwrap().contains("/common/"));
    let old = world.get_json("/{tenant}/.well-known/openid-configuration?appid=x").await;
    assert_eq!(old["issuer"], format!("{}/{tenant}/", world.emulator.origin()));
    assert!(old["jwks_uri"].as_str().unwrap().ends_with("/discovery/keys?appid=x"));
    let unknown = world.visit("/nobody.example/v2.0/.well-known/openid-configuration").await;
    assert_eq!((unknown.status, code_of(&json(&unknown))), (StatusCode::BAD_REQUEST, 90_002));
}

#[tokio::test]
async fn keys_have_entras_shape_and_say_for_whom_they_sign() {
    let world = World::new().await;
    let set = world.get_json("/{tenant}/discovery/v2.0/keys").await;
    let keys = set["keys"].as_array().unwrap();
    assert!(keys.len() >= 3);
    let tenant = world.emulator.client().tenant;
    let issuer = format!("{}/{tenant}/v2.0", world.emulator.origin());
    assert_eq!(keys.iter().filter(|key| key["issuer"] == issuer).count(), keys.len() - 1);
    let personal = keys.last().unwrap()["issuer"].as_str().unwrap();
    assert!(personal.contains("9188040d-6c67-4c5b-b112-36a304b66dad"));
    for key in keys {
        assert_eq!(
            (&key["kty"], &key["use"], &key["e"]),
            (&"RSA".into(), &"sig".into(), &"AQAB".into())
        );
        assert_eq!(key["x5t"], key["kid"]);
        assert_eq!(key["kid"].as_str().unwrap().len(), 27);
        assert!(key.get("alg").is_none());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap().len(), 256);
    }
    let common = world.get_json("/common/discovery/v2.0/keys").await;
    assert!(common["keys"][0]["issuer"].as_str().unwrap().ends_with("/{tenantid}/v2.0"));
}

#[tokio::test]
async fn instance_discovery_knows_itself_and_refuses_strangers() {
    let world = World::new().await;
    let ask = |host: String| {
        let path = format!(
            "/common/discovery/instance?api-version=1.1&authorization_endpoint={host}/common/oauth2/v2.0/authorize"
        );
        let world = &world;
        async move { world.get_json(&path).await }
    };
    let known = ask(world.emulator.origin()).await;
    assert_eq!(known["api-version"], "1.1");
    assert!(known["metadata"][0]["aliases"][0].is_string());
    assert_eq!(ask("https://evil.example".to_owned()).await["error"], "invalid_instance");
}

#[tokio::test]
async fn over_tls_the_printed_authority_is_what_must_be_trusted() {
    let options = Options { tls: true, ..Options::default() };
    let emulator = Emulator::start(options).await.unwrap();
    let client = emulator.client();
    let file = client.ca_file.clone().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&file).unwrap()).unwrap();
    let outbound = Outbound::new(Handle::current(), roots);
    for host in ["localhost", "127.0.0.1"] {
        let url = format!(
            "https://{host}:{}/{}/v2.0/.well-known/openid-configuration",
            emulator.address().port(),
            client.tenant
        );
        let answer = outbound.send(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
        let issuer = json(&answer)["issuer"].as_str().unwrap().to_owned();
        assert!(issuer.starts_with(&format!("https://{host}:")), "{issuer}");
    }
    let printed: toml::Table = client.to_toml().parse().unwrap();
    for name in ["authority", "tenant", "client_id", "client_secret", "users", "ca_file"] {
        assert!(printed.contains_key(name), "{name}");
    }
    drop(emulator);
    assert!(!file.exists(), "the temporary folder goes with the emulator");
}

#[tokio::test]
async fn a_stopped_emulator_is_gone() {
    let world = World::new().await;
    let url = world.url("/");
    world.emulator.stop().await;
    let outbound = Outbound::new(Handle::current(), RootCertStore::empty());
    assert!(outbound.send(Request::get(url).body(Vec::new()).unwrap()).await.is_err());
}

#[tokio::test]
async fn admin_consent_returns_with_the_tenant_or_a_refusal() {
    let world = World::new().await;
    let client = world.emulator.client();
    let query = format!(
        "client_id={}&scope=User.Read&redirect_uri={}&state=s",
        client.client_id,
        super::CALLBACK
    );
    let page = text(&world.visit(&format!("/{{tenant}}/v2.0/adminconsent?{query}")).await);
    assert!(page.contains("Permissions requested"));
    let yes =
        landed(&world.visit(&format!("/{{tenant}}/v2.0/adminconsent?{query}&_consent=yes")).await);
    assert_eq!((yes["admin_consent"].as_str(), &yes["tenant"]), ("True", &client.tenant));
    let no =
        landed(&world.visit(&format!("/{{tenant}}/v2.0/adminconsent?{query}&_consent=no")).await);
    assert_eq!((no["error"].as_str(), no["state"].as_str()), ("access_denied", "s"));
}

#[tokio::test]
async fn the_home_page_tells_a_person_where_they_are() {
    let world = World::new().await;
    let page = text(&world.visit("/").await);
    assert!(
        page.contains(&world.emulator.client().client_id) && page.contains("dave@contoso.test")
    );
    assert_eq!(world.visit("/nothing/here").await.status, StatusCode::NOT_FOUND);
}

#[test]
fn a_scenario_with_a_misspelt_key_or_a_contradiction_is_refused() {
    let error = Scenario::parse("s.toml", "token_lifetme = \"60s\"").unwrap_err().to_string();
    assert!(error.contains("s.toml") && error.contains("token_lifetme"), "{error}");
    for text in [
        "users = []",
        "apps = []",
        "[[apps]]\nname = \"x\"\nclient_id = \"x\"",
        "[[users]]\nname = \"a@b.test\"\ntenant = \"nobody\"",
        "[[users]]\nname = \"a@b.test\"\n[[users]]\nname = \"A@b.test\"",
        "[[apps]]\nname = \"x\"\ncertificates = [\"x\"]",
    ] {
        let scenario = Scenario::parse("s.toml", text).unwrap();
        assert!(crate::emulator::directory::Directory::new(&scenario).is_err(), "{text}");
    }
}

#[tokio::test]
async fn the_example_scenario_shows_every_kind_of_entry_and_runs() {
    let text = include_str!("../../../tests/data/emulator/scenario.toml");
    let world = World::from_toml(text).await;
    let answer = world
        .authorize(&[
            ("login_hint", "ann@example.test"),
            ("redirect_uri", "https://app.example.test/.auth/login/aad/callback"),
        ])
        .await;
    assert!(
        super::location(&answer)
            .starts_with("https://app.example.test/.auth/login/aad/callback?code=")
    );
    let code = super::location(&answer)
        .split("code=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap()
        .to_owned();
    let tokens = world
        .redeem(&code, &[("redirect_uri", "https://app.example.test/.auth/login/aad/callback")])
        .await;
    let claims = super::claims(&tokens["id_token"]);
    assert_eq!(claims["roles"], serde_json::json!(["Approver"]), "by her group");
    assert_eq!(claims["groups"][0], "6c1e2b54-0000-4000-8000-000000000001");
    assert_eq!(claims["auth_time"].as_i64().unwrap() / 60, world.clock.unix() / 60);
    assert_eq!(tokens["expires_in"], 120);
    let debug = format!("{:?}", Scenario::parse("scenario.toml", text).unwrap());
    assert!(!debug.contains("not-a-secret"), "secrets are not in Debug");
}
