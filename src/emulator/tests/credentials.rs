//! How clients show who they are.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use ring::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::{Pairs, World, claims, code_of};

const KEY: &str = include_str!("../../../tests/data/emulator/client-key.pem");
const CERTIFICATE: &str = include_str!("../../../tests/data/emulator/client-certificate.pem");

fn key() -> KeyPair {
    let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()
}

fn assertion(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let (key, random) = (key(), SystemRandom::new());
    let mut signature = vec![0; key.public().modulus_len()];
    if header["alg"] == "PS256" {
        key.sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    } else {
        key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    }
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

async fn certified() -> World {
    World::from_toml(&format!(
        "[[apps]]\nname = \"Client\"\nany_loopback_redirect_uri = true\n\
         scopes = [\"x\"]\ncertificates = ['''{CERTIFICATE}''']"
    ))
    .await
}

/// The answer to client credentials with this assertion.
async fn present(world: &World, assertion: &str) -> Value {
    let scope = format!("api://{}/.default", world.emulator.client().client_id);
    let answer = world
        .token_at(
            "{tenant}",
            &[
                ("client_secret", ""),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", assertion),
                ("grant_type", "client_credentials"),
                ("scope", &scope),
            ],
        )
        .await;
    super::json(&answer)
}

fn right_claims(world: &World) -> Value {
    let client = world.emulator.client();
    let now = world.clock.unix();
    json!({
        "aud": format!("{}/{}/oauth2/v2.0/token", client.authority, client.tenant),
        "iss": client.client_id, "sub": client.client_id,
        "jti": "1", "nbf": now, "exp": now + 600,
    })
}

#[tokio::test]
async fn every_variant_of_a_certificate_assertion_is_taken() {
    let world = certified().await;
    let sha256 = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate()));
    let sha1 = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate()));
    let now = world.clock.unix();
    let mut strings = right_claims(&world);
    strings["exp"] = (now + 600).to_string().into();
    strings["nbf"] = now.to_string().into();
    let mut fractions = right_claims(&world);
    fractions["exp"] = serde_json::from_str(&format!("{}.25", now + 600)).unwrap();
    for (header, claims) in [
        (json!({"alg":"PS256","typ":"JWT","x5t#S256":sha256}), right_claims(&world)),
        (json!({"alg":"PS256","x5t#S256":format!("{sha256}=")}), fractions),
        (json!({"alg":"RS256","x5t":sha1,"x5c":"one string"}), strings),
        (json!({"alg":"RS256","x5t#S256":sha256,"x5c":["a","b"]}), right_claims(&world)),
    ] {
        let body = present(&world, &assertion(&header, &claims)).await;
        assert_eq!(super::claims(&body["access_token"])["idtyp"], "app", "{body}");
        assert_eq!(super::claims(&body["access_token"])["appidacr"], "2");
    }
}

#[tokio::test]
async fn a_wrong_certificate_assertion_is_refused_with_its_number() {
    let world = certified().await;
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate()));
    let header = json!({"alg":"PS256","x5t#S256":thumbprint});
    let unknown = json!({"alg":"PS256","x5t#S256":BASE64_URL_SAFE_NO_PAD.encode([7; 32])});
    let with = |name: &str, value: Value| {
        let mut claims = right_claims(&world);
        claims[name] = value;
        claims
    };
    let now = world.clock.unix();
    for (header, claims, expected) in [
        (&unknown, right_claims(&world), 700_027),
        (&header, with("sub", "x".into()), 700_021),
        (&header, with("aud", "https://login.example/token".into()), 700_023),
        (&header, with("exp", (now - 400).into()), 700_024),
        (&header, with("nbf", (now + 900).into()), 700_024),
    ] {
        let body = present(&world, &assertion(header, &claims)).await;
        assert_eq!((&body["error"], code_of(&body)), (&"invalid_client".into(), expected));
    }
    let mut forged = assertion(&header, &right_claims(&world));
    forged.replace_range(forged.len() - 10..forged.len() - 6, "AAAA");
    assert_eq!(code_of(&present(&world, &forged).await), 700_027);
    assert_eq!(code_of(&present(&world, "not.a-jwt").await), 50_027);
    let none = format!(
        "{}.",
        assertion(&json!({"alg":"none","x5t#S256":thumbprint}), &right_claims(&world))
            .rsplit_once('.')
            .unwrap()
            .0
    );
    assert_eq!(code_of(&present(&world, &none).await), 700_027);
}

