//! Addresses that the browser is sent to.

use super::*;

const REQUEST: AuthorizeRequest<'_> = AuthorizeRequest {
    state: "the state",
    nonce: NONCE,
    code_verifier: VERIFIER,
    prompt: None,
    login_hint: None,
    domain_hint: None,
    claims: None,
};

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn the_authorize_url_carries_exactly_what_microsoft_asks_for() {
    let microsoft = Microsoft::start().await;
    let url = microsoft.client().authorize_url(&REQUEST).await.unwrap();
    assert_eq!(url.path(), format!("/{TENANT}/oauth2/v2.0/authorize"));
    let query = query(&url);
    // RFC 7636 §4.2 by hand.
    let challenge = {
        let digest = ring::digest::digest(&ring::digest::SHA256, VERIFIER.as_bytes());
        URL_SAFE_NO_PAD.encode(digest)
    };
    let expected = HashMap::from(
        [
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("redirect_uri", "http://localhost:4180/.auth/login/aad/callback"),
            ("response_mode", "query"),
            ("scope", "openid profile offline_access User.Read"),
            ("state", "the state"),
            ("nonce", NONCE),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(query, expected);
    assert!(!url.as_str().contains(VERIFIER));
}

#[tokio::test]
async fn a_request_overrides_the_configured_prompt_and_hint() {
    let microsoft = Microsoft::start().await;
    let mut settings = microsoft.settings();
    settings.prompt = Some("login".to_owned());
    settings.domain_hint = Some("contoso.test".to_owned());
    let client = microsoft.client_with(&settings);
    let ask =
        async |request: AuthorizeRequest<'_>| query(&client.authorize_url(&request).await.unwrap());

    let configured = ask(REQUEST).await;
    assert_eq!(configured["prompt"], "login");
    assert_eq!(configured["domain_hint"], "contoso.test");

    let known_user = ask(AuthorizeRequest { login_hint: Some("O.opaque"), ..REQUEST }).await;
    assert_eq!(known_user["login_hint"], "O.opaque");
    assert!(!known_user.contains_key("domain_hint"));

    let picker = ask(AuthorizeRequest {
        prompt: Some("select_account"),
        login_hint: Some("alice@contoso.test"),
        claims: Some("{\"id_token\":{}}"),
        ..REQUEST
    })
    .await;
    assert_eq!(picker["prompt"], "select_account");
    assert_eq!(picker["claims"], "{\"id_token\":{}}");
    assert!(!picker.contains_key("login_hint"));

    let nonsense =
        ask(AuthorizeRequest { prompt: Some("x"), login_hint: Some("a\nb"), ..REQUEST }).await;
    assert_eq!(nonsense["prompt"], "login");
    assert!(!nonsense.contains_key("login_hint"));
}

#[tokio::test]
async fn a_verifier_of_the_wrong_length_or_alphabet_is_never_used() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let (short, long) = ("v".repeat(42), "v".repeat(129));
    let odd = format!("{}+", "v".repeat(43));
    for code_verifier in [short.as_str(), long.as_str(), odd.as_str(), ""] {
        let asked = client.authorize_url(&AuthorizeRequest { code_verifier, ..REQUEST }).await;
        assert!(matches!(asked, Err(EntraError::Verifier)), "{code_verifier}");
    }
    let longest = "v".repeat(128);
    let longest = AuthorizeRequest { code_verifier: &longest, ..REQUEST };
    assert!(client.authorize_url(&longest).await.is_ok());
}

#[tokio::test]
async fn the_end_session_url_names_where_to_return_and_whom_to_sign_out() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let back = Url::parse("http://localhost:4180/.auth/login/aad/callback").unwrap();
    let url = client.end_session_url(&back, Some("O.opaque")).await.unwrap();
    assert_eq!(url.path(), format!("/{TENANT}/oauth2/v2.0/logout"));
    let query = query(&url);
    assert_eq!(query["post_logout_redirect_uri"], back.as_str());
    assert_eq!(query["logout_hint"], "O.opaque");
    assert_eq!(client.end_session_url(&back, None).await.unwrap().query_pairs().count(), 1);
}

#[tokio::test]
async fn the_issuer_of_a_response_is_ours_where_given_and_given_where_announced() {
    let microsoft = Microsoft::start().await;
    let client = microsoft.client();
    let ours = microsoft.issuer();
    assert!(client.check_response_issuer(None).await.is_ok());
    assert!(client.check_response_issuer(Some(&ours)).await.is_ok());
    for wrong in ["", "https://evil.test", &format!("{ours}/")] {
        let checked = client.check_response_issuer(Some(wrong)).await;
        assert!(matches!(checked, Err(EntraError::ResponseIssuer)), "{wrong}");
    }

    let mut announcing = microsoft.document();
    announcing["authorization_response_iss_parameter_supported"] = json!(true);
    microsoft.instead(METADATA, Reply::json(200, &announcing));
    client.prepare().await.unwrap();
    assert!(client.check_response_issuer(Some(&ours)).await.is_ok());
    let missing = client.check_response_issuer(None).await;
    assert!(matches!(missing, Err(EntraError::ResponseIssuer)));
}
