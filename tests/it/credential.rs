//! How the app shows Microsoft who it is without a secret: by a certificate, and by a federated
//! token.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use ring::{rand::SystemRandom, rsa, signature::RSA_PKCS1_SHA256};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use vestibule::{base::clock::Clock, emulator};

use crate::support::{
    ALICE, App, Browser, Ended, KEY, Setup, Stack, config_file, free_port, provider,
    provider::Provider, scratch_file, vestibule,
};

const KEYS: [&str; 2] = [
    include_str!("../data/emulator/client-key.pem"),
    include_str!("../../src/emulator/keys/test-key-1.pem"),
];
const BOB: &str = "bob@contoso.test";
const APPLIED: &str = "vestibule_configuration_reloads_total{outcome=\"applied\"}";
const EXPIRY: &str = "vestibule_certificate_expiry_timestamp_seconds{certificate=\"entra\"}";
const ISSUER: &str = "https://cluster.test";
const SUBJECT: &str = "system:serviceaccount:shop:app";

fn der(which: usize) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from_pem_slice(KEYS[which].as_bytes()).unwrap()
}

/// A self-signed certificate of one of two keys, from 2020 to the first day of a year.
fn certificate(which: usize, until: i32) -> String {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der(which), &PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.self_signed(&key).unwrap().pem()
}

/// A path as TOML.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// Certificate and key in files of this test alone.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(certificate: &str, which: usize) -> Self {
        let pair = Self { certificate: scratch_file("app.pem"), key: scratch_file("app.key") };
        fs::write(&pair.certificate, certificate).unwrap();
        pair.write_key(which);
        pair
    }

    fn write_key(&self, which: usize) {
        fs::write(&self.key, KEYS[which]).unwrap();
    }

    fn setup(&self) -> Setup {
        Setup::default()
            .without("entra.client_secret")
            .set("entra.certificate_file", &quoted(&self.certificate))
            .set("entra.private_key_file", &quoted(&self.key))
    }
}

/// An app registration without a secret.
fn registration(credential: &str) -> String {
    format!(
        "token_lifetime = \"600s\"\n[[apps]]\nname = \"App\"\nany_loopback_redirect_uri = true\n\
         scopes = [\"x\"]\n{credential}\n"
    )
}

fn registered(certificates: &[&str]) -> String {
    let texts: Vec<_> = certificates.iter().map(|pem| format!("'''{pem}'''")).collect();
    registration(&format!("certificates = [{}]", texts.join(",")))
}

/// How each token request was authenticated, and what came of it.
fn token_requests(stack: &Stack) -> Vec<(String, String, u16)> {
    let requests = stack.emulator.requests().into_iter();
    let tokens = requests.filter(|request| request.endpoint == "token");
    tokens
        .map(|request| {
            let method = request.client_authentication.unwrap_or_default();
            (request.grant_type.unwrap_or_default(), method, request.status)
        })
        .collect()
}

fn by_assertion(grant: &str, status: u16) -> (String, String, u16) {
    (grant.to_owned(), "private_key_jwt".to_owned(), status)
}

#[tokio::test]
async fn a_certificate_signs_users_in_and_renews_their_sessions() {
    let certificate = certificate(0, 2090);
    let pair = Pair::new(&certificate, 0);
    let stack = pair.setup().scenario(&registered(&[&certificate])).start().await;
    let mut browser = stack.signed_in(ALICE).await;
    stack.advance(400);
    let page = browser.fetch(Method::GET, "/").await;
    assert_eq!((page.status.as_u16(), page.set_cookies().is_empty()), (200, false));
    assert_eq!(
        token_requests(&stack),
        [by_assertion("authorization_code", 200), by_assertion("refresh_token", 200)]
    );
    assert_eq!(stack.metric(EXPIRY).await, 3_786_912_000);
}

