//! What metrics say about a replica itself: which configuration it runs and since when, how old
//! Microsoft's documents are, how long its certificates last, and where its limits are.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use vestibule::base::clock::Clock;

use crate::support::{
    Browser, Setup, Stack, free_port,
    provider::{METADATA, Provider},
    scratch_file,
};

const HASH: &str = "vestibule_configuration_hash";
const APPLIED: &str = "vestibule_configuration_applied_timestamp_seconds";
const SERVER: &str = "vestibule_certificate_expiry_timestamp_seconds{certificate=\"server.tls\"}";
const UPSTREAM: &str = "vestibule_certificate_expiry_timestamp_seconds{certificate=\"upstream\"}";

async fn metric_of(proxy: &vestibule::app::Running, name: &str) -> u64 {
    let origin = format!("http://{}", proxy.admin_address());
    let text = Browser::new(&origin).get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

#[tokio::test]
async fn replicas_have_the_same_hash_until_one_of_them_takes_a_change_over() {
    let stack = Stack::start().await;
    let replica = stack.replica().await;
    let was = stack.metric(HASH).await;
    assert_ne!(was, 0);
    assert_eq!(metric_of(&replica, HASH).await, was);
    let since = stack.metric(APPLIED).await;
    let now = u64::try_from(stack.clock.unix()).unwrap();
    assert!(now.abs_diff(since) <= 60, "{since} is not now");
    stack.advance(100);
    let mut text = std::fs::read_to_string(&stack.config_file).unwrap();
    text.push_str("[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n");
    stack.write(&text);
    stack.proxy.reload_now().await.unwrap();
    assert_ne!(stack.metric(HASH).await, was);
    assert!(stack.metric(APPLIED).await >= since + 100);
    assert_eq!(metric_of(&replica, HASH).await, was);
    replica.reload_now().await.unwrap();
    assert_eq!(metric_of(&replica, HASH).await, stack.metric(HASH).await);
    // A broken file changes neither.
    let (hash, applied) = (stack.metric(HASH).await, stack.metric(APPLIED).await);
    stack.advance(100);
    stack.write("[server\n");
    assert!(stack.proxy.reload_now().await.is_err());
    assert_eq!((stack.metric(HASH).await, stack.metric(APPLIED).await), (hash, applied));
}

#[tokio::test]
async fn a_new_session_key_is_another_hash_and_no_part_of_it() {
    let keys = scratch_file("session-keys");
    let key = || vestibule::sealing::Key::generate().unwrap().to_text();
    let (first, second) = (key(), key());
    std::fs::write(&keys, format!("{first}\n")).unwrap();
    let setup = Setup::default().without("session.keys");
    let stack = setup.set("session.keys_file", &format!("{keys:?}")).start().await;
    let was = stack.metric(HASH).await;
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(stack.metric(HASH).await, was, "nothing has changed");
    std::fs::write(&keys, format!("{second}\n{first}\n")).unwrap();
    stack.proxy.reload_now().await.unwrap();
    assert_ne!(stack.metric(HASH).await, was);
}

fn write_certificate(certificate: &Path, key: &Path, year: i32) {
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    std::fs::write(certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
}

#[tokio::test]
async fn the_end_of_each_certificate_is_told_and_follows_its_file() {
    let files = ["server.pem", "server.key", "client.pem", "client.key"].map(scratch_file);
    let [server, server_key, client, client_key] = &files;
    write_certificate(server, server_key, 2040);
    write_certificate(client, client_key, 2060);
    let set = |setup: Setup, key: &str, file: &Path| setup.set(key, &format!("{file:?}"));
    let mut setup = set(Setup::default(), "server.tls.certificate_file", server);
    setup = set(setup, "server.tls.private_key_file", server_key);
    setup = set(setup, "upstream.certificate_file", client);
    setup = set(setup, "upstream.private_key_file", client_key);
    let stack = setup.set("upstream.url", "\"https://localhost:1\"").start().await;
    assert_eq!(stack.metric(SERVER).await, 2_208_988_800);
    assert_eq!(stack.metric(UPSTREAM).await, 2_840_140_800);
    write_certificate(server, server_key, 2041);
    stack.proxy.reload_now().await.unwrap();
    assert_eq!(stack.metric(SERVER).await, 2_240_611_200);
    for (key, file) in [("certificate_file", client), ("private_key_file", client_key)] {
        stack.rewrite(&format!("{key} = {file:?}\n"), "");
    }
    stack.proxy.reload_now().await.unwrap();
    let text = stack.admin("/metrics").await.text();
    assert!(!text.contains(UPSTREAM), "{text}");
    assert_eq!(stack.metric(SERVER).await, 2_240_611_200);
}

#[tokio::test]
async fn ready_and_the_age_of_microsofts_documents_are_told() {
    const KEYS: &str = "vestibule_entra_fetched_timestamp_seconds{document=\"keys\"}";
    const DOCUMENT: &str = "vestibule_entra_fetched_timestamp_seconds{document=\"metadata\"}";
    let clock = Clock::adjustable();
    let port = free_port();
    let setup = Setup::default().at_provider(&format!("http://127.0.0.1:{port}"), &clock);
    let stack = setup.hasty().start().await;
    let text = stack.admin("/metrics").await.text();
    assert!(text.contains("\nvestibule_ready 0\n"), "{text}");
    assert!(!text.contains("vestibule_entra_fetched_timestamp_seconds{"), "{text}");
    let provider = Provider::on(([127, 0, 0, 1], port).into(), clock.clone()).await;
    stack.proxy.ready().await;
    assert!(provider.visits(METADATA) >= 1);
    let now = u64::try_from(clock.unix()).unwrap();
    for name in [KEYS, DOCUMENT] {
        assert!(stack.metric(name).await.abs_diff(now) <= 60, "{name}");
    }
    assert_eq!(stack.metric("vestibule_ready").await, 1);
    let mut client = Browser::new(&format!("http://{}", stack.proxy.admin_address()));
    client.request(Method::POST, "/drain", &[], Bytes::new()).await;
    assert_eq!(stack.metric("vestibule_ready").await, 0);
}

#[tokio::test]
async fn limits_and_the_start_are_told_and_counters_of_alerts_are_there_at_zero() {
    let stack = Setup::default().set("server.limits.connections", "321").start().await;
    assert_eq!(stack.metric("vestibule_connections_limit").await, 321);
    let now = u64::try_from(stack.clock.unix()).unwrap();
    assert!(stack.metric("vestibule_started_timestamp_seconds").await.abs_diff(now) <= 60);
    let text = stack.admin("/metrics").await.text();
    for name in [
        "vestibule_sign_ins_total{outcome=\"loop\"}",
        "vestibule_sign_ins_total{outcome=\"too_large\"}",
        "vestibule_renewals_total{outcome=\"failed\"}",
        "vestibule_configuration_reloads_total{outcome=\"failed\"}",
        "vestibule_panics_total",
    ] {
        assert!(text.lines().any(|line| line == format!("{name} 0")), "{name} is not in {text}");
    }
}

#[tokio::test]
async fn a_scraper_that_knows_only_the_older_format_is_answered_in_it() {
    let stack = Stack::start().await;
    let mut client = Browser::new(&format!("http://{}", stack.proxy.admin_address()));
    let accept = [("accept", "text/plain;version=0.0.4")];
    let page = client.request(Method::GET, "/metrics", &accept, Bytes::new()).await;
    assert!(page.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = page.text();
    assert!(text.contains("# TYPE vestibule_sign_ins_total counter\n"), "{text}");
    assert!(!text.contains("# EOF"), "{text}");
}