#[tokio::test]
async fn a_federated_token_must_match_issuer_subject_and_audience() {
    let public = PublicKeyComponents::<Vec<u8>>::from(key().public_key());
    let jwks = json!({"keys": [{
        "kty": "RSA", "kid": "k8s", "use": "sig",
        "n": BASE64_URL_SAFE_NO_PAD.encode(public.n), "e": BASE64_URL_SAFE_NO_PAD.encode(public.e),
    }]});
    let world = World::from_toml(&format!(
        "[[apps]]\nname = \"Client\"\nscopes = [\"x\"]\n\
         [[apps.federated_credentials]]\nissuer = \"https://cluster.test\"\n\
         subject = \"system:serviceaccount:ns:sa\"\njwks = '''{jwks}'''"
    ))
    .await;
    let header = json!({"alg":"RS256","kid":"k8s"});
    let now = world.clock.unix();
    let right = json!({"iss":"https://cluster.test","sub":"system:serviceaccount:ns:sa",
        "aud":["api://AzureADTokenExchange"],"exp":now + 600,"nbf":now});
    let body = present(&world, &assertion(&header, &right)).await;
    assert!(body["access_token"].is_string(), "{body}");
    for (name, value, expected) in [
        ("iss", "https://other.test", 700_211),
        ("sub", "system:serviceaccount:NS:sa", 700_213),
        ("aud", "api://other", 700_212),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value.into();
        assert_eq!(code_of(&present(&world, &assertion(&header, &wrong)).await), expected);
    }
    let forged = assertion(&json!({"alg":"RS256","kid":"other"}), &right);
    assert_eq!(code_of(&present(&world, &forged).await), 50_012);
}

#[tokio::test]
async fn secrets_by_post_and_basic_work_and_wrong_expired_or_missing_ones_do_not() {
    let world = World::new().await;
    let tokens = world.tokens("alice@contoso.test", "User.Read").await;
    let client = world.emulator.client();
    let pairs = Pairs::from([
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap().to_owned()),
    ]);
    let credentials = BASE64_STANDARD.encode(format!(
        "{}:{}",
        client.client_id,
        client.client_secret.replace('~', "%7E")
    ));
    let basic = HeaderValue::from_str(&format!("Basic {credentials}")).unwrap();
    let answer = world
        .post("/{tenant}/oauth2/v2.0/token", &pairs, HeaderMap::from_iter([(AUTHORIZATION, basic)]))
        .await;
    assert!(super::json(&answer)["access_token"].is_string());
    assert_eq!(
        world.emulator.requests().last().unwrap().client_authentication.as_deref(),
        Some("client_secret_basic")
    );

    let refresh = &tokens["refresh_token"];
    assert_eq!(code_of(&world.renew(refresh, &[("client_secret", "wrong")]).await), 7_000_215);
    assert_eq!(code_of(&world.renew(refresh, &[("client_secret", "")]).await), 7_000_218);
    let answer = world
        .token_at("{tenant}", &[("grant_type", "refresh_token"), ("client_secret", "x")])
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    world.fault(r#"{"secret_expired":true}"#);
    assert_eq!(code_of(&world.renew(refresh, &[]).await), 7_000_222);
    world.fault(r#"{"secret_expired":false,"client_secret":"rotated"}"#);
    assert_eq!(code_of(&world.renew(refresh, &[]).await), 7_000_215);
    assert!(
        world.renew(refresh, &[("client_secret", "rotated")]).await["access_token"].is_string()
    );
}

#[tokio::test]
async fn an_api_gets_a_graph_token_on_behalf_of_its_caller() {
    let world = World::new().await;
    let tokens = world.tokens("erin@contoso.test", super::API).await;
    let present = |assertion: String| {
        let world = &world;
        async move {
            let answer = world
                .token_at(
                    "{tenant}",
                    &[
                        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                        ("requested_token_use", "on_behalf_of"),
                        ("assertion", &assertion),
                        ("scope", "User.Read"),
                    ],
                )
                .await;
            super::json(&answer)
        }
    };
    let own = tokens["access_token"].as_str().unwrap().to_owned();
    let body = present(own).await;
    assert_eq!(claims(&body["access_token"])["upn"], "erin@contoso.test");
    let graphs = body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(code_of(&present(graphs).await), 50_013, "a Graph token is not for this API");
}