#[tokio::test]
async fn a_rotated_pair_is_taken_over_together_and_half_of_one_never() {
    let (old, new) = (certificate(0, 2080), certificate(1, 2090));
    let pair = Pair::new(&old, 0);
    // The old one has been taken out of the registration already.
    let stack = pair.setup().scenario(&registered(&[&new])).start().await;
    let try_in = async || stack.browser().as_user(ALICE).navigate("/").await.status.as_u16();
    assert_eq!(try_in().await, 503);
    assert_eq!(token_requests(&stack), [by_assertion("authorization_code", 401)]);
    let reloader = stack.proxy.reloader().unwrap();
    fs::write(&pair.certificate, &new).unwrap();
    reloader.look().await.unwrap();
    let told = reloader.look().await.unwrap_err().to_string();
    assert!(told.contains("entra.private_key_file: the private key in"), "{told}");
    assert!(told.contains("does not belong to the certificate in"), "{told}");
    // What was good before is still in use: it is asked, and refused by the registration.
    assert_eq!(try_in().await, 503);
    assert_eq!(token_requests(&stack).len(), 2);
    assert_eq!((stack.metric(APPLIED).await, stack.metric(EXPIRY).await), (0, 3_471_292_800));
    pair.write_key(1);
    reloader.look().await.unwrap();
    reloader.look().await.unwrap();
    assert_eq!((stack.metric(APPLIED).await, stack.metric(EXPIRY).await), (1, 3_786_912_000));
    assert_eq!(try_in().await, 200);
}

#[tokio::test]
async fn a_session_outlives_the_rotation_of_the_certificate() {
    let (old, new) = (certificate(0, 2080), certificate(1, 2090));
    let pair = Pair::new(&old, 0);
    let stack = pair.setup().scenario(&registered(&[&old, &new])).start().await;
    let mut browser = stack.signed_in(ALICE).await;
    fs::write(&pair.certificate, &new).unwrap();
    pair.write_key(1);
    stack.proxy.reload_now().await.unwrap();
    stack.advance(400);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(token_requests(&stack).last(), Some(&by_assertion("refresh_token", 200)));
}

/// The cluster: a key of its own, a set of public keys, and the file that the kubelet renews.
struct Cluster {
    token: PathBuf,
    jwks: String,
}

