//! Every spelling of `session.redis_url` against what it names: a cluster, sentinels, TLS.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use vestibule::sealing::Key;

use crate::support::{ALICE, Browser, Redis, Setup, Stack, free_port, scratch_file};

fn setup(url: &str) -> Setup {
    Setup::default()
        .set("session.store", "\"redis\"")
        .set("session.redis_url", &format!("\"{url}\""))
        .scenario("token_lifetime = \"600s\"")
}

/// Signs in, renews at one replica while the other looks, signs out for both.
async fn exercise(stack: &Stack) {
    let replica = stack.replica().await;
    let mut browser = stack.signed_in(ALICE).await;
    let mut other = browser.clone().connecting_to(replica.address().unwrap());
    assert_eq!(other.fetch(Method::GET, "/").await.status, 200);
    stack.advance(320);
    let calls = stack.token_calls();
    let (here, there) =
        tokio::join!(browser.fetch(Method::GET, "/"), other.fetch(Method::GET, "/"));
    assert_eq!((here.status.as_u16(), there.status.as_u16()), (200, 200));
    assert_eq!(stack.token_calls(), calls + 1);
    stack.advance(370);
    assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(browser.get("/.auth/logout").await.status, 302);
    assert_eq!(other.fetch(Method::GET, "/").await.status, 401);
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cluster_keeps_sessions() {
    // The nodes' own port would be ten thousand further on, whoever listens there.
    let buses = [free_port(), free_port()].map(|port| port.to_string());
    let node = |bus: &str| Redis::start(&["--cluster-enabled", "yes", "--cluster-port", bus]);
    let Some(first) = node(&buses[0]) else { return };
    let second = node(&buses[1]).unwrap();
    first.ask::<()>(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"8000"]);
    second.ask::<()>(&[b"CLUSTER", b"ADDSLOTSRANGE", b"8001", b"16383"]);
    let port = second.port.to_string();
    let meet: [&[u8]; 5] =
        [b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), buses[1].as_bytes()];
    first.ask::<()>(&meet);
    for node in [&first, &second] {
        until("the cluster forms", async || {
            node.ask::<String>(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok")
        })
        .await;
    }
    // The second host is not there: one that answers is enough.
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", first.port, free_port());
    let stack = setup(&url).start().await;
    for _ in 0..4 {
        exercise(&stack).await;
    }
    let mut browsers = Vec::new();
    for _ in 0..12 {
        browsers.push(stack.signed_in(ALICE).await);
    }
    let held = [&first, &second].map(|node| node.keys("session").len());
    assert_eq!(held[0] + held[1], 12);
    assert!(held.iter().all(|held| *held > 0), "both nodes hold some: {held:?}");
    for mut browser in browsers {
        assert_eq!(browser.fetch(Method::GET, "/").await.status, 200);
    }
}

#[tokio::test]
async fn sentinels_lead_to_the_master_and_after_a_failover_to_the_next() {
    let Some(mut master) = Redis::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let port = master.port.to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let sentinel = Redis::start_sentinel(&master).unwrap();
    until("the replica follows", async || {
        replica.ask::<String>(&[b"INFO", b"replication"]).contains("master_link_status:up")
    })
    .await;
    // The first sentinel is not there: the next one is asked.
    let (absent, present) = (free_port(), sentinel.port);
    let url = format!("redis+sentinel://127.0.0.1:{absent},127.0.0.1:{present}/vestibule");
    let stack = setup(&url).start().await;
    exercise(&stack).await;

    let mut browser = stack.signed_in(ALICE).await;
    assert_eq!(master.keys("session").len(), 1);
    until("the replica has the session", async || replica.keys("session").len() == 1).await;
    until("the sentinel knows the replica", async || {
        let told: String = sentinel.ask(&[b"INFO", b"sentinel"]);
        told.contains("status=ok") && told.contains("slaves=1")
    })
    .await;
    master.kill();
    until("the session is served again", async || {
        let page = browser.navigate("/").await;
        assert!(page.hops.is_empty() && [200, 503].contains(&page.status.as_u16()));
        page.status == 200
    })
    .await;
    exercise(&stack).await;
}

#[tokio::test]
async fn over_tls_the_server_must_be_one_that_the_machine_trusts() {
    let folder = scratch_file("tls").parent().unwrap().to_owned();
    let [authority, certificate, key] = certificates(&folder);
    let Some(redis) = Redis::start_tls(&certificate, &key) else { return };
    let stack = Stack::start().await;

    let trusting = Proxy::start(&stack, &redis, Some(&authority)).await;
    let mut browser = Browser::new(&trusting.origin).as_user(ALICE);
    let page = browser.navigate("/").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(browser.session_cookies()[0].1.len() < 160);
    assert_eq!(browser.fetch(Method::GET, "/.auth/me").await.status, 200);

    let suspicious = Proxy::start(&stack, &redis, None).await;
    let page = Browser::new(&suspicious.origin).as_user(ALICE).navigate("/").await;
    assert_eq!(page.status, 503, "{}", page.text());
}

/// The program itself: which authorities a process trusts is a matter of its environment.
struct Proxy {
    origin: String,
    child: Child,
}

impl Proxy {
    async fn start(stack: &Stack, redis: &Redis, authority: Option<&Path>) -> Self {
        let (port, admin) = (free_port(), free_port());
        let client = stack.emulator.client();
        let origin = format!("http://localhost:{port}");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"{origin}\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [entra]\nauthority = \"{}\"\ntenant = \"{}\"\nclient_id = \"{}\"\n\
             client_secret = \"{}\"\n\
             [session]\nkeys = [\"{}\"]\nstore = \"redis\"\n\
             redis_url = \"rediss://localhost:{}\"\n\
             [upstream]\nurl = \"{}\"\n",
            client.authority,
            client.tenant,
            client.client_id,
            client.client_secret,
            Key::generate().unwrap().to_text(),
            redis.port,
            stack.app.url(),
        );
        let file = scratch_file("proxy.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.arg("run").arg("--config").arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let proxy = Self { origin, child: command.spawn().unwrap() };
        until("the proxy starts", async || {
            std::net::TcpStream::connect(("127.0.0.1", admin)).is_ok()
        })
        .await;
        let mut administrator = Browser::new(&format!("http://127.0.0.1:{admin}"));
        until("the proxy is ready", async || administrator.get("/readyz").await.status == 200)
            .await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate for `localhost` that it signed, with its key.
fn certificates(folder: &Path) -> [std::path::PathBuf; 3] {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate().unwrap();
    let leaf_pem = leaf.signed_by(&leaf_key, &issuer).unwrap().pem();
    let texts = [authority_pem, leaf_pem, leaf_key.serialize_pem()];
    let files = ["ca.pem", "server.pem", "server.key"].map(|name| folder.join(name));
    for (file, text) in files.iter().zip(texts) {
        std::fs::write(file, text).unwrap();
    }
    files
}