impl Cluster {
    fn new() -> Self {
        let pair = rsa::KeyPair::from_pkcs8(der(1).secret_pkcs8_der()).unwrap();
        let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let jwks = json!({"keys": [{
            "kty": "RSA", "kid": "k8s", "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        }]});
        Self { token: scratch_file("azure-identity-token"), jwks: jwks.to_string() }
    }

    fn registration(&self) -> String {
        registration(&format!(
            "[[apps.federated_credentials]]\nissuer = \"{ISSUER}\"\nsubject = \"{SUBJECT}\"\n\
             jwks = '''{}'''",
            self.jwks
        ))
    }

    /// Renews the token, as a swap that nobody sees half of.
    fn renew(&self, now: i64) {
        self.renew_for(SUBJECT, now);
    }

    fn renew_for(&self, subject: &str, now: i64) {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": ["api://AzureADTokenExchange"],
            "iat": now, "nbf": now, "exp": now + 3600,
        });
        let header = part(&json!({"alg": "RS256", "kid": "k8s"}));
        let signed = format!("{header}.{}", part(&claims));
        let key = rsa::KeyPair::from_pkcs8(der(1).secret_pkcs8_der()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        let draft = self.token.with_extension("draft");
        fs::write(&draft, format!("{signed}.{}\n", URL_SAFE_NO_PAD.encode(signature))).unwrap();
        fs::rename(draft, &self.token).unwrap();
    }

    async fn start(&self) -> Stack {
        let clock = Clock::adjustable();
        self.renew(clock.unix());
        let mut setup = Setup::default()
            .without("entra.client_secret")
            .set("entra.federated_token_file", &quoted(&self.token))
            .scenario(&self.registration());
        setup.clock = Some(clock);
        setup.start().await
    }
}

#[tokio::test]
async fn a_federated_token_is_read_at_each_use() {
    let cluster = Cluster::new();
    let stack = cluster.start().await;
    let mut browser = stack.signed_in(ALICE).await;
    // Renewed every 400 seconds, and the token with the cluster's own rhythm.
    for at in 1..=20 {
        stack.advance(400);
        if at % 8 == 0 {
            cluster.renew(stack.clock.unix());
        }
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200, "{at}");
    }
    let requests = token_requests(&stack);
    assert_eq!(requests[0], by_assertion("authorization_code", 200));
    assert_eq!(requests[1..], vec![by_assertion("refresh_token", 200); 20]);
    // Nobody had to notice, and nothing is known of an end.
    assert_eq!((stack.metric(APPLIED).await, stack.metric(EXPIRY).await), (0, 0));
}

#[tokio::test]
async fn a_federated_token_that_fails_signs_nobody_out() {
    let cluster = Cluster::new();
    let stack = cluster.start().await;
    let mut browser = stack.signed_in(ALICE).await;
    let newcomer = async || stack.browser().as_user(BOB).navigate("/").await;
    for content in [None, Some(""), Some("-----BEGIN PRIVATE KEY-----\nxyz"), Some("a.b.c")] {
        stack.advance(60);
        match content {
            None => fs::remove_file(&cluster.token).unwrap(),
            Some(content) => fs::write(&cluster.token, content).unwrap(),
        }
        let calls = stack.token_calls();
        let page = newcomer().await;
        assert_eq!(page.status, 503, "{content:?}");
        assert!(page.text().contains("You did nothing wrong"), "{}", page.text());
        // What is not a token leaves the machine for nobody.
        let asked = stack.token_calls() - calls;
        assert_eq!(asked, usize::from(content == Some("a.b.c")), "{content:?}");
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200, "{content:?}");
    }
    // Due for renewal, which fails: the access token still lives.
    stack.advance(200);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    cluster.renew_for("system:serviceaccount:shop:other", stack.clock.unix());
    assert_eq!(newcomer().await.status, 503);
    stack.advance(61);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    cluster.renew(stack.clock.unix());
    assert_eq!(newcomer().await.status, 200);
    stack.advance(61);
    let page = browser.fetch(Method::GET, "/").await;
    assert_eq!((page.status.as_u16(), page.set_cookies().is_empty()), (200, false));
    assert_eq!(token_requests(&stack).last(), Some(&by_assertion("refresh_token", 200)));
}

#[tokio::test]
async fn workload_identity_needs_nothing_but_what_the_webhook_sets() {
    let cluster = Cluster::new();
    cluster.renew(Clock::system().unix());
    let scenario = emulator::Scenario::parse("scenario", &cluster.registration()).unwrap();
    let options = emulator::Options { scenario, ..emulator::Options::default() };
    let emulator = emulator::Emulator::start(options).await.unwrap();
    let (app, client, port) = (App::start().await, emulator.client(), free_port());
    let in_pod = |command: &str| {
        vestibule([command])
            .env("AZURE_CLIENT_ID", &client.client_id)
            .env("AZURE_TENANT_ID", &client.tenant)
            // The webhook's has a slash at its end.
            .env("AZURE_AUTHORITY_HOST", format!("{}/", client.authority))
            .env("AZURE_FEDERATED_TOKEN_FILE", &cluster.token)
            .env("VESTIBULE__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("VESTIBULE__SERVER__PUBLIC_URL", format!("http://localhost:{port}"))
            .env("VESTIBULE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("VESTIBULE__SESSION__KEYS", format!("[\"{KEY}\"]"))
            .env("VESTIBULE__UPSTREAM__URL", app.url())
            .env("VESTIBULE__ENTRA__SCOPES", "[\"User.Read\"]")
    };
    let checked = in_pod("check").ended().await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let table: toml::Table = checked.stdout.parse().unwrap();
    assert_eq!(table["entra"]["federated_token_file"].as_str(), cluster.token.to_str());
    assert!(checked.stdout.contains("AZURE_FEDERATED_TOKEN_FILE"), "{}", checked.stdout);

    let running = in_pod("run").start();
    running.says("listening").await;
    running.says("ready").await;
    let mut browser = Browser::new(&format!("http://localhost:{port}")).as_user(ALICE);
    let page = browser.navigate("/").await;
    assert_eq!(page.status, 200, "{}", running.stderr());
    assert_eq!(browser.fetch(Method::POST, "/.auth/refresh").await.status, 200);
    // A secret of one's own is stronger, and wrong here.
    let with_secret =
        in_pod("check").env("VESTIBULE__ENTRA__CLIENT_SECRET", "s3cret").ended().await;
    assert_eq!(with_secret.code, 0, "{}", with_secret.stderr);
    let table: toml::Table = with_secret.stdout.parse().unwrap();
    assert!(!table["entra"].as_table().unwrap().contains_key("federated_token_file"));
}

/// `check`, with these lines in `[entra]`.
async fn check(entra: &str, arguments: &[&str]) -> Ended {
    let file = config_file(&format!(
        "[server]\npublic_url = \"https://app.contoso.test\"\n[entra]\n{entra}\n\
         [session]\nkeys = [\"{KEY}\"]\n"
    ));
    let file = [Path::new("check"), Path::new("--config"), &file];
    vestibule(file.into_iter().chain(arguments.iter().map(Path::new))).ended().await
}

const REGISTRATION: &str = "tenant = \"contoso.onmicrosoft.com\"\n\
                            client_id = \"00001111-aaaa-2222-bbbb-3333cccc4444\"\n";

#[tokio::test]
async fn a_credential_that_cannot_work_is_refused_at_start_with_words() {
    let pair = Pair::new(&certificate(0, 2090), 1);
    let right = Pair::new(&certificate(0, 2090), 0);
    let elliptic = scratch_file("ec.key");
    fs::write(&elliptic, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let files = |certificate: &Path, key: &Path| {
        format!("{REGISTRATION}certificate_file = {certificate:?}\nprivate_key_file = {key:?}\n")
    };
    let good = files(&right.certificate, &right.key);
    let token = format!("federated_token_file = {:?}\n", right.key);
    for (entra, words) in [
        (
            format!("{good}client_secret_file = {:?}\n", right.key),
            "expected one credential, found client_secret_file and certificate_file",
        ),
        (
            format!("{good}{token}"),
            "expected one credential, found certificate_file and federated_token_file",
        ),
        (
            format!("{REGISTRATION}client_secret = \"Canary\"\n{token}"),
            "expected one credential, found client_secret and federated_token_file",
        ),
        (files(&pair.certificate, &pair.key), "entra.private_key_file: the private key in"),
        (files(&right.certificate, &elliptic), "expected an RSA key (rsaEncryption) in"),
        (files(&right.key, &right.key), "entra.certificate_file: expected a certificate in PEM in"),
        (
            files(&right.certificate, Path::new("/nonexistent/app.key")),
            "entra.private_key_file: cannot read /nonexistent/app.key",
        ),
        (
            format!("{REGISTRATION}certificate_file = {:?}\n", right.certificate),
            "entra.private_key_file: certificate_file and private_key_file belong together",
        ),
        (
            format!("{REGISTRATION}federated_token_file = \"/nonexistent/token\"\n"),
            "entra.federated_token_file: expected a readable file with a federated token",
        ),
        (
            REGISTRATION.to_owned(),
            "certificate_file with private_key_file, or federated_token_file",
        ),
    ] {
        let ended = check(&entra, &[]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{words}: {}", ended.stderr);
        let told = ended.stderr.replace('\n', " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(words), "{words}: {told}");
        assert!(!told.contains("Canary") && !told.contains("MII"), "{told}");
    }
    let ended = check(&good, &[]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("private_key_file = "), "{}", ended.stdout);
    assert!(!ended.stdout.contains("PRIVATE KEY-----"));
}

#[tokio::test]
async fn an_expired_certificate_is_a_warning_and_a_failure_of_the_online_check() {
    let pair = Pair::new(&certificate(0, 2021), 0);
    let emulator = emulator::Emulator::start(emulator::Options::default()).await.unwrap();
    let client = emulator.client();
    let entra = format!(
        "authority = {:?}\ntenant = {:?}\nclient_id = {:?}\ncertificate_file = {:?}\n\
         private_key_file = {:?}\n",
        client.authority, client.tenant, client.client_id, pair.certificate, pair.key
    );
    let words = "the certificate has expired on 2021-01-01T00:00:00Z";
    let ended = check(&entra, &[]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let warning = format!("warning: entra.certificate_file: {words}");
    assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
    let ended = check(&entra, &["--online"]).await;
    assert_eq!(ended.code, 69, "{}", ended.stderr);
    let failed = "FAILED  the client certificate: entra.certificate_file: the certificate has";
    assert!(ended.stderr.contains(failed), "{}", ended.stderr);
    assert!(ended.stderr.contains("which expires on 2021-01-01"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_online_check_prints_what_the_federated_credential_must_say() {
    let cluster = Cluster::new();
    cluster.renew(Clock::system().unix());
    let emulator = emulator::Emulator::start(emulator::Options::default()).await.unwrap();
    let client = emulator.client();
    let entra = format!(
        "authority = {:?}\ntenant = {:?}\nclient_id = {:?}\nfederated_token_file = {:?}\n",
        client.authority, client.tenant, client.client_id, cluster.token
    );
    let ended = check(&entra, &["--online"]).await;
    for words in [
        format!("issuer {ISSUER:?}"),
        format!("subject {SUBJECT:?}"),
        "audience \"api://AzureADTokenExchange\"".to_owned(),
        "ok      the federated token".to_owned(),
    ] {
        assert!(ended.stderr.contains(&words), "{words}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_pod_that_needs_the_webhook_is_told_about_its_label() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec:\n  \
                      selector: {matchLabels: {app: app}}\n  template:\n    metadata:\n      \
                      labels: {app: app}\n    spec:\n      containers:\n      - name: app\n        \
                      image: app:1\n        ports:\n        - containerPort: 8080\n";
    let label = "set the pod label azure.workload.identity/use";
    for (credential, needs_webhook) in [
        ("", true),
        ("federated_token_file = \"/var/run/secrets/azure/tokens/azure-identity-token\"", true),
        ("federated_token_file = \"/var/run/secrets/spiffe/token\"", false),
        ("client_secret_file = \"/etc/vestibule/client-secret\"", false),
        (
            "certificate_file = \"/etc/vestibule/app.pem\"\n\
             private_key_file = \"/etc/vestibule/app.pem\"",
            false,
        ),
    ] {
        let file = config_file(&format!(
            "[server]\npublic_url = \"https://app.contoso.com\"\n[entra]\n{REGISTRATION}\
             {credential}\n[session]\nkeys_file = \"/etc/vestibule/session-keys\"\n"
        ));
        let arguments = ["inject", "--config", file.to_str().unwrap(), "-"];
        let ended = vestibule(arguments).input(deployment).ended().await;
        assert_eq!(ended.code, 0, "{credential}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains(label), needs_webhook, "{credential}: {}", ended.stderr);
    }
    // Two are two, wherever their files are.
    let file = config_file(&format!(
        "[server]\npublic_url = \"https://app.contoso.com\"\n[entra]\n{REGISTRATION}\
         client_secret_file = \"/nowhere\"\nfederated_token_file = \"/nowhere\"\n\
         [session]\nkeys_file = \"/nowhere\"\n"
    ));
    let arguments = ["inject", "--config", file.to_str().unwrap(), "-"];
    let ended = vestibule(arguments).input(deployment).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("found client_secret_file and federated_token_file"));
}

#[tokio::test]
async fn j1_no_assertion_and_nothing_of_a_key_is_logged() {
    let provider = Provider::start(Clock::system()).await;
    let (app, port) = (App::start().await, free_port());
    let pair = Pair::new(&certificate(0, 2090), 0);
    let file = config_file(&format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://localhost:{port}\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[entra]\nauthority = \"{}\"\ntenant = \"{}\"\n\
         client_id = \"{}\"\ncertificate_file = {:?}\nprivate_key_file = {:?}\n\
         [session]\nkeys = [\"{KEY}\"]\n[upstream]\nurl = \"{}\"\n[log]\nlevel = \"trace\"\n",
        provider.origin(),
        provider::TENANT,
        provider::CLIENT,
        pair.certificate,
        pair.key,
        app.url(),
    ));
    let running = vestibule([Path::new("run"), Path::new("--config"), &file]).start();
    running.says("ready").await;
    let mut browser = Browser::new(&format!("http://localhost:{port}"));
    let page = browser.navigate("/").await;
    assert_eq!(page.status, 200, "{}", running.stderr());
    browser.fetch(Method::POST, "/.auth/refresh").await;
    let forms = provider.forms();
    let assertions: Vec<_> = forms.iter().map(|form| form["client_assertion"].clone()).collect();
    assert_eq!(assertions.len(), 2);
    assert_ne!(assertions[0], assertions[1]);
    assert!(forms.iter().all(|form| !form.contains_key("client_secret")));
    let log = running.stderr();
    for assertion in &assertions {
        for part in assertion.split('.').skip(1) {
            assert!(!log.contains(part) && !log.contains(&part[part.len() - 40..]), "{log}");
        }
    }
    let middle = KEYS[0].lines().nth(9).unwrap();
    assert!(middle.len() > 60 && !log.contains(middle), "{log}");
}
